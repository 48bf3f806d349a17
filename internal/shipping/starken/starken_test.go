package starken

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
	return Config{Token: "hidden", RUT: "76192083-9", OriginAgency: 1411, CurrentAccount: "41966-8", CostCentre: "0"}
}

// bundle is an adapter and a server that answers what the test says, and the catalogues
// of the samples.
type bundle struct {
	*Carrier
	mu     sync.Mutex
	bodies []string
}

func setup(t *testing.T, status int, body string) *bundle {
	t.Helper()
	b := &bundle{}
	catalogues := map[string]string{"/agency/comuna": "comunas.json", "/agency/city": "cities.json", "/agency/agency": "agencies.json"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if name, is := catalogues[r.URL.Path]; is {
			_, _ = w.Write(sample(t, name))
			return
		}
		if err != nil {
			status = http.StatusBadRequest
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bodies = append(b.bodies, string(raw))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
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
		Reference: "R123456789ABCDEF", Number: "DEMO-1", Service: "1", Method: shipping.ToDoor, DeclaredValue: 50_000, Contents: "Libros",
		From:   shipping.Place{Comuna: "Santiago", Region: "RM"},
		To:     shipping.Place{Street: "Calle Larga", Number: "12", Unit: "2", Comuna: "San Pedro de la Paz", Region: "BI"},
		Sender: shipping.Contact{Name: "Tienda", Phone: "1"}, Receiver: shipping.Contact{Name: "Ana Belén Soto Fuentes", Phone: "2", Email: "ana@example.cl", RUT: "11.111.111-1"},
		Parcel: shipping.Parcel{WeightGrams: 250, LengthMM: 300, WidthMM: 200, HeightMM: 30},
	}
}

func TestNew_RefusesWhatCannotBeAnAccountAndNamesNoToken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"token":   func(c *Config) { c.Token = "hid den" },
		"rut":     func(c *Config) { c.RUT = "76192083-1" },
		"agency":  func(c *Config) { c.OriginAgency = 0 },
		"account": func(c *Config) { c.CurrentAccount = "41966" },
		"address": func(c *Config) { c.BaseURL = "https://user:hidden@gateway.starken.cl" },
	} {
		cfg := account()
		change(&cfg)
		_, err := New(cfg, httpclient.New(httpclient.Options{}))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hid", name)
	}
}

func TestOffersOf_ReadsTheAlternativesOfOneWayOfDeliveryOnTheAccount(t *testing.T) {
	t.Parallel()
	home, read := offersOf(sample(t, "quote.json"), shipping.ToDoor)
	require.True(t, read)
	require.Equal(t, []shipping.Offer{
		{Service: "0", Name: "Normal", Method: shipping.ToDoor, Price: 4390}, {Service: "1", Name: "Expreso", Method: shipping.ToDoor, Price: 6391},
	}, home)
	agency, _ := offersOf(sample(t, "quote.json"), shipping.ToPoint)
	require.Equal(t, []shipping.Offer{{Service: "1", Name: "Expreso", Method: shipping.ToPoint, Price: 5390}}, agency)
}

func TestChoose_MatchesByNameAndTheRegionOfTheCity(t *testing.T) {
	t.Parallel()
	var rows []comuna
	require.NoError(t, json.Unmarshal(sample(t, "comunas.json"), &rows))
	regions := map[string]chile.Region{"1": chile.Santiago, "40": chile.Biobio}
	for _, c := range []struct {
		name         string
		region       chile.Region
		comuna, city int64
	}{
		{"San Pedro de la Paz", chile.Biobio, 3128, 40}, {"San Pedro", chile.Santiago, 3129, 50}, {"Natales", chile.Magallanes, 3127, 90},
		{"Talca", chile.Maule, 0, 0}, // its city is told to lie in another region
	} {
		got := choose(rows, regions, chile.Comuna{Name: c.name, Region: c.region})
		require.Equal(t, c.comuna, got.comuna, c.name)
		require.Equal(t, c.city, got.city, c.name)
	}
}

func TestPoints_AreTheAgenciesThatHandOut(t *testing.T) {
	t.Parallel()
	points, err := setup(t, 200, "").Points(t.Context(), "Santiago", "RM")
	require.NoError(t, err)
	require.Len(t, points, 1)
	require.Equal(t, "2001", points[0].ID)
	require.InDelta(t, -33.44, *points[0].Lat, 0.001)
}

