package refund_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
)

const (
	price   = 10_000
	freight = 3_990
)

// able is a gateway that can do everything.
func able(payment.Name) (payment.Capabilities, bool) {
	return payment.Capabilities{Refunds: true, PartialRefunds: true}, true
}

// paid is a paid order of quantity units, its only line, and its payment.
func paid(t testing.TB, quantity int) (s *shoptest.Shop, orderID, lineID, paymentID string) {
	t.Helper()
	s = shoptest.New(t)
	s.Product(t, "A", price, 20)
	orderID, paymentID = order(t, s, quantity)
	lineID = shoptest.Value[string](t, s, `SELECT line_id FROM order_lines WHERE order_id = $1`, orderID)
	return s, orderID, lineID, paymentID
}

func order(t testing.TB, s *shoptest.Shop, quantity int) (orderID, paymentID string) {
	return paidFor(t, s, shoptest.Submission("A", quantity))
}

// paidFor makes a paid order of a submission.
func paidFor(t testing.TB, s *shoptest.Shop, sub checkout.Submission) (orderID, paymentID string) {
	t.Helper()
	orderID, paymentID = s.Offer(t, sub)
	v, err := checkout.Load(t.Context(), s.DB, shoptest.Tenant, orderID)
	require.NoError(t, err)
	_, err = checkout.Record(t.Context(), s.DB, shoptest.Tenant, orderID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, v.Total)})
	require.NoError(t, err)
	return orderID, paymentID
}

func ask(s *shoptest.Shop, in refund.Request, can refund.Able) (refund.Resource, error) {
	ctx := context.Background()
	refundID := id.New()
	var out refund.Resource
	if in.Reason == "" {
		in.Reason = "came broken"
	}
	err := s.DB.InTenant(ctx, shoptest.Tenant, func(tx pgx.Tx) error {
		if _, err := refund.Book(ctx, tx, shoptest.Tenant, refundID, in, nil, "test", can); err != nil {
			return err
		}
		var err error
		out, err = refund.Read(ctx, tx, shoptest.Tenant, refundID)
		return err
	})
	return out, err
}

func must(t testing.TB, s *shoptest.Shop, in refund.Request) refund.Resource {
	t.Helper()
	out, err := ask(s, in, able)
	require.NoError(t, err)
	return out
}

func code(t testing.TB, err error) string {
	t.Helper()
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	return p.Code
}

func read(t testing.TB, s *shoptest.Shop, refundID string) (out refund.Resource) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		out, err = refund.Read(t.Context(), tx, shoptest.Tenant, refundID)
		return err
	})
	return out
}

func put(t testing.TB, s *shoptest.Shop, partID, status string, a payment.RefundAnswer) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		return payment.PutRefund(t.Context(), tx, shoptest.Tenant, partID, status, a, time.Minute)
	})
}

func minor(n int64) *int64 { return &n }

func TestBook_WithoutAnythingIsAllThatIsLeft(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, paymentID := paid(t, 3)
	must(t, s, refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: 1, Amount: minor(4_000)}}})
	r := must(t, s, refund.Request{OrderID: orderID})
	require.EqualValues(t, 3*price+freight-4_000, r.Amount)
	require.Equal(t, []refund.Line{{LineID: lineID, Quantity: 3, Amount: 3*price - 4_000}}, r.Lines)
	require.EqualValues(t, freight, r.ShippingAmount)
	require.Zero(t, r.GoodwillAmount)
	require.Equal(t, "pending", r.Status)
	require.Equal(t, orderID, *r.OrderID)
	require.Len(t, r.Parts, 1)
	require.Equal(t, paymentID, r.Parts[0].PaymentID)
	require.Equal(t, refund.Original, r.Parts[0].Method)
	_, err := ask(s, refund.Request{OrderID: orderID}, able)
	require.Equal(t, refund.CodeNothingLeft, code(t, err))
}

func TestBook_TakesTheUnitsWithMostLeftAndSplitsAnAmountOverThem(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 3)
	one := func(quantity int, amount *int64) refund.Request {
		return refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: quantity, Amount: amount}}}
	}
	must(t, s, one(1, minor(3_000)))
	require.EqualValues(t, 2*price, must(t, s, one(2, nil)).Amount, "the two that have everything left")
	require.EqualValues(t, price-3_000, must(t, s, one(1, nil)).Amount+0, "the one that has lost a part")
	_, err := ask(s, one(1, nil), able)
	require.Equal(t, refund.CodeNothingLeft, code(t, err))
	require.Equal(t, []int64{price, price, price}, shoptest.List[int64](t, s, `SELECT refunded FROM refundable WHERE line_id <> '' ORDER BY unit`))
}

