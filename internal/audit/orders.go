package audit

// orderRules are invariant 3: no order is lost.
var orderRules = []rule{
	{
		invariant: 3, name: "orders.applied_money_has_its_order",
		says: "a payment that is applied belongs to an order that exists",
		rows: `SELECT count(*) FROM payments WHERE applied`,
		find: `SELECT p.tenant, p.id, jsonb_strip_nulls(jsonb_build_object('checkout', p.checkout_id, 'order', p.order_id, 'amount', p.captured_amount)),
		         CASE WHEN p.order_id IS NULL THEN 'is applied and names no order' ELSE format('is applied to order %s, which does not exist', p.order_id) END
		    FROM payments p LEFT JOIN orders o ON o.tenant = p.tenant AND o.id = p.order_id
		   WHERE p.applied AND o.id IS NULL ORDER BY 1, 2`,
		repair: "make the order by hand from the checkout, or refund the payment",
	},
	{
		invariant: 3, name: "orders.paid_checkout_is_an_order",
		says: "a paid checkout has its order, a confirmed hold (released when the order is cancelled) and a payment that is applied (or was, until its authorization was given back or lapsed); no other checkout has any of them",
		rows: `SELECT count(*) FROM checkouts`,
		find: `WITH c AS (
		    SELECT c.tenant, c.id, c.status, o.id IS NOT NULL AS has_order, h.confirmed_at IS NOT NULL AND (h.status IN ('confirmed','short') OR h.status = 'released' AND o.status = 'cancelled') AS has_units,
		           EXISTS (SELECT FROM payments p WHERE p.tenant = c.tenant AND p.checkout_id = c.id AND (p.applied OR p.order_id = c.id AND p.not_applied_reason IN ('voided','authorization_lapsed'))) AS has_money
		      FROM checkouts c LEFT JOIN orders o ON o.tenant = c.tenant AND o.id = c.id LEFT JOIN holds h ON h.tenant = c.tenant AND h.id = o.hold_id
		  )
		  SELECT tenant, id, jsonb_build_object('status', status, 'order', has_order, 'confirmed_hold', coalesce(has_units, false), 'applied_payment', has_money),
		         format('is %s; order: %s, confirmed hold: %s, applied payment: %s', status, CASE WHEN has_order THEN 'yes' ELSE 'none' END,
		                CASE WHEN has_units THEN 'yes' ELSE 'none' END, CASE WHEN has_money THEN 'yes' ELSE 'none' END)
		    FROM c
		   WHERE status = 'paid' AND NOT (has_order AND coalesce(has_units, false) AND has_money) OR status <> 'paid' AND (has_order OR has_money)
		   ORDER BY 1, 2`,
		repair: "read the timeline: it says which step did not happen",
	},
	{
		invariant: 3, name: "orders.approval_has_an_end",
		says: "every approved payment paid an order, or says why not",
		rows: `SELECT count(*) FROM payments WHERE status IN ('authorized','captured','partially_refunded','refunded','disputed','charged_back')`,
		find: `SELECT p.tenant, p.id, jsonb_strip_nulls(jsonb_build_object('checkout', p.checkout_id, 'status', p.status, 'amount', p.captured_amount)), format('is %s, paid no order, and nothing says why', p.status)
		    FROM payments p
		   WHERE p.status IN ('authorized','captured','partially_refunded','refunded','disputed','charged_back') AND NOT p.applied AND coalesce(p.not_applied_reason, '') = ''
		   ORDER BY 1, 2`,
		repair: "ask the provider about the payment (support retry): recording its answer decides again",
	},
	{
		invariant: 3, name: "orders.have_their_fulfillment",
		says: "a paid order has shipments for all its units that are open or done, or waits for a person",
		rows: `SELECT count(*) FROM orders WHERE status <> 'cancelled'`,
		// A hold that is short is being mended, and its own check looks at that.
		find: `WITH kept AS (
		    SELECT o.tenant, o.id, o.status, o.number, sum(hl.quantity - hl.shorted) AS units, sum(hl.left_stock) AS gone
		      FROM orders o JOIN holds h ON h.tenant = o.tenant AND h.id = o.hold_id JOIN hold_lines hl ON hl.tenant = h.tenant AND hl.hold_id = h.id
		     WHERE o.status <> 'cancelled' AND o.attention IS NULL AND h.status <> 'short' GROUP BY o.tenant, o.id
		  ), sent AS (
		    SELECT s.tenant, s.order_id AS id, sum((line ->> 'quantity')::int) AS units
		      FROM shipments s CROSS JOIN LATERAL jsonb_array_elements(s.lines) AS line WHERE s.status <> 'cancelled' GROUP BY 1, 2
		  )
		  SELECT k.tenant, k.id, jsonb_build_object('number', k.number, 'status', k.status, 'units', k.units, 'in_shipments', coalesce(s.units, 0), 'left', k.gone),
		         CASE WHEN k.status = 'completed' THEN format('completed, and %s of its %s units left', greatest(k.gone, coalesce(s.units, 0)), k.units)
		              ELSE format('%s units are held for it, %s are in shipments', k.units, coalesce(s.units, 0)) END
		    FROM kept k LEFT JOIN sent s USING (tenant, id)
		   WHERE CASE WHEN k.status = 'completed' THEN greatest(k.gone, coalesce(s.units, 0)) <> k.units ELSE coalesce(s.units, 0) <> k.units END
		   ORDER BY 1, 2`,
		repair: "split the order over its warehouses again (support retry), or raise its attention",
	},
}
