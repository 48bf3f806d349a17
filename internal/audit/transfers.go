package audit

// transferRules are invariant 1 on the road: units that left a warehouse for
// another are on the way, have arrived, were recalled or are named as lost.
var transferRules = []rule{
	{
		invariant: 1, name: "transfers.units_are_their_movements",
		says: "what left for a transfer, arrived by it and was recalled is what its movements say",
		rows: `SELECT count(*) FROM transfer_units`,
		find: `WITH moved AS (
		    SELECT m.tenant, t.id AS transfer_id, m.sku, m.lot, coalesce(m.serial, '') AS serial,
		           coalesce(sum(m.quantity) FILTER (WHERE m.reason = 'transfer_out' AND m.warehouse = t.from_warehouse), 0) AS sent,
		           coalesce(sum(m.quantity) FILTER (WHERE m.reason = 'transfer_in' AND m.warehouse = t.to_warehouse AND m.to_status <> 'damaged'), 0) AS received,
		           coalesce(sum(m.quantity) FILTER (WHERE m.reason = 'transfer_in' AND m.warehouse = t.to_warehouse AND m.to_status = 'damaged'), 0) AS damaged,
		           coalesce(sum(m.quantity) FILTER (WHERE m.reason = 'transfer_in' AND m.warehouse = t.from_warehouse), 0) AS recalled,
		           coalesce(sum(m.quantity) FILTER (WHERE m.reason = 'adjustment' AND m.warehouse = t.to_warehouse), 0) AS over
		      FROM transfers t JOIN bin_movements m ON m.tenant = t.tenant AND m.document = 'transfer:' || t.id GROUP BY 1, 2, 3, 4, 5
		  )
		  SELECT tenant, transfer_id, jsonb_build_object('sku', sku, 'lot', lot, 'serial', serial,
		           'units', jsonb_build_array(u.sent, u.received, u.damaged, u.recalled, u.over), 'movements', jsonb_build_array(m.sent, m.received, m.damaged, m.recalled, m.over)),
		         format('%s %s %s: %s sent, %s received, %s damaged, %s recalled; the movements say %s, %s, %s, %s', sku, lot, serial,
		                coalesce(u.sent, 0), coalesce(u.received, 0), coalesce(u.damaged, 0), coalesce(u.recalled, 0), coalesce(m.sent, 0), coalesce(m.received, 0), coalesce(m.damaged, 0), coalesce(m.recalled, 0))
		    FROM transfer_units u FULL JOIN moved m USING (tenant, transfer_id, sku, lot, serial)
		   WHERE (coalesce(u.sent, 0), coalesce(u.received, 0), coalesce(u.damaged, 0), coalesce(u.recalled, 0), coalesce(u.over, 0))
		      <> (coalesce(m.sent, 0), coalesce(m.received, 0), coalesce(m.damaged, 0), coalesce(m.recalled, 0), coalesce(m.over, 0)) ORDER BY 1, 2`,
		repair: "set the counts to what the movements say, as the schema's owner, and keep this report: a statement changed one without the other",
	},
	{
		invariant: 1, name: "transfers.no_more_arrives_than_left",
		says: "received + damaged + lost + recalled <= sent, of every kind of unit",
		rows: `SELECT count(*) FROM transfer_units`,
		find: `SELECT tenant, transfer_id, jsonb_build_object('sku', sku, 'lot', lot, 'serial', serial, 'sent', sent),
		         format('%s %s %s: %s sent, and %s received, %s damaged, %s lost, %s recalled', sku, lot, serial, sent, received, damaged, lost, recalled)
		    FROM transfer_units WHERE received + damaged + lost + recalled > sent ORDER BY 1, 2`,
		repair: "count the shelves at both ends",
	},
	{
		invariant: 1, name: "transfers.lost_units_are_named",
		says: "units that were written off on the way are named with a person and a reason",
		rows: `SELECT count(*) FROM transfer_units`,
		find: `SELECT u.tenant, u.transfer_id, jsonb_build_object('sku', u.sku, 'lot', u.lot, 'serial', u.serial, 'lost', u.lost, 'named', e.sum),
		         format('%s %s %s: %s lost, %s of them named', u.sku, u.lot, u.serial, u.lost, e.sum)
		    FROM transfer_units u, LATERAL (SELECT coalesce(sum(quantity), 0) AS sum FROM transfer_entries e
		           WHERE (e.tenant, e.transfer_id, e.sku, e.lot, e.serial) = (u.tenant, u.transfer_id, u.sku, u.lot, u.serial) AND e.kind = 'lost') e
		   WHERE u.lost <> e.sum ORDER BY 1, 2`,
		repair: "ask who closed the transfer, and write down what they say",
	},
	{
		invariant: 1, name: "transfers.status_tells_what_is_on_the_way",
		says: "a transfer is open just while units of it are on the way",
		rows: `SELECT count(*) FROM transfers`,
		find: `SELECT t.tenant, t.id, jsonb_build_object('status', t.status, 'on_the_way', u.rest), format('is %s with %s units on the way', t.status, u.rest)
		    FROM transfers t, LATERAL (SELECT coalesce(sum(sent - received - damaged - lost - recalled), 0) AS rest FROM transfer_units u WHERE u.tenant = t.tenant AND u.transfer_id = t.id) u
		   WHERE (u.rest > 0) <> (t.status IN ('in_transit','partially_received')) ORDER BY 1, 2`,
		repair: "receive the units or close the transfer with what was lost",
	},
}
