package api_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/id"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

func (b *bundle) park(checkoutID, step, verbs string) (workflowID string) {
	workflowID = "checkout:shop:" + checkoutID
	b.sql(`INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, tried, verbs, due_at) VALUES ('shop',$1,$2,$3,'unknown_outcome','Webpay does not say whether it charged','asked 12 times',$4, now() + interval '1 hour')`, workflowID, step, checkoutID, verbs)
	return workflowID
}

func (b *bundle) stuck() []map[string]any {
	b.t.Helper()
	a := b.do("GET", "/v1/support/stuck", nil, as(b.keys[tenant.Support])...)
	require.Equal(b.t, 200, a.status, a.body)
	out := []map[string]any{}
	for _, i := range a.json()["data"].([]any) {
		out = append(out, i.(map[string]any))
	}
	return out
}

func TestStuck_ListsWhatIsParkedOverdueGoneOrAsksForAttention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Empty(t, b.stuck())
	c := b.checkout()
	id := c["id"].(string)
	workflowID := b.park(id, "doubt", "{retry,resolve}")
	items := b.stuck()
	require.Len(t, items, 1)
	require.Equal(t, "parked", items[0]["kind"])
	require.Equal(t, workflowID, items[0]["workflow_id"])
	require.Equal(t, c["number"], items[0]["number"])
	require.Equal(t, "Webpay does not say whether it charged", items[0]["why"])
	require.Equal(t, "asked 12 times", items[0]["tried"])
	require.Equal(t, []any{"resolve", "retry"}, items[0]["verbs"])

	b.sql(`UPDATE checkouts SET due_at = now() - interval '1 minute'`)
	b.sql(`UPDATE payments SET due_at = now() - interval '2 minutes'`)
	b.sql(`INSERT INTO run_problems (tenant, workflow_id, subject, problem) VALUES ('shop',$1,$2,'terminated')`, workflowID, id)
	b.sql(`INSERT INTO inbox (tenant, id, gateway, kind, signed, due_at) VALUES ('shop','01JCQZ5Y3N8W2K4T6V7X9ABCDE','stripe','webhook',true, now() - interval '1 minute')`)
	kinds := map[string]map[string]any{}
	for _, i := range b.stuck() {
		kinds[i["kind"].(string)+" "+i["of"].(string)] = i
	}
	require.Len(t, kinds, 5)
	require.Contains(t, kinds["run terminated"]["verbs"], "restart")
	require.Equal(t, workflowID, kinds["overdue payment"]["workflow_id"])
	require.Contains(t, kinds["overdue checkout"]["verbs"], "restart")
	require.Nil(t, kinds["overdue news"]["workflow_id"])

	seen, cursor := 0, ""
	for {
		a := b.do("GET", "/v1/support/stuck?limit=2&cursor="+cursor, nil)
		require.Equal(t, 200, a.status, a.body)
		seen += len(a.json()["data"].([]any))
		next, more := a.json()["next_cursor"].(string)
		if !more {
			break
		}
		cursor = next
	}
	require.Equal(t, 5, seen, "each is on one page")
	require.Equal(t, 403, b.do("GET", "/v1/support/stuck", nil, as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 422, b.do("GET", "/v1/support/stuck?cursor=MTp4", nil).status)
	other := b.do("GET", "/v1/support/stuck", nil, as(b.otherKey)...)
	require.Equal(t, 200, other.status)
	require.Empty(t, other.json()["data"], "another tenant's list is its own")
}

var why = map[string]any{"reason": "the bank confirmed it", "actor": "carla"}

