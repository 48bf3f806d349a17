package audit

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
)

func TestAudit_AShopWithADaysOrdersHasNoViolation(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	r := s.audit()
	var text bytes.Buffer
	require.NoError(t, r.WriteText(&text))
	require.True(t, r.OK(), text.String())
	require.Contains(t, text.String(), "No violation.")
	require.Equal(t, 7, r.Ledger.Charges)
	require.Equal(t, 3, r.Ledger.Refunds)
	for _, c := range r.Checks {
		if c.Name != "support.lists_what_is_late" {
			require.Positive(t, c.Rows, "%s looked at nothing", c.Name)
		}
		require.Contains(t, []int{1, 2, 3, 4, 5, 6, 7}, c.Invariant)
	}
}

// Each check is broken in a way that the product's own statements could not,
// and must name what was done.
func TestAudit_NamesWhatWasBroken(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		check   string
		subject string
		breaks  string
	}{
		{"stock.reserved_within_on_hand", "TAZA", `ALTER TABLE stock_levels DROP CONSTRAINT no_unit_promised_twice; UPDATE stock_levels SET reserved = on_hand + 1 WHERE sku = 'TAZA'`},
		{"stock.on_hand_is_its_movements", "TAZA", `UPDATE stock_levels SET on_hand = on_hand + 1 WHERE sku = 'TAZA'`},
		{"stock.reserved_is_its_holds", "TAZA", `UPDATE stock_levels SET reserved = reserved + 1 WHERE sku = 'TAZA'`},
		{"stock.reserved_is_its_holds", "POL", `DELETE FROM hold_lines WHERE hold_id = '{open_hold}'`},
		{"stock.one_live_hold_per_checkout", "{open}", `DROP INDEX holds_one_live_per_checkout; UPDATE holds SET checkout_id = '{open}' WHERE id = '{reservation}'`},
		{"stock.orders_have_their_units", "{paid}", `UPDATE hold_lines SET quantity = quantity - 1 WHERE hold_id = '{paid_hold}' AND sku = 'POL' AND warehouse = 'CCP-1'`},
		{"stock.orders_have_their_units", "{paid}", `UPDATE order_lines SET not_shipped = 1 WHERE order_id = '{paid}' AND sku = 'TAZA'`},
		{"stock.shortfalls_are_named", "{short_hold}", `UPDATE holds SET status = 'held' WHERE id = '{short_hold}'`},
		{"stock.shortfalls_are_named", "{paid_hold}", `UPDATE hold_lines SET shorted = 1 WHERE hold_id = '{paid_hold}' AND sku = 'TAZA'; UPDATE holds SET status = 'short', due_at = now() - interval '1 minute' WHERE id = '{paid_hold}'`},

		{"money.one_payment_applied", "{twice}", `DROP INDEX payments_one_applied; UPDATE payments SET applied = true, applied_at = now(), order_id = '{twice}' WHERE id = '{twice_payment_2}'`},
		{"money.order_is_paid_in_full", "{paid}", `UPDATE payments SET captured_amount = captured_amount - 1 WHERE id = '{paid_payment_1}'`},
		{"money.order_is_paid_in_full", "{paid}", `UPDATE payments SET currency = 'USD' WHERE id = '{paid_payment_1}'`},
		{"money.strays_go_back", "{twice_payment_2}", `DELETE FROM refunds WHERE id = '{twice_refund}'; UPDATE payments SET updated_at = now() - interval '5 minutes'`},
		{"money.strays_go_back", "{twice_payment_2}", `UPDATE refunds SET status = 'failed' WHERE id = '{twice_refund}'; UPDATE payments SET updated_at = now() - interval '5 minutes'`},
		{"money.duplicates_are_called_so", "{twice_payment_2}", `UPDATE refunds SET reason = 'goodwill', created_at = now() + interval '1 second' WHERE id = '{twice_refund}'`},
		{"money.never_more_back_than_taken", "{twice_payment_2}", `UPDATE refunds SET amount = amount + 1 WHERE id = '{twice_refund}'`},
		{"money.never_more_back_than_taken", "{paid_payment_1}", `UPDATE payments SET refunded_amount = 5 WHERE id = '{paid_payment_1}'`},
		{"money.captured_is_its_captures", "{paid_payment_1}", `DELETE FROM captures WHERE payment_id = '{paid_payment_1}'`},
		{"money.status_tells_what_went_back", "{twice_payment_2}", `UPDATE payments SET status = 'captured' WHERE id = '{twice_payment_2}'`},
		{"money.totals_add_up", "{paid}", `UPDATE order_lines SET unit_price = unit_price + 1, total = total + quantity WHERE order_id = '{paid}' AND sku = 'TAZA'`},
		{"money.discount_codes_are_counted", "DIEZ", `UPDATE discount_codes SET used = used + 1`},
		{"money.discount_codes_are_counted", "DIEZ", `UPDATE discount_uses SET given_back = false WHERE checkout_id = '{cancelled}'; UPDATE discount_codes SET used = used + 1`},

		{"refunds.parts_are_the_request", "{paid_request}", `UPDATE refund_requests SET amount = amount + 1 WHERE id = '{paid_request}'`},
		{"refunds.parts_are_the_request", "{paid_request}", `UPDATE refund_requests SET waits = true, payment_id = '{paid_payment_1}', due_at = now() + interval '1 hour' WHERE id = '{paid_request}'`},
		{"refunds.bookings_are_the_parts", "{paid_request}", `UPDATE refund_bookings SET amount = amount + 1 WHERE kind = 'goodwill'`},
		{"refunds.bookings_are_the_parts", "{paid_request}", `UPDATE refunds SET status = 'failed', due_at = NULL WHERE id = '{paid_part}'; UPDATE payments SET refunded_amount = 0 WHERE id = '{paid_payment_1}'`},
		{"refunds.counters_are_the_bookings", "{paid}", `UPDATE refundable SET refunded = refunded - 1 WHERE line_id = '{paid_line}' AND refunded > 0`},
		{"refunds.counters_are_the_bookings", "{paid}", `ALTER TABLE refundable DROP CONSTRAINT no_more_back_than_paid_for_it; UPDATE refundable SET paid = 1 WHERE line_id = '{paid_line}'`},
		{"refunds.units_cost_their_line", "{paid}", `UPDATE refundable SET paid = paid + 1 WHERE line_id = ''`},

		{"money.refunds_elsewhere_are_counted", "{panel_payment_1}", `UPDATE payments SET refunded_elsewhere = 0 WHERE id = '{panel_payment_1}'`},
		{"money.order_is_paid_in_full", "{allowed}", `UPDATE payments SET applied = false, not_applied_reason = 'late_payment' WHERE id = '{allowed_payment_1}'`},
		{"money.strays_go_back", "{allowed_payment_1}", `UPDATE payments SET applied = false, not_applied_reason = 'late_payment', void_reason = 'x', due_at = now() - interval '1 second', updated_at = now() - interval '5 minutes' WHERE id = '{allowed_payment_1}'`},
		{"disputes.agree_with_their_payment", "{disputed_payment_1}", `UPDATE payments SET status = 'captured' WHERE id = '{disputed_payment_1}'`},
		{"disputes.agree_with_their_payment", "{disputed_payment_1}", `UPDATE disputes SET status = 'lost', due_at = NULL`},
		{"disputes.agree_with_their_payment", "{paid_payment_1}", `UPDATE payments SET status = 'charged_back' WHERE id = '{paid_payment_1}'`},
		{"disputes.parcels_stay", "{disputed_parcel}", `UPDATE shipments SET frozen_reason = NULL`},
		{"disputes.parcels_stay", "{paid_parcel}", `UPDATE shipments SET frozen_reason = 'disputed' WHERE id = '{paid_parcel}'`},
		{"due.everything_open_has_its_time", "{allowed_payment_1}", `UPDATE payments SET due_at = NULL WHERE id = '{allowed_payment_1}'`},
		{"due.everything_open_has_its_time", "{disputed_dispute}", `ALTER TABLE disputes DROP CONSTRAINT open_dispute_has_due; UPDATE disputes SET due_at = NULL`},
		{"support.lists_what_is_late", "{allowed_payment_1}", `UPDATE payments SET capture_until = now() - interval '1 hour' WHERE id = '{allowed_payment_1}'`},
		{"ledger.refunds_are_known", "{panel_payment_1}", `DELETE FROM refunds WHERE origin = 'provider'; UPDATE payments SET refunded_elsewhere = 0, status = 'captured' WHERE id = '{panel_payment_1}'`},

		{"orders.applied_money_has_its_order", "{paid_payment_1}", `DELETE FROM orders WHERE id = '{paid}'`},
		{"orders.paid_checkout_is_an_order", "{paid}", `DELETE FROM orders WHERE id = '{paid}'`},
		{"orders.paid_checkout_is_an_order", "{paid}", `UPDATE holds SET status = 'released', confirmed_at = NULL WHERE id = '{paid_hold}'`},
		{"orders.approval_has_an_end", "{twice_payment_2}", `UPDATE payments SET not_applied_reason = NULL WHERE id = '{twice_payment_2}'`},
		{"orders.have_their_fulfillment", "{paid}", `DELETE FROM shipments WHERE order_id = '{paid}' AND warehouse = 'CCP-1'`},
		{"orders.have_their_fulfillment", "{counter}", `UPDATE hold_lines SET left_stock = 0 WHERE hold_id = '{counter}'`},

		{"holds.end_in_time", "{reservation}", `UPDATE holds SET started_at = now() - interval '907 seconds', expires_at = now() - interval '7 seconds', held_until = now() - interval '7 seconds' WHERE id = '{reservation}'`},
		{"holds.end_in_time", "{open_hold}", `UPDATE holds SET expires_at = now() - interval '400 seconds', held_until = now() - interval '7 seconds' WHERE id = '{open_hold}'`},
		{"holds.longer_life_is_named", "{open_hold}", `DELETE FROM events WHERE kind = 'hold_grace'`},
		{"holds.longer_life_is_named", "{reservation}", `UPDATE holds SET expires_at = expires_at + interval '1 hour', held_until = held_until + interval '1 hour' WHERE id = '{reservation}'`},
		{"holds.stand_with_their_checkout", "{open}", `UPDATE holds SET status = 'released' WHERE id = '{open_hold}'`},
		{"holds.stand_with_their_checkout", "{open}", `UPDATE checkouts SET status = 'expired' WHERE id = '{open}'`},

		{"news.are_settled", "{news_pending}", `UPDATE inbox SET due_at = now() - interval '1 second' WHERE id = '{news_pending}'`},
		{"news.ignored_say_why", "{news_ignored}", `ALTER TABLE inbox DROP CONSTRAINT ignored_says_why; UPDATE inbox SET reason = '' WHERE id = '{news_ignored}'`},
		{"news.applied_had_their_effect", "{news_applied}", `UPDATE payments SET status = 'pending', due_at = now() + interval '1 hour', applied = false WHERE id = '{paid_payment_1}'`},

		{"due.everything_open_has_its_time", "{open}", `ALTER TABLE checkouts DROP CONSTRAINT open_has_due; UPDATE checkouts SET due_at = NULL WHERE id = '{open}'`},
		{"due.everything_open_has_its_time", "{cancelled_refund}", `ALTER TABLE refunds DROP CONSTRAINT open_refund_has_due; UPDATE refunds SET due_at = NULL WHERE id = '{cancelled_refund}'`},

		{"due.everything_open_has_its_time", "01K00000000000000000000COU", `ALTER TABLE counts DROP CONSTRAINT an_open_count_is_looked_after;
		  INSERT INTO counts (tenant, id, warehouse, origin, reason, created_by, complete_by) VALUES ('demo', '01K00000000000000000000COU', 'SCL-1', 'person', 'cycle', 'ana', now() + interval '1 day')`},
		{"due.everything_open_has_its_time", "01K0000000000000000000PICK", `ALTER TABLE pick_lists DROP CONSTRAINT an_open_list_has_due;
		  INSERT INTO waves (tenant, id, warehouse, kind, person) VALUES ('demo', '01K0000000000000000000WAVE', 'SCL-1', 'order', 'ana');
		  INSERT INTO pick_lists (tenant, id, number, warehouse, kind, wave_id, status) VALUES ('demo', '01K0000000000000000000PICK', 'L-1', 'SCL-1', 'order', '01K0000000000000000000WAVE', 'open')`},
		{"due.everything_open_has_its_time", "{reconciliation}", `ALTER TABLE reconciliations DROP CONSTRAINT running_has_due; UPDATE reconciliations SET status = 'running'`},
		{"due.everything_open_has_its_time", "{difference}", `ALTER TABLE reconciliation_items DROP CONSTRAINT raised_has_due; UPDATE reconciliation_items SET due_at = NULL`},
		{"reconciliation.differences_have_an_end", "{difference}", `UPDATE reconciliation_items SET resolution = 'repaired', due_at = NULL WHERE id = '{difference}'`},
		{"reconciliation.resolved_say_who", "{resolved_difference}", `DELETE FROM support_actions`},

		{"bins.quantity_is_its_movements", "A-01-A", `UPDATE bin_stock SET quantity = quantity + 1 WHERE bin = 'A-01-A' AND sku = 'POL' AND status = 'available'`},
		{"bins.quantity_is_its_movements", "A-01-A", `DELETE FROM bin_stock WHERE bin = 'A-01-A' AND status = 'damaged'`},
		{"bins.placed_is_in_bins", "POL", `UPDATE stock_levels SET placed = placed - 1 WHERE sku = 'POL' AND warehouse = 'CCP-1'`},
		{"bins.allocated_is_its_allocations", "A-01-A", `UPDATE bin_stock SET allocated = allocated + 1 WHERE bin = 'A-01-A' AND sku = 'POL' AND status = 'available'`},
		{"bins.allocated_is_its_allocations", "PACK-1", `UPDATE allocations SET bin = 'A-01-A' WHERE state = 'picked'`},
		{"bins.allocated_is_its_allocations", "A-01-A", `ALTER TABLE bin_stock DROP CONSTRAINT only_available_is_allocated; UPDATE bin_stock SET allocated = 1 WHERE bin = 'A-01-A' AND status = 'damaged'`},
		{"bins.promises_know_their_allocations", "{twice_hold}", `UPDATE hold_lines SET picked = 0 WHERE picked > 0`},
		{"bins.promises_know_their_allocations", "{panel_hold}", `ALTER TABLE hold_lines DROP CONSTRAINT no_more_allocated_than_promised; UPDATE hold_lines SET quantity = allocated - 1 WHERE allocated > 0`},
		{"bins.serials_are_in_one_place", "S-1", `UPDATE serials SET bin = 'PACK-1' WHERE serial = 'S-1'`},
		{"bins.serials_are_in_one_place", "S-2", `UPDATE serials SET state = 'in_stock', bin = 'A-01-A', status = 'available' WHERE serial = 'S-2'`},
		{"bins.serials_are_in_one_place", "A-01-A", `DELETE FROM serials WHERE serial = 'S-1'`},
		{"bins.nothing_of_ended_lots_is_chosen", "L1", `UPDATE lots SET status = 'expired'`},

		{"ledger.captures_are_charged", "{open_payment_1}", `UPDATE payments SET status = 'captured', captured_amount = amount WHERE id = '{open_payment_1}'`},
		{"ledger.amounts_agree", "{paid_payment_1}", `UPDATE payments SET captured_amount = captured_amount + 1 WHERE id = '{paid_payment_1}'`},
		{"ledger.our_refunds_went_back", "{cancelled_refund}", `UPDATE refunds SET status = 'succeeded', due_at = NULL WHERE id = '{cancelled_refund}'`},
		{"ledger.refunds_are_known", "{twice_payment_2}", `DELETE FROM refunds WHERE id = '{twice_refund}'`},
		{"ledger.charges_are_known", "{paid_payment_1}", `UPDATE payments SET status = 'declined', captured_amount = 0, refunded_amount = 0, applied = false WHERE id = '{paid_payment_1}'`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, s.put(tc.subject))
		})
	}
}

