package checkout

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/inbox"
	"justlogistics/internal/notice"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// News is what a gateway has answered about one attempt.
type News struct {
	PaymentID string         `json:"payment_id"`
	Answer    payment.Answer `json:"answer"`
	// AskedAt is the database's time before the gateway was asked: stored news
	// received before it is answered by this answer.
	AskedAt time.Time `json:"asked_at"`
	// Lapse is what an attempt becomes that ended without the bank's refusal:
	// expired (default) or cancelled.
	Lapse payment.Status `json:"lapse,omitempty"`
	// Person says that support stated the outcome, or ruled on a mismatch.
	Person bool `json:"person,omitempty"`
}

// Ruling is what was decided on News, and the checkout as it stands now.
type Ruling struct {
	View View `json:"view"`
	// Changed: the news moved something.
	Changed bool `json:"changed,omitempty"`
	// Paid: the checkout is an order now, by this or an earlier payment.
	Paid bool `json:"paid,omitempty"`
	// RefundID is a refund that was booked because the money may not be kept.
	RefundID string `json:"refund_id,omitempty"`
	// RefundIDs are more refunds whose runs are needed: those to be taken up
	// again, because the provider says that they have failed after they had
	// succeeded, and those of further approvals under the same reference.
	RefundIDs []string `json:"refund_ids,omitempty"`
	// VoidIDs are further approvals under the same reference that are only
	// authorized, and are to be given back.
	VoidIDs []string `json:"void_ids,omitempty"`
	// Void: the payment is an authorization that may not be kept, and is to be
	// given back.
	Void bool `json:"void,omitempty"`
	// Mismatch names what differs between the approval and its intent.
	Mismatch string `json:"mismatch,omitempty"`
	// CameBack is what was given back at the provider of a payment that pays
	// nothing, and has failed there since: nothing of ours gives it back, and a
	// person decides. In minor units.
	CameBack int64 `json:"came_back,omitempty"`
}

// ReasonReview is why an order waits that its payment's provider still reviews.
const ReasonReview = "payment_under_review"

// CodeAcceptedByPerson marks a payment that support has ruled to pay its order,
// whatever the gateway said or did not say.
const CodeAcceptedByPerson = "accepted_by_support"

// mismatchPrefix begins the reason of an approval that is not what was asked.
const mismatchPrefix = "mismatch_"

// holdAgainSeconds is how long stock is held for an approval that comes after
// its hold has ended: long enough to commit and record it.
const holdAgainSeconds = 120

// Record stores what a gateway says, whatever it is, and decides what follows:
// an approval that counts makes the order, one that may not be kept gets a
// refund booked, the rest moves the attempt along its table or changes
// nothing. Every further approval under the attempt's reference is a payment of
// its own and goes back. Inbox rows that the answer settles are marked in the
// same transaction. Recording the same news again decides the same.
func Record(ctx context.Context, db *postgres.DB, tenantID, checkoutID string, n News) (out Ruling, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		out = Ruling{}
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		p, err := payment.Lock(ctx, tx, tenantID, n.PaymentID)
		if err != nil {
			return err
		}
		if p.CheckoutID != checkoutID {
			return fmt.Errorf("payment %s is not of checkout %s", p.ID, checkoutID)
		}
		own, others := apart(p, n.Answer)
		if own.Outcome != "" {
			told := n
			told.Answer = own
			if err := move(ctx, tx, t, checkoutID, &r, &p, told, &out); err != nil {
				return err
			}
		}
		for _, a := range others {
			if err := another(ctx, tx, tenantID, checkoutID, p, a, &out); err != nil {
				return err
			}
		}
		if err := settleInbox(ctx, tx, tenantID, p, n, out); err != nil {
			return err
		}
		out.View, err = load(ctx, tx, tenantID, checkoutID)
		out.Paid = out.View.Status == Paid
		return err
	})
	return out, err
}

