package simulate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const somePrefix = "SIM-1-x-"

// bought is a buyer of two of A who approved and has the order, and everything
// around it as it should be.
func bought() (evidence, *Record) {
	at := time.Date(2026, 9, 18, 12, 0, 0, 0, time.UTC)
	ends := at.Add(time.Minute)
	id := "c1"
	r := &Record{
		Buyer:       Buyer{N: 4, Kind: Approves, Gateway: "stripe", Items: []Item{{"A", 2}}},
		CheckoutIDs: []string{id}, Attempts: 1, ToldPaid: true,
		Approvals: []Approval{{PaymentID: "p1", At: at, Taken: true, StoredAt: at.Add(time.Second)}},
		checkout: &checkout{ID: id, Status: "paid", OrderID: &id, ExpiresAt: &ends,
			Items:       []soldItem{{SKU: somePrefix + "A", Quantity: 2, UnitPrice: 12990, Total: 25980}},
			Totals:      totals{Items: 25980, Shipping: 3990, Total: 29970, Currency: "CLP"},
			Reservation: &reservation{},
			Payments:    []attempt{{ID: "p1", Gateway: "stripe", Status: "captured", Captured: 29970, Applied: true}},
		},
		order: &order{ID: id, Status: "paid", Totals: totals{Total: 29970}, Payments: []attempt{{ID: "p1", Gateway: "stripe", Status: "captured", Captured: 29970, Applied: true}}},
	}
	r.checkout.Reservation.Lines = append(r.checkout.Reservation.Lines, struct {
		SKU       string `json:"sku"`
		Quantity  int    `json:"quantity"`
		Warehouse string `json:"warehouse"`
	}{somePrefix + "A", 2, "SCL-1"})
	level := stockOf{Available: 8}
	level.Warehouses = append(level.Warehouses, struct {
		Warehouse string `json:"warehouse"`
		OnHand    int    `json:"on_hand"`
		Reserved  int    `json:"reserved"`
	}{"SCL-1", 10, 2})
	return evidence{records: []*Record{r}, prefix: somePrefix, clean: true,
		ledger:  ledger{charges: map[string][]entry{"p1": {{PaymentID: "p1", Gateway: "stripe", Amount: 29970, Currency: "CLP", Status: "captured"}}}, refunds: map[string][]entry{}},
		shelves: []shelf{{good{"A", 12990}, 10}}, stock: map[string]stockOf{"A": level}}, r
}

// unpaid makes of it a checkout that ended, whose stock is free again.
func unpaid(e evidence, r *Record, status string) {
	r.checkout.Status, r.checkout.OrderID, r.order, r.ToldPaid = status, nil, nil, false
	r.checkout.Payments[0].Status, r.checkout.Payments[0].Applied, r.checkout.Payments[0].Captured = "expired", false, 0
	e.stock["A"].Warehouses[0].Reserved = 0
	level := e.stock["A"]
	level.Available = 10
	e.stock["A"] = level
}

func TestDifferences_ABuyerWhoHasWhatItPaidForIsNone(t *testing.T) {
	t.Parallel()
	e, _ := bought()
	require.Empty(t, e.differences())

	e, r := bought()
	unpaid(e, r, "expired")
	r.Approvals, e.ledger.charges = nil, nil
	require.Empty(t, e.differences())

	e, r = bought() // a late approval that went back
	unpaid(e, r, "cancelled")
	r.ToldCancelled, r.Cancelled = true, true
	r.checkout.Payments[0].Status = "refunded"
	e.ledger.refunds["p1"] = []entry{{Amount: 29970}}
	require.Empty(t, e.differences())
}

