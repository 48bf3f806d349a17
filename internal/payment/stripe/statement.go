package stripe

import (
	"context"
	"fmt"
	"strings"
	"time"

	stripesdk "github.com/stripe/stripe-go/v76"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
)

// pageSize is the most that Stripe puts on a page.
const pageSize = 100

// The two lists that make a statement, as they stand in a cursor.
const (
	chargesList = "charges"
	refundsList = "refunds"
)

// Transactions lists the account's charges and then its refunds, newest first:
// GET /v1/charges and /v1/refunds by the moment of their creation. A payment
// that was authorized first stands at the moment of its authorization. Payments
// of other programs on the same account have no PaymentID. Fees are told where
// they are in the currency of the charge.
func (g *Gateway) Transactions(ctx context.Context, q payment.StatementQuery) (payment.StatementPage, error) {
	list, after, _ := strings.Cut(q.Cursor, "/")
	switch list {
	case "", chargesList:
		return g.chargesPage(ctx, q, after)
	case refundsList:
		return g.refundsPage(ctx, q, after)
	}
	return payment.StatementPage{}, invalid("cursor", fmt.Sprintf("a page of Stripe's does not begin at %q", httpclient.Readable(q.Cursor)))
}

// created is the range of a query; a fraction of a second belongs to the next.
func created(q payment.StatementQuery) *stripesdk.RangeQueryParams {
	ceil := func(at time.Time) int64 { return at.Add(time.Second - time.Nanosecond).Unix() }
	return &stripesdk.RangeQueryParams{GreaterThanOrEqual: ceil(q.From), LesserThan: ceil(q.To)}
}

// page asks for one page only: the SDK would go on by itself.
func page(ctx context.Context, p *stripesdk.ListParams, after string) *exchange {
	var seen *exchange
	p.Context, seen = observe(ctx)
	p.Limit, p.Single = stripesdk.Int64(pageSize), true
	if after != "" {
		p.StartingAfter = stripesdk.String(after)
	}
	return seen
}

func (g *Gateway) chargesPage(ctx context.Context, q payment.StatementQuery, after string) (payment.StatementPage, error) {
	params := &stripesdk.ChargeListParams{CreatedRange: created(q)}
	params.AddExpand("data.balance_transaction")
	seen := page(ctx, &params.ListParams, after)
	charges := g.charges().List(params)
	out := payment.StatementPage{Next: refundsList + "/"}
	last := ""
	for charges.Next() {
		c := charges.Charge()
		line := chargeLine(c)
		if c.Disputed {
			d, err := g.disputeOf(ctx, &stripesdk.DisputeListParams{Charge: stripesdk.String(c.ID)})
			if err != nil {
				return payment.StatementPage{}, err
			}
			line.Dispute = d
		}
		out.Transactions = append(out.Transactions, line)
		last = c.ID
	}
	if v := judge(charges.Err(), seen); !v.ok() {
		return payment.StatementPage{}, v.unanswered()
	}
	if charges.Meta().HasMore && last != "" {
		out.Next = chargesList + "/" + last
	}
	return out, nil
}

func chargeLine(c *stripesdk.Charge) payment.Transaction {
	line := payment.Transaction{
		Kind: payment.ChargeTransaction, PaymentID: ours(c.Metadata), Currency: currency(c.Currency),
		At: time.Unix(c.Created, 0).UTC(), Captured: c.Captured, Fee: fee(c),
	}
	if c.PaymentIntent != nil {
		line.CaptureRef = c.PaymentIntent.ID
	}
	amount := c.Amount
	switch {
	case c.Status == stripesdk.ChargeStatusPending:
		line.Outcome = payment.OutcomePending
	case c.Status != stripesdk.ChargeStatusSucceeded, !c.Captured && c.Refunded:
		line.Outcome = payment.OutcomeDeclined // refused, or an authorization that was let go
	default:
		line.Outcome = payment.OutcomeApproved
		if c.Captured {
			amount = c.AmountCaptured
		}
	}
	line.Amount = fromStripe(amount, line.Currency)
	return line
}

func (g *Gateway) refundsPage(ctx context.Context, q payment.StatementQuery, after string) (payment.StatementPage, error) {
	params := &stripesdk.RefundListParams{CreatedRange: created(q)}
	params.AddExpand("data.charge")
	seen := page(ctx, &params.ListParams, after)
	refunds := g.refunds().List(params)
	var out payment.StatementPage
	last := ""
	for refunds.Next() {
		r := refunds.Refund()
		last = r.ID
		if !released(r, r.Charge) {
			out.Transactions = append(out.Transactions, refundLine(r))
		}
	}
	if v := judge(refunds.Err(), seen); !v.ok() {
		return payment.StatementPage{}, v.unanswered()
	}
	if refunds.Meta().HasMore && last != "" {
		out.Next = refundsList + "/" + last
	}
	return out, nil
}

func refundLine(r *stripesdk.Refund) payment.Transaction {
	said := refundAnswer(r)
	line := payment.Transaction{
		Kind: payment.RefundTransaction, PaymentID: ours(r.Metadata), RefundID: r.Metadata["refund_id"], RefundReference: r.ID,
		Amount: said.Amount, Currency: currency(r.Currency), Outcome: said.Outcome, At: time.Unix(r.Created, 0).UTC(),
	}
	if line.PaymentID == "" && r.Charge != nil {
		line.PaymentID = ours(r.Charge.Metadata) // made in the panel
	}
	if r.PaymentIntent != nil {
		line.CaptureRef = r.PaymentIntent.ID
	}
	return line
}
