package transactions

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/shoptest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// ledger is a hundred thousand payments and their refunds, a minute apart, past
// triggers and foreign keys.
const ledger = `
SET session_replication_role = replica;
CREATE TEMP TABLE n AS SELECT i, lpad(i::text, 26, '0') AS id, timestamptz '2026-01-01 12:00Z' + i * interval '1 minute' AS at FROM generate_series(1, 100000) i;
INSERT INTO payments (tenant, id, checkout_id, order_id, attempt, gateway, amount, currency, status, reference, captured_amount, fee_amount, created_at, begun_at)
  SELECT 'acme', id, id, id, 1, CASE i % 3 WHEN 0 THEN 'stripe' WHEN 1 THEN 'transbank' ELSE 'flow' END, 1000 + i, 'CLP', CASE WHEN i % 1000 = 0 THEN 'disputed' ELSE 'captured' END, 'ref' || i, 1000 + i, 10, at, at FROM n;
INSERT INTO captures (tenant, id, payment_id, amount, currency, reference, captured_at) SELECT 'acme', id, id, 1000 + i, 'CLP', 'ref' || i, at FROM n;
INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, reference, created_at, settled_at)
  SELECT 'acme', '1' || substr(id, 2), id, 500, 'CLP', 'r', CASE WHEN i % 10000 = 0 THEN 'needs_attention' ELSE 'succeeded' END, 're' || i, at + interval '1 hour', at + interval '1 hour' FROM n WHERE i % 10 = 0;
INSERT INTO checkouts (tenant, id, number, status, channel, currency, email, customer, shipping, gateway, return_url, hold_seconds, items_total, discount_total, shipping_total, tax_total, total, order_id, caller_waits_until)
  SELECT 'acme', id, 'N' || i, 'paid', 'web', 'CLP', 'b@example.cl', '{}', '{}', 'stripe', '', 900, 1, 0, 0, 0, 1, id, now() FROM n;
INSERT INTO orders (tenant, id, number, status, channel, currency, hold_id, items_total, discount_total, shipping_total, tax_total, total) SELECT 'acme', id, 'N' || i, 'paid', 'web', 'CLP', id, 1, 0, 0, 0, 1 FROM n;
ANALYZE`

func crowded(t *testing.T) *shoptest.Shop {
	t.Helper()
	s := shoptest.New(t)
	conn, err := pgx.Connect(t.Context(), s.Database.SuperuserURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), ledger)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	return s
}

var removed = regexp.MustCompile(`Rows Removed by (?:Filter|Index Recheck|Join Filter): (\d+)`)

