package audit

// eventRules are invariant 6 for what storefronts are told: nothing that is public
// waits unpublished, and no endpoint waits for its turn. An endpoint that is slow
// or dead has its turns all the same.
var eventRules = []rule{
	{
		invariant: 6, name: "events.are_published",
		says: "what the timelines tell storefronts is published within 5 minutes while the stack is up, each entry once and in gapless positions",
		rows: `SELECT (SELECT count(*) FROM public_events) + (SELECT count(*) FROM events WHERE outbound)`,
		find: `SELECT tenant, subject, jsonb_build_object('seq', seq, 'kind', kind), format('%s waits since %s to be published', kind, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS'))
		    FROM events WHERE outbound AND @strict AND created_at < now() - interval '5 minutes'
		  UNION ALL
		  SELECT p.tenant, p.tenant, jsonb_build_object('events', count(*), 'last', max(p.position), 'given', max(f.position)), format('%s events, the last at %s, positions given up to %s', count(*), max(p.position), coalesce(max(f.position), 0))
		    FROM public_events p LEFT JOIN feeds f ON f.tenant = p.tenant GROUP BY p.tenant HAVING count(*) <> max(p.position) OR max(p.position) IS DISTINCT FROM max(f.position)
		  UNION ALL
		  SELECT p.tenant, p.id, jsonb_build_object('seq', p.seq, 'type', p.type), format('%s has been published and waits to be', p.type)
		    FROM public_events p JOIN events e ON e.tenant = p.tenant AND e.seq = p.seq WHERE e.outbound ORDER BY 1, 2`,
		repair: "see whether a worker of the main task queue runs; it publishes without Temporal",
	},
	{
		invariant: 6, name: "events.are_delivered_or_tried",
		says: "no endpoint has deliveries past due by 5 minutes and no try within them while the stack is up; a disabled one has none",
		rows: `SELECT count(*) FROM event_deliveries`,
		find: `SELECT e.tenant, e.id, jsonb_build_object('waiting', count(*), 'since', min(d.next_try_at), 'last_try', e.claimed_at),
		         CASE WHEN e.status = 'disabled' THEN format('is disabled and has %s deliveries that wait', count(*))
		              ELSE format('%s deliveries are past due since %s and nobody tries', count(*), to_char(min(d.next_try_at), 'YYYY-MM-DD HH24:MI:SS')) END
		    FROM event_deliveries d JOIN event_endpoints e ON e.tenant = d.tenant AND e.id = d.endpoint_id
		   WHERE d.status = 'pending' AND (e.status = 'disabled'
		      OR @strict AND greatest(d.next_try_at, e.resting_until) < now() - interval '5 minutes' AND coalesce(e.claimed_at, '-infinity') < now() - interval '5 minutes')
		   GROUP BY e.tenant, e.id, e.status, e.claimed_at ORDER BY 1, 2`,
		repair: "see whether a worker of the main task queue runs and can read the endpoints' secrets (JL_CREDENTIAL_KEYS)",
	},
}
