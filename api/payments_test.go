package api_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/api"
	"justlogistics/internal/checkout"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/tenant"
	"justlogistics/workflows"
)

// cards is a gateway that takes tokens of a storefront.
type cards struct {
	payment.Gateway
	intents []payment.Intent
}

func (g *cards) Name() payment.Name { return payment.MercadoPago }

func (g *cards) Capabilities() payment.Capabilities {
	return payment.Capabilities{Currencies: []money.Currency{"CLP"}, Tokens: true, Methods: []string{"visa"}, MaxInstallments: 12, PayableFor: time.Hour}
}

func (g *cards) Begin(_ context.Context, in payment.Intent, _ payment.Looked) (payment.Answer, error) {
	g.intents = append(g.intents, in)
	a := payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Closed: true, Reference: "mp-" + in.PaymentID, PaymentID: in.PaymentID, Amount: in.Amount, Currency: in.Currency, Account: "acct", Risk: "normal", Fee: 700}
	if strings.HasSuffix(in.Token, "-declined") {
		a = payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: "cc_rejected_other_reason", Reference: "mp-" + in.PaymentID, PaymentID: in.PaymentID}
	}
	return a, nil
}

// withCards are the tests' gateways and the one for cards.
type withCards struct {
	*gateways.Registry
	cards *cards
}

func (g withCards) Gateway(ctx context.Context, tenantID string, name payment.Name) (payment.Gateway, error) {
	if name == payment.MercadoPago {
		return g.cards, nil
	}
	return g.Registry.Gateway(ctx, tenantID, name)
}

// sellsByCard is setup for a shop whose storefront tokenizes cards; checkouts
// run through the real steps.
func sellsByCard(t *testing.T) (*bundle, *cards) {
	t.Helper()
	b, g := setup(t), &cards{}
	all := withCards{gateways.New(credentials, gateways.Options{Client: httpclient.New(httpclient.Options{})}), g}
	s, err := api.New(api.Config{PublicURL: "https://api.example", CredentialKeys: b.ring}, api.Deps{DB: b.db, Temporal: b.temporal, Gateways: all, Metrics: telemetry.NewMetrics(), Logger: telemetry.Logger(b.logs, "debug")})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	b.server = server
	b.client.Transport = checkedTransport{t: t, router: specRouter(t), base: server.URL}
	b.sql(`INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1,'mercadopago','k','x')`, shop)
	b.temporal.begin = func(ctx context.Context, in workflows.CheckoutInput) (any, error) {
		v, err := checkout.Start(ctx, b.db, in.Tenant, in.CheckoutID, payment.MercadoPago)
		if err != nil {
			return nil, err
		}
		ref := activities.PaymentRef{Tenant: in.Tenant, CheckoutID: in.CheckoutID, PaymentID: v.Attempts[0].PaymentID}
		asked, err := (&activities.Payments{DB: b.db, Gateways: all, PublicURL: "https://api.example"}).BeginPayment(ctx, ref)
		if err != nil {
			return nil, err
		}
		r, err := checkout.Record(ctx, b.db, in.Tenant, in.CheckoutID, checkout.News{PaymentID: ref.PaymentID, Answer: asked.Answer, AskedAt: asked.AskedAt})
		return workflows.BeginAnswer{Status: string(r.View.Status)}, err
	}
	return b, g
}

func byCard(token string) map[string]any {
	return basket(func(m map[string]any) {
		m["payment"] = map[string]any{"gateway": "mercadopago", "return_url": "https://shop.example/thanks", "token": token, "method": "visa", "installments": 3}
	})
}

const aToken = "card-token-ff8080814c11e237014c1ff593b57b4d"

func TestCheckout_WithATokenIsPaidInItsAnswerAndTheTokenIsGone(t *testing.T) {
	t.Parallel()
	b, g := sellsByCard(t)
	a := b.do("POST", "/v1/checkouts", byCard(aToken))
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "paid", a.json()["status"])
	require.Len(t, g.intents, 1)
	require.Equal(t, aToken, g.intents[0].Token)
	require.Equal(t, "visa", g.intents[0].Method)
	require.Equal(t, 3, g.intents[0].Installments)

	a = b.do("POST", "/v1/checkouts", byCard(aToken+"-declined"))
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "awaiting_payment", a.json()["status"], "the buyer may try again")
	require.Equal(t, "declined", a.json()["payment"].(map[string]any)["status"])

	require.NotContains(t, b.logs.String(), aToken)
	for _, table := range []string{"payment_choices", "checkouts", "payments", "events", "idempotency_keys"} {
		require.Zero(t, value[int](b, `SELECT count(*) FROM `+table+` x WHERE x::text LIKE '%' || $1 || '%'`, aToken), table)
	}
}

