package postgres_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/shoptest"
)

// crowd fills the tables that grow with two tenants' rows, past triggers and
// foreign keys.
const crowd = `
SET session_replication_role = replica;
INSERT INTO tenants (tenant, name, settings) VALUES ('other', 'x', '{}');
CREATE TEMP TABLE n AS SELECT t.tenant, i, lpad(i::text, 26, '0') AS id FROM (VALUES ('acme'), ('other')) t (tenant), generate_series(1, 6000) i;
INSERT INTO api_keys (tenant, id, hash, name, scopes) SELECT tenant, id, sha256((tenant || id)::bytea), 'k', '{admin}' FROM n;
INSERT INTO stock_levels (tenant, sku, warehouse, on_hand) SELECT tenant, 'S' || i, w, 5 FROM n, unnest(ARRAY['SCL-1','CCP-1','ANF-1']) w;
INSERT INTO holds (tenant, id, checkout_id, channel, status, expires_at, held_until, confirmed_at, due_at)
  SELECT tenant, id, id, 'web', CASE WHEN i % 50 = 0 THEN 'held' ELSE 'confirmed' END, now(), now(), CASE WHEN i % 50 <> 0 THEN now() END, CASE WHEN i % 50 = 0 THEN now() END FROM n;
INSERT INTO hold_lines (tenant, hold_id, sku, warehouse, quantity) SELECT tenant, id, 'S' || i, 'SCL-1', 1 FROM n;
INSERT INTO checkouts (tenant, id, number, status, channel, currency, email, rut, client_ip, customer, shipping, gateway, return_url, hold_seconds, items_total, discount_total, shipping_total, tax_total, total, order_id, caller_waits_until, due_at)
  SELECT tenant, id, 'N' || i, CASE i % 20 WHEN 0 THEN 'awaiting_payment' WHEN 1 THEN 'expired' ELSE 'paid' END, 'web', 'CLP', 'b' || i || '@example.cl', 'r' || i, '10.0.0.' || i, '{}', '{}', 'stripe', '', 900, 1, 0, 0, 0, 1,
         CASE WHEN i % 20 > 1 THEN id END, now(), CASE WHEN i % 20 = 0 THEN now() END FROM n;
INSERT INTO checkout_lines (tenant, checkout_id, position, sku, name, quantity, unit_price, tax, total) SELECT tenant, id, 1, 'S' || i, 'x', 1, 1, 'iva', 1 FROM n;
INSERT INTO payments (tenant, id, checkout_id, attempt, gateway, amount, currency, status, reference, capture_ref) SELECT tenant, id, id, 1, 'stripe', 1, 'CLP', 'captured', 'ref' || i, 'pi' || i FROM n;
INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status) SELECT tenant, id, id, 1, 'CLP', 'r', 'succeeded' FROM n;
INSERT INTO orders (tenant, id, number, status, channel, currency, hold_id, items_total, discount_total, shipping_total, tax_total, total) SELECT tenant, id, 'N' || i, 'paid', 'web', 'CLP', id, 1, 0, 0, 0, 1 FROM n;
INSERT INTO inbox (tenant, id, gateway, kind, event_id, payment_id, signed, status, due_at) SELECT tenant, id, 'stripe', 'webhook', 'evt' || i, id, true, CASE WHEN i % 100 = 0 THEN 'pending' ELSE 'applied' END, now() FROM n;
INSERT INTO events (tenant, subject, kind) SELECT tenant, id, 'k' FROM n;
INSERT INTO idempotency_keys (tenant, key, method, path, body_hash) SELECT tenant, id, 'POST', '/', '' FROM n;
INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, verbs, due_at) SELECT tenant, id, 's', id, 'r', 'm', '{}', now() FROM n;
INSERT INTO products (tenant, sku, name, product) SELECT tenant, 'S' || i, 'x', 'P' FROM n;
INSERT INTO bins (tenant, warehouse, code, kind) SELECT tenant, 'SCL-1', 'B' || i, 'pick' FROM n;
INSERT INTO lots (tenant, sku, lot) SELECT tenant, 'S' || i, 'L' || i FROM n;
INSERT INTO bin_stock (tenant, warehouse, bin, sku, lot, status, quantity) SELECT tenant, 'SCL-1', 'B' || i, 'S' || i, 'L' || i, 'available', 5 FROM n;
INSERT INTO bin_movements (tenant, warehouse, sku, lot, serial, quantity, to_bin, to_status, reason, document, person) SELECT tenant, 'SCL-1', 'S' || i, 'L' || i, 'N' || i, 1, 'B' || i, 'available', 'receipt', 'receipt:' || id, 'p' FROM n;
INSERT INTO allocations (tenant, id, hold_id, sku, warehouse, bin, lot, serial, quantity, state, list_id, line)
  SELECT tenant, id, id, 'S' || i, 'SCL-1', 'B' || i, 'L' || i, 'N' || i, 1, CASE WHEN i % 20 = 0 THEN 'open' ELSE 'shipped' END, lpad((i / 10)::text, 26, '0'), i % 10 + 1 FROM n;
INSERT INTO pick_lists (tenant, id, number, warehouse, kind, wave_id, status, due_at) SELECT tenant, id, 'P' || i, 'SCL-1', 'batch', id, CASE WHEN i % 50 = 0 THEN 'open' ELSE 'completed' END, CASE WHEN i % 50 = 0 THEN now() END FROM n;
INSERT INTO pick_lines (tenant, list_id, line, hold_id, order_id, shipment_id, sku, warehouse, quantity) SELECT tenant, lpad((i / 10)::text, 26, '0'), i % 10 + 1, id, id, id, 'S' || i, 'SCL-1', 1 FROM n;
INSERT INTO count_requests (tenant, id, warehouse, bin, sku, reason) SELECT tenant, id, 'SCL-1', 'B' || i, 'S' || i, 'short_pick' FROM n WHERE i % 10 = 0;
INSERT INTO count_tasks (tenant, count_id, bin, id, warehouse, status, outcome, ended_at)
  SELECT tenant, id, 'B' || i, id, 'SCL-1', CASE WHEN i % 50 = 0 THEN 'open' ELSE 'done' END, CASE WHEN i % 50 = 0 THEN '' ELSE 'right' END, CASE WHEN i % 50 <> 0 THEN now() END FROM n;
INSERT INTO operator_commands (tenant, id, device, seq, kind, person, hash, scanned, scanned_at, outcome, answer) SELECT tenant, id, 'd', i, 'move', 'p', sha256(id::bytea), '{}', now(), 'applied', '{}' FROM n;
INSERT INTO task_leases (tenant, task, person, until) SELECT tenant, 'pick:' || id, 'p', now() FROM n;
INSERT INTO public_events (tenant, position, id, seq, type, subject, data, created_at) SELECT tenant, i, id, i, 'order.paid', id, '{}', now() FROM n;
UPDATE events SET outbound = false WHERE seq % 100 <> 0;
INSERT INTO event_endpoints (tenant, id, url, key_id, box) SELECT tenant, id, 'https://shop.example', 'k', '' FROM n WHERE i <= 5;
INSERT INTO event_deliveries (tenant, endpoint_id, event_id, position, status, next_try_at, ended_at)
  SELECT tenant, lpad((i % 5 + 1)::text, 26, '0'), id, i, CASE WHEN i % 100 = 0 THEN 'pending' ELSE 'delivered' END, CASE WHEN i % 100 = 0 THEN now() END, CASE WHEN i % 100 <> 0 THEN now() END FROM n;
ANALYZE`

