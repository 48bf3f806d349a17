package stripe_test

import (
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/stripe"
)

// listed is a page of a list.
func listed(t *testing.T, more bool, objects ...map[string]any) answer {
	t.Helper()
	if objects == nil {
		objects = []map[string]any{}
	}
	return ok(t, map[string]any{"object": "list", "url": "/v1/things", "has_more": more, "data": objects})
}

func TestLookup_TellsTheNewestDispute(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]payment.DisputeStatus{
		"needs_response": payment.DisputeOpen, "under_review": payment.DisputeOpen, "won": payment.DisputeWon, "lost": payment.DisputeLost,
		"warning_needs_response": payment.DisputeOpen, "warning_under_review": payment.DisputeOpen, "warning_closed": payment.DisputeWon,
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			pi := paidIntent(t, nil)
			pi["latest_charge"].(map[string]any)["disputed"] = true
			g, s := setup(t, ok(t, session(t, "complete", "paid", id.New(), pi)),
				listed(t, true, sample(t, "dispute", map[string]any{"status": status, "currency": "clp", "reason": "fraudulent"})))
			looked, err := g.Lookup(t.Context(), attempt())
			require.NoError(t, err)
			a, _ := looked.Answer()
			require.Equal(t, payment.OutcomeApproved, a.Outcome)
			require.Equal(t, &payment.Dispute{
				Reference: "dp_1Pgc71B7WZ01zgkWMevJiAUx", Status: want, Amount: 1000, Currency: money.CLP, Reason: "fraudulent",
				AnswerBy: time.Unix(1723679999, 0).UTC(),
			}, a.Dispute)
			require.Equal(t, "GET /v1/disputes", s.made()[1])
			require.Equal(t, intentID, s.calls[1].query.Get("payment_intent"))
		})
	}
}

func TestLookup_WithoutTheDisputeIsAnError(t *testing.T) {
	t.Parallel()
	pi := paidIntent(t, nil)
	pi["latest_charge"].(map[string]any)["disputed"] = true
	g, _ := setup(t, ok(t, session(t, "complete", "paid", id.New(), pi)), answer{status: 500})
	_, err := g.Lookup(t.Context(), attempt())
	require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)
}

func TestLookup_ReadsTheRefundsOfFurtherPages(t *testing.T) {
	t.Parallel()
	one := map[string]any{"id": "re_1", "object": "refund", "amount": 100, "currency": "clp", "status": "succeeded"}
	two := map[string]any{"id": "re_2", "object": "refund", "amount": 200, "currency": "clp", "status": "succeeded"}
	pi := paidIntent(t, nil)
	charge := pi["latest_charge"].(map[string]any)
	charge["captured"], charge["refunds"] = true, map[string]any{"object": "list", "has_more": true, "data": []any{two}}
	g, s := setup(t, ok(t, session(t, "complete", "paid", id.New(), pi)), listed(t, true, two), listed(t, false, one))
	looked, err := g.Lookup(t.Context(), attempt())
	require.NoError(t, err)
	a, _ := looked.Answer()
	require.EqualValues(t, 300, a.Refunded)
	require.Len(t, a.Refunds, 2)
	require.Len(t, s.made(), 3)
}

func TestBegin_AsksForAnAuthorizationOnlyWhenConfigured(t *testing.T) {
	t.Parallel()
	for capture, want := range map[string][]string{"": nil, "automatic": nil, "manual": {"manual"}} {
		s := &service{answers: []answer{ok(t, sample(t, "checkout_session", nil))}}
		g := configured(t, s, stripe.Config{Capture: capture})
		_, err := g.Begin(t.Context(), intent(), payment.Untried)
		require.NoError(t, err)
		require.Equal(t, want, s.calls[0].form["payment_intent_data[capture_method]"])
		can := g.Capabilities()
		require.Equal(t, capture == "manual", can.DefersCapture)
		if can.DefersCapture {
			require.Equal(t, 7*24*time.Hour, can.CaptureFor)
		}
	}
	_, err := stripe.New(stripe.Config{SecretKey: secretKey, WebhookSecret: webhookSecret, Capture: "later"}, httpclient.New(httpclient.Options{}))
	require.ErrorContains(t, err, "capture must be")
}