func TestBook_RefusesMoreUnitsThanHaveSomethingLeft(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 3)
	of := func(quantity int, amount *int64) refund.Request {
		return refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: quantity, Amount: amount}}}
	}
	must(t, s, of(2, nil))
	for _, amount := range []*int64{nil, minor(1), minor(price), minor(2 * price)} {
		_, err := ask(s, of(2, amount), able)
		p, ok := problem.As(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, problem.Refused, p.Kind)
		require.Equal(t, "out_of_range", p.Code)
		require.Equal(t, "lines[0].quantity", p.Fields[0].Field)
	}
	must(t, s, of(1, minor(4_000)))
	require.EqualValues(t, price-4_000, must(t, s, of(1, nil)).Amount)
	for _, amount := range []*int64{nil, minor(1)} {
		for _, quantity := range []int{1, 3} {
			_, err := ask(s, of(quantity, amount), able)
			require.Equal(t, refund.CodeNothingLeft, code(t, err), "%d units", quantity)
		}
	}
}

func TestBook_SpreadsAnAmountOverTheUnitsThatHaveSomethingLeft(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 3)
	of := func(quantity int, amount int64) refund.Request {
		return refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: quantity, Amount: minor(amount)}}}
	}
	must(t, s, of(1, price))
	must(t, s, of(2, 6_000))
	require.Equal(t, []int64{price, 3_000, 3_000}, shoptest.List[int64](t, s, `SELECT refunded FROM refundable WHERE line_id <> '' ORDER BY unit`))
}

func TestBook_AUnitThatCostNothingGoesBackWithTheOthers(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 3)
	s.Exec(t, `INSERT INTO refundable (tenant, order_id, line_id, unit, paid) SELECT tenant, order_id, line_id, n, CASE n WHEN 0 THEN 1 ELSE 0 END FROM order_lines, generate_series(0, 2) n WHERE line_id = $1`, lineID)
	of := refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: 3}}}
	require.EqualValues(t, 1, must(t, s, of).Amount)
	_, err := ask(s, of, able)
	require.Equal(t, refund.CodeNothingLeft, code(t, err))
}

