package audit

// comparedRules watch over the daily comparison with the providers' own books:
// a difference is repaired, explained, or waits for a person, and nothing that
// was sent on its way is forgotten there.
var comparedRules = []rule{
	{
		invariant: 6, name: "reconciliation.differences_have_an_end",
		says: "a difference that was put on its way to be repaired is gone when its reconciliation is done, or a person was told",
		rows: `SELECT count(*) FROM reconciliation_items`,
		find: `SELECT i.tenant, i.id, jsonb_build_object('gateway', i.gateway, 'day', i.day, 'payment', i.payment_id, 'refund', i.refund_id, 'difference', i.difference),
		         format('%s of %s: %s was repaired and still differs', i.gateway, i.day, i.result)
		    FROM reconciliation_items i JOIN reconciliations r ON r.tenant = i.tenant AND r.id = i.reconciliation_id
		   WHERE i.result NOT IN ('matched','fee') AND i.resolution = 'repaired' AND r.status = 'done' ORDER BY 1, 2`,
		repair: "POST /v1/reports/reconciliation for that day compares it again",
	},
	{
		invariant: 6, name: "reconciliation.resolved_say_who",
		says: "what a person said of a difference is recorded with who and why",
		rows: `SELECT count(*) FROM reconciliation_items`,
		find: `SELECT i.tenant, i.id, jsonb_build_object('gateway', i.gateway, 'day', i.day, 'actor', i.actor), 'resolved, and no support action names it'
		    FROM reconciliation_items i WHERE i.resolution = 'resolved' AND NOT EXISTS (
		      SELECT FROM support_actions a WHERE a.tenant = i.tenant AND a.verb = 'resolve' AND a.detail->>'item_id' = i.id) ORDER BY 1, 2`,
		repair: "ask the actor, and write the action down",
	},
}