func TestCheckout_TokenThatNoOneGatewayIsNamedForIsRefused(t *testing.T) {
	t.Parallel()
	b, g := sellsByCard(t)
	for _, gateway := range []string{"auto", "transbank"} {
		a := b.do("POST", "/v1/checkouts", basket(func(m map[string]any) {
			m["payment"] = map[string]any{"gateway": gateway, "return_url": "https://shop.example/thanks", "token": aToken}
		}))
		require.Equal(t, 422, a.status, a.body)
		require.Equal(t, map[string]string{"payment.token": "unsupported"}, a.fields())
	}
	require.Empty(t, g.intents)
	require.NotContains(t, b.logs.String(), aToken)
	require.Zero(t, value[int](b, `SELECT count(*) FROM payment_choices`))
}

func TestPayment_FeeAndRiskAreForStaff(t *testing.T) {
	t.Parallel()
	b, _ := sellsByCard(t)
	c := b.do("POST", "/v1/checkouts", byCard(aToken)).json()
	for _, path := range []string{"/v1/checkouts/" + c["id"].(string), "/v1/orders/" + c["id"].(string)} {
		for scope, sees := range map[tenant.Scope]bool{tenant.Storefront: false, tenant.Support: true, tenant.Admin: true} {
			a := b.do("GET", path, nil, as(b.keys[scope])...)
			require.Equal(t, 200, a.status, a.body)
			require.Equal(t, sees, strings.Contains(a.body, `"fee":700`), "%s %s", scope, path)
			require.Equal(t, sees, strings.Contains(a.body, `"risk":"normal"`), "%s %s", scope, path)
		}
	}
	paymentID := c["payment"].(map[string]any)["id"].(string)
	a := b.do("GET", "/v1/payments/"+paymentID, nil, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.EqualValues(t, 700, a.json()["fee"])
	require.Equal(t, c["number"], a.json()["number"])
	require.Len(t, a.json()["captures"], 1)
	require.Equal(t, 403, b.do("GET", "/v1/payments/"+paymentID, nil, as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("GET", "/v1/payments/"+paymentID, nil, as(b.otherKey)...).status)
	require.Equal(t, 404, b.do("GET", "/v1/payments/"+strings.Repeat("0", 26), nil).status)
}

// authorized is an order whose money is authorized. The run that captures it
// does what the test says.
func (b *bundle) authorized(act func(p payment.Payment)) (paymentID string) {
	b.t.Helper()
	c := b.checkout()
	paymentID = c["payment"].(map[string]any)["id"].(string)
	b.hear(c["id"].(string), paymentID, func(a *payment.Answer) { a.Captured = false })
	b.sql(`UPDATE payments SET capture_until = now() + interval '5 days' WHERE id = $1`, paymentID)
	b.temporal.set(func(f *fakeTemporal) {
		f.update = map[string]func(ctx context.Context, workflowID string, arg any) (any, error){workflows.UpdateBegin: func(ctx context.Context, workflowID string, _ any) (any, error) {
			require.Equal(b.t, workflows.ID(workflows.KindCapture, shop, paymentID), workflowID)
			var p payment.Payment
			err := b.db.InTenant(ctx, shop, func(tx pgx.Tx) (err error) { p, err = payment.Load(ctx, tx, shop, paymentID); return err })
			require.NoError(b.t, err)
			act(p)
			return workflows.CaptureAnswer{}, nil
		}}
	})
	return paymentID
}

// hear records an approval of a payment's sum with what is changed in it.
func (b *bundle) hear(checkoutID, paymentID string, change func(a *payment.Answer)) {
	b.t.Helper()
	a := payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, PaymentID: paymentID, Amount: value[int64](b, `SELECT amount FROM payments WHERE id = $1`, paymentID), Currency: "CLP", Account: "597055555532", Reference: "tok_" + paymentID}
	change(&a)
	_, err := checkout.Record(b.t.Context(), b.db, shop, checkoutID, checkout.News{PaymentID: paymentID, Answer: a, AskedAt: time.Now(), Lapse: payment.StatusCancelled})
	require.NoError(b.t, err)
}

func TestCapture_TakesWhatWasAskedForOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID := b.authorized(func(p payment.Payment) {
		b.hear(p.CheckoutID, p.ID, func(a *payment.Answer) { a.Amount = p.CaptureAmount })
	})
	path := "/v1/payments/" + paymentID + "/capture"
	require.Equal(t, 403, b.do("POST", path, nil, as(b.keys[tenant.Storefront])...).status)
	a := b.do("POST", path, map[string]any{"amount": 99_999_999})
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"amount": "above_authorized"}, a.fields())
	require.Equal(t, 422, b.do("POST", path, map[string]any{"amount": 0}).status)

	a = b.do("POST", path, map[string]any{"amount": 20_000}, as(b.keys[tenant.Support])...)
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "captured", a.json()["status"])
	require.EqualValues(t, 20_000, a.json()["captured"])
	require.Equal(t, "/v1/payments/"+paymentID, a.header.Get("Location"))
	require.Equal(t, 200, b.do("POST", path, map[string]any{"amount": 20_000}).status, "exactly that was done")
	a = b.do("POST", path, nil)
	require.Equal(t, 409, a.status)
	require.Equal(t, "captured_another_amount", a.code())
	a = b.do("POST", "/v1/payments/"+paymentID+"/void", map[string]any{"reason": "fraud"})
	require.Equal(t, 409, a.status)
	require.Equal(t, "already_captured", a.code())
	require.Equal(t, 1, b.temporal.count("start-and-begin capture:"))
	require.Equal(t, 1, value[int](b, `SELECT count(*) FROM events WHERE kind = 'capture_asked'`))
}

