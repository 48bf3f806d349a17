package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// story is one way through the workflows. It checks how it ends and names the
// runs that it consisted of: by what they are (which becomes a file's name) and
// their workflow ids.
type story struct {
	name  string
	rules func(*tenant.Settings)
	tell  func(t *testing.T, s *stacktest.Shop) map[string]string
}

// stories go through every branch of every workflow. What they do is also what
// is recorded for the replay tests of the package workflows.
var stories = []story{
	{"paid-by-webpay", nil, paidByWebpay},
	{"paid-by-stripe-webhook", nil, paidByStripeWebhook},
	{"declined-then-failed", nil, declinedThenFailed},
	{"aborted-then-cancelled", nil, abortedThenCancelled},
	{"walked-away", nil, walkedAway},
	{"another-try", nil, anotherTry},
	{"auto-fallback", nil, autoFallback},
	{"no-gateway", nil, noGateway},
	{"no-stock", nil, noStock},
	{"late-return", nil, lateReturn},
	{"late-return-without-stock", nil, lateReturnWithoutStock},
	{"late-return-after-the-end", nil, lateReturnAfterTheEnd},
	{"late-approval-refunded", shortGrace, lateApprovalRefunded},
	{"paid-twice", nil, paidTwice},
	{"unknown-commit", nil, unknownCommit},
	{"cancel-during-commit", nil, cancelDuringCommit},
	{"cancelled-in-the-ui", nil, cancelledInTheUI},
	{"credentials-parked", nil, credentialsParked},
	{"mismatch-refunded", nil, mismatchRefunded},
	{"mismatch-accepted", nil, mismatchAccepted},
	{"replaced", nil, replaced},
	{"restarted", nil, restarted},
	{"short-moved", nil, shortMoved},
	{"short-cancelled", nil, shortCancelled},
	{"shortage-cured", nil, shortageCured},
	{"shortage-resolved", nil, shortageResolved},
	{"shortage-refunded", refundsShort, shortageRefunded},
	{"shortage-back-ordered", backOrders, shortageBackOrdered},
	{"shortage-decided", nil, shortageDecided},
	{"refund-resolved", shortGrace, refundResolved},
	{"refund-retried", shortGrace, refundRetried},
	{"refund-given-up", shortGrace, refundGivenUp},
	{"refund-requested", nil, refundRequested},
	{"refund-of-a-unit-and-the-rest", nil, refundOfAUnitAndTheRest},
	{"refund-by-transfer", nil, refundByTransfer},
	{"requested-refund-refused", nil, requestedRefundRefused},
	{"refund-voids", nil, refundVoids},
	{"disputed-and-won", nil, disputedAndWon},
	{"charged-back", nil, chargedBack},
	{"refunded-in-the-panel", nil, refundedInThePanel},
	{"captured-later", nil, capturedLater},
	{"authorization-voided", nil, authorizationVoided},
	{"paid-by-token", nil, paidByToken},
	{"declined-token", nil, declinedToken},
	{"books-compared", nil, booksCompared},
	{"goods-late", nil, goodsLate},
	{"goods-lost", nil, goodsLost},
	{"goods-restarted", nil, goodsRestarted},
	{"goods-received", nil, goodsReceived},
	{"receipt-late", nil, receiptLate},
	{"bins-counted", nil, binsCounted},
	{"count-cancelled", nil, countCancelled},
	{"count-restarted", nil, countRestarted},
	{"count-reworded", nil, countReworded},
	{"shipment-delivered", automatic, shipmentDelivered},
	{"shipment-next-carrier", ships, shipmentNextCarrier},
	{"shipment-label-cancelled", ships, shipmentLabelCancelled},
	{"shipment-nobody", ships, shipmentNobody},
	{"shipment-in-doubt", ships, shipmentInDoubt},
	{"shipment-lost", ships, shipmentLost},
	{"shipment-returned", ships, shipmentReturned},
	{"shipment-late", ships, shipmentLate},
	{"return-refunded", ships, returnRefunded},
	{"return-decided", ships, returnDecided},
	{"return-expired", ships, returnExpired},
	{"return-by-carrier", ships, returnByCarrier},
	{"return-label-unused", ships, returnLabelUnused},
	{"return-lost", ships, returnLost},
	{"shipment-restarted", ships, shipmentRestarted},
	{"order-cancelled", ships, orderCancelled},
	{"order-cancelled-with-a-label", ships, orderCancelledWithALabel},
	{"reservation-confirmed", nil, reservationConfirmed},
	{"reservation-released", nil, reservationReleased},
	{"reservation-expired", nil, reservationExpired},
	{"reservation-refused", nil, reservationRefused},
	{"reservation-short", nil, reservationShort},
	{"sweeper", nil, swept},
}

