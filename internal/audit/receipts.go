package audit

// receiptRules are invariant 1 at the door: what people scanned is what came into
// the bins, and what a purchase order counts.
var receiptRules = []rule{
	{
		invariant: 1, name: "receipts.entries_are_their_movements",
		says: "what was scanned for a receipt and taken back from it are the units that its movements brought from outside and out again, in the same bins",
		rows: `SELECT count(*) FROM receipt_entries WHERE sku IS NOT NULL`,
		find: `WITH scanned AS (
		    SELECT tenant, receipt_id, sku, lot, coalesce(serial, '') AS serial, bin, status,
		           coalesce(sum(quantity) FILTER (WHERE kind = 'scan'), 0) AS came, coalesce(sum(quantity) FILTER (WHERE kind = 'correction'), 0) AS back
		      FROM receipt_entries WHERE sku IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7
		  ), moved AS (
		    SELECT m.tenant, r.id AS receipt_id, m.sku, m.lot, coalesce(m.serial, '') AS serial, coalesce(m.to_bin, m.from_bin) AS bin, coalesce(m.to_status, m.from_status) AS status,
		           coalesce(sum(m.quantity) FILTER (WHERE m.from_bin IS NULL AND m.warehouse = r.warehouse), 0) AS came, coalesce(sum(m.quantity) FILTER (WHERE m.to_bin IS NULL AND m.warehouse = r.warehouse), 0) AS back
		      FROM receipts r JOIN bin_movements m ON m.tenant = r.tenant AND m.document = 'receipt:' || r.id WHERE m.from_bin IS NULL OR m.to_bin IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7
		  )
		  SELECT tenant, receipt_id, jsonb_build_object('sku', sku, 'lot', lot, 'serial', serial, 'bin', bin, 'status', status,
		           'entries', jsonb_build_array(s.came, s.back), 'movements', jsonb_build_array(m.came, m.back)),
		         format('%s %s %s in %s (%s): %s scanned and %s taken back; the movements say %s and %s', sku, lot, serial, bin, status, coalesce(s.came, 0), coalesce(s.back, 0), coalesce(m.came, 0), coalesce(m.back, 0))
		    FROM scanned s FULL JOIN moved m USING (tenant, receipt_id, sku, lot, serial, bin, status)
		   WHERE (coalesce(s.came, 0), coalesce(s.back, 0)) <> (coalesce(m.came, 0), coalesce(m.back, 0)) ORDER BY 1, 2`,
		repair: "count the bin; then find who wrote one without the other: only the schema's owner can",
	},
	{
		invariant: 1, name: "receipts.orders_count_what_came",
		says: "what a line of a purchase order has received, and damaged, is what was scanned for it less what was taken back",
		rows: `SELECT count(*) FROM purchase_order_lines`,
		find: `WITH came AS (
		    SELECT r.tenant, r.purchase_order_id, e.line, sum(u.units) AS units, coalesce(sum(u.units) FILTER (WHERE e.condition = 'damaged'), 0) AS damaged
		      FROM receipts r JOIN receipt_entries e ON e.tenant = r.tenant AND e.receipt_id = r.id, LATERAL (SELECT CASE e.kind WHEN 'correction' THEN -e.quantity ELSE e.quantity END AS units) u
		     WHERE r.purchase_order_id IS NOT NULL AND e.line IS NOT NULL GROUP BY 1, 2, 3
		  )
		  SELECT tenant, purchase_order_id, jsonb_build_object('line', line, 'sku', l.sku, 'received', l.received, 'damaged', l.damaged, 'scanned', c.units, 'scanned_damaged', c.damaged),
		         format('line %s, %s: %s received, %s of them damaged; scanned were %s and %s', line, l.sku, coalesce(l.received, 0), coalesce(l.damaged, 0), coalesce(c.units, 0), coalesce(c.damaged, 0))
		    FROM purchase_order_lines l FULL JOIN came c USING (tenant, purchase_order_id, line)
		   WHERE (coalesce(l.received, 0), coalesce(l.damaged, 0)) <> (coalesce(c.units, 0), coalesce(c.damaged, 0)) ORDER BY 1, 2`,
		repair: "set the line's counts to what was scanned, as the schema's owner, and keep this report",
	},
}
