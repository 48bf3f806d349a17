package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// paid is an order of two units at 12990 and a freight of 3990, paid by a
// gateway.
func paid(t *testing.T, s *stacktest.Shop, gateway string, query ...string) stacktest.Checkout {
	t.Helper()
	c := s.Checkout(gateway)
	s.Sandbox.Buyer(c.Payment.ID, "approve", query...)
	s.AwaitStatus(c.ID, "paid")
	return requirePaid(t, s, c.ID)
}

// requireBack demands refunds of these amounts at the provider, all of them
// made, and that our books say the same sum.
func requireBack(t *testing.T, s *stacktest.Shop, c stacktest.Checkout, amounts ...int64) {
	t.Helper()
	got, sum := []int64{}, int64(0)
	for _, e := range refundsOf(s, c) {
		require.Equal(t, "succeeded", e.Status)
		got = append(got, e.Amount)
	}
	for _, a := range amounts {
		sum += a
	}
	require.ElementsMatch(t, amounts, got, "refunds at the provider")
	p := s.Get(c.ID).Payment
	require.Equal(t, sum, p.Refunded, "refunded by our books")
	require.Equal(t, map[bool]string{true: "refunded", false: "partially_refunded"}[sum == c.Totals.Total], p.Status)
}

func TestRefund_OfAWholeOrder(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		asked := s.Refund(c.ID, nil)
		require.Equal(t, c.Totals.Total, asked.Amount)
		require.Equal(t, "original", asked.Method)
		r := s.AwaitRefund(asked.ID, "succeeded")
		require.Len(t, r.Parts, 1)
		require.Equal(t, p.name, r.Parts[0].Gateway)
		require.Equal(t, c.Payment.ID, r.Parts[0].PaymentID)
		require.NotEmpty(t, r.Parts[0].Reference)
		require.Equal(t, int64(3990), r.ShippingAmount)
		require.Zero(t, r.GoodwillAmount)
		requireBack(t, s, c, c.Totals.Total)
		order := s.Order(c.ID)
		require.Equal(t, "paid", order.Status, "paid is never undone")
		require.Len(t, order.Refunds, 1)
		require.Equal(t, r.ID, order.Refunds[0].ID)
		a := s.AskRefund(c.ID, nil)
		require.Equal(t, 409, a.Status, "%s", a.Body)
		require.Equal(t, "nothing_left_to_refund", a.Code())
		s.AwaitClosed(s.RefundRun(r.ID))
		nothingStuck(s)
	})
}

func TestRefund_ByUnitThenFreightThenTheRest(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		line := s.Order(c.ID).Lines[0].LineID
		one := s.Refund(c.ID, map[string]any{"lines": []any{map[string]any{"line_id": line, "quantity": 1}}})
		require.Equal(t, int64(12990), one.Amount)
		require.Len(t, one.Lines, 1)
		s.AwaitRefund(one.ID, "succeeded")
		requireBack(t, s, c, 12990)
		freight := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
		require.Equal(t, int64(3990), freight.ShippingAmount)
		s.AwaitRefund(freight.ID, "succeeded")
		requireBack(t, s, c, 12990, 3990)

		a := s.AskRefund(c.ID, map[string]any{"lines": []any{map[string]any{"line_id": line, "quantity": 2, "amount": 12991}}})
		require.Equal(t, 422, a.Status, "only one unit has anything left: %s", a.Body)
		a = s.AskRefund(c.ID, map[string]any{"shipping_amount": 1})
		require.Equal(t, 409, a.Status, "nor has the freight: %s", a.Body)

		rest := s.Refund(c.ID, nil)
		require.Equal(t, int64(12990), rest.Amount)
		s.AwaitRefund(rest.ID, "succeeded")
		requireBack(t, s, c, 12990, 3990, 12990)
	})
}