func TestStories(t *testing.T) {
	t.Parallel()
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			story.tell(t, newShop(t, story))
		})
	}
}

// TestStories_WithAWorkerThatForgets tells the stories again, in a process of its
// own, with a worker that replays each run from its beginning at every step. It goes
// alone, before the others: two stacks at once made each other wait for seconds.
func TestStories_WithAWorkerThatForgets(t *testing.T) {
	if os.Getenv(stacktest.EnvNoSticky) != "" {
		t.Skip("this is that process")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStories$", "-test.count=1")
	cmd.Env = append(os.Environ(), stacktest.EnvNoSticky+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func newShop(t *testing.T, s story) *stacktest.Shop {
	t.Helper()
	if s.rules == nil {
		return stacktest.Shared(t).Shop(t)
	}
	return stacktest.Shared(t).Shop(t, s.rules)
}

// one names the checkout's run alone.
func one(s *stacktest.Shop, c stacktest.Checkout) map[string]string {
	return map[string]string{"checkout": s.CheckoutRun(c.ID)}
}

func paidByWebpay(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

func paidByStripeWebhook(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("stripe")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(c.ID, "paid")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

func declinedThenFailed(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank", stacktest.Hold(6))
	s.Sandbox.Buyer(c.Payment.ID, "decline")
	require.Equal(t, "declined", s.Get(c.ID).Payment.Status)
	s.AwaitStatus(c.ID, "payment_failed")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	requireUncharged(t, s, c)
	return one(s, c)
}

func abortedThenCancelled(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	s.Sandbox.Buyer(c.Payment.ID, "abort")
	require.Equal(t, "cancelled", s.Get(c.ID).Payment.Status)
	s.Cancel(c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	require.Equal(t, 30, s.Available(stacktest.Product))
	return one(s, c)
}

// walkedAway leaves the run open: Webpay's form may still be paid.
func walkedAway(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank", stacktest.Hold(6))
	s.AwaitStatus(c.ID, "expired")
	require.Equal(t, 30, s.Available(stacktest.Product))
	return one(s, c)
}

// try begins another attempt and waits until the buyer can pay it.
func try(t *testing.T, s *stacktest.Shop, checkoutID, gateway string) stacktest.Checkout {
	t.Helper()
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts/"+checkoutID+"/payments", map[string]any{"gateway": gateway, "return_url": "https://shop.example/again"})
	require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
	if a.Status == 202 { // the attempt is being begun
		return s.Await(checkoutID, func(c stacktest.Checkout) bool { return c.Payment.Gateway == gateway && c.Payment.Redirect != nil })
	}
	return stacktest.Decode[stacktest.Checkout](t, a)
}

func anotherTry(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("stripe")
	second := try(t, s, c.ID, "transbank")
	_, err := s.Sandbox.TryBuyer(c.Payment.ID, "approve")
	require.Error(t, err, "the first page is closed")
	s.Sandbox.Buyer(second.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

func autoFallback(t *testing.T, s *stacktest.Shop) map[string]string {
	s.Sandbox.Faults("transbank", map[string]any{"outage": true, "outage_mode": "503"})
	c := s.Checkout("auto")
	require.Equal(t, "stripe", c.Payment.Gateway)
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(c.ID, "paid")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

// refusedRun is the run of a checkout that was refused, and so has no answer
// that names it.
func refusedRun(t *testing.T, s *stacktest.Shop) map[string]string {
	t.Helper()
	run := s.CheckoutRun(stacktest.Value[string](t, s.Stack, `SELECT id FROM checkouts WHERE tenant = $1 ORDER BY id DESC LIMIT 1`, s.Tenant))
	s.AwaitClosed(run)
	return map[string]string{"checkout": run}
}

func noGateway(t *testing.T, s *stacktest.Shop) map[string]string {
	for _, gateway := range []string{"transbank", "stripe"} {
		s.Sandbox.Faults(gateway, map[string]any{"outage": true, "outage_mode": "503"})
	}
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("auto"))
	require.Equal(t, 503, a.Status, "%s", a.Body)
	require.Equal(t, 30, s.Available(stacktest.Product))
	return refusedRun(t, s)
}

func noStock(t *testing.T, s *stacktest.Shop) map[string]string {
	s.Product("ULTIMA", 9990, 1)
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("stripe", stacktest.Items("ULTIMA", 2)))
	require.Equal(t, 409, a.Status, "%s", a.Body)
	require.Equal(t, "insufficient_stock", a.Code())
	return refusedRun(t, s)
}

func lateReturn(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank", stacktest.Hold(6))
	s.AwaitStatus(c.ID, "expired")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

func lateReturnWithoutStock(t *testing.T, s *stacktest.Shop) map[string]string {
	s.Product("ULTIMA", 9990, 1)
	c := s.Checkout("transbank", stacktest.Items("ULTIMA", 1), stacktest.Hold(6))
	s.AwaitStatus(c.ID, "expired")
	s.Checkout("stripe", stacktest.Items("ULTIMA", 1))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requireUncharged(t, s, s.Get(c.ID))
	return one(s, c)
}

func lateReturnAfterTheEnd(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	s.Cancel(c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	sentOn(t, s, step)
	requireUncharged(t, s, c)
	late := s.WorkflowID(workflows.KindLatePayment, c.Payment.ID)
	s.AwaitClosed(late)
	return map[string]string{"late-payment": late}
}

// lateAndUnwanted is a Stripe payment of an expired checkout whose units are
// gone.
func lateAndUnwanted(t *testing.T, s *stacktest.Shop) stacktest.Checkout {
	t.Helper()
	c := lateStripe(t, s)
	s.Checkout("transbank", stacktest.Items("ULTIMA", 1))
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	return c
}

// refundRun is the run that gives a payment back.
func refundRun(t *testing.T, s *stacktest.Shop, paymentID string) string {
	t.Helper()
	var id string
	s.Eventually(func() (string, bool) {
		id = stacktest.Value[string](t, s.Stack, `SELECT coalesce((SELECT id FROM refunds WHERE payment_id = $1), '')`, paymentID)
		return "refund " + id, id != ""
	})
	return s.WorkflowID(workflows.KindRefund, id)
}

func lateApprovalRefunded(t *testing.T, s *stacktest.Shop) map[string]string {
	c := lateAndUnwanted(t, s)
	s.Sandbox.Faults("stripe", map[string]any{})
	refund := refundRun(t, s, c.Payment.ID)
	s.AwaitClosed(refund)
	requireRefundedOnce(t, s, c, c.Payment.ID, "late_payment")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return map[string]string{"checkout": s.CheckoutRun(c.ID), "refund": refund}
}

func paidTwice(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("stripe")
	first := c.Payment.ID
	s.Sandbox.Faults("stripe", map[string]any{"outage": true, "outage_mode": "503"}) // its session can't be closed
	second := try(t, s, c.ID, "transbank").Payment.ID
	s.Sandbox.Buyer(second, "approve", "return", "false")
	s.Sandbox.Buyer(first, "approve", "return", "false")
	s.Sandbox.Buyer(second, "return")
	s.AwaitStatus(c.ID, "paid")
	s.Sandbox.Faults("stripe", map[string]any{})
	c = s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Attempt(first).Status == "refunded" })
	require.Equal(t, "paid", c.Status)
	require.True(t, c.Attempt(second).Applied)
	require.False(t, c.Attempt(first).Applied)
	require.Len(t, chargesOf(s, c), 2)
	requireRefundedOnce(t, s, c, first, "duplicate_payment")
	require.Equal(t, 28, s.Available(stacktest.Product))
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return map[string]string{"checkout": s.CheckoutRun(c.ID), "refund": refundRun(t, s, first)}
}

func unknownCommit(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	s.Sandbox.Next("transbank", "commit", "cut_after", 1)
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

func cancelDuringCommit(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	s.Sandbox.Next("transbank", "commit", "hold_answer", 1)
	back := steps(s, c.Payment.ID, "decline")
	s.Sandbox.AwaitHeld("transbank", 1)
	cancel := later(t, s, "POST", "/v1/checkouts/"+c.ID+"/cancel", nil)
	s.Await(c.ID, func(c stacktest.Checkout) bool { return c.CancelRequestedAt != nil })
	s.Sandbox.Release("transbank")
	require.Equal(t, 200, (<-cancel).Status)
	<-back
	s.AwaitClosed(s.CheckoutRun(c.ID))
	requireUncharged(t, s, c)
	return one(s, c)
}

func cancelledInTheUI(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("stripe")
	require.NoError(t, s.Temporal.CancelWorkflow(t.Context(), s.CheckoutRun(c.ID), ""))
	s.AwaitStatus(c.ID, "cancelled")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	require.Equal(t, 30, s.Available(stacktest.Product))
	_, err := s.Sandbox.TryBuyer(c.Payment.ID, "approve")
	require.Error(t, err, "the page is closed")
	return one(s, c)
}

// parked waits until a step of a run waits for a person.
func parked(s *stacktest.Shop, run, reason string) stacktest.Stuck {
	var found stacktest.Stuck
	s.Eventually(func() (string, bool) {
		list := s.Stuck()
		i := slices.IndexFunc(list, func(i stacktest.Stuck) bool {
			return i.Kind == "parked" && i.WorkflowID == run && i.Reason == reason
		})
		if i >= 0 {
			found = list[i]
		}
		return fmt.Sprintf("%+v", list), i >= 0
	})
	return found
}

// use has a person decide, and waits until it is done: of a run that does not
// finish with it while the caller waits, the answer is 202.
func use(t *testing.T, s *stacktest.Shop, run, verb string, more map[string]any) {
	t.Helper()
	a := s.Use(run, verb, more)
	if a.Status == 202 {
		sent := stacktest.Decode[struct {
			ActionID string `json:"action_id"`
		}](t, a)
		update := s.Temporal.GetWorkflowUpdateHandle(client.GetWorkflowUpdateHandleOptions{WorkflowID: run, UpdateID: sent.ActionID})
		ctx, cancel := context.WithTimeout(t.Context(), stacktest.Patience)
		defer cancel()
		require.NoError(t, update.Get(ctx, nil))
		return
	}
	require.Equal(t, 200, a.Status, "%s", a.Body)
}

// refusedBy sends a verb past the API to a run that does not take it, and returns those
// that the run names instead.
func refusedBy(t *testing.T, s *stacktest.Shop, run, verb string) (verbs []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stacktest.Patience)
	defer cancel()
	update, err := s.Temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: run, UpdateName: workflows.UpdateSupport, WaitForStage: client.WorkflowUpdateStageCompleted, Args: []any{workflows.SupportRequest{Verb: verb}}})
	if err == nil {
		err = update.Get(ctx, nil)
	}
	var refused *temporal.ApplicationError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, workflows.TypeVerbNotApplicable, refused.Type())
	require.NoError(t, refused.Details(&verbs))
	return verbs
}

func nothingStuck(s *stacktest.Shop) {
	s.Eventually(func() (string, bool) { list := s.Stuck(); return fmt.Sprintf("%+v", list), len(list) == 0 })
}

// credentialsParked: the gateway does not take our credentials any more while a
// buyer pays.
func credentialsParked(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	run := s.CheckoutRun(c.ID)
	s.Sandbox.Faults("transbank", map[string]any{"next": []any{map[string]any{"op": "*", "kind": "refuse", "status": 401, "message": "Not Authorized", "count": 1000}}})
	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	require.Contains(t, []int{200, 303}, step.ReturnStatus, step.ReturnError)
	item := parked(s, run, "gateway_credentials")
	require.ElementsMatch(t, []string{"resolve", "retry"}, item.Verbs)
	require.Equal(t, 409, s.Use(run, "skip", nil).Status)
	require.ElementsMatch(t, item.Verbs, refusedBy(t, s, run, "skip"), "the run says the same as the list")
	s.Sandbox.Faults("transbank", map[string]any{})
	use(t, s, run, "retry", nil)
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(run)
	nothingStuck(s)
	return one(s, c)
}

func mismatch(t *testing.T, s *stacktest.Shop) stacktest.Checkout {
	t.Helper()
	c := s.Checkout("stripe")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false", "amount", "1000")
	item := parked(s, s.CheckoutRun(c.ID), "payment_mismatch")
	require.ElementsMatch(t, []string{"resolve", "skip"}, item.Verbs)
	c = s.Get(c.ID)
	require.Equal(t, "awaiting_payment", c.Status, "the money is recorded and pays nothing")
	require.Equal(t, int64(1000), c.Payment.Captured)
	return c
}

func mismatchRefunded(t *testing.T, s *stacktest.Shop) map[string]string {
	c := mismatch(t, s)
	use(t, s, s.CheckoutRun(c.ID), "resolve", map[string]any{"outcome": "refund"})
	s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Payment.Status == "refunded" })
	refunds := refundsOf(s, c)
	require.Len(t, refunds, 1)
	require.Equal(t, int64(1000), refunds[0].Amount)
	nothingStuck(s)
	return one(s, c)
}

func mismatchAccepted(t *testing.T, s *stacktest.Shop) map[string]string {
	c := mismatch(t, s)
	use(t, s, s.CheckoutRun(c.ID), "resolve", map[string]any{"outcome": "accept"})
	c = s.AwaitStatus(c.ID, "paid")
	require.True(t, c.Payment.Applied)
	require.Equal(t, int64(1000), c.Payment.Captured)
	require.Empty(t, refundsOf(s, c))
	s.AwaitClosed(s.CheckoutRun(c.ID))
	nothingStuck(s)
	return one(s, c)
}

func replaced(t *testing.T, s *stacktest.Shop) map[string]string {
	ref := func(m map[string]any) { m["customer_ref"] = "cart-1" }
	s.Product("ULTIMA", 9990, 1)
	old := s.Checkout("stripe", stacktest.Items("ULTIMA", 1), ref)
	next := s.Checkout("transbank", stacktest.Items("ULTIMA", 1), ref, func(m map[string]any) { m["replaces"] = old.ID })
	s.AwaitStatus(old.ID, "cancelled")
	s.AwaitClosed(s.CheckoutRun(old.ID))
	_, err := s.Sandbox.TryBuyer(old.Payment.ID, "approve")
	require.Error(t, err, "the old page is closed")
	s.Sandbox.Buyer(next.Payment.ID, "approve")
	requirePaid(t, s, next.ID)
	requireUncharged(t, s, old)
	s.AwaitClosed(s.CheckoutRun(next.ID))
	return map[string]string{"old": s.CheckoutRun(old.ID), "new": s.CheckoutRun(next.ID)}
}

// restarted goes on from its rows in a new run.
func restarted(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	run := s.CheckoutRun(c.ID)
	s.Terminate(run)
	use(t, s, run, "restart", nil)
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(run)
	return one(s, c)
}

func shortMoved(t *testing.T, s *stacktest.Shop) map[string]string {
	c := s.Checkout("transbank")
	require.Equal(t, 1, s.Count(stacktest.Product, "SCL-1", 0))
	s.Await(c.ID, func(c stacktest.Checkout) bool { return c.Reservation.Status == "held" })
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	s.AwaitClosed(s.CheckoutRun(c.ID))
	return one(s, c)
}

func shortCancelled(t *testing.T, s *stacktest.Shop) map[string]string {
	s.Product("ULTIMA", 9990, 2)
	c := s.Checkout("transbank", stacktest.Items("ULTIMA", 2))
	require.Equal(t, 1, s.Count("ULTIMA", "SCL-1", 1))
	s.AwaitStatus(c.ID, "cancelled")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	requireUncharged(t, s, c)
	return one(s, c)
}

func shortage(t *testing.T, s *stacktest.Shop) (orderID, run string) {
	t.Helper()
	s.Product("ULTIMA", 9990, 2)
	c := s.Checkout("transbank", stacktest.Items("ULTIMA", 2))
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	requirePaid(t, s, c.ID)
	require.Equal(t, 1, s.Count("ULTIMA", "SCL-1", 1))
	run = s.WorkflowID(workflows.KindShortage, c.ID)
	parked(s, run, "short_stock")
	require.Equal(t, "short_stock", *s.Order(c.ID).Attention)
	return c.ID, run
}

func shortageCured(t *testing.T, s *stacktest.Shop) map[string]string {
	orderID, run := shortage(t, s)
	use(t, s, run, "retry", nil)
	parked(s, run, "short_stock") // no shelf has one yet
	require.Zero(t, s.Count("ULTIMA", "CCP-1", 5))
	s.AwaitClosed(run)
	nothingStuck(s)
	require.Nil(t, s.Order(orderID).Attention)
	require.Equal(t, 4, s.Available("ULTIMA"))
	return map[string]string{"shortage": run}
}

func shortageResolved(t *testing.T, s *stacktest.Shop) map[string]string {
	_, run := shortage(t, s)
	use(t, s, run, "resolve", map[string]any{"outcome": "agreed with the buyer"})
	s.AwaitClosed(run)
	return map[string]string{"shortage": run}
}

// refusedRefund is a refund that the gateway refuses.
func refusedRefund(t *testing.T, s *stacktest.Shop) (c stacktest.Checkout, run string) {
	t.Helper()
	c = lateAndUnwanted(t, s)
	s.Sandbox.Next("stripe", "create_refund", "refuse", 1)
	run = refundRun(t, s, c.Payment.ID)
	s.Eventually(func() (string, bool) {
		list := s.Stuck()
		return fmt.Sprintf("%+v", list), slices.ContainsFunc(list, func(i stacktest.Stuck) bool { return i.Kind == "parked" && i.WorkflowID == run })
	})
	require.Empty(t, refundsOf(s, c))
	return c, run
}

func refundResolved(t *testing.T, s *stacktest.Shop) map[string]string {
	c, run := refusedRefund(t, s)
	use(t, s, run, "resolve", map[string]any{"outcome": "succeeded", "reference": "transfer 4711"})
	s.AwaitClosed(run)
	require.Equal(t, "refunded", s.Get(c.ID).Payment.Status)
	nothingStuck(s)
	return map[string]string{"refund": run}
}

func refundRetried(t *testing.T, s *stacktest.Shop) map[string]string {
	c, run := refusedRefund(t, s)
	use(t, s, run, "retry", nil)
	s.AwaitClosed(run)
	requireRefundedOnce(t, s, c, c.Payment.ID, "late_payment")
	nothingStuck(s)
	return map[string]string{"refund": run}
}

func refundGivenUp(t *testing.T, s *stacktest.Shop) map[string]string {
	c, run := refusedRefund(t, s)
	use(t, s, run, "cancel", nil)
	s.AwaitClosed(run)
	require.Empty(t, refundsOf(s, c))
	require.Equal(t, "captured", s.Get(c.ID).Payment.Status)
	return map[string]string{"refund": run}
}

// reserve holds units of a SKU without a payment.
func reserve(t *testing.T, s *stacktest.Shop, sku string, quantity, seconds int) (reservationID, run string) {
	t.Helper()
	var a stacktest.Answer
	s.Eventually(func() (string, bool) { // a 503 leaves nothing held
		a = s.Call(tenant.Storefront, "POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": sku, "quantity": quantity}}, "hold_seconds": seconds})
		return string(a.Body), a.Status != http.StatusServiceUnavailable
	})
	require.Equal(t, 201, a.Status, "%s", a.Body)
	reservationID = stacktest.Decode[struct {
		ID string `json:"id"`
	}](t, a).ID
	return reservationID, s.WorkflowID(workflows.KindReservation, reservationID)
}

