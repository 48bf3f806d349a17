package sandbox

import (
	"bytes"
	"encoding/json"
	"image/jpeg"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hasFields demands the documented fields of one kind of object.
func hasFields(t *testing.T, kind string, object any) {
	t.Helper()
	var all map[string][]string
	readJSON(t, "carriers_fields.json", &all)
	require.NotEmpty(t, all[kind], kind)
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(raw, &got), "%s: %s", kind, raw)
	for _, field := range all[kind] {
		require.Contains(t, got, field, kind)
	}
}

// at walks into an answer by names and positions.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, is := v.(map[string]any)
			require.True(t, is, "%v has no %s", v, step)
			v = object[step]
		case int:
			list, is := v.([]any)
			require.True(t, is && len(list) > step, "%v has no %d", v, step)
			v = list[step]
		}
	}
	return v
}

// carrierCall calls a carrier's API and reads the answer, whatever its shape.
func (b *bundle) carrierCall(header http.Header, method, path, body string) (int, any) {
	b.t.Helper()
	got := b.do(method, path, header, body)
	require.NoError(b.t, got.err)
	var v any
	require.NoError(b.t, json.Unmarshal(got.raw, &v), "%s", got.raw)
	return got.status, v
}

func cxKey(product string) http.Header {
	return http.Header{"Ocp-Apim-Subscription-Key": {"sandbox-" + product + "-demo"}, "Content-Type": {"application/json"}}
}

const cxOrder = `{"header":{"certificateNumber":0,"customerCardNumber":"18578680","countyOfOriginCoverageCode":"PUDA","labelType":2,"marketplaceRut":"96756430","sellerRut":"DEFAULT"},
"details":[{"addresses":[
 {"addressId":0,"countyCoverageCode":"PROV","streetName":"SUECIA","streetNumber":"1234","supplement":"","addressType":"DEST","deliveryOnCommercialOffice":false,"commercialOfficeId":"","observation":""},
 {"addressId":0,"countyCoverageCode":"PUDA","streetName":"CAMINO","streetNumber":"1","supplement":"","addressType":"DEV","deliveryOnCommercialOffice":false,"commercialOfficeId":"","observation":""}],
 "contacts":[{"name":"TIENDA","phoneNumber":"1","mail":"a@b.cl","contactType":"R"},{"name":"ANA","phoneNumber":"2","mail":"c@d.cl","contactType":"D"}],
 "packages":[{"weight":"1","height":"10","width":"10","length":"10","serviceDeliveryCode":"3","productCode":"3","deliveryReference":"R1","groupReference":"G1","declaredValue":"1000",
  "declaredContent":"5","descriptionContent":"","extendedCoverageAreaIndicator":false,"receivableAmountInDelivery":"0"}]}]}`

func TestChilexpress_AnswersHaveTheDocumentedFieldsAndTheirChangingTypes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, got := b.carrierCall(cxKey("coverage"), "GET", "/chilexpress/georeference/api/v1.0/coverage-areas?RegionCode=R5&type=0", "")
	hasFields(t, "chilexpress coverage area", at(t, got, "coverageAreas", 0))
	_, got = b.carrierCall(cxKey("rating"), "POST", "/chilexpress/rating/api/v1.0/rates/courier", `{"originCountyCode":"PUDA","destinationCountyCode":"PROV",
		"package":{"weight":"1","height":"1","width":"1","length":"1"},"productType":3,"contentType":1,"declaredWorth":"1000","deliveryTime":0}`)
	hasFields(t, "chilexpress option", at(t, got, "data", "courierServiceOptions", 0))
	require.IsType(t, "", at(t, got, "data", "courierServiceOptions", 0, "serviceValue"), "prices are text")

	status, got := b.carrierCall(cxKey("shipping"), "POST", "/chilexpress/transport-orders/api/v1.0/transport-orders", cxOrder)
	require.Equal(t, 200, status)
	detail := at(t, got, "data", "detail", 0)
	hasFields(t, "chilexpress detail", detail)
	require.IsType(t, 0.0, at(t, detail, "transportOrderNumber"), "a number here")
	tracked, got := b.carrierCall(cxKey("shipping"), "POST", "/chilexpress/transport-orders/api/v1.0/tracking", `{"transportOrderNumber":0,"reference":"R1","rut":96756430,"showTrackingEvents":1}`)
	require.Equal(t, 200, tracked)
	hasFields(t, "chilexpress order data", at(t, got, "data", "transportOrderData"))
	require.IsType(t, "", at(t, got, "data", "transportOrderData", "transportOrderNumber"), "and a text there")
	hasFields(t, "chilexpress event", at(t, got, "data", "trackingEvents", 0))
	require.Len(t, b.parcelLabels(), 1)
}

