package simulate

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// AskedRefund is a refund that the shop asked the API for.
type AskedRefund struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"` // minor units, as the API answered
	Status string `json:"status"`
	Why    string `json:"why,omitempty"` // of one that did not succeed
	// InDoubt: the provider's answer was lost and it cannot be asked: a person has
	// to look at its panel.
	InDoubt bool `json:"in_doubt,omitempty"`

	asked time.Time // when the API had answered
}

// untraced is the code of a refund that its provider cannot be asked for, mixed of one that
// it is asked for, and whose answer has more in it: what the panel gave back besides.
const untraced, mixed = "refund_untraced", "refund_mismatch"

// final reports whether a refund has come to an end, or waits for a person.
func (a AskedRefund) final() bool {
	return a.InDoubt || slices.Contains([]string{"succeeded", "failed", "needs_attention"}, a.Status)
}

// asksAPerson reports whether a refund waits for somebody to decide, which it does not any
// more once the bank has charged its payment back.
func (a AskedRefund) asksAPerson() bool { return a.Status == "needs_attention" && !a.InDoubt }

// boughtFirst pays, waits for the order, and then does what the kind is about.
func boughtFirst(then func(ctx context.Context, v *visit, o order)) func(context.Context, *visit) {
	return func(ctx context.Context, v *visit) {
		c := v.checkOut(ctx)
		p := c.payment()
		if p == "" || !v.approve(ctx, p, true) {
			return
		}
		if o, ok := v.order(ctx, c.ID); ok {
			then(ctx, v, o)
		}
	}
}

// order waits until a checkout is paid and reads its order; false when it is
// not going to be.
func (v *visit) order(ctx context.Context, checkoutID string) (o order, ok bool) {
	for pause := 300 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		var c checkout
		if err := v.shop.get(ctx, checkoutsPath+"/"+checkoutID, &c); err != nil {
			return o, false
		}
		switch c.Status {
		case "paid":
			err := v.shop.get(ctx, "/v1/orders/"+checkoutID, &o)
			if err != nil {
				v.rec.Trouble = append(v.rec.Trouble, err.Error())
			}
			return o, err == nil
		case "cancelled":
			return o, false
		}
		// An approval that is still under way may pay an expired one too.
		if c.ended() || rest(ctx, pause) != nil {
			return o, false
		}
	}
}

const refundsPath = "/v1/refunds"

// refund asks the shop to give money back; false when the API says that it
// cannot be, for one of the codes.
func (v *visit) refund(ctx context.Context, body map[string]any, codes ...string) bool {
	a, err := v.shop.insist(ctx, http.MethodPost, refundsPath, v.key(), body)
	if err != nil {
		v.rec.Unanswered = err.Error()
		return false
	}
	if !a.ok() {
		if !slices.Contains(codes, a.problem.Code) {
			v.rec.Trouble = append(v.rec.Trouble, "refund: "+a.String())
		}
		return false
	}
	var asked AskedRefund
	if err := a.into(&asked); err != nil {
		v.rec.Trouble = append(v.rec.Trouble, err.Error())
		return false
	}
	asked.asked = time.Now()
	v.rec.Refunds = append(v.rec.Refunds, asked)
	return true
}

func getsAllBack(ctx context.Context, v *visit, o order) {
	defer v.doubts(ctx, o.ID)()
	v.rec.Occurred = v.refund(ctx, map[string]any{"order_id": o.ID, "reason": "the buyer changed its mind"})
}

// getsAUnitBack gives one unit back; what the gateway takes back only whole is
// given back whole.
func getsAUnitBack(ctx context.Context, v *visit, o order) {
	part := map[string]any{"order_id": o.ID, "reason": "a unit was broken", "lines": []map[string]any{{"line_id": o.Lines[0].LineID, "quantity": 1}}}
	if v.refund(ctx, part, "refund_not_possible") {
		v.rec.Occurred = true
		return
	}
	getsAllBack(ctx, v, o)
}

// asksTwice asks for the same units twice at once: one of the two is refused.
func asksTwice(ctx context.Context, v *visit, o order) {
	body := map[string]any{"order_id": o.ID, "reason": "asked by two people"}
	if v.buyer().Coin {
		l := o.Lines[0]
		body["lines"] = []map[string]any{{"line_id": l.LineID, "quantity": l.Quantity}}
	}
	other := *v
	other.rec = &Record{Buyer: v.rec.Buyer}
	other.keys = v.keys + 100 // keys of its own
	var both sync.WaitGroup
	first, second := false, false
	codes := []string{"nothing_left_to_refund", "refund_not_possible", "validation_failed", "invalid_request", "amount_too_large"}
	both.Go(func() { second = other.refund(ctx, body, codes...) })
	first = v.refund(ctx, body, codes...)
	both.Wait()
	v.rec.join(other.rec)
	v.rec.Occurred = first != second
	if first && second {
		v.rec.Trouble = append(v.rec.Trouble, "the same units were given back twice")
	}
}

