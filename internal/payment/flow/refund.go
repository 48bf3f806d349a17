package flow

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

var flowOrderText = regexp.MustCompile(`^[0-9]{1,18}$`)

// Refund asks Flow to give back: POST /refund/create. Flow mails the receiver,
// who accepts or refuses; the answer is OutcomePending with the refund's token
// as Reference.
//
// Nothing says that Flow refuses a refundCommerceOrder that it has had before,
// so the call is sent only when before is Untried or says CodeNoSuchRefund,
// which LookupRefund never does; every 5xx, a 503 too, is OutcomeUnknown.
func (g *Gateway) Refund(ctx context.Context, in payment.RefundIntent, before payment.LookedRefund) (payment.RefundAnswer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome != payment.OutcomeDeclined || a.Code != payment.CodeNoSuchRefund) {
		return a, nil
	}
	address, err := callback(in.NotifyURL, in.RefundID)
	switch {
	case in.Attempt.Reference == "" && in.Attempt.CaptureRef == "":
		return payment.RefundAnswer{}, g.invalid("flowTrxId", "a payment without a link was never charged")
	case in.Currency != money.CLP:
		return payment.RefundAnswer{}, g.invalid("currency", fmt.Sprintf("this account charges CLP, not %s", in.Currency))
	case in.Amount <= 0:
		return payment.RefundAnswer{}, g.invalid("amount", "the amount must be positive")
	case in.RefundID == "":
		return payment.RefundAnswer{}, g.invalid("refundCommerceOrder", "the refund has no id")
	case in.Email == "":
		return payment.RefundAnswer{}, g.invalid("receiverEmail", "Flow asks for the e-mail of who accepts the refund")
	case err != nil:
		return payment.RefundAnswer{}, g.invalid("urlCallBack", err.Error())
	}
	p := params{
		"refundCommerceOrder": in.RefundID,
		"receiverEmail":       in.Email,
		"amount":              strconv.FormatInt(in.Amount, 10),
		"urlCallBack":         address,
	}
	// Orders of one commerceOrder can be several, of one flowOrder only one.
	if flowOrderText.MatchString(in.Attempt.CaptureRef) {
		p["flowTrxId"] = in.Attempt.CaptureRef
	} else {
		p["commerceTrxId"] = in.Attempt.PaymentID
	}
	var r refund
	v := g.post(ctx, "/refund/create", p, &r)
	switch {
	case v.ok() && !tokenText.MatchString(r.Token):
		v.code, v.message = CodeUnreadable, "the refund's answer has no token"
	case v.ok():
		return r.answer(in)
	case v.certain() && v.status != http.StatusServiceUnavailable:
		return payment.RefundAnswer{}, v.failure()
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: v.code, Message: v.message}, nil
}

// LookupRefund asks for a refund by its token: GET /refund/getStatus. Flow can
// be asked for one in no other way, and its answers about a payment do not tell
// what was given back: without in.Reference the answer is OutcomeUnknown with
// payment.CodeRefundUntraced, and a person who reads Flow's panel has to say what
// became of it.
func (g *Gateway) LookupRefund(ctx context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	if in.Reference == "" {
		return payment.AskedRefund(payment.RefundAnswer{
			Outcome: payment.OutcomeUnknown, Code: payment.CodeRefundUntraced,
			Message: "Flow's answer to the refund was lost; look for it in Flow's panel by its order number " + in.RefundID,
		}), nil
	}
	var r refund
	v := g.get(ctx, "/refund/getStatus", params{"token": in.Reference}, &r)
	if !v.ok() {
		return payment.UntriedRefund, v.unanswered()
	}
	r.Token = in.Reference
	a, err := r.answer(in)
	if err != nil {
		return payment.UntriedRefund, err
	}
	return payment.AskedRefund(a), nil
}

// refund is Flow's RefundStatus.
type refund struct {
	Token  string `json:"token"`
	Status string `json:"status"`
	Amount text   `json:"amount"`
	Fee    text   `json:"fee"`
}

// answer says what the status of a refund means. A refund of another sum than
// was asked for is not ours to count as such.
func (r refund) answer(in payment.RefundIntent) (payment.RefundAnswer, error) {
	a := payment.RefundAnswer{Reference: r.Token, Amount: in.Amount}
	if r.Amount != "" {
		amount, err := minor(string(r.Amount), in.Currency)
		if err != nil {
			a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnreadable, "the refund's amount cannot be read"
			return a, nil
		}
		a.Amount = amount
	}
	switch r.Status {
	case "created", "accepted":
		a.Outcome = payment.OutcomePending
	case "refunded":
		a.Outcome = payment.OutcomeApproved
	case "rejected":
		a.Outcome, a.Code, a.Message = payment.OutcomeDeclined, CodeRefundRejected, "the receiver refused the refund"
	case "canceled", "cancelled":
		a.Outcome, a.Code, a.Message = payment.OutcomeDeclined, CodeRefundCancelled, "the refund was cancelled at Flow"
	default:
		a.Outcome, a.Code, a.Message = payment.OutcomeUnknown, CodeUnknownStatus, "Flow says "+httpclient.Readable(r.Status)
	}
	if a.Amount != in.Amount && a.Outcome != payment.OutcomeDeclined {
		a.Outcome, a.Code = payment.OutcomeUnknown, "another_amount"
		a.Message = fmt.Sprintf("Flow's refund is of %d, ours of %d", a.Amount, in.Amount)
	}
	return a, nil
}
