package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// These take longest, a stack each. Go begins with the parallel tests that it
// has met last, so the file has the last name of the package.

// badDay is a part of the stack that is killed with -9 at the worst moment.
type badDay struct {
	name string
	of   func(*testing.T, *stacktest.Processes)
}

func TestKilled_OurOwnProcesses(t *testing.T) {
	t.Parallel()
	live(t, stacktest.Options{}, []badDay{
		{"the API after the hold: the same key gives the same checkout", apiKilledAfterTheHold},
		{"the API while a return is settled: the commit goes on", apiKilledDuringTheReturn},
		{"the worker while the attempt's answer is held back: the buyer can pay", workerKilledDuringTheBegin},
		{"the worker when a hold ends: it ends when the worker is back", workerKilledWhenAHoldEnds},
		{"the worker while the commit's answer is held back: one charge", workerKilledDuringTheCommit},
		{"the worker while the refund's answer is held back: one refund", workerKilledDuringTheRefund},
		{"the worker while a card token is charged: one charge", workerKilledDuringTheTokensCharge},
	})
}

func TestKilled_TemporalAndPostgres(t *testing.T) {
	t.Parallel()
	live(t, stacktest.Options{OwnPostgres: true}, []badDay{
		{"Temporal, when a webhook and a return arrive: both are taken and applied later", temporalKilledBeforeNews},
		{"Temporal, when a checkout is asked for: it is held and offered once it is back", temporalKilledBeforeACheckout},
		{"PostgreSQL while the commit's answer is held back: recorded once it is back", postgresKilledDuringTheCommit},
		{"Temporal, and its file deleted: every open order goes on", temporalLost},
	})
}

// live has one stack live through bad days, one after another.
func live(t *testing.T, o stacktest.Options, days []badDay) {
	stack := stacktest.New(t, o)
	for _, day := range days {
		t.Run(day.name, func(t *testing.T) { day.of(t, stack) })
	}
}

