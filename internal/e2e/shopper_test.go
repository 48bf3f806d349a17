package e2e_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/temporalclient"
)

// mostEvents is how long the history of a paid order may be.
const mostEvents = 32

func TestShopper_PaysByWebpayInFourSteps(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	require.Equal(t, "POST", c.Payment.Redirect.Method)
	require.NotEmpty(t, c.Payment.Token())
	require.Equal(t, "held", c.Reservation.Status)
	require.Equal(t, 28, s.Available(stacktest.Product))
	requireUncharged(t, s, c)

	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	step = sentOn(t, s, step)
	to, err := url.Parse(step.ReturnLocation)
	require.NoError(t, err)
	require.Equal(t, "shop.example", to.Host)
	require.Equal(t, c.ID, to.Query().Get("checkout_id"))
	require.Equal(t, "paid", to.Query().Get("status"))

	c = requirePaid(t, s, c.ID)
	require.Equal(t, "confirmed", c.Reservation.Status)
	require.Equal(t, 28, s.Available(stacktest.Product))
	requireShortStory(t, s, c)
}

func TestShopper_PaysByStripeWhoseWebhookTellsIt(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("stripe")
	require.Equal(t, "GET", c.Payment.Redirect.Method)
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	s.AwaitStatus(c.ID, "paid")
	c = requirePaid(t, s, c.ID)
	requireShortStory(t, s, c)
}

func TestShopper_PaysByStripeWhoseReturnTellsIt(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Faults("stripe", map[string]any{"drop_webhooks": true})
	c := s.Checkout("stripe")
	step := s.Sandbox.Buyer(c.Payment.ID, "approve")
	step = sentOn(t, s, step)
	require.Contains(t, step.ReturnLocation, "status=paid")
	c = requirePaid(t, s, c.ID)
	requireShortStory(t, s, c)
}

// requireShortStory looks at the run of a paid checkout as a person does in
// Temporal's UI: it is over, short, named, and tells no personal data.
func requireShortStory(t *testing.T, s *stacktest.Shop, c stacktest.Checkout) {
	t.Helper()
	run := s.CheckoutRun(c.ID)
	require.NotNil(t, c.Workflow)
	require.Equal(t, run, c.Workflow.ID)
	s.AwaitClosed(run)
	h := s.History(t, run)
	t.Logf("%d events\n%s", len(h.Events), s.Story(t, h))
	require.LessOrEqual(t, len(h.Events), mostEvents)

	stored, clear := stacktest.Text(t, h), stacktest.Text(t, s.Decrypted(t, h))
	require.True(t, strings.Contains(clear, c.Reservation.ID), "the payloads could be read")
	require.False(t, strings.Contains(stored, c.Reservation.ID), "payloads are encrypted")
	for _, personal := range []string{"ana@example", "example.cl", "Ana Rojas", "Rojas", "961234567", "Providencia", "11111111-1", "11.111.111"} {
		for _, text := range []string{clear, stored} {
			require.False(t, strings.Contains(strings.ToLower(text), strings.ToLower(personal)), "%q is in the history", personal)
		}
	}

	described, err := s.Temporal.DescribeWorkflow(t.Context(), run, "")
	require.NoError(t, err)
	attributes := described.TypedSearchAttributes
	text := func(key interface{ GetName() string }) string {
		for k, v := range attributes.GetUntypedValues() {
			if k.GetName() == key.GetName() {
				out, _ := v.(string)
				return out
			}
		}
		return ""
	}
	require.Equal(t, s.Tenant, text(temporalclient.TenantID))
	require.Equal(t, "paid", text(temporalclient.OrderState))
	require.Equal(t, "web", text(temporalclient.Channel))
	require.Equal(t, c.Number, text(temporalclient.Number))
	attention, found := attributes.GetBool(temporalclient.Attention)
	require.True(t, found)
	require.False(t, attention)
	summary, err := described.GetStaticSummary()
	require.NoError(t, err)
	require.Contains(t, summary, c.Number)
	require.Contains(t, summary, "2 units")
	for _, e := range s.Decrypted(t, h).Events {
		switch e.EventType {
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enumspb.EVENT_TYPE_TIMER_STARTED:
			require.NotEmpty(t, e.GetUserMetadata().GetSummary().GetData(), "%s has no summary", e.EventType)
		}
	}
}