func TestRefund_AskedForByTenAtOnceGivesNoUnitBackTwice(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		line := s.Order(c.ID).Lines[0].LineID
		answers := make(chan stacktest.Answer, 10)
		for range cap(answers) {
			go func() {
				a, err := s.Try(t.Context(), tenant.Support, "POST", "/v1/refunds",
					map[string]any{"order_id": c.ID, "reason": "twice", "lines": []any{map[string]any{"line_id": line, "quantity": 1}}})
				if err != nil {
					a.Body = []byte(err.Error())
				}
				answers <- a
			}()
		}
		var accepted []string
		for range cap(answers) {
			switch a := <-answers; a.Status {
			case 201:
				accepted = append(accepted, stacktest.Decode[stacktest.Refund](t, a).ID)
			default:
				require.Equal(t, 409, a.Status, "%s", a.Body)
				require.Equal(t, "nothing_left_to_refund", a.Code())
			}
		}
		require.Len(t, accepted, 2, "a refund for each of the two units")
		for _, id := range accepted {
			s.AwaitRefund(id, "succeeded")
		}
		requireBack(t, s, c, 12990, 12990)
	})
}

func TestRefund_UnderOneIdempotencyKeyIsOne(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := paid(t, s, "stripe")
	body := map[string]any{"order_id": c.ID, "reason": "twice", "amount": 5000}
	key := []string{"Idempotency-Key", "refund-" + s.Tenant}
	first := s.Call(tenant.Support, "POST", "/v1/refunds", body, key...)
	require.Equal(t, 201, first.Status, "%s", first.Body)
	again := s.Call(tenant.Support, "POST", "/v1/refunds", body, key...)
	require.Equal(t, 201, again.Status)
	require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
	r := s.AwaitRefund(stacktest.Decode[stacktest.Refund](t, first).ID, "succeeded")
	require.Equal(t, int64(5000), r.GoodwillAmount)
	requireBack(t, s, c, 5000)
}

func TestRefund_ByBankTransferIsDoneByAPerson(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := paid(t, s, "khipu")
	account := map[string]any{"holder": "Ana Rojas", "rut": "11.111.111-1", "bank": "Banco de Chile", "type": "vista", "number": "99887766554"}
	asked := s.Refund(c.ID, map[string]any{"method": "bank_transfer", "bank_account": account, "shipping_amount": 3990})
	run := s.RefundRun(asked.ID)
	item := parked(s, run, "bank_transfer_due")
	require.ElementsMatch(t, []string{"resolve", "cancel"}, item.Verbs)
	s.AwaitRefund(asked.ID, "needs_attention")
	shown := s.Call(tenant.Support, "GET", "/v1/refunds/"+asked.ID, nil)
	require.Contains(t, string(shown.Body), "99887766554", "whoever makes the transfer reads where it goes")
	require.NotContains(t, string(s.Call(tenant.Support, "GET", "/v1/orders/"+c.ID, nil).Body), "99887766554")
	use(t, s, run, "resolve", map[string]any{"outcome": "succeeded", "reference": "transfer 4711"})
	r := s.AwaitRefund(asked.ID, "succeeded")
	require.Equal(t, "transfer 4711", r.Parts[0].Reference)
	require.Empty(t, refundsOf(s, c), "the provider gave nothing back")
	require.Equal(t, "partially_refunded", s.Get(c.ID).Payment.Status)
	require.Equal(t, int64(3990), s.Get(c.ID).Payment.Refunded)
	s.AwaitClosed(run)
	nothingStuck(s)
	history := s.History(t, run)
	for _, text := range []string{stacktest.Text(t, history), stacktest.Text(t, s.Decrypted(t, history))} {
		require.NotContains(t, text, "99887766554")
		require.NotContains(t, text, "Rojas")
	}
	// What is left goes back the usual way.
	rest := s.Refund(c.ID, nil)
	require.Equal(t, c.Totals.Total-3990, rest.Amount)
	s.AwaitRefund(rest.ID, "succeeded")
	back := refundsOf(s, c)
	require.Len(t, back, 1)
	require.Equal(t, c.Totals.Total-3990, back[0].Amount)
}

func TestRefund_ThatTheProviderRefusesWaitsForAPersonAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		s.Sandbox.Next(p.name, p.refundCall(), "refuse", 1)
		asked := s.Refund(c.ID, nil)
		run := s.RefundRun(asked.ID)
		r := s.AwaitRefund(asked.ID, "needs_attention")
		require.NotNil(t, r.Failure)
		require.NotEmpty(t, r.Failure.Code)
		require.Contains(t, waitsForAPerson(s, run).Verbs, "retry")
		require.Empty(t, refundsOf(s, c))
		require.Equal(t, "captured", s.Get(c.ID).Payment.Status)
		use(t, s, run, "retry", nil)
		s.AwaitRefund(asked.ID, "succeeded")
		requireBack(t, s, c, c.Totals.Total)
		s.AwaitClosed(run)
		nothingStuck(s)
	})
}

