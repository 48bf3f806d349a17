package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/payment"
)

// LineOf turns a provider's transaction into a line. Its key is the provider's
// name of the transaction, so that the same one read again is the same row; an
// attempt that came to nothing does not take the place of the one that paid.
func LineOf(source Source, t payment.Transaction) Line {
	l := Line{Source: source, Kind: t.Kind, PaymentID: t.PaymentID, RefundID: t.RefundID, Reference: t.Reference, CaptureRef: t.CaptureRef, RefundReference: t.RefundReference,
		Amount: t.Amount, Fee: t.Fee, Currency: t.Currency, Outcome: t.Outcome, Captured: t.Captured, At: t.At.UTC()}
	if t.Dispute != nil {
		l.Dispute = t.Dispute.Status
	}
	if l.Kind == payment.RefundTransaction {
		l.Key = first(t.RefundReference, t.RefundID, "of:"+first(t.CaptureRef, t.Reference, t.PaymentID)+":"+strconv.FormatInt(t.Amount, 10)+":"+strconv.FormatInt(t.At.Unix(), 10))
		return l
	}
	l.Key = first(t.CaptureRef, t.Reference, t.PaymentID)
	if l.Outcome != payment.OutcomeApproved {
		l.Key += "#" + string(l.Outcome)
	}
	return l
}

func first(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}

// OfAnotherGateway names the gateway of a payment of ours that lines name and
// that was not made by gateway; empty when there is none. Such lines are those of
// a file that was sent to the wrong address.
func OfAnotherGateway(ctx context.Context, tx pgx.Tx, tenant string, gateway payment.Name, lines []Line) (other payment.Name, err error) {
	ids := make([]string, 0, len(lines))
	for _, l := range lines {
		if l.PaymentID != "" {
			ids = append(ids, l.PaymentID)
		}
	}
	err = tx.QueryRow(ctx, `SELECT gateway FROM payments WHERE tenant = $1 AND id = ANY($2) AND gateway <> $3 LIMIT 1`, tenant, ids, gateway).Scan(&other)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("whose lines these are: %w", err)
	}
	return other, nil
}

// StoreLines keeps what a provider said; a line that is known takes what is said
// now. A line that names our payment only in the provider's words gets our id
// where it is known already.
func StoreLines(ctx context.Context, tx pgx.Tx, tenant string, gateway payment.Name, lines []Line) error {
	var c columns
	at := map[string]int{}
	for _, l := range lines {
		if l.Key == "" {
			return fmt.Errorf("a %s of %s has no name of any kind", l.Kind, gateway)
		}
		// A statement can't write a row twice: of two lines alike the last one counts.
		name := string(l.Source) + " " + string(l.Kind) + " " + l.Key
		if i, twice := at[name]; twice {
			c.put(i, l)
			continue
		}
		at[name] = len(c.key)
		c.add(l)
	}
	_, err := tx.Exec(ctx, `INSERT INTO provider_transactions (tenant, gateway, source, kind, key, payment_id, refund_id, reference, capture_ref, refund_reference, amount, fee, currency, outcome, captured, dispute, at)
	  SELECT $1, $2, l.source, l.kind, l.key,
	         CASE WHEN l.payment_id <> '' THEN l.payment_id ELSE coalesce((SELECT p.id FROM payments p WHERE p.tenant = $1 AND p.gateway = $2
	              AND (p.reference = l.reference AND p.reference <> '' OR p.capture_ref = l.capture_ref AND p.capture_ref <> '') LIMIT 1), '') END,
	         l.refund_id, l.reference, l.capture_ref, l.refund_reference, l.amount, l.fee, l.currency, l.outcome, l.captured, l.dispute, l.at
	    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::boolean[], $16::text[], $17::timestamptz[])
	      AS l (source, kind, key, payment_id, refund_id, reference, capture_ref, refund_reference, amount, fee, currency, outcome, captured, dispute, at)
	  ON CONFLICT (tenant, gateway, source, kind, key) DO UPDATE SET payment_id = coalesce(nullif(excluded.payment_id, ''), provider_transactions.payment_id), refund_id = excluded.refund_id,
	    reference = excluded.reference, capture_ref = excluded.capture_ref, refund_reference = excluded.refund_reference, amount = excluded.amount, fee = excluded.fee,
	    currency = excluded.currency, outcome = excluded.outcome, captured = excluded.captured, dispute = excluded.dispute, at = excluded.at, seen_at = now()`,
		tenant, gateway, c.source, c.kind, c.key, c.paymentID, c.refundID, c.reference, c.captureRef, c.refundReference, c.amount, c.fee, c.currency, c.outcome, c.captured, c.dispute, c.at)
	if err != nil {
		return fmt.Errorf("store transactions of %s: %w", gateway, err)
	}
	return nil
}

// columns are lines on their side, as one statement takes them.
type columns struct {
	source, kind, key, paymentID, refundID, reference, captureRef, refundReference []string
	amount, fee                                                                    []int64
	currency, outcome, dispute                                                     []string
	captured                                                                       []bool
	at                                                                             []time.Time
}

func (c *columns) add(l Line) {
	n := len(c.key)
	for _, s := range []*[]string{&c.source, &c.kind, &c.key, &c.paymentID, &c.refundID, &c.reference, &c.captureRef, &c.refundReference, &c.currency, &c.outcome, &c.dispute} {
		*s = append(*s, "")
	}
	c.amount, c.fee, c.captured, c.at = append(c.amount, 0), append(c.fee, 0), append(c.captured, false), append(c.at, time.Time{})
	c.put(n, l)
}

