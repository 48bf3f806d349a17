package payment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
)

// ReasonPanel is the reason of refunds that were made at the provider, by a
// person in its panel or by its own rules.
const ReasonPanel = "provider_panel"

// sumPrefix begins our name for a refund of which the provider tells only by
// the sum that went back.
const sumPrefix = "sum:"

// Elsewhere is what RecordRefunds has found.
type Elsewhere struct {
	// New are refunds at the provider that nobody here asked for.
	New []RefundSeen
	// Failed are refunds of ours that we took for made and that the provider
	// says have failed: RefundID is ours.
	Failed []RefundSeen
	// Withdrawn are refunds at the provider that have failed since.
	Withdrawn []RefundSeen
}

// Found reports whether there was anything new.
func (e Elsewhere) Found() bool { return len(e.New)+len(e.Failed)+len(e.Withdrawn) > 0 }

// booked is a refund in our books, as far as it is compared.
type booked struct {
	ID, Reference, Status, Origin string
	Amount                        int64
	// Doubtful: it may have been made; see MayBeMade.
	Doubtful, Outside bool
	seen              bool
}

func (b *booked) ours() bool { return b.Origin == "ours" }

// RecordRefunds compares the refunds that a provider tells of with our books,
// and records those that are not ours: money that went back is recorded
// whatever our rules say. A refund of ours whose answer was lost is recognized
// by its id or, still without a reference, by its amount, and is left to its own
// run. Refunds of ours that have failed are returned and not changed. The caller
// holds the payment's lock; telling the same again changes nothing.
func RecordRefunds(ctx context.Context, tx pgx.Tx, tenant string, p Payment, a Answer) (out Elsewhere, err error) {
	if a.Refunded == 0 && len(a.Refunds) == 0 {
		return out, nil
	}
	rows, err := tx.Query(ctx, `SELECT id, reference, status, origin, amount, `+MayBeMade+`, method <> 'original' OR code = 'resolved_by_support' FROM refunds WHERE tenant = $1 AND payment_id = $2 ORDER BY id`, tenant, p.ID)
	if err != nil {
		return out, fmt.Errorf("refunds of payment %s: %w", p.ID, err)
	}
	books, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*booked, error) {
		b := &booked{}
		return b, row.Scan(&b.ID, &b.Reference, &b.Status, &b.Origin, &b.Amount, &b.Doubtful, &b.Outside)
	})
	if err != nil {
		return out, fmt.Errorf("refunds of payment %s: %w", p.ID, err)
	}
	if len(a.Refunds) == 0 || slices.ContainsFunc(a.Refunds, func(r RefundSeen) bool { return r.Reference == "" && r.RefundID == "" }) {
		return bySum(ctx, tx, tenant, p, a, books)
	}
	return byName(ctx, tx, tenant, p, a.Refunds, books)
}

