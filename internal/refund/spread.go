package refund

import (
	"slices"
	"time"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
)

// source is a payment that money may go back from.
type source struct {
	PaymentID string
	Gateway   payment.Name
	Status    payment.Status
	Applied   bool
	Currency  money.Currency
	Amount    int64
	Captured  int64
	Left      int64 // that may still go back; of an authorization, what can be voided
	// Unsettled: nobody knows yet what will have been taken. Also so of an
	// authorization that is being captured.
	Unsettled    bool
	Method       string
	Installments int
	CapturedAt   *time.Time
	Now          time.Time // the database's
}

// part is what goes back by one payment.
type part struct {
	source
	amount int64
	method string
}

// refusal says why amount cannot go back from a source, "" when it can be tried.
func (s source) refusal(amount int64, method string, currency money.Currency, able Able) string {
	switch {
	case s.Status == payment.StatusChargedBack:
		return CodeChargedBack
	case s.Status == payment.StatusDisputed:
		return CodeDisputed
	case !s.Applied:
		return CodeNotApplied
	case s.Currency != currency:
		return CodeOtherCurrency
	case s.Status == payment.StatusAuthorized && amount < s.Amount:
		return CodeNotCaptured
	case s.Status == payment.StatusAuthorized, method == BankTransfer:
		return ""
	}
	can, ok := able(s.Gateway)
	if !ok {
		return CodeNoGateway
	}
	at := s.Now
	if s.CapturedAt != nil {
		at = *s.CapturedAt
	}
	return can.CanRefund(amount, s.Captured, s.Method, s.Installments, at, s.Now)
}

// mostWhole bounds the payments of which several are tried as a whole: an order
// has one or two.
const mostWhole = 10

// spread divides total over sources, which come in the order in which money is
// to be taken from them. Among all ways that their gateways can do, it takes
// the one that gives most by the first source, then by the second, and so on; so
// a gateway that gives back only the whole is passed over when another can give
// a part.
func spread(total int64, from []source, can func(s source, amount int64) bool) ([]int64, bool) {
	var whole []int // sources of which only everything can go back
	parts := make([]bool, len(from))
	for i, s := range from {
		switch {
		case s.Left <= 0:
		case can(s, 1):
			parts[i] = true
		case can(s, s.Left) && len(whole) < mostWhole:
			whole = append(whole, i)
		}
	}
	var best []int64
	for chosen := range 1 << len(whole) {
		amounts, rest := make([]int64, len(from)), total
		for bit, i := range whole {
			if chosen&(1<<bit) != 0 {
				amounts[i] = from[i].Left
				rest -= from[i].Left
			}
		}
		if rest < 0 {
			continue
		}
		for i, s := range from {
			if parts[i] {
				amounts[i] = min(rest, s.Left)
				rest -= amounts[i]
			}
		}
		if rest == 0 && (best == nil || slices.Compare(amounts, best) > 0) {
			best = amounts
		}
	}
	return best, best != nil
}

// refused is one payment's reason in a refusal.
type refused struct {
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"`
	Reason    string `json:"reason"`
}

// pay chooses the parts by which total goes back.
func pay(total int64, from []source, method string, currency money.Currency, able Able) ([]part, error) {
	amounts, ok := spread(total, from, func(s source, amount int64) bool { return s.refusal(amount, method, currency, able) == "" })
	if !ok {
		return nil, impossible(total, from, method, currency, able)
	}
	var out []part
	for i, amount := range amounts {
		if amount == 0 {
			continue
		}
		p := part{source: from[i], amount: amount, method: method}
		if p.Status == payment.StatusAuthorized {
			p.method = Void
		}
		out = append(out, p)
	}
	return out, nil
}

// impossible is the refusal of a sum that no way of paying it back is left for,
// with the reason of each payment.
func impossible(total int64, from []source, method string, currency money.Currency, able Able) error {
	var why []refused
	only := ""
	for _, s := range from {
		if s.Left <= 0 {
			continue
		}
		reason := s.refusal(min(total, s.Left), method, currency, able)
		if reason == "" { // what is left of it is not enough
			continue
		}
		if why == nil {
			only = reason
		} else if only != reason {
			only = ""
		}
		why = append(why, refused{s.PaymentID, string(s.Gateway), reason})
	}
	switch {
	case len(why) == 0:
		return nothingLeft(0)
	case only == CodeDisputed:
		return problem.New(problem.Conflict, CodeDisputed, "The buyer's bank disputes this payment; nothing goes back until that has ended.").With("payments", why)
	case only == CodeNotCaptured:
		return problem.New(problem.Conflict, CodeNotCaptured, "The payment is authorized and not captured: only the whole of it can be given up.").With("payments", why)
	case only == CodeChargedBack:
		return nothingLeft(0)
	}
	p := problem.New(problem.Conflict, CodeNotPossible, "The gateway can't give this back; see the reasons of each payment.").With("payments", why)
	others := []string{}
	if method != BankTransfer {
		if _, err := pay(total, from, BankTransfer, currency, able); err == nil {
			others = append(others, BankTransfer)
		}
	}
	return p.With("alternatives", others)
}

func nothingLeft(left int64) error {
	return problem.New(problem.Conflict, CodeNothingLeft, "There is not that much left to give back.").With("left", left)
}
