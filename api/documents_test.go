package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/paper/papertest"
	"justlogistics/internal/tenant"
)

// paper fetches a PDF, as a browser would show it and nobody would keep it.
func (b *bundle) paper(path string) []papertest.Page {
	b.t.Helper()
	a := b.do("GET", path, nil, b.ana()...)
	require.Equal(b.t, 200, a.status, a.body)
	require.Equal(b.t, "application/pdf", a.header.Get("Content-Type"))
	require.Equal(b.t, "no-store", a.header.Get("Cache-Control"))
	require.Regexp(b.t, `^inline; filename=[A-Za-z0-9_.-]+\.pdf$`, a.header.Get("Content-Disposition"))
	return papertest.Read(b.t, []byte(a.body))
}

func TestDocuments_FollowAShipmentOutOfTheDoor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orderID, path := b.picked()
	number := b.do("GET", "/v1/orders/"+orderID, nil).json()["number"].(string)

	slip := b.paper(path + "/packing-slip.pdf")
	require.Len(t, slip, 1)
	require.Contains(t, slip[0].Texts, "Polera roja S")
	require.Equal(t, number, slip[0].Code128(t, 9, 28))
	require.NotContains(t, slip[0].All(), "12.990")
	require.Equal(t, "wrong_status", b.do("GET", path+"/labels.pdf", nil, b.ana()...).code())

	require.Equal(t, 200, b.do("POST", path+"/pack", parcel, b.ana()...).status)
	require.Equal(t, 200, b.do("POST", path+"/label", map[string]any{"carrier": "manual", "tracking": []string{"MOTO-7"}}, b.ana()...).status)
	s := b.do("GET", path, nil, b.ana()...).json()
	reference := s["parcels"].([]any)[0].(map[string]any)["reference"].(string)
	labels := b.paper(path + "/labels.pdf?language=en")
	require.Len(t, labels, 1)
	require.Equal(t, reference, labels[0].QR(t, 67, 107))
	require.Contains(t, labels[0].All(), "Own delivery")

	waiting := b.do("GET", "/v1/manifests?warehouse=SCL-1&carrier=manual&status=labelled", nil, b.ana()...).json()
	require.Equal(t, map[string]any{"parcels": 1., "shipments": 1., "weight_grams": 640.}, waiting["totals"])
	require.Nil(t, waiting["data"].([]any)[0].(map[string]any)["handed_over_at"])
	require.Equal(t, 200, b.do("POST", path+"/handover", nil, b.ana()...).status)
	require.Empty(t, b.do("GET", "/v1/manifests?warehouse=SCL-1&carrier=manual&status=labelled", nil, b.ana()...).json()["data"])

	left := b.do("GET", "/v1/manifests?warehouse=SCL-1&carrier=manual", nil, b.ana()...).json()
	require.Equal(t, "handed_over", left["status"])
	require.Equal(t, "MOTO-7", left["data"].([]any)[0].(map[string]any)["tracking"])
	require.Equal(t, "Providencia", left["data"].([]any)[0].(map[string]any)["comuna"])
	signed := b.paper("/v1/manifests.pdf?warehouse=SCL-1&carrier=manual&language=en&date=" + left["date"].(string))
	require.Contains(t, signed[0].Texts, number)
	require.Contains(t, signed[0].Texts, "Driver's name")
	require.Contains(t, b.paper("/v1/manifests.pdf?warehouse=CCP-1&carrier=manual")[0].Texts, "No hay bultos")
	require.Contains(t, b.paper(path + "/packing-slip.pdf?language=en")[0].Texts, "Units in this shipment: 2")
}

