package e2e_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// provider is what the tests of all gateways must know of one.
type provider struct {
	name string
	// begin, refund and ask are the sandbox's names of its calls.
	begin, refund string
	ask           []string
	// notifies: it sends notifications; signs: they prove who sent them.
	notifies, signs bool
	// declineEnds: a declined buyer cannot try another card on the same page.
	declineEnds bool
	// hurry is what the sandbox is told so that no test waits for the provider's
	// own pace.
	hurry map[string]any
}

var providers = []provider{
	{name: "transbank", begin: "create", refund: "refund", ask: []string{"status"}, declineEnds: true},
	{name: "mercadopago", begin: "create_preference", refund: "create_refund", ask: []string{"search_payments", "get_payment", "get_preference"}, notifies: true, signs: true},
	{name: "stripe", begin: "create_session", refund: "create_refund", ask: []string{"get_session"}, notifies: true, signs: true},
	{name: "flow", begin: "create", refund: "refund", ask: []string{"status"}, notifies: true, declineEnds: true, hurry: map[string]any{"refund_seconds": 1}},
	{name: "khipu", begin: "create_payment", refund: "create_refund", ask: []string{"get_payment"}, notifies: true, signs: true, declineEnds: true, hurry: map[string]any{"verifying_ms": 0}},
}

// open makes a shop whose provider does not dawdle.
func (p provider) open(t *testing.T, change ...func(*tenant.Settings)) *stacktest.Shop {
	t.Helper()
	s := stacktest.Shared(t).Shop(t, change...)
	if p.hurry != nil {
		s.Sandbox.Configure(p.name, p.hurry)
	}
	return s
}

// another is a gateway that the tests of this one can leave to work.
func (p provider) another() string {
	if p.name == "transbank" {
		return "stripe"
	}
	return "transbank"
}

// each runs a test for every gateway that fits.
func each(t *testing.T, fits func(provider) bool, test func(t *testing.T, p provider)) {
	t.Helper()
	for _, p := range providers {
		if fits(p) {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				test(t, p)
			})
		}
	}
}

func every(provider) bool         { return true }
func notifies(p provider) bool    { return p.notifies }
func signs(p provider) bool       { return p.signs }
func paidOnPage(p provider) bool  { return p.name != "transbank" }
func payAgain(p provider) bool    { return !p.declineEnds }
func declineEnds(p provider) bool { return p.declineEnds }

func TestEveryGateway_TheReturnAloneTellsThatItIsPaid(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		s.Sandbox.Faults(p.name, map[string]any{"drop_webhooks": true})
		c := s.Checkout(p.name)
		step := s.Sandbox.Buyer(c.Payment.ID, "approve")
		require.Equal(t, p.name, step.Gateway)
		step = sentOn(t, s, step)
		require.Contains(t, step.ReturnLocation, "status=paid")
		c = requirePaid(t, s, c.ID)
		require.Equal(t, 28, s.Available(stacktest.Product))
		requireShortStory(t, s, c)
	})
}

func TestEveryGateway_TheNotificationAloneTellsThatItIsPaid(t *testing.T) {
	t.Parallel()
	each(t, notifies, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
		s.AwaitStatus(c.ID, "paid")
		c = requirePaid(t, s, c.ID)
		requireShortStory(t, s, c)
	})
}

// A transfer takes minutes: the buyer is back before it is money.
func TestKhipu_TheBuyerIsBackWhileTheTransferIsVerified(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Configure("khipu", map[string]any{"verifying_ms": 2000})
	c := s.Checkout("khipu")
	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	step = sentOn(t, s, step)
	require.Contains(t, step.ReturnLocation, "status=awaiting_payment")
	c = s.Get(c.ID)
	require.Equal(t, "processing", c.Payment.Status)
	requireUncharged(t, s, c)
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestKhipu_ATransferInVerificationAtTheEndOfTheHoldIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Configure("khipu", map[string]any{"verifying_ms": 4000})
	s.Sandbox.Faults("khipu", map[string]any{"drop_webhooks": true})
	c := s.Checkout("khipu", stacktest.Hold(6))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestEveryGateway_ADeclineThatEndsTheAttemptLeavesTheCheckoutToAnother(t *testing.T) {
	t.Parallel()
	each(t, declineEnds, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		step := s.Sandbox.Buyer(c.Payment.ID, "decline")
		step = sentOn(t, s, step)
		require.Contains(t, step.ReturnLocation, "status=awaiting_payment")
		c = s.Get(c.ID)
		require.Equal(t, "declined", c.Payment.Status)
		require.Equal(t, 28, s.Available(stacktest.Product))
		requireUncharged(t, s, c)
		payByAnother(t, s, p, c.ID)
	})
}