func TestList_IsServedByIndexesAmongAHundredThousand(t *testing.T) {
	t.Parallel()
	s := crowded(t)
	at := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	later := at.Add(time.Hour)
	least := int64(90_000)
	for name, f := range map[string]Filter{
		"everything":       {},
		"a gateway":        {Gateway: "stripe"},
		"a status":         {Status: "disputed"},
		"a refund's":       {Status: "needs_attention", Kind: Refund},
		"an hour":          {From: &at, To: &later},
		"an order":         {Order: "N50000"},
		"an order by id":   {Order: "00000000000000000000050000"},
		"a page later":     {Before: Transaction{ID: "00000000000000000000050000", CreatedAt: at}.Position()},
		"large ones":       {MinAmount: &least, Kind: Payment},
		"refunds":          {Kind: Refund},
		"an hour of one's": {From: &at, To: &later, Gateway: "flow"},
	} {
		f.Limit = 51
		sql, args, err := query(shoptest.Tenant, f)
		require.NoError(t, err)
		s.Do(t, func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF) `+sql, args...)
			require.NoError(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			plan := strings.Join(lines, "\n")
			require.NotContains(t, plan, "Seq Scan", "%s:\n%s", name, plan)
			for _, m := range removed.FindAllStringSubmatch(plan, -1) {
				n, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				require.Less(t, n, 1000, "%s:\n%s", name, plan)
			}
			return nil
		})
	}
	s.Do(t, func(tx pgx.Tx) error {
		one, err := List(t.Context(), tx, shoptest.Tenant, Filter{Order: "N50000", Limit: 10})
		require.NoError(t, err)
		require.Len(t, one, 2)
		require.Equal(t, Refund, one[0].Kind)
		require.Equal(t, one[0].PaymentID, one[1].ID)
		require.Equal(t, "N50000", *one[0].OrderNumber)

		// Pages follow each other without a gap, over both tables.
		seen, before := []string{}, ""
		for range 5 {
			page, err := List(t.Context(), tx, shoptest.Tenant, Filter{Limit: 7, Before: before, To: &later})
			require.NoError(t, err)
			for _, x := range page {
				seen = append(seen, x.ID)
			}
			before = page[6].Position()
		}
		all, err := List(t.Context(), tx, shoptest.Tenant, Filter{Limit: 35, To: &later})
		require.NoError(t, err)
		ids := []string{}
		for i, x := range all {
			ids = append(ids, x.ID)
			require.True(t, i == 0 || !x.CreatedAt.After(all[i-1].CreatedAt))
		}
		require.Equal(t, ids, seen)
		_, err = List(t.Context(), tx, shoptest.Tenant, Filter{Limit: 1, Before: "x"})
		require.ErrorIs(t, err, ErrPosition)
		return nil
	})
}

func TestDailySales_AddsUpByTheTenantsDays(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), s.Database.SuperuserURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica;
	INSERT INTO payments (tenant, id, attempt, gateway, amount, currency, status, captured_amount, fee_amount) SELECT 'acme', lpad(i::text, 26, '0'), 1, CASE WHEN i = 3 THEN 'flow' ELSE 'stripe' END, 1000 * i, CASE WHEN i = 4 THEN 'USD' ELSE 'CLP' END, 'captured', 1000 * i, 10 * i FROM generate_series(1, 4) i;
	INSERT INTO captures (tenant, id, payment_id, amount, currency, reference, captured_at) VALUES
	  ('acme', lpad('1', 26, '0'), lpad('1', 26, '0'), 1000, 'CLP', 'a', '2026-11-20 02:59:59Z'), -- the evening before, in Chile
	  ('acme', lpad('2', 26, '0'), lpad('2', 26, '0'), 1500, 'CLP', 'a', '2026-11-20 03:00:00Z'),
	  ('acme', lpad('5', 26, '0'), lpad('2', 26, '0'), 500, 'CLP', 'b', '2026-11-20 05:00:00Z'), -- the rest of the same payment
	  ('acme', lpad('3', 26, '0'), lpad('3', 26, '0'), 3000, 'CLP', 'a', '2026-11-20 12:00:00Z'),
	  ('acme', lpad('4', 26, '0'), lpad('4', 26, '0'), 4000, 'USD', 'a', '2026-11-20 12:00:00Z');
	INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, method, settled_at) VALUES
	  ('acme', lpad('1', 26, '0'), lpad('2', 26, '0'), 2500, 'CLP', 'r', 'succeeded', 'original', '2026-11-20 20:00:00Z'),
	  ('acme', lpad('2', 26, '0'), lpad('3', 26, '0'), 100, 'CLP', 'r', 'succeeded', 'bank_transfer', '2026-11-20 20:00:00Z'),
	  ('acme', lpad('3', 26, '0'), lpad('3', 26, '0'), 100, 'CLP', 'r', 'succeeded', 'void', '2026-11-20 20:00:00Z'),
	  ('acme', lpad('4', 26, '0'), lpad('3', 26, '0'), 100, 'CLP', 'r', 'failed', 'original', NULL)`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	s.Do(t, func(tx pgx.Tx) error {
		got, err := DailySales(t.Context(), tx, shoptest.Tenant, time.Date(2026, 11, 19, 3, 0, 0, 0, time.UTC), time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC), zone)
		require.NoError(t, err)
		require.Equal(t, []Sales{
			{Date: "2026-11-19", Gateway: "stripe", Currency: "CLP", Captured: 1000, Net: 1000, Count: 1, Fees: 10},
			{Date: "2026-11-20", Gateway: "bank_transfer", Currency: "CLP", Refunded: 100, Net: -100, Refunds: 1},
			{Date: "2026-11-20", Gateway: "flow", Currency: "CLP", Captured: 3000, Net: 3000, Count: 1, Fees: 30},
			{Date: "2026-11-20", Gateway: "stripe", Currency: "CLP", Captured: 2000, Refunded: 2500, Net: -500, Count: 2, Refunds: 1, Fees: 20},
			{Date: "2026-11-20", Gateway: "stripe", Currency: "USD", Captured: 4000, Net: 4000, Count: 1, Fees: 40},
		}, got)
		return nil
	})
}

func TestRefunds_AreDatedByTheirSuccess(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Exec(t, `INSERT INTO payments (tenant, id, attempt, gateway, amount, currency, status, captured_amount) VALUES ('acme', lpad('1', 26, '0'), 1, 'stripe', 1000, 'CLP', 'captured', 1000)`)
	s.Exec(t, `INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, due_at) VALUES ('acme', lpad('1', 26, '0'), lpad('1', 26, '0'), 10, 'CLP', 'r', 'pending', now())`)
	dated := func() bool { return shoptest.Value[bool](t, s, `SELECT settled_at IS NOT NULL FROM refunds`) }
	require.False(t, dated())
	s.Exec(t, `UPDATE refunds SET status = 'succeeded'`)
	require.True(t, dated())
	before := shoptest.Value[time.Time](t, s, `SELECT settled_at FROM refunds`)
	s.Exec(t, `UPDATE refunds SET updated_at = now() + interval '1 day'`)
	require.Equal(t, before, shoptest.Value[time.Time](t, s, `SELECT settled_at FROM refunds`))
	s.Exec(t, `UPDATE refunds SET status = 'failed'`)
	require.False(t, dated())
}
