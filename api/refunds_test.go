package api_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/tenant"
)

// bought is a paid order of two units, as GET shows it.
func (b *bundle) bought() map[string]any {
	b.t.Helper()
	c := b.checkout()
	b.pay(c)
	return b.do("GET", "/v1/orders/"+c["id"].(string), nil).json()
}

func lineOf(o map[string]any) string {
	return o["lines"].([]any)[0].(map[string]any)["line_id"].(string)
}

func refundOf(o map[string]any, more map[string]any) map[string]any {
	body := map[string]any{"order_id": o["id"], "reason": "llegó rota"}
	for k, v := range more {
		body[k] = v
	}
	return body
}

func TestRefund_OfAWholeOrderIsBookedAndStarted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	a := b.do("POST", "/v1/refunds", refundOf(o, nil), as(b.keys[tenant.Support])...)
	require.Equal(t, 201, a.status, a.body)
	r := a.json()
	require.Equal(t, "/v1/refunds/"+r["id"].(string), a.header.Get("Location"))
	require.Equal(t, "pending", r["status"])
	require.Equal(t, 29970., r["amount"])
	require.Equal(t, "CLP", r["currency"])
	require.Equal(t, 3990., r["shipping_amount"])
	require.Equal(t, []any{map[string]any{"line_id": lineOf(o), "quantity": 2., "amount": 25980.}}, r["lines"])
	part := r["parts"].([]any)[0].(map[string]any)
	require.Equal(t, "transbank", part["gateway"])
	require.Equal(t, "original", part["method"])
	require.Equal(t, 1, b.temporal.count("execute Refund refund:"+shop+":"+r["id"].(string)))

	require.Equal(t, r, b.do("GET", "/v1/refunds/"+r["id"].(string), nil).json())
	listed := b.do("GET", "/v1/refunds?status=pending&order_id="+o["id"].(string), nil).json()
	require.Equal(t, []any{r}, listed["data"])
	require.Equal(t, []any{r}, b.do("GET", "/v1/orders/"+o["id"].(string), nil).json()["refunds"], "the order shows it by the same id")

	again := b.do("POST", "/v1/refunds", refundOf(o, nil))
	require.Equal(t, 409, again.status)
	require.Equal(t, "nothing_left_to_refund", again.code())
	require.NotContains(t, b.logs.String(), "rota", "what people write is not logged")
}

func TestRefund_OfUnitsFreightAndGoodwill(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	a := b.do("POST", "/v1/refunds", refundOf(o, map[string]any{"lines": []any{map[string]any{"line_id": lineOf(o), "quantity": 1, "amount": 5000}}, "shipping_amount": 1000, "amount": 500}))
	require.Equal(t, 409, a.status, "a debit card's payment goes back whole or not at all")
	require.Equal(t, "refund_not_possible", a.code())
	require.Equal(t, []any{"bank_transfer"}, a.json()["alternatives"])
	require.Equal(t, "partial_refund_not_supported", a.json()["payments"].([]any)[0].(map[string]any)["reason"])
	b.sql(`UPDATE payments SET method = 'VN'`)

	a = b.do("POST", "/v1/refunds", refundOf(o, map[string]any{"lines": []any{map[string]any{"line_id": lineOf(o), "quantity": 1, "amount": 5000}}, "shipping_amount": 1000, "amount": 500}))
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, 6500., a.json()["amount"])
	require.Equal(t, 500., a.json()["goodwill_amount"])
}

func TestRefund_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	a := b.do("POST", "/v1/refunds", refundOf(o, map[string]any{"reason": "", "method": "cash", "amount": 0, "payment_id": "x", "lines": []any{map[string]any{"line_id": "x", "quantity": 0}}}))
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"reason": "required", "method": "invalid", "amount": "out_of_range", "payment_id": "unknown_payment", "lines[0].line_id": "unknown_line", "lines[0].quantity": "out_of_range"}, a.fields())
	require.Equal(t, 400, b.do("POST", "/v1/refunds", map[string]any{"order": "x"}).status)
	require.Equal(t, 404, b.do("POST", "/v1/refunds", refundOf(map[string]any{"id": strings.Repeat("0", 26)}, nil)).status)
	require.Equal(t, 403, b.do("POST", "/v1/refunds", refundOf(o, nil), as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("POST", "/v1/refunds", refundOf(o, nil), as(b.otherKey)...).status, "another tenant's order")
	require.Equal(t, 404, b.do("GET", "/v1/refunds/"+strings.Repeat("0", 26), nil).status)
	require.Equal(t, 422, b.do("GET", "/v1/refunds?status=gone&order_id=x&cursor=y", nil).status)
	require.Zero(t, value[int](b, `SELECT count(*) FROM refund_requests`))
	require.Zero(t, b.temporal.count("execute Refund"))
}

