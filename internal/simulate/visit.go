package simulate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Record is what a buyer did, was told, and finally found.
type Record struct {
	Buyer Buyer `json:"buyer"`
	// Occurred: the buyer came to do what its kind is about.
	Occurred bool `json:"occurred"`
	// CheckoutIDs are all that were answered to it; one, unless something is wrong.
	CheckoutIDs []string `json:"checkout_ids"`
	// Refused is the code with which the API refused the checkout for good.
	Refused  string     `json:"refused,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Shortage []shortage `json:"shortage,omitempty"`
	// Unanswered says what it never got a final answer to.
	Unanswered string `json:"unanswered,omitempty"`
	// Approvals are its approvals at a provider, in order.
	Approvals []Approval `json:"approvals,omitempty"`
	Cancelled bool       `json:"cancel_asked,omitempty"`
	// ToldCancelled and ToldPaid are what the API answered, or sent the buyer
	// back to the shop with.
	ToldCancelled bool `json:"told_cancelled,omitempty"`
	ToldPaid      bool `json:"told_paid,omitempty"`
	// Attempts counts the attempts at payment that the buyer asked for.
	Attempts int `json:"attempts"`
	// ServerErrors are answers of 500 and more that a buyer's browser saw.
	ServerErrors []string `json:"server_errors,omitempty"`
	Trouble      []string `json:"trouble,omitempty"` // what else went wrong in the script

	// Refunds are those that the shop asked for, Panel what it gave back in the
	// provider's panel (minor units), Dispute how far the buyer's bank went.
	Refunds []AskedRefund `json:"refunds,omitempty"`
	Panel   int64         `json:"panel_refund,omitempty"`
	Dispute string        `json:"dispute,omitempty"`
	// Doubted is, by payment, what may or may not have been given back of money
	// that paid nothing: the provider cannot be asked.
	Doubted map[string]int64 `json:"doubted,omitempty"`

	checkout *checkout // as it stood at last
	order    *order
}

// Approval is a buyer's approval at a provider.
type Approval struct {
	PaymentID string    `json:"payment_id"`
	At        time.Time `json:"at"`
	// Taken: the provider took it for certain.
	Taken bool `json:"taken"`
	// StoredAt is when the browser was back and sent on to the shop, which the
	// API does once it has taken note.
	StoredAt time.Time `json:"stored_at,omitzero"`
}

// visit is one buyer at work.
type visit struct {
	run  *run
	shop *storefront
	out  *world
	rec  *Record
	keys int
	// token is a card's, for the first attempt at the gateway that takes it.
	token string
	// rate is what the buyer has chosen of the carriers' offers; empty: the shop's own.
	rate, rateOf string
}

func (v *visit) buyer() Buyer { return v.rec.Buyer }

// key is a new idempotency key of this buyer.
func (v *visit) key() string {
	v.keys++
	return fmt.Sprintf("sim-%s-%d-%d", v.run.id, v.buyer().N, v.keys)
}

func (v *visit) body(gateway string) map[string]any {
	b := v.buyer()
	items := make([]map[string]any, len(b.Items))
	for i, item := range b.Items {
		items[i] = map[string]any{"sku": v.run.sku(item.SKU), "quantity": item.Quantity}
	}
	payment := map[string]any{"gateway": gateway, "return_url": "https://shop.example/thanks"}
	if v.token != "" && gateway == tokenGateway {
		payment["token"], payment["method"], payment["installments"] = v.token, "visa", 1
	}
	body := map[string]any{
		"items": items, "currency": "CLP",
		"customer":     map[string]any{"name": "Simulated Buyer", "email": fmt.Sprintf("sim-%s-%d@example.com", v.run.id, b.N)},
		"shipping":     map[string]any{"street": "Av. Providencia", "number": "1234", "comuna": "Providencia", "region": "RM", "country": "CL", "service": "standard"},
		"payment":      payment,
		"hold_seconds": b.Seconds, "metadata": map[string]any{"simulation": v.run.id, "buyer": b.N, "kind": b.Kind},
	}
	if v.rate != "" {
		body["shipping"] = map[string]any{"street": "Av. Providencia", "number": "1234", "comuna": "Providencia", "region": "RM", "country": "CL", "rate_id": v.rate}
	}
	if v.run.toTheDoor() {
		body["customer"].(map[string]any)["phone"], body["customer"].(map[string]any)["rut"] = "+56987654321", "11111111-1"
	}
	if b.Code {
		body["discount_code"] = v.run.code()
	}
	return body
}

// checkOut asks for the checkout until there is a final answer, changing the
// gateway when the API names alternatives. nil means that there is none.
func (v *visit) checkOut(ctx context.Context) *checkout {
	gateway, key := v.buyer().Gateway, v.key()
	for try := 0; ; try++ {
		a, err := v.shop.insist(ctx, http.MethodPost, checkoutsPath, key, v.body(gateway))
		if err != nil {
			v.rec.Unanswered = err.Error()
			return nil
		}
		c, refusal := v.began(ctx, a)
		if c != nil || refusal == nil {
			return c
		}
		if refusal.Code != "gateway_unavailable" || try == 5 {
			v.rec.Refused, v.rec.Reason, v.rec.Shortage = refusal.Code, a.String(), refusal.Lines
			return nil
		}
		switch {
		case len(refusal.Alternatives) > 0 && try%2 == 1:
			// Another body needs another key.
			gateway, key = refusal.Alternatives[0], v.key()
		case a.ok():
			// 202 was the final answer to this key; only a 5xx is tried again with it.
			key = v.key()
		}
		if err := rest(ctx, min(max(a.retry, 500*time.Millisecond), 2*time.Second)); err != nil {
			v.rec.Unanswered = err.Error()
			return nil
		}
	}
}

// began reads the answer to POST /v1/checkouts; after 202 the GET tells the end
// of it. Without a checkout and a refusal, the reason is in the record.
func (v *visit) began(ctx context.Context, a answer) (*checkout, *problem) {
	if !a.ok() {
		return nil, &a.problem
	}
	var c checkout
	if err := a.into(&c); err != nil {
		v.rec.Trouble = append(v.rec.Trouble, err.Error())
		return nil, nil
	}
	for c.Status == "reserving" {
		if rest(ctx, 500*time.Millisecond) != nil {
			v.rec.Unanswered = "checkout " + c.ID + " stays reserving"
			v.saw(c)
			return nil, nil
		}
		if err := v.shop.get(ctx, checkoutsPath+"/"+c.ID, &c); err != nil {
			v.rec.Unanswered = err.Error()
			v.saw(c)
			return nil, nil
		}
	}
	if c.Status == "cancelled" && c.Failure != nil && a.status == http.StatusAccepted {
		return nil, &problem{Code: c.Failure.Code, Detail: c.Failure.Message, Lines: c.Failure.Lines, Alternatives: v.run.othersThan(v.buyer().Gateway)}
	}
	v.saw(c)
	v.rec.Attempts = 1
	return &c, nil
}

func (v *visit) saw(c checkout) {
	if !slices.Contains(v.rec.CheckoutIDs, c.ID) {
		v.rec.CheckoutIDs = append(v.rec.CheckoutIDs, c.ID)
		if v.rateOf != "" {
			v.run.shift.mu.Lock()
			v.run.shift.out.chosen[c.ID] = v.rateOf
			v.run.shift.mu.Unlock()
		}
	}
}

// another asks for another attempt at payment and returns its payment's id, or
// "" when there is none.
func (v *visit) another(ctx context.Context, c *checkout, gateway string) string {
	for range 8 {
		a, err := v.shop.insist(ctx, http.MethodPost, checkoutsPath+"/"+c.ID+"/payments", v.key(), map[string]any{"gateway": gateway, "return_url": "https://shop.example/thanks"})
		if err != nil {
			v.rec.Unanswered = err.Error()
			return ""
		}
		switch {
		case a.ok():
			var after checkout
			if err := a.into(&after); err != nil {
				v.rec.Trouble = append(v.rec.Trouble, err.Error())
				return ""
			}
			v.rec.Attempts++
			*c = after
			if after.Payment == nil {
				return ""
			}
			return after.Payment.ID
		case a.problem.Code == "already_paid":
			v.rec.ToldPaid = true
			return ""
		case a.problem.Code == "payment_in_progress", a.problem.Code == "gateway_unavailable":
		case a.problem.Code == "hold_ended", a.problem.Code == "not_awaiting_payment":
			return ""
		default:
			v.rec.Trouble = append(v.rec.Trouble, "another attempt: "+a.String())
			return ""
		}
		if rest(ctx, time.Second) != nil {
			return ""
		}
	}
	return ""
}

// approve pays at the provider's page. The browser comes back unless the buyer
// closes the tab; one that finds nobody reloads, as people do.
func (v *visit) approve(ctx context.Context, paymentID string, comeBack bool) bool {
	approval := Approval{PaymentID: paymentID, At: time.Now()}
	took, err := v.out.step(ctx, paymentID, "approve", comeBack)
	switch {
	case errors.Is(err, errPageClosed):
		return false
	case errors.Is(err, errPerhapsTaken):
		if comeBack {
			took, err = v.out.step(ctx, paymentID, "return", true)
		}
	case err == nil:
		approval.Taken = true
	}
	if err != nil && !errors.Is(err, errPerhapsTaken) && !errors.Is(err, errPageClosed) {
		v.rec.Trouble = append(v.rec.Trouble, err.Error())
	}
	if err == nil && comeBack && v.back(ctx, paymentID, took) {
		approval.StoredAt = time.Now()
	}
	v.rec.Approvals = append(v.rec.Approvals, approval)
	return err == nil
}

// reloads is how often a buyer reloads a page that asks for patience.
const reloads = 10

// back judges how the browser was received, and reloads until it is sent on to
// the shop, as the waiting page does by itself.
func (v *visit) back(ctx context.Context, paymentID string, took stepTaken) bool {
	pause := 500 * time.Millisecond
	for range reloads {
		switch {
		case !took.Returned:
			return false
		case took.ReturnError != "", took.ReturnStatus == http.StatusOK: // nobody there, or please wait
		case took.ReturnStatus == http.StatusSeeOther:
			v.told(took.toldStatus())
			return true
		case took.ReturnStatus >= 500:
			v.rec.ServerErrors = append(v.rec.ServerErrors, fmt.Sprintf("payment %s: the return page answered %d", paymentID, took.ReturnStatus))
		default:
			v.rec.Trouble = append(v.rec.Trouble, fmt.Sprintf("payment %s: the return page answered %d", paymentID, took.ReturnStatus))
			return false
		}
		if rest(ctx, pause) != nil {
			return false
		}
		pause = min(2*pause, 4*time.Second)
		again, err := v.out.step(ctx, paymentID, "return", true)
		if errors.Is(err, errPageClosed) || errors.Is(err, errPerhapsTaken) {
			return false
		}
		if err != nil {
			v.rec.Trouble = append(v.rec.Trouble, err.Error())
			return false
		}
		took = again
	}
	return false
}

func (v *visit) told(status string) {
	switch status {
	case "paid":
		v.rec.ToldPaid = true
	case "cancelled":
		v.rec.ToldCancelled = true
	}
}

// leave declines or aborts and lets the browser come back.
func (v *visit) leave(ctx context.Context, paymentID, step string) bool {
	took, err := v.out.step(ctx, paymentID, step, true)
	if errors.Is(err, errPageClosed) || errors.Is(err, errPerhapsTaken) {
		return false
	}
	if err != nil {
		v.rec.Trouble = append(v.rec.Trouble, err.Error())
		return false
	}
	v.back(ctx, paymentID, took)
	return true
}

// cancel asks for the checkout to be cancelled.
func (v *visit) cancel(ctx context.Context, c *checkout) {
	v.rec.Cancelled = true
	a, err := v.shop.insist(ctx, http.MethodPost, checkoutsPath+"/"+c.ID+"/cancel", v.key(), map[string]any{"reason": "changed my mind"})
	if err != nil {
		v.rec.Unanswered = err.Error()
		return
	}
	switch {
	case a.status == http.StatusOK:
		var after checkout
		if err := a.into(&after); err != nil {
			v.rec.Trouble = append(v.rec.Trouble, err.Error())
			return
		}
		v.told(after.Status)
	case a.status == http.StatusAccepted: // it is decided later
	case a.problem.Code == "already_paid":
		v.rec.ToldPaid = true
	case a.problem.Code == "not_cancellable": // it is over
	default:
		v.rec.Trouble = append(v.rec.Trouble, "cancel: "+a.String())
	}
}

// hesitate is the buyer's own pause.
func (v *visit) hesitate(ctx context.Context) {
	// A pause that is cut short is followed by a step that is.
	_ = rest(ctx, time.Duration(v.buyer().Delay)*time.Millisecond)
}
