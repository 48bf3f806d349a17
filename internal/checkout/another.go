package checkout

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/payment"
	"justlogistics/internal/timeline"
)

// apart splits what a gateway says of an attempt into what it says of the money
// that is the attempt's and of further approvals under its reference. An answer
// that was asked for before the attempt's own approval was known may be about
// another one: own then is what it says of the attempt's beside it, or nothing
// (no outcome).
func apart(p payment.Payment, a payment.Answer) (own payment.Answer, others []payment.Answer) {
	others = a.Others
	a.Others = nil
	if !p.Status.Approved() || p.CaptureRef == "" || a.CaptureRef == "" || a.CaptureRef == p.CaptureRef || a.Outcome != payment.OutcomeApproved {
		return a, others
	}
	rest := []payment.Answer{a}
	for _, other := range others {
		if other.CaptureRef == p.CaptureRef {
			own = other
			own.Reference = p.Reference
			continue
		}
		rest = append(rest, other)
	}
	return own, rest
}

// another records a further approval under the reference of p, and books that it
// goes back whole: whatever p pays, it pays nothing. Told again it books nothing
// more, records what became of the approval meanwhile, and names what of it is
// still under way.
func another(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, p payment.Payment, a payment.Answer, out *Ruling) error {
	other, recorded, ok, err := payment.Another(ctx, tx, tenantID, p, a)
	if err != nil || !ok {
		return err
	}
	if recorded {
		out.Changed = true
		data := map[string]any{"payment_id": other.ID, "gateway": p.Gateway, "amount": other.Amount, "reference": other.CaptureRef, "under_payment": p.ID}
		if err := timeline.Add(ctx, tx, tenantID, checkoutID, "payment_approved_again", "provider", data); err != nil {
			return err
		}
		if err := notApplied(ctx, tx, tenantID, checkoutID, &other, payment.ReasonDuplicate); err != nil {
			return err
		}
	}
	// First what went back already: only the rest is booked.
	if err := aftermath(ctx, tx, tenantID, checkoutID, other.ID, a, out); err != nil {
		return err
	}
	if other, err = payment.Load(ctx, tx, tenantID, other.ID); err != nil {
		return err
	}
	if other.Status == payment.StatusAuthorized {
		if recorded {
			if other, _, err = payment.AskVoid(ctx, tx, tenantID, other.ID, payment.ReasonDuplicate); err != nil {
				return err
			}
		}
		if other.VoidReason != "" {
			out.VoidIDs = append(out.VoidIDs, other.ID)
		}
		return nil
	}
	back := other.Captured - other.Refunded - other.RefundedElsewhere
	if a.Dispute != nil && a.Dispute.Status == payment.DisputeLost {
		back = 0 // its payer has the money already
	}
	if recorded && back > 0 {
		refundID, err := payment.IntendRefund(ctx, tx, tenantID, other, back, payment.ReasonDuplicate)
		if err != nil {
			return err
		}
		data := map[string]any{"refund_id": refundID, "payment_id": other.ID, "amount": back, "reason": payment.ReasonDuplicate}
		if err := timeline.Add(ctx, tx, tenantID, checkoutID, "refund_booked", "system", data); err != nil {
			return err
		}
	}
	open, err := openRefunds(ctx, tx, tenantID, other.ID)
	out.RefundIDs = append(out.RefundIDs, open...)
	return err
}

// openRefunds are the refunds of a payment that we decided and that are not over.
func openRefunds(ctx context.Context, tx pgx.Tx, tenantID, paymentID string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM refunds WHERE tenant = $1 AND payment_id = $2 AND origin = 'ours' AND request_id IS NULL AND revives IS NULL AND status IN ('pending','unknown','needs_attention') ORDER BY id`, tenantID, paymentID)
	if err != nil {
		return nil, fmt.Errorf("open refunds of payment %s: %w", paymentID, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("open refunds of payment %s: %w", paymentID, err)
	}
	return ids, nil
}
