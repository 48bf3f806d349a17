package place_test

import (
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/floor"
	"justlogistics/internal/warehouse/place"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// twoAisles is a plan with 2 aisles of 4 racks each, of 2 levels: 16 bins.
const twoAisles = `{"kind":"aisles","aisles":{"count":2,"first_name":"A","first_x_mm":2000,"pitch_mm":3600,"width_mm":1500},
	"cross_aisles":{"y_mm":[0,4000],"width_mm":2000},"racks":{"width_mm":1000,"depth_mm":1000,"levels":2,"level_height_mm":1500,"pick_levels":1,"capacity":{"max_units":10}},
	"zones":[{"name":"Ropa","aisles":["A"]}],"depot":{"cross":0,"x_mm":2000}}`

var ana = stock.By{Person: "ana", Device: "scanner-1", KeyID: "k"}

func plan(t *testing.T, text string) *floor.Plan {
	t.Helper()
	p, err := floor.ParsePlan([]byte(text))
	require.NoError(t, err)
	return p
}

// try runs fn in a transaction of the shop's and returns its refusal, if any.
func try(t *testing.T, s *shoptest.Shop, fn func(tx pgx.Tx) error) *problem.Error {
	t.Helper()
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, fn)
	if err == nil {
		return nil
	}
	p, ok := problem.As(err)
	require.True(t, ok, "%v", err)
	return p
}

func move(t *testing.T, s *shoptest.Shop, m place.Moving) (out place.Move, refused *problem.Error) {
	t.Helper()
	if m.Warehouse == "" {
		m.Warehouse = "SCL-1"
	}
	m.By = ana
	refused = try(t, s, func(tx pgx.Tx) (err error) {
		out, err = place.MoveUnits(t.Context(), tx, shoptest.Tenant, m)
		return err
	})
	return out, refused
}

// moved is a move that must succeed.
func moved(t *testing.T, s *shoptest.Shop, m place.Moving) place.Move {
	t.Helper()
	out, refused := move(t, s, m)
	require.Nil(t, refused)
	return out
}

// received is units that come into a bin from outside.
func received(t *testing.T, s *shoptest.Shop, sku, lot, bin string, units int, expires *time.Time, serials ...string) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		if lot != "" {
			if _, err := stock.PutLot(t.Context(), tx, shoptest.Tenant, stock.Lot{SKU: sku, Lot: lot, ExpiresOn: expires}); err != nil {
				return err
			}
		}
		m := stock.BinMovement{SKU: sku, Warehouse: "SCL-1", Lot: lot, Quantity: units, To: stock.In(bin, stock.Available), Reason: "receipt", Document: "receipt:01ARZ3NDEKTSV4RRFFQ69G5FAV", By: ana}
		if len(serials) == 0 {
			_, err := stock.Move(t.Context(), tx, shoptest.Tenant, m)
			return err
		}
		m.Quantity = 1
		for _, m.Serial = range serials {
			if _, err := stock.Move(t.Context(), tx, shoptest.Tenant, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// ordered makes a paid order of units of a SKU from SCL-1 and returns its hold
// and its id.
func ordered(t *testing.T, s *shoptest.Shop, sku string, units int) (holdID, orderID string) {
	t.Helper()
	holdID, orderID = id.New(), id.New()
	s.Do(t, func(tx pgx.Tx) error {
		p, err := stock.Place(t.Context(), tx, shoptest.Tenant, stock.Request{HoldID: holdID, Channel: "web", Buyer: "x", Wants: []stock.Want{{SKU: sku, Quantity: units}}, Seconds: 900, Warehouses: []string{"SCL-1"}})
		require.Empty(t, p.Shortages)
		return err
	})
	s.Exec(t, `UPDATE holds SET status = 'confirmed', confirmed_at = now(), due_at = NULL, order_id = $2 WHERE id = $1`, holdID, orderID)
	s.Exec(t, `INSERT INTO orders (tenant, id, number, status, channel, currency, hold_id, items_total, discount_total, shipping_total, tax_total, total)
	   VALUES ('acme', $1, 'ACME-' || $1, 'paid', 'web', 'CLP', $2, 0, 0, 0, 0, 0)`, orderID, holdID)
	return holdID, orderID
}

// allocated chooses bins for an order.
func allocated(t *testing.T, s *shoptest.Shop, holdID, sku string, units int) []stock.Allocation {
	t.Helper()
	var list []stock.Allocation
	s.Do(t, func(tx pgx.Tx) error {
		today, err := place.Today(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		var missing map[int]int
		list, missing, err = stock.Allocate(t.Context(), tx, shoptest.Tenant, "SCL-1", []stock.ToAllocate{{HoldID: holdID, SKU: sku, Warehouse: "SCL-1", Units: units}}, today)
		require.Empty(t, missing)
		return err
	})
	return list
}

func picked(t *testing.T, s *shoptest.Shop, a stock.Allocation, to string, serials ...string) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Pick(t.Context(), tx, shoptest.Tenant, stock.Taken{AllocationID: a.ID, Units: a.Quantity, Serials: serials, To: to, Document: "pick:" + a.ID, By: ana})
		return err
	})
}

func date(days int) *time.Time {
	d := time.Now().UTC().AddDate(0, 0, days).Truncate(24 * time.Hour)
	return &d
}

func TestToday_IsTheDayByTheTenantsClock(t *testing.T) {
	t.Parallel()
	// Their clocks are 25 hours apart, so that the days differ at every moment.
	east := shoptest.New(t, func(r *tenant.Settings) { r.TimeZone = "Pacific/Kiritimati" })
	s := map[string]time.Time{}
	for _, zone := range []string{"Pacific/Kiritimati", "Pacific/Niue"} {
		east.Change(t, func(r *tenant.Settings) { r.TimeZone = zone })
		east.Do(t, func(tx pgx.Tx) (err error) {
			s[zone], err = place.Today(t.Context(), tx, shoptest.Tenant)
			return err
		})
	}
	require.True(t, s["Pacific/Niue"].Before(s["Pacific/Kiritimati"]))
	require.Equal(t, 0, s["Pacific/Niue"].Hour())
}
