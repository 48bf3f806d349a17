package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
)

// EventType marks the news that a reconciliation puts into the inbox.
const EventType = "reconciliation"

// raisedFor is by when a person should have looked at a difference.
const raisedFor = 24 * time.Hour

// Terms of a comparison.
type Terms struct {
	Source Source
	// LookupFor is how long after its beginning the provider answers questions
	// about an attempt; zero: always.
	LookupFor time.Duration
	// Final: what was sent on its way before and differs still waits for a person.
	Final bool
}

// Outcome is what came of a comparison.
type Outcome struct {
	// Wake are the refunds whose runs are to ask their provider.
	Wake []Wake
	// OnTheWay counts differences that were sent the normal ways and should be
	// gone when the day is compared again.
	OnTheWay int
	Raised   int
	Items    int
}

// Wake names a refund's run: by its request, or by itself.
type Wake struct {
	RefundID  string
	RequestID string
}

// stored is an item as it was before.
type stored struct {
	ID, Kind, Key, PaymentID, RefundID string
	Result                             Result
	Resolution                         Resolution
	Difference, Note, Actor            string
	RepairedAt, ResolvedAt, DueAt      *time.Time
	Ours, Theirs                       []byte
	Fee                                int64
	taken                              bool
}

// Settle compares a day with what is known now and writes what came of it: an
// item for each transaction, news for what can be put right by itself, and what
// waits for a person. Comparing again changes what has changed; what a person
// has decided about a difference stands while it is the same one.
func Settle(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID string, t Terms) (out Outcome, err error) {
	r, err := loadRow(ctx, tx, tenantID, reconciliationID, "FOR UPDATE")
	if err != nil {
		return out, err
	}
	source, err := forget(ctx, tx, r, t.Source)
	if err != nil {
		return out, err
	}
	books, err := loadBooks(ctx, tx, r)
	if err != nil {
		return out, err
	}
	books.Source = source
	if t.LookupFor > 0 {
		books.AskableSince = books.Now.Add(-t.LookupFor)
	}
	items := Compare(books)
	before, err := loadStored(ctx, tx, r)
	if err != nil {
		return out, err
	}
	b := &pgx.Batch{}
	for _, i := range items {
		s := decide(i, before.of(i), books.Now, t.Final)
		if err := repair(ctx, tx, r, i, s, &out); err != nil {
			return out, err
		}
		if s.Resolution == Raised {
			out.Raised++
		}
		if err := write(b, r, i, s); err != nil {
			return out, err
		}
	}
	out.Items = len(items)
	for _, s := range before.all {
		if !s.taken {
			b.Queue(`DELETE FROM reconciliation_items WHERE tenant = $1 AND id = $2`, r.Tenant, s.ID)
		}
	}
	totals, err := encode(Totals(items))
	if err != nil {
		return out, err
	}
	b.Queue(`UPDATE reconciliations SET source = $3, totals = $4, compared_at = now(), updated_at = now(), due_at = CASE WHEN status = 'running' THEN now() + interval '`+patience+`' END WHERE tenant = $1 AND id = $2`,
		r.Tenant, r.ID, source, totals)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return out, fmt.Errorf("items of reconciliation %s: %w", r.ID, err)
	}
	return out, nil
}

