package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/checkout"
	"justlogistics/internal/id"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

// tenantTables are all tables that hold something of a tenant. status_moves is
// the only one that does not.
const tenantTables = `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p') AND relname <> 'status_moves' ORDER BY relname`

// fullShop has at least one row in every table.
func fullShop(t *testing.T) *shoptest.Shop {
	t.Helper()
	s := shoptest.New(t)
	ctx := t.Context()
	s.Product(t, "A", 10_000, 5, 5)
	s.Do(t, func(tx pgx.Tx) error {
		ring, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
		require.NoError(t, err)
		_, _, err = tenant.IssueKey(ctx, tx, shoptest.Tenant, "key", tenant.Scopes, nil)
		require.NoError(t, err)
		require.NoError(t, tenant.SetCredentials(ctx, tx, ring, shoptest.Tenant, "transbank", json.RawMessage(`{}`)))
		_, err = catalog.PutDiscount(ctx, tx, shoptest.Tenant, "DIEZ", catalog.DiscountInput{Kind: "percent", Value: 1000})
		return err
	})
	sub := shoptest.Submission("A", 2)
	sub.DiscountCode = "DIEZ"
	checkoutID, paymentID := s.Offer(t, sub)
	total := shoptest.Value[int64](t, s, `SELECT total FROM checkouts WHERE id = $1`, checkoutID)
	r, err := checkout.Record(ctx, s.DB, shoptest.Tenant, checkoutID, checkout.News{PaymentID: paymentID, Answer: shoptest.Approved(paymentID, total), AskedAt: s.Now(t)})
	require.NoError(t, err)
	require.True(t, r.Paid)
	s.Do(t, func(tx pgx.Tx) error {
		p, err := payment.Load(ctx, tx, shoptest.Tenant, paymentID)
		require.NoError(t, err)
		_, err = payment.IntendRefund(ctx, tx, shoptest.Tenant, p, 1, "goodwill")
		require.NoError(t, err)
		_, err = inbox.Store(ctx, tx, shoptest.Tenant, inbox.News{Gateway: payment.Stripe, Kind: inbox.Webhook, EventID: "evt_1", Signed: true})
		require.NoError(t, err)
		shop, err := tenant.Get(ctx, tx, shoptest.Tenant)
		require.NoError(t, err)
		_, err = checkout.CreateReservation(ctx, tx, shop, id.New(), checkout.ReservationSubmission{Items: []checkout.Item{{SKU: "A", Quantity: 1}}}, false)
		require.NoError(t, err)
		for _, sql := range []string{
			`INSERT INTO idempotency_keys (tenant, key, method, path, body_hash) VALUES ($1, 'k', 'POST', '/v1/checkouts', '')`,
			`INSERT INTO parked (tenant, workflow_id, step, subject, reason, message, verbs, due_at) VALUES ($1, 'w', 's', 'x', 'r', 'm', '{}', now())`,
			`INSERT INTO gateway_circuits (tenant, gateway) VALUES ($1, 'flow')`,
			`INSERT INTO gateway_calls (tenant, gateway, second, calls, failures) VALUES ($1, 'flow', now(), 1, 0)`,
			`INSERT INTO payment_hints (tenant, payment_id) SELECT tenant, id FROM payments WHERE tenant = $1`,
			`INSERT INTO payment_choices (tenant, id, checkout_id, gateway) SELECT tenant, id, id, 'flow' FROM checkouts WHERE tenant = $1`,
			`INSERT INTO refund_requests (tenant, id, order_id, reason, amount, currency) SELECT tenant, id, id, 'goodwill', 1, 'CLP' FROM orders WHERE tenant = $1`,
			`INSERT INTO refundable (tenant, order_id, line_id, unit, paid) SELECT tenant, id, '', 0, 1 FROM orders WHERE tenant = $1`,
			`INSERT INTO refund_bookings (tenant, request_id, order_id, kind, amount) SELECT tenant, id, id, 'freight', 1 FROM orders WHERE tenant = $1`,
			`INSERT INTO refundable (tenant, order_id, line_id, unit, paid) SELECT tenant, order_id, line_id, 0, 1 FROM order_lines WHERE tenant = $1`,
			`INSERT INTO return_policies (tenant, version, policy, person) VALUES ($1, 1, '{}', 'ana')`,
			`INSERT INTO returns (tenant, id, order_id, number, status, policy, policy_version, warehouse, method, money, freight_by, requested_by, due_at) SELECT tenant, id, id, 'R-1', 'requested', '{}', 1, 'SCL-1', 'original', 'on_receipt', 'shop', 'ana', now() FROM orders WHERE tenant = $1`,
			`INSERT INTO return_units (tenant, return_id, order_id, line_id, unit, sku, reason) SELECT tenant, order_id, order_id, line_id, 0, sku, 'defective' FROM order_lines WHERE tenant = $1`,
			`INSERT INTO return_refunds (tenant, return_id, refund_id) SELECT tenant, id, id FROM orders WHERE tenant = $1`,
			`INSERT INTO return_extras (tenant, return_id, n, what, quantity, person) SELECT tenant, id, 1, 'x', 1, 'ana' FROM orders WHERE tenant = $1`,
			`INSERT INTO return_photos (tenant, return_id, n, type, digest, data, person) SELECT tenant, id, 1, 'image/png', 'd', 'x', 'ana' FROM orders WHERE tenant = $1`,
			`INSERT INTO order_attention (tenant, order_id, reason) SELECT tenant, id, 'short_stock' FROM orders WHERE tenant = $1`,
			`INSERT INTO bins (tenant, warehouse, code, kind) VALUES ($1, 'SCL-1', 'A-01-A', 'pick')`,
			`INSERT INTO lots (tenant, sku, lot) VALUES ($1, 'A', 'L1')`,
			`UPDATE products SET tracking = 'serial' WHERE tenant = $1 AND sku = 'A'`,
			`INSERT INTO bin_movements (tenant, warehouse, sku, lot, serial, quantity, to_bin, to_status, reason, person) VALUES ($1, 'SCL-1', 'A', 'L1', 'S1', 1, 'A-01-A', 'available', 'receipt', 'ana')`,
			`INSERT INTO allocations (tenant, id, hold_id, sku, warehouse, bin, lot, quantity, state) SELECT tenant, hold_id, hold_id, sku, warehouse, 'A-01-A', 'L1', 1, 'open' FROM hold_lines WHERE tenant = $1 AND warehouse = 'SCL-1' LIMIT 1`,
			`INSERT INTO operators (tenant, name, may) VALUES ($1, 'ana', '{pick}')`,
			`INSERT INTO task_leases (tenant, task, person, until) VALUES ($1, 'pick:1', 'ana', now())`,
			`INSERT INTO operator_commands (tenant, id, device, seq, kind, person, hash, scanned, scanned_at, outcome, answer) VALUES ($1, 'c', 'd', 1, 'move', 'ana', sha256(''), '{}', now(), 'conflict', '{}')`,
			`INSERT INTO exception_tasks (tenant, id, command_id, kind, code, message, due_at) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'c', 'move', 'not_in_bin', 'm', now())`,
			`INSERT INTO disputes (tenant, id, payment_id, reference, status, amount, currency) SELECT tenant, id, id, 'dp_1', 'won', 1, 'CLP' FROM payments WHERE tenant = $1`,
			`INSERT INTO reconciliations (tenant, id, gateway, day, from_at, to_at, status) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'flow', current_date, now(), now() + interval '1 day', 'done')`,
			`INSERT INTO provider_transactions (tenant, gateway, source, kind, key, amount, currency, outcome, at) VALUES ($1, 'flow', 'api', 'charge', 'k', 1, 'CLP', 'approved', now())`,
			`INSERT INTO reconciliation_items (tenant, id, reconciliation_id, gateway, day, kind, result, currency) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'flow', current_date, 'charge', 'matched', 'CLP')`,
			`INSERT INTO event_endpoints (tenant, id, url, key_id, box) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'https://shop.example', 'k', '')`,
			`INSERT INTO run_problems (tenant, workflow_id, subject, problem) VALUES ($1, 'w', 'x', 'missing')`,
			`INSERT INTO support_actions (tenant, id, workflow_id, verb, actor, api_key_id, reason, outcome) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'w', 'retry', 'ana', 'k', 'r', 'done')`,
			`INSERT INTO transfers (tenant, id, from_warehouse, to_warehouse, status, requested_by, due_at) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'SCL-1', 'CCP-1', 'requested', 'ana', now())`,
			`INSERT INTO transfer_lines (tenant, transfer_id, line, sku, quantity) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 1, 'A', 1)`,
			`INSERT INTO transfer_units (tenant, transfer_id, sku, sent) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'A', 1)`,
			`INSERT INTO transfer_operations (tenant, transfer_id, operation_id, digest) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'o', '')`,
			`INSERT INTO transfer_entries (tenant, transfer_id, kind, sku, quantity, person) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'sent', 'A', 1, 'ana')`,
			`INSERT INTO waves (tenant, id, warehouse, kind, person) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'SCL-1', 'batch', 'ana')`,
			`INSERT INTO pick_lists (tenant, id, number, warehouse, kind, wave_id, status, due_at) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'PL-1', 'SCL-1', 'batch', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'open', now())`,
			`INSERT INTO pick_lines (tenant, list_id, line, hold_id, order_id, shipment_id, sku, warehouse, quantity)
			   SELECT s.tenant, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 1, o.hold_id, o.id, s.id, 'A', s.warehouse, 1 FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id WHERE s.tenant = $1 LIMIT 1`,
			`INSERT INTO parcels (tenant, id, shipment_id, position, reference, weight_grams, packed_by) SELECT tenant, id, id, 1, 'ABCDEFGHIJKLMNOP', 1, 'ana' FROM shipments WHERE tenant = $1 LIMIT 1`,
			`INSERT INTO bookings (tenant, id, shipment_id, parcel_id, carrier, service, reference, day) SELECT tenant, id, shipment_id, id, 'correos', '24', 'ABCDEFGHIJKLMNOP', current_date FROM parcels WHERE tenant = $1`,
			`INSERT INTO carrier_labels (tenant, booking_id, format, data) SELECT tenant, id, 'pdf', '' FROM bookings WHERE tenant = $1`,
			`INSERT INTO carrier_days (tenant, carrier, day, parcels) VALUES ($1, 'correos', current_date, 1)`,
			`INSERT INTO tracking_events (tenant, parcel_id, digest, state, code, words, place) SELECT tenant, id, 'd', '', '', '', '' FROM parcels WHERE tenant = $1`,
			`INSERT INTO rates (tenant, id, carrier, service, name, method, price, comuna, region, weight_grams, expires_at) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', '', 'standard', 'standard', 'home', 1, 'Providencia', 'RM', 1, now())`,
			`INSERT INTO notices (tenant, id, subject, kind, channel, dedupe) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'x', 'delayed', 'email', 'x')`,
			`INSERT INTO purchase_orders (tenant, id, number, supplier, warehouse, person) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'PO-1', 's', 'SCL-1', 'ana')`,
			`INSERT INTO purchase_order_lines (tenant, purchase_order_id, line, sku, ordered) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 1, 'A', 1)`,
			`INSERT INTO receipts (tenant, id, warehouse, purchase_order_id, bin, due_at, person) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'SCL-1', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'A-01-A', now(), 'ana')`,
			`INSERT INTO receipt_entries (tenant, receipt_id, batch, kind, scanned, quantity, condition, person) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'unknown', 'x', 1, 'good', 'ana')`,
			`INSERT INTO adjustment_reasons (tenant, code, name_es, name_en) VALUES ($1, 'own', 'Propio', 'Own')`,
			`INSERT INTO count_requests (tenant, id, warehouse, bin, sku, reason, document) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'SCL-1', 'A-01-A', 'A', 'short_pick', 'pick:1')`,
			`INSERT INTO count_attempts (tenant, count_id, bin, attempt, person, began_at, moved, digest, variance) SELECT tenant, count_id, bin, 1, 'ana', now(), false, 'd', '' FROM count_tasks WHERE tenant = $1`,
			`INSERT INTO count_lines (tenant, count_id, bin, attempt, sku, status, expected, counted) SELECT tenant, count_id, bin, 1, 'A', 'available', 1, 1 FROM count_tasks WHERE tenant = $1`,
			`INSERT INTO count_plans (tenant, name, warehouse, every_days, bins_per_day) VALUES ($1, 'daily', 'SCL-1', 30, 5)`,
			`INSERT INTO count_plan_days (tenant, plan, day) VALUES ($1, 'daily', current_date)`,
			`UPDATE stock_levels SET alert_below = 1000 WHERE tenant = $1 AND warehouse = 'SCL-1'`,
		} {
			_, err := tx.Exec(ctx, sql, shoptest.Tenant)
			require.NoError(t, err, sql)
		}
		return nil
	})
	// What the system alone writes.
	for _, sql := range []string{
		`INSERT INTO feeds (tenant, position) VALUES ($1, 1)`,
		`INSERT INTO public_events (tenant, position, id, seq, type, subject, data, created_at) SELECT tenant, 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', seq, 'order.paid', subject, '{}', created_at FROM events WHERE tenant = $1 LIMIT 1`,
		`INSERT INTO event_deliveries (tenant, endpoint_id, event_id, position) VALUES ($1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', '01ARZ3NDEKTSV4RRFFQ69G5FAV', 1)`,
	} {
		s.Exec(t, sql, shoptest.Tenant)
	}
	return s
}