func TestShopper_IsAStoryForAPersonInTheTemporalUI(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	read := func() string {
		t.Helper()
		answer, err := s.Temporal.QueryWorkflow(t.Context(), s.CheckoutRun(c.ID), "", "__temporal_workflow_metadata")
		require.NoError(t, err)
		var about sdkpb.WorkflowMetadata
		require.NoError(t, answer.Get(&about))
		return about.GetCurrentDetails()
	}
	details := read()
	for _, word := range []string{c.Number, "$29.970", "Waiting for Webpay until " + c.ExpiresAt.UTC().Format("15:04:05"), "2 units in SCL-1 held"} {
		require.Contains(t, details, word)
	}
	require.NotContains(t, details, "Ana")
	s.Sandbox.Buyer(c.Payment.ID, "approve")
	s.AwaitClosed(s.CheckoutRun(c.ID))
	require.Contains(t, read(), "paid")
}

func TestShopper_WhoIsDeclinedTriesAnotherGateway(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := s.Checkout("transbank")
	step := s.Sandbox.Buyer(c.Payment.ID, "decline")
	step = sentOn(t, s, step)
	require.Contains(t, step.ReturnLocation, "status=awaiting_payment")
	require.Equal(t, "declined", s.Get(c.ID).Payment.Status)

	second := try(t, s, c.ID, "stripe")
	require.Len(t, second.Payments, 2)
	require.Equal(t, "stripe", second.Payment.Gateway)
	step = s.Sandbox.Buyer(second.Payment.ID, "approve")
	require.Contains(t, step.ReturnLocation, "https://shop.example/again")
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestShopper_ComesBackFromWebpayInEveryOtherWayAndPaysByAnotherTry(t *testing.T) {
	t.Parallel()
	for step, status := range map[string]string{"timeout": "expired", "error": "declined", "abort": "cancelled"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := stacktest.Shared(t).Shop(t)
			c := s.Checkout("transbank")
			r := s.Sandbox.Buyer(c.Payment.ID, step, "return_method", "POST")
			r = sentOn(t, s, r)
			require.Contains(t, r.ReturnLocation, "status=awaiting_payment")
			c = s.Get(c.ID)
			require.Equal(t, status, c.Payment.Status)
			requireUncharged(t, s, c)
			second := try(t, s, c.ID, "transbank")
			r = s.Sandbox.Buyer(second.Payment.ID, "approve", "return_method", "POST")
			r = sentOn(t, s, r)
			requirePaid(t, s, c.ID)
		})
	}
}

func TestShopper_WhoAbortsAndCancelsGetsNothingChargedAndFreesTheStock(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	for _, gateway := range []string{"transbank", "stripe"} {
		c := s.Checkout(gateway)
		s.Sandbox.Buyer(c.Payment.ID, "abort")
		require.Equal(t, "awaiting_payment", s.Get(c.ID).Status)
		for range 2 {
			s.Cancel(c.ID)
		}
		require.Equal(t, 30, s.Available(stacktest.Product))
		requireUncharged(t, s, c)
	}
}

func TestShopper_WhoWalksAwayLosesTheHoldWithinFiveSecondsOfItsTime(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	for _, gateway := range []string{"transbank", "stripe"} {
		c := s.Checkout(gateway, stacktest.Hold(6))
		c = s.AwaitStatus(c.ID, "expired")
		late := stacktest.Value[float64](t, s.Stack, `SELECT extract(epoch FROM ended_at - expires_at)::float8 FROM holds WHERE id = $1`, c.Reservation.ID)
		require.GreaterOrEqual(t, late, 0.0)
		require.Less(t, late, 5.0)
		require.Equal(t, "expired", c.Reservation.Status)
		require.Equal(t, 30, s.Available(stacktest.Product))
		requireUncharged(t, s, c)
	}
}
