package audit

// binRules are invariant 1 inside the warehouses: what lies in a bin, what of it
// is chosen for an order, and where each serial is.
var binRules = []rule{
	{
		invariant: 1, name: "bins.quantity_is_its_movements",
		says: "what lies in a bin is the sum of what came and went",
		rows: `SELECT count(*) FROM bin_movements`,
		find: `WITH moved AS (
		    SELECT tenant, warehouse, bin, sku, lot, status, sum(units) AS units FROM (
		      SELECT tenant, warehouse, to_bin AS bin, sku, lot, to_status AS status, quantity AS units FROM bin_movements WHERE to_bin <> ''
		      UNION ALL SELECT tenant, warehouse, from_bin, sku, lot, from_status, -quantity FROM bin_movements WHERE from_bin <> '') m GROUP BY 1, 2, 3, 4, 5, 6
		  )
		  SELECT tenant, bin, jsonb_build_object('warehouse', warehouse, 'sku', sku, 'lot', lot, 'status', status, 'quantity', coalesce(s.quantity, 0), 'movements', coalesce(m.units, 0)),
		         format('%s %s of %s %s lie in bin %s of %s, its movements add up to %s', coalesce(s.quantity, 0), status, sku, lot, bin, warehouse, coalesce(m.units, 0))
		    FROM bin_stock s FULL JOIN moved m USING (tenant, warehouse, bin, sku, lot, status)
		   WHERE coalesce(s.quantity, 0) <> coalesce(m.units, 0) ORDER BY 1, 2`,
		repair: "count the bin, then find who wrote a quantity without a movement: only the schema's owner can",
	},
	{
		invariant: 1, name: "bins.placed_is_in_bins",
		says: "the units on hand that count as placed are those that lie available in bins",
		rows: `SELECT count(*) FROM stock_levels WHERE placed > 0`,
		find: `SELECT l.tenant, l.sku, jsonb_build_object('warehouse', l.warehouse, 'placed', l.placed, 'in_bins', coalesce(b.units, 0), 'on_hand', l.on_hand),
		         format('%s in %s: %s placed of %s on hand, %s lie available in bins', l.sku, l.warehouse, l.placed, l.on_hand, coalesce(b.units, 0))
		    FROM stock_levels l
		    LEFT JOIN (SELECT tenant, sku, warehouse, sum(quantity) AS units FROM bin_stock WHERE status = 'available' GROUP BY 1, 2, 3) b USING (tenant, sku, warehouse)
		   WHERE l.placed <> coalesce(b.units, 0) OR l.placed > l.on_hand ORDER BY 1, 2`,
		repair: "set placed to what the bins have, as the schema's owner, and keep this report: a statement changed one without the other",
	},
	{
		invariant: 1, name: "bins.allocated_is_its_allocations",
		says: "what is chosen for orders in a bin is the sum of their open and picked allocations, and lies there",
		rows: `SELECT count(*) FROM allocations WHERE state IN ('open','picked')`,
		find: `WITH chosen AS (
		    SELECT tenant, warehouse, bin, sku, lot, sum(quantity) AS units FROM allocations WHERE state IN ('open','picked') AND bin <> '' GROUP BY 1, 2, 3, 4, 5
		  )
		  SELECT tenant, bin, jsonb_build_object('warehouse', warehouse, 'sku', sku, 'lot', lot, 'allocated', coalesce(s.allocated, 0), 'allocations', coalesce(c.units, 0), 'quantity', coalesce(s.quantity, 0)),
		         format('%s of %s %s in bin %s of %s are allocated, allocations are %s, and %s lie there', coalesce(s.allocated, 0), sku, lot, bin, warehouse, coalesce(c.units, 0), coalesce(s.quantity, 0))
		    FROM (SELECT * FROM bin_stock WHERE status = 'available') s FULL JOIN chosen c USING (tenant, warehouse, bin, sku, lot)
		   WHERE coalesce(s.allocated, 0) <> coalesce(c.units, 0) OR coalesce(s.allocated, 0) > coalesce(s.quantity, 0)
		  UNION ALL
		  SELECT tenant, bin, jsonb_build_object('warehouse', warehouse, 'sku', sku, 'lot', lot, 'allocated', allocated), format('%s %s of %s are allocated in bin %s', allocated, status, sku, bin)
		    FROM bin_stock WHERE status <> 'available' AND allocated <> 0 ORDER BY 1, 2`,
		repair: "drop the allocations of the bin and choose again; keep this report",
	},
	{
		invariant: 1, name: "bins.promises_know_their_allocations",
		says: "a promise counts the units that are chosen and picked for it, and no more are chosen than it keeps",
		rows: `SELECT count(*) FROM hold_lines WHERE allocated > 0 OR picked > 0`,
		find: `SELECT l.tenant, l.hold_id, jsonb_build_object('sku', l.sku, 'warehouse', l.warehouse, 'allocated', l.allocated, 'picked', l.picked, 'allocations', coalesce(a.units, 0), 'picked_allocations', coalesce(a.picked, 0)),
		         format('%s/%s of %s in %s allocated and picked, allocations are %s/%s', l.allocated, l.picked, l.sku, l.warehouse, coalesce(a.units, 0), coalesce(a.picked, 0))
		    FROM hold_lines l
		    LEFT JOIN (SELECT tenant, hold_id, sku, warehouse, sum(quantity) AS units, coalesce(sum(quantity) FILTER (WHERE state = 'picked'), 0) AS picked
		                 FROM allocations WHERE state IN ('open','picked') GROUP BY 1, 2, 3, 4) a USING (tenant, hold_id, sku, warehouse)
		   WHERE l.allocated <> coalesce(a.units, 0) OR l.picked <> coalesce(a.picked, 0) OR l.allocated > l.quantity - l.shorted - l.left_stock ORDER BY 1, 2`,
		repair: "drop the order's allocations and choose again; keep this report",
	},
	{
		invariant: 1, name: "bins.serials_are_in_one_place",
		says: "a serial is where its last movement put it, and the bins have as many units as serials",
		rows: `SELECT count(*) FROM serials`,
		find: `WITH last AS (
		    SELECT DISTINCT ON (tenant, sku, serial) tenant, sku, serial, warehouse, lot, nullif(to_bin, '') AS bin, to_status AS status FROM bin_movements WHERE serial IS NOT NULL ORDER BY tenant, sku, serial, id DESC
		  ), counted AS (
		    SELECT tenant, warehouse, bin, sku, lot, status, count(*) AS units FROM serials WHERE state = 'in_stock' AND bin <> '' GROUP BY 1, 2, 3, 4, 5, 6
		  ), piles AS (
		    SELECT s.* FROM bin_stock s JOIN products p ON p.tenant = s.tenant AND p.sku = s.sku WHERE p.tracking = 'serial'
		  )
		  SELECT tenant, serial, jsonb_build_object('sku', sku, 'state', n.state, 'bin', n.bin, 'last_bin', l.bin),
		         format('serial %s of %s is %s in %s, its last movement left it in %s', serial, sku, n.state, coalesce(n.bin, '(no bin)'), coalesce(l.bin, '(no bin)'))
		    FROM serials n FULL JOIN last l USING (tenant, sku, serial)
		   WHERE n.serial IS NULL OR l.serial IS NULL OR nullif(n.bin, '') IS DISTINCT FROM l.bin
		      OR l.bin IS NOT NULL AND (n.state, n.warehouse, n.lot, n.status) IS DISTINCT FROM ('in_stock', l.warehouse, l.lot, l.status)
		  UNION ALL
		  SELECT tenant, bin, jsonb_build_object('warehouse', warehouse, 'sku', sku, 'lot', lot, 'status', status, 'quantity', coalesce(s.quantity, 0), 'serials', coalesce(c.units, 0)),
		         format('bin %s of %s has %s %s of %s and %s serials', bin, warehouse, coalesce(s.quantity, 0), status, sku, coalesce(c.units, 0))
		    FROM piles s FULL JOIN counted c USING (tenant, warehouse, bin, sku, lot, status)
		   WHERE coalesce(s.quantity, 0) <> coalesce(c.units, 0) ORDER BY 1, 2`,
		repair: "count the bin by its serials",
	},
	{
		invariant: 1, name: "bins.nothing_of_ended_lots_is_chosen",
		says: "no order is given units of a lot that is held or expired, and nothing of an ended lot is for sale",
		rows: `SELECT count(*) FROM lots`,
		find: `SELECT l.tenant, l.lot, jsonb_build_object('sku', l.sku, 'status', l.status, 'allocation', a.id, 'reservation', a.hold_id),
		         format('%s units of lot %s of %s, which is %s, are %s for an order', a.quantity, l.lot, l.sku, l.status, a.state)
		    FROM lots l JOIN allocations a ON a.tenant = l.tenant AND a.sku = l.sku AND a.lot = l.lot AND a.state IN ('open','picked') AND a.quantity > 0
		   WHERE l.status <> 'available' AND a.lot <> '' ORDER BY 1, 2`,
		repair: "drop the allocation and choose another lot, then hold the lot again",
	},
}