func count(t *testing.T, tx pgx.Tx, table string) (n int) {
	t.Helper()
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()).Scan(&n), table)
	return n
}

func TestRowLevelSecurity_IsForcedOnEveryTable(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	require.Empty(t, shoptest.List[string](t, s, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p') AND NOT (relrowsecurity AND relforcerowsecurity)`))
	require.Greater(t, len(shoptest.List[string](t, s, tenantTables)), 25)
	// Views and functions of the owner would step over it.
	require.Empty(t, shoptest.List[string](t, s, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v','m','f')`))
	require.Empty(t, shoptest.List[string](t, s, `SELECT relname FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p') AND relname <> 'status_moves'
	   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND a.attnotnull)`))
	require.Empty(t, shoptest.List[string](t, s, `SELECT proname FROM pg_proc WHERE pronamespace = 'jl'::regnamespace AND prosecdef AND proowner <> 'jl_system'::regrole`))
}

func TestRowLevelSecurity_WithoutATenantNothingIsSeen(t *testing.T) {
	t.Parallel()
	s := fullShop(t)
	s.AddTenant(t, "other")
	for _, table := range shoptest.List[string](t, s, tenantTables) {
		require.NotZero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM `+table+` WHERE tenant = 'acme'`), "the test has no row in %s", table)
		require.NoError(t, s.DB.NoTenant(t.Context(), func(tx pgx.Tx) error {
			require.Zero(t, count(t, tx, table), table)
			return nil
		}))
		require.NoError(t, s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
			var n int
			require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE tenant <> 'other'`).Scan(&n))
			require.Zero(t, n, table)
			return nil
		}))
		require.NoError(t, s.DB.AsSystem(t.Context(), func(tx pgx.Tx) error {
			require.NotZero(t, count(t, tx, table), table)
			return nil
		}))
	}
}

