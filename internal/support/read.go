// Package support shows what needs a person: steps that were parked, rows past
// the moment by which they must have moved, runs that are gone, orders that ask
// for attention. It is SQL over what others have written; what a person then
// does is in package verbs.
package support

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Item is one thing that needs a person.
type Item struct {
	// Kind is parked, run (missing, terminated, failed, wedged ...), overdue,
	// difference (between a provider's books and ours), dispute or attention.
	Kind string `json:"kind"`
	// Of says what is late: checkout, reservation, payment, authorization,
	// refund, news, shipment, reconciliation, pick_list, transfer, purchase order, receipt, return, count, exception; the step of a parked one, the gateway of a dispute.
	Of         string     `json:"of"`
	WorkflowID *string    `json:"workflow_id"`
	Subject    string     `json:"subject"`
	Number     *string    `json:"number"` // the order number that people read
	Reason     string     `json:"reason"` // a code
	Why        string     `json:"why"`
	Since      time.Time  `json:"since"`
	Tried      string     `json:"tried"`
	Verbs      []string   `json:"verbs"` // those that apply now
	DueAt      *time.Time `json:"due_at"`
	row        string
}

// items is every reason for being on the list. row makes two alike distinct.
const items = `
WITH item AS (
  SELECT 'parked' AS kind, step AS of, workflow_id, subject, reason, message AS why, since, tried, due_at, step AS row
    FROM parked WHERE tenant = $1 AND resolved_at IS NULL
  UNION ALL
  SELECT 'run', problem, workflow_id, subject, 'run_' || problem, 'the run is ' || replace(problem, '_', ' ') || CASE WHEN detail = '' THEN '' ELSE ': ' || detail END, since, 'checked every minute', NULL, ''
    FROM run_problems WHERE tenant = $1
  UNION ALL
  SELECT 'overdue', 'checkout', 'checkout:' || tenant || ':' || id, id, 'overdue', 'the checkout is ' || status || ' past its time', due_at, '', due_at, id
    FROM checkouts WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'reservation',
         CASE WHEN confirmed_at IS NOT NULL THEN 'shortage:' || tenant || ':' || order_id WHEN checkout_id IS NOT NULL THEN 'checkout:' || tenant || ':' || checkout_id ELSE 'reservation:' || tenant || ':' || id END,
         id, 'overdue', CASE WHEN confirmed_at IS NOT NULL THEN 'units of a paid order are missing' ELSE 'the reservation is ' || status || ' past its time' END, due_at, '', due_at, id
    FROM holds h WHERE tenant = $1 AND due_at < now()
     AND (confirmed_at IS NOT NULL OR status = 'short' OR NOT EXISTS (SELECT FROM checkouts c WHERE c.tenant = h.tenant AND c.id = h.checkout_id AND c.due_at < now()))
  UNION ALL
  SELECT 'overdue', 'payment', CASE WHEN checkout_id IS NOT NULL THEN 'checkout:' || tenant || ':' || checkout_id END,
         id, 'overdue', 'the payment by ' || gateway || ' is ' || status || ' past its time', due_at, '', due_at, id
    FROM payments WHERE tenant = $1 AND due_at < now() AND status <> 'authorized'
  UNION ALL
  SELECT 'overdue', 'authorization', CASE WHEN capture_amount IS NOT NULL OR void_reason IS NOT NULL THEN 'capture:' || tenant || ':' || id END,
         id, CASE WHEN capture_amount IS NULL AND void_reason IS NULL THEN 'capture_soon' ELSE 'overdue' END,
         CASE WHEN void_reason IS NOT NULL THEN 'the authorization by ' || gateway || ' is not given back yet'
              WHEN capture_amount IS NOT NULL THEN 'the authorization by ' || gateway || ' is not captured yet'
              ELSE 'nobody has captured the authorization by ' || gateway END
           || CASE WHEN capture_until IS NULL THEN '' WHEN capture_until < now() THEN '; its time was over at ' ELSE '; it lapses at ' END || coalesce(to_char(capture_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), ''),
         due_at, '', due_at, id
    FROM payments WHERE tenant = $1 AND due_at < now() AND status = 'authorized'
  UNION ALL
  SELECT 'dispute', p.gateway, NULL, p.id, 'disputed',
         'the buyer''s bank disputes ' || d.amount || ' ' || d.currency || ' (minor units) at ' || p.gateway || CASE WHEN d.reason = '' THEN '' ELSE ', ' || replace(d.reason, '_', ' ') END || ': answer it in the provider''s panel until '
           || coalesce(to_char(d.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), 'now') || CASE WHEN d.answer_by IS NULL THEN ' (the provider names no day)' ELSE '' END,
         d.opened_at, '', d.due_at, d.id
    FROM disputes d JOIN payments p ON p.tenant = d.tenant AND p.id = d.payment_id WHERE d.tenant = $1 AND d.status = 'open'
  UNION ALL
  SELECT 'overdue', 'refund', 'refund:' || tenant || ':' || coalesce(request_id, id), coalesce(request_id, id), 'overdue', 'the refund is ' || status || ' past its time', due_at, '', due_at, id
    FROM refunds WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'refund', 'refund:' || tenant || ':' || id, id, 'overdue', 'the refund waits for its payment past its time', due_at, '', due_at, id
    FROM refund_requests WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'news', CASE WHEN p.checkout_id IS NOT NULL THEN 'checkout:' || i.tenant || ':' || p.checkout_id END,
         coalesce(p.id, nullif(i.payment_id, ''), i.id), 'overdue',
         CASE WHEN p.id IS NULL THEN 'news from ' || i.gateway || ' about a payment that is not known' ELSE 'a ' || i.kind || ' from ' || i.gateway || ' is not applied yet' END,
         i.due_at, i.attempts || ' attempts', i.due_at, i.id
    FROM inbox i LEFT JOIN payments p ON p.tenant = i.tenant AND p.id = i.payment_id WHERE i.tenant = $1 AND i.status = 'pending' AND i.due_at < now()
  UNION ALL
  SELECT 'overdue', 'shipment', 'fulfillment:' || tenant || ':' || id, order_id, 'overdue', 'the shipment from ' || warehouse || ' is ' || replace(status, '_', ' ') || ' past its time', due_at, '', due_at, id
    FROM shipments s WHERE tenant = $1 AND due_at < now() AND NOT EXISTS (SELECT FROM parked p WHERE p.tenant = s.tenant AND p.workflow_id = 'fulfillment:' || s.tenant || ':' || s.id AND p.resolved_at IS NULL)
  UNION ALL
  SELECT 'overdue', 'pick_list', NULL, id, 'overdue', 'the pick list ' || number || ' is ' || replace(status, '_', ' ') || ' past its time', due_at, CASE WHEN assigned_to = '' THEN '' ELSE 'with ' || assigned_to END, due_at, id
    FROM pick_lists WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'purchase order', NULL, id, 'overdue', 'purchase order ' || number || ' of ' || supplier || ' is ' || replace(status, '_', ' ') || ' past its time: it waits for ' || waits_for, due_at, '', due_at, id
    FROM purchase_orders WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'receipt', 'receipt:' || tenant || ':' || id, id, 'overdue', 'the receipt in ' || warehouse || ' is ' || status || ' past its time: it waits for ' || waits_for, due_at, '', due_at, id
    FROM receipts r WHERE tenant = $1 AND due_at < now() AND NOT EXISTS (SELECT FROM parked p WHERE p.tenant = r.tenant AND p.workflow_id = 'receipt:' || r.tenant || ':' || r.id AND p.resolved_at IS NULL)
  UNION ALL
  SELECT 'overdue', 'return', 'return:' || tenant || ':' || id, order_id, 'overdue', 'the return ' || number || ' is ' || replace(status, '_', ' ') || ' past its time', due_at, '', due_at, id
    FROM returns r WHERE tenant = $1 AND due_at < now() AND NOT EXISTS (SELECT FROM parked p WHERE p.tenant = r.tenant AND p.workflow_id = 'return:' || r.tenant || ':' || r.id AND p.resolved_at IS NULL)
  UNION ALL
  SELECT 'overdue', 'reconciliation', 'reconciliation:' || tenant || ':' || id, id, 'overdue', 'the reconciliation of ' || gateway || ' of ' || to_char(day, 'YYYY-MM-DD') || ' is ' || status || ' past its time', due_at, '', due_at, id
    FROM reconciliations WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'transfer', CASE WHEN status <> 'requested' THEN 'transfer:' || tenant || ':' || id END, id, 'overdue',
         CASE WHEN status = 'requested' THEN 'nothing has left of the transfer from ' ELSE 'goods are on the way from ' END || from_warehouse || ' to ' || to_warehouse || ' past their time', due_at, '', due_at, id
    FROM transfers t WHERE tenant = $1 AND due_at < now() AND NOT EXISTS (SELECT FROM parked p WHERE p.tenant = t.tenant AND p.workflow_id = 'transfer:' || t.tenant || ':' || t.id AND p.resolved_at IS NULL)
  UNION ALL
  SELECT 'overdue', 'exception', NULL, id, code, 'a scan (' || replace(kind, '_', ' ') || ') could not be applied and nobody has looked: ' || message, created_at, 'taken from the scanner', due_at, id
    FROM exception_tasks WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'overdue', 'count', 'count:' || tenant || ':' || id, id, 'overdue', 'nobody looks after the count of bins in ' || warehouse, due_at, '', due_at, id
    FROM counts WHERE tenant = $1 AND due_at < now()
  UNION ALL
  SELECT 'difference', kind, NULL, id, result, gateway || ', ' || to_char(day, 'YYYY-MM-DD') || ': ' || replace(result, '_', ' ') || CASE WHEN payment_id = '' THEN '' ELSE ' (payment ' || payment_id || ')' END || ': ' || note,
         created_at, 'compared with the provider''s books', due_at, id
    FROM reconciliation_items WHERE tenant = $1 AND resolution = 'raised'
  UNION ALL
  SELECT 'attention', 'order', NULL, order_id, reason, 'the order asks for attention: ' || replace(reason, '_', ' '), since, '', NULL, order_id || ' ' || reason
    FROM order_attention a WHERE tenant = $1 AND NOT EXISTS (SELECT FROM parked p WHERE p.tenant = a.tenant AND p.subject = a.order_id AND p.reason = a.reason AND p.resolved_at IS NULL)
), keyed AS (
  SELECT *, kind || ' ' || of || ' ' || coalesce(workflow_id, '') || ' ' || row AS key FROM item
)`

