package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/payment"
)

// hintEvery is how often unsigned notifications may make us ask a gateway about
// one payment, whatever their number, types and senders.
const hintEvery = "1 minute"

// MayAsk takes the leave to ask the gateway about a payment because of a hint.
// Without it the hint waits until a minute after the last one that had it; with
// it the hint's next turn is a minute away, should nothing come of this one.
func MayAsk(ctx context.Context, tx pgx.Tx, tenant, paymentID, inboxID string) (may bool, err error) {
	tag, err := tx.Exec(ctx, `INSERT INTO payment_hints AS h (tenant, payment_id) VALUES ($1,$2)
	  ON CONFLICT (tenant, payment_id) DO UPDATE SET asked_at = now() WHERE h.asked_at <= now() - interval '`+hintEvery+`'`, tenant, paymentID)
	if err != nil {
		return false, fmt.Errorf("leave to ask about payment %s: %w", paymentID, err)
	}
	may = tag.RowsAffected() == 1
	_, err = tx.Exec(ctx, `UPDATE inbox i SET next_attempt_at = h.asked_at + interval '`+hintEvery+`',
	     due_at = CASE WHEN $4 THEN i.due_at ELSE greatest(i.due_at, h.asked_at + interval '`+hintEvery+`' + interval '2 minutes') END
	   FROM payment_hints h WHERE i.tenant = $1 AND i.id = $3 AND i.status = 'pending' AND h.tenant = $1 AND h.payment_id = $2`, tenant, paymentID, inboxID, may)
	if err != nil {
		return false, fmt.Errorf("next turn of hint %s: %w", inboxID, err)
	}
	return may, nil
}

// NotAsked gives the leave back, since nobody was told to ask: the loop tries
// again as it does with other news.
func NotAsked(ctx context.Context, tx pgx.Tx, tenant, paymentID, inboxID string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM payment_hints WHERE tenant = $1 AND payment_id = $2`, tenant, paymentID); err != nil {
		return fmt.Errorf("give back the leave to ask about payment %s: %w", paymentID, err)
	}
	if _, err := tx.Exec(ctx, `UPDATE inbox SET next_attempt_at = now() + greatest($3::interval, `+backOff+`) WHERE tenant = $1 AND id = $2 AND status = 'pending'`, tenant, inboxID, firstTurn(Webhook)); err != nil {
		return fmt.Errorf("next turn of hint %s: %w", inboxID, err)
	}
	return nil
}

// Refund is a refund of ours that news are about.
type Refund struct {
	ID, PaymentID string
	// Run is the subject of the workflow that gives it back.
	Run string
}

// FindRefund finds a refund that we have asked a gateway for, by our id or the
// provider's name for it; ok is false when there is none.
func FindRefund(ctx context.Context, tx pgx.Tx, tenant string, gateway payment.Name, refundID, reference string) (r Refund, ok bool, err error) {
	if refundID == "" && reference == "" {
		return r, false, nil
	}
	err = tx.QueryRow(ctx, `SELECT r.id, r.payment_id, coalesce(r.request_id, r.id) FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id
	   WHERE r.tenant = $1 AND p.gateway = $2 AND r.origin = 'ours' AND (r.id = $3 OR $4 <> '' AND r.reference = $4) ORDER BY (r.id = $3) DESC, r.id DESC LIMIT 1`,
		tenant, gateway, refundID, reference).Scan(&r.ID, &r.PaymentID, &r.Run)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("refund of the news: %w", err)
	}
	return r, true, nil
}