func onReservation(s *stacktest.Shop, reservationID, verb string, body any) stacktest.Answer {
	return s.Call(tenant.Storefront, "POST", "/v1/reservations/"+url.PathEscape(reservationID)+"/"+verb, body)
}

func reservationStatus(t *testing.T, s *stacktest.Shop, reservationID string) string {
	t.Helper()
	return stacktest.Decode[struct {
		Status string `json:"status"`
	}](t, s.Call(tenant.Storefront, "GET", "/v1/reservations/"+reservationID, nil)).Status
}

func reservationConfirmed(t *testing.T, s *stacktest.Shop) map[string]string {
	id, run := reserve(t, s, stacktest.Product, 3, 600)
	a := onReservation(s, id, "confirm", map[string]any{"channel": "counter", "external_payment": map[string]any{"method": "cash", "reference": "till 3", "amount": 38970}, "fulfilled": true})
	require.Equal(t, 200, a.Status, "%s", a.Body)
	s.AwaitClosed(run)
	require.Equal(t, "completed", s.Order(id).Status)
	require.Equal(t, 27, s.Available(stacktest.Product))
	require.Equal(t, 409, onReservation(s, id, "release", nil).Status)
	return map[string]string{"reservation": run}
}

func reservationReleased(t *testing.T, s *stacktest.Shop) map[string]string {
	id, run := reserve(t, s, stacktest.Product, 3, 600)
	a := onReservation(s, id, "extend", map[string]any{"hold_seconds": 1200})
	require.Equal(t, 200, a.Status, "%s", a.Body)
	a = onReservation(s, id, "extend", map[string]any{"hold_seconds": 30 * 24 * 3600})
	require.Contains(t, []int{http.StatusConflict, http.StatusUnprocessableEntity}, a.Status, "%s", a.Body)
	require.Equal(t, 200, onReservation(s, id, "release", nil).Status)
	s.AwaitClosed(run)
	require.Equal(t, 30, s.Available(stacktest.Product))
	return map[string]string{"reservation": run}
}