func move(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, r *row, p *payment.Payment, n News, out *Ruling) error {
	lapse := n.Lapse
	if lapse == "" {
		lapse = payment.StatusExpired
	}
	a := n.Answer
	if n.Person && strings.HasPrefix(p.NotAppliedReason, mismatchPrefix) && over(p.Status) {
		return nil // the money that a person rules on is gone
	}
	switch {
	case p.Status == payment.StatusAuthorized, p.Status == payment.StatusCancelled && p.VoidTriedAt != nil && p.Captured == 0:
		a, lapse = onAuthorization(*p, n)
	case n.Person && p.CaptureUntil != nil && p.Captured == 0:
		a.Captured = false // approved is authorized where captures are put off
	}
	to := payment.After(p.Status, a, lapse)
	if to == payment.StatusPending && p.Closed {
		to = lapse // what was in doubt is not paid, and never will be
	}
	closed := a.Closed || a.Outcome == payment.OutcomeApproved
	out.Changed = to != p.Status || closed && !p.Closed || payment.NewMoney(*p, a)
	if out.Changed || a.Code != p.Code || a.Outcome == payment.OutcomeApproved && a.Review != p.Review && !n.Person {
		if err := payment.Put(ctx, tx, t.ID, *p, a, to, closed); err != nil {
			return err
		}
	}
	if to != p.Status {
		data := map[string]any{"payment_id": p.ID, "gateway": p.Gateway, "from": p.Status, "amount": a.Amount}
		if a.Code != "" {
			data["code"] = a.Code
		}
		if n.Person {
			data["stated_by"] = "support"
		}
		if err := timeline.Add(ctx, tx, t.ID, checkoutID, "payment_"+string(to), "system", data); err != nil {
			return err
		}
	}
	if !to.Approved() {
		if p.Status == payment.StatusAuthorized {
			return lapsed(ctx, tx, t.ID, *p)
		}
		return nil
	}
	if !p.Applied {
		if err := rule(ctx, tx, t, checkoutID, r, p, n, out); err != nil {
			return err
		}
	} else if payment.NewMoney(*p, a) && a.Amount > 0 && a.Amount < p.Amount {
		if err := order.RaiseAttention(ctx, tx, t.ID, p.OrderID, payment.ReasonCapturedLess); err != nil {
			return err
		}
	}
	if err := aftermath(ctx, tx, t.ID, checkoutID, p.ID, a, out); err != nil {
		return err
	}
	return cameBack(ctx, tx, t.ID, p.ID, out)
}

// over reports whether an attempt has come to nothing, or its bank has given the
// money back.
func over(s payment.Status) bool {
	return s == payment.StatusDeclined || s == payment.StatusCancelled || s == payment.StatusExpired || s == payment.StatusChargedBack
}

// onAuthorization is an answer about an authorization, and what it becomes when
// the answer says that it is gone. A person who states an approval does not
// capture by that; a provider that voids by a refund tells of a void as of a
// sale that was given back whole.
func onAuthorization(p payment.Payment, n News) (a payment.Answer, lapse payment.Status) {
	a, lapse = n.Answer, payment.StatusExpired
	if p.VoidTriedAt != nil {
		lapse = payment.StatusCancelled
		if a.Outcome == payment.OutcomeApproved && p.Captured == 0 && a.Amount > 0 && a.Refunded >= a.Amount && a.Dispute == nil {
			a = payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: payment.CodeClosed, Reference: a.Reference, CaptureRef: a.CaptureRef}
		}
	}
	if n.Person {
		a.Captured = false
	}
	return a, lapse
}

