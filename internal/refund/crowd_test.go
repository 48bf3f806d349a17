package refund_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/refund"
	"justlogistics/internal/shoptest"
)

// crowd is forty thousand refunds, most of which have succeeded, past triggers
// and foreign keys: each a request with one part, every hundredth one that nobody
// asked for.
const crowd = `
SET session_replication_role = replica;
CREATE TEMP TABLE n AS SELECT i, lpad(i::text, 26, '0') AS id,
  CASE i % 500 WHEN 1 THEN 'needs_attention' WHEN 2 THEN 'pending' WHEN 3 THEN 'unknown' WHEN 4 THEN 'failed' WHEN 100 THEN 'pending' ELSE 'succeeded' END AS status FROM generate_series(1, 40000) i;
INSERT INTO payments (tenant, id, checkout_id, order_id, attempt, gateway, amount, currency, status, reference, captured_amount) SELECT 'acme', id, id, id, 1, 'stripe', 1000, 'CLP', 'captured', 'ref' || i, 1000 FROM n;
INSERT INTO orders (tenant, id, number, status, channel, currency, hold_id, items_total, discount_total, shipping_total, tax_total, total) SELECT 'acme', id, 'N' || i, 'paid', 'web', 'CLP', id, 1, 0, 0, 0, 1 FROM n;
INSERT INTO refund_requests (tenant, id, order_id, reason, amount, currency, payment_id, waits, due_at) SELECT 'acme', id, id, 'r', 500, 'CLP', id, i % 4000 = 5, CASE WHEN i % 4000 = 5 THEN now() END FROM n WHERE i % 100 > 0;
INSERT INTO refunds (tenant, id, payment_id, order_id, request_id, amount, currency, reason, status, due_at)
  SELECT 'acme', '1' || substr(id, 2), id, id, CASE WHEN i % 100 > 0 THEN id END, 500, 'CLP', 'requested', status, CASE WHEN status IN ('pending','unknown') THEN now() END FROM n WHERE i % 4000 <> 5;
INSERT INTO refund_bookings (tenant, request_id, order_id, kind, line_id, unit, amount) SELECT 'acme', id, id, 'unit', id, 0, 500 FROM n WHERE i % 100 > 0;
INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, verbs, due_at) SELECT 'acme', 'refund:acme:' || id, 's', id, 'r', 'm', '{}', now() FROM n WHERE i % 10 = 1;
ANALYZE`

var removed = regexp.MustCompile(`Rows Removed by (?:Filter|Index Recheck|Join Filter): (\d+)`)

func TestList_IsServedByIndexesAmongFortyThousand(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	conn, err := pgx.Connect(t.Context(), s.Database.SuperuserURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), crowd)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	const middle = "00000000000000000000020000"
	for name, c := range map[string]struct {
		filter refund.Filter
		found  int
	}{
		"everything":              {refund.Filter{}, 50},
		"a page later":            {refund.Filter{Before: middle}, 50},
		"one":                     {refund.Filter{ID: "00000000000000000000003001"}, 1},
		"an order's":              {refund.Filter{OrderID: "00000000000000000000003001"}, 1},
		"pending":                 {refund.Filter{Status: "pending"}, 50},
		"pending, a page later":   {refund.Filter{Status: "pending", Before: middle}, 50},
		"needs attention":         {refund.Filter{Status: "needs_attention"}, 50},
		"failed":                  {refund.Filter{Status: "failed"}, 50},
		"succeeded":               {refund.Filter{Status: "succeeded"}, 50},
		"succeeded, a page later": {refund.Filter{Status: "succeeded", Before: middle}, 50},
		"failed of an order":      {refund.Filter{Status: "failed", OrderID: "00000000000000000000003004"}, 1},
		"a status that is none":   {refund.Filter{Status: "failed", OrderID: "00000000000000000000003005"}, 0},
	} {
		c.filter.Limit = 50
		sql, args := c.filter.Statement(shoptest.Tenant)
		s.Do(t, func(tx pgx.Tx) error {
			list, err := refund.List(t.Context(), tx, shoptest.Tenant, c.filter)
			require.NoError(t, err, name)
			require.Len(t, list, c.found, name)
			for i, r := range list {
				require.True(t, c.filter.Status == "" || r.Status == c.filter.Status, "%s: %s", name, r.Status)
				require.True(t, i == 0 || r.ID < list[i-1].ID, name)
			}
			rows, err := tx.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF) `+sql, args...)
			require.NoError(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasSuffix(line, "(never executed)") })
			plan := strings.Join(lines, "\n")
			require.NotContains(t, plan, "Seq Scan", "%s:\n%s", name, plan)
			for _, m := range removed.FindAllStringSubmatch(plan, -1) {
				n, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				require.Less(t, n, 500, "%s:\n%s", name, plan)
			}
			return nil
		})
	}
}