func TestChilexpress_AKeyIsForOneProductAndAMisspelledFieldIsNoOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, _ := b.carrierCall(cxKey("rating"), "POST", "/chilexpress/transport-orders/api/v1.0/transport-orders", cxOrder)
	require.Equal(t, 401, status)
	status, got := b.carrierCall(cxKey("shipping"), "POST", "/chilexpress/transport-orders/api/v1.0/transport-orders", `{"heder":{}}`)
	require.Equal(t, 400, status)
	require.EqualValues(t, 90, at(t, got, "statusCode"))
	require.Empty(t, b.parcelLabels())
}

func TestBluexpress_AnswersHaveTheFieldsThatIntegratorsRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, got := b.carrierCall(http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "POST", "/bluexpress/oauth2/token",
		"grant_type=client_credentials&client_id=sandbox-client-demo&client_secret=sandbox-secret-demo")
	bearer := at(t, got, "access_token").(string)
	header := http.Header{"Authorization": {"Bearer " + bearer}, "X-Api-Key": {"sandbox-key-demo"}, "Bx-Token": {"sandbox-token-demo"}}
	_, got = b.carrierCall(header, "POST", "/bluexpress/eplin/external/ecommerce/bff/v1/legacy-pricing", `{"from":{"country":"CL","district":"PUD"},"to":{"country":"CL","state":13,"district":"PRO"},
		"serviceType":"EX","datosProducto":{"producto":"P","familiaProducto":"PAQU","bultos":[{"largo":20,"ancho":15,"alto":10,"pesoFisico":1,"cantidad":1}]}}`)
	hasFields(t, "bluexpress price", at(t, got, "data"))
	x := b.carry(bluexpressName, "R1")
	b.own(http.MethodPost, "/carriers/"+x.Tracking+"/delivered", "")
	_, got = b.carrierCall(header, "GET", "/bluexpress/cmkin/bff/tracking-pull-corp/v1/"+x.Tracking, "")
	hasFields(t, "bluexpress order", got)
	hasFields(t, "bluexpress event", at(t, got, "packages", 0, "trackings", 0))
	require.Equal(t, "PR", at(t, got, "state"), "whatever happens")

	b.clock.advance(2 * time.Hour)
	status, _ := b.carrierCall(header, "GET", "/bluexpress/cmkin/bff/tracking-pull-corp/v1/"+x.Tracking, "")
	require.Equal(t, 401, status, "a token lives for an hour")
}

func TestCorreos_AnswersHaveTheDocumentedFieldsAndBothDates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	header := http.Header{"Authorization": {"token sandbox-token-demo"}, "Content-Type": {"application/json"}}
	_, got := b.carrierCall(header, "POST", "/correos/tarifas", `{"codServicio":"","comunaRemitente":"SANTIAGO","comunaDestino":"VIÑA DEL MAR","tipoPortes":"P","bultos":1,"kilos":1,"volumen":0.001,"importeReembolso":0,"valorAsegurado":0}`)
	hasFields(t, "correos rate", at(t, got, 0))
	x := b.carry(correosName, "R1")
	for _, status := range []string{"handed_over", "delivered"} {
		b.own(http.MethodPost, "/carriers/"+x.Tracking+"/"+status, "")
	}
	_, got = b.carrierCall(header, "GET", "/correos/trazabilidad/R1", "")
	hasFields(t, "correos parcel", got)
	hasFields(t, "correos event", at(t, got, "historial", 0))
	require.Equal(t, "006", at(t, got, "historial", 0, "estadoBase"), "the newest first")
	require.Regexp(t, `^\d{2}-\d{2}-\d{4}T`, at(t, got, "historial", 0, "fecha"))
	require.Regexp(t, `^\d{4}-\d{2}-\d{2}T`, at(t, got, "historial", 1, "fecha"))
}