func TestEveryGateway_ADeclinedCardLeavesThePageToAnotherCard(t *testing.T) {
	t.Parallel()
	each(t, payAgain, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		s.Sandbox.Buyer(c.Payment.ID, "decline")
		c = s.Get(c.ID)
		require.Equal(t, "awaiting_payment", c.Status)
		requireUncharged(t, s, c)
		s.Sandbox.Buyer(c.Payment.ID, "approve")
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
	})
}

func TestEveryGateway_ADeclineUntilTheHoldEndsIsAFailedPayment(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name, stacktest.Hold(6))
		s.Sandbox.Buyer(c.Payment.ID, "decline")
		c = s.AwaitStatus(c.ID, "payment_failed")
		require.Equal(t, "payment_declined", c.Failure.Code)
		require.Equal(t, 30, s.Available(stacktest.Product))
		requireUncharged(t, s, c)
	})
}

func TestEveryGateway_ADeclineThatNobodyToldOfIsFoundWhenThePageIsClosed(t *testing.T) {
	t.Parallel()
	each(t, payAgain, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name, stacktest.Hold(6))
		s.Sandbox.Faults(p.name, map[string]any{"drop_webhooks": true})
		s.Sandbox.Buyer(c.Payment.ID, "decline", "return", "false")
		c = s.AwaitStatus(c.ID, "payment_failed")
		require.Equal(t, "declined", c.Payment.Status)
		code := stacktest.Value[string](t, s.Stack, `SELECT code FROM payments WHERE id = $1`, c.Payment.ID)
		require.NotContains(t, []string{"", payment.CodeExpired, payment.CodeClosed}, code)
		requireUncharged(t, s, c)
	})
}

func payByAnother(t *testing.T, s *stacktest.Shop, p provider, checkoutID string) {
	t.Helper()
	second := try(t, s, checkoutID, p.another())
	require.Len(t, second.Payments, 2)
	require.Equal(t, p.another(), second.Payment.Gateway)
	s.Sandbox.Buyer(second.Payment.ID, "approve")
	s.AwaitStatus(checkoutID, "paid")
	requirePaid(t, s, checkoutID)
}

func TestEveryGateway_ABuyerWhoTurnsBackPaysByAnother(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		step := s.Sandbox.Buyer(c.Payment.ID, "abort")
		step = sentOn(t, s, step)
		require.Contains(t, step.ReturnLocation, "status=awaiting_payment")
		requireUncharged(t, s, s.Get(c.ID))
		payByAnother(t, s, p, c.ID)
	})
}

func TestEveryGateway_ABuyerWhoWalksAwayIsNotCharged(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name, stacktest.Hold(6))
		c = s.AwaitStatus(c.ID, "expired")
		late := stacktest.Value[float64](t, s.Stack, `SELECT extract(epoch FROM ended_at - expires_at)::float8 FROM holds WHERE id = $1`, c.Reservation.ID)
		require.GreaterOrEqual(t, late, 0.0)
		require.Less(t, late, 5.0)
		require.Equal(t, 30, s.Available(stacktest.Product))
		requireUncharged(t, s, c)
		// Webpay's form can be paid, and is not committed; Flow's link has no close,
		// and its own time begins some moments after the hold's.
		if p.name != "transbank" && p.name != "flow" {
			_, err := s.Sandbox.TryBuyer(c.Payment.ID, "approve", "return", "false")
			require.Error(t, err, "the page is closed, or its time is over")
		}
	})
}

// late is a checkout that expired while its provider could not be asked,
// although the buyer had paid by then.
func late(t *testing.T, s *stacktest.Shop, p provider) stacktest.Checkout {
	t.Helper()
	s.Product("ULTIMA", 9990, 1)
	c := s.Checkout(p.name, stacktest.Items("ULTIMA", 1), stacktest.Hold(6))
	s.Sandbox.Faults(p.name, map[string]any{"outage": true, "drop_webhooks": true})
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	return s.AwaitStatus(c.ID, "expired")
}

func TestEveryGateway_AnApprovalAfterTheEndIsPaidWhileThereIsStock(t *testing.T) {
	t.Parallel()
	each(t, paidOnPage, func(t *testing.T, p provider) {
		s := p.open(t, shortGrace)
		c := late(t, s, p)
		s.Sandbox.Faults(p.name, map[string]any{})
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
		require.Zero(t, s.Available("ULTIMA"))
	})
}