func TestBook_RefusesWhatTheOrderDoesNotHave(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 2)
	line := func(l refund.LineAsked) refund.Request {
		return refund.Request{OrderID: orderID, Lines: []refund.LineAsked{l}}
	}
	for want, in := range map[string]refund.Request{
		"unknown_line":    line(refund.LineAsked{LineID: id.New(), Quantity: 1}),
		"out_of_range":    line(refund.LineAsked{LineID: lineID, Quantity: 3}),
		"repeated":        {OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: 1}, {LineID: lineID, Quantity: 1}}},
		"unknown_payment": {OrderID: orderID, PaymentID: id.New()},
		"invalid":         {OrderID: orderID, Method: "cash"},
		"too_long":        {OrderID: orderID, Reason: fmt.Sprintf("%0600d", 1)},
		"not_found":       {OrderID: id.New()},
	} {
		_, err := ask(s, in, able)
		require.Equal(t, want, code(t, err))
	}
	_, err := ask(s, line(refund.LineAsked{LineID: lineID, Quantity: 1, Amount: minor(price + 1)}), able)
	p, _ := problem.As(err)
	require.Equal(t, problem.Refused, p.Kind, "more than was paid for it")
	require.Equal(t, "lines[0].amount", p.Fields[0].Field)
	_, err = ask(s, refund.Request{OrderID: orderID, ShippingAmount: minor(freight + 1)}, able)
	require.Equal(t, "out_of_range", code(t, err))
	_, err = ask(s, refund.Request{OrderID: orderID, Amount: minor(2*price + freight + 1)}, able)
	require.Equal(t, refund.CodeNothingLeft, code(t, err))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM refund_requests`))
}

func TestBook_GoodwillTakesFromWhatIsLeftOfThePaymentAlone(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 1)
	r := must(t, s, refund.Request{OrderID: orderID, Amount: minor(5_000)})
	require.EqualValues(t, 5_000, r.GoodwillAmount)
	require.Empty(t, r.Lines)
	require.EqualValues(t, price+freight-5_000, must(t, s, refund.Request{OrderID: orderID}).Amount, "the rest of the payment, not of the units")
	require.Zero(t, shoptest.Value[int64](t, s, `SELECT captured_amount - refunded_amount FROM payments WHERE id = $1`, paymentID))
}

func TestBook_SaysWhatTheGatewayCanNotDo(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 2)
	part := refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: 1}}}
	refusal := func(in refund.Request, can payment.Capabilities) *problem.Error {
		_, err := ask(s, in, func(payment.Name) (payment.Capabilities, bool) { return can, true })
		p, ok := problem.As(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, refund.CodeNotPossible, p.Code)
		require.Equal(t, []string{refund.BankTransfer}, p.More["alternatives"])
		return p
	}
	require.Contains(t, fmt.Sprint(refusal(part, payment.Capabilities{}).More["payments"]), payment.NoRefunds)
	require.Contains(t, fmt.Sprint(refusal(part, payment.Capabilities{Refunds: true}).More["payments"]), payment.NoPartialRefund)
	require.Contains(t, fmt.Sprint(refusal(part, payment.Capabilities{Refunds: true, PartialRefunds: true, PartialRefundMethods: []string{"VC"}}).More["payments"]), payment.NoPartialRefund)
	s.Exec(t, `UPDATE captures SET captured_at = now() - interval '91 days'`)
	require.Contains(t, fmt.Sprint(refusal(refund.Request{OrderID: orderID}, payment.Capabilities{Refunds: true, RefundFor: 90 * 24 * time.Hour}).More["payments"]), payment.RefundWindowOver)
	_, err := ask(s, part, func(payment.Name) (payment.Capabilities, bool) { return payment.Capabilities{}, false })
	require.Equal(t, refund.CodeNotPossible, code(t, err))
	// A person can do all of it.
	part.Method = refund.BankTransfer
	r, err := ask(s, part, func(payment.Name) (payment.Capabilities, bool) { return payment.Capabilities{}, true })
	require.NoError(t, err)
	require.Equal(t, refund.BankTransfer, r.Parts[0].Method)
}

func TestBook_NothingGoesBackWhileTheBankDisputes(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 1)
	s.Exec(t, `UPDATE payments SET status = 'disputed' WHERE id = $1`, paymentID)
	_, err := ask(s, refund.Request{OrderID: orderID}, able)
	require.Equal(t, refund.CodeDisputed, code(t, err))
	s.Exec(t, `UPDATE payments SET status = 'charged_back' WHERE id = $1`, paymentID)
	_, err = ask(s, refund.Request{OrderID: orderID}, able)
	require.Equal(t, refund.CodeNothingLeft, code(t, err), "the bank gave it back")
}

func TestBook_AnAuthorizationIsGivenUpWhole(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", price, 20)
	orderID, paymentID := s.Offer(t, shoptest.Submission("A", 1))
	held := shoptest.Approved(paymentID, price+freight)
	held.Captured = false
	_, err := checkout.Record(t.Context(), s.DB, shoptest.Tenant, orderID, checkout.News{PaymentID: paymentID, Answer: held})
	require.NoError(t, err)
	_, err = ask(s, refund.Request{OrderID: orderID, Amount: minor(100)}, able)
	require.Equal(t, refund.CodeNotCaptured, code(t, err))
	r := must(t, s, refund.Request{OrderID: orderID})
	require.Equal(t, refund.Void, r.Parts[0].Method)
	_, err = ask(s, refund.Request{OrderID: orderID}, able)
	require.Equal(t, refund.CodeNothingLeft, code(t, err))
	put(t, s, r.Parts[0].ID, "succeeded", payment.RefundAnswer{Outcome: payment.OutcomeApproved})
	require.Equal(t, "cancelled", shoptest.Value[string](t, s, `SELECT status FROM payments`))
	require.Equal(t, payment.NotAppliedVoided, shoptest.Value[string](t, s, `SELECT not_applied_reason FROM payments`))
	require.Equal(t, "succeeded", read(t, s, r.ID).Status)
}

func TestBook_APaymentThatIsNotSettledIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ becomes, ends, code string }{
		"captured": {`status = 'captured', applied = true, applied_at = now(), captured_amount = amount, due_at = NULL`, "pending", ""},
		"declined": {`status = 'declined', due_at = NULL`, "failed", refund.CodeNotCaptured},
		"a stray":  {`status = 'captured', captured_amount = amount, due_at = NULL, not_applied_reason = 'duplicate_payment'`, "failed", refund.CodeNotApplied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, orderID, _, paymentID := paid(t, 1)
			other := id.New()
			s.Exec(t, `INSERT INTO payments (tenant, id, checkout_id, attempt, gateway, amount, currency, status, due_at) SELECT tenant, $2, checkout_id, 2, 'flow', amount, currency, 'processing', now() FROM payments WHERE id = $1`, paymentID, other)
			r := must(t, s, refund.Request{OrderID: orderID, PaymentID: other})
			require.Equal(t, "pending", r.Status)
			require.Empty(t, r.Parts)
			require.EqualValues(t, price+freight, r.Amount)
			settle := func() {
				s.Do(t, func(tx pgx.Tx) error { return refund.Settle(t.Context(), tx, shoptest.Tenant, r.ID, able, time.Hour) })
			}
			settle()
			require.Empty(t, read(t, s, r.ID).Parts)
			s.Exec(t, `UPDATE payments SET applied = false, applied_at = NULL, not_applied_reason = 'test' WHERE id = $1`, paymentID)
			s.Exec(t, `UPDATE payments SET `+c.becomes+` WHERE id = $1`, other)
			settle()
			settle()
			now := read(t, s, r.ID)
			require.Equal(t, c.ends, now.Status)
			require.Len(t, now.Parts, 1)
			require.Equal(t, other, now.Parts[0].PaymentID)
			require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM refund_requests WHERE waits OR due_at IS NOT NULL`))
			if c.code != "" {
				require.Equal(t, c.code, now.Failure.Code)
				require.Zero(t, shoptest.Value[int64](t, s, `SELECT sum(refunded)::bigint FROM refundable`), "it can be given back by another")
			}
		})
	}
}

