package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
	"justlogistics/internal/tenant"
)

// refundedInPanel tells of a refund that somebody made at the provider.
func (b *bundle) refundedInPanel(o map[string]any, references ...string) {
	b.t.Helper()
	paymentID := o["payments"].([]any)[0].(map[string]any)["id"].(string)
	b.hear(o["id"].(string), paymentID, func(a *payment.Answer) {
		for _, r := range references {
			a.Refunds = append(a.Refunds, payment.RefundSeen{Reference: r, Amount: 100, Outcome: payment.OutcomeApproved})
		}
	})
}

func clearing(attention string) map[string]any {
	return map[string]any{"clear": attention, "reason": "agreed with the buyer", "actor": "carla"}
}

func TestAttention_IsClearedByAPersonAndRaisedByANewCause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	id := o["id"].(string)
	path := "/v1/orders/" + id + "/attention"
	support := as(b.keys[tenant.Support])
	b.refundedInPanel(o, "re_1")
	require.Equal(t, []any{"clear"}, b.stuck()[0]["verbs"])

	require.Equal(t, 403, b.do("POST", path, clearing("refunded_at_provider"), as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 403, b.do("POST", path, clearing("refunded_at_provider"), as(b.keys[tenant.Warehouse])...).status)
	require.Equal(t, 404, b.do("POST", path, clearing("refunded_at_provider"), as(b.otherKey)...).status)
	require.Equal(t, 400, b.do("POST", path, map[string]any{"clear": true}, support...).status)
	a := b.do("POST", path, map[string]any{}, support...)
	require.Equal(t, 422, a.status)
	require.Equal(t, map[string]string{"clear": "required", "reason": "required", "actor": "required"}, a.fields())
	a = b.do("POST", path, clearing("charged_back"), support...)
	require.Equal(t, 409, a.status)
	require.Equal(t, "attention_changed", a.code())
	require.Equal(t, "refunded_at_provider", a.json()["attention"])
	require.Zero(t, value[int](b, `SELECT count(*) FROM support_actions`))

	a = b.do("POST", path, clearing("refunded_at_provider"), append(support, "Idempotency-Key", "seen")...)
	require.Equal(t, 200, a.status, a.body)
	require.Nil(t, a.json()["attention"])
	require.Empty(t, b.stuck())
	require.Equal(t, 200, b.do("POST", path, clearing("refunded_at_provider"), append(support, "Idempotency-Key", "seen")...).status)
	require.Equal(t, 409, b.do("POST", path, clearing("refunded_at_provider"), support...).status, "nothing is asked any more")
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM support_actions a JOIN api_keys k ON k.id = a.api_key_id WHERE a.workflow_id = 'order:shop:' || $1 AND a.verb = 'clear' AND a.actor = 'carla' AND a.reason = 'agreed with the buyer' AND a.outcome = 'done' AND a.detail->>'attention' = 'refunded_at_provider'`, id))
	last := func(headers []string) map[string]any {
		events := b.do("GET", "/v1/orders/"+id, nil, headers...).json()["timeline"].([]any)
		e := events[len(events)-1].(map[string]any)
		require.Equal(t, "attention_cleared", e["kind"])
		require.Equal(t, "support", e["actor"])
		return e["data"].(map[string]any)
	}
	require.Equal(t, "carla", last(support)["by"])
	require.Equal(t, "agreed with the buyer", last(support)["reason"])
	shown := last(as(b.keys[tenant.Storefront]))
	require.Equal(t, "refunded_at_provider", shown["attention"])
	require.NotContains(t, shown, "by", "what staff write is not for buyers")
	require.NotContains(t, shown, "reason")

	b.refundedInPanel(o, "re_1")
	require.Nil(t, b.do("GET", "/v1/orders/"+id, nil).json()["attention"], "the same cause again is no new one")
	b.refundedInPanel(o, "re_1", "re_2")
	require.Equal(t, "refunded_at_provider", b.do("GET", "/v1/orders/"+id, nil).json()["attention"])
}

func TestAttention_ThatSomethingStillHoldsStays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	id := o["id"].(string)
	path := "/v1/orders/" + id + "/attention"
	refused := func(attention string) answer {
		a := b.do("POST", path, clearing(attention))
		require.Equal(t, 409, a.status, a.body)
		require.Equal(t, "attention_held", a.code())
		require.Equal(t, attention, b.do("GET", "/v1/orders/"+id, nil).json()["attention"])
		return a
	}
	workflowID := b.park(id, "doubt:x", "{retry}")
	asks := func(reason string) {
		b.sql(`INSERT INTO order_attention (tenant, order_id, reason, since) VALUES ($1, $2, $3, CASE WHEN $3 = 'refunded_at_provider' THEN now() - interval '1 hour' ELSE now() END)`, shop, id, reason)
	}
	asks("unknown_outcome")
	held := refused("unknown_outcome").json()
	require.Equal(t, workflowID, held["workflow_id"])
	require.Equal(t, "doubt:x", held["step"])

	// What was there first is cleared, and what still waits takes its place.
	asks("refunded_at_provider")
	a := b.do("POST", path, clearing("refunded_at_provider"))
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "unknown_outcome", a.json()["attention"])
	b.sql(`UPDATE parked SET resolved_at = now()`)
	require.Equal(t, 200, b.do("POST", path, clearing("unknown_outcome")).status)

	b.sql(`UPDATE holds SET status = 'short', due_at = now() + interval '1 hour' WHERE order_id = $1`, id)
	asks("short_stock")
	refused("short_stock")
	b.sql(`UPDATE holds SET status = 'confirmed', due_at = NULL WHERE order_id = $1`, id)
	require.Equal(t, 200, b.do("POST", path, clearing("short_stock")).status)

	paymentID := o["payments"].([]any)[0].(map[string]any)["id"].(string)
	dispute := func(status payment.DisputeStatus) {
		b.hear(id, paymentID, func(a *payment.Answer) {
			a.Dispute = &payment.Dispute{Reference: "dp_1", Status: status, Amount: a.Amount, Currency: a.Currency}
		})
	}
	dispute(payment.DisputeOpen)
	refused("disputed")
	dispute(payment.DisputeLost)
	a = b.do("POST", path, clearing("charged_back"))
	require.Equal(t, 200, a.status, a.body)
	require.Nil(t, a.json()["attention"])
	require.Equal(t, "disputed", a.json()["shipments"].([]any)[0].(map[string]any)["frozen"], "the parcels stay")
	dispute(payment.DisputeLost)
	require.Nil(t, b.do("GET", "/v1/orders/"+id, nil).json()["attention"], "told again it is no new cause")
}

func TestAttention_ShowsEveryReasonAndADisputeHidesNone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	id := o["id"].(string)
	shows := func(want ...any) {
		t.Helper()
		now := b.do("GET", "/v1/orders/"+id, nil).json()
		require.Equal(t, append([]any{}, want...), now["attention_reasons"])
		listed := b.do("GET", "/v1/orders", nil).json()["data"].([]any)[0].(map[string]any)
		require.Equal(t, now["attention_reasons"], listed["attention_reasons"])
		if len(want) == 0 {
			require.Nil(t, now["attention"])
		} else {
			require.Equal(t, want[0], now["attention"])
		}
	}
	shows()
	b.refundedInPanel(o, "re_1")
	shows("refunded_at_provider")
	paymentID := o["payments"].([]any)[0].(map[string]any)["id"].(string)
	dispute := func(status payment.DisputeStatus) {
		b.hear(id, paymentID, func(a *payment.Answer) {
			a.Dispute = &payment.Dispute{Reference: "dp_1", Status: status, Amount: a.Amount, Currency: a.Currency}
		})
	}
	dispute(payment.DisputeOpen)
	shows("disputed", "refunded_at_provider")
	require.Equal(t, 200, b.do("POST", "/v1/orders/"+id+"/attention", clearing("refunded_at_provider")).status, "one that is not shown first is cleared by its name")
	shows("disputed")
	b.refundedInPanel(o, "re_1", "re_2")
	shows("disputed", "refunded_at_provider")
	dispute(payment.DisputeWon)
	shows("refunded_at_provider")
	require.Equal(t, 200, b.do("POST", "/v1/orders/"+id+"/attention", clearing("refunded_at_provider")).status)
	shows()
}
