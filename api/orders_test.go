package api_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// pay has a checkout's newest attempt approved, as its workflow would.
func (b *bundle) pay(c map[string]any) {
	b.t.Helper()
	id, paymentID := c["id"].(string), c["payment"].(map[string]any)["id"].(string)
	total := int64(c["totals"].(map[string]any)["total"].(float64))
	var asked checkout.News
	require.NoError(b.t, b.db.InTenant(b.t.Context(), shop, func(tx pgx.Tx) (err error) {
		_, asked.AskedAt, err = payment.Announce(b.t.Context(), tx, shop, paymentID, payment.EffectSettle)
		return err
	}))
	asked.PaymentID = paymentID
	asked.Answer = payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Closed: true, PaymentID: paymentID, Reference: "tok_" + paymentID, Amount: total, Currency: "CLP", Account: "597055555532"}
	r, err := checkout.Record(b.t.Context(), b.db, shop, id, asked)
	require.NoError(b.t, err)
	require.True(b.t, r.Paid)
}

func TestOrder_HasItsLinesPaymentsShipmentsAndTimeline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	id := c["id"].(string)
	require.Equal(t, 404, b.do("GET", "/v1/orders/"+id, nil).status, "not an order yet")
	b.pay(c)

	paid := b.do("GET", "/v1/checkouts/"+id, nil).json()
	require.Equal(t, "paid", paid["status"])
	require.Equal(t, id, paid["order_id"])
	require.NotContains(t, paid["payment"], "redirect")

	a := b.do("GET", "/v1/orders/"+id, nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	o := a.json()
	require.Equal(t, "paid", o["status"])
	require.Nil(t, o["attention"])
	require.Equal(t, c["totals"], o["totals"])
	line := o["lines"].([]any)[0].(map[string]any)
	require.Len(t, line["line_id"], 26)
	require.Equal(t, 25980., line["total"])
	require.Equal(t, "captured", o["payments"].([]any)[0].(map[string]any)["status"])
	shipment := o["shipments"].([]any)[0].(map[string]any)
	require.Equal(t, "SCL-1", shipment["warehouse"])
	require.Equal(t, "pending", shipment["status"])
	kinds := []string{}
	for _, e := range o["timeline"].([]any) {
		kinds = append(kinds, e.(map[string]any)["kind"].(string))
	}
	require.Subset(t, kinds, []string{"checkout_created", "stock_held", "order_paid"})
	require.Equal(t, 404, b.do("GET", "/v1/orders/"+id, nil, as(b.otherKey)...).status)
}

func TestOrder_AddressIsCorrectedBySupportAndChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	b.pay(c)
	path := "/v1/orders/" + c["id"].(string) + "/address"
	body := func(comuna string) map[string]any {
		return map[string]any{"customer": map[string]any{"phone": "9 6123 4568"}, "shipping": map[string]any{"street": "Irarrázaval", "number": "2401", "comuna": comuna, "region": "RM"}}
	}
	require.Equal(t, 403, b.do("PUT", path, body("nunoa"), as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("PUT", path, body("nunoa"), as(b.otherKey)...).status)
	require.Equal(t, map[string]string{"shipping.comuna": "unknown_comuna"}, b.do("PUT", path, body("Atlantis")).fields())
	require.Equal(t, map[string]string{"shipping": "required"}, b.do("PUT", path, map[string]any{}).fields())

	a := b.do("PUT", path, body("nunoa"), as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	o := a.json()
	to := o["shipping"].(map[string]any)
	require.Equal(t, []any{"Irarrázaval", "2401", "Ñuñoa"}, []any{to["street"], to["number"], to["comuna"]})
	require.Equal(t, c["shipping"].(map[string]any)["service"], to["service"], "how it goes stays")
	require.Equal(t, "+56961234568", o["customer"].(map[string]any)["phone"])
	require.Equal(t, c["customer"].(map[string]any)["name"], o["customer"].(map[string]any)["name"])
	require.Equal(t, c["totals"], o["totals"])
}

func TestOrders_AreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids, numbers []string
	for range 3 {
		c := b.checkout()
		b.pay(c)
		ids, numbers = append(ids, c["id"].(string)), append(numbers, c["number"].(string))
	}
	found := func(query string) []string {
		a := b.do("GET", "/v1/orders?"+query, nil)
		require.Equal(t, 200, a.status, a.body)
		out := []string{}
		for _, o := range a.json()["data"].([]any) {
			out = append(out, o.(map[string]any)["id"].(string))
		}
		return out
	}
	newest := []string{ids[2], ids[1], ids[0]}
	require.Equal(t, newest, found(""))
	require.Equal(t, newest, found("status=paid&channel=web&warehouse=SCL-1&from=2020-01-01"))
	require.Empty(t, found("status=cancelled"))
	require.Empty(t, found("warehouse=CCP-1"))
	require.Empty(t, found("to=2020-01-01T00:00:00Z"))
	require.Equal(t, []string{ids[1]}, found("q="+numbers[1]))
	require.Equal(t, newest, found("q=shop-"))
	require.Equal(t, []string{ids[0]}, found("q="+ids[0]))
	require.Equal(t, newest, found("q=ANA@example.cl"))
	page := b.do("GET", "/v1/orders?limit=2", nil).json()
	require.Len(t, page["data"], 2)
	rest := found("limit=2&cursor=" + page["next_cursor"].(string))
	require.Equal(t, []string{ids[0]}, rest)
	bad := b.do("GET", "/v1/orders?status=x&limit=500&from=x&cursor=x", nil)
	require.Equal(t, map[string]string{"status": "invalid", "limit": "out_of_range", "from": "invalid", "cursor": "invalid"}, bad.fields())
}