func apiKilledAfterTheHold(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	s.Sandbox.Next("transbank", "create", "hold_answer", 1)
	key := []string{"Idempotency-Key", "killed-" + s.Tenant}
	first := later(t, s, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	s.Sandbox.AwaitHeld("transbank", 1)
	p.API.Kill()
	require.Zero(t, (<-first).Status, "the caller never got an answer")
	s.Sandbox.Release("transbank")
	p.API.Restart()
	begun := time.Now()
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	require.Equal(t, 201, a.Status, "%s", a.Body)
	t.Logf("the retry took %s", time.Since(begun))
	c := stacktest.Decode[stacktest.Checkout](t, a)
	require.Equal(t, 1, stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM checkouts WHERE tenant = $1`, s.Tenant))
	require.Equal(t, c.ID, stacktest.Value[string](t, s.Stack, `SELECT id FROM checkouts WHERE tenant = $1`, s.Tenant))
	require.Equal(t, 28, s.Available(stacktest.Product))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	p.Audit(t)
}

func apiKilledDuringTheReturn(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	c := s.Checkout("transbank")
	token := c.Payment.Token()
	s.Sandbox.Next("transbank", "commit", "hold_answer", 1)
	back := steps(s, c.Payment.ID, "approve")
	s.Sandbox.AwaitHeld("transbank", 1)
	p.API.Kill()
	require.NotEmpty(t, (<-back).ReturnError, "the buyer's browser shows an error")
	s.Sandbox.Release("transbank")
	p.API.Restart()
	a := s.Return(*c.Payment, url.Values{"token_ws": {token}}) // and is reloaded
	require.Equal(t, 303, a.Status, "%s", a.Body)
	require.Contains(t, a.Header.Get("Location"), "status=paid")
	requirePaid(t, s, c.ID)
	p.Audit(t)
}

func workerKilledDuringTheBegin(t *testing.T, p *stacktest.Processes) {
	for gateway, op := range map[string]string{"transbank": "create", "stripe": "create_session"} {
		s := p.Shop(t)
		s.Sandbox.Next(gateway, op, "hold_answer", 1)
		asked := later(t, s, "POST", "/v1/checkouts", stacktest.Basket(gateway))
		s.Sandbox.AwaitHeld(gateway, 1)
		p.Worker().Kill()
		s.Sandbox.Release(gateway)
		p.Worker().Restart()
		a := <-asked
		require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
		c := s.AwaitStatus(stacktest.Decode[stacktest.Checkout](t, a).ID, "awaiting_payment")
		s.Sandbox.Buyer(c.Payment.ID, "approve")
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
	}
	p.Audit(t)
}

func workerKilledWhenAHoldEnds(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	c := s.Checkout("stripe", stacktest.Hold(6))
	p.Worker().Kill()
	s.Eventually(func() (string, bool) { return "the hold lives", time.Now().After(c.ExpiresAt) })
	require.Equal(t, "awaiting_payment", s.Get(c.ID).Status)
	p.Worker().Restart()
	s.AwaitStatus(c.ID, "expired") // once Temporal has noticed that the old worker is gone
	require.Equal(t, 30, s.Available(stacktest.Product))
	p.Audit(t)
}

func workerKilledDuringTheCommit(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	c := s.Checkout("transbank")
	s.Sandbox.Next("transbank", "commit", "hold_answer", 1)
	back := steps(s, c.Payment.ID, "approve")
	s.Sandbox.AwaitHeld("transbank", 1)
	p.Worker().Kill()
	require.Len(t, chargesOf(s, c), 1, "the provider has acted")
	s.Sandbox.Release("transbank")
	step := <-back
	require.Equal(t, 200, step.ReturnStatus, "the buyer is told to wait: %s", step.ReturnError)
	p.Worker().Restart()
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	p.Audit(t)
}

func workerKilledDuringTheRefund(t *testing.T, p *stacktest.Processes) {
	for gateway, op := range map[string]string{"stripe": "create_refund"} {
		s := p.Shop(t, shortGrace)
		c := lateStripe(t, s)
		s.Checkout("transbank", stacktest.Items("ULTIMA", 1))
		s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
		s.Sandbox.Next(gateway, op, "hold_answer", 1)
		s.Sandbox.AwaitHeld(gateway, 1)
		p.Worker().Kill()
		require.Len(t, refundsOf(s, c), 1, "the provider has acted")
		s.Sandbox.Release(gateway)
		p.Worker().Restart()
		c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "refunded" })
		requireRefundedOnce(t, s, c, c.Payment.ID, "late_payment")
		p.Audit(t)
	}
}

func temporalKilledBeforeNews(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	webpay, stripe := s.Checkout("transbank"), s.Checkout("stripe")
	p.Temporal.Kill()

	ready, err := http.Get(p.APIURL + "/readyz")
	require.NoError(t, err)
	require.NoError(t, ready.Body.Close())
	require.Equal(t, 200, ready.StatusCode)

	s.Sandbox.Buyer(stripe.Payment.ID, "approve", "return", "false")
	s.Eventually(func() (string, bool) {
		n := stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1 AND kind = 'webhook'`, s.Tenant)
		return fmt.Sprint(n, " webhooks stored"), n > 0
	})
	step := s.Sandbox.Buyer(webpay.Payment.ID, "approve")
	require.Equal(t, 200, step.ReturnStatus, step.ReturnError)
	page, err := s.Visit(t.Context(), strings.TrimPrefix(step.ReturnURL, s.APIURL))
	require.NoError(t, err)
	require.Equal(t, 200, page.Status)
	require.Contains(t, string(page.Body), "Estamos confirmando tu pago")
	require.Contains(t, string(page.Body), `http-equiv="refresh"`)
	require.Empty(t, chargesOf(s, webpay), "nothing is committed without its workflow")

	p.Temporal.Restart()
	s.AwaitStatus(webpay.ID, "paid")
	s.AwaitStatus(stripe.ID, "paid")
	requirePaid(t, s, webpay.ID)
	requirePaid(t, s, stripe.ID)
	p.Audit(t)
}