const page = items + `
SELECT k.kind, k.of, k.workflow_id, k.subject,
       (SELECT coalesce(
          (SELECT number FROM checkouts c WHERE c.tenant = $1 AND c.id = k.subject),
          (SELECT number FROM payments p JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id WHERE p.tenant = $1 AND p.id = k.subject),
          (SELECT number FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id WHERE r.tenant = $1 AND r.id = k.subject),
          (SELECT number FROM reconciliation_items i JOIN payments p ON p.tenant = i.tenant AND p.id = i.payment_id JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id WHERE i.tenant = $1 AND i.id = k.subject),
          (SELECT number FROM refund_requests q JOIN orders o ON o.tenant = q.tenant AND o.id = q.order_id WHERE q.tenant = $1 AND q.id = k.subject),
          (SELECT number FROM orders o WHERE o.tenant = $1 AND o.id = k.subject),
          (SELECT number FROM holds h JOIN checkouts c ON c.tenant = h.tenant AND c.id = h.checkout_id WHERE h.tenant = $1 AND h.id = k.subject))),
       k.reason, k.why, k.since, k.tried,
       ARRAY(SELECT DISTINCT v FROM parked p, unnest(p.verbs) v WHERE p.tenant = $1 AND p.workflow_id = k.workflow_id AND p.resolved_at IS NULL AND (k.kind <> 'parked' OR p.step = k.of) ORDER BY v)
         || CASE WHEN EXISTS (SELECT FROM run_problems r WHERE r.tenant = $1 AND r.workflow_id = k.workflow_id) THEN ARRAY['restart'] ELSE '{}' END || CASE WHEN k.kind = 'difference' THEN ARRAY['resolve'] ELSE '{}' END || CASE WHEN k.kind = 'attention' AND k.reason NOT IN ('disputed','short_stock') THEN ARRAY['clear'] ELSE '{}' END,
       k.due_at, k.key
  FROM keyed k WHERE ($2::timestamptz IS NULL OR (k.since, k.key) < ($2, $3))
 ORDER BY k.since DESC, k.key DESC LIMIT $4`

