package chilexpress

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
	return Config{CoverageKey: "c", RatingKey: "r", ShippingKey: "s", Card: "18578680", RUT: "96756430-3"}
}

// bundle is an adapter and a server that answers what the test says.
type bundle struct {
	*Carrier
	mu     sync.Mutex
	status int
	body   string
	asked  []string // bodies
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
		if r.URL.Path == "/georeference/api/v1.0/regions" {
			_, _ = io.WriteString(w, `{"regions":[{"regionId":"RM","regionName":"METROPOLITANA DE SANTIAGO","ineRegionCode":13}],"statusCode":0}`)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/georeference/") {
			_, _ = io.WriteString(w, `{"coverageAreas":[{"countyCode":"PROV","countyName":"PROVIDENCIA","coverageName":"PROVIDENCIA","queryMode":1},{"countyCode":"PUDA","countyName":"PUDAHUEL","coverageName":"PUDAHUEL","queryMode":1}],"statusCode":0}`)
			return
		}
		b.asked = append(b.asked, string(asked))
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
		Reference: "27699451457ABCDE", Number: "DEMO-1", Service: "3", Method: shipping.ToDoor, DeclaredValue: 1000, Contents: "Libros",
		From: shipping.Place{Street: "Camino", Number: "S/N", Comuna: "Pudahuel", Region: "RM"}, To: shipping.Place{Street: "Calle Larga", Number: "12-B", Unit: "2", Comuna: "Providencia", Region: "RM"},
		Sender: shipping.Contact{Name: "Tienda", Phone: "1"}, Receiver: shipping.Contact{Name: "Ana Soto", Phone: "2", Email: "ana@example.cl"},
		Parcel: shipping.Parcel{WeightGrams: 1500, LengthMM: 301, WidthMM: 200},
	}
}

func TestNew_RefusesWhatCannotBeAnAccountAndNamesNoKey(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"base_url": func(c *Config) { c.BaseURL = "services.wschilexpress.com" },
		"a query":  func(c *Config) { c.BaseURL = "https://a.cl/?key=secret" },
		"a key":    func(c *Config) { c.RatingKey = "sec ret" },
		"no key":   func(c *Config) { c.ShippingKey = "" },
		"the card": func(c *Config) { c.Card = "secret" },
		"the RUT":  func(c *Config) { c.RUT = "96756430-1" },
	} {
		cfg := account()
		change(&cfg)
		_, err := New(cfg, httpclient.New(httpclient.Options{}))
		require.Error(t, err, name)
		if name != "a query" {
			require.NotContains(t, err.Error(), "sec", name)
		}
	}
	_, err := New(account(), nil)
	require.Error(t, err)
}

func TestOffersOf_ReadsPricesThatAreTextOrNumbersAndLeavesOutZero(t *testing.T) {
	t.Parallel()
	offers, read := offersOf(sample(t, "rates.json"), shipping.ToDoor)
	require.True(t, read)
	require.Equal(t, []shipping.Offer{
		{Service: "2", Name: "PRIORITARIO", Method: shipping.ToDoor, Price: 5661},
		{Service: "3", Name: "EXPRESS", Method: shipping.ToDoor, Price: 4790},
	}, offers)
}

func TestQuote_TakesWhatComesWithHTTP400AndTellsNoServiceFromAMistake(t *testing.T) {
	t.Parallel()
	q := shipping.QuoteRequest{From: parcel().From, To: parcel().To, Method: shipping.ToDoor, Parcel: parcel().Parcel}
	offers, err := setup(t, 400, string(sample(t, "rates.json"))).Quote(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, offers, 2)
	offers, err = setup(t, 400, `{"data":null,"statusCode":-30,"statusDescription":"No existe servicio entre las comunas"}`).Quote(t.Context(), q)
	require.NoError(t, err)
	require.Empty(t, offers)
	_, err = setup(t, 400, `{"data":null,"statusCode":-10,"statusDescription":"Peso no válido"}`).Quote(t.Context(), q)
	var f *shipping.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, shipping.Invalid, f.Reason)

	b := setup(t, 200, string(sample(t, "rates.json")))
	_, err = b.Quote(t.Context(), q)
	require.NoError(t, err)
	require.JSONEq(t, `{"originCountyCode":"PUDA","destinationCountyCode":"PROV","package":{"weight":"1.5","height":"1","width":"20","length":"31"},
		"customerCardNumber":"18578680","productType":3,"contentType":1,"declaredWorth":"0","deliveryTime":0}`, b.asked[0])
}