// waitsForAPerson waits until a run is on the support list, whatever for: only
// then it takes verbs.
func waitsForAPerson(s *stacktest.Shop, run string) (item stacktest.Stuck) {
	s.Eventually(func() (string, bool) {
		list := s.Stuck()
		i := slices.IndexFunc(list, func(i stacktest.Stuck) bool { return i.Kind == "parked" && i.WorkflowID == run })
		if i >= 0 {
			item = list[i]
		}
		return fmt.Sprintf("%+v", list), i >= 0
	})
	return item
}

// refundCall is the call by which the shops of the tests give back.
func (p provider) refundCall() string {
	if p.name == "khipu" { // no refund wallet
		return "refund_payment"
	}
	return p.refund
}

func TestRefund_WhateverBecomesOfTheAnswerTheMoneyGoesBackOnce(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		kinds := []string{"error_503", "cut_before", "cut_after", "timeout_after_effect"}
		if p.name == "flow" {
			// Whether a refund was made is not to be asked without its token, which
			// the notification brings once the buyer has decided.
			kinds = []string{"rate_limited", "cut_after", "timeout_after_effect"}
		}
		for _, kind := range kinds {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				s := p.open(t)
				c := paid(t, s, p.name)
				s.Sandbox.Next(p.name, p.refundCall(), kind, 1)
				asked := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
				s.Within(45*time.Second, func() (string, bool) {
					a := s.Call(tenant.Support, "GET", "/v1/refunds/"+asked.ID, nil)
					return string(a.Body), stacktest.Decode[stacktest.Refund](t, a).Status == "succeeded"
				})
				requireBack(t, s, c, 3990)
			})
		}
	})
}

// failRefund lets a refund fail that had succeeded, as banks do days later.
func failRefund(s *stacktest.Shop, c stacktest.Checkout) {
	s.Eventually(func() (string, bool) {
		for _, e := range refundsOf(s, c) {
			if e.Status == "succeeded" {
				s.Sandbox.EndRefund(e.Reference, "fail")
				return "", true
			}
		}
		return fmt.Sprint(refundsOf(s, c)), false
	})
}

func TestRefund_ThatFailsDaysLaterIsMadeAnewAndThenWaitsForAPerson(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := paid(t, s, "stripe")
	asked := s.Refund(c.ID, nil)
	s.AwaitRefund(asked.ID, "succeeded")
	s.AwaitClosed(s.RefundRun(asked.ID))
	failRefund(s, c)
	statuses := func() (out []string) {
		for _, e := range refundsOf(s, c) {
			out = append(out, e.Status)
		}
		slices.Sort(out)
		return out
	}
	s.Eventually(func() (string, bool) {
		got := statuses()
		return fmt.Sprint(got), slices.Equal(got, []string{"failed", "succeeded"})
	})
	r := s.AwaitRefund(asked.ID, "succeeded")
	require.Len(t, r.Parts, 2)
	p := s.Get(c.ID).Payment
	require.Equal(t, "refunded", p.Status)
	require.Equal(t, c.Totals.Total, p.Refunded, "the one that failed does not count")

	s.AwaitClosed(s.RefundRun(asked.ID))
	failRefund(s, c)
	s.AwaitRefund(asked.ID, "needs_attention")
	parked(s, s.RefundRun(asked.ID), "refund_failed_again")
	require.Equal(t, []string{"failed", "failed"}, statuses())
	p = s.Get(c.ID).Payment
	require.Equal(t, "captured", p.Status, "nothing has gone back")
	use(t, s, s.RefundRun(asked.ID), "resolve", map[string]any{"outcome": "succeeded", "reference": "transfer 4712"})
	s.AwaitRefund(asked.ID, "succeeded")
	require.Equal(t, "refunded", s.Get(c.ID).Payment.Status)
	s.AwaitClosed(s.RefundRun(asked.ID))
	nothingStuck(s)
}

