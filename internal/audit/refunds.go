package audit

// refundRules are invariant 2 for what was asked to go back: what a refund is
// booked on, what is counted, and what its parts pay are the same sum.
var refundRules = []rule{
	{
		invariant: 2, name: "refunds.parts_are_the_request",
		says: "the parts of a refund, those left out that another has taken the place of, add up to what was asked for",
		rows: `SELECT count(*) FROM refund_requests`,
		find: `SELECT q.tenant, q.id, jsonb_build_object('order', q.order_id, 'amount', q.amount, 'parts', f.sum, 'waits', q.waits),
		         CASE WHEN q.waits THEN format('waits for its payment and has parts of %s', f.sum) ELSE format('%s were asked for, its parts are %s', q.amount, f.sum) END
		    FROM refund_requests q
		    CROSS JOIN LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refunds f WHERE f.tenant = q.tenant AND f.request_id = q.id
		       AND NOT EXISTS (SELECT FROM refunds n WHERE n.tenant = f.tenant AND n.revives = f.id)) f
		   WHERE f.sum <> CASE WHEN q.waits THEN 0 ELSE q.amount END ORDER BY 1, 2`,
		repair: "book what is missing as a refund of its own, or cancel the part that is too much (support)",
	},
	{
		invariant: 2, name: "refunds.bookings_are_the_parts",
		says: "what a refund is booked on (units, freight, goodwill) is what its parts give back that have not failed",
		rows: `SELECT count(*) FROM refund_bookings`,
		find: `SELECT q.tenant, q.id, jsonb_build_object('order', q.order_id, 'booked', b.sum, 'goes_back', f.sum), format('%s are booked, %s go back', b.sum, f.sum)
		    FROM refund_requests q
		    CROSS JOIN LATERAL (SELECT CASE WHEN q.waits THEN q.amount ELSE coalesce(sum(amount), 0) END AS sum FROM refunds f WHERE f.tenant = q.tenant AND f.request_id = q.id AND f.status <> 'failed') f
		    CROSS JOIN LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refund_bookings b WHERE b.tenant = q.tenant AND b.request_id = q.id AND NOT b.released) b
		   WHERE b.sum <> f.sum ORDER BY 1, 2`,
		repair: "release, or book, the difference: what is booked can't be given back again",
	},
	{
		invariant: 2, name: "refunds.counters_are_the_bookings",
		says: "what counts as given back of a unit or the freight is what refunds are booked on it, and never more than was paid for it",
		rows: `SELECT count(*) FROM refundable`,
		find: `SELECT r.tenant, r.order_id, jsonb_build_object('line', r.line_id, 'unit', r.unit, 'paid', r.paid, 'counted', r.refunded, 'booked', b.sum),
		         format('%s %s: %s of %s counted as given back, %s booked', CASE WHEN r.line_id = '' THEN 'freight' ELSE 'line ' || r.line_id || ' unit' END, r.unit, r.refunded, r.paid, b.sum)
		    FROM refundable r
		    CROSS JOIN LATERAL (SELECT coalesce(sum(amount), 0) AS sum FROM refund_bookings b WHERE b.tenant = r.tenant AND b.order_id = r.order_id AND b.line_id = r.line_id AND b.unit = r.unit AND b.kind <> 'goodwill' AND NOT b.released) b
		   WHERE r.refunded <> b.sum OR r.refunded > r.paid ORDER BY 1, 2, r.line_id, r.unit`,
		repair: "set the counter to its bookings; of more than was paid, a person decides",
	},
	{
		invariant: 2, name: "refunds.units_cost_their_line",
		says: "what the units and the freight of an order cost adds up to its lines and its freight",
		rows: `SELECT count(DISTINCT (tenant, order_id)) FROM refundable`,
		find: `SELECT o.tenant, o.id, jsonb_build_object('total', o.total, 'units', u.sum), format('its units and freight cost %s, it was %s', u.sum, o.total)
		    FROM orders o
		    CROSS JOIN LATERAL (SELECT count(*) AS n, coalesce(sum(paid), 0) AS sum FROM refundable r WHERE r.tenant = o.tenant AND r.order_id = o.id) u
		   WHERE u.n > 0 AND u.sum <> o.total ORDER BY 1, 2`,
		repair: "correct the rows before anything more is refunded on this order",
	},
}
