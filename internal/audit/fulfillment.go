package audit

// fulfillmentRules are what carriers were asked to carry: one label for each parcel,
// nothing in doubt that nobody asks about, and every word on its way.
var fulfillmentRules = []rule{
	{
		invariant: 2, name: "bookings.one_label_per_parcel",
		says: "no parcel has two bookings that count or may count",
		rows: `SELECT count(*) FROM bookings`,
		find: `SELECT tenant, parcel_id, jsonb_build_object('shipment', min(shipment_id), 'return', min(return_id), 'bookings', jsonb_agg(jsonb_build_object('carrier', carrier, 'reference', reference, 'tracking', tracking, 'status', status) ORDER BY id)),
		         format('%s bookings count for it: %s', count(*), string_agg(carrier || ' ' || reference || ' ' || status, ', ' ORDER BY id))
		    FROM bookings WHERE status IN ('intended','unknown','pending','booked') AND void_at IS NULL GROUP BY tenant, parcel_id HAVING count(*) > 1 ORDER BY 1, 2`,
		repair: "cancel in the carrier's panel the label that is not on the parcel",
	},
	{
		invariant: 3, name: "bookings.labelled_is_booked",
		says: "each parcel of a shipment that goes by a carrier has one booking there, by its number",
		rows: `SELECT count(*) FROM parcels p JOIN shipments s ON s.tenant = p.tenant AND s.id = p.shipment_id WHERE p.unpacked_at IS NULL AND s.carrier NOT IN ('','manual')`,
		find: `SELECT s.tenant, p.id, jsonb_build_object('shipment', s.id, 'status', s.status, 'carrier', s.carrier, 'tracking', p.tracking, 'bookings', b.all),
		         format('goes by %s %s, of its bookings %s are that', s.carrier, p.tracking, b.right)
		    FROM shipments s JOIN parcels p ON p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL,
		      LATERAL (SELECT count(*) FILTER (WHERE b.status = 'booked' AND b.void_at IS NULL AND b.carrier = s.carrier AND b.tracking = p.tracking) AS right,
		                      jsonb_agg(jsonb_build_object('carrier', b.carrier, 'reference', b.reference, 'tracking', b.tracking, 'status', b.status)) AS all
		                 FROM bookings b WHERE b.tenant = p.tenant AND b.parcel_id = p.id) b
		   WHERE s.carrier NOT IN ('','manual') AND s.status IN ('labelled','handed_over','in_transit','out_for_delivery','delivered','delivery_failed','returned_to_sender','lost') AND b.right <> 1 ORDER BY 1, 2`,
		repair: "look for the number in the carrier's panel; a parcel that is still here is unpacked and labelled again",
	},
	{
		invariant: 3, name: "bookings.return_labels_are_booked",
		says: "each parcel of a return whose buyer has a label has one booking, by its number",
		rows: `SELECT count(*) FROM parcels p JOIN returns r ON r.tenant = p.tenant AND r.id = p.return_id WHERE p.unpacked_at IS NULL AND r.labelled_at IS NOT NULL`,
		find: `SELECT r.tenant, p.id, jsonb_build_object('return', r.id, 'status', r.status, 'carrier', r.label_carrier, 'tracking', p.tracking), format('comes back by %s %s, of its bookings %s are that', r.label_carrier, p.tracking, b.right)
		    FROM returns r JOIN parcels p ON p.tenant = r.tenant AND p.return_id = r.id AND p.unpacked_at IS NULL,
		      LATERAL (SELECT count(*) AS right FROM bookings b WHERE b.tenant = p.tenant AND b.parcel_id = p.id AND b.status = 'booked' AND b.void_at IS NULL AND b.carrier = r.label_carrier AND b.tracking = p.tracking) b
		   WHERE r.labelled_at IS NOT NULL AND b.right <> 1
		  UNION ALL
		  SELECT r.tenant, r.id, jsonb_build_object('status', r.status), 'its buyer has a label, and it has no parcel' FROM returns r
		   WHERE r.labelled_at IS NOT NULL AND NOT EXISTS (SELECT FROM parcels p WHERE p.tenant = r.tenant AND p.return_id = r.id AND p.unpacked_at IS NULL) ORDER BY 1, 2`,
		repair: "look for the number in the carrier's panel; cancel the label (POST /v1/returns/{id}/cancel-label) and ask for another",
	},
	{
		invariant: 3, name: "bookings.are_wanted",
		says: "a booking that counts or may count is for a parcel that is packed, of something that wants a label or has this one",
		rows: `SELECT count(*) FROM bookings`,
		find: `SELECT b.tenant, b.id, jsonb_build_object('shipment', b.shipment_id, 'return', b.return_id, 'carrier', b.carrier, 'reference', b.reference, 'tracking', b.tracking, 'status', b.status),
		         format('%s %s is %s, and %s wants none', b.carrier, b.reference, b.status, CASE WHEN r.id IS NULL THEN 'the shipment is ' || s.status || ' and' ELSE 'the return' END)
		    FROM bookings b JOIN parcels p ON p.tenant = b.tenant AND p.id = b.parcel_id
		    LEFT JOIN shipments s ON s.tenant = b.tenant AND s.id = b.shipment_id
		    LEFT JOIN returns r ON r.tenant = b.tenant AND r.id = b.return_id
		   WHERE b.status IN ('intended','unknown','pending','booked') AND b.void_at IS NULL
		     AND (p.unpacked_at IS NOT NULL OR s.status IN ('pending','picking','cancelled') OR s.status = 'packed' AND s.wanted_at IS NULL OR s.carrier = 'manual' OR r.id IS NOT NULL AND r.label_wanted_at IS NULL) ORDER BY 1, 2`,
		repair: "set void_at and next_at to now() and restart the run of the shipment or the return (support restart fulfillment:<tenant>:<shipment>, return:<tenant>:<return>): it is cancelled at its carrier",
	},
	{
		invariant: 6, name: "bookings.doubts_have_their_time",
		says: "a booking of which not all is known is asked about again, or a person was told",
		rows: `SELECT count(*) FROM bookings WHERE tried_at IS NOT NULL`,
		find: `SELECT b.tenant, b.id, jsonb_build_object('shipment', b.shipment_id, 'return', b.return_id, 'carrier', b.carrier, 'reference', b.reference, 'tracking', b.tracking, 'status', b.status, 'not_wanted_since', b.void_at),
		         format('%s %s is %s%s, and nobody asks', b.carrier, b.reference, b.status, CASE WHEN b.void_at IS NULL THEN '' ELSE ' and not wanted' END)
		    FROM bookings b
		   WHERE (b.status IN ('unknown','pending') OR b.status = 'intended' AND b.tried_at IS NOT NULL OR b.status = 'booked' AND b.void_at IS NOT NULL)
		     AND b.next_at IS NULL AND b.updated_at < now() - interval '1 minute'
		     AND NOT EXISTS (SELECT FROM parked w WHERE w.tenant = b.tenant AND w.workflow_id = CASE WHEN b.return_id IS NULL THEN 'fulfillment:' || b.tenant || ':' || b.shipment_id ELSE 'return:' || b.tenant || ':' || b.return_id END AND w.step IN ('booking','void') AND w.resolved_at IS NULL)
		     AND NOT EXISTS (SELECT FROM run_problems r WHERE r.tenant = b.tenant AND r.workflow_id = CASE WHEN b.return_id IS NULL THEN 'fulfillment:' || b.tenant || ':' || b.shipment_id ELSE 'return:' || b.tenant || ':' || b.return_id END) ORDER BY 1, 2`,
		repair: "set next_at to now() and restart the run of the shipment or the return (support restart fulfillment:<tenant>:<shipment>, return:<tenant>:<return>)",
	},
	{
		invariant: 3, name: "bookings.fill_their_days",
		says: "a carrier's day has as many parcels as bookings count for it: all but those refused, failed and cancelled",
		rows: `SELECT count(*) FROM carrier_days`,
		find: `WITH booked AS (
		    SELECT tenant, carrier, day, count(*) AS parcels FROM bookings WHERE status NOT IN ('refused','failed','voided') GROUP BY 1, 2, 3
		  )
		  SELECT tenant, carrier || ' ' || day, jsonb_build_object('day', coalesce(d.parcels, 0), 'bookings', coalesce(b.parcels, 0)), format('has %s parcels, %s bookings count for it', coalesce(d.parcels, 0), coalesce(b.parcels, 0))
		    FROM carrier_days d FULL JOIN booked b USING (tenant, carrier, day) WHERE coalesce(d.parcels, 0) <> coalesce(b.parcels, 0) ORDER BY 1, 2`,
		repair: "set the day's parcels to the bookings that count, as the schema's owner",
	},
	{
		invariant: 6, name: "wakes.are_told",
		says: "a run hears of a change of its row within a minute while the stack is up",
		rows: `SELECT count(*) FROM wakes`,
		find: `SELECT tenant, kind || ':' || subject, jsonb_build_object('since', min(at), 'words', count(*)), format('is not told of %s changes since %s', count(*), to_char(min(at), 'YYYY-MM-DD HH24:MI:SS'))
		    FROM wakes WHERE @strict AND at < now() - interval '1 minute' GROUP BY tenant, kind, subject ORDER BY 1, 2`,
		repair: "see whether the worker runs and Temporal answers: the words are told by themselves then",
	},
	{
		invariant: 5, name: "parcels.are_asked_about",
		says: "the carrier is asked about each parcel that it has and that has not arrived, in time while the stack is up",
		rows: `SELECT count(*) FROM parcels WHERE track_at IS NOT NULL`,
		find: `SELECT s.tenant, p.id, jsonb_build_object('shipment', s.id, 'status', s.status, 'carrier', s.carrier, 'tracking', p.tracking, 'state', p.state, 'due', p.track_at),
		         format('%s %s is %s, and %s', s.carrier, p.tracking, p.state, CASE WHEN p.track_at IS NULL THEN 'nobody asks' ELSE 'was to be asked about at ' || to_char(p.track_at, 'YYYY-MM-DD HH24:MI:SS') END)
		    FROM shipments s JOIN parcels p ON p.tenant = s.tenant AND p.shipment_id = s.id AND p.unpacked_at IS NULL
		   WHERE s.carrier NOT IN ('','manual') AND s.status IN ('labelled','handed_over','in_transit','out_for_delivery','delivery_failed') AND p.state NOT IN ('delivered','returned_to_sender','voided')
		     AND (p.track_at IS NULL OR @strict AND p.track_at < now() - interval '5 minutes')
		  UNION ALL
		  SELECT r.tenant, p.id, jsonb_build_object('return', r.id, 'status', r.status, 'carrier', r.label_carrier, 'tracking', p.tracking, 'state', p.state, 'due', p.track_at),
		         format('%s %s is %s, and %s', r.label_carrier, p.tracking, p.state, CASE WHEN p.track_at IS NULL THEN 'nobody asks' ELSE 'was to be asked about at ' || to_char(p.track_at, 'YYYY-MM-DD HH24:MI:SS') END)
		    FROM returns r JOIN parcels p ON p.tenant = r.tenant AND p.return_id = r.id AND p.unpacked_at IS NULL
		   WHERE r.labelled_at IS NOT NULL AND r.status IN ('label_issued','in_transit') AND p.state NOT IN ('delivered','returned_to_sender','voided')
		     AND (p.track_at IS NULL OR @strict AND p.track_at < now() - interval '5 minutes') ORDER BY 1, 2`,
		repair: "set track_at to now(): the worker asks within a second",
	},
}