func TestVerb_IsSentToTheRunAndRecorded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.checkout()["id"].(string)
	workflowID := b.park(id, "doubt", "{retry,resolve}")
	path := "/v1/support/workflows/" + workflowID
	var got workflows.SupportRequest
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateSupport: func(_ context.Context, _ string, arg any) (any, error) {
		got = arg.(workflows.SupportRequest)
		return workflows.SupportAnswer{Result: "asked the gateway again"}, nil
	}}

	dry := b.do("POST", path+"/retry?dry_run=true", why)
	require.Equal(t, 200, dry.status, dry.body)
	require.Equal(t, "would_apply", dry.json()["status"])
	require.Zero(t, value[int](b, `SELECT count(*) FROM support_actions`), "a dry run changes nothing")
	require.Empty(t, got.Verb)

	a := b.do("POST", path+"/resolve", map[string]any{"reason": "the bank confirmed it", "actor": "carla", "outcome": "approved", "reference": "4411"})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "done", a.json()["status"])
	require.Equal(t, "asked the gateway again", a.json()["result"])
	require.Equal(t, workflows.SupportRequest{ActionID: a.json()["action_id"].(string), Step: "doubt", Verb: "resolve", Outcome: "approved", Reference: "4411"}, got)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM support_actions a JOIN api_keys k ON k.id = a.api_key_id WHERE a.outcome = 'done' AND a.actor = 'carla' AND a.reason = 'the bank confirmed it' AND k.name = 'admin'`))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM events WHERE kind = 'support_resolve' AND subject = $1`, id))

	b.temporal.set(func(f *fakeTemporal) {
		f.update[workflows.UpdateSupport] = func(context.Context, string, any) (any, error) {
			return nil, temporal.NewApplicationError("this verb does not apply here", workflows.TypeVerbNotApplicable, []string{"cancel"})
		}
	})
	refused := b.do("POST", path+"/retry", why)
	require.Equal(t, 409, refused.status)
	require.Equal(t, []any{"cancel", "restart"}, refused.json()["applicable"], "by the run's word, not the list's; the fake knows no run")
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	require.Equal(t, 503, b.do("POST", path+"/retry", why).status)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM support_actions WHERE outcome = 'not_delivered'`))
}

func TestVerb_ThatDoesNotApplyNamesThoseThatDo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.checkout()["id"].(string)
	workflowID := b.park(id, "doubt", "{retry,resolve}")
	b.temporal.status = map[string]client.WorkflowExecutionDescription{workflowID: running(enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)}
	path := "/v1/support/workflows/" + workflowID
	for _, verb := range []string{"skip", "cancel", "restart"} {
		a := b.do("POST", path+"/"+verb, why)
		require.Equal(t, 409, a.status, a.body)
		require.Equal(t, "verb_not_applicable", a.code())
		require.Equal(t, []any{"retry", "resolve"}, a.json()["applicable"])
	}
	require.Zero(t, value[int](b, `SELECT count(*) FROM support_actions`))

	require.Equal(t, map[string]string{"reason": "required", "actor": "required"}, b.do("POST", path+"/retry", `{}`).fields())
	b.park(id, "refund", "{retry}")
	require.Equal(t, "required", b.do("POST", path+"/retry", why).fields()["step"])
	for _, p := range []string{"/v1/support/workflows/checkout:other:" + id + "/retry", "/v1/support/workflows/checkout:shop:01JCQZ5Y3N8W2K4T6V7X9ABCDE/retry", "/v1/support/workflows/nonsense/retry", "/v1/support/workflows/sweeper:shop:" + id + "/retry"} {
		require.Equal(t, 404, b.do("POST", p, why).status, p)
	}
	require.Equal(t, 404, b.do("POST", path+"/explode", why).status)
}

func running(s enumspb.WorkflowExecutionStatus) client.WorkflowExecutionDescription {
	return client.WorkflowExecutionDescription{WorkflowExecutionMetadata: client.WorkflowExecutionMetadata{Status: s}}
}

func TestRestart_BeginsANewRunFromTheRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.checkout()["id"].(string)
	workflowID := b.park(id, "doubt", "{retry}")
	path := "/v1/support/workflows/" + workflowID + "/restart"
	b.sql(`INSERT INTO run_problems (tenant, workflow_id, subject, problem) VALUES ('shop',$1,$2,'terminated')`, workflowID, id)
	b.temporal.status = map[string]client.WorkflowExecutionDescription{workflowID: running(enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED)}
	dry := b.do("POST", path+"?dry_run=true", why)
	require.Equal(t, 200, dry.status, dry.body)
	a := b.do("POST", path, why)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, 1, b.temporal.count("execute Checkout "+workflowID+" {Tenant:shop CheckoutID:"+id))
	options := b.temporal.started[len(b.temporal.started)-1]
	require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, options.WorkflowIDReusePolicy)
	require.Empty(t, b.stuck(), "what the old run had parked is the new one's to park again")
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM support_actions WHERE verb = 'restart' AND outcome = 'done'`))

	// A wedged run looks alive and is replaced.
	b.sql(`INSERT INTO run_problems (tenant, workflow_id, subject, problem) VALUES ('shop',$1,$2,'wedged')`, workflowID, id)
	b.temporal.set(func(f *fakeTemporal) {
		f.status[workflowID] = running(enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING)
	})
	require.Equal(t, 200, b.do("POST", path, why).status)
	options = b.temporal.started[len(b.temporal.started)-1]
	require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING, options.WorkflowIDConflictPolicy)

	// Nothing is left to do: nothing to begin anew.
	b.sql(`UPDATE checkouts SET status = 'expired', closed_at = now()`)
	b.temporal.set(func(f *fakeTemporal) { f.status = nil })
	require.Equal(t, 409, b.do("POST", path, why).status)
}

