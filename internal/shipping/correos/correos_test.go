package correos

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return raw
}

func account() Config { return Config{User: "me", Password: "hidden", ClientCode: "123456"} }

// bundle is an adapter and a server that answers what the test says.
type bundle struct {
	*Carrier
	mu    sync.Mutex
	asked []asked
}

type asked struct {
	call, authorization, body string
}

func setup(t *testing.T, cfg Config, status int, body string) *bundle {
	t.Helper()
	b := &bundle{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			status = http.StatusBadRequest
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = append(b.asked, asked{r.Method + " " + r.URL.Path, r.Header.Get("Authorization"), string(raw)})
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	cfg.BaseURL = server.URL
	c, err := New(cfg, httpclient.New(httpclient.Options{}))
	require.NoError(t, err)
	b.Carrier = c
	return b
}

func parcel() shipping.Booking {
	return shipping.Booking{
		Reference: "R123456789ABCDEF", Number: "DEMO-1", Service: "24", Method: shipping.ToDoor, DeclaredValue: 1000, Contents: "Libros", Label: shipping.EPL,
		From:   shipping.Place{Street: "Camino", Number: "1", Comuna: "Viña del Mar", Region: "VS"},
		To:     shipping.Place{Street: "Calle Larga", Number: "12", Unit: "2", Comuna: "providencia", Region: "RM"},
		Sender: shipping.Contact{Name: "Tienda", Phone: "1"}, Receiver: shipping.Contact{Name: "Ana Soto", Phone: "+56 9 1234", Email: "ana@example.cl"},
		Parcel: shipping.Parcel{WeightGrams: 1500, LengthMM: 305, WidthMM: 200, HeightMM: 100},
	}
}

func TestNew_WantsOneWayToSignInAndNamesNoSecret(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"both":     func(c *Config) { c.Token = "hidden" },
		"neither":  func(c *Config) { c.User, c.Password = "", "" },
		"blanks":   func(c *Config) { c.Password = "hid den" },
		"no code":  func(c *Config) { c.ClientCode = "" },
		"service":  func(c *Config) { c.Services = []string{"024"} },
		"a path":   func(c *Config) { c.AdmissionPath = "//elsewhere.cl?x" },
		"base_url": func(c *Config) { c.BaseURL = "correos.cl" },
	} {
		cfg := account()
		change(&cfg)
		_, err := New(cfg, httpclient.New(httpclient.Options{}))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hid", name)
	}
}

func TestQuote_OffersTheServicesOfTheContractAndNothingForNothing(t *testing.T) {
	t.Parallel()
	offers, read := offersOf(sample(t, "rates.json"), []string{"24", "22", "23"})
	require.True(t, read)
	require.Equal(t, []shipping.Offer{{Service: "24", Name: "Paquete Express Domicilio", Method: shipping.ToDoor, Price: 5490}}, offers)

	b := setup(t, Config{Token: "T-1", ClientCode: "1"}, 200, string(sample(t, "rates.json")))
	_, err := b.Quote(t.Context(), shipping.QuoteRequest{From: parcel().From, To: parcel().To, Method: shipping.ToDoor, Parcel: parcel().Parcel, DeclaredValue: 1})
	require.NoError(t, err)
	require.Equal(t, "POST /tarifas", b.asked[0].call)
	require.Equal(t, "token T-1", b.asked[0].authorization)
	require.JSONEq(t, `{"codServicio":"","comunaRemitente":"VINA DEL MAR","comunaDestino":"PROVIDENCIA","tipoPortes":"P","bultos":1,
		"kilos":1.5,"volumen":0.0062,"importeReembolso":0,"valorAsegurado":0}`, b.asked[0].body)
}

func TestVolume_IsInCubicMetresRoundedUp(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]shipping.Parcel{
		"0.00600": {LengthMM: 300, WidthMM: 200, HeightMM: 100}, "0.00001": {}, "1.00000": {LengthMM: 1000, WidthMM: 1000, HeightMM: 1000}, "0.00002": {LengthMM: 110, WidthMM: 10, HeightMM: 10},
	} {
		require.Equal(t, want, volume(p))
	}
}

func TestBook_AdmitsOneParcel(t *testing.T) {
	t.Parallel()
	b := setup(t, account(), 200, string(sample(t, "admission.json")))
	a, err := b.Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.OutcomeBooked, a.Outcome)
	require.Equal(t, "880000108638", a.Tracking)
	require.Equal(t, shipping.PDF, a.Label.Format)
	require.Equal(t, "POST /generar-etiquetas", b.asked[0].call)
	require.Equal(t, "basic bWU6aGlkZGVu", b.asked[0].authorization)
	require.JSONEq(t, `{"nroDTE":"DEMO-1","codCliente":"123456","posicionInicial":0,"formatoEtiqueta":"EPL","modo":"JSON","data":[{
		"codAdmision":"R123456789ABCDEF","codServicio":"24","referencia":"R123456789ABCDEF","tipoPortes":"P","bultos":1,"kilos":1.5,"volumen":0.0062,"importeReembolso":0,
		"valorDeclarado":1000,"contenido":"Libros",
		"remitente":{"nombre":"Tienda","codPais":"056","comuna":"VINA DEL MAR","direccion":"Camino 1","rut":"","contacto":"Tienda","telefono":"1","email":""},
		"destinatario":{"nombre":"Ana Soto","codPais":"056","comuna":"PROVIDENCIA","direccion":"Calle Larga 12 2","rut":"","contacto":"Ana Soto","telefono":"5691234","email":"ana@example.cl"}}]}`, b.asked[0].body)
}

