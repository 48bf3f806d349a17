// Package shoptest gives a test a small shop on a database of its own: a
// tenant, three warehouses, products with prices, and checkouts as a storefront
// would write them.
package shoptest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Tenant is the shop's.
const Tenant = "acme"

// Warehouses of the shop, in the order of their position: Santiago,
// Concepción and Antofagasta.
var Warehouses = []string{"SCL-1", "CCP-1", "ANF-1"}

// Account is where the shop's gateways receive money.
const Account = "597055555532"

// Shop is a tenant in a test's database.
type Shop struct {
	Database *pgtest.Database
	// DB is as the program sees it.
	DB *postgres.DB
	// Super steps over row-level security and rights, to arrange and to inspect.
	Super *pgxpool.Pool
}

// New makes the shop without products. change alters the tenant's rules.
func New(t testing.TB, change ...func(*tenant.Settings)) *Shop {
	t.Helper()
	s := &Shop{Database: pgtest.New(t)}
	var err error
	s.DB, err = postgres.Open(context.Background(), s.Database.AppURL, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(s.DB.Close)
	cfg, err := pgxpool.ParseConfig(s.Database.SuperuserURL)
	require.NoError(t, err)
	cfg.MaxConns = 4
	s.Super, err = pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(s.Super.Close)

	s.AddTenant(t, Tenant, change...)
	return s
}

// AddTenant makes another tenant with the same warehouses.
func (s *Shop) AddTenant(t testing.TB, name string, change ...func(*tenant.Settings)) {
	t.Helper()
	shop := tenant.Tenant{ID: name, Name: "Tienda " + name, Settings: tenant.Defaults(name)}
	shop.Settings.AllowedOrigins = []string{"*"}
	for _, c := range change {
		c(&shop.Settings)
	}
	require.NoError(t, s.DB.InTenant(t.Context(), name, func(tx pgx.Tx) error {
		if err := tenant.Put(t.Context(), tx, shop); err != nil {
			return err
		}
		for i, region := range []string{"RM", "BI", "AN"} {
			if _, err := catalog.PutWarehouse(t.Context(), tx, name, Warehouses[i], catalog.WarehouseInput{Name: Warehouses[i], Region: region, Position: i}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Change alters the tenant's rules.
func (s *Shop) Change(t testing.TB, change func(*tenant.Settings)) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, Tenant)
		if err != nil {
			return err
		}
		change(&shop.Settings)
		return tenant.Put(t.Context(), tx, shop)
	})
}

// Do runs fn in a transaction of the shop's.
func (s *Shop) Do(t testing.TB, fn func(tx pgx.Tx) error) {
	t.Helper()
	require.NoError(t, s.DB.InTenant(t.Context(), Tenant, fn))
}

// Exec runs a statement past all rights.
func (s *Shop) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := s.Super.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// Value reads one value past all rights.
func Value[T any](t testing.TB, s *Shop, sql string, args ...any) T {
	t.Helper()
	rows, err := s.Super.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return v
}

// List reads one column past all rights.
func List[T any](t testing.TB, s *Shop, sql string, args ...any) []T {
	t.Helper()
	rows, err := s.Super.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	v, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return v
}

// Product puts a SKU into the catalogue and units of it on the shelves of the
// warehouses, in their order. Its price is in CLP.
func (s *Shop) Product(t testing.TB, sku string, price int64, units ...int) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		in := catalog.ProductInput{Name: "Producto " + sku, WeightGrams: 100, Prices: []catalog.Price{{Currency: "CLP", Amount: price}}}
		if _, err := catalog.PutProduct(t.Context(), tx, Tenant, sku, in); err != nil {
			return err
		}
		for i, n := range units {
			if _, err := stock.Count(t.Context(), tx, Tenant, sku, Warehouses[i], n, time.Now(), "test"); err != nil {
				return err
			}
		}
		return nil
	})
}

// Submission is a good order of quantity units of a SKU, to Providencia.
func Submission(sku string, quantity int) checkout.Submission {
	return checkout.Submission{
		Items:    []checkout.Item{{SKU: sku, Quantity: quantity}},
		Currency: "CLP",
		Customer: checkout.Customer{Name: "Ana Rojas", Email: "ana@example.cl"},
		Shipping: &checkout.Address{Street: "Av. Providencia", Number: "1234", Comuna: "Providencia", Region: "RM"},
		Payment:  &checkout.PaymentChoice{Gateway: "transbank", ReturnURL: "https://shop.example/thanks"},
	}
}