func requireNamed(t *testing.T, r Report, check, subject string) {
	t.Helper()
	require.False(t, r.OK())
	for _, c := range r.Checks {
		if c.Name != check {
			continue
		}
		for _, v := range c.Violations {
			if v.Subject == subject {
				require.NotEmpty(t, v.Words)
				require.NotEmpty(t, v.Repair)
				return
			}
		}
		require.Failf(t, "not named", "%s names %+v, not %s", check, c.Violations, subject)
	}
	require.Failf(t, "no such check", "%s", check)
}

func TestAudit_AChargeThatIsNobodysIsNamed(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	stranger := "01K00000000000000000000000"
	s.post("/ledger/charges", map[string]any{"payment_id": stranger, "gateway": "stripe", "amount": 990})
	requireNamed(t, s.audit(), "ledger.charges_are_known", stranger)
}

func TestAudit_ASecondChargeOfOnePaymentIsNamed(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/ledger/charges", map[string]any{"payment_id": s.ids["paid_payment_1"], "gateway": "transbank", "amount": 990})
	r := s.audit()
	requireNamed(t, r, "ledger.captures_are_charged", s.ids["paid_payment_1"])
	requireNamed(t, r, "ledger.amounts_agree", s.ids["paid_payment_1"])
}

func TestAudit_ChargesUnderOneReferenceAreToldApartByTheirNames(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	p := s.ids["paid_payment_1"]
	v, err := checkout.Load(t.Context(), s.db, shopID, s.ids["paid"])
	require.NoError(t, err)
	second := s.post("/ledger/charges", map[string]any{"payment_id": p, "gateway": "transbank", "amount": v.Total})
	requireNamed(t, s.audit(), "ledger.captures_are_charged", p)

	a := payment.Answer{Outcome: payment.OutcomeApproved, Captured: true, PaymentID: p, Amount: v.Total, Currency: v.Currency, Reference: "token-" + p}
	other := a
	other.CaptureRef = second
	a.Others = []payment.Answer{other}
	r, err := checkout.Record(t.Context(), s.db, shopID, s.ids["paid"], checkout.News{PaymentID: p, AskedAt: time.Now(), Answer: a})
	require.NoError(t, err)
	require.Len(t, r.RefundIDs, 1)
	require.True(t, s.audit().OK(), "its refund is on its way")

	s.ids["second"] = r.View.Attempts[1].PaymentID
	r.RefundID = r.RefundIDs[0]
	s.in(func(tx pgx.Tx) error {
		return payment.PutRefund(t.Context(), tx, shopID, r.RefundID, "succeeded", payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "r-2"}, 0)
	})
	requireNamed(t, s.audit(), "ledger.our_refunds_went_back", r.RefundID)
	s.post("/ledger/refunds", map[string]any{"payment_id": p, "gateway": "transbank", "amount": v.Total})
	require.True(t, s.audit().OK(), "the provider knows the refund by the first one's id")

	s.broken(`UPDATE payments SET captured_amount = captured_amount + 1 WHERE id = '{second}'`)
	requireNamed(t, s.audit(), "ledger.amounts_agree", p)
	s.broken(`UPDATE payments SET captured_amount = captured_amount - 1, capture_ref = 'another' WHERE id = '{second}'`)
	requireNamed(t, s.audit(), "ledger.captures_are_charged", s.ids["second"])
}

