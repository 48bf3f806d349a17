package audit

// noticeRules hold that buyers are told, or that it is written down why not. A
// notice that no sender takes is late only while there is one.
var noticeRules = []rule{
	{
		invariant: 6, name: "notices.have_their_turn",
		says: "while the stack is up, no notice to a buyer waits more than 15 minutes past its turn",
		rows: `SELECT count(*) FROM notices`,
		find: `SELECT tenant, id, jsonb_build_object('order', subject, 'kind', kind, 'channel', channel, 'attempts', attempts, 'next_at', next_at),
		         format('%s by %s is %s, its turn was %s', kind, channel, status, to_char(next_at, 'YYYY-MM-DD HH24:MI:SS'))
		    FROM notices WHERE @strict::boolean AND status IN ('queued','sending') AND next_at < now() - interval '15 minutes' ORDER BY 1, 2`,
		repair: "see whether a worker runs and what its log says of notices; the sender takes it up by itself",
	},
	{
		invariant: 6, name: "notices.failures_are_told",
		says: "a notice that was given up stands in its order's timeline",
		rows: `SELECT count(*) FROM notices`,
		find: `SELECT n.tenant, n.id, jsonb_build_object('order', n.subject, 'kind', n.kind, 'channel', n.channel, 'error', n.error),
		         format('%s by %s was given up (%s), and the timeline does not say so', n.kind, n.channel, n.error)
		    FROM notices n WHERE n.status = 'failed'
		     AND NOT EXISTS (SELECT FROM events e WHERE e.tenant = n.tenant AND e.subject = n.subject AND e.kind = 'notice_failed' AND e.data->>'notice_id' = n.id)
		   ORDER BY 1, 2`,
		repair: "tell the buyer by hand, or send it again (POST /v1/notices/{id}/resend)",
	},
}