// rule decides on money that was taken and is not applied to an order.
func rule(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, r *row, p *payment.Payment, n News, out *Ruling) error {
	captured := p.Status == payment.StatusAuthorized && n.Answer.Captured && n.Answer.Outcome == payment.OutcomeApproved
	if p.Status.Approved() && p.NotAppliedReason != "" && !n.Person && !captured {
		// Decided before: only the refund's id is repeated.
		refundID, err := bookedRefund(ctx, tx, t.ID, p.ID)
		if err != nil {
			return err
		}
		out.RefundID = refundID
		out.Void = p.Status == payment.StatusAuthorized && p.VoidReason != ""
		// A stray payment whose refund has failed waits with that refund; one that
		// went back at its provider waits for nothing.
		allBack := p.Captured > 0 && p.Refunded+p.RefundedElsewhere >= p.Captured
		if refundID == "" && !allBack && strings.HasPrefix(p.NotAppliedReason, mismatchPrefix) {
			out.Mismatch = p.NotAppliedReason
		}
		return nil
	}
	if wrong := payment.Mismatch(*p, n.Answer); wrong != "" && !n.Person {
		out.Mismatch, out.Changed = mismatchPrefix+wrong, true
		return notApplied(ctx, tx, t.ID, checkoutID, p, out.Mismatch)
	}
	refund := func(reason string) error {
		current, err := payment.Load(ctx, tx, t.ID, p.ID)
		if err != nil {
			return err
		}
		if err := notApplied(ctx, tx, t.ID, checkoutID, p, reason); err != nil {
			return err
		}
		if current.Status == payment.StatusAuthorized {
			out.Void = true
			_, _, err := payment.AskVoid(ctx, tx, t.ID, p.ID, reason)
			return err
		}
		back := current.Captured - current.Refunded - current.RefundedElsewhere
		if n.Answer.Dispute != nil && n.Answer.Dispute.Status == payment.DisputeLost {
			back = 0 // its payer has the money already
		}
		if back <= 0 {
			// Booked by an earlier turn of this.
			out.RefundID, err = bookedRefund(ctx, tx, t.ID, p.ID)
			return err
		}
		out.RefundID, err = payment.IntendRefund(ctx, tx, t.ID, current, back, reason)
		if err != nil {
			return err
		}
		out.Changed = true
		return timeline.Add(ctx, tx, t.ID, checkoutID, "refund_booked", "system", map[string]any{"refund_id": out.RefundID, "payment_id": p.ID, "amount": back, "reason": reason})
	}
	switch r.Status {
	case Paid:
		again, err := paysAgain(ctx, tx, t.ID, checkoutID, p)
		if err != nil || again {
			out.Changed = out.Changed || again
			return err
		}
		return refund(payment.ReasonDuplicate)
	case Cancelled:
		return refund(payment.ReasonCancelled)
	}
	confirmed := false
	var err error
	if r.HoldID != "" {
		if confirmed, err = stock.Confirm(ctx, tx, t.ID, r.HoldID, checkoutID); err != nil {
			return err
		}
	}
	if !confirmed {
		placed, holdID, err := place(ctx, tx, t, checkoutID, r, holdAgainSeconds)
		if err != nil {
			return err
		}
		if len(placed.Shortages) > 0 {
			return refund(payment.ReasonLate)
		}
		if confirmed, err = stock.Confirm(ctx, tx, t.ID, holdID, checkoutID); err != nil {
			return err
		}
		if !confirmed {
			return fmt.Errorf("hold %s could not be confirmed right after it was placed", holdID)
		}
		r.HoldID = holdID
		if err := timeline.Add(ctx, tx, t.ID, checkoutID, "held_again", "system", map[string]any{"reservation_id": holdID, "lines": placed.Lines}); err != nil {
			return err
		}
	}
	out.Changed = true
	return makeOrder(ctx, tx, t, checkoutID, r, p, n)
}

