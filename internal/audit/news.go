package audit

// newsRules are invariant 5: every stored event is applied, or ignored with a
// reason.
var newsRules = []rule{
	{
		invariant: 5, name: "news.are_settled",
		says: "stored news are applied or ignored by their due_at, unless a person was asked about their payment",
		rows: `SELECT count(*) FROM inbox`,
		find: `SELECT i.tenant, i.id, jsonb_build_object('gateway', i.gateway, 'kind', i.kind, 'event', i.event_id, 'payment', i.payment_id, 'attempts', i.attempts, 'received_at', i.received_at),
		         format('%s of %s waits since %s, tried %s times', i.kind, i.gateway, to_char(i.received_at, 'YYYY-MM-DD HH24:MI:SS'), i.attempts)
		    FROM inbox i
		   WHERE i.status = 'pending' AND coalesce(i.due_at, '-infinity') < now()
		     AND NOT EXISTS (SELECT FROM payments p JOIN parked w ON w.tenant = p.tenant AND w.resolved_at IS NULL AND w.subject IN (p.id, p.checkout_id, p.order_id)
		                      WHERE p.tenant = i.tenant AND p.id = i.payment_id)
		   ORDER BY 1, 2`,
		repair: "see whether the worker runs and the checkout's run takes signals; the inbox loop tries again by itself",
	},
	{
		invariant: 5, name: "news.ignored_say_why",
		says: "what is ignored has its reason, what is settled its time",
		rows: `SELECT count(*) FROM inbox WHERE status <> 'pending'`,
		find: `SELECT tenant, id, jsonb_build_object('gateway', gateway, 'event', event_id, 'payment', payment_id, 'status', status),
		         CASE WHEN settled_at IS NULL THEN status || ', and nobody says when' ELSE 'ignored without a reason' END
		    FROM inbox WHERE status = 'ignored' AND reason = '' OR status <> 'pending' AND settled_at IS NULL ORDER BY 1, 2`,
		repair: "ask the provider about the payment (support retry) and write down why the news change nothing",
	},
	{
		invariant: 5, name: "news.applied_had_their_effect",
		says: "an approval that was signed and applied left its payment approved",
		rows: `SELECT count(*) FROM inbox WHERE status = 'applied' AND signed AND claim = 'approved'`,
		find: `SELECT i.tenant, i.id, jsonb_build_object('gateway', i.gateway, 'event', i.event_id, 'payment', i.payment_id, 'payment_status', p.status),
		         format('%s was applied and payment %s is %s', i.event_type, i.payment_id, coalesce(p.status, 'unknown to us'))
		    FROM inbox i LEFT JOIN payments p ON p.tenant = i.tenant AND p.id = i.payment_id
		   WHERE i.status = 'applied' AND i.signed AND i.claim = 'approved'
		     AND coalesce(p.status, '') NOT IN ('authorized','captured','partially_refunded','refunded','disputed','charged_back')
		   ORDER BY 1, 2`,
		repair: "ask the provider about the payment (support retry)",
	},
}