func TestGiveUp_EndsOneThatWaits(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 1)
	other := id.New()
	s.Exec(t, `INSERT INTO payments (tenant, id, checkout_id, attempt, gateway, amount, currency, status, due_at) SELECT tenant, $2, checkout_id, 2, 'flow', amount, currency, 'unknown', now() FROM payments WHERE id = $1`, paymentID, other)
	r := must(t, s, refund.Request{OrderID: orderID, PaymentID: other})
	for range 2 {
		s.Do(t, func(tx pgx.Tx) error { return refund.GiveUp(t.Context(), tx, shoptest.Tenant, r.ID) })
	}
	now := read(t, s, r.ID)
	require.Equal(t, "failed", now.Status)
	require.Equal(t, payment.CodeGivenUp, now.Failure.Code)
	require.Len(t, now.Parts, 1)
	require.EqualValues(t, price+freight, must(t, s, refund.Request{OrderID: orderID}).Amount)
}

func TestPutRefund_APartThatFailedCanBeGivenBackAgain(t *testing.T) {
	t.Parallel()
	s, orderID, lineID, _ := paid(t, 2)
	r := must(t, s, refund.Request{OrderID: orderID, Lines: []refund.LineAsked{{LineID: lineID, Quantity: 1}}, ShippingAmount: minor(1_000), Amount: minor(500)})
	put(t, s, r.Parts[0].ID, "failed", payment.RefundAnswer{Code: payment.CodeGivenUp})
	now := read(t, s, r.ID)
	require.Equal(t, "failed", now.Status)
	require.Equal(t, payment.CodeGivenUp, now.Failure.Code)
	require.Empty(t, now.Lines)
	require.EqualValues(t, 2*price+freight, must(t, s, refund.Request{OrderID: orderID}).Amount)
}

func TestPutRefund_ABankTransferIsARecordedOutcome(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 1)
	r := must(t, s, refund.Request{OrderID: orderID})
	put(t, s, r.Parts[0].ID, "needs_attention", payment.RefundAnswer{Code: "refund_refused", Message: "too late"})
	now := read(t, s, r.ID)
	require.Equal(t, "needs_attention", now.Status)
	require.Equal(t, &refund.Failure{Code: "refund_refused", Message: "too late"}, now.Failure)
	put(t, s, r.Parts[0].ID, "succeeded", payment.RefundAnswer{Code: payment.CodeBankTransfer, Reference: "TEF 77"})
	now = read(t, s, r.ID)
	require.Equal(t, "succeeded", now.Status)
	require.Nil(t, now.Failure)
	require.Equal(t, refund.BankTransfer, now.Parts[0].Method)
	require.Equal(t, "TEF 77", now.Parts[0].Reference)
	require.Equal(t, "refunded", shoptest.Value[string](t, s, `SELECT status FROM payments WHERE id = $1`, paymentID))
}

