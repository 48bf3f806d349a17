// Package conformance is the suite that every carrier's adapter passes: it runs an
// adapter against the sandbox's stand-in of its carrier, lets parcels move, breaks
// connections before, during and after each effect, and compares what the adapter
// says with the sandbox's ledger. A new carrier is one more call of Run.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/sandbox"
	"justlogistics/internal/shipping"
)

// Carrier is what the suite must know of an adapter beside its Capabilities.
type Carrier struct {
	Name shipping.Name
	// New makes the adapter of the demo account; base is the carrier's base URL at
	// the sandbox.
	New func(t *testing.T, base string) shipping.Carrier
	// NewRefused makes one whose credentials the carrier refuses.
	NewRefused func(t *testing.T, base string) shipping.Carrier
	// Operations are the sandbox's names for the carrier's calls.
	Operations Operations
	// States is how each thing that happens to a parcel at the sandbox must be
	// read; Unmapped where the carrier's word for it is in no list that we know.
	States map[string]shipping.State
	// ByCode: states are told by a code, so that a text alone changes nothing.
	ByCode bool
	// AnnouncesNothing: a parcel that was only booked has no events.
	AnnouncesNothing bool
}

// Operations of a carrier; Void is empty where it has no such call, Label where it
// prints only once.
type Operations struct {
	Quote, Points, Book, Lookup, Label, Void, Track string
}

// bundle is one test's sandbox and adapter.
type bundle struct {
	t       *testing.T
	of      Carrier
	carrier shipping.Carrier
	sandbox string // URL
	later   *atomic.Int64
	server  *httptest.Server
}

func setup(t *testing.T, of Carrier) *bundle {
	t.Helper()
	var later atomic.Int64
	s, err := sandbox.Open(sandbox.Options{
		Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		Dir:   t.TempDir(), NoSync: true, AnswerLimit: 5 * time.Second,
	})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		server.Close()
	})
	b := &bundle{t: t, of: of, sandbox: server.URL, later: &later, server: server, carrier: of.New(t, server.URL+"/"+string(of.Name))}
	b.settings(map[string]any{})
	return b
}

// settings of the sandbox's carrier; parcels do not move by themselves, and a number
// that comes later comes after a minute of the sandbox's clock.
func (b *bundle) settings(change map[string]any) {
	b.t.Helper()
	all := map[string]any{"moves_ms": map[string]int{"handed_over": 0, "in_transit": 0, "out_for_delivery": 0, "delivered": 0, "returned_to_sender": 0}, "issue_ms": 60_000}
	for name, value := range change {
		all[name] = value
	}
	status, body := b.send(http.MethodPut, "/config/"+string(b.of.Name), all)
	require.Equal(b.t, http.StatusOK, status, "%s", body)
}

// pass lets time go by at the carrier.
func (b *bundle) pass(d time.Duration) { b.later.Add(int64(d)) }

var (
	shop  = shipping.Place{Street: "Av. Apoquindo", Number: "3000", Comuna: "Providencia", Region: "RM"}
	buyer = shipping.Place{Street: "Los Carrera", Number: "1234", Unit: "Depto. 501", Comuna: "concepcion", Region: "BI"}
	box   = shipping.Parcel{WeightGrams: 1500, LengthMM: 300, WidthMM: 200, HeightMM: 100}
)

func quote() shipping.QuoteRequest {
	return shipping.QuoteRequest{From: shop, To: buyer, Method: shipping.ToDoor, Parcel: box, DeclaredValue: 29990}
}

// reference is one of ours: 16 characters.
func reference() string { return id.New()[10:] }

// booking is a parcel to the buyer's door, by the first offer's service.
func (b *bundle) booking() shipping.Booking {
	b.t.Helper()
	offers, err := b.carrier.Quote(b.t.Context(), quote())
	require.NoError(b.t, err)
	require.NotEmpty(b.t, offers)
	return shipping.Booking{
		Reference: reference(), Number: "DEMO-000123", Service: offers[0].Service, Method: shipping.ToDoor, From: shop, To: buyer,
		Sender:   shipping.Contact{Name: "Tienda Demo", Phone: "+56221234567", Email: "bodega@example.cl", RUT: "76.192.083-9"},
		Receiver: shipping.Contact{Name: "Ana Belén Soto Fuentes", Phone: "+56912345678", Email: "ana@example.cl", RUT: "11.111.111-1"},
		Parcel:   box, Contents: "Zapatillas", DeclaredValue: 29990, At: time.Now().UTC(),
	}
}

// book books a parcel, which must work, and waits for its number.
func (b *bundle) book() (shipping.Booking, shipping.Answer) {
	b.t.Helper()
	in := b.booking()
	a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
	require.NoError(b.t, err)
	return in, b.issued(in, a)
}