func TestAudit_WhatAPersonHasClearedIsNoViolation(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE payments SET captured_amount = captured_amount - 1 WHERE id = '{panel_payment_1}'; UPDATE captures SET amount = amount - 1 WHERE payment_id = '{panel_payment_1}';
	          INSERT INTO order_attention SELECT tenant, id, 'captured_less_than_total' FROM orders WHERE id = '{panel}'`)
	s.in(func(tx pgx.Tx) error {
		return order.Clear(t.Context(), tx, order.Clearing{Tenant: shopID, OrderID: s.ids["panel"], Attention: "captured_less_than_total", Actor: "ana", KeyID: "k", Reason: "it is fine"})
	})
	for _, c := range s.audit().Checks {
		if c.Name == "money.order_is_paid_in_full" {
			require.Empty(t, c.Violations)
		}
	}
}

func TestAudit_ARefundMadeInTheProvidersPanelIsNamed(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/ledger/refunds", map[string]any{"payment_id": s.ids["paid_payment_1"], "gateway": "transbank", "amount": 500})
	requireNamed(t, s.audit(), "ledger.refunds_are_known", s.ids["paid_payment_1"])
}

func TestAudit_ARefundInThePanelBesideOneOfOursThatIsInDoubtIsForAPerson(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/ledger/refunds", map[string]any{"payment_id": s.ids["paid_payment_1"], "gateway": "transbank", "amount": 500})
	s.broken(`INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, code, due_at)
	  SELECT tenant, '01ARZ3NDEKTSV4RRFFQ69G5FAV', id, order_id, 700, currency, 'duplicate', 'unknown', 'refund_mismatch', now() + interval '1 hour' FROM payments WHERE id = '{paid_payment_1}'`)
	named := func() (all []string) {
		for _, c := range s.audit().Checks {
			if c.Name == "ledger.refunds_are_known" {
				for _, v := range c.Violations {
					all = append(all, v.Subject)
				}
			}
		}
		return all
	}
	require.Empty(t, named())
	s.broken(`UPDATE refunds SET code = '' WHERE id = '01ARZ3NDEKTSV4RRFFQ69G5FAV'`)
	require.Equal(t, []string{s.ids["paid_payment_1"]}, named())
}

func TestAudit_AChargeOfAPaymentInMotionIsNoViolation(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.post("/ledger/charges", map[string]any{"payment_id": s.ids["open_payment_1"], "gateway": "transbank", "amount": 20000})
	require.True(t, s.audit().OK())
	s.broken(`UPDATE payments SET due_at = now() - interval '1 second' WHERE id = '{open_payment_1}'; UPDATE inbox SET status = 'ignored', reason = 'x', settled_at = now(), due_at = NULL WHERE status = 'pending'`)
	requireNamed(t, s.audit(), "ledger.charges_are_known", s.ids["open_payment_1"])
}

func TestAudit_AHoldPastItsTimeIsJudgedByItsDueTimeWhileTheStackIsDown(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE holds SET started_at = now() - interval '920 seconds', expires_at = now() - interval '20 seconds', held_until = now() - interval '20 seconds' WHERE id = '{reservation}'`)
	r, err := Run(t.Context(), s.db, Options{})
	require.NoError(t, err)
	require.True(t, r.OK())
	require.Nil(t, r.Ledger)
	r, err = Run(t.Context(), s.db, Options{UpSince: time.Now()}) // has just come up
	require.NoError(t, err)
	require.True(t, r.OK())
	s.broken(`UPDATE holds SET due_at = now() - interval '1 second' WHERE id = '{reservation}'`)
	r, err = Run(t.Context(), s.db, Options{})
	require.NoError(t, err)
	requireNamed(t, r, "holds.end_in_time", s.ids["reservation"])
}

