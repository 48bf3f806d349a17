package mercadopago_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/conformance"
	"justlogistics/internal/payment/mercadopago"
)

// The sandbox's demo account.
const (
	accessToken   = "TEST-sandbox-demo"
	webhookSecret = "mpsec_sandbox_demo"
	collectorID   = "335829814"
)

func TestGateway_Conforms(t *testing.T) {
	t.Parallel()
	account := func(token string) func(*testing.T, string) payment.Gateway {
		return func(t *testing.T, base string) payment.Gateway {
			g, err := mercadopago.New(mercadopago.Config{BaseURL: base, AccessToken: token, WebhookSecret: webhookSecret, CollectorID: collectorID},
				httpclient.New(httpclient.Options{}))
			require.NoError(t, err)
			return g
		}
	}
	conformance.Run(t, conformance.Provider{
		Name:       payment.MercadoPago,
		New:        account(accessToken),
		NewRefused: account("APP_USR-refused"),
		Account:    collectorID,
		Operations: conformance.Operations{
			Begin: "create_preference", Settle: "search_payments", Lookup: "get_payment", Close: "update_preference",
			Refund: "create_refund", LookupRefund: "list_refunds", Capture: "update_payment", Cancel: "update_payment", Token: "create_payment",
		},
		RefundsAreIdempotent: true, NeverStale: true, EventIDsDiffer: true,
		PaidTwice: map[string]any{"payable_again": true},
		Signs:     conformance.Signs{Headers: []string{"X-Signature", "X-Request-Id"}, Query: []string{"data.id"}},
		Token: func(t *testing.T, sandbox string, approves bool) string {
			name := "APRO"
			if !approves {
				name = "FUND"
			}
			return cardToken(t, sandbox+"/mercadopago", name)
		},
	})
}

// cardToken is what Mercado Pago's script does in the buyer's browser.
func cardToken(t *testing.T, base, cardholder string) string {
	t.Helper()
	return tokenOf(t, base, "4168818844447115", cardholder)
}

func tokenOf(t *testing.T, base, number, cardholder string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"card_number": number, "security_code": "123", "expiration_month": 11, "expiration_year": 2030,
		"cardholder": map[string]any{"name": cardholder, "identification": map[string]string{"type": "Otro", "number": "123456789"}},
	})
	require.NoError(t, err)
	resp, err := http.Post(base+"/v1/card_tokens?public_key="+accessToken, "application/json", bytes.NewReader(raw))
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	var out struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
	return out.ID
}
