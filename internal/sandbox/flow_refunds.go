package sandbox

import (
	"fmt"
	"strconv"
	"time"
)

// The statuses of a refund.
const (
	flowRefundCreated   = "created"
	flowRefundRejected  = "rejected"
	flowRefunded        = "refunded"
	flowRefundCancelled = "canceled"
)

// flowRefund is the stored state of one refund.
type flowRefund struct {
	Token     string    `json:"token"`
	Account   string    `json:"account"`
	Number    int64     `json:"number"`
	Commerce  string    `json:"commerce"` // refundCommerceOrder
	Order     string    `json:"order"`    // token
	Amount    int64     `json:"amount"`
	Callback  string    `json:"callback"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	DueAt     time.Time `json:"due_at"` // zero: when somebody says so
}

func (r flowRefund) dueKey() string {
	return ordered(uint64(r.DueAt.UnixMilli())) + r.Token
}

func (p *flow) createRefund(t *tx, c *flowCall) (any, *flowRefusal) {
	refused := c.need("refundCommerceOrder", "receiverEmail", "amount", "urlCallBack")
	if refused != nil {
		return nil, refused
	}
	amount, refused := c.pesos(1)
	if refused != nil {
		return nil, refused
	}
	number, commerce := c.values.Get("flowTrxId"), c.values.Get("commerceTrxId")
	token, _ := get[string](t, bucketFlowNumbers, number)
	if number == "" {
		token, _ = get[string](t, bucketFlowShops, c.account+"/"+commerce)
	}
	x, refused := p.order(t, c, token)
	conf := p.settings(t)
	switch {
	case refused != nil:
		return nil, refused
	case number != "" && commerce != "" && x.Commerce != commerce:
		return nil, &flowRefusal{code: 107, message: "flowTrxId and commerceTrxId name two transactions"}
	case !flowEmail.MatchString(c.values.Get("receiverEmail")):
		return nil, &flowRefusal{code: 1620, message: "The receiverEmail is not valid"}
	case !isWebURL(c.values.Get("urlCallBack")):
		return nil, &flowRefusal{code: 107, message: "Invalid urlCallBack"}
	case conf.NoFunds:
		return nil, &flowRefusal{code: 501, message: "Insufficient funds to refund"}
	}
	r, refused := p.giveBack(t, x, amount, c.values.Get("refundCommerceOrder"), c.values.Get("urlCallBack"))
	if refused != nil {
		return nil, refused
	}
	if conf.RefundSeconds > 0 {
		r.DueAt = r.CreatedAt.Add(time.Duration(conf.RefundSeconds) * time.Second)
		put(t, bucketFlowDue, r.dueKey(), r.Token)
	}
	put(t, bucketFlowRefunds, r.Token, r)
	return p.viewRefund(r), nil
}

// giveBack begins a refund. What is under way counts as given back.
func (p *flow) giveBack(t *tx, x flowOrder, amount int64, commerce, callback string) (flowRefund, *flowRefusal) {
	switch {
	case x.Status != flowPaid:
		return flowRefund{}, &flowRefusal{code: 1611, message: "The transaction is not paid"}
	case x.Back+amount > x.Paid:
		return flowRefund{}, &flowRefusal{code: 1612, message: "The amount is greater than what is left of the transaction"}
	}
	r := flowRefund{
		Token: newFlowToken(), Account: x.Account, Number: 500_000 + int64(t.next("flow_refunds")), Commerce: commerce, Order: x.Token,
		Amount: amount, Callback: callback, Status: flowRefundCreated, CreatedAt: p.s.now(),
	}
	x.Back += amount
	put(t, bucketFlowOrders, x.Token, x)
	t.bookRefund(p.entry(x, r, refundPending))
	return r, nil
}

func (*flow) entry(x flowOrder, r flowRefund, status refundStatus) ledgerRefund {
	return ledgerRefund{
		PaymentID: x.Commerce, Gateway: flowName, Amount: r.Amount, Currency: "CLP", Status: status,
		Reference: r.Token, CreatedAt: r.CreatedAt,
	}
}

// decide ends a refund: the money moves, or it never does.
func (p *flow) decide(t *tx, r flowRefund, status string) ledgerRefund {
	x, _ := get[flowOrder](t, bucketFlowOrders, r.Order)
	if !r.DueAt.IsZero() {
		t.remove(bucketFlowDue, r.dueKey())
	}
	r.Status, r.DueAt = status, time.Time{}
	put(t, bucketFlowRefunds, r.Token, r)
	entry := p.entry(x, r, refundFailed)
	if status == flowRefunded {
		entry.Status = refundSucceeded
		x.Refunded += r.Amount
	} else {
		x.Back -= r.Amount
	}
	put(t, bucketFlowOrders, x.Token, x)
	t.bookRefund(entry)
	switch {
	case x.Refunded == 0:
	case x.Refunded < x.Paid:
		t.rebook(flowName, x.Token, chargePartiallyRefunded)
	default:
		t.rebook(flowName, x.Token, chargeRefunded)
	}
	if r.Callback != "" {
		p.tell(t, r.Token, r.Callback, 0)
	}
	return entry
}

// decideRefunds ends the refunds whose receivers have had their time.
func (p *flow) decideRefunds() error {
	limit := ordered(uint64(p.s.now().UnixMilli()) + 1)
	var due []string
	collect := func(t *tx) {
		due = nil
		each(t, bucketFlowDue, "", func(key, token string) bool {
			if key >= limit || len(due) == 100 {
				return false
			}
			due = append(due, token)
			return true
		})
	}
	if err := p.s.store.view(collect); err != nil || len(due) == 0 {
		return err
	}
	return p.s.store.update(func(t *tx) {
		collect(t)
		outcome := p.settings(t).RefundOutcome
		for _, token := range due {
			if r, found := get[flowRefund](t, bucketFlowRefunds, token); found && r.Status == flowRefundCreated {
				p.decide(t, r, outcome)
			}
		}
	})
}

func (p *flow) refund(t *tx, c *flowCall) (flowRefund, *flowRefusal) {
	if refused := c.need("token"); refused != nil {
		return flowRefund{}, refused
	}
	r, found := get[flowRefund](t, bucketFlowRefunds, c.values.Get("token"))
	if !found || r.Account != c.account {
		return r, &flowRefusal{code: 105, message: "Refund not found"}
	}
	return r, nil
}

func (p *flow) refundStatus(t *tx, c *flowCall) (any, *flowRefusal) {
	r, refused := p.refund(t, c)
	if refused != nil {
		return nil, refused
	}
	return p.viewRefund(r), nil
}

func (p *flow) cancelRefund(t *tx, c *flowCall) (any, *flowRefusal) {
	r, refused := p.refund(t, c)
	if refused != nil {
		return nil, refused
	}
	if r.Status != flowRefundCreated {
		return nil, &flowRefusal{code: 1613, message: "The refund is not pending"}
	}
	p.decide(t, r, flowRefundCancelled)
	r.Status = flowRefundCancelled
	return p.viewRefund(r), nil
}

// viewRefund is RefundStatus: its numbers are text with decimals.
func (p *flow) viewRefund(r flowRefund) map[string]any {
	return map[string]any{
		"token": r.Token, "flowRefundOrder": strconv.FormatInt(r.Number, 10), "date": p.local(r.CreatedAt),
		"status": r.Status, "amount": strconv.FormatInt(r.Amount, 10) + ".00", "fee": "240.00",
	}
}

// settleRefund is the receiver's decision on a refund; the same one again
// changes nothing, for it may have been made in time already.
func (p *flow) settleRefund(t *tx, reference string, succeed bool, _ string) (ledgerRefund, error) {
	r, found := get[flowRefund](t, bucketFlowRefunds, reference)
	if !found {
		return ledgerRefund{}, fmt.Errorf("refund %s: %w", reference, errNotFound)
	}
	status := flowRefundRejected
	if succeed {
		status = flowRefunded
	}
	switch r.Status {
	case flowRefundCreated:
		return p.decide(t, r, status), nil
	case status:
		x, _ := get[flowOrder](t, bucketFlowOrders, r.Order)
		entry := p.entry(x, r, refundFailed)
		if succeed {
			entry.Status = refundSucceeded
		}
		return entry, nil
	}
	return ledgerRefund{}, fmt.Errorf("%w: the refund is %s", errNotRefundable, r.Status)
}

// refundByHand is a refund made in the panel, which its receiver accepts at once.
func (p *flow) refundByHand(t *tx, token string, amount int64) (ledgerRefund, error) {
	x, found := get[flowOrder](t, bucketFlowOrders, token)
	if !found {
		return ledgerRefund{}, fmt.Errorf("order %s: %w", token, errNotFound)
	}
	if amount == 0 {
		amount = x.Paid - x.Back
	}
	r, refused := p.giveBack(t, x, amount, "", "")
	if refused != nil {
		return ledgerRefund{}, fmt.Errorf("%w: %s", errNotRefundable, refused.message)
	}
	return p.decide(t, r, flowRefunded), nil
}
