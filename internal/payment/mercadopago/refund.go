package mercadopago

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	mppayment "github.com/mercadopago/sdk-go/pkg/payment"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// Refund gives back: POST /v1/payments/{id}/refunds, under the refund's id as
// key, so that a repetition refunds nothing more (seen by others on production;
// how long a key holds is not published, which is why a repetition asks first).
// The amount is always sent: without one Mercado Pago gives back whatever is
// left. A refund that waits for the seller's funds is OutcomePending.
func (g *Gateway) Refund(ctx context.Context, in payment.RefundIntent, before payment.LookedRefund) (payment.RefundAnswer, error) {
	if a, asked := before.Answer(); asked && (a.Outcome != payment.OutcomeDeclined || a.Code != payment.CodeNoSuchRefund) {
		return a, nil
	}
	if in.RefundID == "" || in.Amount <= 0 || in.Amount >= 1<<53 {
		return payment.RefundAnswer{}, invalid("parameter_missing", "a refund needs an id and a positive amount")
	}
	number, err := g.numberOf(ctx, in.Attempt)
	if err != nil {
		return payment.RefundAnswer{}, err
	}
	if number == 0 {
		return payment.RefundAnswer{}, invalid("nothing_charged", "the attempt has no payment to give back")
	}
	r, v := perform[refundOfMoney](ctx, &call{key: in.RefundID, refund: true}, func(ctx context.Context) error {
		_, err := g.refunds.CreatePartialRefund(ctx, number, float64(in.Amount))
		return err
	})
	switch {
	case v.certain(true):
		return payment.RefundAnswer{}, v.failure()
	case !v.answered:
		return payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: v.code, Message: v.message}, nil
	}
	return r.answer(in.Currency), nil
}

// LookupRefund reads the refund by its id where that is known. Else it looks
// among the refunds of the payment (GET /v1/payments/{id}/refunds): Mercado Pago
// keeps nothing of ours in them, so it is the one of this amount, not made
// before the intent was, that comes after what we know was given back. None
// there: CodeNoSuchRefund. One that was made in Mercado Pago's panel at the same
// time for the same amount is taken for ours, which gives nothing back twice.
func (g *Gateway) LookupRefund(ctx context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	number, err := g.numberOf(ctx, in.Attempt)
	if err != nil {
		return payment.UntriedRefund, err
	}
	none := payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: payment.CodeNoSuchRefund})
	if number == 0 {
		return none, nil
	}
	if in.Reference != "" {
		reference, err := strconv.Atoi(in.Reference)
		if err != nil {
			return payment.UntriedRefund, invalid("request", "the refund's id is not a number")
		}
		r, v := perform[refundOfMoney](ctx, &call{refund: true}, func(ctx context.Context) error {
			_, err := g.refunds.Get(ctx, number, reference)
			return err
		})
		if !v.answered {
			return payment.UntriedRefund, v.failure()
		}
		return payment.AskedRefund(r.answer(in.Currency)), nil
	}
	all, err := g.listRefunds(ctx, number)
	if err != nil {
		return payment.UntriedRefund, err
	}
	if r, found := pick(all, in); found {
		return payment.AskedRefund(r.answer(in.Currency)), nil
	}
	return none, nil
}

func (g *Gateway) listRefunds(ctx context.Context, number int) ([]refundOfMoney, error) {
	all, v := perform[[]refundOfMoney](ctx, &call{refund: true}, func(ctx context.Context) error {
		_, err := g.refunds.List(ctx, number)
		return err
	})
	if !v.answered {
		return nil, v.failure()
	}
	return all, nil
}

// clocksDiffer is how much later than Mercado Pago's our clock may be.
const clocksDiffer = 2 * time.Minute

// pick finds the refund of an intent that has no reference. One that was
// rejected counts when there is no other: it was made, and it failed.
func pick(all []refundOfMoney, in payment.RefundIntent) (refundOfMoney, bool) {
	slices.SortStableFunc(all, func(x, y refundOfMoney) int {
		if c := x.Created.Compare(y.Created.Time); c != 0 {
			return c
		}
		return strings.Compare(string(x.ID), string(y.ID))
	})
	asked, err := id.Time(in.RefundID)
	fits := func(r refundOfMoney) bool {
		amount, ok := r.Amount.minor(in.Currency)
		return ok && amount == in.Amount && (err != nil || r.Created.IsZero() || !r.Created.Before(asked.Add(-clocksDiffer)))
	}
	var before int64
	var failed *refundOfMoney
	for i, r := range all {
		amount, _ := r.Amount.minor(in.Currency)
		switch r.outcome() {
		case payment.OutcomeDeclined:
			if fits(r) {
				failed = &all[i]
			}
		default:
			if before >= in.RefundedBefore && fits(r) {
				return r, true
			}
			before += amount
		}
	}
	if failed != nil {
		return *failed, true
	}
	return refundOfMoney{}, false
}

