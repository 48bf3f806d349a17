package checkout

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/timeline"
)

// Why a person is needed for a paid order after its payment: codes of an
// order's attention.
const (
	ReasonDisputed          = "disputed"
	ReasonChargedBack       = "charged_back"
	ReasonRefundedElsewhere = "refunded_at_provider"
)

// aftermath records what a gateway tells of money that it took, beside the
// approval: what it costs, what went back without us, and whether its payer
// disputes it. All of it is recorded whatever our rules say; the order it paid
// asks for a person, and its parcels stay while the money is disputed.
func aftermath(ctx context.Context, tx pgx.Tx, tenantID, checkoutID, paymentID string, a payment.Answer, out *Ruling) error {
	if !a.TellsMore() && a.Outcome != payment.OutcomeApproved {
		return nil
	}
	p, err := payment.Load(ctx, tx, tenantID, paymentID)
	if err != nil || !p.Status.Approved() {
		return err
	}
	if err := payment.PutTerms(ctx, tx, tenantID, p, a); err != nil {
		return err
	}
	back, err := wentBack(ctx, tx, tenantID, checkoutID, p, a, out)
	if err != nil {
		return err
	}
	disputed, err := dispute(ctx, tx, tenantID, checkoutID, p, a.Dispute)
	if err != nil {
		return err
	}
	ended, err := mediationEnded(ctx, tx, tenantID, checkoutID, p, a)
	if err != nil || !back && !disputed && !ended {
		return err
	}
	out.Changed = true
	to, err := payment.Restate(ctx, tx, tenantID, p.ID)
	if err != nil || to == p.Status {
		return err
	}
	if err := timeline.Add(ctx, tx, tenantID, checkoutID, "payment_"+string(to), "system", map[string]any{"payment_id": p.ID, "gateway": p.Gateway, "from": p.Status}); err != nil {
		return err
	}
	if ended || disputed { // what waited for the bank goes on, and what it made needless ends
		if err := payment.WakeRefunds(ctx, tx, tenantID, p.ID); err != nil {
			return err
		}
	}
	if !p.Applied {
		return nil
	}
	switch {
	case to == payment.StatusChargedBack:
		if err := order.Freeze(ctx, tx, tenantID, p.OrderID, ReasonDisputed); err != nil {
			return err
		}
		if err := order.LowerAttention(ctx, tx, tenantID, p.OrderID, ReasonDisputed); err != nil {
			return err
		}
		return order.RaiseAttention(ctx, tx, tenantID, p.OrderID, ReasonChargedBack)
	case to == payment.StatusDisputed:
		if err := order.Freeze(ctx, tx, tenantID, p.OrderID, ReasonDisputed); err != nil {
			return err
		}
		return order.RaiseAttention(ctx, tx, tenantID, p.OrderID, ReasonDisputed)
	case p.Status == payment.StatusDisputed:
		if err := order.Thaw(ctx, tx, tenantID, p.OrderID, ReasonDisputed); err != nil {
			return err
		}
		return order.LowerAttention(ctx, tx, tenantID, p.OrderID, ReasonDisputed)
	}
	return nil
}

// wentBack records the refunds that are not ours, and takes back ours that have
// failed after all.
func wentBack(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, p payment.Payment, a payment.Answer, out *Ruling) (changed bool, err error) {
	found, err := payment.RecordRefunds(ctx, tx, tenantID, p, a)
	if err != nil {
		return false, err
	}
	tell := func(kind string, r payment.RefundSeen) error {
		data := map[string]any{"payment_id": p.ID, "gateway": p.Gateway, "amount": r.Amount, "reference": r.Reference}
		if r.RefundID != "" {
			data["refund_id"] = r.RefundID
		}
		return timeline.Add(ctx, tx, tenantID, checkoutID, kind, "provider", data)
	}
	for _, r := range found.New {
		if err := tell("refund_at_provider", r); err != nil {
			return false, err
		}
	}
	for _, r := range found.Withdrawn {
		if err := tell("refund_at_provider_failed", r); err != nil {
			return false, err
		}
	}
	for _, r := range found.Failed {
		if err := tell("refund_failed_later", r); err != nil {
			return false, err
		}
		if _, err := payment.ReviveRefund(ctx, tx, tenantID, r.RefundID, payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Reference: r.Reference, Amount: r.Amount, Code: "failed_later"}); err != nil {
			return false, err
		}
	}
	if len(found.New)+len(found.Withdrawn) > 0 && p.Applied {
		err = order.RaiseAttention(ctx, tx, tenantID, p.OrderID, ReasonRefundedElsewhere)
	}
	if err != nil {
		return false, err
	}
	again, err := revived(ctx, tx, tenantID, p.ID)
	out.RefundIDs = append(out.RefundIDs, again...)
	return found.Found(), err
}

