package simulate

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is a small shop and its providers behind one address, as the contract
// describes them. Holds end after a moment, whatever was asked for.
type fake struct {
	t    *testing.T
	mu   sync.Mutex
	seq  int
	url  string
	hold time.Duration

	prices    map[string]int64
	onHand    map[string]int
	discount  int64
	kept      map[string]answered // by idempotency key
	checkouts map[string]*checkout
	of        map[string]string // checkout by payment
	formDone  map[string]bool   // Webpay's form was approved
	charges   []entry
	given     []entry                  // back, at the providers
	refunds   map[string][]AskedRefund // of the orders
	disputes  map[string]string
	faults    map[string]bool // set now
	everSet   map[string]bool

	// dropFirst answers nobody's first request, as an API that is restarted.
	dropFirst map[string]bool
	// losesAnswers: the providers take each approval and break the connection.
	losesAnswers bool
	// neverCharges tells of payments that the providers never took.
	neverCharges bool
	// keepsStock forgets to free what was held.
	keepsStock bool
	// givesTwice gives the same units back as often as it is asked.
	givesTwice bool
	// booksDiffer in a way that a person must look at.
	booksDiffer bool
	rounds      int // of comparing books
	leaked      map[string]int
}

type answered struct {
	hash   string
	status int
	body   any
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, hold: 400 * time.Millisecond, prices: map[string]int64{}, onHand: map[string]int{}, kept: map[string]answered{}, checkouts: map[string]*checkout{},
		of: map[string]string{}, formDone: map[string]bool{}, refunds: map[string][]AskedRefund{}, disputes: map[string]string{}, faults: map[string]bool{}, everSet: map[string]bool{}, leaked: map[string]int{}}
	server := httptest.NewServer(f.handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, fn func(w http.ResponseWriter, r *http.Request, body map[string]any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			body := map[string]any{}
			if len(raw) > 0 {
				if err := json.Unmarshal(raw, &body); err != nil {
					http.Error(w, "not JSON", http.StatusBadRequest)
					return
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.expire()
			fn(w, r, body)
		})
	}
	handle("PUT /v1/products/{sku}", func(w http.ResponseWriter, r *http.Request, body map[string]any) {
		f.prices[r.PathValue("sku")] = int64(body["prices"].([]any)[0].(map[string]any)["amount"].(float64))
		f.send(w, http.StatusCreated, body)
	})
	handle("PUT /v1/stock/{sku}", func(w http.ResponseWriter, r *http.Request, body map[string]any) {
		f.onHand[r.PathValue("sku")] += int(body["on_hand"].(float64))
		f.send(w, http.StatusOK, body)
	})
	handle("PUT /v1/discount-codes/{code}", func(w http.ResponseWriter, _ *http.Request, body map[string]any) {
		f.discount = int64(body["value"].(float64))
		f.send(w, http.StatusCreated, body)
	})
	handle("GET /v1/stock/{sku}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		sku := r.PathValue("sku")
		reserved := f.reserved(sku)
		f.send(w, http.StatusOK, map[string]any{"sku": sku, "available": f.onHand[sku] - reserved, "warehouses": []any{map[string]any{"warehouse": "W", "on_hand": f.onHand[sku], "reserved": reserved}}})
	})
	handle("POST /v1/checkouts", f.create)
	handle("GET /v1/checkouts/{id}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		f.send(w, http.StatusOK, f.checkouts[r.PathValue("id")])
	})
	handle("POST /v1/checkouts/{id}/payments", f.another)
	handle("POST /v1/checkouts/{id}/cancel", f.cancel)
	handle("GET /v1/orders/{id}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		c := f.checkouts[r.PathValue("id")]
		f.send(w, http.StatusOK, f.order(c))
	})
	handle("POST /v1/refunds", f.refund)
	handle("POST /v1/reports/reconciliation", func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		f.rounds++
		w.WriteHeader(http.StatusAccepted)
	})
	handle("GET /v1/reports/reconciliation", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		books := GatewayBooks{Gateway: "stripe", Status: "done", Source: "api", Counts: map[string]int{"matched": len(f.charges)}}
		switch {
		case f.booksDiffer:
			books.Items = []BookDifference{{Gateway: "stripe", Kind: "charge", Result: "missing_here", Resolution: "raised"}}
		case f.rounds == 1:
			books.Items = []BookDifference{{Gateway: "stripe", Kind: "charge", Result: "missing_here", Resolution: "repaired"}}
		}
		f.send(w, http.StatusOK, Books{Date: r.URL.Query().Get("date"), Gateways: []GatewayBooks{books}})
	})
	handle("GET /v1/refunds/{id}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		for _, all := range f.refunds {
			for _, refund := range all {
				if refund.ID == r.PathValue("id") {
					f.send(w, http.StatusOK, refund)
					return
				}
			}
		}
		f.send(w, http.StatusNotFound, problem{Code: "not_found"})
	})
	handle("POST /ledger/refunds", func(w http.ResponseWriter, _ *http.Request, body map[string]any) {
		paymentID, amount := body["payment_id"].(string), int64(body["amount"].(float64))
		f.given = append(f.given, entry{PaymentID: paymentID, Amount: amount, Status: "succeeded"})
		orderID := f.of[paymentID]
		f.refunds[orderID] = append(f.refunds[orderID], AskedRefund{ID: f.id("r"), Amount: amount, Status: "succeeded"})
		w.WriteHeader(http.StatusCreated)
	})
	handle("POST /disputes/{payment}/{status}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		f.disputes[r.PathValue("payment")] = r.PathValue("status")
		w.WriteHeader(http.StatusOK)
	})
	handle("POST /buyer/{payment}/{step}", f.step)
	handle("GET /ledger", func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		f.send(w, http.StatusOK, map[string]any{"charges": f.charges, "refunds": f.given})
	})
	handle("PUT /faults/{provider}", func(w http.ResponseWriter, r *http.Request, body map[string]any) {
		f.faults[r.PathValue("provider")], f.everSet[r.PathValue("provider")] = true, true
		f.send(w, http.StatusOK, body)
	})
	handle("DELETE /faults/{provider}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		delete(f.faults, r.PathValue("provider"))
		w.WriteHeader(http.StatusNoContent)
	})
	handle("GET /faults/{provider}", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		fired := map[string]int{}
		if f.everSet[r.PathValue("provider")] {
			fired["error_500"] = 3
		}
		f.send(w, http.StatusOK, map[string]any{"fired": fired})
	})
	handle("GET /deliveries/{provider}", func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		f.send(w, http.StatusOK, map[string]int{"dropped": 0})
	})
	return mux
}