// Submit writes a checkout in status reserving and returns its id.
func (s *Shop) Submit(t testing.TB, sub checkout.Submission) string {
	t.Helper()
	checkoutID := id.New()
	s.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, Tenant)
		if err != nil {
			return err
		}
		_, err = checkout.Create(t.Context(), tx, shop, checkoutID, sub, checkout.Terms{Gateway: &payment.Capabilities{Currencies: []money.Currency{"CLP", "USD"}}})
		return err
	})
	return checkoutID
}

// Start submits a checkout and holds its stock.
func (s *Shop) Start(t testing.TB, sub checkout.Submission) (checkoutID string, v checkout.View) {
	t.Helper()
	checkoutID = s.Submit(t, sub)
	v, err := checkout.Start(t.Context(), s.DB, Tenant, checkoutID, payment.Name(sub.Payment.Gateway))
	require.NoError(t, err)
	return checkoutID, v
}

// Offer is Start with the first attempt begun at its gateway: the buyer could
// pay now.
func (s *Shop) Offer(t testing.TB, sub checkout.Submission) (checkoutID, paymentID string) {
	t.Helper()
	checkoutID, v := s.Start(t, sub)
	require.Len(t, v.Attempts, 1, v.FailureCode)
	paymentID = v.Attempts[0].PaymentID
	s.Begun(t, checkoutID, paymentID)
	return checkoutID, paymentID
}

// Begun records that an attempt was begun at its gateway.
func (s *Shop) Begun(t testing.TB, checkoutID, paymentID string) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		a := payment.Answer{Outcome: payment.OutcomePending, Reference: "token-" + paymentID, ExpiresAt: time.Now().Add(10 * time.Minute),
			Redirect: &payment.Redirect{URL: "https://webpay.example/", Method: "POST", Fields: map[string]string{"token_ws": "token-" + paymentID}}}
		if err := payment.Begun(t.Context(), tx, Tenant, paymentID, a, payment.Capabilities{PayableFor: 15 * time.Minute}, Account, false); err != nil {
			return err
		}
		return checkout.Offer(t.Context(), tx, Tenant, checkoutID)
	})
}

// Approved is a gateway's word that it took amount of a payment.
func Approved(paymentID string, amount int64) payment.Answer {
	return payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, Closed: true, PaymentID: paymentID, Reference: "token-" + paymentID, CaptureRef: "token-" + paymentID,
		Amount: amount, Currency: "CLP", Account: Account, AuthorizationCode: "1213", CardLast4: "6623", Method: "VN", ApprovedAt: time.Now().UTC()}
}

// Now is the database's time.
func (s *Shop) Now(t testing.TB) time.Time {
	t.Helper()
	return Value[time.Time](t, s, `SELECT now()`)
}

// Age moves a hold's times into the past: its end was ago before now.
func (s *Shop) Age(t testing.TB, holdID string, ago time.Duration) {
	t.Helper()
	s.Exec(t, `UPDATE holds SET started_at = least(started_at, now() - $2::interval), expires_at = now() - $2::interval, held_until = now() - $2::interval WHERE id = $1`, holdID, ago)
}

// Bin makes a bin of a kind in a warehouse.
func (s *Shop) Bin(t testing.TB, warehouse, code, kind string) {
	t.Helper()
	s.Exec(t, `INSERT INTO bins (tenant, warehouse, code, kind, zone) VALUES ($1, $2, $3, $4, split_part($3, '-', 1))`, Tenant, warehouse, code, kind)
}

// Tracked sets how a SKU's units are told apart, and its removal rule.
func (s *Shop) Tracked(t testing.TB, sku, tracking, removal string) {
	t.Helper()
	s.Exec(t, `UPDATE products SET tracking = $3, removal = $4 WHERE tenant = $1 AND sku = $2`, Tenant, sku, tracking, removal)
}

