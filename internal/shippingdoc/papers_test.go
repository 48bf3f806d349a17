package shippingdoc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/paper/papertest"
	"justlogistics/internal/shipping"
)

func printed(t require.TestingT) Print {
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	return Print{At: time.Date(2026, 11, 30, 2, 15, 0, 0, time.UTC), Zone: zone}
}

func TestSlip_ShowsEveryLineWithoutPrices(t *testing.T) {
	t.Parallel()
	for lines, pageCount := range map[int]int{1: 1, 300: 11} {
		slip := Slip{Shop: "Tienda Ñandú", Warehouse: "Bodega Ñuñoa", Order: "ACME-000123", Shipment: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Recipient: strings.Repeat("María José Núñez ", 12),
			Address: []string{"Av. Irarrázaval 1234", "Depto. 56", "Ñuñoa, RM", "CL", "+56961234567"}, Parcels: []SlipParcel{{Reference: "ABCDEFGHIJ234567", Grams: 1250}}}
		var want []string
		for i := range lines {
			slip.Lines = append(slip.Lines, SlipLine{SKU: fmt.Sprintf("SKU-%04d", i), Name: "Colchón niño " + strings.Repeat("muy largo ", i%30), Quantity: 1})
			want = append(want, slip.Lines[i].SKU)
		}
		slip.Lines[lines-1].Follows, slip.Lines[lines-1].OutOfStock = 2, 1
		pdf, err := slip.PDF(printed(t))
		require.NoError(t, err)
		again, err := slip.PDF(printed(t))
		require.NoError(t, err)
		require.Equal(t, pdf, again)
		pages := papertest.Read(t, pdf)
		require.Len(t, pages, pageCount)
		require.Equal(t, "ACME-000123", pages[0].Code128(t, 9, 28))
		require.Contains(t, pages[0].Texts, "Ñuñoa, RM")
		require.Contains(t, pages[0].All(), "1,250 kg")
		var got []string
		for i, p := range pages {
			require.Contains(t, p.Texts, fmt.Sprintf("Página %d de %d", i+1, pageCount))
			for _, text := range p.Texts {
				if strings.HasPrefix(text, "SKU-") {
					got = append(got, text)
				}
			}
		}
		require.Equal(t, want, got)
		require.Contains(t, pages[pageCount-1].Texts, "2 en otro envío, 1 sin stock")
	}
}

func TestManifest_HasItsTotalsAndASignatureOnTheLastPage(t *testing.T) {
	t.Parallel()
	for _, parcels := range []int{0, 1, 25, 26, 27, 28, 29, 30, 300} {
		m := Manifest{Shop: "Tienda", WarehouseName: "Bodega", Carrier: shipping.Starken, Date: "2026-09-06", Status: shipping.HandedOver}
		for i := range parcels {
			m.Data = append(m.Data, Loaded{ShipmentID: fmt.Sprint(i / 2), OrderNumber: fmt.Sprintf("N-%05d", i/2), Position: i%2 + 1, Of: 2, Tracking: fmt.Sprintf("T%09d", i), Reference: "ABCDEFGHIJ234567", Comuna: "Ñuñoa", WeightGrams: 1001})
		}
		pdf, err := m.PDF(printed(t))
		require.NoError(t, err)
		pages := papertest.Read(t, pdf)
		rows := 0
		for i, p := range pages {
			require.Contains(t, p.Texts, "Seguimiento", "every page has the table's head")
			require.Contains(t, p.Texts, fmt.Sprintf("Página %d de %d", i+1, len(pages)))
			require.Equal(t, i == len(pages)-1, strings.Contains(p.All(), "Nombre del conductor"))
			for j, text := range p.Texts {
				require.Less(t, p.Places[j].Y, 296.0, text)
				if strings.HasPrefix(text, "T0") {
					rows++
				}
			}
		}
		require.Equal(t, parcels, rows)
		require.Contains(t, pages[len(pages)-1].All(), fmt.Sprintf("Total:   Bultos: %d   |   Envíos: %d   |   Peso: %d,%03d kg", parcels, (parcels+1)/2, parcels*1001/1000, parcels*1001%1000))
	}
}

func TestParcelLabels_HoldTheReferenceTwice(t *testing.T) {
	t.Parallel()
	l := ParcelLabel{Shop: "Tienda Ñandú", Warehouse: "Bodega", Order: "ACME-000123", Carrier: shipping.Manual, Recipient: strings.Repeat("María Núñez ", 8), Address: []string{strings.Repeat("Pasaje Los Ñirres ", 12), "a", "b", "c", "+569"},
		Reference: "ABCDEFGHIJ234567", Tracking: "MOTO-7", Position: 2, Of: 3, Grams: 640}
	pdf, err := ParcelLabels([]ParcelLabel{l}, printed(t))
	require.NoError(t, err)
	p := papertest.Read(t, pdf)[0]
	require.InDelta(t, 100, p.Width, 0.1)
	require.InDelta(t, 150, p.Height, 0.1)
	require.Equal(t, l.Reference, p.QR(t, 67, 107))
	require.Equal(t, l.Reference, p.Code128(t, 112, 136))
	for _, text := range []string{"ACME-000123", "2 de 3", "0,640 kg", "Despacho propio", "Seguimiento: MOTO-7", "Tienda Ñandú"} {
		require.Contains(t, p.Texts, text)
	}
	require.NotContains(t, p.All(), "…", "an address is not cut")
	l.Position = 4
	_, err = ParcelLabels([]ParcelLabel{l}, printed(t))
	require.Error(t, err)
}