// Stuck lists what needs a person, the newest first. after is the Position of
// the last item of the page before, or empty.
func Stuck(ctx context.Context, tx pgx.Tx, tenant, after string, limit int) ([]Item, error) {
	var since *time.Time
	var key string
	if after != "" {
		var err error
		if since, key, err = parsePosition(after); err != nil {
			return nil, err
		}
	}
	rows, err := tx.Query(ctx, page, tenant, since, key, limit)
	if err != nil {
		return nil, fmt.Errorf("support list: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i Item, err error) {
		err = row.Scan(&i.Kind, &i.Of, &i.WorkflowID, &i.Subject, &i.Number, &i.Reason, &i.Why, &i.Since, &i.Tried, &i.Verbs, &i.DueAt, &i.row)
		return i, err
	})
	if err != nil {
		return nil, fmt.Errorf("support list: %w", err)
	}
	return list, nil
}

// ErrPosition is returned for a position that Position did not make.
var ErrPosition = errors.New("not a position in the support list")

// Position names an item's place in the list.
func (i Item) Position() string {
	return strconv.FormatInt(i.Since.UnixMicro(), 10) + "|" + i.row
}

func parsePosition(s string) (*time.Time, string, error) {
	micros, key, found := strings.Cut(s, "|")
	n, err := strconv.ParseInt(micros, 10, 64)
	if !found || err != nil {
		return nil, "", ErrPosition
	}
	t := time.UnixMicro(n).UTC()
	return &t, key, nil
}