func TestDifferences_EachIsNamed(t *testing.T) {
	t.Parallel()
	charge := entry{PaymentID: "p1", Gateway: "stripe", Amount: 29970, Currency: "CLP", Status: "captured"}
	for rule, spoil := range map[string]func(e *evidence, r *Record){
		"unanswered":                  func(_ *evidence, r *Record) { r.Unanswered = "connection refused" },
		"two_checkouts_for_one_order": func(_ *evidence, r *Record) { r.CheckoutIDs = append(r.CheckoutIDs, "c2") },
		"buyer_saw_a_server_error":    func(_ *evidence, r *Record) { r.ServerErrors = []string{"500"} },
		"unexpected_answer":           func(_ *evidence, r *Record) { r.Trouble = []string{"418"} },
		"sold_what_there_is_not":      func(_ *evidence, r *Record) { r.Buyer.Kind = WantsTooMuch },
		"refusal_without_lines":       func(_ *evidence, r *Record) { r.Refused = "insufficient_stock" },
		"refused_with_stock": func(_ *evidence, r *Record) {
			r.Refused, r.Shortage = "insufficient_stock", []shortage{{somePrefix + scarce.name, 1, 1}}
		},
		"refused_without_cause":      func(_ *evidence, r *Record) { r.Refused = "gateway_unavailable" },
		"not_ended":                  func(_ *evidence, r *Record) { r.checkout.Payments[0].Status = "unknown" },
		"items_differ":               func(_ *evidence, r *Record) { r.Buyer.Items[0].Quantity = 3 },
		"totals_differ":              func(_ *evidence, r *Record) { r.checkout.Totals.Total++ },
		"discount_differs":           func(_ *evidence, r *Record) { r.Buyer.Code = true },
		"charged_another_amount":     func(e *evidence, _ *Record) { e.ledger.charges["p1"][0].Amount-- },
		"charged_twice":              func(e *evidence, _ *Record) { e.ledger.charges["p1"] = []entry{charge, charge} },
		"refunded_too_much":          func(e *evidence, _ *Record) { e.ledger.refunds["p1"] = []entry{{Amount: 30000}} },
		"paid_without_charge":        func(e *evidence, _ *Record) { delete(e.ledger.charges, "p1") },
		"paid_without_paying":        func(_ *evidence, r *Record) { r.Approvals = nil },
		"charged_and_not_paid":       func(e *evidence, r *Record) { unpaid(*e, r, "expired") },
		"told_cancelled_and_charged": func(e *evidence, r *Record) { unpaid(*e, r, "cancelled"); r.ToldCancelled = true },
		"told_cancelled_and_is_not":  func(_ *evidence, r *Record) { r.ToldCancelled = true },
		"told_paid_and_is_not":       func(e *evidence, r *Record) { unpaid(*e, r, "expired"); r.ToldPaid = true },
		"approved_in_time_and_not_paid": func(e *evidence, r *Record) {
			unpaid(*e, r, "expired")
			delete(e.ledger.charges, "p1")
		},
		"order_without_payment": func(e *evidence, r *Record) { unpaid(*e, r, "expired"); id := "c1"; r.checkout.OrderID = &id },
		"order_missing":         func(_ *evidence, r *Record) { r.order = nil },
		"order_differs":         func(_ *evidence, r *Record) { r.order.Totals.Total = 1 },
		"gave_back_another_sum": func(e *evidence, r *Record) { r.Panel = 100 },
		"refund_unknown": func(e *evidence, r *Record) {
			r.Panel, e.ledger.refunds["p1"] = 100, []entry{{Amount: 100}}
		},
		"refund_not_made":    func(_ *evidence, r *Record) { r.Refunds = []AskedRefund{{ID: "r1", Amount: 1, Status: "failed"}} },
		"dispute_unknown":    func(_ *evidence, r *Record) { r.Dispute = "lost" },
		"books_differ":       func(e *evidence, _ *Record) { e.books = []Books{{Open: []BookDifference{{Result: "missing_here"}}}} },
		"books_not_compared": func(e *evidence, _ *Record) { e.books = []Books{{Gateways: []GatewayBooks{{Status: "failed"}}}} },
		"units_differ":       func(_ *evidence, r *Record) { r.checkout.Reservation.Lines[0].Quantity = 1 },
		"stock_unknown":      func(e *evidence, _ *Record) { delete(e.stock, "A") },
		"oversold":           func(e *evidence, _ *Record) { e.shelves[0].units = 1 },
		"on_hand_differs":    func(e *evidence, _ *Record) { e.stock["A"].Warehouses[0].OnHand = 9 },
		"reserved_differs":   func(e *evidence, _ *Record) { e.stock["A"].Warehouses[0].Reserved = 5 },
		"available_differs":  func(e *evidence, _ *Record) { l := e.stock["A"]; l.Available = 0; e.stock["A"] = l },
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			e, r := bought()
			spoil(&e, r)
			var named []string
			for _, d := range e.differences() {
				require.NotEmpty(t, d.Words)
				named = append(named, d.Rule)
			}
			require.Contains(t, named, rule)
		})
	}
}

func TestDifferences_ARefundInDoubtMayHaveBeenMadeOrNot(t *testing.T) {
	t.Parallel()
	e, r := bought()
	r.Refunds = []AskedRefund{{ID: "r1", Amount: 100, Status: "pending", InDoubt: true}}
	require.Empty(t, e.differences())
	e.ledger.refunds["p1"] = []entry{{Amount: 100}}
	require.Empty(t, e.differences())
	e.ledger.refunds["p1"] = []entry{{Amount: 100}, {Amount: 100}}
	require.NotEmpty(t, e.differences(), "twice is once too often")

	for _, back := range [][]entry{nil, {{Amount: 29970}}} { // of money that paid nothing
		e, r := bought()
		unpaid(e, r, "cancelled")
		r.ToldCancelled, r.Cancelled = true, true
		r.checkout.Payments[0].Status = "captured"
		e.ledger.refunds["p1"] = back
		require.NotEmpty(t, e.differences())
		r.Doubted = map[string]int64{"p1": 29970}
		require.Empty(t, e.differences())
	}
}