func TestRefund_ThatFlowsBuyerDoesNotAcceptFails(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Configure("flow", map[string]any{"refund_seconds": -1})
	c := paid(t, s, "flow")
	asked := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
	s.Eventually(func() (string, bool) { list := refundsOf(s, c); return fmt.Sprint(list), len(list) == 1 })
	require.Equal(t, "pending", refundsOf(s, c)[0].Status)
	require.Equal(t, "pending", s.AwaitRefund(asked.ID, "pending").Status)
	s.Sandbox.EndRefund(refundsOf(s, c)[0].Reference, "fail")
	s.AwaitRefund(asked.ID, "needs_attention")
	waitsForAPerson(s, s.RefundRun(asked.ID))
	use(t, s, s.RefundRun(asked.ID), "cancel", nil)
	s.AwaitRefund(asked.ID, "failed")
	require.Equal(t, "captured", s.Get(c.ID).Payment.Status)
	// What it was booked on can go back again.
	s.Sandbox.Configure("flow", map[string]any{"refund_seconds": 1})
	again := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
	s.AwaitRefund(again.ID, "succeeded")
	require.Equal(t, int64(3990), s.Get(c.ID).Payment.Refunded)
}

// paymentView is a payment as support sees it.
type paymentView struct {
	Status            string `json:"status"`
	Captured          int64  `json:"captured"`
	Refunded          int64  `json:"refunded"`
	RefundedElsewhere int64  `json:"refunded_elsewhere"`
	Disputes          []struct {
		Status string `json:"status"`
		Amount int64  `json:"amount"`
	} `json:"disputes"`
}

func readPayment(t *testing.T, s *stacktest.Shop, paymentID string) paymentView {
	t.Helper()
	a := s.Call(tenant.Support, "GET", "/v1/payments/"+paymentID, nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	return stacktest.Decode[paymentView](t, a)
}

// requireFoundElsewhere waits until a refund that was made in the provider's
// panel is in our books, and demands that it is counted.
func requireFoundElsewhere(t *testing.T, s *stacktest.Shop, c stacktest.Checkout, amount int64) {
	t.Helper()
	s.Eventually(func() (string, bool) {
		p := readPayment(t, s, c.Payment.ID)
		return fmt.Sprintf("%+v", p), p.Status == "partially_refunded"
	})
	p := readPayment(t, s, c.Payment.ID)
	require.Equal(t, amount, p.RefundedElsewhere)
	require.Zero(t, p.Refunded, "nobody here asked for it")
	order := s.Order(c.ID)
	require.Len(t, order.Refunds, 1)
	require.Equal(t, "provider_panel", order.Refunds[0].Reason)
	require.Equal(t, amount, order.Refunds[0].Amount)
	require.Equal(t, "succeeded", order.Refunds[0].Status)
	require.NotNil(t, order.Attention)

	a := s.AskRefund(c.ID, map[string]any{"amount": c.Totals.Total})
	require.Equal(t, 409, a.Status, "%s", a.Body)
	rest := s.Refund(c.ID, nil)
	require.Equal(t, c.Totals.Total-amount, rest.Amount)
	s.AwaitRefund(rest.ID, "succeeded")
	back := int64(0)
	for _, e := range refundsOf(s, c) {
		require.Equal(t, "succeeded", e.Status)
		back += e.Amount
	}
	require.Equal(t, c.Totals.Total, back, "to the peso")
	require.Equal(t, "refunded", s.Get(c.ID).Payment.Status)
}

func TestRefund_MadeInTheProvidersPanelIsFoundByItsNotification(t *testing.T) {
	t.Parallel()
	fits := func(p provider) bool { return p.name == "stripe" || p.name == "mercadopago" }
	each(t, fits, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		s.Sandbox.PanelRefund(p.name, c.Payment.ID, 7000)
		requireFoundElsewhere(t, s, c, 7000)
	})
}

// report is a day's comparison with the providers, of one gateway.
type report struct {
	Status string         `json:"status"`
	Counts map[string]int `json:"counts"`
	Items  []struct {
		Result     string `json:"result"`
		Resolution string `json:"resolution"`
		Note       string `json:"note"`
	} `json:"items"`
}

// reconcile has today compared with a gateway's books.
func reconcile(t *testing.T, s *stacktest.Shop, gateway string) (date string) {
	t.Helper()
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	date = time.Now().In(zone).Format(time.DateOnly)
	a := s.Call(tenant.Support, "POST", "/v1/reports/reconciliation", map[string]any{"date": date, "gateways": []string{gateway}})
	require.Equal(t, 202, a.Status, "%s", a.Body)
	return date
}