// paysAgain applies money to the order whose authorization it was, when it was
// taken for gone and has come after all.
func paysAgain(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, p *payment.Payment) (bool, error) {
	if p.OrderID != checkoutID || p.NotAppliedReason != payment.ReasonLapsed && p.NotAppliedReason != payment.NotAppliedVoided {
		return false, nil
	}
	tag, err := tx.Exec(ctx, `UPDATE payments SET applied = true, not_applied_reason = NULL, updated_at = now() WHERE tenant = $1 AND id = $2
	   AND NOT EXISTS (SELECT FROM payments WHERE tenant = $1 AND order_id = $3 AND applied)`, tenantID, p.ID, checkoutID)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	for _, reason := range []string{payment.ReasonLapsed, payment.ReasonVoided} {
		if err := order.Thaw(ctx, tx, tenantID, checkoutID, reason); err != nil {
			return false, err
		}
		if err := order.LowerAttention(ctx, tx, tenantID, checkoutID, reason); err != nil {
			return false, err
		}
	}
	return true, timeline.Add(ctx, tx, tenantID, checkoutID, "payment_came_after_all", "system", map[string]any{"payment_id": p.ID})
}

// bookedRefund is the refund of ours that a payment has, one that is at work
// before those that are made; "" when there is none.
func bookedRefund(ctx context.Context, tx pgx.Tx, tenantID, paymentID string) (refundID string, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT coalesce(request_id, id) FROM refunds WHERE tenant = $1 AND payment_id = $2 AND origin = 'ours' AND status <> 'failed' ORDER BY (status = 'succeeded'), id LIMIT 1), '')`, tenantID, paymentID).Scan(&refundID)
	if err != nil {
		return "", fmt.Errorf("refund of %s: %w", paymentID, err)
	}
	return refundID, nil
}

func notApplied(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string, p *payment.Payment, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE payments SET not_applied_reason = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, p.ID, reason)
	if err != nil {
		return fmt.Errorf("payment %s not applied: %w", p.ID, err)
	}
	return timeline.Add(ctx, tx, tenantID, checkoutID, "payment_not_applied", "system", map[string]any{"payment_id": p.ID, "reason": reason})
}

// makeOrder turns the checkout into a paid order.
func makeOrder(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, r *row, p *payment.Payment, n News) error {
	h, err := stock.Get(ctx, tx, t.ID, r.HoldID)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT sku, name, quantity, unit_price, tax FROM checkout_lines WHERE tenant = $1 AND checkout_id = $2 ORDER BY position`, t.ID, checkoutID)
	if err != nil {
		return fmt.Errorf("lines of %s: %w", checkoutID, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[order.NewLine])
	if err != nil {
		return fmt.Errorf("lines of %s: %w", checkoutID, err)
	}
	if r.Status != AwaitingPayment && r.Status != Reserving {
		if err := takeDiscountAgain(ctx, tx, t.ID, checkoutID); err != nil {
			return err
		}
	}
	promised, risk, err := promise(t, r.ShippingTo)
	if err != nil {
		return err
	}
	err = order.Create(ctx, tx, t.ID, order.New{ID: checkoutID, Number: r.Number, Channel: r.Channel, Currency: r.Currency, Email: r.Email, Customer: r.Customer, Shipping: r.ShippingTo,
		Metadata: r.Metadata, HoldID: r.HoldID, Lines: lines, Discount: r.Discount, ShippingTotal: r.Shipping, Tax: r.Tax, DispatchHours: t.Settings.DispatchHours, PromisedAt: promised, RiskAt: risk}, h.Lines)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(`UPDATE payments SET applied = true, applied_at = now(), order_id = $2, not_applied_reason = NULL, updated_at = now() WHERE tenant = $1 AND id = $3`, t.ID, checkoutID, p.ID)
	b.Queue(`UPDATE checkouts SET status = 'paid', order_id = id, hold_id = $3, failure_code = NULL, failure_message = NULL, updated_at = now(), due_at = now() + interval '10 minutes' WHERE tenant = $1 AND id = $2`, t.ID, checkoutID, r.HoldID)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("pay checkout %s: %w", checkoutID, err)
	}
	if n.Answer.Review {
		if err := order.RaiseAttention(ctx, tx, t.ID, checkoutID, ReasonReview); err != nil {
			return err
		}
	}
	if p.Status == payment.StatusDisputed { // a person has accepted it all the same
		if err := order.Freeze(ctx, tx, t.ID, checkoutID, ReasonDisputed); err != nil {
			return err
		}
		if err := order.RaiseAttention(ctx, tx, t.ID, checkoutID, ReasonDisputed); err != nil {
			return err
		}
	}
	if h.Status == "short" {
		if err := order.RaiseAttention(ctx, tx, t.ID, checkoutID, "short_stock"); err != nil {
			return err
		}
	}
	if err := notice.Queue(ctx, tx, t, checkoutID, notice.OrderPaid, checkoutID, notice.Data{}); err != nil {
		return err
	}
	return timeline.Add(ctx, tx, t.ID, checkoutID, "order_paid", "system", map[string]any{"payment_id": p.ID, "gateway": p.Gateway, "amount": p.Amount, "number": r.Number})
}

