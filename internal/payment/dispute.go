package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
)

// answerWithin is how long a person has for a dispute whose provider names no
// day.
const answerWithin = 7 * 24 * time.Hour

// DisputeRecord is a chargeback as it is recorded and as the API shows it.
// Amounts are in minor units, times UTC.
type DisputeRecord struct {
	ID        string         `json:"id"`
	Reference string         `json:"reference"`
	Status    DisputeStatus  `json:"status"`
	Amount    int64          `json:"amount"`
	Currency  money.Currency `json:"currency"`
	Reason    string         `json:"reason,omitempty"`
	AnswerBy  *time.Time     `json:"answer_by"`
	OpenedAt  time.Time      `json:"opened_at"`
	EndedAt   *time.Time     `json:"ended_at"`
}

// MediationPrefix begins the reference of a dispute that its provider mediates
// (Mercado Pago, before or instead of a chargeback): nobody tells its end. A
// payment that is approved and not mediated any more says it.
const MediationPrefix = "mediation-"

// Mediated is the open mediation of a payment, "" when there is none.
func Mediated(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (reference string, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT reference FROM disputes WHERE tenant = $1 AND payment_id = $2 AND status = 'open' AND starts_with(reference, $3) LIMIT 1), '')`, tenant, paymentID, MediationPrefix).Scan(&reference)
	if err != nil {
		return "", fmt.Errorf("mediation of payment %s: %w", paymentID, err)
	}
	return reference, nil
}

// PutDispute records what a provider tells of a chargeback on a payment that is
// locked. before is how it stood, "" when it is new. An end is not taken back:
// one that was lost and is told to be open again stays lost. Telling the same
// again changes nothing.
func PutDispute(ctx context.Context, tx pgx.Tx, tenant string, p Payment, d Dispute) (before, after DisputeStatus, err error) {
	if d.Status != DisputeOpen && d.Status != DisputeWon && d.Status != DisputeLost {
		return "", "", fmt.Errorf("dispute %s of payment %s: no status %q", d.Reference, p.ID, d.Status)
	}
	if d.Currency == "" {
		d.Currency = p.Currency
	}
	err = tx.QueryRow(ctx, `SELECT status FROM disputes WHERE tenant = $1 AND payment_id = $2 AND reference = $3 FOR UPDATE`, tenant, p.ID, d.Reference).Scan(&before)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		_, err = tx.Exec(ctx, `INSERT INTO disputes (tenant, id, payment_id, reference, status, amount, currency, reason, answer_by, ended_at, due_at)
		  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9, CASE WHEN $5 <> 'open' THEN now() END, CASE WHEN $5 = 'open' THEN coalesce($9, now() + make_interval(secs => $10)) END)`,
			tenant, id.New(), p.ID, d.Reference, d.Status, max(d.Amount, 0), d.Currency, clip(d.Reason, 100), nullTime(d.AnswerBy), answerWithin.Seconds())
		if err != nil {
			return "", "", fmt.Errorf("dispute %s of payment %s: %w", d.Reference, p.ID, err)
		}
		return "", d.Status, nil
	case err != nil:
		return "", "", fmt.Errorf("dispute %s of payment %s: %w", d.Reference, p.ID, err)
	case before != DisputeOpen:
		return before, before, nil
	}
	_, err = tx.Exec(ctx, `UPDATE disputes SET status = $4, amount = $5, currency = $6, reason = CASE WHEN $7 = '' THEN reason ELSE $7 END, answer_by = coalesce($8, answer_by), updated_at = now(),
	     ended_at = CASE WHEN $4 <> 'open' THEN now() END, due_at = CASE WHEN $4 = 'open' THEN coalesce($8, due_at) END
	   WHERE tenant = $1 AND payment_id = $2 AND reference = $3 AND (status, amount, currency) IS DISTINCT FROM ($4, $5::bigint, $6::text)
	      OR tenant = $1 AND payment_id = $2 AND reference = $3 AND $8::timestamptz IS DISTINCT FROM answer_by AND $8 IS NOT NULL`,
		tenant, p.ID, d.Reference, d.Status, max(d.Amount, 0), d.Currency, clip(d.Reason, 100), nullTime(d.AnswerBy))
	if err != nil {
		return "", "", fmt.Errorf("dispute %s of payment %s: %w", d.Reference, p.ID, err)
	}
	return before, d.Status, nil
}

// Restate gives a payment whose money was taken or authorized the status that
// its disputes and refunds tell, and returns it. A lost dispute is the end:
// charged_back. While one is open it is disputed; without one it is what has
// gone back, by us or by the provider. The caller holds the payment's lock.
func Restate(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (Status, error) {
	var is, to Status
	err := tx.QueryRow(ctx, `SELECT p.status, CASE
	       WHEN p.status NOT IN ('authorized','captured','partially_refunded','refunded','disputed') THEN p.status
	       WHEN d.lost THEN 'charged_back'
	       WHEN d.open THEN 'disputed'
	       WHEN p.captured_amount = 0 THEN CASE WHEN p.amount > 0 THEN 'authorized' ELSE p.status END
	       WHEN b.back >= p.captured_amount THEN 'refunded' WHEN b.back > 0 THEN 'partially_refunded' ELSE 'captured' END
	  FROM payments p,
	       LATERAL (SELECT coalesce(bool_or(status = 'lost'), false) AS lost, coalesce(bool_or(status = 'open'), false) AS open FROM disputes WHERE tenant = $1 AND payment_id = $2) d,
	       LATERAL (SELECT coalesce(sum(amount), 0) AS back FROM refunds WHERE tenant = $1 AND payment_id = $2 AND status = 'succeeded' AND method <> 'void') b
	 WHERE p.tenant = $1 AND p.id = $2`, tenant, paymentID).Scan(&is, &to)
	if err != nil {
		return "", fmt.Errorf("status of payment %s: %w", paymentID, err)
	}
	if is == to {
		return to, nil
	}
	steps := []Status{to}
	if to == StatusChargedBack && is != StatusDisputed {
		steps = []Status{StatusDisputed, to} // it was lost before we heard of it
	}
	for _, s := range steps {
		_, err := tx.Exec(ctx, `UPDATE payments SET status = $3, updated_at = now(), due_at = CASE WHEN $3 = 'authorized' THEN `+authorizedDue+` END WHERE tenant = $1 AND id = $2`, tenant, paymentID, s)
		if err != nil {
			return "", fmt.Errorf("payment %s is %s: %w", paymentID, s, err)
		}
	}
	return to, nil
}

// WakeRefunds has the runs of a payment's refunds that have not ended look again: what may
// go back is another since its dispute began or ended. They are told after tx.
func WakeRefunds(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	_, err := tx.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject)
	  SELECT DISTINCT tenant, 'refund', coalesce(request_id, id) FROM refunds WHERE tenant = $1 AND payment_id = $2 AND origin = 'ours' AND status IN ('pending','unknown','needs_attention')`, tenant, paymentID)
	if err != nil {
		return fmt.Errorf("refunds of payment %s: %w", paymentID, err)
	}
	return nil
}

