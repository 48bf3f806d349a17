package khipu

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
)

// Refund asks Khipu to give back in.Amount: POST /v3/payments/{id}/refunds,
// which takes only money that Khipu has not paid out to the shop yet, or with a
// refund wallet POST /v3/refunds. Khipu carries it out in its daily cycle:
// OutcomePending, unless it says that it is done.
//
// Khipu does not recognize a repetition (each call gives back again), and has
// answered 500 to refunds that it then made
// (https://github.com/khipu/prestashop-khipu, docs/manual-tecnico.md). So it is
// sent only when before is Untried or says CodeNoSuchRefund, and every 5xx, a
// 503 too, is OutcomeUnknown.
func (g *Gateway) Refund(ctx context.Context, in payment.RefundIntent, before payment.LookedRefund) (payment.RefundAnswer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome != payment.OutcomeDeclined || a.Code != payment.CodeNoSuchRefund) {
		return a, nil
	}
	switch {
	case in.Attempt.Reference == "":
		return payment.RefundAnswer{}, invalid(CodeNoSuchPayment, "a payment without a link was never paid")
	case in.Currency != in.Attempt.Currency:
		return payment.RefundAnswer{}, invalid("currency", fmt.Sprintf("the payment was made in %s", in.Attempt.Currency))
	case in.Amount <= 0:
		return payment.RefundAnswer{}, invalid("amount", "the amount must be positive")
	}
	if g.config.RefundWallet {
		return g.refundFromWallet(ctx, in)
	}
	var done struct {
		Message *string `json:"message"`
	}
	// The amount is always named: without one Khipu gives back the whole.
	v := g.call(ctx, http.MethodPost, "/payments/"+url.PathEscape(in.Attempt.Reference)+"/refunds",
		map[string]any{"amount": json.Number(written(in.Amount, in.Currency))}, &done)
	if v.ok() && done.Message == nil {
		v.code, v.message = CodeUnreadable, "the refund's answer lacks its message"
	} else if v.ok() {
		return g.accepted(ctx, in), nil
	}
	return v.refundRefused()
}

// accepted is the answer to a refund that Khipu has taken without naming it.
// The payment is asked for the name, so that this refund is told apart from
// those that others make; where it lists none, the payment's own stands for it.
func (g *Gateway) accepted(ctx context.Context, in payment.RefundIntent) payment.RefundAnswer {
	p, found, err := g.find(ctx, in.Attempt.Reference)
	if err != nil || !found {
		return doubt(CodeAcceptedUnread, "the refund was accepted, and the payment could not be read after it")
	}
	in.Reference = in.Attempt.Reference
	return g.outcome(in, p)
}

// refundFromWallet is the call of accounts with a refund wallet, which the
// published reference does not have; Khipu's own modules use it
// (https://github.com/khipu/prestashop-khipu, classes/KhipuRefundService.php).
// There an answer without a message is a refund that is done.
func (g *Gateway) refundFromWallet(ctx context.Context, in payment.RefundIntent) (payment.RefundAnswer, error) {
	var done struct {
		ID        string `json:"id"`
		PaymentID string `json:"payment_id"`
		Refunded  text   `json:"refunded_amount"`
		Message   string `json:"message"`
	}
	v := g.call(ctx, http.MethodPost, "/refunds", map[string]any{
		"type": "partial", "payment_id": in.Attempt.Reference, "amount": written(in.Amount, in.Currency),
	}, &done)
	if !v.ok() {
		return v.refundRefused()
	}
	refunded, err := done.Refunded.minor(in.Currency)
	if err != nil || done.ID == "" || done.PaymentID != in.Attempt.Reference {
		v.code, v.message = CodeUnreadable, "the refund's answer lacks its id, payment or amount"
		return v.refundRefused()
	}
	a := payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: httpclient.Readable(done.ID), Amount: refunded, Message: httpclient.Readable(done.Message)}
	if done.Message != "" {
		a.Outcome = payment.OutcomePending
	}
	return a, nil
}

// refundRefused is the answer to a refund that was not accepted: a failure when
// Khipu surely gave nothing back, else a doubt.
func (v verdict) refundRefused() (payment.RefundAnswer, error) {
	if !v.ok() && v.certain() && v.status != http.StatusServiceUnavailable {
		switch v.field {
		case "payment_id":
			v.code = CodeNotRefundable
		case "amount":
			v.code = CodeRefundTooLarge
		case "receiver_id":
			v.code = CodeRefundsOff
		}
		return payment.RefundAnswer{}, v.failure()
	}
	return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: v.code, Message: v.message}, nil
}

