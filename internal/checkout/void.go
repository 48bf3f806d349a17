package checkout

import (
	"context"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/payment"
)

// NotVoided is what follows when a refund is given up that was to give up an
// authorization: it may be captured again, as if nobody had asked. An order that
// has lost its authorization meanwhile, in which the refund was the reason to say
// nothing, keeps its parcels and asks for a person. The caller holds the payment's
// lock; the same again changes nothing.
func NotVoided(ctx context.Context, tx pgx.Tx, tenantID, paymentID string) error {
	p, err := payment.Load(ctx, tx, tenantID, paymentID)
	if err != nil {
		return err
	}
	if p.Status == payment.StatusAuthorized && p.CaptureAmount == 0 && p.VoidReason == "" {
		return payment.Unask(ctx, tx, tenantID, paymentID)
	}
	if p.Applied || p.OrderID == "" || p.Status.Approved() {
		return nil
	}
	reason := payment.ReasonLapsed
	if p.NotAppliedReason == payment.NotAppliedVoided {
		reason = payment.ReasonVoided
	}
	if err := order.Freeze(ctx, tx, tenantID, p.OrderID, reason); err != nil {
		return err
	}
	return order.RaiseAttention(ctx, tx, tenantID, p.OrderID, reason)
}