// forget drops lines of the provider's list that it does not list any more, and
// says where the day's other side comes from: a settlement file wins.
func forget(ctx context.Context, tx pgx.Tx, r Row, fetched Source) (Source, error) {
	if fetched == FromAPI {
		_, err := tx.Exec(ctx, `DELETE FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND source = 'api' AND at >= $3 AND at < $4 AND seen_at < $5`, r.Tenant, r.Gateway, r.Day.From, r.Day.To, r.StartedAt)
		if err != nil {
			return "", fmt.Errorf("transactions of reconciliation %s: %w", r.ID, err)
		}
	}
	var file bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND source = 'file' AND at >= $3 AND at < $4)`, r.Tenant, r.Gateway, r.Day.From, r.Day.To).Scan(&file)
	if err != nil {
		return "", fmt.Errorf("file of reconciliation %s: %w", r.ID, err)
	}
	if file {
		return FromFile, nil
	}
	return fetched, nil
}

// past finds the item that a transaction had before, by the provider's name or
// by ours.
type past struct {
	all            []*stored
	byLine, byOurs map[string]*stored
}

func loadStored(ctx context.Context, tx pgx.Tx, r Row) (p past, err error) {
	p = past{byLine: map[string]*stored{}, byOurs: map[string]*stored{}}
	p.all, err = collect(ctx, tx, func(row pgx.CollectableRow) (*stored, error) {
		s := &stored{}
		err := row.Scan(&s.ID, &s.Kind, &s.Key, &s.PaymentID, &s.RefundID, &s.Result, &s.Resolution, &s.Difference, &s.Note, &s.Actor, &s.RepairedAt, &s.ResolvedAt, &s.DueAt, &s.Ours, &s.Theirs, &s.Fee)
		return s, err
	}, `SELECT id, kind, key, payment_id, refund_id, result, resolution, difference, note, actor, repaired_at, resolved_at, due_at, ours, theirs, fee FROM reconciliation_items WHERE tenant = $1 AND reconciliation_id = $2`, r.Tenant, r.ID)
	for _, s := range p.all {
		if s.Key != "" {
			p.byLine[s.Kind+" "+s.Key] = s
		}
		if s.Ours != nil {
			p.byOurs[s.Kind+" "+first(s.RefundID, s.PaymentID)] = s
		}
	}
	return p, err
}

// of takes the item that a transaction had, or a new one.
func (p past) of(i Item) *stored {
	var ours *stored
	switch {
	case i.Refund != nil:
		ours = p.byOurs[string(i.Kind)+" "+i.Refund.RefundID]
	case i.Charge != nil:
		ours = p.byOurs[string(i.Kind)+" "+i.Charge.PaymentID]
	}
	for _, s := range []*stored{p.byLine[string(i.Kind)+" "+key(i)], ours} {
		if s != nil && !s.taken {
			s.taken = true
			return s
		}
	}
	return &stored{ID: id.New()}
}

func key(i Item) string {
	if i.Line == nil {
		return ""
	}
	return string(i.Line.Source) + ":" + i.Line.Key
}

// decide says what becomes of an item, given what it was before.
func decide(i Item, was *stored, now time.Time, final bool) *stored {
	s := &stored{ID: was.ID, Result: i.Result, Resolution: i.Resolution, Note: i.Note, Difference: i.Difference()}
	same := was.Difference == s.Difference && was.Result == s.Result
	switch {
	case i.Result == Matched && (was.Resolution == Repaired || was.Resolution == Resolved):
		// It matches now: what was done about it stays told.
		s.Resolution, s.Note, s.Actor, s.RepairedAt, s.ResolvedAt = was.Resolution, was.Note, was.Actor, was.RepairedAt, was.ResolvedAt
	case was.Resolution == Resolved && same && i.Resolution != Explained:
		s.Resolution, s.Note, s.Actor, s.ResolvedAt = Resolved, was.Note, was.Actor, was.ResolvedAt
	case i.Resolution == Repaired && same && was.RepairedAt != nil && (final || was.Resolution == Raised):
		s.Resolution, s.RepairedAt = Raised, was.RepairedAt
		s.Note = "still so after it was put on its way at " + was.RepairedAt.UTC().Format(time.RFC3339) + ": " + i.Note
	case i.Resolution == Repaired:
		s.RepairedAt = &now
		if same && was.RepairedAt != nil {
			s.RepairedAt = was.RepairedAt
		}
	}
	if s.Resolution == Raised {
		due := now.Add(raisedFor)
		s.DueAt = &due
		if was.Resolution == Raised && same {
			s.DueAt = was.DueAt
		}
	}
	return s
}

// repair sends a difference the way that such news always goes. Doing it again
// joins what is still on its way.
func repair(ctx context.Context, tx pgx.Tx, r Row, i Item, s *stored, out *Outcome) error {
	if i.Repair == NoRepair || s.Resolution == Resolved {
		return nil
	}
	news := inbox.News{Gateway: r.Gateway, Kind: inbox.Webhook, EventType: EventType, PaymentID: i.PaymentID, Claim: payment.OutcomeUnknown}
	switch i.Repair {
	case LearnFee:
		if _, err := tx.Exec(ctx, `UPDATE payments SET fee_amount = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, r.Tenant, i.PaymentID, i.Line.Fee); err != nil {
			return fmt.Errorf("fee of payment %s: %w", i.PaymentID, err)
		}
		return nil
	case ApplyApproval:
		news.Claim = payment.OutcomeApproved
		fallthrough
	case AskPayment:
		if _, err := inbox.Store(ctx, tx, r.Tenant, news); err != nil {
			return err
		}
	case WakeRefund:
		out.Wake = append(out.Wake, Wake{RefundID: i.Refund.RefundID, RequestID: i.Refund.RequestID})
	}
	if s.Resolution == Repaired && s.Result != Matched {
		out.OnTheWay++
	}
	return nil
}

func write(b *pgx.Batch, r Row, i Item, s *stored) error {
	var ours, theirs []byte
	var err error
	switch {
	case i.Charge != nil:
		ours, err = encode(i.Charge)
	case i.Refund != nil:
		ours, err = encode(i.Refund)
	}
	if err == nil && i.Line != nil {
		theirs, err = encode(i.Line)
	}
	if err != nil {
		return err
	}
	fee := int64(0)
	if i.Line != nil {
		fee = i.Line.Fee
	}
	b.Queue(`INSERT INTO reconciliation_items (tenant, id, reconciliation_id, gateway, day, kind, result, payment_id, refund_id, key, ours, theirs, difference, currency, fee, resolution, note, actor, repaired_at, resolved_at, due_at)
	  VALUES ($1,$2,$3,$4,$5::date,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21)
	  ON CONFLICT (tenant, id) DO UPDATE SET result = excluded.result, payment_id = excluded.payment_id, refund_id = excluded.refund_id, key = excluded.key, ours = excluded.ours, theirs = excluded.theirs,
	    difference = excluded.difference, currency = excluded.currency, fee = excluded.fee, resolution = excluded.resolution, note = excluded.note, actor = excluded.actor,
	    repaired_at = excluded.repaired_at, resolved_at = excluded.resolved_at, due_at = excluded.due_at, updated_at = now()
	  WHERE (reconciliation_items.result, reconciliation_items.key, reconciliation_items.resolution, reconciliation_items.note, reconciliation_items.ours, reconciliation_items.theirs)
	     IS DISTINCT FROM (excluded.result, excluded.key, excluded.resolution, excluded.note, excluded.ours, excluded.theirs)`,
		r.Tenant, s.ID, r.ID, r.Gateway, r.Day.Date, i.Kind, s.Result, i.PaymentID, i.RefundID(), key(i), json.RawMessage(ours), json.RawMessage(theirs), s.Difference, i.Currency(), fee,
		s.Resolution, s.Note, s.Actor, s.RepairedAt, s.ResolvedAt, s.DueAt)
	return nil
}