func TestReviveRefund_IsTriedOnceMoreAndThenWaitsForAPerson(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 1)
	r := must(t, s, refund.Request{OrderID: orderID})
	revive := func(partID string) (refundID string) {
		s.Do(t, func(tx pgx.Tx) (err error) {
			refundID, err = payment.ReviveRefund(t.Context(), tx, shoptest.Tenant, partID, payment.RefundAnswer{Code: "account_closed"})
			return err
		})
		return refundID
	}
	require.Empty(t, revive(r.Parts[0].ID), "it has not succeeded")
	put(t, s, r.Parts[0].ID, "succeeded", payment.RefundAnswer{Reference: "re-1"})
	for range 2 {
		require.Equal(t, r.ID, revive(r.Parts[0].ID))
	}
	now := read(t, s, r.ID)
	require.Equal(t, "pending", now.Status)
	require.Len(t, now.Parts, 2)
	require.Equal(t, "captured", shoptest.Value[string](t, s, `SELECT status FROM payments WHERE id = $1`, paymentID))
	require.EqualValues(t, price+freight, shoptest.Value[int64](t, s, `SELECT refunded_amount FROM payments WHERE id = $1`, paymentID))
	second := now.Parts[1].ID
	put(t, s, second, "succeeded", payment.RefundAnswer{Reference: "re-2"})
	require.Equal(t, "succeeded", read(t, s, r.ID).Status)
	require.Equal(t, r.ID, revive(second))
	now = read(t, s, r.ID)
	require.Equal(t, "needs_attention", now.Status)
	require.Len(t, now.Parts, 3)
	require.Equal(t, "account_closed", now.Failure.Code)
}

func TestReviveRefund_OfOneThatNobodyAskedForRunsByItsOwnID(t *testing.T) {
	t.Parallel()
	s, _, _, paymentID := paid(t, 1)
	var refundID, revived string
	s.Do(t, func(tx pgx.Tx) error {
		p, err := payment.Load(t.Context(), tx, shoptest.Tenant, paymentID)
		require.NoError(t, err)
		refundID, err = payment.IntendRefund(t.Context(), tx, shoptest.Tenant, p, p.Captured, payment.ReasonDuplicate)
		return err
	})
	put(t, s, refundID, "succeeded", payment.RefundAnswer{Reference: "re-1"})
	s.Do(t, func(tx pgx.Tx) (err error) {
		revived, err = payment.ReviveRefund(t.Context(), tx, shoptest.Tenant, refundID, payment.RefundAnswer{Code: "lost"})
		return err
	})
	require.NotEqual(t, refundID, revived)
	require.Equal(t, "failed", read(t, s, refundID).Status)
	require.Equal(t, "pending", read(t, s, revived).Status)
	require.Equal(t, payment.ReasonDuplicate, read(t, s, revived).Reason)
}