// numberOf is the payment that an attempt's refunds are made on, asked for when
// it was never stored; 0 when nobody paid.
func (g *Gateway) numberOf(ctx context.Context, at payment.Attempt) (int, error) {
	charged := at.CaptureRef
	if charged == "" && isCharge(at.Reference) {
		charged = at.Reference
	}
	if charged == "" {
		a, err := g.ask(ctx, at, at.Hint)
		if err != nil {
			return 0, err
		}
		if charged = a.CaptureRef; charged == "" {
			return 0, nil
		}
	}
	number, err := strconv.Atoi(charged)
	if err != nil {
		return 0, invalid("request", "the payment's id is not a number")
	}
	return number, nil
}

// Transactions lists the payments that changed since q.From (GET
// /v1/payments/search by date_last_updated, in the order of their ids, so that
// one which changes meanwhile cannot slip past a page), and of each its approval
// and its refunds that lie in the range. A line may come twice when the account
// moves between two pages; none is left out. Cursor is the offset.
//
// A payment of the account that this product did not make has no PaymentID.
func (g *Gateway) Transactions(ctx context.Context, q payment.StatementQuery) (payment.StatementPage, error) {
	offset := 0
	if q.Cursor != "" {
		var err error
		if offset, err = strconv.Atoi(q.Cursor); err != nil || offset < 0 {
			return payment.StatementPage{}, invalid("request", "the cursor is not of this gateway")
		}
	}
	found, v := perform[page[charge]](ctx, &call{}, func(ctx context.Context) error {
		_, err := g.payments.Search(ctx, mppayment.SearchRequest{Limit: searchPage, Offset: offset, Filters: map[string]string{
			"range": "date_last_updated", "begin_date": stamp(q.From), "end_date": "NOW", "sort": "id", "criteria": "asc",
		}})
		return err
	})
	if !v.answered {
		return payment.StatementPage{}, v.failure()
	}
	var out payment.StatementPage
	for _, c := range found.Results {
		lines, err := g.lines(ctx, c)
		if err != nil {
			return payment.StatementPage{}, err
		}
		for _, line := range lines {
			if !line.At.Before(q.From) && line.At.Before(q.To) {
				out.Transactions = append(out.Transactions, line)
			}
		}
	}
	if next := offset + len(found.Results); len(found.Results) == searchPage && next < found.Paging.Total {
		out.Next = strconv.Itoa(next)
	}
	return out, nil
}

// lines are what a payment put into the account's books.
func (g *Gateway) lines(ctx context.Context, c charge) ([]payment.Transaction, error) {
	a := c.answer(payment.Attempt{})
	if a.Outcome != payment.OutcomeApproved {
		return nil, nil
	}
	lines := []payment.Transaction{{
		Kind: payment.ChargeTransaction, PaymentID: ours(c.ExternalReference), CaptureRef: string(c.ID), Amount: a.Amount, Fee: a.Fee,
		Currency: a.Currency, Outcome: payment.OutcomeApproved, Captured: a.Captured, Dispute: a.Dispute, At: a.ApprovedAt,
	}}
	refunds := c.Refunds
	if len(refunds) == 0 && a.Refunded > 0 {
		number, err := strconv.Atoi(string(c.ID))
		if err != nil {
			return nil, errors.New("mercadopago: a payment's id is not a number")
		}
		if refunds, err = g.listRefunds(ctx, number); err != nil {
			return nil, err
		}
	}
	for _, r := range refunds {
		said := r.answer(a.Currency)
		lines = append(lines, payment.Transaction{
			Kind: payment.RefundTransaction, PaymentID: ours(c.ExternalReference), CaptureRef: string(c.ID), RefundReference: said.Reference,
			Amount: said.Amount, Currency: a.Currency, Outcome: said.Outcome, At: r.Created.Time,
		})
	}
	return lines, nil
}