// TestDifferences_OfWhatWasChargedBackNothingWaits: a refund that the bank made needless ends
// with the news, and nobody is left to decide about it.
func TestDifferences_OfWhatWasChargedBackNothingWaits(t *testing.T) {
	t.Parallel()
	e, r := bought()
	r.Dispute, r.order.Payments[0].Status = "lost", "charged_back"
	r.Refunds = []AskedRefund{{ID: "r1", Amount: 100, Status: "failed", Why: "payment_charged_back the buyer has the money"}}
	require.Empty(t, e.differences())
	require.True(t, r.heard())
	r.Refunds[0].Why = "given_up_by_support"
	require.NotEmpty(t, e.differences())
	r.Refunds[0].Status = "needs_attention"
	require.NotEmpty(t, e.differences())
	require.False(t, r.heard(), "it is read again")
}

func TestDifferences_ARefundWaitsForAPersonWhenThePanelHasGivenThatMoneyBack(t *testing.T) {
	t.Parallel()
	e, r := bought()
	r.Panel, e.ledger.refunds["p1"] = 20000, []entry{{Amount: 20000}}
	require.NoError(t, json.Unmarshal([]byte(`[{"parts":[{"payment_id":"p1","amount":20000,"status":"succeeded"}]}]`), &r.order.Refunds))
	r.Refunds = []AskedRefund{{ID: "r1", Amount: 15000, Status: "needs_attention"}}
	require.Empty(t, e.differences())
	r.Refunds[0].Amount = 9970
	require.NotEmpty(t, e.differences(), "that much was left")
	r.Refunds[0].Amount, r.Refunds[0].Status = 15000, "failed"
	require.NotEmpty(t, e.differences(), "nobody was asked")
}

func TestDifferences_WhoeverCancelsOrPaysLateHasNoRightToTheOrder(t *testing.T) {
	t.Parallel()
	e, r := bought()
	unpaid(e, r, "cancelled")
	r.Cancelled, e.ledger.charges = true, nil
	require.Empty(t, e.differences())

	e, r = bought()
	unpaid(e, r, "expired")
	r.Approvals[0].StoredAt, e.ledger.charges = r.checkout.ExpiresAt.Add(-time.Second), nil
	require.Empty(t, e.differences())
}

func TestCheckout_AStrayApprovalHasNotEndedUntilItWentBack(t *testing.T) {
	t.Parallel()
	c := checkout{Status: "cancelled", Payments: []attempt{{Status: "captured", Captured: 10}}}
	require.False(t, c.ended())
	c.Payments[0].Refunded = 10
	require.False(t, c.ended())
	c.Payments[0].Status = "refunded"
	require.True(t, c.ended())
	c.Status = "awaiting_payment"
	require.False(t, c.ended())
}

func TestLatency_IsTheNearestRank(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i)*time.Millisecond)
	}
	require.Equal(t, Latency{Count: 100, P50: 50, P95: 95, P99: 99, Max: 100}, latency(all))
	require.Equal(t, Latency{}, latency(nil))
}

func TestRefunds_AreNotWaitedForWhereAPersonMustLook(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code, status string
		panel        int64
		done         bool
	}{
		"its provider cannot be asked":       {code: "refund_untraced", status: "pending", done: true},
		"the panel has given back besides":   {code: "refund_mismatch", status: "pending", panel: 100, done: true},
		"another sum and nobody's panel":     {code: "refund_mismatch", status: "pending"},
		"on its way":                         {status: "pending"},
		"back, whatever was said on the way": {code: "refund_mismatch", status: "succeeded", panel: 100, done: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, `{"id":"r1","amount":1,"status":%q,"parts":[{"code":%q}]}`, tc.status, tc.code)
			}))
			defer server.Close()
			r := &run{shop: newStorefront(server.URL, "a-key", server.Client())}
			rec := &Record{Panel: tc.panel, Refunds: []AskedRefund{{ID: "r1", Amount: 1, Status: "pending"}}}
			done, err := r.refunds(t.Context(), rec)
			require.NoError(t, err)
			require.Equal(t, tc.done, done)
			require.Equal(t, tc.done && tc.status == "pending", rec.Refunds[0].InDoubt)
		})
	}
}