func TestEveryGateway_AnApprovalAfterTheEndIsRefundedWhenTheStockIsGone(t *testing.T) {
	t.Parallel()
	each(t, paidOnPage, func(t *testing.T, p provider) {
		s := p.open(t, shortGrace)
		c := late(t, s, p)
		other := s.Checkout(p.another(), stacktest.Items("ULTIMA", 1))
		s.Sandbox.Faults(p.name, map[string]any{})
		c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "refunded" })
		require.Equal(t, "expired", c.Status)
		require.Nil(t, c.OrderID)
		require.Len(t, chargesOf(s, c), 1)
		requireRefundedOnce(t, s, c, c.Payment.ID, "late_payment")
		s.Sandbox.Buyer(other.Payment.ID, "approve")
		s.AwaitStatus(other.ID, "paid")
		requirePaid(t, s, other.ID)
	})
}

func TestEveryGateway_OfTwoApprovalsOneIsGivenBack(t *testing.T) {
	t.Parallel()
	each(t, paidOnPage, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		first := c.Payment.ID
		s.Sandbox.Faults(p.name, map[string]any{"outage": true, "outage_mode": "503"}) // its page can't be closed
		second := try(t, s, c.ID, p.another()).Payment.ID
		s.Sandbox.Buyer(second, "approve", "return", "false")
		s.Sandbox.Buyer(first, "approve", "return", "false")
		s.Sandbox.Buyer(second, "return")
		s.AwaitStatus(c.ID, "paid")
		s.Sandbox.Faults(p.name, map[string]any{})
		c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Attempt(first).Status == "refunded" })
		require.Equal(t, "paid", c.Status)
		require.True(t, c.Attempt(second).Applied)
		require.False(t, c.Attempt(first).Applied)
		require.Len(t, chargesOf(s, c), 2)
		requireRefundedOnce(t, s, c, first, "duplicate_payment")
		require.Equal(t, 28, s.Available(stacktest.Product))
		order := s.Order(c.ID)
		require.Equal(t, "paid", order.Status)
		require.Len(t, order.Refunds, 1)
		require.Equal(t, "succeeded", order.Refunds[0].Status)
	})
}

// Webpay's and Stripe's are among the first tests of this package.
func TestEveryGateway_ABeginWhoseAnswerIsLostChargesOnce(t *testing.T) {
	t.Parallel()
	others := func(p provider) bool { return p.name != "transbank" && p.name != "stripe" }
	each(t, others, func(t *testing.T, p provider) {
		for _, kind := range []string{"error_500", "cut_after", "timeout_after_effect"} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				s := p.open(t)
				s.Sandbox.Next(p.name, p.begin, kind, 1)
				a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket(p.name))
				require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
				c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "awaiting_payment")
				require.Len(t, c.Payments, 1)
				s.Sandbox.Buyer(c.Payment.ID, "approve")
				s.AwaitStatus(c.ID, "paid")
				requirePaid(t, s, c.ID)
			})
		}
	})
}

// TestKhipu_MoneyForAPaymentThatALostAnswerLeftBehindGoesBack: the first of two payments
// at Khipu is one whose id we never heard. Closing the attempt closes the second; money
// for the first is told of by its notification alone.
func TestKhipu_MoneyForAPaymentThatALostAnswerLeftBehindGoesBack(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Configure("khipu", map[string]any{"verifying_ms": 0})
	s.Sandbox.Next("khipu", "create_payment", "cut_after", 1)
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("khipu"))
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "awaiting_payment")
	require.Less(t, s.Call(tenant.Storefront, "POST", "/v1/checkouts/"+c.ID+"/cancel", nil).Status, 300)
	c = s.AwaitStatus(c.ID, "cancelled")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "refunded" })
	require.Equal(t, "cancelled", c.Status)
	charges, back := chargesOf(s, c), refundsOf(s, c)
	require.Len(t, charges, 1)
	require.Equal(t, "refunded", charges[0].Status)
	require.Len(t, back, 1)
	require.Equal(t, c.Totals.Total, back[0].Amount)
}

func TestEveryGateway_WhoTakesAnotherAmountDoesNotPayTheOrder(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		s.Sandbox.Buyer(c.Payment.ID, "approve", "amount", "1000")
		run := s.CheckoutRun(c.ID)
		parked(s, run, "payment_mismatch")
		c = s.Get(c.ID)
		require.Equal(t, "awaiting_payment", c.Status)
		require.Equal(t, int64(1000), c.Payment.Captured)
		use(t, s, run, "resolve", map[string]any{"outcome": "refund"})
		c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "refunded" })
		back := refundsOf(s, c)
		require.Len(t, back, 1)
		require.Equal(t, int64(1000), back[0].Amount)
		require.Equal(t, "succeeded", back[0].Status)
	})
}