func reservationExpired(t *testing.T, s *stacktest.Shop) map[string]string {
	id, run := reserve(t, s, stacktest.Product, 3, 1)
	s.AwaitClosed(run)
	require.Equal(t, "expired", reservationStatus(t, s, id))
	require.Equal(t, 30, s.Available(stacktest.Product))
	return map[string]string{"reservation": run}
}

func reservationRefused(t *testing.T, s *stacktest.Shop) map[string]string {
	a := s.Call(tenant.Storefront, "POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": stacktest.Product, "quantity": 31}}})
	require.Equal(t, 409, a.Status, "%s", a.Body)
	run := s.WorkflowID(workflows.KindReservation, stacktest.Value[string](t, s.Stack, `SELECT id FROM reservation_requests WHERE tenant = $1`, s.Tenant))
	s.AwaitClosed(run)
	return map[string]string{"reservation": run}
}

func reservationShort(t *testing.T, s *stacktest.Shop) map[string]string {
	id, run := reserve(t, s, stacktest.Product, 3, 600)
	require.Equal(t, 1, s.Count(stacktest.Product, "SCL-1", 0)+s.Count(stacktest.Product, "CCP-1", 10))
	s.Eventually(func() (string, bool) { status := reservationStatus(t, s, id); return status, status == "held" })
	require.Equal(t, 200, onReservation(s, id, "release", nil).Status)
	s.AwaitClosed(run)
	return map[string]string{"reservation": run}
}

// swept is a round of the safety net.
func swept(t *testing.T, s *stacktest.Shop) map[string]string {
	run := s.Sweep()
	s.AwaitClosed(run)
	return map[string]string{"sweeper": run}
}