// issued brings a booking to its number.
func (b *bundle) issued(in shipping.Booking, a shipping.Answer) shipping.Answer {
	b.t.Helper()
	if a.Outcome == shipping.OutcomePending {
		require.True(b.t, b.carrier.Capabilities().IssuesLater, "only who says so may be late")
		require.NotEmpty(b.t, a.CarrierID, "or nobody can ask for it")
		require.Empty(b.t, a.Tracking)
		b.pass(2 * time.Minute)
		a = b.lookup(in, a).Answer
	}
	require.Equal(b.t, shipping.OutcomeBooked, a.Outcome, "code %s: %s", a.Code, a.Message)
	require.NotEmpty(b.t, a.Tracking)
	return a
}

func booked(in shipping.Booking, a shipping.Answer) shipping.Booked {
	return shipping.Booked{Reference: in.Reference, Tracking: a.Tracking, CarrierID: a.CarrierID, At: in.At}
}

// lookup asks, which must work.
func (b *bundle) lookup(in shipping.Booking, a shipping.Answer) shipping.Looked {
	b.t.Helper()
	looked, err := b.carrier.Lookup(b.t.Context(), booked(in, a))
	require.NoError(b.t, err)
	require.True(b.t, looked.Tried())
	return looked
}

// happens lets something happen to a parcel.
func (b *bundle) happens(tracking, status string, told url.Values) {
	b.t.Helper()
	code, body := b.send(http.MethodPost, "/carriers/"+tracking+"/"+status+"?"+told.Encode(), nil)
	require.Equal(b.t, http.StatusOK, code, "%s", body)
	b.pass(time.Minute)
}

// track is a parcel's events.
func (b *bundle) track(tracking string) []shipping.Event {
	b.t.Helper()
	tracks, err := b.carrier.Track(b.t.Context(), []string{tracking})
	require.NoError(b.t, err)
	require.Contains(b.t, tracks, tracking)
	require.Equal(b.t, tracking, tracks[tracking].Number)
	return tracks[tracking].Events
}

// label is an entry of the sandbox's ledger.
type label struct {
	Carrier   string `json:"carrier"`
	Reference string `json:"reference"`
	Tracking  string `json:"tracking"`
	Status    string `json:"status"`
	Voided    bool   `json:"voided"`
}

// labels are those that the carrier has made for a reference.
func (b *bundle) labels(reference string) []label {
	b.t.Helper()
	status, body := b.send(http.MethodGet, "/ledger", nil)
	require.Equal(b.t, http.StatusOK, status)
	var all struct {
		Labels []label `json:"labels"`
	}
	require.NoError(b.t, json.Unmarshal(body, &all))
	var own []label
	for _, l := range all.Labels {
		if l.Reference == reference && l.Carrier == string(b.of.Name) {
			own = append(own, l)
		}
	}
	return own
}

// fault makes the next call of operation go wrong in one way.
func (b *bundle) fault(operation, kind string) {
	b.t.Helper()
	b.faults(map[string]any{"next": []map[string]any{{"op": operation, "kind": kind, "count": 1}}})
}

// faultAlways makes each call of operation go wrong: the transport repeats a question
// whose connection dies under it.
func (b *bundle) faultAlways(operation, kind string) {
	b.t.Helper()
	b.faults(map[string]any{"next": []map[string]any{{"op": operation, "kind": kind, "count": 100}}})
}

func (b *bundle) faults(settings map[string]any) {
	b.t.Helper()
	status, body := b.send(http.MethodPut, "/faults/"+string(b.of.Name), settings)
	require.Equal(b.t, http.StatusOK, status, "%s", body)
}

// calls is how often an operation was called.
func (b *bundle) calls(operation string) int {
	b.t.Helper()
	_, body := b.send(http.MethodGet, "/faults/"+string(b.of.Name), nil)
	var state struct {
		Calls map[string]int `json:"calls"`
	}
	require.NoError(b.t, json.Unmarshal(body, &state))
	return state.Calls[operation]
}

// patience is a context that gives up where a fault lets an answer never come.
func (b *bundle) patience(fault string) context.Context {
	if fault != "timeout_after_effect" {
		return b.t.Context()
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
	b.t.Cleanup(cancel)
	return ctx
}

// driver drives the sandbox, by a connection of its own each time: one that is kept may
// be closed by the time it is used.
var driver = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (b *bundle) send(method, path string, in any) (int, []byte) {
	b.t.Helper()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		require.NoError(b.t, err)
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.sandbox+path, body)
	require.NoError(b.t, err)
	resp, err := driver.Do(req)
	require.NoError(b.t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, resp.Body.Close())
	return resp.StatusCode, raw
}

// failed demands a failure of one of the reasons.
func failed(t *testing.T, err error, reasons ...shipping.Reason) *shipping.Failure {
	t.Helper()
	var f *shipping.Failure
	require.ErrorAs(t, err, &f)
	require.Contains(t, reasons, f.Reason, "%v", err)
	return f
}

// saysNothingOf demands that what is kept names nobody.
func saysNothingOf(t *testing.T, b shipping.Booking, text string) {
	t.Helper()
	for _, private := range []string{b.Receiver.Name, b.Receiver.Phone, b.Receiver.Email, b.To.Street, "Soto", "Belen"} {
		require.False(t, strings.Contains(strings.ToLower(text), strings.ToLower(private)), "%q names %q", text, private)
	}
}