func TestDocuments_RefuseWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.picked()
	require.Equal(t, 200, b.do("POST", path+"/pack", parcel, b.ana()...).status)
	require.Equal(t, 200, b.do("POST", path+"/label", bodyOf["label"], b.ana()...).status)
	today := time.Now().Format(time.DateOnly)
	query := "?warehouse=SCL-1&carrier=manual&date=" + today
	for _, what := range []string{path + "/packing-slip.pdf", path + "/labels.pdf"} {
		require.Equal(t, 404, b.do("GET", what, nil, as(b.otherKey)...).status, what)
		require.Equal(t, map[string]string{"language": "invalid"}, b.do("GET", what+"?language=fr", nil, b.ana()...).fields())
	}
	for _, what := range []string{path + "/packing-slip.pdf", path + "/labels.pdf", "/v1/manifests" + query, "/v1/manifests.pdf" + query} {
		for _, scope := range []tenant.Scope{tenant.Support, tenant.Storefront} {
			require.Equal(t, 403, b.do("GET", what, nil, as(b.keys[scope])...).status, "%s: an address is for those who ship", what)
		}
		require.Equal(t, 401, b.do("GET", what, nil, "Authorization", "").status, what)
	}
	for _, what := range []string{"/v1/manifests", "/v1/manifests.pdf"} {
		require.Equal(t, map[string]string{"warehouse": "unknown_warehouse"}, b.do("GET", what+query, nil, as(b.otherKey)...).fields(), "another tenant's warehouse")
		require.Equal(t, map[string]string{"warehouse": "required", "carrier": "required"}, b.do("GET", what, nil, b.ana()...).fields())
		require.Equal(t, map[string]string{"carrier": "invalid", "date": "invalid", "status": "invalid"}, b.do("GET", what+"?warehouse=SCL-1&carrier=pigeon&date=2026-02-30&status=lost", nil, b.ana()...).fields())
		for _, day := range []string{"today", "2026-13-01", "20261130", "2026-11-30T00:00:00Z"} {
			a := b.do("GET", what+"?warehouse=SCL-1&carrier=manual&date="+day, nil, b.ana()...)
			require.Equal(t, 422, a.status, day)
			require.Equal(t, map[string]string{"date": "invalid"}, a.fields(), day)
		}
	}
	b.sql(`UPDATE shipments SET carrier = 'starken' WHERE id = $1`, strings.TrimPrefix(path, "/v1/shipments/"))
	require.Equal(t, "no_label", b.do("GET", path+"/labels.pdf", nil, b.ana()...).code())
}

// labelled makes a picked shipment Starken's, whose label is as it is here.
func (b *bundle) labelled(path string, format, data string) {
	b.t.Helper()
	shipmentID := strings.TrimPrefix(path, "/v1/shipments/")
	b.sql(`UPDATE shipments SET carrier = 'starken' WHERE id = $1`, shipmentID)
	b.sql(`INSERT INTO bookings (tenant, id, shipment_id, parcel_id, carrier, service, reference, day, status, tracking, tried_at, booked_at)
	  SELECT tenant, '01ARZ3NDEKTSV4RRFFQ69G5FAV', shipment_id, id, 'starken', '0', reference, now(), 'booked', tracking, now(), now() FROM parcels WHERE shipment_id = $1`, shipmentID)
	b.sql(`INSERT INTO carrier_labels (tenant, booking_id, format, data) SELECT tenant, id, $1, $2::bytea FROM bookings`, format, []byte(data))
}

func TestDocuments_APrintersLabelIsGivenAsItCame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, path := b.picked()
	require.Equal(t, 200, b.do("POST", path+"/pack", parcel, b.ana()...).status)
	require.Equal(t, "wrong_status", b.do("GET", path+"/labels.raw", nil, b.ana()...).code())
	require.Equal(t, 200, b.do("POST", path+"/label", bodyOf["label"], b.ana()...).status)
	require.Equal(t, "no_label", b.do("GET", path+"/labels.raw", nil, b.ana()...).code())
	b.labelled(path, "zpl", "^XA^CI28^FD\xc3\x91u\xc3\xb1oa^XZ")
	require.Equal(t, "printer_label", b.do("GET", path+"/labels.pdf", nil, b.ana()...).code())
	for _, query := range []string{"", "?parcel=1"} {
		a := b.do("GET", path+"/labels.raw"+query, nil, b.ana()...)
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, "^XA^CI28^FD\xc3\x91u\xc3\xb1oa^XZ", a.body)
		require.Equal(t, "application/zpl", a.header.Get("Content-Type"))
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		require.Regexp(t, `^inline; filename=labels-[A-Z0-9]+\.zpl$`, a.header.Get("Content-Disposition"))
	}
	for _, wrong := range []string{"0", "-1", "51", "one", "9999999999999"} {
		require.Equal(t, map[string]string{"parcel": "out_of_range"}, b.do("GET", path+"/labels.raw?parcel="+wrong, nil, b.ana()...).fields(), wrong)
	}
	require.Equal(t, "no_label", b.do("GET", path+"/labels.raw?parcel=2", nil, b.ana()...).code())
	for format, contentType := range map[string]string{"epl": "application/epl", "pdf": "application/pdf", "png": "image/png", "jpeg": "image/jpeg"} {
		b.sql(`UPDATE carrier_labels SET format = $1`, format)
		require.Equal(t, contentType, b.do("GET", path+"/labels.raw", nil, b.ana()...).header.Get("Content-Type"))
	}
	require.Equal(t, 404, b.do("GET", path+"/labels.raw", nil, as(b.otherKey)...).status)
	for _, scope := range []tenant.Scope{tenant.Support, tenant.Storefront} {
		require.Equal(t, 403, b.do("GET", path+"/labels.raw", nil, as(b.keys[scope])...).status, "an address is for those who ship")
	}
}