func (f *fake) send(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fake) id(kind string) string {
	f.seq++
	return fmt.Sprintf("%s%05d", kind, f.seq)
}

func (f *fake) expire() {
	for _, c := range f.checkouts {
		if c.Status == "awaiting_payment" && time.Now().After(*c.ExpiresAt) {
			f.end(c, "expired")
		}
	}
}

func (f *fake) end(c *checkout, status string) {
	c.Status = status
	if f.keepsStock {
		for _, i := range c.Items {
			f.leaked[i.SKU] += i.Quantity
		}
	}
	for i := range c.Payments {
		if c.Payments[i].Status == "pending" {
			c.Payments[i].Status = "expired"
		}
	}
}

func (f *fake) reserved(sku string) int {
	n := f.leaked[sku]
	for _, c := range f.checkouts {
		if c.Status == "awaiting_payment" || c.Status == "paid" {
			for _, i := range c.Items {
				if i.SKU == sku {
					n += i.Quantity
				}
			}
		}
	}
	return n
}

func (f *fake) create(w http.ResponseWriter, r *http.Request, body map[string]any) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || r.Header.Get("Authorization") != "Bearer a-key" {
		f.send(w, http.StatusUnauthorized, problem{Code: "bad_key"})
		return
	}
	raw, _ := json.Marshal(body)
	if before, found := f.kept[key]; found {
		if before.hash != string(raw) {
			f.send(w, http.StatusUnprocessableEntity, problem{Code: "idempotency_key_reused"})
			return
		}
		w.Header().Set("Idempotent-Replayed", "true")
		f.send(w, before.status, before.body)
		return
	}
	if f.dropFirst != nil && !f.dropFirst[key] {
		f.dropFirst[key] = true
		panic(http.ErrAbortHandler)
	}
	status, out := f.place(body)
	f.kept[key] = answered{string(raw), status, out}
	f.send(w, status, out)
}