func TestAudit_WhatIsLateAndNotOnTheSupportListIsNamed(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE payments SET due_at = now() - interval '1 minute' WHERE id = '{open_payment_1}';
	          UPDATE checkouts SET due_at = now() - interval '1 minute' WHERE id = '{open}';
	          UPDATE refunds SET due_at = now() - interval '1 minute' WHERE id = '{cancelled_refund}';
	          UPDATE shipments SET due_at = now() - interval '1 minute' WHERE order_id = '{paid}';
	          INSERT INTO order_attention (tenant, order_id, reason) SELECT tenant, id, 'payment_under_review' FROM orders WHERE id = '{twice}'`)
	r := s.audit()
	var text bytes.Buffer
	require.NoError(t, r.WriteText(&text))
	require.True(t, r.OK(), "what is late is on the list: "+text.String())

	// News that are settled and late all the same: the list does not know of them.
	s.broken(`UPDATE inbox SET due_at = now() - interval '1 minute' WHERE id = '{news_ignored}'`)
	requireNamed(t, s.audit(), "support.lists_what_is_late", s.ids["news_ignored"])
}

func TestAudit_TheReportReadsAndParses(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE stock_levels SET on_hand = on_hand + 1 WHERE sku = 'TAZA'`)
	r := s.audit()
	var text bytes.Buffer
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "demo TAZA: TAZA in SCL-1: 18 on hand, its movements add up to 17")
	require.Contains(t, text.String(), "repair: count the shelf")
	require.Contains(t, text.String(), "1 violations.")
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	var back Report
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, 1, back.Violations)
	require.NotContains(t, string(raw), `"violations":null`)
}

func TestAudit_ALedgerThatCantBeReadIsAnError(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	_, err := Run(t.Context(), s.db, Options{SandboxURL: "http://127.0.0.1:1", Client: http.DefaultClient, Patience: time.Millisecond})
	require.ErrorIs(t, err, ErrLedger)
}
