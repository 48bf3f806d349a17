package audit

// stockRules are invariant 1: no unit is sold twice, and a shelf that turns out
// emptier than promised is said to be so.
var stockRules = []rule{
	{
		invariant: 1, name: "stock.reserved_within_on_hand",
		says: "0 <= reserved <= on_hand on every shelf",
		rows: `SELECT count(*) FROM stock_levels`,
		find: `SELECT tenant, sku, jsonb_build_object('warehouse', warehouse, 'on_hand', on_hand, 'reserved', reserved),
		         format('%s in %s: %s reserved of %s on hand', sku, warehouse, reserved, on_hand)
		    FROM stock_levels WHERE reserved < 0 OR reserved > on_hand OR on_hand < 0 ORDER BY 1, 2`,
		repair: "count the shelf (PUT /v1/stock/{sku}): the count takes what is missing from holds by name",
	},
	{
		invariant: 1, name: "stock.on_hand_is_its_movements",
		says: "on_hand is the sum of the shelf's movements",
		rows: `SELECT count(*) FROM stock_movements`,
		find: `SELECT l.tenant, l.sku, jsonb_build_object('warehouse', l.warehouse, 'on_hand', l.on_hand, 'movements', coalesce(m.sum, 0)),
		         format('%s in %s: %s on hand, its movements add up to %s', l.sku, l.warehouse, l.on_hand, coalesce(m.sum, 0))
		    FROM stock_levels l
		    LEFT JOIN (SELECT tenant, sku, warehouse, sum(delta) AS sum FROM stock_movements GROUP BY 1, 2, 3) m USING (tenant, sku, warehouse)
		   WHERE l.on_hand <> coalesce(m.sum, 0) ORDER BY 1, 2`,
		repair: "count the shelf, then find who wrote on_hand without a movement: only the schema's owner can",
	},
	{
		invariant: 1, name: "stock.reserved_is_its_holds",
		says: "reserved is the sum of what live holds keep on the shelf",
		rows: `SELECT count(*) FROM hold_lines l JOIN holds h ON h.tenant = l.tenant AND h.id = l.hold_id WHERE h.status IN ('held','confirmed','short')`,
		find: `SELECT l.tenant, l.sku, jsonb_build_object('warehouse', l.warehouse, 'reserved', l.reserved, 'held', coalesce(k.units, 0)),
		         format('%s in %s: %s reserved, live holds keep %s', l.sku, l.warehouse, l.reserved, coalesce(k.units, 0))
		    FROM stock_levels l
		    LEFT JOIN (SELECT hl.tenant, hl.sku, hl.warehouse, sum(hl.quantity - hl.shorted - hl.left_stock) AS units
		                 FROM hold_lines hl JOIN holds h ON h.tenant = hl.tenant AND h.id = hl.hold_id
		                WHERE h.status IN ('held','confirmed','short') GROUP BY 1, 2, 3) k USING (tenant, sku, warehouse)
		   WHERE l.reserved <> coalesce(k.units, 0) ORDER BY 1, 2`,
		repair: "set reserved to what the holds keep, as the schema's owner, and keep this report: a statement changed one without the other",
	},
	{
		invariant: 1, name: "stock.one_live_hold_per_checkout",
		says: "a checkout has at most one live hold",
		rows: `SELECT count(*) FROM holds WHERE checkout_id IS NOT NULL AND status IN ('held','confirmed','short')`,
		find: `SELECT tenant, checkout_id, jsonb_build_object('reservations', jsonb_agg(id ORDER BY id)), format('%s live holds', count(*))
		    FROM holds WHERE checkout_id IS NOT NULL AND status IN ('held','confirmed','short')
		   GROUP BY tenant, checkout_id HAVING count(*) > 1 ORDER BY 1, 2`,
		repair: "release the hold that the checkout's row does not name",
	},
	{
		invariant: 1, name: "stock.orders_have_their_units",
		says: "behind every order stands a hold of just the units that were sold, lost ones named among them, but for those that were taken off and paid back",
		rows: `SELECT count(*) FROM order_lines l JOIN orders o ON o.tenant = l.tenant AND o.id = l.order_id WHERE o.status <> 'cancelled'`,
		find: `WITH sold AS (
		    SELECT l.tenant, l.order_id, o.hold_id, l.sku, sum(l.quantity - l.not_shipped) AS units
		      FROM order_lines l JOIN orders o ON o.tenant = l.tenant AND o.id = l.order_id WHERE o.status <> 'cancelled' GROUP BY 1, 2, 3, 4
		  ), kept AS (
		    SELECT hl.tenant, hl.hold_id, hl.sku, sum(hl.quantity) AS units
		      FROM hold_lines hl JOIN holds h ON h.tenant = hl.tenant AND h.id = hl.hold_id WHERE h.confirmed_at IS NOT NULL AND h.status IN ('confirmed','short') GROUP BY 1, 2, 3
		  )
		  SELECT s.tenant, s.order_id, jsonb_build_object('reservation', s.hold_id, 'sku', s.sku, 'sold', s.units, 'held', coalesce(k.units, 0)),
		         format('%s units of %s sold, its confirmed hold has %s', s.units, s.sku, coalesce(k.units, 0))
		    FROM sold s LEFT JOIN kept k USING (tenant, hold_id, sku)
		   WHERE s.units <> coalesce(k.units, 0) ORDER BY 1, 2`,
		repair: "hold the missing units for the order, or agree with the buyer and give the money back",
	},
	{
		invariant: 1, name: "stock.shortfalls_are_named",
		says: "a live hold that lost units is short, and a paid order behind it waits for a person or for its time",
		rows: `SELECT count(*) FROM holds WHERE status IN ('held','confirmed','short')`,
		find: `WITH hold AS (
		    SELECT h.tenant, h.id, h.checkout_id, h.order_id, h.status, h.confirmed_at, h.due_at, sum(l.shorted) AS lost
		      FROM holds h JOIN hold_lines l ON l.tenant = h.tenant AND l.hold_id = h.id WHERE h.status IN ('held','confirmed','short')
		     GROUP BY h.tenant, h.id
		  )
		  SELECT h.tenant, h.id, jsonb_strip_nulls(jsonb_build_object('checkout', h.checkout_id, 'order', h.order_id, 'lost', h.lost)),
		         CASE WHEN h.status <> 'short' THEN format('lost %s units and is %s, not short', h.lost, h.status)
		              WHEN h.lost = 0 THEN 'is short and has lost nothing'
		              ELSE format('lost %s units of a paid order and nobody is told', h.lost) END
		    FROM hold h
		   WHERE (h.lost > 0) <> (h.status = 'short')
		      OR h.status = 'short' AND h.confirmed_at IS NOT NULL AND coalesce(h.due_at, '-infinity') < now()
		         AND NOT EXISTS (SELECT FROM orders o WHERE o.tenant = h.tenant AND o.id = h.order_id AND o.attention IS NOT NULL)
		         AND NOT EXISTS (SELECT FROM parked p WHERE p.tenant = h.tenant AND p.subject IN (h.order_id, h.id, h.checkout_id) AND p.step = 'shortage')
		   ORDER BY 1, 2`,
		repair: "restart the shortage's run for the order (support restart shortage:<tenant>:<order>)",
	},
}
