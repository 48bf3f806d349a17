package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// later sends a request from another goroutine.
func later(t *testing.T, s *stacktest.Shop, method, path string, body any, headers ...string) <-chan stacktest.Answer {
	out := make(chan stacktest.Answer, 1)
	go func() {
		a, err := s.Try(t.Context(), tenant.Storefront, method, path, body, headers...)
		if err != nil {
			a.Body = []byte(err.Error())
		}
		out <- a
	}()
	return out
}

// steps takes a buyer's step from another goroutine.
func steps(s *stacktest.Shop, paymentID, step string) <-chan stacktest.Step {
	out := make(chan stacktest.Step, 1)
	go func() {
		r, err := s.Sandbox.TryBuyer(paymentID, step)
		if err != nil {
			r.ReturnError = err.Error()
		}
		out <- r
	}()
	return out
}

// sentOn demands that the buyer's browser is sent on to the shop. On a machine
// that is busy it is shown the waiting page first, and loads it again.
func sentOn(t *testing.T, s *stacktest.Shop, step stacktest.Step) stacktest.Step {
	t.Helper()
	if step.ReturnStatus == http.StatusOK && step.ReturnMethod == http.MethodGet {
		s.Eventually(func() (string, bool) {
			a, err := s.Visit(t.Context(), strings.TrimPrefix(step.ReturnURL, s.APIURL))
			if err != nil {
				return err.Error(), false
			}
			step.ReturnStatus, step.ReturnLocation = a.Status, a.Header.Get("Location")
			return fmt.Sprint(a.Status), a.Status == http.StatusSeeOther
		})
	}
	require.Equal(t, http.StatusSeeOther, step.ReturnStatus, step.ReturnError)
	return step
}