var removed = regexp.MustCompile(`Rows Removed by (?:Filter|Index Recheck): (\d+)`)

const someID = "00000000000000000000003000"

func TestHotQueries_UseAnIndexUnderRowLevelSecurity(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	conn, err := pgx.Connect(t.Context(), s.Database.SuperuserURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), crowd)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	for _, q := range []struct {
		name, sql string
		args      []any
		system    bool
	}{
		{name: "a checkout by its id", sql: `SELECT status FROM checkouts c WHERE c.tenant = $1 AND c.id = $2 FOR UPDATE OF c`, args: []any{"acme", someID}},
		{name: "a checkout's lines", sql: `SELECT sku, quantity FROM checkout_lines WHERE tenant = $1 AND checkout_id = $2 ORDER BY sku`, args: []any{"acme", someID}},
		{name: "the lock on stock levels", sql: `SELECT FROM stock_levels WHERE tenant = $1 AND sku = ANY($2) ORDER BY sku, warehouse FOR UPDATE`, args: []any{"acme", []string{"S1", "S5000"}}},
		{name: "the lock under a hold", sql: `SELECT FROM stock_levels l WHERE l.tenant = $1 AND (l.sku, l.warehouse) IN (SELECT sku, warehouse FROM hold_lines WHERE tenant = $1 AND hold_id = $2) ORDER BY l.sku, l.warehouse FOR UPDATE`, args: []any{"acme", someID}},
		{name: "a hold", sql: `SELECT status FROM holds WHERE tenant = $1 AND id = $2`, args: []any{"acme", someID}},
		{name: "holds on a shelf", sql: `SELECT hl.quantity FROM hold_lines hl JOIN holds h ON h.tenant = hl.tenant AND h.id = hl.hold_id WHERE hl.tenant = $1 AND hl.sku = $2 AND hl.warehouse = $3`, args: []any{"acme", "S77", "SCL-1"}},
		{name: "orders that wait for a SKU", sql: `SELECT DISTINCT h.order_id FROM hold_lines l JOIN holds h ON h.tenant = l.tenant AND h.id = l.hold_id WHERE l.tenant = $1 AND l.sku = $2 AND l.shorted > 0 AND h.status = 'short' AND h.confirmed_at IS NOT NULL AND h.order_id IS NOT NULL AND NOT h.short_asked`, args: []any{"acme", "S77"}},
		{name: "payments of a checkout", sql: `SELECT id FROM payments WHERE tenant = $1 AND checkout_id = $2 ORDER BY attempt`, args: []any{"acme", someID}},
		{name: "a payment by its reference", sql: `SELECT id FROM payments WHERE tenant = $1 AND gateway = $2 AND (reference = $3 OR capture_ref = $3) LIMIT 1`, args: []any{"acme", "stripe", "ref77"}},
		{name: "refunds of a payment", sql: `SELECT id FROM refunds WHERE tenant = $1 AND payment_id = $2`, args: []any{"acme", someID}},
		{name: "news of a payment", sql: `SELECT id FROM inbox WHERE tenant = $1 AND payment_id = $2 AND status = 'pending'`, args: []any{"acme", someID}},
		{name: "an event by its id", sql: `SELECT id FROM inbox WHERE tenant = $1 AND gateway = $2 AND CASE WHEN $3 <> '' THEN event_id = $3 ELSE event_id = '' AND status = 'pending' AND kind = 'webhook' AND payment_id = $4 END`, args: []any{"acme", "stripe", "evt77", ""}},
		{name: "a timeline", sql: `SELECT kind FROM events WHERE tenant = $1 AND subject = $2 ORDER BY seq`, args: []any{"acme", someID}},
		{name: "an idempotency key", sql: `SELECT status FROM idempotency_keys WHERE tenant = $1 AND key = $2`, args: []any{"acme", someID}},
		{name: "a page of orders", sql: `SELECT id FROM orders o WHERE o.tenant = $1 AND o.id < $2 ORDER BY o.id DESC LIMIT 50`, args: []any{"acme", someID}},
		{name: "a page of orders by status", sql: `SELECT id FROM orders o WHERE o.tenant = $1 AND o.status = $2 ORDER BY o.id DESC LIMIT 50`, args: []any{"acme", "cancelled"}},
		{name: "a buyer's open checkouts", sql: `SELECT id FROM checkouts WHERE tenant = $1 AND id <> $2 AND (email = $3 OR ($4 <> '' AND rut = $4) OR ($5 <> '' AND client_ip = $5)) AND status IN ('reserving','awaiting_payment')`, args: []any{"acme", someID, "b40@example.cl", "r40", "10.0.0.40"}},
		{name: "a buyer's unpaid checkouts", sql: `SELECT count(*) FROM checkouts WHERE tenant = $1 AND email = $2 AND status IN ('expired','payment_failed','cancelled') AND created_at > now() - interval '1 day'`, args: []any{"acme", "b41@example.cl"}},
		{name: "units that may be allocated", sql: `SELECT s.sku, s.bin, s.lot, s.quantity - s.allocated FROM bin_stock s JOIN bins b ON b.tenant = s.tenant AND b.warehouse = s.warehouse AND b.code = s.bin JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku
		   LEFT JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot AND s.lot <> '' WHERE s.tenant = $1 AND s.warehouse = $2 AND s.sku = ANY($3) AND s.status = 'available' AND s.quantity > s.allocated AND s.quantity > 0
		   AND b.active AND coalesce(l.status, 'available') = 'available' AND NOT EXISTS (SELECT FROM count_requests c WHERE c.tenant = s.tenant AND c.warehouse = s.warehouse AND c.bin = s.bin AND c.sku = s.sku) ORDER BY s.sku`,
			args: []any{"acme", "SCL-1", []string{"S77", "S78"}}},
		{name: "what is open on a pick list", sql: `SELECT a.id FROM allocations a JOIN pick_lines p ON p.tenant = a.tenant AND p.list_id = a.list_id AND p.line = a.line WHERE a.tenant = $1 AND a.list_id = $2 AND a.state = 'open' AND p.cancelled_at IS NULL`, args: []any{"acme", "00000000000000000000000300"}},
		{name: "a page of open pick lists", sql: `SELECT l.id, n.lines FROM pick_lists l, LATERAL (SELECT count(*) AS lines FROM pick_lines p WHERE p.tenant = l.tenant AND p.list_id = l.id AND p.cancelled_at IS NULL) n
		   WHERE l.tenant = $1 AND ($2 = '' OR l.warehouse = $2) AND ($3 = '' OR l.status = $3) AND ($4 = '' OR l.id < $4) ORDER BY l.id DESC LIMIT 50`, args: []any{"acme", "", "open", ""}},
		{name: "a page of count tasks", sql: `SELECT t.id FROM count_tasks t WHERE t.tenant = $1 AND ($2 = '' OR t.status = $2) AND t.id > $3 AND t.status NOT IN ('done','cancelled') ORDER BY t.id LIMIT 50`, args: []any{"acme", "open", ""}},
		{name: "what lies in a bin", sql: `SELECT s.sku, l.expires_on FROM bin_stock s LEFT JOIN lots l ON l.tenant = s.tenant AND l.sku = s.sku AND l.lot = s.lot WHERE s.tenant = $1 AND s.warehouse = $2 AND s.bin = $3 AND s.quantity > 0 ORDER BY s.sku`, args: []any{"acme", "SCL-1", "B77"}},
		{name: "commands by their ids", sql: `SELECT id, hash, answer FROM operator_commands WHERE tenant = $1 AND id = ANY($2)`, args: []any{"acme", []string{someID, "new"}}},
		{name: "who has tasks", sql: `SELECT person FROM task_leases WHERE tenant = $1 AND task = ANY($2) AND until > now()`, args: []any{"acme", []string{"pick:" + someID}}},
		{name: "who got a lot", sql: `SELECT a.hold_id FROM allocations a WHERE a.tenant = $1 AND a.sku = $2 AND a.lot = $3 AND a.lot <> '' AND a.state = 'shipped'`, args: []any{"acme", "S77", "L77"}},
		{name: "who got a unit", sql: `SELECT a.hold_id FROM allocations a WHERE a.tenant = $1 AND a.sku = $2 AND a.serial = $3 AND a.state = 'shipped'`, args: []any{"acme", "S77", "N77"}},
		{name: "the way of a lot", sql: `SELECT m.id FROM bin_movements m WHERE m.tenant = $1 AND m.sku = $2 AND m.lot = $3 AND m.id > $4 ORDER BY m.id LIMIT 50`, args: []any{"acme", "S77", "L77", 0}},
		{name: "pending news", sql: `SELECT tenant, id FROM inbox WHERE status = 'pending' AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED`, args: []any{10}, system: true},
		{name: "holds that outlived their time", sql: `SELECT id FROM holds h WHERE h.status IN ('held','short') AND h.confirmed_at IS NULL AND h.held_until < now() - interval '30 seconds' ORDER BY h.held_until LIMIT 1`, system: true},
		{name: "checkouts past due", sql: `SELECT id FROM checkouts WHERE due_at IS NOT NULL AND due_at < now()`, system: true},
		{name: "events to publish", sql: `SELECT seq FROM events e WHERE e.tenant = $1 AND e.outbound ORDER BY e.seq LIMIT 200`, args: []any{"acme"}, system: true},
		{name: "a page of events", sql: `SELECT id FROM public_events WHERE tenant = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT 50`, args: []any{"acme", 3000, 6000}},
		{name: "an order's events", sql: `SELECT id FROM public_events WHERE tenant = $1 AND position > $2 AND subject = $3 ORDER BY position LIMIT 50`, args: []any{"acme", 0, someID}},
		{name: "an event by its public id", sql: `SELECT position FROM public_events WHERE tenant = $1 AND id = $2`, args: []any{"acme", someID}},
		{name: "deliveries that are due", sql: `SELECT event_id FROM event_deliveries d WHERE d.tenant = $1 AND d.endpoint_id = $2 AND d.status = 'pending' AND d.next_try_at <= now() ORDER BY d.next_try_at LIMIT 4`, args: []any{"acme", "00000000000000000000000001"}, system: true},
		{name: "old deliveries", sql: `SELECT ctid FROM event_deliveries WHERE ended_at < now() - interval '30 days' LIMIT 100 FOR UPDATE SKIP LOCKED`, system: true},
		{name: "an API key's hash", sql: `SELECT k.tenant FROM api_keys k WHERE k.hash = $1 AND k.revoked_at IS NULL`, args: []any{[]byte("x")}, system: true},
	} {
		explain := func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF) `+q.sql, q.args...)
			if err != nil {
				return err
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			plan := strings.Join(lines, "\n")
			require.NotContains(t, plan, "Seq Scan", "%s:\n%s", q.name, plan)
			require.Contains(t, plan, "Index", "%s:\n%s", q.name, plan)
			// An index that finds only the tenant reads all of its rows.
			for _, m := range removed.FindAllStringSubmatch(plan, -1) {
				n, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				require.Less(t, n, 500, "%s:\n%s", q.name, plan)
			}
			return nil
		}
		if q.system {
			require.NoError(t, s.DB.AsSystem(t.Context(), explain), q.name)
		} else {
			require.NoError(t, s.DB.InTenant(t.Context(), "acme", explain), q.name)
		}
	}
}
