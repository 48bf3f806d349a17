package stripe

import (
	"strings"
	"time"

	stripesdk "github.com/stripe/stripe-go/v76"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// answer puts a session, with its payment intent expanded or not, in our terms.
// The intent decides where it is there: the session follows it, a moment later.
func answer(s *stripesdk.CheckoutSession) payment.Answer {
	a := payment.Answer{
		Reference: s.ID,
		PaymentID: firstOf(s.ClientReferenceID, s.Metadata["payment_id"]),
		Amount:    fromStripe(s.AmountTotal, currency(s.Currency)),
		Currency:  currency(s.Currency),
		LiveMode:  s.Livemode,
	}
	pi := s.PaymentIntent
	if pi != nil {
		a.CaptureRef = pi.ID
		fill(&a, pi)
		if a.Outcome == payment.OutcomeApproved || a.Processing {
			return a
		}
	}
	switch s.Status {
	case stripesdk.CheckoutSessionStatusExpired:
		expired(&a, pi)
	case stripesdk.CheckoutSessionStatusComplete:
		complete(&a, s)
	case stripesdk.CheckoutSessionStatusOpen:
		if a.Outcome != payment.OutcomeDeclined {
			a.Outcome = payment.OutcomePending
		}
	default:
		a.Outcome, a.Code = payment.OutcomeUnknown, CodeUnreadable
		a.Message = "unknown status " + httpclient.Readable(string(s.Status))
	}
	return a
}

// expired is the session whose time is over, or that was closed. Whose last card
// was refused has been declined: that the page went out of time later is no news
// about the card.
func expired(a *payment.Answer, pi *stripesdk.PaymentIntent) {
	a.Outcome, a.Closed = payment.OutcomeDeclined, true
	a.Code, a.Message = payment.CodeExpired, ""
	if code, message, ok := lastRefusal(pi); ok {
		a.Code, a.Message = code, message
	}
}

// lastRefusal is why the last try at an intent was declined. The intent's own
// word of it is gone when it is updated for another reason
// (https://docs.stripe.com/api/payment_intents/object#payment_intent_object-last_payment_error),
// and closing the session cancels it; a card that a bank has refused leaves its
// charge all the same.
func lastRefusal(pi *stripesdk.PaymentIntent) (code, message string, ok bool) {
	if pi == nil || pi.Object == "" {
		return "", "", false
	}
	if e := pi.LastPaymentError; e != nil {
		return firstOf(string(e.DeclineCode), string(e.Code), CodePaymentFailed), httpclient.Readable(e.Msg), true
	}
	c := pi.LatestCharge
	if c == nil || c.Object == "" || c.Status != stripesdk.ChargeStatusFailed {
		return "", "", false
	}
	reason := ""
	if c.Outcome != nil {
		reason = c.Outcome.Reason
	}
	return firstOf(reason, c.FailureCode, CodePaymentFailed), httpclient.Readable(c.FailureMessage), true
}

// complete is the session that the buyer has left for good, and whose intent
// does not say by itself how that ended.
func complete(a *payment.Answer, s *stripesdk.CheckoutSession) {
	switch {
	case s.PaymentStatus == stripesdk.CheckoutSessionPaymentStatusPaid,
		s.PaymentStatus == stripesdk.CheckoutSessionPaymentStatusNoPaymentRequired:
		a.Outcome, a.Captured = payment.OutcomeApproved, true
	case a.Outcome == payment.OutcomeDeclined:
		a.Closed = true // the page is gone: there is no second try
	case s.PaymentIntent != nil && s.PaymentIntent.Status == stripesdk.PaymentIntentStatusRequiresPaymentMethod:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, CodePaymentFailed
	default:
		a.Outcome, a.Processing = payment.OutcomePending, true
	}
}

// fill adds what an expanded payment intent says; one that is only an id says
// nothing.
func fill(a *payment.Answer, pi *stripesdk.PaymentIntent) {
	if pi.Object == "" {
		return
	}
	a.CaptureRef = pi.ID
	a.Currency, a.LiveMode = currency(pi.Currency), pi.Livemode
	amount := pi.Amount
	a.PaymentID = firstOf(a.PaymentID, pi.Metadata["payment_id"])
	switch pi.Status {
	case stripesdk.PaymentIntentStatusSucceeded:
		a.Outcome, a.Captured, amount = payment.OutcomeApproved, true, pi.AmountReceived
	case stripesdk.PaymentIntentStatusRequiresCapture:
		a.Outcome, amount = payment.OutcomeApproved, pi.AmountCapturable
	case stripesdk.PaymentIntentStatusProcessing:
		a.Outcome, a.Processing = payment.OutcomePending, true
	case stripesdk.PaymentIntentStatusCanceled:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, CodeCanceled
		if pi.CancellationReason == stripesdk.PaymentIntentCancellationReasonAutomatic {
			a.Code = payment.CodeExpired // an authorization that nobody captured in time
		}
	default:
		a.Outcome = payment.OutcomePending
		if pi.LastPaymentError != nil {
			a.Outcome = payment.OutcomeDeclined
			a.Code, a.Message, _ = lastRefusal(pi)
		}
	}
	a.Amount = fromStripe(amount, a.Currency)
	if a.Outcome == payment.OutcomeApproved {
		approved(a, pi)
	}
}

// approved adds what the charge and the review say.
func approved(a *payment.Answer, pi *stripesdk.PaymentIntent) {
	manual := false
	if c := pi.LatestCharge; c != nil && c.Object != "" {
		refunded(a, c)
		a.Fee = fee(c)
		if c.Outcome != nil {
			a.Risk = c.Outcome.RiskLevel
		}
		if c.Created > 0 {
			a.ApprovedAt = time.Unix(c.Created, 0).UTC()
		}
		if d := c.PaymentMethodDetails; d != nil {
			a.Method = string(d.Type)
			if d.Card != nil {
				a.CardLast4 = d.Card.Last4
				if d.Card.Installments != nil && d.Card.Installments.Plan != nil {
					a.Installments = int(d.Card.Installments.Plan.Count)
				}
			}
		}
		manual = c.Outcome != nil && c.Outcome.Type == "manual_review"
	}
	switch r := pi.Review; {
	case r == nil:
		a.Review = manual
	case r.Object == "":
		a.Review = true // only its id: taken for open
	default:
		a.Review = r.Open
	}
}

// refunded adds what was given back of a captured charge. amount_refunded alone
// will not do: when only a part was captured the rest stands there as given
// back, though it was never taken.
func refunded(a *payment.Answer, c *stripesdk.Charge) {
	if !c.Captured {
		return
	}
	if c.Refunds == nil {
		a.Refunded = fromStripe(c.AmountRefunded, a.Currency)
		return
	}
	for _, r := range c.Refunds.Data {
		if released(r, c) {
			continue
		}
		said := refundAnswer(r)
		a.Refunds = append(a.Refunds, payment.RefundSeen{Reference: r.ID, RefundID: r.Metadata["refund_id"], Amount: said.Amount, Outcome: said.Outcome})
		if said.Outcome != payment.OutcomeDeclined {
			a.Refunded += said.Amount
		}
	}
}

// captureMoment is how far from the capture its release of the rest is dated.
const captureMoment = 60

// released reports whether a refund is what Stripe writes when only a part of an
// authorization is captured: the rest, given back in the same moment, without
// metadata. No page of Stripe's describes it; it is taken from
// https://github.com/woocommerce/woocommerce-gateway-stripe/issues/1073 and
// pull request 861 there. An account whose charges have no such refund has
// nothing that matches.
func released(r *stripesdk.Refund, c *stripesdk.Charge) bool {
	if c == nil || c.Object == "" || !c.Captured || c.AmountCaptured >= c.Amount {
		return false
	}
	if r.Amount != c.Amount-c.AmountCaptured || len(r.Metadata) > 0 {
		return false
	}
	taken := c.BalanceTransaction
	return taken == nil || taken.Object == "" || r.Created <= taken.Created+captureMoment
}

// fee is what Stripe keeps of a charge, when it is in the charge's currency: an
// account that is settled in another has its fees in that one.
func fee(c *stripesdk.Charge) int64 {
	b := c.BalanceTransaction
	if b == nil || b.Object == "" || b.Currency != c.Currency {
		return 0
	}
	return fromStripe(b.Fee, currency(b.Currency))
}

// disputeSeen puts a dispute in our terms. A warning is a bank's inquiry, which
// has taken no money yet; one that is closed came to nothing.
func disputeSeen(d *stripesdk.Dispute) *payment.Dispute {
	out := &payment.Dispute{
		Reference: d.ID, Status: payment.DisputeOpen, Currency: currency(d.Currency), Reason: string(d.Reason),
	}
	out.Amount = fromStripe(d.Amount, out.Currency)
	switch d.Status {
	case stripesdk.DisputeStatusWon, stripesdk.DisputeStatusWarningClosed:
		out.Status = payment.DisputeWon
	case stripesdk.DisputeStatusLost:
		out.Status = payment.DisputeLost
	}
	if d.EvidenceDetails != nil && d.EvidenceDetails.DueBy > 0 {
		out.AnswerBy = time.Unix(d.EvidenceDetails.DueBy, 0).UTC()
	}
	return out
}

func refundAnswer(r *stripesdk.Refund) payment.RefundAnswer {
	a := payment.RefundAnswer{Reference: r.ID, Amount: fromStripe(r.Amount, currency(r.Currency))}
	switch r.Status {
	case stripesdk.RefundStatusSucceeded:
		a.Outcome = payment.OutcomeApproved
	case stripesdk.RefundStatusPending, stripesdk.RefundStatusRequiresAction:
		a.Outcome = payment.OutcomePending
	case stripesdk.RefundStatusFailed:
		a.Outcome, a.Code = payment.OutcomeDeclined, firstOf(string(r.FailureReason), "failed")
	case stripesdk.RefundStatusCanceled:
		a.Outcome, a.Code = payment.OutcomeDeclined, CodeCanceled
	default:
		a.Outcome, a.Code = payment.OutcomeUnknown, CodeUnreadable
		a.Message = "unknown status " + httpclient.Readable(string(r.Status))
	}
	return a
}

func currency(c stripesdk.Currency) money.Currency {
	return money.Currency(strings.ToUpper(string(c)))
}
