package shippingdoc_test

import (
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/reconcile"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shippingdoc"
	"justlogistics/internal/shoptest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestLoad_IsCutByTheClockOfSantiago(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	// Clocks went from 24:00 of 5 September to 01:00, and on 4 April from 24:00 back to 23:00.
	moments := []string{"2026-09-05T04:00:00Z", "2026-09-06T03:59:59Z", "2026-09-06T04:00:00Z", "2026-09-07T02:59:59Z", "2026-09-07T03:00:00Z", "2026-04-05T02:30:00Z", "2026-04-05T03:30:00Z", "2026-04-05T04:00:00Z"}
	for i, at := range moments {
		orderID, shipmentID := id.New(), id.New()
		s.Exec(t, `INSERT INTO orders (tenant, id, number, status, channel, currency, shipping, hold_id, items_total, discount_total, shipping_total, tax_total, total) VALUES ($1,$2::text,$2::text,'shipped','web','CLP','{"comuna":"Ñuñoa"}',$2::text,0,0,0,0,0)`, shoptest.Tenant, orderID)
		s.Exec(t, `INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines, carrier, packed_at, labelled_at, handed_over_at, ended_at) VALUES ($1,$2,$3,'SCL-1','delivered','[]','manual',$4::timestamptz,$4::timestamptz,$4::timestamptz,$4::timestamptz)`, shoptest.Tenant, shipmentID, orderID, at)
		s.Exec(t, `INSERT INTO parcels (tenant, id, shipment_id, position, reference, weight_grams, tracking, packed_by) VALUES ($1,$2,$3,1,$4,1500,$5,'ana')`, shoptest.Tenant, id.New(), shipmentID, "ABCDEFGHIJ23456"+string(rune('0'+i)), at)
	}
	for date, want := range map[string][]string{"2026-09-05": moments[0:2], "2026-09-06": moments[2:4], "2026-09-07": moments[4:5], "2026-04-04": moments[5:7], "2026-04-05": moments[7:8], "2026-04-06": nil} {
		day, err := reconcile.DayIn(date, zone)
		require.NoError(t, err)
		for _, w := range []string{"SCL-1", "CCP-1"} {
			s.Do(t, func(tx pgx.Tx) error {
				m, err := shippingdoc.Load(t.Context(), tx, shoptest.Tenant, shippingdoc.Loads{Warehouse: w, Carrier: shipping.Manual, Date: date, From: day.From, To: day.To, Status: shipping.HandedOver})
				if err != nil {
					return err
				}
				var got []string
				for _, p := range m.Data {
					got = append(got, p.Tracking)
				}
				if w == "CCP-1" {
					require.Empty(t, got)
					return nil
				}
				require.Equal(t, want, got, date)
				require.Equal(t, shippingdoc.Totals{Parcels: len(want), Shipments: len(want), WeightGrams: int64(1500 * len(want))}, m.Totals)
				return nil
			})
		}
	}
}