func TestReservation_IsHeldConfirmedAndAnOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.do("POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": "TAZA", "quantity": 3}}, "channel": "counter", "hold_seconds": 600, "customer_ref": "mesa-4", "metadata": map[string]any{"a": 1}})
	require.Equal(t, 201, a.status, a.body)
	r := a.json()
	id := r["id"].(string)
	require.Equal(t, "held", r["status"])
	require.Equal(t, "mesa-4", r["customer_ref"])
	require.Equal(t, []any{map[string]any{"sku": "TAZA", "quantity": 3., "warehouse": "SCL-1"}}, r["lines"])
	require.Nil(t, r["checkout_id"])
	require.Equal(t, 404, b.do("GET", "/v1/reservations/"+id, nil, as(b.otherKey)...).status)

	answers := map[string]workflows.ReservationAnswer{}
	b.temporal.update = map[string]func(context.Context, string, any) (any, error){}
	for _, name := range []string{workflows.UpdateConfirm, workflows.UpdateRelease, workflows.UpdateExtend} {
		b.temporal.update[name] = func(_ context.Context, _ string, arg any) (any, error) {
			if req := arg.(workflows.ReservationRequest); name == workflows.UpdateConfirm && answers[name].Refused == "" {
				require.Equal(t, 1, value[int](b, `SELECT count(*) FROM reservation_requests WHERE id = $1 AND kind = 'confirm' AND reservation_id = $2`, req.RequestID, id))
				b.sql(`UPDATE holds SET status = 'confirmed', confirmed_at = now(), order_id = id WHERE id = $1`, id)
			}
			return answers[name], nil
		}
	}
	answers[workflows.UpdateExtend] = workflows.ReservationAnswer{Refused: "beyond_limit"}
	require.Equal(t, "beyond_limit", b.do("POST", "/v1/reservations/"+id+"/extend", map[string]any{"hold_seconds": 900}).code())
	answers[workflows.UpdateExtend] = workflows.ReservationAnswer{Status: "held"}
	require.Equal(t, 200, b.do("POST", "/v1/reservations/"+id+"/extend", map[string]any{"hold_seconds": 900}).status)
	require.Equal(t, 422, b.do("POST", "/v1/reservations/"+id+"/extend", map[string]any{}).status)

	bad := b.do("POST", "/v1/reservations/"+id+"/confirm", map[string]any{"channel": "web", "external_payment": map[string]any{"method": "CASH!", "amount": 0}})
	require.Equal(t, map[string]string{"channel": "invalid", "external_payment.method": "invalid", "external_payment.reference": "required", "external_payment.amount": "out_of_range"}, bad.fields())
	good := map[string]any{"channel": "counter", "external_payment": map[string]any{"method": "cash", "reference": "T-1", "amount": 20970}, "fulfilled": true}
	answers[workflows.UpdateConfirm] = workflows.ReservationAnswer{Refused: "short_stock"}
	require.Equal(t, "short_stock", b.do("POST", "/v1/reservations/"+id+"/confirm", good).code())
	answers[workflows.UpdateConfirm] = workflows.ReservationAnswer{Status: "confirmed", OrderID: id}
	done := b.do("POST", "/v1/reservations/"+id+"/confirm", good)
	require.Equal(t, 200, done.status, done.body)
	require.Equal(t, id, done.json()["order_id"])

	b.temporal.set(func(f *fakeTemporal) { f.runs = map[string]bool{} })
	require.Equal(t, 200, b.do("POST", "/v1/reservations/"+id+"/confirm", good).status, "a run that is over: the row answers")
	require.Equal(t, "reservation_over", b.do("POST", "/v1/reservations/"+id+"/release", nil).code())
}

func TestReservation_NotEnoughStockAndAnswersThatDoNotCome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := map[string]any{"items": []any{map[string]any{"sku": "TAZA", "quantity": 21}}}
	a := b.do("POST", "/v1/reservations", body)
	require.Equal(t, 409, a.status, a.body)
	require.Equal(t, []any{map[string]any{"sku": "TAZA", "requested": 21., "available": 20.}}, a.json()["lines"])
	require.Equal(t, "unknown_sku", b.do("POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": "NO", "quantity": 1}}}).fields()["items[0].sku"])
	require.Equal(t, "out_of_range", b.do("POST", "/v1/reservations", map[string]any{"items": []any{map[string]any{"sku": "TAZA", "quantity": 1}}, "hold_seconds": 1 << 30}, as(b.keys[tenant.Storefront])...).fields()["hold_seconds"])

	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	body["items"] = []any{map[string]any{"sku": "TAZA", "quantity": 1}}
	away := b.do("POST", "/v1/reservations", body, "Idempotency-Key", "r-1")
	require.Equal(t, 503, away.status, away.body)
	require.Equal(t, "abandoned", value[string](b, `SELECT status FROM reservation_requests ORDER BY id DESC LIMIT 1`), "nobody holds it later")
	b.temporal.set(func(f *fakeTemporal) { f.down = false })
	require.Equal(t, 201, b.do("POST", "/v1/reservations", body, "Idempotency-Key", "r-1").status)
}

func TestReservation_OfACheckoutIsReadAndNotActedOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	id := c["reservation"].(map[string]any)["id"].(string)
	a := b.do("GET", "/v1/reservations/"+id, nil)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, c["id"], a.json()["checkout_id"])
	for _, verb := range []string{"confirm", "release", "extend"} {
		refused := b.do("POST", "/v1/reservations/"+id+"/"+verb, `{}`)
		require.Equal(t, 409, refused.status)
		require.Equal(t, "owned_by_checkout", refused.code())
	}
}
