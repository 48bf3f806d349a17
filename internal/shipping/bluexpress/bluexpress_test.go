package bluexpress

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/chile"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return raw
}

func account() Config {
	return Config{ClientID: "id", ClientSecret: "secret", APIKey: "key", Token: "token", UserCode: "user", Account: "96801150-11-8"}
}

// bundle is an adapter and a server that answers what the test says.
type bundle struct {
	*Carrier
	mu     sync.Mutex
	status int
	body   string
	tokens int
	asked  []*http.Request
	bodies []string
}

func setup(t *testing.T, status int, body string) *bundle {
	t.Helper()
	b := &bundle{status: status, body: body}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		switch r.URL.Path {
		case "/oauth2/token":
			b.tokens++
			_, _ = io.WriteString(w, `{"access_token":"a-token","token_type":"Bearer","expires_in":"3600"}`)
			return
		case "/bx-geo/state/all":
			_, _ = w.Write(sample(t, "places.json"))
			return
		}
		b.asked, b.bodies = append(b.asked, r), append(b.bodies, string(asked))
		w.WriteHeader(b.status)
		_, _ = io.WriteString(w, b.body)
	}))
	t.Cleanup(server.Close)
	cfg := account()
	cfg.BaseURL = server.URL
	c, err := New(cfg, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	b.Carrier = c
	return b
}

func parcel() shipping.Booking {
	return shipping.Booking{
		Reference: "R123456789ABCDEF", Number: "DEMO-1", Service: "EX", Method: shipping.ToDoor, DeclaredValue: 1000, Contents: "Libros", Label: shipping.ZPL,
		From:   shipping.Place{Street: "Camino", Number: "1", Comuna: "Santiago", Region: "RM"},
		To:     shipping.Place{Street: strings.Repeat("Calle Larga ", 10), Number: "12", Unit: "2", Comuna: "Providencia", Region: "RM"},
		Sender: shipping.Contact{Name: "Tienda", Phone: "1"}, Receiver: shipping.Contact{Name: "Ana Soto", Phone: "2", Email: "ana@example.cl"},
		Parcel: shipping.Parcel{WeightGrams: 1500, LengthMM: 301, WidthMM: 200},
	}
}

func TestNew_RefusesWhatCannotBeAnAccountAndNamesNoSecret(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"base_url": func(c *Config) { c.BaseURL = "ftp://blue.cl" },
		"secret":   func(c *Config) { c.ClientSecret = "hid den" },
		"key":      func(c *Config) { c.APIKey = "" },
		"service":  func(c *Config) { c.Services = []string{"XX"} },
	} {
		cfg := account()
		change(&cfg)
		_, err := New(cfg, httpclient.New(httpclient.Options{}))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hid", name)
	}
	_, err := New(account(), nil)
	require.Error(t, err)
}

func TestToken_IsKeptUntilItIsRefusedOrOld(t *testing.T) {
	t.Parallel()
	b := setup(t, 200, string(sample(t, "search.json")))
	for range 3 {
		_, err := b.Lookup(t.Context(), shipping.Booked{Reference: "R"})
		require.NoError(t, err)
	}
	require.Equal(t, 1, b.tokens)
	require.Equal(t, "Bearer a-token", b.asked[0].Header.Get("Authorization"))
	require.Equal(t, "key", b.asked[0].Header.Get("x-api-key"))
	b.status = 401
	_, err := b.Lookup(t.Context(), shipping.Booked{Reference: "R"})
	var f *shipping.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, shipping.Unavailable, f.Reason, "it may only have been revoked")
	b.status = 200
	_, err = b.Lookup(t.Context(), shipping.Booked{Reference: "R"})
	require.NoError(t, err)
	require.Equal(t, 2, b.tokens)
	b.caller.Now = func() time.Time { return time.Now().Add(59*time.Minute + 30*time.Second) }
	_, err = b.Lookup(t.Context(), shipping.Booked{Reference: "R"})
	require.NoError(t, err)
	require.Equal(t, 3, b.tokens)
}

func TestOfferOf_ReadsTheTotal(t *testing.T) {
	t.Parallel()
	o, priced := offerOf(sample(t, "price.json"), "EX")
	require.True(t, priced)
	require.Equal(t, shipping.Offer{Service: "EX", Name: "Express", Method: shipping.ToDoor, Price: 4190, DeliverBy: time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC)}, o)
	_, priced = offerOf(sample(t, "price_refused.json"), "EX")
	require.False(t, priced)
	_, priced = offerOf([]byte(`{"status":true,"data":{"total":0}}`), "EX")
	require.False(t, priced)
}

func TestQuote_OffersPriorityOnlyWhereItDiffers(t *testing.T) {
	t.Parallel()
	q := shipping.QuoteRequest{From: parcel().From, To: parcel().To, Method: shipping.ToDoor, Parcel: parcel().Parcel}
	b := setup(t, 200, string(sample(t, "price.json")))
	offers, err := b.Quote(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, offers, 1)
	require.JSONEq(t, `{"from":{"country":"CL","district":"SCL"},"to":{"country":"CL","state":13,"district":"PRO"},"serviceType":"EX",
		"datosProducto":{"producto":"P","familiaProducto":"PAQU","bultos":[{"largo":31,"ancho":20,"alto":1,"pesoFisico":2,"cantidad":1}]}}`, b.bodies[0])
	require.Equal(t, "token", b.asked[0].Header.Get("BX-TOKEN"))
	offers, err = setup(t, 200, string(sample(t, "price_refused.json"))).Quote(t.Context(), q)
	require.NoError(t, err)
	require.Empty(t, offers)
	_, err = setup(t, 200, `{"status":false,"message":"BX-TOKEN inválido"}`).Quote(t.Context(), q)
	require.Error(t, err, "not everything that is refused is a place nobody goes to")
}