func TestStarken_AnswersHaveTheFieldsOfTheModulesAndTheNumberComesLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	header := http.Header{"Authorization": {"Bearer sandbox-bearer-demo"}, "Content-Type": {"application/json"}}
	_, got := b.carrierCall(header, "GET", "/starken/agency/comuna", "")
	hasFields(t, "starken comuna", at(t, got, 0))
	comuna, err := json.Marshal(at(t, got, 0, "code_dls"))
	require.NoError(t, err)
	city, err := json.Marshal(at(t, got, 0, "city", "code_dls"))
	require.NoError(t, err)
	status, got := b.carrierCall(header, "POST", "/starken/quote/cotizador-multiple", `{"origen":1,"destino":`+string(city)+`,"run":"76192083-9","bulto":"BULTO","alto":1,"ancho":1,"largo":1,"kilos":1,"todas_alternativas":true,"ctacte":"1","ctacte_dv":"9"}`)
	require.Equal(t, 201, status)
	hasFields(t, "starken alternative", at(t, got, "alternativas", 0))
	_, got = b.carrierCall(header, "POST", "/starken/emision/emision", `{"tipo_entrega":{"codigo_dls":"2"},"tipo_pago":{"codigo_dls":"2"},"tipo_servicio":{"codigo_dls":"0"},"codigo_agencia_origen":1411,
		"cuenta_corriente":"1","destinatario_rut":"11111111-1","destinatario_nombres":"ANA","destinatario_telefono":"1","destinatario_codigo_comuna":`+string(comuna)+`,"contenido":"X","valor_declarado":1000,
		"kilos_total":1,"encargos":[{"tipo_encargo":"BULTO","descripcion":"X R123456789ABCDEF","kilos":1,"alto":1,"ancho":1,"largo":1}]}`)
	hasFields(t, "starken issuance", got)
	require.Zero(t, at(t, got, "orden_flete"))
	require.Equal(t, "R123456789ABCDEF", b.parcelLabels()[0].Reference)
	require.Eventually(t, func() bool {
		b.clock.advance(time.Second)
		return b.parcelLabels()[0].Tracking != ""
	}, 10*time.Second, 20*time.Millisecond, "the clockwork gives the number, though nobody asks")
	x := b.parcelLabels()[0]
	b.own(http.MethodPost, "/carriers/"+x.Tracking+"/in_transit", "")
	_, got = b.carrierCall(header, "GET", "/starken/tracking/orden-flete/of/"+x.Tracking, "")
	hasFields(t, "starken tracking", got)
	hasFields(t, "starken event", at(t, got, "history", 0))
	status, got = b.carrierCall(header, "GET", "/starken/tracking/orden-flete/of/1", "")
	require.Equal(t, 200, status, "an error inside")
	require.EqualValues(t, 404, at(t, got, "status"))
}

func TestCarrierLabel_IsOfItsKind(t *testing.T) {
	t.Parallel()
	x := parcel{Tracking: "76301234567", To: "Viña del Mar"}
	_, err := jpeg.Decode(bytes.NewReader(carrierLabel(x, "jpeg")))
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(carrierLabel(x, "pdf"), []byte("%PDF-1.4")))
	require.True(t, bytes.HasPrefix(carrierLabel(x, "zpl"), []byte("^XA")))
	require.Contains(t, string(carrierLabel(x, "epl")), x.Tracking)
}