func TestVoid_GivesAnAuthorizationBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID := b.authorized(func(p payment.Payment) {
		b.sql(`UPDATE payments SET void_tried_at = now()`)
		b.hear(p.CheckoutID, p.ID, func(a *payment.Answer) {
			a.Outcome, a.Captured, a.Closed, a.Code = payment.OutcomeDeclined, false, true, "canceled"
		})
	})
	path := "/v1/payments/" + paymentID + "/void"
	require.Equal(t, 422, b.do("POST", path, map[string]any{"reason": ""}).status)
	a := b.do("POST", path, map[string]any{"reason": "fraud"})
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, "cancelled", a.json()["status"])
	require.Equal(t, 200, b.do("POST", path, map[string]any{"reason": "fraud"}).status)
	a = b.do("POST", "/v1/payments/"+paymentID+"/capture", nil)
	require.Equal(t, 409, a.status)
	require.Equal(t, "not_authorized", a.code())
}

func TestCapture_ThatIsNotKnownYetIsTakenAndTheSweeperBeginsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	paymentID := b.authorized(func(payment.Payment) {})
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	a := b.do("POST", "/v1/payments/"+paymentID+"/capture", nil)
	require.Equal(t, 202, a.status, a.body)
	require.Equal(t, "authorized", a.json()["status"])
	require.NotNil(t, a.json()["capture_amount"])
	require.True(t, value[bool](b, `SELECT due_at < now() + interval '11 minutes' FROM payments WHERE id = $1`, paymentID))
	a = b.do("POST", "/v1/payments/"+paymentID+"/void", map[string]any{"reason": "fraud"})
	require.Equal(t, "capture_in_progress", a.code())
	b.sql(`UPDATE payments SET capture_amount = NULL, capture_until = now() - interval '1 second'`)
	require.Equal(t, "capture_window_over", b.do("POST", "/v1/payments/"+paymentID+"/capture", nil).code())
}

func TestStuck_NamesDisputesAndAuthorizationsBeforeTheyLapse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.checkout()
	disputed := c["payment"].(map[string]any)["id"].(string)
	b.hear(c["id"].(string), disputed, func(a *payment.Answer) {
		a.Dispute = &payment.Dispute{Reference: "dp_1", Status: payment.DisputeOpen, Amount: a.Amount, Currency: "CLP", Reason: "product_not_received", AnswerBy: time.Now().Add(48 * time.Hour)}
	})
	lapsing := b.authorized(func(payment.Payment) {})
	b.sql(`UPDATE payments SET due_at = now() - interval '1 minute', capture_until = now() + interval '23 hours' WHERE id = $1`, lapsing)
	a := b.do("GET", "/v1/support/stuck", nil)
	require.Equal(t, 200, a.status, a.body)
	seen := map[string]map[string]any{}
	for _, item := range a.json()["data"].([]any) {
		i := item.(map[string]any)
		seen[i["kind"].(string)+" "+i["subject"].(string)] = i
	}
	d := seen["dispute "+disputed]
	require.NotNil(t, d, a.body)
	require.Contains(t, d["why"], "product not received")
	require.Equal(t, c["number"], d["number"])
	require.NotNil(t, d["due_at"])
	l := seen["overdue "+lapsing]
	require.NotNil(t, l, a.body)
	require.Equal(t, "capture_soon", l["reason"])
	require.Contains(t, l["why"], "it lapses at")
	require.Equal(t, "disputed", seen["attention "+c["id"].(string)]["reason"])
	order := b.do("GET", "/v1/orders/"+c["id"].(string), nil).json()
	require.Equal(t, "disputed", order["shipments"].([]any)[0].(map[string]any)["frozen"])
	p := b.do("GET", "/v1/payments/"+disputed, nil).json()
	require.Equal(t, "open", p["disputes"].([]any)[0].(map[string]any)["status"])
}
