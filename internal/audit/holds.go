package audit

// holdRules are invariant 4: no hold outlives its time, and a time that was
// moved says why.
var holdRules = []rule{
	{
		invariant: 4, name: "holds.end_in_time",
		says: "no unpaid hold stands past held_until (5 s while the stack is up, else its due_at; with a payment in doubt, the tenant's grace)",
		rows: `SELECT count(*) FROM holds WHERE status IN ('held','short') AND confirmed_at IS NULL`,
		// While an attempt is being closed or asked about, the stock may stay
		// for the grace although held_until has not been moved yet.
		find: `WITH standing AS (
		    SELECT h.tenant, h.id, h.checkout_id, h.held_until,
		           CASE WHEN doubt.payment IS NOT NULL
		                THEN greatest(h.held_until, h.expires_at + make_interval(secs => coalesce((t.settings ->> 'grace_seconds')::int, 300)))
		                ELSE h.held_until END + @tolerance::interval AS latest,
		           h.due_at, doubt.payment
		      FROM holds h JOIN tenants t ON t.tenant = h.tenant
		      LEFT JOIN LATERAL (
		        SELECT p.id AS payment FROM payments p
		         WHERE p.tenant = h.tenant AND p.checkout_id = h.checkout_id
		           AND (p.status IN ('unknown','processing') OR p.status = 'pending' AND NOT p.closed AND p.settle_tried_at IS NOT NULL
                OR p.status IN ('pending','declined','cancelled') AND NOT p.closed AND p.close_tried_at IS NOT NULL)
		         LIMIT 1) doubt ON true
		     WHERE h.status IN ('held','short') AND h.confirmed_at IS NULL
		  )
		  SELECT tenant, id, jsonb_strip_nulls(jsonb_build_object('checkout', checkout_id, 'held_until', held_until, 'payment_in_doubt', payment)),
		         format('holds stock %s s after its time%s', floor(extract(epoch FROM now() - held_until)), CASE WHEN payment IS NULL THEN '' ELSE ', a payment is in doubt' END)
		    FROM standing
		   WHERE latest < now() AND (@strict OR coalesce(due_at, '-infinity') < now())
		   ORDER BY 1, 2`,
		repair: "look at the run of the checkout or reservation; the sweeper frees a hold 30 s after its time unless its payment is in doubt, which support resolves",
	},
	{
		invariant: 4, name: "holds.longer_life_is_named",
		says: "a hold lives longer than was promised only by an extension or a grace that the timeline names",
		rows: `SELECT count(*) FROM holds`,
		find: `WITH promised AS (
		    SELECT h.*, coalesce(c.hold_seconds, (r.payload ->> 'seconds')::int) AS seconds
		      FROM holds h
		      LEFT JOIN checkouts c ON c.tenant = h.tenant AND c.id = h.checkout_id
		      LEFT JOIN reservation_requests r ON r.tenant = h.tenant AND r.id = h.id AND r.kind = 'create'
		  )
		  SELECT h.tenant, h.id, jsonb_strip_nulls(jsonb_build_object('checkout', h.checkout_id, 'expires_at', h.expires_at, 'held_until', h.held_until, 'promised_seconds', h.seconds)),
		         CASE WHEN h.held_until > h.expires_at THEN format('kept %s s beyond its promised end and no event says why', ceil(extract(epoch FROM h.held_until - h.expires_at)))
		              ELSE format('promised for %s s, and no event says why it lives longer', h.seconds) END
		    FROM promised h
		   WHERE h.held_until > h.expires_at
		         AND NOT EXISTS (SELECT FROM events e WHERE e.tenant = h.tenant AND e.subject IN (h.id, h.checkout_id) AND e.kind IN ('hold_grace','hold_extended'))
		      OR h.seconds IS NOT NULL AND h.expires_at > h.started_at + make_interval(secs => h.seconds)
		         AND NOT EXISTS (SELECT FROM events e WHERE e.tenant = h.tenant AND e.subject IN (h.id, h.checkout_id) AND e.kind IN ('hold_extended','held_again'))
		   ORDER BY 1, 2`,
		repair: "find who moved it: only an extension or a grace may, and both write an event",
	},
	{
		invariant: 4, name: "holds.stand_with_their_checkout",
		says: "a checkout that waits for payment has a live hold, and one that has ended keeps none but for a late buyer",
		rows: `SELECT count(*) FROM checkouts WHERE hold_id IS NOT NULL`,
		find: `SELECT c.tenant, c.id, jsonb_build_object('status', c.status, 'reservation', h.id, 'reservation_status', h.status),
		         CASE WHEN c.status = 'awaiting_payment' THEN format('waits for payment and its hold is %s', h.status)
		              ELSE format('is %s and still holds stock', c.status) END
		    FROM checkouts c JOIN holds h ON h.tenant = c.tenant AND h.id = c.hold_id
		   WHERE c.status = 'awaiting_payment' AND (h.status NOT IN ('held','short') OR h.confirmed_at IS NOT NULL)
		      OR c.status IN ('expired','cancelled','payment_failed') AND h.status IN ('held','short','confirmed')
		         AND NOT (c.status <> 'cancelled' AND h.confirmed_at IS NULL
		                  AND EXISTS (SELECT FROM events e WHERE e.tenant = c.tenant AND e.subject = c.id AND e.kind = 'held_again' AND e.data ->> 'reservation_id' = h.id))
		   ORDER BY 1, 2`,
		repair: "cancel the checkout, or release its hold",
	},
}
