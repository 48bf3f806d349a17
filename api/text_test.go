package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText_ThatNoRowCanHoldIsRefusedAndNotABreakdown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for field, change := range map[string]func(m map[string]any){
		"customer.name":   func(m map[string]any) { m["customer"].(map[string]any)["name"] = "Ana\x00" },
		"shipping.street": func(m map[string]any) { m["shipping"].(map[string]any)["street"] = "\x00" },
		"metadata.list[1].of": func(m map[string]any) {
			m["metadata"] = map[string]any{"list": []any{1, map[string]any{"of": "a\x00b"}}}
		},
		"metadata.(name)": func(m map[string]any) { m["metadata"] = map[string]any{"a\x00": 1} },
		"customer_ref":    func(m map[string]any) { m["customer_ref"] = "\x00" },
		"payment.method":  func(m map[string]any) { m["payment"].(map[string]any)["method"] = "visa\x00" },
	} {
		a := b.do("POST", "/v1/checkouts", basket(change))
		require.Equal(t, 422, a.status, field+a.body)
		require.Equal(t, map[string]string{field: "invalid_text"}, a.fields(), a.body)
	}
	a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["metadata"] = map[string]any{"path": `C:\u0000`} }))
	require.Equal(t, 201, a.status, a.body, "a backslash before it makes it six characters")

	for _, query := range []string{"/v1/orders?q=a%00b", "/v1/orders?q=%ff", "/v1/orders?warehouse=%00", "/v1/transactions?order=%00"} {
		a := b.do("GET", query, nil)
		require.Equal(t, 422, a.status, query+a.body)
		require.Equal(t, "invalid_text", a.code())
	}
	for _, path := range []string{"/v1/products/a%00", "/v1/stock/%ff", "/v1/discount-codes/%00", "/v1/warehouses/%00", "/v1/orders/%00"} {
		require.Equal(t, 404, b.do("GET", path, nil).status, path)
	}
}