// tokenBasket is a checkout paid by a card token of Mercado Pago's.
func tokenBasket(s *stacktest.Shop, cardholder string) map[string]any {
	token := s.Sandbox.CardToken(s.MercadoPagoToken(), cardholder)
	return stacktest.Basket("mercadopago", func(m map[string]any) {
		m["payment"] = map[string]any{"gateway": "mercadopago", "return_url": "https://shop.example/thanks", "token": token, "installments": 3, "method": "visa"}
	})
}

// payByToken asks for a checkout that a token pays.
func payByToken(t *testing.T, s *stacktest.Shop, cardholder string) stacktest.Checkout {
	t.Helper()
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", tokenBasket(s, cardholder))
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	return stacktest.Decode[stacktest.Checkout](t, a)
}

func TestToken_ApprovedIsPaidInTheAnswer(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", tokenBasket(s, "APRO"))
	require.Equal(t, 201, a.Status, "%s", a.Body)
	c := stacktest.Decode[stacktest.Checkout](t, a)
	require.Equal(t, "paid", c.Status, "%s", a.Body)
	require.Nil(t, c.Payment.Redirect)
	requirePaid(t, s, c.ID)
	require.NotContains(t, string(a.Body), stacktest.TestCard)
}

func TestToken_DeclinedLeavesTheCheckoutToAnotherTry(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := payByToken(t, s, "FUND")
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "declined" })
	require.Equal(t, "awaiting_payment", c.Status)
	requireUncharged(t, s, c)
	second := try(t, s, c.ID, "transbank")
	s.Sandbox.Buyer(second.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
}

func TestToken_InReviewIsPaidWhenItsNotificationComes(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := payByToken(t, s, "CONT")
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "processing" })
	require.Equal(t, "awaiting_payment", c.Status)
	requireUncharged(t, s, c)
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestToken_InReviewIsDeclinedWhenItsNotificationComes(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := payByToken(t, s, "CONT")
	s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "processing" })
	s.Sandbox.Buyer(c.Payment.ID, "decline", "return", "false")
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "declined" })
	requireUncharged(t, s, c)
}

func TestToken_WhateverBecomesOfTheAnswerTheCardIsChargedOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"error_503", "cut_before", "cut_during", "cut_after", "timeout_after_effect"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := stacktest.Shared(t).Shop(t)
			s.Sandbox.Faults("mercadopago", map[string]any{"drop_webhooks": true, "next": []any{map[string]any{"op": "create_payment", "kind": kind, "count": 1}}})
			a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", tokenBasket(s, "APRO"))
			if a.Status == 503 { // certainly not charged, and said so
				require.Equal(t, "gateway_unavailable", a.Code())
				require.Empty(t, s.Sandbox.Ledger().Charges)
				require.Equal(t, 30, s.Available(stacktest.Product))
				return
			}
			require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
			c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "paid")
			requirePaid(t, s, c.ID)
			require.Len(t, s.Sandbox.Ledger().Charges, 1)
		})
	}
}

// A card that may have been charged is never offered to another gateway, nor
// charged anew.
func TestToken_InDoubtIsNotTriedElsewhere(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Faults("mercadopago", map[string]any{"drop_webhooks": true, "next": []any{
		map[string]any{"op": "create_payment", "kind": "cut_after", "count": 1}, map[string]any{"op": "search_payments", "kind": "error_503", "count": 2},
	}})
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", tokenBasket(s, "APRO"))
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "paid")
	require.Len(t, c.Payments, 1)
	requirePaid(t, s, c.ID)
	require.Len(t, s.Sandbox.Ledger().Charges, 1)
	require.Equal(t, 1, s.Sandbox.Calls("mercadopago", "create_payment"))
}

func workerKilledDuringTheTokensCharge(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	s.Sandbox.Next("mercadopago", "create_payment", "hold_answer", 1)
	asked := later(t, s, "POST", "/v1/checkouts", tokenBasket(s, "APRO"))
	s.Sandbox.AwaitHeld("mercadopago", 1)
	p.Worker().Kill()
	charges := 0
	for _, e := range s.Sandbox.Ledger().Charges {
		if e.Gateway == "mercadopago" {
			charges++
		}
	}
	require.Equal(t, 1, charges, "the provider has acted")
	s.Sandbox.Release("mercadopago")
	p.Worker().Restart()
	a := <-asked
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "paid")
	require.Len(t, c.Payments, 1, fmt.Sprint(c.Payments))
	requirePaid(t, s, c.ID)
	p.Audit(t)
}