func (f *fake) place(body map[string]any) (int, any) {
	want := map[string]int{}
	for _, i := range body["items"].([]any) {
		item := i.(map[string]any)
		want[item["sku"].(string)] += int(item["quantity"].(float64))
	}
	c := &checkout{ID: f.id("c"), Status: "awaiting_payment", Reservation: &reservation{Status: "held"}}
	for _, sku := range slices.Sorted(maps.Keys(want)) {
		n := want[sku]
		if free := f.onHand[sku] - f.reserved(sku); free < n {
			return http.StatusConflict, problem{Code: "insufficient_stock", Lines: []shortage{{sku, n, free}}}
		}
		c.Items = append(c.Items, soldItem{sku, n, f.prices[sku], f.prices[sku] * int64(n)})
		c.Totals.Items += f.prices[sku] * int64(n)
		c.Reservation.Lines = append(c.Reservation.Lines, struct {
			SKU       string `json:"sku"`
			Quantity  int    `json:"quantity"`
			Warehouse string `json:"warehouse"`
		}{sku, n, "W"})
	}
	if body["discount_code"] != nil {
		c.Totals.Discount = (c.Totals.Items*f.discount + 5000) / 10000
	}
	c.Totals.Shipping, c.Totals.Currency = 3990, "CLP"
	c.Totals.Total = c.Totals.Items - c.Totals.Discount + c.Totals.Shipping
	ends := time.Now().Add(f.hold)
	c.ExpiresAt = &ends
	f.checkouts[c.ID] = c
	f.attempt(c, body["payment"].(map[string]any)["gateway"].(string))
	return http.StatusCreated, c
}

func (f *fake) attempt(c *checkout, gateway string) {
	if gateway == "auto" {
		gateway = "transbank"
	}
	p := attempt{ID: f.id("p"), Gateway: gateway, Status: "pending"}
	for i := range c.Payments {
		if c.Payments[i].Status == "pending" {
			c.Payments[i].Status = "cancelled"
		}
	}
	c.Payments = append(c.Payments, p)
	c.Payment = &p
	f.of[p.ID] = c.ID
}

func (f *fake) another(w http.ResponseWriter, r *http.Request, body map[string]any) {
	c := f.checkouts[r.PathValue("id")]
	switch {
	case c.Status == "paid":
		f.send(w, http.StatusConflict, problem{Code: "already_paid"})
	case c.Status != "awaiting_payment":
		f.send(w, http.StatusConflict, problem{Code: "not_awaiting_payment"})
	default:
		f.attempt(c, body["gateway"].(string))
		f.send(w, http.StatusCreated, c)
	}
}

func (f *fake) cancel(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	c := f.checkouts[r.PathValue("id")]
	switch c.Status {
	case "paid":
		f.send(w, http.StatusConflict, problem{Code: "already_paid"})
	case "awaiting_payment":
		f.end(c, "cancelled")
		f.send(w, http.StatusOK, c)
	case "cancelled":
		f.send(w, http.StatusOK, c)
	default:
		f.send(w, http.StatusConflict, problem{Code: "not_cancellable"})
	}
}

