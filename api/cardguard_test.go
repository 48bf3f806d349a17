package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	visa    = "4051885600446623" // https://www.transbankdevelopers.cl/documentacion/como_empezar#tarjetas-de-prueba
	visaRun = "4051 8856 0044 6623"
)

// refusedCard demands a refusal that names the field and keeps the number
// neither in the answer, nor in the log, nor in the database.
func (b *bundle) refusedCard(a answer, fields ...string) {
	b.t.Helper()
	require.Equal(b.t, 422, a.status, a.body)
	require.Equal(b.t, "card_number_refused", a.code())
	got := a.fields()
	for _, f := range fields {
		require.Equal(b.t, "card_number_refused", got[f], a.body)
	}
	require.Len(b.t, got, len(fields))
	b.nowhere(a.body)
	for _, values := range a.header {
		b.nowhere(strings.Join(values, " "))
	}
	b.nowhere(b.logs.String())
}

func (b *bundle) nowhere(text string) {
	b.t.Helper()
	require.NotContains(b.t, strings.NewReplacer(" ", "", "-", "").Replace(text), visa)
}

// nothingStored looks through all tables of the database.
func (b *bundle) nothingStored() {
	b.t.Helper()
	rows, err := b.super.Query(b.t.Context(), `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`)
	require.NoError(b.t, err)
	var tables []string
	for rows.Next() {
		var name string
		require.NoError(b.t, rows.Scan(&name))
		tables = append(tables, name)
	}
	require.NoError(b.t, rows.Err())
	for _, name := range tables {
		b.nowhere(value[string](b, fmt.Sprintf(`SELECT coalesce(string_agg(t::text, ' '), '') FROM %s t`, name)))
	}
	require.Zero(b.t, value[int](b, `SELECT count(*) FROM checkouts`))
	require.Zero(b.t, value[int](b, `SELECT count(*) FROM idempotency_keys`))
}

func TestCardNumber_InABodyIsRefusedAndKeptNowhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for field, change := range map[string]func(m map[string]any){
		"metadata.note": func(m map[string]any) { m["metadata"] = map[string]any{"note": "paga con " + visaRun + ", gracias"} },
		"metadata.a.list[1].number": func(m map[string]any) {
			m["metadata"] = map[string]any{"a": map[string]any{"list": []any{"x", map[string]any{"number": json.Number(visa)}}}}
		},
		"metadata.(name)": func(m map[string]any) { m["metadata"] = map[string]any{visa: "x"} },
		"payment.token":   func(m map[string]any) { m["payment"].(map[string]any)["token"] = visa },
		"customer.name":   func(m map[string]any) { m["customer"].(map[string]any)["name"] = "4051-8856-0044-6623" },
		"customer_ref":    func(m map[string]any) { m["customer_ref"] = "ref" + visa },
		"items[0].sku":    func(m map[string]any) { m["items"].([]any)[0].(map[string]any)["sku"] = visa },
		"unknown":         func(m map[string]any) { m["unknown"] = visa },
		"metadata.exponent": func(m map[string]any) {
			m["metadata"] = map[string]any{"exponent": json.Number("4.051885600446623e15")}
		},
	} {
		b.refusedCard(b.do("POST", "/v1/checkouts", basket(change), "Idempotency-Key", "k-"+field), field)
	}
	// Escaped, hidden by a later member of the same name, and in what is no JSON.
	b.refusedCard(b.do("POST", "/v1/checkouts", `{"customer_ref":"\u0034051885600446623"}`), "customer_ref")
	b.refusedCard(b.do("POST", "/v1/checkouts", `{"customer_ref":"`+visa+`","customer_ref":"x"}`), "customer_ref")
	b.refusedCard(b.do("POST", "/v1/checkouts", `"`+visa+`"`), "(body)")
	b.refusedCard(b.do("POST", "/v1/checkouts", `card=`+visa), "(body)")
	b.refusedCard(b.do("PUT", "/v1/products/TAZA", map[string]any{"name": visa, "barcodes": []any{visa}}), "name", "barcodes[0]")
	b.nothingStored()
	require.Contains(t, b.do("GET", "/metrics", nil).body, `justlogistics_card_numbers_refused_total{route="/v1/checkouts"} 13`)
}

func TestCardNumber_InAnAddressOrHeaderIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refusedCard(b.do("GET", "/v1/products/"+visa, nil), "sku")
	b.refusedCard(b.do("GET", "/v1/checkouts/"+url.PathEscape(visaRun), nil), "id")
	b.refusedCard(b.do("GET", "/v1/orders?cursor="+visa, nil), "cursor")
	b.refusedCard(b.do("GET", "/v1/orders?"+visa+"=1", nil), "(query)")
	b.refusedCard(b.do("POST", "/v1/checkouts", basket(nil), "Idempotency-Key", visa), "Idempotency-Key")
	named := b.do("GET", "/v1/orders", nil, "X-Request-Id", visa)
	require.Equal(t, 200, named.status)
	require.Len(t, named.header.Get("X-Request-Id"), 26, "another name")
	require.Equal(t, 404, b.do("GET", "/nothing/"+visa, nil).status)
	b.nowhere(b.logs.String())
	b.nothingStored()
}

func TestCardNumber_WhatOnlyLooksLikeOneIsLetPass(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const ean = "4006381333931" // of GS1's own example range; 13 digits that begin as a Visa's
	a := b.do("PUT", "/v1/products/"+ean, map[string]any{"name": "Marcador", "barcodes": []any{ean, "14006381333938"}, "prices": []any{map[string]any{"currency": "CLP", "amount": 1000}}})
	require.Less(t, a.status, 300, a.body)
	require.Equal(t, 200, b.do("GET", "/v1/products/"+ean, nil).status)
	a = b.do("POST", "/v1/checkouts", basket(func(m map[string]any) {
		m["customer_ref"] = "4051885600446624" // a wrong check digit
		m["metadata"] = map[string]any{"hash": "a4051885600446623f", "phone": "+4051885600446623", "long": visa + visa, "at": "2026-09-18 12:00", "n": 12990}
	}))
	require.Equal(t, 201, a.status, a.body)
}

func TestCardNumber_IsNotLookedAtBeforeTheKeyIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) { m["customer_ref"] = visa }), "Authorization", "Bearer nonsense")
	require.Equal(t, 401, a.status)
	b.nowhere(a.body + b.logs.String())
}

// TestCards_AnIDThatEndsInDigitsIsNoCard: such a task could never be counted.
func TestCards_AnIDThatEndsInDigitsIsNoCard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const task = "01M8R0SGGM4384625617085958"
	a := b.do("POST", "/v1/scans", map[string]any{"device": "d", "commands": []any{map[string]any{"id": "c1", "seq": 1, "kind": "count", "task": task, "at": "2026-12-01T05:00:00Z", "scanned": map[string]any{}}}})
	require.NotEqual(t, "card_number_refused", a.code(), a.body)
	require.Equal(t, 404, b.do("POST", "/v1/support/workflows/count:shop:"+task+"/retry", why).status)
	refused := b.do("POST", "/v1/scans", map[string]any{"device": "4384625617085958", "commands": []any{}})
	require.Equal(t, "card_number_refused", refused.code(), "by itself it is one")
	require.Equal(t, "card_number_refused", b.do("POST", "/v1/scans", map[string]any{"device": "4384625617085958:" + task, "commands": []any{}}).code())
}