// DisputesOf lists a payment's chargebacks, the first one first.
func DisputesOf(ctx context.Context, tx pgx.Tx, tenant, paymentID string) ([]DisputeRecord, error) {
	rows, err := tx.Query(ctx, `SELECT id, reference, status, amount, currency, reason, answer_by, opened_at, ended_at FROM disputes WHERE tenant = $1 AND payment_id = $2 ORDER BY id`, tenant, paymentID)
	if err != nil {
		return nil, fmt.Errorf("disputes of payment %s: %w", paymentID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DisputeRecord])
	if err != nil {
		return nil, fmt.Errorf("disputes of payment %s: %w", paymentID, err)
	}
	return list, nil
}

// TellsMore reports whether an answer carries anything beside the approval: fee,
// risk, refunds or a chargeback.
func (a Answer) TellsMore() bool {
	return a.Fee != 0 || a.Risk != "" || a.Refunded != 0 || len(a.Refunds) > 0 || a.Dispute != nil
}

// PutTerms keeps the provider's fee and rating of a payment, where an answer
// tells them. What it leaves out stays.
func PutTerms(ctx context.Context, tx pgx.Tx, tenant string, p Payment, a Answer) error {
	if (a.Fee == 0 || a.Fee == p.Fee) && (a.Risk == "" || a.Risk == p.Risk) {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE payments SET fee_amount = CASE WHEN $3 <> 0 THEN $3 ELSE fee_amount END, risk = CASE WHEN $4 <> '' THEN $4 ELSE risk END, updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenant, p.ID, a.Fee, clip(a.Risk, 40))
	if err != nil {
		return fmt.Errorf("fee and risk of payment %s: %w", p.ID, err)
	}
	return nil
}
