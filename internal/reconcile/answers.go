package reconcile

import (
	"slices"
	"time"

	"justlogistics/internal/payment"
)

// Answered turns a provider's answer about a payment of ours into lines: its
// charge, whatever became of it, and what the provider has given back beyond
// known, which is what our books say of it (minor units), with the names of
// those refunds. An answer has no dates of refunds: they count to the charge's
// day.
func Answered(p payment.Payment, said payment.Answer, known int64, references []string) []Line {
	at := said.ApprovedAt
	if at.IsZero() {
		at = p.At().BegunAt
	}
	charge := Line{Source: FromQuestions, Kind: payment.ChargeTransaction, Key: p.ID, PaymentID: p.ID, Reference: first(said.Reference, p.Reference), CaptureRef: first(said.CaptureRef, p.CaptureRef),
		Amount: said.Amount, Fee: said.Fee, Currency: said.Currency, Outcome: said.Outcome, Captured: said.Captured, At: at.UTC()}
	if charge.Currency == "" {
		charge.Currency = p.Currency
	}
	if charge.Outcome != payment.OutcomeApproved {
		charge.Amount = max(charge.Amount, 0)
		return []Line{charge}
	}
	if said.Dispute != nil {
		charge.Dispute = said.Dispute.Status
	}
	lines := []Line{charge}
	beyond := said.Refunded - known
	for _, r := range said.Refunds {
		if beyond <= 0 {
			return lines
		}
		if r.Outcome != payment.OutcomeApproved || r.RefundID != "" || slices.Contains(references, r.Reference) || r.Reference == "" {
			continue
		}
		beyond -= r.Amount
		lines = append(lines, Line{Source: FromQuestions, Kind: payment.RefundTransaction, Key: r.Reference, PaymentID: p.ID, RefundReference: r.Reference, Amount: r.Amount, Currency: charge.Currency,
			Outcome: payment.OutcomeApproved, At: charge.At})
	}
	if beyond > 0 {
		lines = append(lines, Line{Source: FromQuestions, Kind: payment.RefundTransaction, Key: "of:" + p.ID, PaymentID: p.ID, Amount: beyond, Currency: charge.Currency, Outcome: payment.OutcomeApproved, At: charge.At})
	}
	return lines
}

// AnsweredRefund turns a provider's answer about a refund of ours into lines. at
// is when our books say that it went back: the answer has no date. A refund of
// which the provider knows nothing has no line.
func AnsweredRefund(r payment.RefundRecord, said payment.RefundAnswer, at time.Time) []Line {
	if said.Code == payment.CodeNoSuchRefund {
		return nil
	}
	l := Line{Source: FromQuestions, Kind: payment.RefundTransaction, Key: r.ID, PaymentID: r.PaymentID, RefundID: r.ID, RefundReference: first(said.Reference, r.Reference), Amount: said.Amount, Currency: r.Currency,
		Outcome: said.Outcome, At: at.UTC()}
	if l.Amount == 0 {
		l.Amount = r.Amount
	}
	return []Line{l}
}