func TestExpiry_AnApprovalDuringItsQuestionIsPaid(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Next("transbank", "status", "hold_answer", 1)
	c := s.Checkout("transbank", stacktest.Hold(6))
	s.Sandbox.AwaitHeld("transbank", 1) // the expiry asks what became of the attempt
	back := steps(s, c.Payment.ID, "approve")
	s.Eventually(func() (string, bool) {
		n := stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1`, s.Tenant)
		return fmt.Sprint(n, " returns"), n == 1
	})
	s.Sandbox.Release("transbank")
	step := <-back
	require.Contains(t, []int{200, 303}, step.ReturnStatus, step.ReturnError)
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	require.Equal(t, 28, s.Available(stacktest.Product))
}

func TestExpiry_FindsOutThatTheBuyerHadPaid(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Faults("stripe", map[string]any{"drop_webhooks": true})
	c := s.Checkout("stripe", stacktest.Hold(6))
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestExpiry_WhileACommitRunsWaitsForItsAnswer(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	held := func(op string) map[string]any { return map[string]any{"op": op, "kind": "hold_answer", "count": 100} }
	s.Sandbox.Faults("transbank", map[string]any{"next": []any{held("commit"), held("status")}})
	c := s.Checkout("transbank", stacktest.Hold(6))
	back := steps(s, c.Payment.ID, "approve")
	s.Sandbox.AwaitHeld("transbank", 1)
	s.Eventually(func() (string, bool) { // the commit is given up, and what became of it is asked
		over, asked := time.Since(c.ExpiresAt), s.Sandbox.Calls("transbank", "status")
		return fmt.Sprintf("asked %d times, %s over", asked, over), asked > 0 && over > 500*time.Millisecond
	})
	require.Equal(t, "awaiting_payment", s.Get(c.ID).Status)
	s.Sandbox.Faults("transbank", map[string]any{})
	s.Sandbox.Release("transbank")
	step := <-back
	sentOn(t, s, step)
	requirePaid(t, s, c.ID)
}

func TestCancel_WhileACommitRunsIsAnsweredByTheMoney(t *testing.T) {
	t.Parallel()
	for step, want := range map[string]int{"approve": http.StatusConflict, "decline": http.StatusOK} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := stacktest.Shared(t).Shop(t)
			c := s.Checkout("transbank")
			s.Sandbox.Next("transbank", "commit", "hold_answer", 1)
			back := steps(s, c.Payment.ID, step)
			s.Sandbox.AwaitHeld("transbank", 1)
			cancel := later(t, s, "POST", "/v1/checkouts/"+c.ID+"/cancel", map[string]any{"reason": "changed my mind"})
			s.Await(c.ID, func(c stacktest.Checkout) bool { return c.CancelRequestedAt != nil })
			s.Sandbox.Release("transbank")
			a := <-cancel
			require.Equal(t, want, a.Status, "%s", a.Body)
			<-back
			if step == "approve" {
				require.Equal(t, "already_paid", a.Code())
				require.Equal(t, c.ID, stacktest.Decode[struct {
					OrderID string `json:"order_id"`
				}](t, a).OrderID)
				requirePaid(t, s, c.ID)
				return
			}
			require.Equal(t, "cancelled", s.Get(c.ID).Status)
			requireUncharged(t, s, c)
			require.Equal(t, 30, s.Available(stacktest.Product))
		})
	}
}

func TestCancel_WhileACommitRunsForLongIs202AndThenDecidedByTheMoney(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	s.Sandbox.Next("transbank", "commit", "hold_answer", 1)
	back := steps(s, c.Payment.ID, "approve")
	s.Sandbox.AwaitHeld("transbank", 1)
	a := s.Call(tenant.Storefront, "POST", "/v1/checkouts/"+c.ID+"/cancel", nil)
	require.Equal(t, 202, a.Status, "%s", a.Body)
	require.NotNil(t, stacktest.Decode[stacktest.Checkout](t, a).CancelRequestedAt)
	require.Equal(t, 200, (<-back).ReturnStatus, "the buyer's page waits")
	s.Sandbox.Release("transbank")
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
	require.Equal(t, "already_paid", s.Call(tenant.Storefront, "POST", "/v1/checkouts/"+c.ID+"/cancel", nil).Code())
}

func TestCancelled_AnApprovalIsNeitherCommittedNorKept(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	s.Cancel(c.ID)
	step := s.Sandbox.Buyer(c.Payment.ID, "approve") // the provider's form still lives
	step = sentOn(t, s, step)
	require.Contains(t, step.ReturnLocation, "status=cancelled")
	c = s.Get(c.ID)
	require.Equal(t, "cancelled", c.Status)
	requireUncharged(t, s, c)
	require.Equal(t, 30, s.Available(stacktest.Product))
}

func TestTwoIdenticalRequestsAtOnce_MakeOneCheckout(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	key := []string{"Idempotency-Key", "twice-" + s.Tenant}
	first := later(t, s, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	second := later(t, s, "POST", "/v1/checkouts", stacktest.Basket("transbank"), key...)
	one, two := <-first, <-second
	require.Equal(t, 201, one.Status, "%s", one.Body)
	require.Equal(t, 201, two.Status, "%s", two.Body)
	require.JSONEq(t, string(one.Body), string(two.Body))
	replayed := []string{one.Header.Get("Idempotent-Replayed"), two.Header.Get("Idempotent-Replayed")}
	slices.Sort(replayed)
	require.Equal(t, []string{"", "true"}, replayed)
	require.Equal(t, 28, s.Available(stacktest.Product))
	require.Equal(t, 422, s.Call(tenant.Storefront, "POST", "/v1/checkouts", stacktest.Basket("stripe"), key...).Status)
}

// TestTwoHundredBuyers_HoldExactlyTwentyUnits: two SKUs, named in opposite
// orders, with 20 units each over three warehouses.
func TestTwoHundredBuyers_HoldExactlyTwentyUnits(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Product("A", 1000, 7, 7, 6)
	s.Product("B", 1000, 7, 7, 6)
	const buyers, atOnce = 200, 24
	turns := make(chan int)
	answers := make([]stacktest.Answer, buyers)
	errs := make([]error, buyers)
	var crowd sync.WaitGroup
	for range atOnce {
		crowd.Go(func() {
			for i := range turns {
				skus := []string{"A", "B"}
				if i%2 == 1 {
					slices.Reverse(skus)
				}
				body := stacktest.Basket("stripe", func(m map[string]any) {
					m["items"] = []any{map[string]any{"sku": skus[0], "quantity": 1}, map[string]any{"sku": skus[1], "quantity": 1}}
					m["customer"] = map[string]any{"email": fmt.Sprintf("buyer-%d@example.cl", i)}
				})
				answers[i], errs[i] = s.Try(t.Context(), tenant.Storefront, "POST", "/v1/checkouts", body)
			}
		})
	}
	for i := range buyers {
		turns <- i
	}
	close(turns)
	crowd.Wait()

	held := 0
	for i, a := range answers {
		require.NoError(t, errs[i])
		switch a.Status {
		case http.StatusCreated:
			held++
		case http.StatusAccepted: // a busy machine: the GET tells the end of it
			c := s.Await(stacktest.Decode[stacktest.Checkout](t, a).ID, func(c stacktest.Checkout) bool { return c.Status != "reserving" })
			if c.Status == "awaiting_payment" {
				held++
			} else {
				require.Equal(t, "insufficient_stock", c.Failure.Code)
			}
		default:
			require.Equal(t, http.StatusConflict, a.Status, "%s", a.Body)
			require.Equal(t, "insufficient_stock", a.Code())
		}
	}
	require.Equal(t, 20, held)
	for _, sku := range []string{"A", "B"} {
		require.Zero(t, s.Available(sku))
		require.Equal(t, 20, stacktest.Value[int](t, s.Stack, `SELECT sum(reserved)::int FROM stock_levels WHERE tenant = $1 AND sku = $2`, s.Tenant, sku))
	}
}

func TestCount_BelowWhatIsHeldMovesTheHoldElsewhereOrCancelsIt(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	moved := s.Checkout("transbank")
	require.Equal(t, "SCL-1", moved.Reservation.Lines[0].Warehouse)
	require.Equal(t, 1, s.Count(stacktest.Product, "SCL-1", 0))
	moved = s.Await(moved.ID, func(c stacktest.Checkout) bool { return c.Reservation.Status == "held" })
	require.Equal(t, "CCP-1", moved.Reservation.Lines[0].Warehouse)
	require.Equal(t, 8, s.Available(stacktest.Product))

	require.Equal(t, 1, s.Count(stacktest.Product, "CCP-1", 1))
	lost := s.AwaitStatus(moved.ID, "cancelled")
	require.Equal(t, "insufficient_stock", lost.Failure.Code)
	require.Equal(t, 1, s.Available(stacktest.Product))
	s.Sandbox.Buyer(lost.Payment.ID, "approve")
	requireUncharged(t, s, s.Get(lost.ID))
}