// cameBack finds money that may not be kept and is with us again, because a
// refund at the provider has failed that had made one of ours needless. Where a
// refund of ours is at work, or a person rules on a mismatch, that one goes on.
func cameBack(ctx context.Context, tx pgx.Tx, tenantID, paymentID string, out *Ruling) error {
	if out.Mismatch != "" {
		return nil
	}
	var reason string
	var left int64
	err := tx.QueryRow(ctx, `SELECT p.not_applied_reason, p.captured_amount - p.refunded_amount - p.refunded_elsewhere FROM payments p
	   WHERE p.tenant = $1 AND p.id = $2 AND NOT p.applied AND p.not_applied_reason IS NOT NULL AND p.status IN ('captured','partially_refunded')
	     AND p.captured_amount > p.refunded_amount + p.refunded_elsewhere
	     AND EXISTS (SELECT FROM refunds f WHERE f.tenant = p.tenant AND f.payment_id = p.id AND f.origin = 'provider' AND f.status = 'failed')
	     AND NOT EXISTS (SELECT FROM refunds f WHERE f.tenant = p.tenant AND f.payment_id = p.id AND f.origin = 'ours' AND f.status IN ('pending','unknown','needs_attention'))`,
		tenantID, paymentID).Scan(&reason, &left)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("what came back to payment %s: %w", paymentID, err)
	case strings.HasPrefix(reason, mismatchPrefix):
		out.Mismatch = reason // as before it was given back
	default:
		out.CameBack = left
	}
	return nil
}

// revived are the refunds whose runs make anew what has failed: requests, and
// refunds that nobody asked for. They are named whenever the same is told again.
func revived(ctx context.Context, tx pgx.Tx, tenantID, paymentID string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT coalesce(request_id, id) FROM refunds WHERE tenant = $1 AND payment_id = $2 AND revives IS NOT NULL AND status IN ('pending','unknown','needs_attention') ORDER BY 1`, tenantID, paymentID)
	if err != nil {
		return nil, fmt.Errorf("refunds of payment %s that are taken up again: %w", paymentID, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("refunds of payment %s that are taken up again: %w", paymentID, err)
	}
	return ids, nil
}

// dispute records a chargeback.
func dispute(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, p payment.Payment, d *payment.Dispute) (changed bool, err error) {
	if d == nil {
		return false, nil
	}
	before, after, err := payment.PutDispute(ctx, tx, tenantID, p, *d)
	if err != nil || before == after {
		return false, err
	}
	kind := map[payment.DisputeStatus]string{payment.DisputeOpen: "dispute_opened", payment.DisputeWon: "dispute_won", payment.DisputeLost: "dispute_lost"}[after]
	data := map[string]any{"payment_id": p.ID, "gateway": p.Gateway, "reference": d.Reference, "amount": d.Amount}
	if d.Reason != "" {
		data["reason"] = d.Reason
	}
	return true, timeline.Add(ctx, tx, tenantID, checkoutID, kind, "provider", data)
}

// mediationEnded ends a mediation of which a gateway's approval tells nothing
// any more. Where it ended for the buyer, the refund is told beside it.
func mediationEnded(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, p payment.Payment, a payment.Answer) (bool, error) {
	if p.Status != payment.StatusDisputed || a.Outcome != payment.OutcomeApproved {
		return false, nil
	}
	reference, err := payment.Mediated(ctx, tx, tenantID, p.ID)
	if err != nil || reference == "" || a.Dispute != nil && a.Dispute.Reference == reference {
		return false, err
	}
	return dispute(ctx, tx, tenantID, checkoutID, p, &payment.Dispute{Reference: reference, Status: payment.DisputeWon, Amount: p.Captured, Currency: p.Currency})
}

// lapsed is an authorization that is gone, by our void or by its time: an order
// that it paid has no money any more. Its parcels stay, and a person decides.
func lapsed(ctx context.Context, tx pgx.Tx, tenantID string, p payment.Payment) error {
	if !p.Applied {
		return nil
	}
	reason := payment.ReasonLapsed
	if p.VoidTriedAt != nil {
		reason = payment.ReasonVoided
	}
	refunded, err := payment.VoidedByRefund(ctx, tx, tenantID, p.ID)
	if err != nil || refunded { // that was somebody's decision about the order
		return err
	}
	if err := order.Freeze(ctx, tx, tenantID, p.OrderID, reason); err != nil {
		return err
	}
	return order.RaiseAttention(ctx, tx, tenantID, p.OrderID, reason)
}