func TestRowLevelSecurity_AnotherTenantsRowsCanBeNeitherWrittenNorChanged(t *testing.T) {
	t.Parallel()
	s := fullShop(t)
	s.AddTenant(t, "other")
	for _, table := range shoptest.List[string](t, s, tenantTables) {
		row := shoptest.Value[json.RawMessage](t, s, `SELECT to_jsonb(x) FROM `+table+` x WHERE tenant = 'acme' LIMIT 1`)
		insert := fmt.Sprintf(`INSERT INTO %s OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(NULL::%s, $1)).*`, table, table)
		for _, as := range []string{"other", ""} {
			do := func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), insert, row)
				return err
			}
			var err error
			if as == "" {
				err = s.DB.NoTenant(t.Context(), do)
			} else {
				err = s.DB.InTenant(t.Context(), as, do)
			}
			var pg *pgconn.PgError
			require.ErrorAs(t, err, &pg, table)
			// What a table keeps by triggers alone, the program may not write at all.
			require.Regexp(t, "row-level security|permission denied", pg.Message, table)
		}
		err := s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
			tag, err := tx.Exec(t.Context(), `UPDATE `+table+` SET tenant = 'other' WHERE tenant = 'acme'`)
			require.Zero(t, tag.RowsAffected(), table)
			return err
		})
		if err != nil {
			require.ErrorContains(t, err, "permission denied", table)
		}
	}
}