func temporalKilledBeforeACheckout(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	p.Temporal.Kill()
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("transbank"))
	require.Equal(t, 202, a.Status, "%s", a.Body)
	c := stacktest.Decode[stacktest.Checkout](t, a)
	require.Equal(t, "reserving", c.Status)
	require.Equal(t, "/v1/checkouts/"+c.ID, a.Header.Get("Location"))
	p.Temporal.Restart()
	// The safety net takes it after a minute: for this row it is over.
	s.Exec(t, `UPDATE checkouts SET created_at = created_at - interval '1 minute' WHERE id = $1`, c.ID)
	s.AwaitClosed(s.Sweep())
	c = s.AwaitStatus(c.ID, "awaiting_payment")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	p.Audit(t)
}

func postgresKilledDuringTheCommit(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	c := s.Checkout("transbank")
	s.Sandbox.Next("transbank", "commit", "hold_answer", 1)
	back := steps(s, c.Payment.ID, "approve")
	s.Sandbox.AwaitHeld("transbank", 1)
	p.Postgres.Kill()

	a, err := s.TryReturn(t.Context(), *c.Payment, url.Values{"token_ws": {c.Payment.Token()}})
	require.NoError(t, err)
	require.Equal(t, 200, a.Status, "never a 5xx for a buyer: %s", a.Body)
	require.Contains(t, string(a.Body), "No pudimos registrar tu respuesta todavía")
	key := []string{"Idempotency-Key", "no-database-" + s.Tenant}
	a = s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("stripe"), key...)
	require.Equal(t, 503, a.Status, "%s", a.Body)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	body := stripeEvent("evt_no_database", c.Payment.ID, "pi_no_database")
	require.Equal(t, 503, deliver(t, s, body, stripeSignature(s.WebhookSecret(), time.Now(), body)), "what is not stored is not acknowledged")
	a, err = s.Visit(t.Context(), "/readyz")
	require.NoError(t, err)
	require.Equal(t, 503, a.Status)
	a, err = s.Visit(t.Context(), "/healthz")
	require.NoError(t, err)
	require.Equal(t, 200, a.Status)

	s.Sandbox.Release("transbank")
	require.Equal(t, 200, (<-back).ReturnStatus, "never a 5xx for a buyer")
	p.Postgres.Start()
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	a = s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("stripe"), key...)
	require.Equal(t, 201, a.Status, "%s", a.Body)
	next := stacktest.Decode[stacktest.Checkout](t, a)
	s.Sandbox.Buyer(next.Payment.ID, "approve")
	s.AwaitStatus(next.ID, "paid")
	p.Audit(t)
}