// LookupRefund reads the payment, for refunds cannot be asked for. Where Khipu
// lists them, the one with in.Reference is told; else what went back is
// compared with what we knew before: equal to it, CodeNoSuchRefund, or still on
// its way when it was accepted; equal to it and this refund, made. Anything
// else was done by others and is OutcomeUnknown with CodeRefundMismatch.
//
// Where Khipu tells no amounts, a payment that was refunded in part leaves a
// doubt, OutcomeUnknown with CodeRefundsUntold, unless this refund was accepted.
func (g *Gateway) LookupRefund(ctx context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	if in.Attempt.Reference == "" {
		return payment.AskedRefund(noSuchRefund), nil
	}
	p, found, err := g.find(ctx, in.Attempt.Reference)
	switch {
	case err != nil:
		return payment.UntriedRefund, err
	case !found:
		return payment.AskedRefund(doubt(CodeNoSuchPayment, "Khipu does not have the payment")), nil
	}
	return payment.AskedRefund(g.outcome(in, p)), nil
}

var noSuchRefund = payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchRefund}

// outcome tells what became of a refund from what its payment says.
func (g *Gateway) outcome(in payment.RefundIntent, p transfer) payment.RefundAnswer {
	said := g.answer(in.Attempt, p)
	switch {
	case said.Outcome == payment.OutcomeUnknown:
		return doubt(said.Code, said.Message)
	case said.Outcome != payment.OutcomeApproved:
		return noSuchRefund
	case said.Currency != in.Currency:
		return doubt(CodeRefundMismatch, "the payment is in another currency")
	}
	back, err := p.givenBack(said.Amount, said.Currency)
	switch {
	case err != nil:
		return doubt(CodeUnreadable, err.Error())
	case back.told:
		return told(in, back)
	}
	return untold(in, said.Amount, word(p.StatusDetail))
}

// told is the outcome where the amounts that went back are known.
func told(in payment.RefundIntent, back returned) payment.RefundAnswer {
	accepted := in.Reference != ""
	a := payment.RefundAnswer{Reference: in.Reference, Amount: in.Amount}
	expired, onTheWay := false, false
	for _, seen := range back.single {
		if accepted && seen.Reference == in.Reference {
			a.Amount, a.Outcome = seen.Amount, seen.Outcome
			if seen.Outcome == payment.OutcomeDeclined {
				a.Code = CodeRefundExpired
			}
			return a
		}
		expired = expired || seen.Outcome == payment.OutcomeDeclined && seen.Amount == in.Amount
		onTheWay = onTheWay || seen.Outcome == payment.OutcomePending
	}
	switch {
	case back.sum == in.RefundedBefore && accepted && expired:
		a.Outcome, a.Code = payment.OutcomeDeclined, CodeRefundExpired
		return a
	case back.sum == in.RefundedBefore && accepted:
		a.Outcome = payment.OutcomePending
		return a
	case back.sum == in.RefundedBefore:
		return noSuchRefund
	case back.sum != in.RefundedBefore+in.Amount:
		return doubt(CodeRefundMismatch, fmt.Sprintf("given back %d, expected %d or %d", back.sum, in.RefundedBefore, in.RefundedBefore+in.Amount))
	}
	a.Outcome = payment.OutcomeApproved
	if seen, one := back.newest(in.Amount); one {
		a.Reference, a.Outcome = seen.Reference, seen.Outcome
	} else if onTheWay {
		a.Outcome = payment.OutcomePending
	}
	return a
}

// newest is the last refund of an amount that did not expire.
func (r returned) newest(amount int64) (payment.RefundSeen, bool) {
	for _, seen := range slices.Backward(r.single) {
		if seen.Amount == amount && seen.Outcome != payment.OutcomeDeclined {
			return seen, true
		}
	}
	return payment.RefundSeen{}, false
}

// untold is the outcome where Khipu tells that some of taken went back, and not
// how much.
func untold(in payment.RefundIntent, taken int64, detail string) payment.RefundAnswer {
	a := payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: in.Reference, Amount: in.Amount}
	last := in.RefundedBefore+in.Amount >= taken
	switch {
	case detail == detailReversed && in.RefundedBefore+in.Amount == taken:
		// By the reference: the money was returned to the payer, all of it.
	case detail == detailReversed || in.Reference == "":
		return doubt(CodeRefundsUntold, "some was given back, and Khipu does not tell how much")
	case last:
		a.Outcome = payment.OutcomePending // when everything has gone back, it says so
	}
	// Of one part among others its acceptance is all that there is to know.
	return a
}

func doubt(code, message string) payment.RefundAnswer {
	return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: code, Message: message}
}