func (c *columns) put(n int, l Line) {
	c.source[n], c.kind[n], c.key[n], c.paymentID[n], c.refundID[n] = string(l.Source), string(l.Kind), l.Key, l.PaymentID, l.RefundID
	c.reference[n], c.captureRef[n], c.refundReference[n] = l.Reference, l.CaptureRef, l.RefundReference
	c.amount[n], c.fee[n], c.currency[n], c.outcome[n], c.captured[n], c.dispute[n], c.at[n] = l.Amount, l.Fee, string(l.Currency), string(l.Outcome), l.Captured, string(l.Dispute), l.At
}

const lineColumns = `source, kind, key, payment_id, refund_id, reference, capture_ref, refund_reference, amount, fee, currency, outcome, captured, dispute, at`

func scanLine(row pgx.CollectableRow) (l Line, err error) {
	err = row.Scan(&l.Source, &l.Kind, &l.Key, &l.PaymentID, &l.RefundID, &l.Reference, &l.CaptureRef, &l.RefundReference, &l.Amount, &l.Fee, &l.Currency, &l.Outcome, &l.Captured, &l.Dispute, &l.At)
	return l, err
}

// loadBooks reads both sides of a reconciliation, each with what the other names
// and what lies around the day.
func loadBooks(ctx context.Context, tx pgx.Tx, r Row) (b Books, err error) {
	b.Day = r.Day
	from, to := r.Day.Wide()
	err = tx.QueryRow(ctx, `SELECT now(), EXISTS (SELECT FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND source = 'file' AND at >= $3 AND at < $3 + interval '1 day')`,
		r.Tenant, r.Gateway, r.Day.To).Scan(&b.Now, &b.NextKnown)
	if err != nil {
		return b, fmt.Errorf("reconciliation %s: %w", r.ID, err)
	}
	var ids []string
	err = tx.QueryRow(ctx, `WITH line AS (
	    SELECT payment_id, reference, capture_ref FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND at >= $3 AND at < $4)
	  SELECT array_agg(DISTINCT id) FROM (
	    SELECT payment_id AS id FROM line WHERE payment_id <> ''
	    UNION ALL SELECT p.id FROM line l JOIN payments p ON p.tenant = $1 AND p.gateway = $2 AND p.reference = l.reference AND p.reference <> '' WHERE l.payment_id = ''
	    UNION ALL SELECT p.id FROM line l JOIN payments p ON p.tenant = $1 AND p.gateway = $2 AND p.capture_ref = l.capture_ref AND p.capture_ref <> ''
	    UNION ALL SELECT c.payment_id FROM captures c WHERE c.tenant = $1 AND c.captured_at >= $3 AND c.captured_at < $4
	    UNION ALL SELECT p.id FROM payments p WHERE p.tenant = $1 AND p.gateway = $2 AND p.begun_at >= $3 AND p.begun_at < $4
	    UNION ALL SELECT payment_id FROM refunds WHERE tenant = $1 AND settled_at >= $3 AND settled_at < $4
	    UNION ALL SELECT payment_id FROM refunds WHERE tenant = $1 AND created_at >= $3 AND created_at < $4) named`,
		r.Tenant, r.Gateway, from, to).Scan(&ids)
	if err != nil {
		return b, fmt.Errorf("payments of reconciliation %s: %w", r.ID, err)
	}
	if b.Lines, err = collect(ctx, tx, scanLine, `SELECT `+lineColumns+` FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND at >= $3 AND at < $4
	    UNION SELECT `+lineColumns+` FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND payment_id <> '' AND payment_id = ANY($5) ORDER BY at, key`, r.Tenant, r.Gateway, from, to, ids); err != nil {
		return b, err
	}
	b.Charges, err = collect(ctx, tx, func(row pgx.CollectableRow) (c Charge, err error) {
		err = row.Scan(&c.PaymentID, &c.Reference, &c.CaptureRef, &c.Status, &c.Amount, &c.Captured, &c.Currency, &c.Fee, &c.At, &c.BegunAt, &c.InMotion)
		return c, err
	}, `SELECT p.id, p.reference, p.capture_ref, p.status, coalesce(c.amount, p.amount), c.amount IS NOT NULL, coalesce(c.currency, p.currency), p.fee_amount,
	           coalesce(c.at, p.begun_at, p.created_at), coalesce(p.begun_at, p.created_at), coalesce(p.due_at > now() AND p.status IN ('pending','processing','unknown'), false)
	      FROM payments p LEFT JOIN LATERAL (SELECT sum(amount)::bigint AS amount, min(currency) AS currency, min(captured_at) AS at FROM captures WHERE tenant = p.tenant AND payment_id = p.id HAVING count(*) > 0) c ON true
	     WHERE p.tenant = $1 AND p.gateway = $2 AND p.id = ANY($3) ORDER BY p.id`, r.Tenant, r.Gateway, ids)
	if err != nil {
		return b, err
	}
	b.Refunds, err = collect(ctx, tx, func(row pgx.CollectableRow) (f Refund, err error) {
		err = row.Scan(&f.RefundID, &f.RequestID, &f.PaymentID, &f.Reference, &f.Status, &f.Amount, &f.Currency, &f.At, &f.InMotion, &f.ByHand, &f.Told)
		return f, err
	}, `SELECT r.id, coalesce(r.request_id, ''), r.payment_id, r.reference, r.status, r.amount, r.currency, coalesce(r.settled_at, r.created_at), coalesce(r.due_at > now(), false), r.code IN ('resolved_by_support','bank_transfer'), r.origin = 'provider'
	      FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id
	     WHERE r.tenant = $1 AND p.gateway = $2 AND r.payment_id = ANY($3) AND r.method = 'original' ORDER BY r.id`, r.Tenant, r.Gateway, ids)
	return b, err
}

func collect[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reconciliation: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("reconciliation: %w", err)
	}
	return list, nil
}
