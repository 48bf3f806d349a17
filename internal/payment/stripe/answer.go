package stripe

import (
	"strings"
	"time"

	stripesdk "github.com/stripe/stripe-go/v76"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// answer puts a session, with its payment intent expanded or not, in our terms.
// The intent decides where it is there: the session follows it, a moment later.
func answer(s *stripesdk.CheckoutSession) payment.Answer {
	a := payment.Answer{
		Reference: s.ID,
		PaymentID: firstOf(s.ClientReferenceID, s.Metadata["payment_id"]),
		Amount:    s.AmountTotal,
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
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, payment.CodeExpired
	case stripesdk.CheckoutSessionStatusComplete:
		complete(&a, s)
	case stripesdk.CheckoutSessionStatusOpen:
		if a.Outcome != payment.OutcomeDeclined {
			a.Outcome = payment.OutcomePending
		}
	default:
		a.Outcome, a.Code = payment.OutcomeUnknown, CodeUnreadable
		a.Message = "unknown status " + readable(string(s.Status))
	}
	return a
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
	a.Amount, a.Currency, a.LiveMode = pi.Amount, currency(pi.Currency), pi.Livemode
	a.PaymentID = firstOf(a.PaymentID, pi.Metadata["payment_id"])
	switch pi.Status {
	case stripesdk.PaymentIntentStatusSucceeded:
		a.Outcome, a.Captured, a.Amount = payment.OutcomeApproved, true, pi.AmountReceived
	case stripesdk.PaymentIntentStatusRequiresCapture:
		a.Outcome, a.Amount = payment.OutcomeApproved, pi.AmountCapturable
	case stripesdk.PaymentIntentStatusProcessing:
		a.Outcome, a.Processing = payment.OutcomePending, true
	case stripesdk.PaymentIntentStatusCanceled:
		a.Outcome, a.Closed, a.Code = payment.OutcomeDeclined, true, CodeCanceled
	default:
		a.Outcome = payment.OutcomePending
		if e := pi.LastPaymentError; e != nil {
			a.Outcome = payment.OutcomeDeclined
			a.Code = firstOf(string(e.DeclineCode), string(e.Code), CodePaymentFailed)
			a.Message = readable(e.Msg)
		}
	}
	if a.Outcome == payment.OutcomeApproved {
		approved(a, pi)
	}
}

// approved adds what the charge and the review say.
func approved(a *payment.Answer, pi *stripesdk.PaymentIntent) {
	manual := false
	if c := pi.LatestCharge; c != nil && c.Object != "" {
		a.Refunded = c.AmountRefunded
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

func refundAnswer(r *stripesdk.Refund) payment.RefundAnswer {
	a := payment.RefundAnswer{Reference: r.ID, Amount: r.Amount}
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
		a.Message = "unknown status " + readable(string(r.Status))
	}
	return a
}

func currency(c stripesdk.Currency) money.Currency {
	return money.Currency(strings.ToUpper(string(c)))
}