func TestChoose_TakesTheComunaAndNeverASectorOrARowWithoutCoverage(t *testing.T) {
	t.Parallel()
	var out struct {
		Areas []area `json:"coverageAreas"`
	}
	require.NoError(t, json.Unmarshal(sample(t, "coverage.json"), &out))
	got := choose(out.Areas, chile.Comuna{Name: "Viña del Mar", Region: chile.Valparaiso}, "R5")
	require.Equal(t, where{region: "R5", code: "VINA", county: "VIÑA DEL MAR", served: true}, got)
	require.False(t, choose(out.Areas, chile.Comuna{Name: "Juan Fernández", Region: chile.Valparaiso}, "R5").served)
	require.False(t, choose(out.Areas, chile.Comuna{Name: "Renca", Region: chile.Santiago}, "RM").served)
}

func TestBook_ReadsTheDetailNotTheEnvelope(t *testing.T) {
	t.Parallel()
	b := setup(t, 200, string(sample(t, "order.json")))
	a, err := b.Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeBooked, a.Outcome)
	require.Equal(t, "99726299584", a.Tracking)
	require.Equal(t, shipping.JPEG, a.Label.Format)
	var sent struct {
		Details []struct {
			Addresses []map[string]any `json:"addresses"`
		} `json:"details"`
	}
	require.NoError(t, json.Unmarshal([]byte(b.asked[0]), &sent))
	require.Equal(t, "0", sent.Details[0].Addresses[0]["streetNumber"])
	require.Equal(t, "12-B 2", sent.Details[0].Addresses[0]["supplement"])

	a, err = setup(t, 200, string(sample(t, "order_refused.json"))).Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.Answer{Outcome: shipping.OutcomeRefused, Code: "-53", Message: "TCC no habilitada para el servicio"}, a)

	// The reverse: content inside, and an envelope that is not.
	swapped := strings.Replace(string(sample(t, "order.json")), `"statusCode": 0, "statusDescription": "Operación`, `"statusCode": -1, "statusDescription": "Operación`, 1)
	a, err = setup(t, 400, swapped).Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeBooked, a.Outcome)
}

func TestBook_DoubtsAnAnswerThatIsNotAboutOurOrder(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":           `{}`,
		"no number":         `{"data":{"detail":[{"statusCode":0}]},"statusCode":0}`,
		"another reference": strings.Replace(string(sample(t, "order.json")), "27699451457ABCDE", "OTHER", 1),
		"not JSON":          `<html>`,
	} {
		a, err := setup(t, 200, body).Book(t.Context(), parcel(), shipping.Untried)
		require.NoError(t, err, name)
		require.Equal(t, shipping.OutcomeUnknown, a.Outcome, name)
	}
	a, err := setup(t, 400, `{"message":"The request is invalid."}`).Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeRefused, a.Outcome, "what is refused as it stands did nothing")
}

func TestTracksOf_KeepsTheCarriersWordsInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	tracks, read := tracksOf(sample(t, "tracking.json"))
	require.True(t, read)
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour+3, minute, 0, 0, time.UTC) }
	require.Equal(t, []shipping.Event{
		{At: at(4, 18, 0).Add(123 * time.Millisecond), State: shipping.InTransit, Text: "PIEZA RECIBIDA EN CHILEXPRESS", Where: "PUDAHUEL"},
		{At: at(4, 23, 59), State: shipping.Unmapped, Text: "DETENIDA POR ADUANA SANITARIA", Where: "PUDAHUEL"},
		{At: at(5, 8, 5), State: shipping.OutForDelivery, Code: "7", Text: "Pieza en ruta  al destinatario", Where: "PROVIDENCIA"},
		{At: at(5, 13, 10), State: shipping.Delivered, Code: "8", Text: "PIEZA ENTREGADA A DESTINATARIO", Where: "PROVIDENCIA"},
	}, tracks["99726299584"].Events)
}

func TestFailures_HaveTheirReasons(t *testing.T) {
	t.Parallel()
	var cases map[string]struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
		Reason shipping.Reason `json:"reason"`
		Code   string          `json:"code"`
	}
	require.NoError(t, json.Unmarshal(sample(t, "errors.json"), &cases))
	require.NotEmpty(t, cases)
	for name, c := range cases {
		_, err := setup(t, c.Status, string(c.Body)).Track(t.Context(), []string{"1"})
		var f *shipping.Failure
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, c.Reason, f.Reason, name)
		require.Equal(t, c.Code, f.Code, name)
	}
}

func FuzzAnswers_NeverPanicAndNeverOfferNothing(f *testing.F) {
	f.Add(sample(f, "rates.json"))
	f.Add(sample(f, "tracking.json"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		offers, _ := offersOf(raw, shipping.ToDoor)
		for _, o := range offers {
			require.Positive(t, o.Price)
		}
		tracks, _ := tracksOf(raw)
		for number, track := range tracks {
			require.Equal(t, number, track.Number)
		}
	})
}