// order is a paid checkout's.
func (f *fake) order(c *checkout) map[string]any {
	var lines, refunds []any
	for i, item := range c.Items {
		lines = append(lines, map[string]any{"line_id": fmt.Sprintf("%s-%d", c.ID, i), "sku": item.SKU, "quantity": item.Quantity, "total": item.Total})
	}
	paid := ""
	payments := slices.Clone(c.Payments)
	for i, p := range payments {
		if !p.Applied {
			continue
		}
		paid = p.ID
		switch f.disputes[p.ID] {
		case "open":
			payments[i].Status = "disputed"
		case "lost":
			payments[i].Status = "charged_back"
		}
	}
	for _, r := range f.refunds[c.ID] {
		refunds = append(refunds, map[string]any{"id": r.ID, "status": r.Status, "amount": r.Amount, "parts": []any{map[string]any{"payment_id": paid, "amount": r.Amount, "status": r.Status}}})
	}
	return map[string]any{"id": c.ID, "status": "paid", "totals": c.Totals, "lines": lines, "payments": payments, "refunds": refunds}
}

// refund gives back what a line costs by the unit, or all that is left of an
// order. Each line can be given back once.
func (f *fake) refund(w http.ResponseWriter, _ *http.Request, body map[string]any) {
	c := f.checkouts[body["order_id"].(string)]
	left := c.Totals.Total
	for _, r := range f.refunds[c.ID] {
		left -= r.Amount
	}
	amount := left
	if f.givesTwice {
		amount = c.Totals.Total
	}
	if lines, ok := body["lines"].([]any); ok {
		l := lines[0].(map[string]any)
		amount = c.Items[0].UnitPrice * int64(l["quantity"].(float64))
		if left < c.Totals.Total && !f.givesTwice {
			amount = left + 1
		}
	}
	if amount > left && !f.givesTwice || amount <= 0 {
		f.send(w, http.StatusConflict, problem{Code: "nothing_left_to_refund"})
		return
	}
	out := AskedRefund{ID: f.id("r"), Amount: amount, Status: "succeeded"}
	f.refunds[c.ID] = append(f.refunds[c.ID], out)
	for _, p := range c.Payments {
		if p.Applied {
			f.given = append(f.given, entry{PaymentID: p.ID, Amount: amount, Status: "succeeded"})
		}
	}
	f.send(w, http.StatusCreated, out)
}

// step plays a provider that charges when the shop commits: every gateway here
// is like Webpay.
func (f *fake) step(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	paymentID, step := r.PathValue("payment"), r.PathValue("step")
	c := f.checkouts[f.of[paymentID]]
	var p *attempt
	for i := range c.Payments {
		if c.Payments[i].ID == paymentID {
			p = &c.Payments[i]
		}
	}
	out := stepTaken{Status: step}
	switch step {
	case "approve":
		if f.formDone[paymentID] {
			f.send(w, http.StatusConflict, nil)
			return
		}
		f.formDone[paymentID] = true
		if f.losesAnswers {
			panic(http.ErrAbortHandler)
		}
	case "decline":
		p.Status = "declined"
	case "abort":
		p.Status = "cancelled"
	}
	if r.URL.Query().Get("return") != "false" {
		if f.formDone[paymentID] && c.Status == "awaiting_payment" && p.Status == "pending" {
			if !f.neverCharges {
				f.charges = append(f.charges, entry{PaymentID: paymentID, Gateway: p.Gateway, Amount: c.Totals.Total, Currency: "CLP", Status: "captured"})
			}
			p.Status, p.Applied, p.Captured = "captured", true, c.Totals.Total
			c.Status, c.OrderID = "paid", &c.ID
		}
		out.Returned, out.ReturnStatus, out.ReturnLocation = true, http.StatusSeeOther, "https://shop.example/thanks?status="+c.Status
	}
	f.send(w, http.StatusOK, out)
}

func (f *fake) options() Options {
	return Options{Orders: 2 * len(Kinds(both)), Rate: 500, Faults: NoFaults, Gateways: both, To: "paid", Seed: 5, APIURL: f.url + "/", APIKey: "a-key", SandboxURL: f.url,
		Warehouses: []string{"W", "X"}, Timeout: time.Minute, NoAudit: "there is no database"}
}

func rulesOf(r Report) (names []string) {
	for _, d := range r.Differences {
		if !slices.Contains(names, d.Rule) {
			names = append(names, d.Rule)
		}
	}
	return names
}

func requireClean(t *testing.T, r Report) {
	t.Helper()
	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.True(t, r.OK(), text.String())
}