func TestReviveRefund_WhatTheBuyerGotOtherwiseIsNotGivenAgain(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 1)
	r := must(t, s, refund.Request{OrderID: orderID})
	put(t, s, r.Parts[0].ID, "succeeded", payment.RefundAnswer{Reference: "re-1"})
	s.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, origin, reference) VALUES ($1,$2,$3,500,'CLP','panel','succeeded','provider','x')`, shoptest.Tenant, id.New(), paymentID)
	s.Do(t, func(tx pgx.Tx) error {
		refundID, err := payment.ReviveRefund(t.Context(), tx, shoptest.Tenant, r.Parts[0].ID, payment.RefundAnswer{Code: "lost"})
		require.Empty(t, refundID)
		return err
	})
	require.Equal(t, "failed", read(t, s, r.ID).Status)
	require.Zero(t, shoptest.Value[int64](t, s, `SELECT sum(refunded)::bigint FROM refundable`))
}

func TestAnnounceRefund_OneInDoubtIsSettledBeforeTheNextIsAskedFor(t *testing.T) {
	t.Parallel()
	s, orderID, _, _ := paid(t, 1)
	first := must(t, s, refund.Request{OrderID: orderID, Amount: minor(1_000)}).Parts[0].ID
	second := must(t, s, refund.Request{OrderID: orderID, Amount: minor(2_000)}).Parts[0].ID
	announce := func(partID string) (tried bool, before int64, err error) {
		err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
			tried, before, err = payment.AnnounceRefund(t.Context(), tx, shoptest.Tenant, partID)
			return err
		})
		return tried, before, err
	}
	_, before, err := announce(first)
	require.NoError(t, err)
	require.Zero(t, before)
	_, _, err = announce(second)
	require.ErrorIs(t, err, payment.ErrRefundUnderWay)
	put(t, s, first, "needs_attention", payment.RefundAnswer{Code: payment.CodeUnanswered})
	_, _, err = announce(second)
	require.ErrorIs(t, err, payment.ErrRefundUnderWay, "nobody knows yet")
	put(t, s, first, "succeeded", payment.RefundAnswer{Reference: "re-1"})
	tried, before, err := announce(second)
	require.NoError(t, err)
	require.False(t, tried)
	require.EqualValues(t, 1_000, before)
	s.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, origin, reference, created_at) SELECT tenant, $2, payment_id, 500, 'CLP', 'panel', 'succeeded', 'provider', 'x', now() + interval '1 minute' FROM refunds WHERE id = $1`, second, id.New())
	tried, before, err = announce(second)
	require.NoError(t, err)
	require.True(t, tried)
	require.EqualValues(t, 1_000, before, "what others gave back after the first try may be this refund itself")

	s.Exec(t, `UPDATE payments SET status = 'disputed'`)
	_, _, err = announce(second)
	require.ErrorIs(t, err, payment.ErrFrozen)
	s.Exec(t, `UPDATE payments SET status = 'charged_back'`)
	_, _, err = announce(second)
	require.ErrorIs(t, err, payment.ErrBankGaveBack)
}

func TestList_PagesAndFilters(t *testing.T) {
	t.Parallel()
	s, orderID, _, _ := paid(t, 2)
	other, _ := order(t, s, 1)
	var ids []string
	for _, of := range []string{orderID, other, orderID} {
		ids = append(ids, must(t, s, refund.Request{OrderID: of, Amount: minor(100)}).ID)
	}
	list := func(f refund.Filter) (out []string) {
		s.Do(t, func(tx pgx.Tx) error {
			all, err := refund.List(t.Context(), tx, shoptest.Tenant, f)
			for _, r := range all {
				out = append(out, r.ID)
			}
			return err
		})
		return out
	}
	require.Equal(t, []string{ids[2], ids[1]}, list(refund.Filter{Limit: 2}))
	require.Equal(t, []string{ids[0]}, list(refund.Filter{Limit: 2, Before: ids[1]}))
	require.Equal(t, []string{ids[2], ids[0]}, list(refund.Filter{OrderID: orderID, Limit: 9}))
	require.Empty(t, list(refund.Filter{Status: "succeeded", Limit: 9}))
	require.Len(t, list(refund.Filter{Status: "pending", Limit: 9}), 3)
}

func TestBankAccount_IsReadableOnlyWithTheKeyAndWhereItWasPut(t *testing.T) {
	t.Parallel()
	ring, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	in := refund.Request{OrderID: id.New(), Reason: "r", Method: refund.BankTransfer, BankAccount: &refund.BankAccount{Holder: "Ana Rojas", RUT: "11111111-1", Bank: "Banco Estado", Type: "rut", Number: "11111111", Email: "Ana@Example.cl"}}
	require.NoError(t, in.Check())
	refundID := id.New()
	sealed, err := in.BankAccount.Seal(ring, "acme", refundID)
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "Ana")
	opened, err := refund.OpenAccount(ring, "acme", refundID, sealed)
	require.NoError(t, err)
	require.Equal(t, in.BankAccount, opened)
	_, err = refund.OpenAccount(ring, "acme", id.New(), sealed)
	require.ErrorIs(t, err, secretbox.ErrTampered)

	in.BankAccount.RUT, in.BankAccount.Type, in.BankAccount.Number, in.Method = "1-1", "x", "abc", refund.Original
	p, ok := problem.As(in.Check())
	require.True(t, ok)
	require.Len(t, p.Fields, 4)
}

