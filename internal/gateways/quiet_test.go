package gateways_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// A provider may quote the buyer in its refusal. Refusals are logged and stand
// in histories.
func TestGateway_WhatAProviderQuotesOfTheBuyerIsNotKept(t *testing.T) {
	t.Parallel()
	for name, credentials := range map[payment.Name]string{
		payment.Transbank: `{"commerce_code":"597055555532","api_key":"key","base_url":"`,
		payment.Stripe:    `{"secret_key":"sk_test_x","webhook_secret":"whsec_x","base_url":"`,
		payment.Flow:      `{"api_key":"key","secret_key":"secret","base_url":"`,
		payment.Khipu:     `{"api_key":"key","secret":"secret","base_url":"`,
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			said := `no: ana@example.cl (11.111.111-1, 12345678-k), phone +56 9 6123 4567`
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = io.WriteString(w, `{"error_message":"`+said+`","message":"`+said+`","code":104,"error":{"type":"invalid_request_error","message":"`+said+`"}}`)
			}))
			t.Cleanup(server.Close)
			r := gateways.New(func(context.Context, string, payment.Name) ([]byte, int64, error) {
				return []byte(credentials + server.URL + `"}`), 1, nil
			}, gateways.Options{Client: httpclient.New(httpclient.Options{})})
			g, err := r.Gateway(t.Context(), tenant, name)
			require.NoError(t, err)
			now := time.Now().UTC()
			_, err = g.Begin(t.Context(), payment.Intent{PaymentID: id.New(), Tenant: tenant, Number: "D-1", Amount: 1000, Currency: money.CLP, Description: "x",
				ReturnURL: "https://shop.example/r", NotifyURL: "https://shop.example/w", Deadline: now.Add(15 * time.Minute), At: now, Email: "ana@example.cl"}, payment.Untried)
			var f *payment.Failure
			require.ErrorAs(t, err, &f)
			for _, personal := range []string{"ana@", "11.111.111", "12345678", "6123"} {
				require.NotContains(t, err.Error(), personal)
				require.NotContains(t, f.Message, personal)
			}
			require.Contains(t, f.Message, "no:", "the rest is")
			require.False(t, errors.Is(err, gateways.ErrNotConfigured))
		})
	}
}
