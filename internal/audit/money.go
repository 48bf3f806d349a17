package audit

// moneyRules are invariant 2 as far as the database alone can tell: no money is
// kept twice. compare.go has the providers' side of it.
var moneyRules = []rule{
	{
		invariant: 2, name: "money.one_payment_applied",
		says: "at most one payment is applied to an order, or a set whose sum is its total",
		rows: `SELECT count(*) FROM payments WHERE applied`,
		find: `SELECT p.tenant, coalesce(p.order_id, p.checkout_id, p.id), jsonb_build_object('payments', jsonb_agg(p.id ORDER BY p.id), 'applied', sum(p.captured_amount), 'total', max(o.total)),
		         format('%s payments are applied, %s in all, to a total of %s', count(*), sum(p.captured_amount), max(o.total))
		    FROM payments p LEFT JOIN orders o ON o.tenant = p.tenant AND o.id = coalesce(p.order_id, p.checkout_id)
		   WHERE p.applied GROUP BY p.tenant, coalesce(p.order_id, p.checkout_id, p.id)
		  HAVING count(*) > 1 AND sum(p.captured_amount) IS DISTINCT FROM max(o.total) ORDER BY 1, 2`,
		repair: "keep the first, mark the others not applied (duplicate_payment) and refund them",
	},
	{
		invariant: 2, name: "money.order_is_paid_in_full",
		says: "what is applied to an order is its total, in its currency, or a person has accepted another sum, captured less, or given the authorization back",
		rows: `SELECT count(*) FROM orders`,
		find: `WITH paid AS (
		    SELECT tenant, order_id, count(*) AS n,
		           sum(CASE WHEN status IN ('authorized','disputed') AND captured_amount = 0 OR capture_amount = captured_amount THEN amount ELSE captured_amount END) AS sum, array_agg(DISTINCT currency) AS currencies,
		           bool_or(code = 'accepted_by_support') AS accepted
		      FROM payments WHERE applied GROUP BY 1, 2
		  )
		  SELECT o.tenant, o.id, jsonb_build_object('number', o.number, 'total', o.total, 'applied', coalesce(p.sum, 0), 'currency', o.currency),
		         format('total %s %s, applied %s', o.total, o.currency, CASE WHEN p.n IS NULL THEN 'nothing' ELSE p.sum || ' ' || array_to_string(p.currencies, '+') END)
		    FROM orders o LEFT JOIN paid p ON p.tenant = o.tenant AND p.order_id = o.id
		   WHERE (coalesce(p.sum, 0) <> o.total OR p.n > 0 AND p.currencies <> ARRAY[o.currency])
		     AND NOT coalesce(p.accepted, false) AND NOT EXISTS (SELECT FROM order_attention a WHERE a.tenant = o.tenant AND a.order_id = o.id AND a.reason = 'captured_less_than_total')
		     AND NOT EXISTS (SELECT FROM support_actions a WHERE a.tenant = o.tenant AND a.verb = 'clear' AND a.detail->>'order_id' = o.id AND a.detail->>'attention' = 'captured_less_than_total')
		     AND NOT (p.n IS NULL AND EXISTS (SELECT FROM payments g WHERE g.tenant = o.tenant AND g.order_id = o.id AND g.not_applied_reason IN ('voided','authorization_lapsed')))
		   ORDER BY 1, 2`,
		repair: "find the payment in the order's timeline; a person decides whether the order stands",
	},
	{
		invariant: 2, name: "money.strays_go_back",
		says: "an approval that is not applied has a full refund with its reason, or waits for a person",
		rows: `SELECT count(*) FROM payments WHERE NOT applied AND (captured_amount > 0 OR status = 'authorized')`,
		// A person who gave a refund up or skipped a mismatch has decided. A
		// mismatch is parked right after it is recorded.
		find: `WITH back AS (
		    SELECT tenant, payment_id, sum(amount) FILTER (WHERE status <> 'failed') AS sum, bool_or(code = 'given_up_by_support') AS given_up,
		           array_agg(DISTINCT reason) FILTER (WHERE origin = 'ours' AND status <> 'failed') AS reasons
		      FROM refunds GROUP BY 1, 2
		  )
		  SELECT p.tenant, p.id, jsonb_strip_nulls(jsonb_build_object('checkout', p.checkout_id, 'gateway', p.gateway, 'captured', p.captured_amount, 'going_back', coalesce(b.sum, 0), 'why_not_applied', p.not_applied_reason, 'reasons', b.reasons)),
		         CASE WHEN p.not_applied_reason IS NULL THEN format('%s %s taken, applied to nothing, and nothing says why', p.captured_amount, p.currency)
		              WHEN p.captured_amount = 0 THEN 'authorized, pays nothing, and was never voided'
		              ELSE format('%s %s taken and not applied (%s), %s go back', p.captured_amount, p.currency, p.not_applied_reason, coalesce(b.sum, 0)) END
		    FROM payments p LEFT JOIN back b ON b.tenant = p.tenant AND b.payment_id = p.id
		   WHERE NOT p.applied AND (p.captured_amount > 0 OR p.status = 'authorized') AND p.status NOT IN ('disputed','charged_back')
		     AND (p.not_applied_reason IS NULL OR coalesce(b.sum, 0) < p.captured_amount OR p.captured_amount = 0)
		     AND NOT coalesce(b.given_up, false)
		     AND NOT EXISTS (SELECT FROM parked w WHERE w.tenant = p.tenant AND w.subject IN (p.id, p.checkout_id) AND w.step LIKE '%:' || p.id AND (w.resolved_at IS NULL OR w.resolution = 'skipped'))
		     -- being given back, or a person was asked about it
		     AND NOT (p.status = 'authorized' AND p.void_reason IS NOT NULL AND (p.due_at > now()
		              OR EXISTS (SELECT FROM parked w WHERE w.tenant = p.tenant AND w.workflow_id = 'capture:' || p.tenant || ':' || p.id AND w.resolved_at IS NULL)))
		     AND p.updated_at < now() - interval '1 minute'
		   ORDER BY 1, 2`,
		repair: "resolve the payment in support: accept it, or refund it",
	},
	{
		invariant: 2, name: "money.duplicates_are_called_so",
		says: "a stray approval of a paid order goes back as duplicate_payment, unless it came before the order was paid, was a mismatch, or came back from the provider",
		rows: `SELECT count(*) FROM payments p JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id WHERE NOT p.applied AND p.captured_amount > 0 AND c.status = 'paid'`,
		find: `SELECT p.tenant, p.id, jsonb_build_object('order', c.id, 'refund', r.id, 'reason', r.reason), format('refund %s of a second approval says %s', r.id, r.reason)
		    FROM payments p JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id AND c.status = 'paid'
		    JOIN orders o ON o.tenant = c.tenant AND o.id = c.order_id
		    JOIN refunds r ON r.tenant = p.tenant AND r.payment_id = p.id AND r.origin = 'ours' AND r.status <> 'failed'
		   WHERE NOT p.applied AND p.captured_amount > 0 AND r.reason NOT IN ('duplicate_payment','mismatch','refund_came_back') AND r.created_at > o.paid_at ORDER BY 1, 2`,
		repair: "correct the reason; the money is right",
	},
	{
		invariant: 2, name: "money.never_more_back_than_taken",
		says: "refunds that are pending, succeeded or unknown never exceed what was captured, per payment",
		rows: `SELECT count(*) FROM refunds`,
		find: `WITH back AS (
		    SELECT tenant, payment_id, coalesce(sum(amount) FILTER (WHERE origin = 'ours' AND status IN ('pending','succeeded','unknown')), 0) AS ours,
		           coalesce(sum(amount) FILTER (WHERE status = 'succeeded'), 0) AS succeeded,
		           coalesce(sum(amount) FILTER (WHERE origin = 'ours' AND status <> 'failed'), 0) AS counted
		      FROM refunds WHERE method <> 'void' GROUP BY 1, 2
		  )
		  SELECT p.tenant, p.id, jsonb_build_object('captured', p.captured_amount, 'ours', coalesce(b.ours, 0), 'succeeded', coalesce(b.succeeded, 0), 'refunded_amount', p.refunded_amount),
		         CASE WHEN p.refunded_amount <> coalesce(b.counted, 0) THEN format('its row counts %s as going back, its refunds say %s', p.refunded_amount, coalesce(b.counted, 0))
		              ELSE format('%s of %s captured go back', greatest(b.ours, b.succeeded), p.captured_amount) END
		    FROM payments p LEFT JOIN back b ON b.tenant = p.tenant AND b.payment_id = p.id
		   WHERE coalesce(b.ours, 0) > p.captured_amount OR coalesce(b.succeeded, 0) > p.captured_amount OR p.refunded_amount <> coalesce(b.counted, 0)
		   ORDER BY 1, 2`,
		repair: "stop the refunds that are pending (support cancel) and ask the provider what went back",
	},
	{
		invariant: 2, name: "money.captured_is_its_captures",
		says: "a payment's captured amount is the sum of its captures, in its currency",
		rows: `SELECT count(*) FROM captures`,
		find: `SELECT p.tenant, p.id, jsonb_build_object('captured', p.captured_amount, 'captures', coalesce(c.sum, 0), 'currency', p.currency),
		         format('captured %s %s, its captures add up to %s', p.captured_amount, p.currency, CASE WHEN c.sum IS NULL THEN 'nothing' ELSE c.sum || ' ' || array_to_string(c.currencies, '+') END)
		    FROM payments p
		    LEFT JOIN (SELECT tenant, payment_id, sum(amount) AS sum, array_agg(DISTINCT currency) AS currencies FROM captures GROUP BY 1, 2) c ON c.tenant = p.tenant AND c.payment_id = p.id
		   WHERE p.captured_amount <> coalesce(c.sum, 0) OR c.currencies <> ARRAY[p.currency] AND coalesce(p.not_applied_reason, '') NOT LIKE 'mismatch%'
		      OR p.status IN ('captured','partially_refunded','refunded','charged_back') AND p.captured_amount = 0 AND p.amount > 0
		   ORDER BY 1, 2`,
		repair: "ask the provider what was captured",
	},
	{
		invariant: 2, name: "money.status_tells_what_went_back",
		says: "a payment is refunded, partially refunded or captured as its succeeded refunds say",
		rows: `SELECT count(*) FROM payments WHERE status IN ('captured','partially_refunded','refunded')`,
		find: `WITH back AS (SELECT tenant, payment_id, sum(amount) AS sum FROM refunds WHERE status = 'succeeded' AND method <> 'void' GROUP BY 1, 2)
		  SELECT p.tenant, p.id, jsonb_build_object('status', p.status, 'captured', p.captured_amount, 'went_back', coalesce(b.sum, 0)),
		         format('is %s, and %s of %s went back', p.status, coalesce(b.sum, 0), p.captured_amount)
		    FROM payments p LEFT JOIN back b ON b.tenant = p.tenant AND b.payment_id = p.id
		   WHERE p.status IN ('captured','partially_refunded','refunded') AND p.captured_amount > 0
		     AND p.status <> CASE WHEN coalesce(b.sum, 0) >= p.captured_amount THEN 'refunded' WHEN coalesce(b.sum, 0) > 0 THEN 'partially_refunded' ELSE 'captured' END
		   ORDER BY 1, 2`,
		repair: "set the status that the refunds tell",
	},
	{
		invariant: 2, name: "money.refunds_elsewhere_are_counted",
		says: "what a payment counts as given back by its provider alone is the sum of the refunds that the provider told of",
		rows: `SELECT count(*) FROM refunds WHERE origin = 'provider'`,
		find: `SELECT p.tenant, p.id, jsonb_build_object('counted', p.refunded_elsewhere, 'refunds', coalesce(b.sum, 0)),
		         format('its row counts %s as given back at the provider, its refunds there add up to %s', p.refunded_elsewhere, coalesce(b.sum, 0))
		    FROM payments p LEFT JOIN (SELECT tenant, payment_id, sum(amount) AS sum FROM refunds WHERE origin = 'provider' AND status <> 'failed' AND method <> 'void' GROUP BY 1, 2) b
		      ON b.tenant = p.tenant AND b.payment_id = p.id
		   WHERE p.refunded_elsewhere <> coalesce(b.sum, 0) ORDER BY 1, 2`,
		repair: "set refunded_elsewhere to what its refunds tell",
	},
	{
		invariant: 2, name: "money.totals_add_up",
		says: "an order's lines, discount and freight add up to its total, to the last unit",
		rows: `SELECT count(*) FROM orders`,
		find: `SELECT o.tenant, o.id, jsonb_build_object('number', o.number, 'total', o.total, 'items', o.items_total, 'discount', o.discount_total, 'shipping', o.shipping_total, 'lines', l.total, 'lines_discount', l.discount),
		         format('total %s; lines %s less discount %s plus freight %s', o.total, l.gross, l.discount, o.shipping_total)
		    FROM orders o
		    CROSS JOIN LATERAL (SELECT coalesce(sum(total), 0) AS total, coalesce(sum(discount), 0) AS discount, coalesce(sum(unit_price * quantity), 0) AS gross
		                          FROM order_lines l WHERE l.tenant = o.tenant AND l.order_id = o.id) l
		   WHERE o.total <> o.items_total - o.discount_total + o.shipping_total OR l.gross <> o.items_total OR l.discount <> o.discount_total OR l.total + o.shipping_total <> o.total
		   ORDER BY 1, 2`,
		repair: "a person decides what the buyer owes",
	},
	{
		invariant: 2, name: "money.discount_codes_are_counted",
		says: "a code counts the checkouts that use it: open or paid, not those that ended unpaid",
		rows: `SELECT count(*) FROM discount_uses`,
		find: `SELECT d.tenant, d.code, jsonb_build_object('used', d.used, 'uses', coalesce(u.n, 0)), format('counts %s uses, %s checkouts use it', d.used, coalesce(u.n, 0))
		    FROM discount_codes d
		    LEFT JOIN (SELECT tenant, code, count(*) FILTER (WHERE NOT given_back) AS n FROM discount_uses GROUP BY 1, 2) u USING (tenant, code)
		   WHERE d.used <> coalesce(u.n, 0)
		  UNION ALL
		  SELECT u.tenant, u.code, jsonb_build_object('checkout', c.id, 'status', c.status), format('checkout %s is %s and its use is %s', c.id, c.status, CASE WHEN u.given_back THEN 'given back' ELSE 'not given back' END)
		    FROM discount_uses u JOIN checkouts c ON c.tenant = u.tenant AND c.id = u.checkout_id
		   WHERE u.given_back <> (c.status IN ('expired','cancelled','payment_failed'))
		     AND NOT (c.status = 'paid' AND EXISTS (SELECT FROM events e WHERE e.tenant = c.tenant AND e.subject = c.id AND e.kind = 'discount_beyond_its_uses'))
		   ORDER BY 1, 2`,
		repair: "set given_back as the checkout's status says; the counter follows",
	},
}