// promise is when the buyer was told to have it, by the rate of the checkout's address,
// counted from now: it is paid.
func promise(t tenant.Tenant, address []byte) (promised, risk *time.Time, err error) {
	var a Address
	if len(address) > 0 {
		if err := json.Unmarshal(address, &a); err != nil {
			return nil, nil, fmt.Errorf("address: %w", err)
		}
	}
	return shipping.AtOrder(t.Settings, time.Now(), a.PromisedDays)
}

// settleInbox marks the stored news that this answer settles.
func settleInbox(ctx context.Context, tx pgx.Tx, tenantID string, p payment.Payment, n News, out Ruling) error {
	if n.Answer.Outcome == payment.OutcomeUnknown {
		return nil
	}
	return inbox.SettleFor(ctx, tx, tenantID, p.ID, n.AskedAt, n.Answer.Outcome, out.Changed, "nothing new: the payment was "+string(p.Status))
}

// HoldAgain holds the stock of a checkout whose hold has ended, for a late
// return of a gateway that charges only when we commit. ok is false when there
// is not enough: then nothing may be committed.
func HoldAgain(ctx context.Context, db *postgres.DB, tenantID, checkoutID string) (v View, ok bool, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		ok = false
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		switch r.Status {
		case Paid, Cancelled:
			// Paid: a second attempt is not committed. Cancelled never becomes paid.
		default:
			h, err := stock.Get(ctx, tx, tenantID, r.HoldID)
			if err != nil {
				return err
			}
			if h.Live() {
				ok = true
				break
			}
			placed, holdID, err := place(ctx, tx, t, checkoutID, &r, holdAgainSeconds)
			if err != nil {
				return err
			}
			if ok = len(placed.Shortages) == 0; ok {
				if _, err := tx.Exec(ctx, `UPDATE checkouts SET hold_id = $3, updated_at = now(), due_at = now() + interval '20 minutes' WHERE tenant = $1 AND id = $2`, tenantID, checkoutID, holdID); err != nil {
					return fmt.Errorf("hold %s again: %w", checkoutID, err)
				}
				err = timeline.Add(ctx, tx, tenantID, checkoutID, "held_again", "system", map[string]any{"reservation_id": holdID, "lines": placed.Lines})
				if err != nil {
					return err
				}
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, ok, err
}

// LetGo frees the stock that HoldAgain held when the late attempt came to
// nothing. A confirmed hold stays.
func LetGo(ctx context.Context, db *postgres.DB, tenantID, checkoutID string) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		r, err := lock(ctx, tx, tenantID, checkoutID)
		if err != nil {
			return err
		}
		if !r.Status.Open() && r.HoldID != "" {
			if _, err := stock.Release(ctx, tx, tenantID, r.HoldID); err != nil {
				return err
			}
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

// Committable reports whether the buyer may be charged now: units are held and
// the checkout is neither paid nor cancelled. It keeps others from taking the
// hold until the transaction ends, which must announce the commit.
func Committable(ctx context.Context, tx pgx.Tx, tenantID, checkoutID string) (ok bool, err error) {
	err = tx.QueryRow(ctx, `SELECT c.status NOT IN ('paid','cancelled') AND EXISTS (
	      SELECT FROM holds h WHERE h.tenant = c.tenant AND h.id = c.hold_id AND h.status IN ('held','short') AND h.confirmed_at IS NULL)
	  FROM checkouts c WHERE c.tenant = $1 AND c.id = $2 FOR UPDATE OF c`, tenantID, checkoutID).Scan(&ok)
	if err != nil {
		return false, fmt.Errorf("may checkout %s be charged: %w", checkoutID, err)
	}
	return ok, nil
}

// NotCommitted settles the stored return of an attempt that we do not commit:
// the buyer was not charged.
func NotCommitted(ctx context.Context, db *postgres.DB, tenantID, checkoutID, paymentID, why string) (v View, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE inbox SET status = 'ignored', reason = $3, settled_at = now(), due_at = NULL WHERE tenant = $1 AND payment_id = $2 AND kind = 'return' AND status = 'pending'`, tenantID, paymentID, why)
		if err != nil {
			return fmt.Errorf("return of %s: %w", paymentID, err)
		}
		if tag.RowsAffected() > 0 {
			if err := timeline.Add(ctx, tx, tenantID, checkoutID, "late_return_not_committed", "system", map[string]any{"payment_id": paymentID, "why": why, "charged": false}); err != nil {
				return err
			}
		}
		// The gateway has said that nothing was charged: no doubt is left.
		_, err = tx.Exec(ctx, `UPDATE payments p SET status = CASE c.status WHEN 'cancelled' THEN 'cancelled' ELSE 'expired' END, due_at = NULL, updated_at = now()
		   FROM checkouts c WHERE c.tenant = p.tenant AND c.id = p.checkout_id AND p.tenant = $1 AND p.id = $2 AND p.status IN ('pending','processing','unknown') AND c.status NOT IN ('reserving','awaiting_payment')`, tenantID, paymentID)
		if err != nil {
			return fmt.Errorf("payment %s not committed: %w", paymentID, err)
		}
		v, err = load(ctx, tx, tenantID, checkoutID)
		return err
	})
	return v, err
}

// RefundStray books the refund of what is left of a payment that a person has
// ruled not to be kept (a mismatch, or money that came back), or asks for the void of one that is only authorized. The id
// is empty when there is nothing to refund.
func RefundStray(ctx context.Context, db *postgres.DB, tenantID, checkoutID, paymentID string) (refundID string, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		p, err := payment.Lock(ctx, tx, tenantID, paymentID)
		if err != nil {
			return err
		}
		if p.Status == payment.StatusAuthorized {
			_, _, err := payment.AskVoid(ctx, tx, tenantID, paymentID, payment.ReasonMismatch)
			return err
		}
		back := p.Captured - p.Refunded - p.RefundedElsewhere
		if back <= 0 { // booked before, or gone back at the provider
			refundID, err = bookedRefund(ctx, tx, tenantID, paymentID)
			return err
		}
		reason := payment.ReasonMismatch
		if strings.HasPrefix(p.NotAppliedReason, mismatchPrefix) {
			refundID, err = payment.IntendRefund(ctx, tx, tenantID, p, back, reason)
		} else {
			reason = payment.ReasonCameBack
			refundID, err = payment.BookRefund(ctx, tx, tenantID, p, back, reason)
		}
		if err != nil {
			return err
		}
		return timeline.Add(ctx, tx, tenantID, checkoutID, "refund_booked", "support", map[string]any{"refund_id": refundID, "payment_id": paymentID, "reason": reason})
	})
	return refundID, err
}