// byName takes the refunds one by one. Those that say whose they are go first,
// so that an amount is not taken for the answer of another.
func byName(ctx context.Context, tx pgx.Tx, tenant string, p Payment, told []RefundSeen, books []*booked) (out Elsewhere, err error) {
	find := func(is func(b *booked) bool) *booked {
		i := slices.IndexFunc(books, func(b *booked) bool { return !b.seen && is(b) })
		if i < 0 {
			return nil
		}
		books[i].seen = true
		return books[i]
	}
	var strange []RefundSeen
	for _, r := range told {
		b := find(func(b *booked) bool { return b.ours() && r.RefundID != "" && b.ID == r.RefundID })
		if b == nil {
			b = find(func(b *booked) bool { return r.Reference != "" && b.Reference == r.Reference && !b.Outside })
		}
		switch {
		case b == nil:
			strange = append(strange, r)
		case b.ours() && b.Status == "failed" && r.Outcome == OutcomeApproved:
			// We had given it up, and it was made after all.
			if r.Reference == "" {
				r.Reference = r.RefundID
			}
			added, err := addElsewhere(ctx, tx, tenant, p, r)
			if err != nil {
				return out, err
			}
			if added {
				out.New = append(out.New, r)
			}
		case r.Outcome != OutcomeDeclined || b.Status != "succeeded" || b.Outside:
		case b.ours():
			r.RefundID = b.ID
			out.Failed = append(out.Failed, r)
		default:
			if err := setElsewhere(ctx, tx, tenant, b.ID, "failed", r.Reference); err != nil {
				return out, err
			}
			out.Withdrawn = append(out.Withdrawn, r)
		}
	}
	for _, r := range strange {
		if r.Outcome == OutcomeDeclined {
			continue // nothing went back, and nobody here had asked for it
		}
		lost := find(func(b *booked) bool {
			return b.ours() && b.Doubtful && !b.Outside && b.Reference == "" && b.Amount == r.Amount
		})
		if lost != nil {
			continue // the answer that its run has not heard yet
		}
		// Told by its sum before, by its name now.
		if b := find(func(b *booked) bool {
			return !b.ours() && strings.HasPrefix(b.Reference, sumPrefix) && b.Amount == r.Amount && b.Status == "succeeded"
		}); b != nil {
			if err := setElsewhere(ctx, tx, tenant, b.ID, b.Status, r.Reference); err != nil {
				return out, err
			}
			continue
		}
		added, err := addElsewhere(ctx, tx, tenant, p, r)
		if err != nil {
			return out, err
		}
		if added {
			out.New = append(out.New, r)
		}
	}
	return out, nil
}

// bySum compares the sum that went back with what we know of. What is ours and
// may have been made counts, also while its answer is awaited: such a refund is
// not taken for another's. One that the provider has refused hides nothing.
func bySum(ctx context.Context, tx pgx.Tx, tenant string, p Payment, a Answer, books []*booked) (out Elsewhere, err error) {
	sum := a.Refunded
	if sum == 0 {
		for _, r := range a.Refunds {
			if r.Outcome != OutcomeDeclined {
				sum += r.Amount
			}
		}
	}
	more, known := sum, int64(0)
	for _, b := range books {
		if b.Status != "failed" && !b.Outside && (b.Doubtful || !b.ours() || b.Status == "succeeded") {
			more -= b.Amount
		}
		if b.Status != "failed" && !b.ours() {
			known += b.Amount
		}
	}
	if more <= 0 {
		return out, nil
	}
	name := fmt.Sprintf("%s%d", sumPrefix, sum)
	if known > 0 { // the same sum again, of which less was taken for ours before
		name += fmt.Sprintf(":%d", known)
	}
	r := RefundSeen{Reference: name, Amount: more, Outcome: OutcomeApproved}
	added, err := addElsewhere(ctx, tx, tenant, p, r)
	if added {
		out.New = append(out.New, r)
	}
	return out, err
}

func addElsewhere(ctx context.Context, tx pgx.Tx, tenant string, p Payment, r RefundSeen) (added bool, err error) {
	if r.Amount <= 0 {
		return false, nil
	}
	tag, err := tx.Exec(ctx, `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, origin, reference, refunded_before)
	  VALUES ($1,$2,$3,nullif($4,''),$5,$6,$7,'succeeded','provider',$8,$9) ON CONFLICT DO NOTHING`,
		tenant, id.New(), p.ID, p.OrderID, r.Amount, p.Currency, ReasonPanel, r.Reference, p.Refunded)
	if err != nil {
		return false, fmt.Errorf("refund %s of payment %s at the provider: %w", r.Reference, p.ID, err)
	}
	return tag.RowsAffected() > 0, nil
}

func setElsewhere(ctx context.Context, tx pgx.Tx, tenant, refundID, status, reference string) error {
	_, err := tx.Exec(ctx, `UPDATE refunds SET status = $3, reference = $4, updated_at = now() WHERE tenant = $1 AND id = $2 AND origin = 'provider'`, tenant, refundID, status, reference)
	if err != nil {
		return fmt.Errorf("refund %s at the provider: %w", refundID, err)
	}
	return nil
}
