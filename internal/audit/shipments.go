package audit

import "justlogistics/internal/order"

// shipmentRules are what leaves the warehouses: each unit once, and the order knows.
var shipmentRules = []rule{
	{
		invariant: 1, name: "shipments.units_left_once",
		says: "the units of a shipment that was handed over left their packing bins for it, once; those of any other did not",
		rows: `SELECT count(*) FROM shipments WHERE packed_at IS NOT NULL`,
		find: `WITH wanted AS (
		    SELECT s.tenant, s.id, l.sku, sum(l.quantity)::bigint AS units FROM shipments s, jsonb_to_recordset(s.lines) AS l (sku text, quantity int) WHERE s.handed_over_at IS NOT NULL GROUP BY 1, 2, 3
		  ), gone AS (
		    SELECT tenant, substr(document, 10) AS id, sku, sum(quantity) AS units FROM bin_movements WHERE document LIKE 'shipment:%' AND to_bin IS NULL GROUP BY 1, 2, 3
		  )
		  SELECT tenant, id, jsonb_build_object('sku', sku, 'wanted', coalesce(w.units, 0), 'left', coalesce(g.units, 0)), format('%s units of %s left for it, of %s', coalesce(g.units, 0), sku, coalesce(w.units, 0))
		    FROM wanted w FULL JOIN gone g USING (tenant, id, sku)
		   WHERE coalesce(w.units, 0) <> coalesce(g.units, 0) ORDER BY 1, 2`,
		repair: "look into the parcels: what the books say has left and what has left differ",
	},
	{
		invariant: 3, name: "shipments.order_follows",
		says: "an order is shipped when nothing of it is left in a warehouse, and delivered when all of it has arrived or its loss is settled",
		rows: `SELECT count(*) FROM orders WHERE status IN ('paid','in_fulfillment','shipped','delivered')`,
		find: `WITH o AS (
		    SELECT o.tenant, o.id, o.status, count(*) FILTER (WHERE s.handed_over_at IS NULL) AS inside, count(*) FILTER (WHERE s.status <> 'delivered' AND s.settled = '') AS open, count(*) FILTER (WHERE s.status = 'delivered') AS arrived, count(*) AS all
		      FROM orders o JOIN shipments s ON s.tenant = o.tenant AND s.order_id = o.id AND s.status <> 'cancelled' WHERE o.status IN ('paid','in_fulfillment','shipped','delivered') GROUP BY 1, 2, 3
		  )
		  SELECT tenant, id, jsonb_build_object('status', status, 'in_the_warehouse', inside, 'not_delivered', open), format('is %s; %s of %s shipments have not left, %s have not arrived', status, inside, o.all, open)
		    FROM o WHERE (status IN ('shipped','delivered')) <> (inside = 0) OR (status = 'delivered') <> (open = 0 AND arrived > 0) ORDER BY 1, 2`,
		repair: "say again where its shipments are (POST /v1/shipments/{id}/status): the order follows",
	},
	{
		invariant: 3, name: "shipments.parcels_are_named",
		says: "a shipment that has a label has parcels, each with a number of its own",
		rows: `SELECT count(*) FROM shipments WHERE labelled_at IS NOT NULL`,
		find: `SELECT s.tenant, s.id, jsonb_build_object('status', s.status, 'parcels', count(p.id), 'numbers', count(DISTINCT nullif(p.tracking, ''))), format('is %s with %s parcels and %s numbers', s.status, count(p.id), count(DISTINCT nullif(p.tracking, '')))
		    FROM shipments s LEFT JOIN parcels p ON p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL WHERE s.labelled_at IS NOT NULL
		   GROUP BY s.tenant, s.id, s.status HAVING count(p.id) = 0 OR count(DISTINCT nullif(p.tracking, '')) <> count(p.id) ORDER BY 1, 2`,
		repair: "unpack and pack it again; one that has left: ask whoever carries it",
	},
	{
		invariant: 6, name: "shipments.broken_promises_are_told",
		says: "a buyer whose parcel is not there when it was promised is told, in time while the stack is up",
		rows: `SELECT count(*) FROM shipments WHERE promised_at IS NOT NULL`,
		find: `SELECT s.tenant, s.id, jsonb_build_object('status', s.status, 'promised', s.promised_at), format('is %s and was promised for %s, and the buyer does not know', s.status, to_char(s.promised_at, 'YYYY-MM-DD HH24:MI:SS'))
		    FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id
		   WHERE @strict AND s.promised_at < now() - interval '5 minutes' AND s.updated_at < now() - interval '5 minutes' AND s.delayed_at IS NULL AND s.frozen_reason IS NULL AND o.status <> 'cancelled' AND NOT ` + order.WhollyRefunded + `
		     AND s.status IN ('pending','picking','packed','labelled','handed_over','in_transit','out_for_delivery')
		     AND (NOT EXISTS (SELECT FROM parcels p WHERE p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL)
		       OR EXISTS (SELECT FROM parcels p WHERE p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL AND p.state NOT IN ('at_point','delivered')))
		     AND NOT EXISTS (SELECT FROM run_problems r WHERE r.tenant = s.tenant AND r.workflow_id = 'fulfillment:' || s.tenant || ':' || s.id) ORDER BY 1, 2`,
		repair: "restart the shipment's run (support restart fulfillment:<tenant>:<shipment>): it tells the buyer",
	},
}