func TestAdmitted_TakesNumberAndLabelWhereverTheyStandAndNeverAnothersNumber(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]shipping.Answer{
		`{"numeroEnvio":880000108638}`:                                         {Outcome: shipping.OutcomeBooked, Tracking: "880000108638"},
		`[{"numeroEnvio":"880000108638","codAdmision":"R"}]`:                   {Outcome: shipping.OutcomeBooked, Tracking: "880000108638"},
		`{"data":[{"numeroEnvio":"1","codAdmision":"S"},{"numeroEnvio":"2"}]}`: {Outcome: shipping.OutcomeBooked, Tracking: "2"},
		`{"data":[{"numeroEnvio":"1","codAdmision":"S"}]}`:                     {Outcome: shipping.OutcomeUnknown, Code: "unreadable_answer"},
		`{"data":[]}`: {Outcome: shipping.OutcomeUnknown, Code: "unreadable_answer"},
		`%PDF`:        {Outcome: shipping.OutcomeUnknown, Code: "unreadable_answer"},
	} {
		got := admitted([]byte(raw), "R")
		got.Message = ""
		require.Equal(t, want, got, raw)
	}
	a := admitted([]byte(`{"numeroEnvio":"1","etiqueta":{"pdf":"JVBERi0xLjQK"}}`), "R")
	require.Equal(t, shipping.PDF, a.Label.Format)
}

func TestErrors_HaveTheClassOfTheirCodeForAllComesWithOneStatus(t *testing.T) {
	t.Parallel()
	var cases map[string]struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
		Reason shipping.Reason `json:"reason"`
		Book   string          `json:"book"`
	}
	require.NoError(t, json.Unmarshal(sample(t, "errors.json"), &cases))
	for name, c := range cases {
		_, err := setup(t, account(), c.Status, string(c.Body)).Track(t.Context(), []string{"1"})
		var f *shipping.Failure
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, c.Reason, f.Reason, name)
		a, err := setup(t, account(), c.Status, string(c.Body)).Book(t.Context(), parcel(), shipping.Untried)
		if err != nil {
			require.ErrorAs(t, err, &f, name)
			require.Equal(t, c.Book, string(f.Reason), name)
			continue
		}
		require.Equal(t, c.Book, string(a.Outcome), name)
	}
}

func TestTrack_ReadsBothWaysOfWritingADateAndTellsOfAReturnByItsNumber(t *testing.T) {
	t.Parallel()
	var h history
	require.NoError(t, json.Unmarshal(sample(t, "tracking.json"), &h))
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) }
	require.Equal(t, []shipping.Event{
		{At: at(3, 20, 0), State: shipping.InTransit, Code: "003", Text: "RECIBIDO", Where: "CTP"},
		{At: at(4, 21, 0), State: shipping.Unmapped, Code: "099", Text: "EN ADUANA", Where: "CTP"},
		{At: at(5, 12, 0), State: shipping.DeliveryFailed, Code: "011", Text: "NO ENTREGADO", Where: "PROVIDENCIA"},
		{At: at(5, 16, 10), State: shipping.Delivered, Code: "006", Text: "ENTREGADO", Where: "PROVIDENCIA"},
		{At: at(5, 16, 10), State: shipping.Returning, Code: "devolucion", Text: "devolución 880000108999"},
	}, h.track().Events)
	require.Equal(t, shipping.Voided, scan{Text: "Envío anulado"}.state())
	require.Equal(t, shipping.Unmapped, scan{Text: "No anulado"}.state())
	require.Equal(t, shipping.Unmapped, scan{Text: "ENTREGADO"}.state(), "a text without its code says nothing")
}

func TestLookup_DoesNotTakeAnothersParcelForOurs(t *testing.T) {
	t.Parallel()
	b := setup(t, account(), 200, string(sample(t, "tracking.json")))
	_, err := b.Lookup(t.Context(), shipping.Booked{Reference: "SOMEBODYELSES123"})
	require.Error(t, err)
	looked, err := b.Lookup(t.Context(), shipping.Booked{Reference: "R123456789ABCDEF"})
	require.NoError(t, err)
	require.Equal(t, "880000108638", looked.Tracking)
	require.Equal(t, "GET /trazabilidad/R123456789ABCDEF", b.asked[1].call)
}

func FuzzAnswers_NeverPanicAndNeverOfferNothing(f *testing.F) {
	for _, name := range []string{"rates.json", "tracking.json", "admission.json"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		offers, _ := offersOf(raw, []string{"24"})
		for _, o := range offers {
			require.Positive(t, o.Price)
		}
		if a := admitted(raw, "R"); a.Outcome == shipping.OutcomeBooked {
			require.NotEmpty(t, a.Tracking)
		}
		var h history
		if json.Unmarshal(raw, &h) == nil {
			require.Equal(t, string(h.Number), h.track().Number)
		}
	})
}