func TestRestart_TakesACaseOffTheListWhoseRunIsGoneAndWhoseRowIsOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.checkout()["id"].(string)
	workflowID := b.park(id, "doubt", "{retry}")
	b.sql(`UPDATE checkouts SET status = 'expired', closed_at = now()`)
	b.temporal.status = map[string]client.WorkflowExecutionDescription{workflowID: running(enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED)}
	a := b.do("POST", "/v1/support/workflows/"+workflowID+"/restart", why)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 1, b.temporal.count("execute Checkout "+workflowID))
	require.Empty(t, value[[]string](b, `SELECT coalesce(array_agg(step), '{}') FROM parked WHERE resolved_at IS NULL`))
}

func TestRestart_KnowsEveryKindOfRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	b.pay(c)
	id, paymentID, holdID := c["id"].(string), c["payment"].(map[string]any)["id"].(string), c["reservation"].(map[string]any)["id"].(string)
	b.sql(`UPDATE holds SET status = 'short', due_at = now() WHERE id = $1`, holdID)
	b.sql(`INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, due_at) VALUES ('shop','01JCQZ5Y3N8W2K4T6V7X9ABCDE',$1,100,'CLP','late_payment','pending', now())`, paymentID)
	b.sql(`INSERT INTO inbox (tenant, id, gateway, kind, payment_id, signed) VALUES ('shop','01JCQZ5Y3N8W2K4T6V7X9ABCDF','transbank','return',$1,false)`, paymentID)
	r := b.do("POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": "TAZA", "quantity": 1}}})
	require.Equal(t, 201, r.status)
	for workflowID, call := range map[string]string{
		"shortage:shop:" + id:                         "execute Shortage shortage:shop:" + id + " {Tenant:shop OrderID:" + id + " HoldID:" + holdID,
		"refund:shop:01JCQZ5Y3N8W2K4T6V7X9ABCDE":      "execute Refund",
		"late-payment:shop:" + paymentID:              "execute LatePayment late-payment:shop:" + paymentID + " {Tenant:shop CheckoutID:" + id + " PaymentID:" + paymentID + " ReturnID:01JCQZ5Y3N8W2K4T6V7X9ABCDF",
		"reservation:shop:" + r.json()["id"].(string): "execute Reservation",
	} {
		a := b.do("POST", "/v1/support/workflows/"+workflowID+"/restart", why)
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, 1, b.temporal.count(call), call)
	}
}

func TestOperations_NeedNoKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	none := []string{"Authorization", ""}
	require.Equal(t, 200, b.do("GET", "/healthz", nil, none...).status)
	ready := b.do("GET", "/readyz", nil, none...)
	require.Equal(t, 200, ready.status)
	require.Equal(t, "up", ready.json()["temporal"])
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	ready = b.do("GET", "/readyz", nil, none...)
	require.Equal(t, 200, ready.status, "without Temporal news is stored all the same")
	require.Equal(t, "down", ready.json()["temporal"])
	require.Equal(t, "3.0.3", b.do("GET", "/openapi.json", nil, none...).json()["openapi"])
	docs := b.do("GET", "/docs", nil, none...)
	require.Equal(t, 200, docs.status)
	require.NotContains(t, docs.body, "http://", "the page needs nothing from elsewhere")
	require.NotContains(t, docs.body, "https://")
	metrics := b.do("GET", "/metrics", nil, none...)
	require.Contains(t, metrics.body, `justlogistics_http_request_duration_seconds_count{method="GET",route="/healthz",status="200"} 1`)
	b.sql(`UPDATE jl_migrations.done SET is_applied = false`)
	require.Equal(t, 503, b.do("GET", "/readyz", nil, none...).status)
}

func TestVerb_ThatARefundWasNotMadeIsSaidOnlyOfOneThatCannotBeTraced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refundID := id.New()
	workflowID := b.park(b.checkout()["id"].(string), "doubt", "{retry,resolve}")
	refund := workflows.ID(workflows.KindRefund, shop, refundID)
	b.sql(`UPDATE parked SET workflow_id = $1, step = 'refund', reason = 'refund_refused', verbs = '{retry,resolve,cancel}'`, refund)
	var got workflows.SupportRequest
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){workflows.UpdateSupport: func(_ context.Context, _ string, arg any) (any, error) {
		got = arg.(workflows.SupportRequest)
		return workflows.SupportAnswer{Result: "resolve of refund is under way"}, nil
	}}
	require.NotEqual(t, workflowID, refund)
	b.temporal.set(func(f *fakeTemporal) { f.runs[refund] = true })
	path := "/v1/support/workflows/" + refund + "/resolve"
	word := map[string]any{"reason": "it is not in the panel", "actor": "carla", "outcome": "not_made"}
	a := b.do("POST", path, word)
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"outcome": "invalid"}, a.fields())
	require.Zero(t, value[int](b, `SELECT count(*) FROM support_actions`))

	b.sql(`UPDATE parked SET reason = 'refund_untraced'`)
	a = b.do("POST", path, word)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "not_made", got.Outcome)
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM support_actions WHERE actor = 'carla' AND reason = 'it is not in the panel' AND detail->>'outcome' = 'not_made'`))
}