func TestChoose_FindsDistrictsByNameAndRegionAndCitiesByTheirDefault(t *testing.T) {
	t.Parallel()
	var out struct {
		Data []struct {
			States []state `json:"states"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal(sample(t, "places.json"), &out))
	for _, c := range []struct {
		name   string
		region chile.Region
		code   string
	}{{"San Pedro", chile.Santiago, "SPM"}, {"San Pedro de la Paz", chile.Biobio, "SPP"}, {"Santiago", chile.Santiago, "SCL"}, {"Concepción", chile.Biobio, "CCP"}, {"Natales", chile.Magallanes, ""}} {
		require.Equal(t, c.code, choose(out.Data[0].States, chile.Comuna{Name: c.name, Region: c.region}).code, c.name)
	}
}

func TestEmitted_ReadsNumbersAndLabelsInEitherShape(t *testing.T) {
	t.Parallel()
	a := emitted(sample(t, "emission.json"))
	require.Equal(t, "7300012345", a.Tracking)
	require.Equal(t, shipping.ZPL, a.Label.Format)
	a = emitted(sample(t, "emission_flat.json"))
	require.Equal(t, "7300012345", a.Tracking)
	require.Equal(t, shipping.PDF, a.Label.Format)
}

func TestBook_KeepsToTheLimitsOfTheFields(t *testing.T) {
	t.Parallel()
	b := setup(t, 200, string(sample(t, "emission.json")))
	a, err := b.Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeBooked, a.Outcome)
	var sent struct {
		Format     int      `json:"printFormatCode"`
		References []string `json:"references"`
		Dropoff    struct {
			Location struct {
				Address string `json:"address"`
			} `json:"location"`
		} `json:"dropoff"`
	}
	require.NoError(t, json.Unmarshal([]byte(b.bodies[0]), &sent))
	require.Equal(t, 2, sent.Format)
	require.Equal(t, []string{"R123456789ABCDEF"}, sent.References)
	require.Len(t, sent.Dropoff.Location.Address, 80)
}

func TestBook_RefusalsAreToldApartFromDoubts(t *testing.T) {
	t.Parallel()
	var cases map[string]struct {
		Status  int              `json:"status"`
		Body    json.RawMessage  `json:"body"`
		Outcome shipping.Outcome `json:"outcome"`
		Code    string           `json:"code"`
		Reason  shipping.Reason  `json:"reason"`
	}
	require.NoError(t, json.Unmarshal(sample(t, "refusals.json"), &cases))
	for name, c := range cases {
		a, err := setup(t, c.Status, string(c.Body)).Book(t.Context(), parcel(), shipping.Untried)
		if c.Reason != "" {
			var f *shipping.Failure
			require.ErrorAs(t, err, &f, name)
			require.Equal(t, c.Reason, f.Reason, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.Outcome, a.Outcome, name)
		require.Equal(t, c.Code, a.Code, name)
	}
}

func TestFound_LeavesOutOrdersOfOtherReferences(t *testing.T) {
	t.Parallel()
	a, read := found(sample(t, "search.json"), "R123456789ABCDEF")
	require.True(t, read)
	require.Equal(t, shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: "7300012345"}, a)
	for raw, want := range map[string]bool{`{"data":[]}`: true, `[]`: true, `{}`: false, `{"status":false}`: false, `x`: false} {
		a, read = found([]byte(raw), "R")
		require.Equal(t, want, read, raw)
		if read {
			require.Equal(t, shipping.OutcomeNotFound, a.Outcome, raw)
		}
	}
}

func TestTrackOf_IgnoresTheStateThatStaysAtPrintedAndKnowsAReturnFromADelivery(t *testing.T) {
	t.Parallel()
	track, read := trackOf(sample(t, "tracking.json"))
	require.True(t, read)
	var states []shipping.State
	for _, e := range track.Events {
		states = append(states, e.State)
	}
	require.Equal(t, []shipping.State{
		shipping.Announced, shipping.InTransit, shipping.Unmapped, shipping.DeliveryFailed, shipping.Returning, shipping.Returned,
	}, states)
	require.Equal(t, shipping.Event{At: time.Date(2026, 11, 5, 15, 0, 0, 0, time.UTC), State: shipping.DeliveryFailed, Code: "NE NH", Text: "NOT DELIVERED", Where: "PRO"}, track.Events[3])
	require.Equal(t, shipping.Unmapped, stateOf("DE", "XX"), "an unknown delivery may be a return")
	require.Equal(t, shipping.InTransit, stateOf("IN", "XX"))
}

func FuzzAnswers_NeverPanicAndNeverOfferNothing(f *testing.F) {
	for _, name := range []string{"price.json", "tracking.json", "search.json", "emission.json", "emission_flat.json"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if o, priced := offerOf(raw, "EX"); priced {
			require.Positive(t, o.Price)
		}
		if track, read := trackOf(raw); read {
			require.NotEmpty(t, track.Number)
		}
		if a := emitted(raw); a.Outcome == shipping.OutcomeBooked {
			require.NotEmpty(t, a.Tracking)
		}
		if a, read := found(raw, "R"); read && a.Outcome == shipping.OutcomeBooked {
			require.NotEmpty(t, a.Tracking)
		}
	})
}