func TestRefund_ByTransferShowsItsAccountToSupportAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	account := map[string]any{"holder": "Ana Rojas", "rut": "11.111.111-1", "bank": "Banco Estado", "type": "vista", "number": "00-123-4567"}
	a := b.do("POST", "/v1/refunds", refundOf(o, map[string]any{"method": "bank_transfer", "bank_account": account, "shipping_amount": 3990}))
	require.Equal(t, 201, a.status, a.body)
	require.NotContains(t, a.body, "Ana Rojas")
	id := a.json()["id"].(string)
	shown := b.do("GET", "/v1/refunds/"+id, nil, as(b.keys[tenant.Support])...).json()
	require.Equal(t, "Ana Rojas", shown["bank_account"].(map[string]any)["holder"])
	require.Equal(t, "00-123-4567", shown["bank_account"].(map[string]any)["number"])
	require.NotContains(t, b.do("GET", "/v1/orders/"+o["id"].(string), nil).body, "123-4567")
	require.NotContains(t, value[string](b, `SELECT encode(bank_account, 'escape') FROM refund_requests`), "Ana")
	require.NotContains(t, b.logs.String(), "Ana Rojas")

	account["rut"], account["type"], account["number"] = "1-1", "piggy", "x"
	a = b.do("POST", "/v1/refunds", refundOf(o, map[string]any{"method": "bank_transfer", "bank_account": account}))
	require.Equal(t, map[string]string{"bank_account.rut": "invalid_rut", "bank_account.type": "invalid", "bank_account.number": "invalid"}, a.fields())
}

func TestRefund_RepeatedUnderItsKeyIsOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	first := b.do("POST", "/v1/refunds", refundOf(o, nil), "Idempotency-Key", "k1")
	require.Equal(t, 201, first.status, first.body)
	second := b.do("POST", "/v1/refunds", refundOf(o, nil), "Idempotency-Key", "k1")
	require.Equal(t, 201, second.status)
	require.Equal(t, "true", second.header.Get("Idempotent-Replayed"))
	require.Equal(t, first.json()["id"], second.json()["id"])
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM refund_requests`))
}

func TestRefund_IsBookedAlsoWhileTemporalIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	a := b.do("POST", "/v1/refunds", refundOf(o, nil))
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, a.json()["id"], value[string](b, `SELECT subject FROM wakes WHERE kind = 'refund'`), "the workers begin its run")
	require.True(t, value[bool](b, `SELECT due_at < now() + interval '6 minutes' FROM refunds`), "and the sweeper, should they not")
}

func TestRefund_TwoAtOnceAreNotBothGranted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	var wg sync.WaitGroup
	statuses := make([]int, 4)
	for i := range statuses {
		wg.Go(func() {
			a, err := b.try("POST", "/v1/refunds", refundOf(o, nil))
			if err == nil {
				statuses[i] = a.status
			}
		})
	}
	wg.Wait()
	require.ElementsMatch(t, []int{201, 409, 409, 409}, statuses)
}

func TestSupport_RefundIsResolvedOnlyWithItsProof(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	id := "refund:" + shop + ":" + b.do("POST", "/v1/refunds", refundOf(o, nil)).json()["id"].(string)
	for field, body := range map[string]map[string]any{
		"reference": {"actor": "ana", "reason": "paid", "outcome": "succeeded"},
		"outcome":   {"actor": "ana", "reason": "paid", "outcome": "perhaps"},
	} {
		a := b.do("POST", "/v1/support/workflows/"+id+"/resolve", body)
		require.Equal(t, 422, a.status, a.body)
		require.Contains(t, a.fields(), field)
	}
	b.sql(`UPDATE refunds SET due_at = now() - interval '1 second'`)
	late := b.do("GET", "/v1/support/stuck", nil).json()["data"].([]any)[0].(map[string]any)
	require.Equal(t, id, late["workflow_id"])
	require.Equal(t, o["number"], late["number"])
}

func TestRefund_ThatLeavesOpenWhatItIsAboutIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.bought()
	a := b.do("POST", "/v1/refunds", refundOf(o, map[string]any{"lines": []any{}}))
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"lines": "required"}, a.fields(), "an empty list is not the whole order")
	a = b.do("POST", "/v1/refunds", map[string]any{})
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"order_id": "required", "reason": "required"}, a.fields(), "all is told at once")
	require.Empty(t, b.do("GET", "/v1/refunds", nil).json()["data"])
}