func TestInTenant_DoesNotLeakThroughAPoolOfOneConnection(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	db, err := postgres.Open(t.Context(), s.Database.AppURL, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	seen := func(tx pgx.Tx) (names []string, err error) {
		rows, err := tx.Query(t.Context(), `SELECT tenant FROM tenants`)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[string])
	}
	failed := errors.New("rolled back")
	var wg sync.WaitGroup
	for _, name := range []string{"acme", "other", ""} {
		wg.Go(func() {
			for i := range 40 {
				want := []string{name}
				in := func(fn func(pgx.Tx) error) error { return db.InTenant(t.Context(), name, fn) }
				if name == "" {
					want, in = nil, func(fn func(pgx.Tx) error) error { return db.NoTenant(t.Context(), fn) }
				}
				var got []string
				err := in(func(tx pgx.Tx) (err error) {
					if got, err = seen(tx); err == nil && i%5 == 0 {
						err = failed
					}
					return err
				})
				if err != nil && !errors.Is(err, failed) {
					t.Error(err)
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%q sees %v", name, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestInTenant_RefusesWhatIsNoTenantsName(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	for _, name := range []string{"", "ACME", "a'; drop table tenants; --", "a b", "-a", "ácme", "a_b", "012345678901234567890123456789012"} {
		err := s.DB.InTenant(t.Context(), name, func(pgx.Tx) error { t.Error("ran"); return nil })
		require.ErrorIs(t, err, postgres.ErrNoTenant, name)
	}
}

func TestAppRole_OwnsNothingAndCanNotStepOverItsLimits(t *testing.T) {
	t.Parallel()
	s := fullShop(t)
	for _, role := range []string{"jl_app", "jl_system"} {
		require.False(t, shoptest.Value[bool](t, s, `SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication FROM pg_roles WHERE rolname = $1`, role), role)
		require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM pg_class WHERE relowner = $1::text::regrole`, role), role)
	}
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM pg_proc WHERE proowner = 'jl_app'::regrole`))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM pg_namespace WHERE nspowner = 'jl_app'::regrole`))
	for _, sql := range []string{
		`UPDATE stock_levels SET on_hand = 1000`,
		`UPDATE stock_movements SET delta = 1`,
		`DELETE FROM stock_movements`,
		`UPDATE events SET kind = 'nothing'`,
		`DELETE FROM events`,
		`UPDATE events SET outbound = false`,
		`UPDATE public_events SET data = '{}'`,
		`DELETE FROM public_events`,
		`UPDATE feeds SET position = 0`,
		`UPDATE captures SET amount = 1`,
		`DELETE FROM captures`,
		`DELETE FROM payments`,
		`DELETE FROM orders`,
		`DELETE FROM hold_lines`,
		`UPDATE status_moves SET to_status = 'paid'`,
		`INSERT INTO status_moves VALUES ('checkout', 'cancelled', 'paid')`,
		`UPDATE support_actions SET actor = 'somebody else'`,
		`TRUNCATE payments`,
		`ALTER TABLE payments DISABLE ROW LEVEL SECURITY`,
		`DROP POLICY own_tenant ON payments`,
		`CREATE TABLE jl.mine ()`,
		`SET ROLE postgres`,
		`UPDATE jl_migrations.done SET version_id = 0`,
	} {
		err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		var pg *pgconn.PgError
		require.ErrorAs(t, err, &pg, sql)
		require.Equal(t, "42501", pg.Code, "%s: %v", sql, err)
	}
}

func TestLookUpFunctions_NeedNoTenantAndTellNothingElse(t *testing.T) {
	t.Parallel()
	s := fullShop(t)
	require.NoError(t, s.DB.NoTenant(t.Context(), func(tx pgx.Tx) error {
		var yes, no bool
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT jl.tenant_exists('acme'), jl.tenant_exists('nobody')`).Scan(&yes, &no))
		require.True(t, yes)
		require.False(t, no)
		var n int
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM jl.find_api_key(sha256('guess'))`).Scan(&n))
		require.Zero(t, n)
		return nil
	}))
	// Look-ups run with the rights of another role: nobody else may call them.
	require.Empty(t, shoptest.List[string](t, s, `SELECT proname FROM pg_proc WHERE pronamespace = 'jl'::regnamespace AND prosecdef AND proname <> 'apply_movement' AND has_function_privilege('pg_monitor', oid, 'EXECUTE')
	   AND has_schema_privilege('pg_monitor', 'jl', 'USAGE')`))
}
