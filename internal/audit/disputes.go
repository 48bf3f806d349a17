package audit

// disputeRules belong to invariant 2: what a provider says of a chargeback is
// what our books say, and what is disputed stays.
var disputeRules = []rule{
	{
		invariant: 2, name: "disputes.agree_with_their_payment",
		says: "a payment is charged back when a dispute of it was lost, disputed while one is open, and neither otherwise",
		rows: `SELECT count(*) FROM disputes`,
		find: `WITH told AS (
		    SELECT p.tenant, p.id, p.status, bool_or(d.status = 'lost') AS lost, bool_or(d.status = 'open') AS open
		      FROM payments p LEFT JOIN disputes d ON d.tenant = p.tenant AND d.payment_id = p.id
		     WHERE p.status IN ('authorized','captured','partially_refunded','refunded','disputed','charged_back') GROUP BY 1, 2, 3
		  )
		  SELECT tenant, id, jsonb_build_object('status', status, 'lost', coalesce(lost, false), 'open', coalesce(open, false)),
		         format('is %s; a dispute of it is %s', status, CASE WHEN lost THEN 'lost' WHEN open THEN 'open' ELSE 'neither open nor lost' END)
		    FROM told
		   WHERE (status = 'charged_back') <> coalesce(lost, false) OR (status = 'disputed') <> (coalesce(open, false) AND NOT coalesce(lost, false))
		   ORDER BY 1, 2`,
		repair: "ask the provider about the payment (support retry): recording its answer sets the status",
	},
	{
		invariant: 2, name: "disputes.parcels_stay",
		says: "no parcel of an order leaves while the payment that is applied to it is disputed or charged back",
		rows: `SELECT count(*) FROM shipments`,
		find: `SELECT s.tenant, s.id, jsonb_build_object('order', s.order_id, 'payment', p.id, 'status', s.status), format('is %s and may leave, and its order''s payment is %s', s.status, p.status)
		    FROM payments p JOIN shipments s ON s.tenant = p.tenant AND s.order_id = p.order_id
		   WHERE p.applied AND p.status IN ('disputed','charged_back') AND s.status IN ('pending','picking','packed','labelled') AND s.frozen_reason IS NULL
		  UNION ALL
		  SELECT s.tenant, s.id, jsonb_build_object('order', s.order_id, 'frozen', s.frozen_reason), 'is kept as disputed, and nothing of its order is'
		    FROM shipments s
		   WHERE s.frozen_reason = 'disputed' AND s.status IN ('pending','picking','packed','labelled')
		     AND NOT EXISTS (SELECT FROM payments p WHERE p.tenant = s.tenant AND p.order_id = s.order_id AND p.status IN ('disputed','charged_back'))
		   ORDER BY 1, 2`,
		repair: "stop the parcel by hand, or let it go when the dispute is over",
	},
}