func TestBook_AtOnceGivesNobodyTheSameMoney(t *testing.T) {
	t.Parallel()
	s, orderID, _, paymentID := paid(t, 2)
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { _, results[i] = ask(s, refund.Request{OrderID: orderID}, able) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		require.Equal(t, refund.CodeNothingLeft, code(t, err))
	}
	require.Equal(t, 1, won)
	require.EqualValues(t, 2*price+freight, shoptest.Value[int64](t, s, `SELECT refunded_amount FROM payments WHERE id = $1`, paymentID))
}

func TestTraceRefund_NamesOneWhoseAnswerWasLostAndNoOther(t *testing.T) {
	t.Parallel()
	s, orderID, _, _ := paid(t, 1)
	first := must(t, s, refund.Request{OrderID: orderID, Amount: minor(1_000)}).Parts[0].ID
	second := must(t, s, refund.Request{OrderID: orderID, Amount: minor(2_000)}).Parts[0].ID
	trace := func(partID, reference string) string {
		s.Do(t, func(tx pgx.Tx) error {
			return payment.TraceRefund(t.Context(), tx, shoptest.Tenant, partID, reference, true)
		})
		return shoptest.Value[string](t, s, `SELECT reference FROM refunds WHERE id = $1`, partID)
	}
	require.Empty(t, trace(first, "token-1"), "it was not sent yet")
	s.Exec(t, `UPDATE refunds SET tried_at = now()`)
	require.Equal(t, "token-1", trace(first, "token-1"))
	require.Equal(t, "token-1", trace(first, "token-2"), "the first name stays")
	require.Empty(t, trace(second, "token-1"), "that is another's")
	require.Empty(t, trace(second, ""))
}

func TestTraceRefund_AnUnsignedNameIsAHintUntilTheProviderHasConfirmedIt(t *testing.T) {
	t.Parallel()
	s, orderID, _, _ := paid(t, 1)
	first := must(t, s, refund.Request{OrderID: orderID, Amount: minor(1_000)}).Parts[0].ID
	second := must(t, s, refund.Request{OrderID: orderID, Amount: minor(2_000)}).Parts[0].ID
	known := func(partID string) payment.RefundRecord {
		var r payment.RefundRecord
		s.Do(t, func(tx pgx.Tx) (err error) {
			r, _, err = payment.LoadRefund(t.Context(), tx, shoptest.Tenant, partID)
			return err
		})
		return r
	}
	hint := func(partID string, references ...string) []string {
		for _, reference := range references {
			s.Do(t, func(tx pgx.Tx) error {
				return payment.TraceRefund(t.Context(), tx, shoptest.Tenant, partID, reference, false)
			})
		}
		require.Empty(t, known(partID).Reference)
		return known(partID).Hints
	}
	confirm := func(partID, reference string) (ok bool) {
		s.Do(t, func(tx pgx.Tx) (err error) {
			ok, err = payment.ConfirmHint(t.Context(), tx, shoptest.Tenant, partID, reference)
			return err
		})
		return ok
	}
	require.Empty(t, hint(first, "forged"), "it was not sent yet")
	s.Exec(t, `UPDATE refunds SET tried_at = now()`)
	require.Equal(t, []string{"forged", "genuine"}, hint(first, "forged", "genuine"))
	require.Equal(t, []string{"genuine", "forged"}, hint(first, "forged"), "the newest is the last, and each is kept once")
	require.Equal(t, []string{"c", "d", "e", "f"}, hint(second, "a", "b", "c", "d", "e", "f"), "no more than a few")

	s.Do(t, func(tx pgx.Tx) error { return payment.DropHint(t.Context(), tx, shoptest.Tenant, first, "forged") })
	require.Equal(t, []string{"genuine"}, known(first).Hints)
	require.True(t, confirm(first, "genuine"))
	require.Equal(t, "genuine", known(first).Reference)
	require.Empty(t, known(first).Hints)
	require.False(t, confirm(first, "later"), "what the provider has confirmed stays")
	require.False(t, confirm(second, "genuine"), "that is another's")
	s.Do(t, func(tx pgx.Tx) error {
		return payment.TraceRefund(t.Context(), tx, shoptest.Tenant, first, "later", false)
	})
	require.Equal(t, "genuine", known(first).Reference)
	require.Empty(t, known(first).Hints)
}