// refundedByPanel has the shop give back half of it in the provider's own
// panel, without telling us.
func refundedByPanel(ctx context.Context, v *visit, o order) {
	// The buyer may have paid elsewhere than it meant to.
	paid, ok := o.applied()
	if !ok || !slices.Contains(tellsOfPanels, paid.Gateway) {
		return
	}
	amount := max(paid.Captured/2, 1)
	body := fmt.Sprintf(`{"payment_id":%q,"gateway":%q,"amount":%d}`, paid.ID, paid.Gateway, amount)
	if err := v.out.want(ctx, http.MethodPost, "/ledger/refunds", body, nil); err != nil {
		v.rec.Trouble = append(v.rec.Trouble, "panel: "+err.Error())
		return
	}
	v.rec.Panel, v.rec.Occurred = amount, true
}

// disputes has the buyer's bank take the charge back, or try to.
func disputes(ctx context.Context, v *visit, o order) {
	paid, ok := o.applied()
	if !ok || !slices.Contains(disputable, paid.Gateway) {
		return
	}
	spoken := v.doubts(ctx, o.ID)
	defer spoken()
	end := "lost"
	if v.buyer().Coin {
		end = "won"
	}
	for _, status := range []string{"open", end} {
		if err := v.out.want(ctx, http.MethodPost, "/disputes/"+url.PathEscape(paid.ID)+"/"+status, "", nil); err != nil {
			v.rec.Trouble = append(v.rec.Trouble, "dispute: "+err.Error())
			return
		}
		v.rec.Dispute = status
		if status == "open" && v.run.toTheDoor() {
			v.isDisputed(ctx, o.ID)
			spoken()
		}
		v.hesitate(ctx)
	}
	v.rec.Occurred = true
}

// paysByToken pays in the storefront with a card that the gateway's own script
// has turned into a token.
func paysByToken(ctx context.Context, v *visit) {
	card := `{"card_number":"4168818844447115","security_code":"123","expiration_month":11,"expiration_year":2030,"cardholder":{"name":"APRO","identification":{"type":"RUT","number":"11111111-1"}}}`
	var token struct {
		ID string `json:"id"`
	}
	if err := v.out.want(ctx, http.MethodPost, "/"+tokenGateway+"/v1/card_tokens?public_key=TEST-sandbox-demo", card, &token); err == nil {
		v.token = token.ID
	}
	c := v.checkOut(ctx)
	if c == nil || c.Payment == nil {
		return
	}
	if c.Payment.Gateway != tokenGateway || v.token == "" || c.Payment.Redirect != nil {
		if p := c.payment(); p != "" {
			v.approve(ctx, p, true)
		}
		return
	}
	approval := Approval{PaymentID: c.Payment.ID, At: time.Now(), Taken: c.Status == "paid"}
	if approval.Taken {
		approval.StoredAt = approval.At
	}
	v.rec.Approvals = append(v.rec.Approvals, approval)
	v.rec.Occurred = true
}

// applied is the payment that pays the order.
func (o order) applied() (attempt, bool) {
	for _, p := range o.Payments {
		if p.Applied {
			return p, true
		}
	}
	return attempt{}, false
}

// inDoubt notes which refunds that nobody asked for (of a second, or a late,
// payment) cannot be looked up at their provider, and reports whether the
// checkout waits for nothing else.
func (r *run) inDoubt(ctx context.Context, rec *Record, c checkout) (bool, error) {
	a, err := r.shop.once(ctx, http.MethodGet, refundsPath+"?order_id="+url.QueryEscape(c.ID), "", nil)
	if err != nil || !a.ok() {
		return false, err
	}
	var list struct {
		Data []struct {
			Parts []struct {
				PaymentID string `json:"payment_id"`
				Amount    int64  `json:"amount"`
				Status    string `json:"status"`
				Code      string `json:"code"`
			} `json:"parts"`
		} `json:"data"`
	}
	if err := a.into(&list); err != nil {
		return false, err
	}
	rec.Doubted = map[string]int64{}
	for _, refund := range list.Data {
		for _, p := range refund.Parts {
			if p.Code == untraced && p.Status != "succeeded" && p.Status != "failed" {
				rec.Doubted[p.PaymentID] += p.Amount
			}
		}
	}
	return c.endedBut(rec.Doubted), nil
}