func TestAmounts_AreInStripesUnits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		currency money.Currency
		amount   int64
		sent     string // empty: refused without a call
	}{
		"no decimals":                               {money.CLP, 29970, "29970"},
		"no decimals, elsewhere":                    {"JPY", 500, "500"},
		"two decimals":                              {money.USD, 1234, "1234"},
		"three decimals, the last one 0":            {"KWD", 5120, "5120"},
		"three decimals, the last one not 0":        {"KWD", 5124, ""},
		"three decimals, the last one not 0, again": {"BHD", 1001, ""},
		"none, but written with two":                {"ISK", 500, "50000"},
		"none, but written with two, elsewhere":     {"UGX", 7, "700"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := setup(t, ok(t, sample(t, "checkout_session", nil)), ok(t, sample(t, "refund", nil)),
				ok(t, sample(t, "payment_intent", map[string]any{"status": "succeeded", "amount_received": 1, "currency": string(c.currency)})))
			require.Contains(t, g.Capabilities().Currencies, c.currency)
			in := intent()
			in.Amount, in.Currency = c.amount, c.currency
			refund := refundIntent()
			refund.Amount, refund.Currency = c.amount, c.currency
			authorized := payment.Asked(payment.Answer{Outcome: payment.OutcomeApproved, Amount: c.amount, Currency: c.currency, CaptureRef: intentID})
			_, begin := g.Begin(t.Context(), in, payment.Untried)
			_, giveBack := g.Refund(t.Context(), refund, payment.UntriedRefund)
			_, capture := g.Capture(t.Context(), attempt(), c.amount, authorized)
			if c.sent == "" {
				for _, err := range []error{begin, giveBack, capture} {
					require.Equal(t, payment.ClassInvalid, failure(t, err).Class)
				}
				require.Empty(t, s.made())
				return
			}
			require.NoError(t, begin)
			require.NoError(t, giveBack)
			require.NoError(t, capture)
			require.Equal(t, c.sent, s.calls[0].form.Get("line_items[0][price_data][unit_amount]"))
			require.Equal(t, c.sent, s.calls[1].form.Get("amount"))
			require.Equal(t, c.sent, s.calls[2].form.Get("amount_to_capture"))
		})
	}
}

func TestCapabilities_KnowTheDecimalsOfEachCurrency(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	for _, c := range g.Capabilities().Currencies {
		known, err := money.ParseCurrency(string(c))
		require.NoError(t, err)
		require.Equal(t, c, known)
	}
	require.False(t, g.Capabilities().Takes(499, money.CLP, ""))
	require.True(t, g.Capabilities().Takes(500, money.CLP, ""))
	require.False(t, g.Capabilities().Takes(500, "CLF", ""), "the UF is no currency of Stripe's")
}