func TestBook_SendsADocumentForGoodsOfFiftyThousandPesos(t *testing.T) {
	t.Parallel()
	b := setup(t, 201, string(sample(t, "issuance.json")))
	a, err := b.Book(t.Context(), parcel(), shipping.Untried)
	require.NoError(t, err)
	require.Equal(t, shipping.Answer{Outcome: shipping.OutcomePending, CarrierID: "5000123", Price: 4390, Code: "ORIGEN"}, a)
	require.JSONEq(t, `{"tipo_entrega":{"codigo_dls":"2"},"tipo_pago":{"codigo_dls":"2"},"tipo_servicio":{"codigo_dls":"1"},"codigo_agencia_origen":1411,"cuenta_corriente":"41966",
		"centro_costo":"0","destinatario_rut":"11.111.111-1","destinatario_nombres":"Ana Belén","destinatario_paterno":"Soto","destinatario_materno":"Fuentes",
		"destinatario_telefono":"2","destinatario_email":"ana@example.cl","destinatario_contacto":"Ana Belén Soto Fuentes","destinatario_direccion":"Calle Larga","destinatario_numeracion":"12",
		"destinatario_departamento":"2","destinatario_codigo_comuna":3128,"contenido":"Libros","valor_declarado":50000,"kilos_total":0.25,"encargos":[
		{"tipo_encargo":"SOBRE","descripcion":"Libros R123456789ABCDEF","kilos":0.25,"alto":3,"ancho":20,"largo":30},
		{"tipo_encargo":"DOCUMENTO","tipo_documento":{"codigo_dls":"1686"},"descripcion":"Libros","numero_documento":"DEMO-1"}]}`, b.bodies[0])
	nobody := parcel()
	nobody.Receiver.RUT = ""
	_, err = b.Book(t.Context(), nobody, shipping.Untried)
	var f *shipping.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, "receiver_rut", f.Code)
}

func TestLookup_ReadsANumberInScientificNotation(t *testing.T) {
	t.Parallel()
	looked, err := setup(t, 200, string(sample(t, "issuance_done.json"))).Lookup(t.Context(), shipping.Booked{CarrierID: "5000123"})
	require.NoError(t, err)
	require.Equal(t, shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: "220063587", CarrierID: "5000123", Price: 4390}, looked.Answer)
	_, err = setup(t, 200, string(sample(t, "issuance_done.json"))).Lookup(t.Context(), shipping.Booked{CarrierID: "7"})
	require.Error(t, err, "another's issuance")
}

func TestLabelAddress_SendsTheTokenNowhereElse(t *testing.T) {
	t.Parallel()
	c := setup(t, 200, "").Carrier
	for text, want := range map[string]struct{ ours, bad bool }{
		c.root + "/etiquetas/1":              {ours: true},
		"https://etiquetas.starken.cl/1.pdf": {},
		"http://etiquetas.starken.cl/1.pdf":  {bad: true},
		"https://10.0.0.1/1.pdf":             {bad: true},
		"https://[::1]/1.pdf":                {bad: true},
		"https://localhost/1.pdf":            {bad: true},
		"https://metadata.internal/1.pdf":    {bad: true},
		"https://a:b@starken.cl/1.pdf":       {bad: true},
		"file:///etc/passwd":                 {bad: true},
	} {
		_, ours, err := c.labelAddress(text)
		require.Equal(t, want.bad, err != nil, text)
		require.Equal(t, want.ours, ours, text)
	}
}

func TestErrors_AreReadFromTheBody(t *testing.T) {
	t.Parallel()
	var cases map[string]struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
		Reason shipping.Reason `json:"reason"`
		Book   string          `json:"book"`
	}
	require.NoError(t, json.Unmarshal(sample(t, "errors.json"), &cases))
	for name, c := range cases {
		_, err := setup(t, c.Status, string(c.Body)).Track(t.Context(), []string{"1"})
		var f *shipping.Failure
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, c.Reason, f.Reason, name)
		a, err := setup(t, c.Status, string(c.Body)).Book(t.Context(), parcel(), shipping.Untried)
		if err != nil {
			require.ErrorAs(t, err, &f, name)
			require.Equal(t, c.Book, string(f.Reason), name)
			continue
		}
		require.Equal(t, c.Book, string(a.Outcome), name)
	}
}

func TestEventsOf_KeepsWordsThatNobodyKnows(t *testing.T) {
	t.Parallel()
	events, read := eventsOf(sample(t, "tracking.json"))
	require.True(t, read)
	require.Equal(t, []shipping.Event{
		{At: time.Date(2026, 11, 4, 12, 0, 0, 0, time.UTC), State: shipping.InTransit, Text: "En tránsito"},
		{At: time.Date(2026, 11, 4, 13, 0, 0, 0, time.UTC), State: shipping.Unmapped, Text: "CARGA REMATADA POR ABANDONO"},
		{At: time.Date(2026, 11, 5, 16, 10, 0, 0, time.UTC), State: shipping.Delivered, Text: "ENTREGADO", Where: "TALCA"},
	}, events)
}

func TestNameParts_TakesTheLastTwoWordsForSurnames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][3]string{
		"": {}, "Ana": {"Ana", "", ""}, "Ana Soto": {"Ana", "Soto", ""}, " Ana  Belén Soto Fuentes": {"Ana Belén", "Soto", "Fuentes"},
	} {
		names, father, mother := nameParts(name)
		require.Equal(t, want, [3]string{names, father, mother}, name)
	}
}

func FuzzAnswers_NeverPanicAndNeverOfferNothing(f *testing.F) {
	for _, name := range []string{"quote.json", "tracking.json", "issuance.json", "issuance_done.json"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, method := range []shipping.Method{shipping.ToDoor, shipping.ToPoint} {
			offers, _ := offersOf(raw, method)
			for _, o := range offers {
				require.Positive(t, o.Price)
			}
		}
		_, _ = eventsOf(raw)
		if i, read := issuanceOf(raw); read {
			a := i.answer()
			require.NotEmpty(t, a.CarrierID)
			require.Equal(t, a.Outcome == shipping.OutcomeBooked, a.Tracking != "")
		}
	})
}