// heard reports whether the order tells of what was done without the API.
func (r *Record) heard() bool {
	if r.order == nil {
		return true
	}
	paid, ok := r.order.applied()
	if !ok {
		return true
	}
	var back, asked int64
	for _, refund := range r.order.Refunds {
		if refund.Status == "succeeded" {
			back += refund.Amount
		}
	}
	for _, refund := range r.Refunds {
		if refund.Status == "succeeded" {
			asked += refund.Amount
		}
	}
	if r.Dispute == "lost" && slices.ContainsFunc(r.Refunds, AskedRefund.asksAPerson) {
		return false // nobody has to decide what the bank has decided
	}
	return back >= asked+r.Panel && (r.Dispute == "" || (paid.Status == "charged_back") == (r.Dispute == "lost"))
}

// refunds asks what became of the refunds that were asked for; done when all
// have come to an end.
func (r *run) refunds(ctx context.Context, rec *Record) (done bool, err error) {
	done = true
	for i := range rec.Refunds {
		if rec.Refunds[i].final() && !(rec.Dispute == "lost" && rec.Refunds[i].asksAPerson()) {
			continue
		}
		a, err := r.shop.once(ctx, http.MethodGet, refundsPath+"/"+rec.Refunds[i].ID, "", nil)
		if err != nil || !a.ok() {
			return false, err
		}
		var now struct {
			AskedRefund
			Failure *failure `json:"failure"`
			Parts   []struct {
				Code string `json:"code"`
			} `json:"parts"`
		}
		if err := a.into(&now); err != nil {
			return false, err
		}
		if now.Failure != nil {
			now.Why = now.Failure.Code + " " + now.Failure.Message
		}
		for _, p := range now.Parts {
			now.InDoubt = now.InDoubt || (p.Code == untraced || p.Code == mixed && rec.Panel > 0) && now.Status != "succeeded"
		}
		now.asked = rec.Refunds[i].asked
		rec.Refunds[i] = now.AskedRefund
		done = done && rec.Refunds[i].final()
	}
	return done, nil
}

// afterSales: what was given back is what was asked for, once, and the API
// knows of what was given back without it.
func (e evidence) afterSales(r *Record, say sayFunc) {
	if r.order == nil {
		return
	}
	paid, ok := r.order.applied()
	if !ok {
		return
	}
	want, doubted := r.Panel, int64(0)
	for _, asked := range r.Refunds {
		switch {
		case asked.Status == "succeeded":
			want += asked.Amount
		case asked.InDoubt:
			doubted += asked.Amount
		case asked.Status == "needs_attention" && r.Panel > 0 && asked.Amount > paid.Captured-r.Panel:
			// The panel has given back what it was to be paid from, which a person is told.
		case r.Dispute == "lost" && asked.Status == "failed" && strings.HasPrefix(asked.Why, "payment_charged_back"):
			// The buyer has the money by the bank's decision.
		default:
			say("refund_not_made", "the refund %s of %d is %s %s", asked.ID, asked.Amount, asked.Status, asked.Why)
		}
	}
	var there, here int64
	for _, back := range e.ledger.refunds[paid.ID] {
		there += back.Amount
	}
	for _, refund := range r.order.Refunds {
		for _, part := range refund.Parts {
			if part.PaymentID == paid.ID && part.Status == "succeeded" {
				here += part.Amount
			}
		}
	}
	if there < want || there > want+doubted {
		say("gave_back_another_sum", "%d were to be given back of payment %s, %s gave back %d", want, paid.ID, paid.Gateway, there)
	}
	if here > there || here+doubted < there {
		say("refund_unknown", "%s gave back %d of payment %s, the order tells of %d", paid.Gateway, there, paid.ID, here)
	}
	switch {
	case r.Dispute == "lost" && paid.Status != "charged_back":
		say("dispute_unknown", "the buyer's bank took payment %s back, the API says %s", paid.ID, paid.Status)
	case r.Dispute == "won" && paid.Status == "disputed", r.Dispute == "open" && paid.Status != "disputed":
		say("dispute_unknown", "the dispute about payment %s is %s, the API says %s", paid.ID, r.Dispute, paid.Status)
	}
}