func temporalLost(t *testing.T, p *stacktest.Processes) {
	s := p.Shop(t)
	webpay, stripe, walksAway := s.Checkout("transbank"), s.Checkout("stripe"), s.Checkout("transbank", stacktest.Hold(15))
	a := s.Call(tenant.Storefront, "POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": stacktest.Product, "quantity": 1}}, "hold_seconds": 600})
	require.Equal(t, 201, a.Status, "%s", a.Body)
	reservation := stacktest.Decode[struct {
		ID string `json:"id"`
	}](t, a).ID

	desk := p.Shop(t, shortGrace) // where things wait for a person
	refunded, _ := refusedRefund(t, desk)
	short := p.Shop(t)
	_, shortage := shortage(t, short)

	p.Temporal.Kill()
	files := stacktest.TemporalData(t, p.Dir)
	require.NotEmpty(t, files)
	for _, f := range files {
		require.NoError(t, os.Remove(f))
	}
	p.Temporal.Restart()

	step := s.Sandbox.Buyer(webpay.Payment.ID, "approve")
	require.Contains(t, []int{200, 303}, step.ReturnStatus, step.ReturnError)
	s.AwaitStatus(webpay.ID, "paid")
	requirePaid(t, s, webpay.ID)
	s.Sandbox.Buyer(stripe.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(stripe.ID, "paid")
	requirePaid(t, s, stripe.ID)
	s.Within(90*time.Second, func() (string, bool) {
		c := s.Get(walksAway.ID)
		return c.Status, c.Status == "expired"
	})
	requireUncharged(t, s, walksAway)
	// A run of the reservation is back too.
	a = s.Call(tenant.Storefront, "POST", "/v1/reservations/"+reservation+"/release", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Equal(t, 26, s.Available(stacktest.Product))
	// What waited for a person has a run again: the refund is taken by the gateway
	// this time, the shortage takes the verb.
	desk.Eventually(func() (string, bool) {
		got := desk.Get(refunded.ID).Payment.Status
		return got, got == "refunded"
	})
	requireRefundedOnce(t, desk, refunded, refunded.Payment.ID, "late_payment")
	parked(short, shortage, "short_stock")
	short.Eventually(func() (string, bool) {
		a := short.Use(shortage, "retry", nil)
		return fmt.Sprint(a.Status, " ", string(a.Body)), a.Status == 200
	})
	parked(short, shortage, "short_stock") // there is none yet
	require.Zero(t, short.Count("ULTIMA", "CCP-1", 1))
	short.Eventually(func() (string, bool) { // by the verb, or by itself before it
		a, list := short.Use(shortage, "retry", nil), short.Stuck()
		return fmt.Sprint(a.Status, " ", string(a.Body), " ", list), len(list) == 0
	})
	nothingStuck(desk)
	p.Audit(t)
}

func TestTerminatedRun_IsListedAndRestartGoesOn(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	run := s.CheckoutRun(c.ID)
	s.Terminate(run)
	s.Eventually(func() (string, bool) {
		s.AwaitClosed(s.Sweep())
		list := s.Stuck()
		return fmt.Sprint(list), slices.ContainsFunc(list, func(i stacktest.Stuck) bool {
			return i.WorkflowID == run && i.Reason == "run_terminated" && slices.Contains(i.Verbs, "restart")
		})
	})
	a := s.Use(run, "retry", nil)
	require.Equal(t, 409, a.Status, "%s", a.Body)
	require.Equal(t, []string{"restart"}, stacktest.Decode[struct {
		Applicable []string `json:"applicable"`
	}](t, a).Applicable)
	a = s.Use(run, "restart", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	s.Eventually(func() (string, bool) { list := s.Stuck(); return fmt.Sprint(list), len(list) == 0 })
	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	sentOn(t, s, step)
	requirePaid(t, s, c.ID)
}

// TestPastOneMachine: Temporal on PostgreSQL, the API and two workers as
// processes. One worker is killed in the middle, the other finishes its orders.
func TestPastOneMachine_OneOfTwoWorkersIsKilledAndTheOtherFinishesItsOrders(t *testing.T) {
	t.Parallel()
	p := stacktest.New(t, stacktest.Options{TemporalOnPostgres: true, Workers: 2})
	s := p.Shop(t, func(rules *tenant.Settings) { rules.Limits.OpenCheckouts = 0 })
	const orders = 12
	var open []stacktest.Checkout
	for i := range orders {
		open = append(open, s.Checkout([]string{"transbank", "stripe"}[i%2], stacktest.Items(stacktest.Product, 1)))
	}
	// Half of the commits are on their way when the worker dies.
	s.Sandbox.Faults("transbank", map[string]any{"latency_ms": 300})
	s.Sandbox.Faults("stripe", map[string]any{"latency_ms": 300})
	var buyers sync.WaitGroup
	for _, c := range open {
		buyers.Go(func() {
			if _, err := s.Sandbox.TryBuyer(c.Payment.ID, "approve"); err != nil {
				t.Error(err)
			}
		})
	}
	s.Eventually(func() (string, bool) {
		n := len(s.Sandbox.Ledger().Charges)
		return fmt.Sprint(n, " charges"), n >= orders/2
	})
	p.Workers[0].Kill()
	buyers.Wait()
	for _, c := range open {
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
	}
	require.Equal(t, 30-orders, s.Available(stacktest.Product))
	p.Audit(t)
}