// reconciled waits for the end of a comparison.
func reconciled(t *testing.T, s *stacktest.Shop, gateway, date string) (out report) {
	t.Helper()
	s.Within(2*stacktest.Patience, func() (string, bool) {
		a := s.Call(tenant.Support, "GET", "/v1/reports/reconciliation?date="+date, nil)
		for _, g := range stacktest.Decode[struct {
			Gateways []struct {
				Gateway string `json:"gateway"`
				report
			} `json:"gateways"`
		}](t, a).Gateways {
			if g.Gateway == gateway {
				out = g.report
			}
		}
		return string(a.Body), out.Status == "done"
	})
	return out
}

func TestRefund_MadeInTransbanksPanelIsFoundByTheReconciliation(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := paid(t, s, "transbank")
	s.Sandbox.PanelRefund("transbank", c.Payment.ID, 7000)
	reconcile(t, s, "transbank")
	requireFoundElsewhere(t, s, c, 7000)
}

func TestReconciliation_AppliesAnApprovalThatNobodyToldOf(t *testing.T) {
	t.Parallel()
	fits := func(p provider) bool { return p.name != "transbank" }
	each(t, fits, func(t *testing.T, p provider) {
		s := p.open(t)
		s.Sandbox.Faults(p.name, map[string]any{"drop_webhooks": true})
		c := s.Checkout(p.name)
		s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
		date := reconcile(t, s, p.name)
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
		for _, item := range reconciled(t, s, p.name, date).Items {
			require.NotEqual(t, "raised", item.Resolution, "%+v", item)
		}
	})
}

func TestReconciliation_OfADayWithoutAccidentsFindsNothing(t *testing.T) {
	t.Parallel()
	each(t, every, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		r := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
		s.AwaitRefund(r.ID, "succeeded")
		paid(t, s, p.name)
		day := reconciled(t, s, p.name, reconcile(t, s, p.name))
		for _, item := range day.Items {
			if item.Result == "matched" || item.Result == "fee" {
				continue
			}
			// Flow lists no refunds, and what is a moment old may be in no list yet.
			require.Equal(t, "explained", item.Resolution, "%+v", day.Items)
		}
		require.GreaterOrEqual(t, day.Counts["matched"], 2, "%+v", day)
		nothingStuck(s)
	})
}

// tellsOnlySums: of its refunds the provider tells how much went back in all.
func tellsOnlySums(p provider) bool { return p.name == "transbank" || p.name == "khipu" }

func TestReconciliation_OfSeveralRefundsOfOnePaymentFindsThemAll(t *testing.T) {
	t.Parallel()
	each(t, tellsOnlySums, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		for _, amount := range []int64{1000, 2000} {
			r := s.Refund(c.ID, map[string]any{"amount": amount})
			s.AwaitRefund(r.ID, "succeeded")
		}
		day := reconciled(t, s, p.name, reconcile(t, s, p.name))
		for _, item := range day.Items {
			require.Contains(t, []string{"matched", "fee"}, item.Result, "%+v", day.Items)
		}
		require.Equal(t, 3, day.Counts["matched"], "the charge and both refunds: %+v", day)
		nothingStuck(s)
	})
}

func TestRefund_RefusedBecauseOfOneInThePanelDoesNotHideIt(t *testing.T) {
	t.Parallel()
	each(t, tellsOnlySums, func(t *testing.T, p provider) {
		s := p.open(t)
		c := paid(t, s, p.name)
		panel := c.Totals.Total - 1000
		s.Sandbox.PanelRefund(p.name, c.Payment.ID, panel)
		r := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
		run := s.RefundRun(r.ID)
		waitsForAPerson(s, run)
		reconcile(t, s, p.name)
		s.Eventually(func() (string, bool) {
			p := readPayment(t, s, c.Payment.ID)
			return fmt.Sprintf("%+v", p), p.RefundedElsewhere == panel
		})
		asked := s.Sandbox.Calls(p.name, p.refundCall())
		use(t, s, run, "retry", nil)
		s.Eventually(func() (string, bool) {
			n := s.Sandbox.Calls(p.name, p.refundCall())
			return fmt.Sprint(n, " calls"), n == asked+1
		})
		waitsForAPerson(s, run) // refused once more, at once
		use(t, s, run, "cancel", nil)
		s.AwaitRefund(r.ID, "failed")
		require.EqualValues(t, panel, readPayment(t, s, c.Payment.ID).RefundedElsewhere)
	})
}
