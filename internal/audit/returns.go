package audit

// returnRules are what came back: no more than was sent, and its money with it.
var returnRules = []rule{
	{
		invariant: 7, name: "returns.no_more_than_delivered",
		says: "of each line no more units come back than were sold, and of each SKU of an order no more than its parcels had",
		rows: `SELECT count(*) FROM return_units WHERE came = 'arrived'`,
		find: `WITH back AS (
		    SELECT tenant, order_id, sku, count(*) AS units FROM return_units WHERE came = 'arrived' AND live GROUP BY 1, 2, 3
		  ), sent AS (
		    SELECT s.tenant, s.order_id, l->>'sku' AS sku, sum((l->>'quantity')::int) AS units FROM shipments s, jsonb_array_elements(s.lines) l
		     WHERE s.handed_over_at IS NOT NULL GROUP BY 1, 2, 3
		  )
		  SELECT b.tenant, b.order_id, jsonb_build_object('sku', b.sku, 'back', b.units, 'sent', coalesce(s.units, 0)), format('%s of %s came back, %s were sent', b.units, b.sku, coalesce(s.units, 0))
		    FROM back b LEFT JOIN sent s USING (tenant, order_id, sku) WHERE b.units > coalesce(s.units, 0) ORDER BY 1, 2`,
		repair: "see the returns of the order: what came back twice is taken off the shelf again by an adjustment",
	},
	{
		invariant: 7, name: "returns.shelves_have_what_was_inspected",
		says: "what a return has put into stock is what was inspected, unit by unit",
		rows: `SELECT count(*) FROM return_units WHERE disposition <> ''`,
		find: `WITH seen AS (
		    SELECT u.tenant, u.return_id, u.sku, count(*) FILTER (WHERE u.disposition <> 'scrap') AS units FROM return_units u WHERE u.disposition <> '' GROUP BY 1, 2, 3
		  ), moved AS (
		    SELECT tenant, substr(document, 8) AS return_id, sku, sum(CASE WHEN from_bin IS NULL THEN quantity WHEN to_bin IS NULL THEN -quantity ELSE 0 END) AS units
		      FROM bin_movements WHERE reason = 'return' AND document LIKE 'return:%' GROUP BY 1, 2, 3
		  )
		  SELECT tenant, return_id, jsonb_build_object('sku', sku, 'inspected', coalesce(s.units, 0), 'booked', coalesce(m.units, 0)), format('%s of %s were inspected and kept, %s booked into stock', coalesce(s.units, 0), sku, coalesce(m.units, 0))
		    FROM seen s FULL JOIN moved m USING (tenant, return_id, sku) WHERE coalesce(s.units, 0) <> coalesce(m.units, 0) ORDER BY 1, 2`,
		repair: "count the bin, and correct the return's inspection as a supervisor",
	},
	{
		invariant: 7, name: "returns.promised_money_goes",
		says: "of a return that is closed and not settled otherwise, the money for each unit that came went back, but for what was deducted, what the label of the way back costs the buyer, and what was not left to give",
		rows: `SELECT count(*) FROM returns WHERE status = 'closed'`,
		find: `SELECT r.tenant, r.id, jsonb_build_object('order', r.order_id, 'owed', o.owed, 'left', m.money), format('%s of %s has not gone back', o.owed, r.number)
		    FROM returns r,
		      LATERAL (SELECT greatest(coalesce(sum(greatest(f.paid - u.deducted - f.refunded, 0)), 0) - r.label_fee, 0) AS owed FROM return_units u JOIN refundable f ON f.tenant = u.tenant AND f.order_id = u.order_id AND f.line_id = u.line_id AND f.unit = u.unit
		                WHERE u.tenant = r.tenant AND u.return_id = r.id AND u.came IN ('arrived','lost')) o,
		      LATERAL (SELECT coalesce(sum(greatest(p.captured_amount - p.refunded_amount - p.refunded_elsewhere, 0)), 0) AS money FROM payments p WHERE p.tenant = r.tenant AND coalesce(p.order_id, p.checkout_id) = r.order_id AND p.applied) m
		   WHERE r.status = 'closed' AND r.money_settled = '' AND o.owed > 0 AND m.money >= o.owed AND r.updated_at < now() - interval '1 minute' ORDER BY 1, 2`,
		repair: "restart the return's run (support restart return:<tenant>:<return>): it books what is owed",
	},
	{
		invariant: 7, name: "returns.money_has_its_return",
		says: "money that went back for units of a return went for units that came, or by a rule that sends it before, or a person has settled it",
		rows: `SELECT count(*) FROM return_refunds`,
		find: `SELECT r.tenant, r.id, jsonb_build_object('order', r.order_id, 'units', n.units), format('%s units of %s were paid back and did not come', n.units, r.number)
		    FROM returns r,
		      LATERAL (SELECT count(*) AS units FROM return_units u WHERE u.tenant = r.tenant AND u.return_id = r.id AND u.came IN ('missing','wrong_item')
		                AND EXISTS (SELECT FROM refund_bookings b JOIN return_refunds q ON q.tenant = b.tenant AND q.refund_id = b.request_id
		                             WHERE q.tenant = r.tenant AND q.return_id = r.id AND b.kind = 'unit' AND b.line_id = u.line_id AND b.unit = u.unit AND NOT b.released)) n
		   WHERE r.status = 'closed' AND r.settled = '' AND n.units > 0 ORDER BY 1, 2`,
		repair: "ask the buyer for the goods, or note how it was settled",
	},
}
