package flow

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
)

// pageSize is the most that Flow gives at once.
const pageSize = 100

// Transactions lists the payments received: GET /payment/getPayments, which
// takes a day of Chile's calendar and gives it in pages. The cursor is that day
// and how many of it were read. Refunds are in no list of Flow's API, and an
// entry does not have its payment's token: Reference is empty, CaptureRef is
// Flow's order number and PaymentID ours.
func (g *Gateway) Transactions(ctx context.Context, q payment.StatementQuery) (payment.StatementPage, error) {
	if !q.From.Before(q.To) {
		return payment.StatementPage{}, nil
	}
	day, start := g.midnight(q.From), 0
	if q.Cursor != "" {
		var err error
		if day, start, err = g.place(q.Cursor); err != nil {
			return payment.StatementPage{}, g.invalid("cursor", err.Error())
		}
	}
	var list struct {
		HasMore text    `json:"hasMore"`
		Data    []order `json:"data"`
	}
	v := g.get(ctx, "/payment/getPayments", params{
		"date": day.Format(time.DateOnly), "start": strconv.Itoa(start), "limit": strconv.Itoa(pageSize),
	}, &list)
	if !v.ok() {
		return payment.StatementPage{}, v.unanswered()
	}
	var page payment.StatementPage
	for _, o := range list.Data {
		t, err := g.transaction(o)
		if err != nil {
			return payment.StatementPage{}, err
		}
		if !t.At.Before(q.From) && t.At.Before(q.To) {
			page.Transactions = append(page.Transactions, t)
		}
	}
	switch more := string(list.HasMore); {
	case (more == "1" || more == "true") && len(list.Data) > 0:
		page.Next = cursor(day, start+pageSize)
	default:
		// The next midnight, also where the clock is put forward at midnight.
		if next := g.midnight(day.Add(36 * time.Hour)); next.Before(q.To) {
			page.Next = cursor(next, 0)
		}
	}
	return page, nil
}

// transaction is an order of the list. One whose time cannot be read is an
// error: left out, it would be missing from the comparison without a word.
func (g *Gateway) transaction(o order) (payment.Transaction, error) {
	a, err := g.answer(payment.Attempt{}, o)
	if err != nil {
		return payment.Transaction{}, err
	}
	at := a.ApprovedAt
	if at.IsZero() {
		if at, err = g.date(string(o.RequestDate)); err != nil {
			return payment.Transaction{}, &payment.Failure{
				Gateway: payment.Flow, Class: payment.ClassUnavailable, Code: CodeUnreadable, Message: "a payment's date cannot be read", Err: err,
			}
		}
	}
	t := payment.Transaction{
		Kind: payment.ChargeTransaction, CaptureRef: a.CaptureRef, Amount: a.Amount, Fee: a.Fee, Currency: a.Currency,
		Outcome: a.Outcome, Captured: a.Captured, At: at,
	}
	// The account may also be used by hand or by another program.
	if id.Valid(a.PaymentID) {
		t.PaymentID = a.PaymentID
	}
	return t, nil
}

// midnight is the beginning of the day of t in Chile.
func (g *Gateway) midnight(t time.Time) time.Time {
	local := t.In(g.zone)
	return time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, g.zone)
}

func cursor(day time.Time, start int) string {
	return fmt.Sprintf("%s/%d", day.Format(time.DateOnly), start)
}

func (g *Gateway) place(c string) (day time.Time, start int, err error) {
	date, offset, _ := strings.Cut(c, "/")
	if day, err = time.ParseInLocation(time.DateOnly, date, g.zone); err == nil {
		start, err = strconv.Atoi(offset)
	}
	if err != nil || start < 0 {
		return day, 0, fmt.Errorf("the cursor is none of this gateway's")
	}
	return day, start, nil
}