func TestTransactions_ListsChargesThenRefunds(t *testing.T) {
	t.Parallel()
	mine, refundID := id.New(), id.New()
	charge := func(changes map[string]any) map[string]any {
		c := sample(t, "charge", map[string]any{
			"id": "ch_1", "amount": 29970, "amount_captured": 29970, "captured": true, "currency": "clp", "created": 1700000000, "status": "succeeded",
			"metadata": map[string]any{"payment_id": mine}, "payment_intent": intentID,
			"balance_transaction": map[string]any{"id": "txn_1", "object": "balance_transaction", "created": 1700000000, "currency": "clp", "fee": 1079},
		})
		for field, value := range changes {
			c[field] = value
		}
		return c
	}
	part := charge(map[string]any{"id": "ch_5", "amount_captured": 29000})
	refund := func(changes map[string]any) map[string]any {
		r := sample(t, "refund", map[string]any{"id": "re_1", "amount": 970, "currency": "clp", "created": 1700000500, "status": "succeeded", "payment_intent": intentID, "charge": charge(nil)})
		for field, value := range changes {
			r[field] = value
		}
		return r
	}
	g, s := setup(t,
		listed(t, true,
			charge(nil),
			charge(map[string]any{"id": "ch_2", "captured": false, "amount_captured": 0, "balance_transaction": nil}),
			charge(map[string]any{"id": "ch_3", "captured": false, "amount_captured": 0, "refunded": true, "balance_transaction": nil}),
			charge(map[string]any{"id": "ch_4", "status": "failed", "captured": false, "metadata": map[string]any{"payment_id": "order-77"}, "balance_transaction": nil})),
		listed(t, false, part, charge(map[string]any{"id": "ch_6", "disputed": true})),
		listed(t, false, sample(t, "dispute", map[string]any{"status": "lost", "currency": "clp"})),
		listed(t, false,
			refund(map[string]any{"metadata": map[string]any{"payment_id": mine, "refund_id": refundID}}),
			refund(map[string]any{"id": "re_2", "status": "failed"}),
			refund(map[string]any{"id": "re_3", "created": 1700000000, "charge": part})))

	from := time.Unix(1699999999, 500).UTC()
	q := payment.StatementQuery{From: from, To: from.Add(24 * time.Hour)}
	var lines []payment.Transaction
	for range 3 {
		page, err := g.Transactions(t.Context(), q)
		require.NoError(t, err)
		lines = append(lines, page.Transactions...)
		q.Cursor = page.Next
	}
	require.Empty(t, q.Cursor)
	line := payment.Transaction{
		Kind: payment.ChargeTransaction, PaymentID: mine, CaptureRef: intentID, Amount: 29970, Fee: 1079, Currency: money.CLP,
		Outcome: payment.OutcomeApproved, Captured: true, At: time.Unix(1700000000, 0).UTC(),
	}
	change := func(l payment.Transaction, do func(*payment.Transaction)) payment.Transaction { do(&l); return l }
	back := payment.Transaction{
		Kind: payment.RefundTransaction, PaymentID: mine, RefundReference: "re_1", CaptureRef: intentID, Amount: 970, Currency: money.CLP,
		Outcome: payment.OutcomeApproved, At: time.Unix(1700000500, 0).UTC(),
	}
	require.Equal(t, []payment.Transaction{
		line,
		change(line, func(l *payment.Transaction) { l.Captured, l.Fee = false, 0 }),
		change(line, func(l *payment.Transaction) { l.Captured, l.Fee, l.Outcome = false, 0, payment.OutcomeDeclined }),
		change(line, func(l *payment.Transaction) {
			l.Captured, l.Fee, l.Outcome, l.PaymentID = false, 0, payment.OutcomeDeclined, ""
		}),
		change(line, func(l *payment.Transaction) { l.Amount = 29000 }),
		change(line, func(l *payment.Transaction) {
			l.Dispute = &payment.Dispute{Reference: "dp_1Pgc71B7WZ01zgkWMevJiAUx", Status: payment.DisputeLost, Amount: 1000, Currency: money.CLP, Reason: "general", AnswerBy: time.Unix(1723679999, 0).UTC()}
		}),
		change(back, func(l *payment.Transaction) { l.RefundID = refundID }),
		change(back, func(l *payment.Transaction) { l.RefundReference, l.Outcome = "re_2", payment.OutcomeDeclined }),
		// re_3 is the rest of a capture in part: no money of ours.
	}, lines)
	require.Equal(t, []string{"GET /v1/charges", "GET /v1/charges", "GET /v1/disputes", "GET /v1/refunds"}, s.made())
	require.Equal(t, url.Values{
		"created[gte]": {"1700000000"}, "created[lt]": {"1700086400"}, "limit": {"100"}, "expand[0]": {"data.balance_transaction"},
	}, s.calls[0].query)
	require.Equal(t, "ch_4", s.calls[1].query.Get("starting_after"))
	require.Equal(t, "ch_6", s.calls[2].query.Get("charge"))
}

func TestTransactions_WithoutAnAnswerIsAnError(t *testing.T) {
	t.Parallel()
	for _, cursor := range []string{"", "charges/ch_1", "refunds/", "refunds/re_1"} {
		g, _ := setup(t, answer{status: 500})
		_, err := g.Transactions(t.Context(), payment.StatementQuery{Cursor: cursor, To: time.Now()})
		require.Equal(t, payment.ClassUnavailable, failure(t, err).Class)
	}
	g, s := setup(t)
	_, err := g.Transactions(t.Context(), payment.StatementQuery{Cursor: "payouts/po_1"})
	require.Equal(t, payment.ClassInvalid, failure(t, err).Class)
	require.Empty(t, s.made())
}

func TestParseNotification_NamesTheRefund(t *testing.T) {
	t.Parallel()
	g, _ := setup(t)
	ours, refundID := id.New(), id.New()
	for _, kind := range []string{"charge.refund.updated", "refund.updated", "refund.created", "refund.failed"} {
		object := sample(t, "refund", map[string]any{"metadata": map[string]any{"payment_id": ours, "refund_id": refundID}, "payment_intent": intentID})
		body := notification(t, kind, "2023-10-16", object)
		n, err := g.ParseNotification(payment.Delivery{Header: signature("t=12345", "v1="+sign(signedAt, body, webhookSecret)), Body: body}, signedAt)
		require.NoError(t, err)
		require.True(t, n.Relevant)
		require.Equal(t, ours, n.PaymentID)
		require.Equal(t, refundID, n.RefundID)
		require.Equal(t, object["id"], n.RefundReference)
	}
}

// configured is a gateway with a configuration of its own against s.
func configured(t *testing.T, s *service, cfg stripe.Config) *stripe.Gateway {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	cfg.BaseURL, cfg.SecretKey, cfg.WebhookSecret, cfg.Account = server.URL, secretKey, webhookSecret, "acct_1demo"
	g, err := stripe.New(cfg, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	return g
}
