package reconcile

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/payment"
)

// LineOf turns a provider's transaction into a line. Its key is the provider's
// name of the transaction, so that the same one read again is the same row; an
// attempt that came to nothing does not take the place of the one that paid.
func LineOf(source Source, t payment.Transaction) Line {
	l := Line{Source: source, Kind: t.Kind, PaymentID: t.PaymentID, RefundID: t.RefundID, Reference: t.Reference, CaptureRef: t.CaptureRef, RefundReference: t.RefundReference,
		Amount: t.Amount, Fee: t.Fee, Currency: t.Currency, Outcome: t.Outcome, Captured: t.Captured, At: t.At.UTC()}
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

// StoreLines keeps what a provider said; a line that is known takes what is said
// now. A line that names our payment only in the provider's words gets our id
// where it is known already.
func StoreLines(ctx context.Context, tx pgx.Tx, tenant string, gateway payment.Name, lines []Line) error {
	b := &pgx.Batch{}
	for _, l := range lines {
		if l.Key == "" {
			return fmt.Errorf("a %s of %s has no name of any kind", l.Kind, gateway)
		}
		b.Queue(`INSERT INTO provider_transactions (tenant, gateway, source, kind, key, payment_id, refund_id, reference, capture_ref, refund_reference, amount, fee, currency, outcome, captured, at)
		  VALUES ($1,$2,$3,$4,$5, coalesce(nullif($6,''), (SELECT p.id FROM payments p WHERE p.tenant = $1 AND p.gateway = $2 AND (p.reference = $8 AND $8 <> '' OR p.capture_ref = $9 AND $9 <> '') LIMIT 1), ''),
		          $7,$8,$9,$10,$11,$12,$13,$14,$15,$16)
		  ON CONFLICT (tenant, gateway, source, kind, key) DO UPDATE SET payment_id = coalesce(nullif(excluded.payment_id, ''), provider_transactions.payment_id), refund_id = excluded.refund_id,
		    reference = excluded.reference, capture_ref = excluded.capture_ref, refund_reference = excluded.refund_reference, amount = excluded.amount, fee = excluded.fee,
		    currency = excluded.currency, outcome = excluded.outcome, captured = excluded.captured, at = excluded.at, seen_at = now()`,
			tenant, gateway, l.Source, l.Kind, l.Key, l.PaymentID, l.RefundID, l.Reference, l.CaptureRef, l.RefundReference, l.Amount, l.Fee, l.Currency, l.Outcome, l.Captured, l.At)
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("store transactions of %s: %w", gateway, err)
	}
	return nil
}

const lineColumns = `source, kind, key, payment_id, refund_id, reference, capture_ref, refund_reference, amount, fee, currency, outcome, captured, at`

func scanLine(row pgx.CollectableRow) (l Line, err error) {
	err = row.Scan(&l.Source, &l.Kind, &l.Key, &l.PaymentID, &l.RefundID, &l.Reference, &l.CaptureRef, &l.RefundReference, &l.Amount, &l.Fee, &l.Currency, &l.Outcome, &l.Captured, &l.At)
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
	    UNION ALL SELECT p.id FROM line l JOIN payments p ON p.tenant = $1 AND p.gateway = $2 AND p.capture_ref = l.capture_ref AND p.capture_ref <> '' WHERE l.payment_id = ''
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