// CheckBooks demands of every stock level what the audit demands: nothing
// promised twice, the shelf equal to its movements, the promises equal to the
// live holds, and the same of every bin.
func (s *Shop) CheckBooks(t require.TestingT) {
	rows, err := s.Super.Query(context.Background(), `SELECT l.sku || ' in ' || l.warehouse || ': ' || l.on_hand || ' on hand, ' || l.reserved || ' reserved, ' || m.sum || ' moved, ' || h.sum || ' held'
	  FROM stock_levels l,
	       LATERAL (SELECT coalesce(sum(delta), 0) AS sum FROM stock_movements m WHERE (m.tenant, m.sku, m.warehouse) = (l.tenant, l.sku, l.warehouse)) m,
	       LATERAL (SELECT coalesce(sum(hl.quantity - hl.shorted - hl.left_stock), 0) AS sum FROM hold_lines hl JOIN holds h ON h.tenant = hl.tenant AND h.id = hl.hold_id
	                 WHERE (hl.tenant, hl.sku, hl.warehouse) = (l.tenant, l.sku, l.warehouse) AND h.status IN ('held','confirmed','short')) h
	 WHERE l.reserved < 0 OR l.reserved > l.on_hand OR l.on_hand <> m.sum OR l.reserved <> h.sum`)
	require.NoError(t, err)
	wrong, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Empty(t, wrong)
	rows, err = s.Super.Query(context.Background(), binBooks)
	require.NoError(t, err)
	wrong, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Empty(t, wrong)
}

// binBooks names what is wrong inside the warehouses: units in bins that are not
// the sum of their movements, allocations that are counted wrongly, a serial that
// is not where its bin says.
const binBooks = `
	SELECT 'bin ' || s.bin || ' has ' || s.quantity || ' ' || s.sku || ' ' || s.lot || ' ' || s.status || ', its movements say ' || m.sum || ', serials ' || n.count
	  FROM bin_stock s JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku,
	       LATERAL (SELECT coalesce(sum(CASE WHEN m.to_bin = s.bin AND m.to_status = s.status THEN m.quantity ELSE 0 END - CASE WHEN m.from_bin = s.bin AND m.from_status = s.status THEN m.quantity ELSE 0 END), 0) AS sum
	                  FROM bin_movements m WHERE (m.tenant, m.warehouse, m.sku, m.lot) = (s.tenant, s.warehouse, s.sku, s.lot) AND s.bin IN (m.from_bin, m.to_bin)) m,
	       LATERAL (SELECT count(*) FROM serials n WHERE (n.tenant, n.warehouse, n.bin, n.sku, n.lot, n.status) = (s.tenant, s.warehouse, s.bin, s.sku, s.lot, s.status) AND n.state = 'in_stock') n
	 WHERE s.quantity <> m.sum OR p.tracking = 'serial' AND s.quantity <> n.count
	UNION ALL
	SELECT 'bin ' || s.bin || ' says ' || s.allocated || ' of ' || s.sku || ' allocated, allocations are ' || a.sum
	  FROM bin_stock s, LATERAL (SELECT coalesce(sum(a.quantity), 0) AS sum FROM allocations a WHERE (a.tenant, a.warehouse, a.bin, a.sku, a.lot) = (s.tenant, s.warehouse, s.bin, s.sku, s.lot) AND a.state IN ('open','picked')) a
	 WHERE s.status = 'available' AND s.allocated <> a.sum
	UNION ALL
	SELECT l.sku || ' in ' || l.warehouse || ': ' || l.placed || ' placed, its bins have ' || b.sum
	  FROM stock_levels l, LATERAL (SELECT coalesce(sum(quantity), 0) AS sum FROM bin_stock b WHERE (b.tenant, b.sku, b.warehouse) = (l.tenant, l.sku, l.warehouse) AND b.status = 'available') b
	 WHERE l.placed <> b.sum
	UNION ALL
	SELECT 'hold ' || l.hold_id || ' says ' || l.allocated || '/' || l.picked || ' of ' || l.sku || ', allocations are ' || a.live || '/' || a.picked
	  FROM hold_lines l, LATERAL (SELECT coalesce(sum(a.quantity), 0) AS live, coalesce(sum(a.quantity) FILTER (WHERE a.state = 'picked'), 0) AS picked FROM allocations a
	                                WHERE (a.tenant, a.hold_id, a.sku, a.warehouse) = (l.tenant, l.hold_id, l.sku, l.warehouse) AND a.state IN ('open','picked')) a
	 WHERE l.allocated <> a.live OR l.picked <> a.picked`
