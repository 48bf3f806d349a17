package audit

// dueRules are the ground under invariant 6: what is not final has a moment by
// which it must have moved. support.go compares what is past it with the list
// that people read.
var dueRules = []rule{
	{
		invariant: 6, name: "due.everything_open_has_its_time",
		says: "every row that is not final has a due_at",
		rows: `SELECT (SELECT count(*) FROM checkouts) + (SELECT count(*) FROM payments) + (SELECT count(*) FROM refunds) + (SELECT count(*) FROM holds) + (SELECT count(*) FROM inbox) + (SELECT count(*) FROM shipments) + (SELECT count(*) FROM disputes) + (SELECT count(*) FROM transfers) + (SELECT count(*) FROM receipts) + (SELECT count(*) FROM returns) + (SELECT count(*) FROM counts) + (SELECT count(*) FROM pick_lists) + (SELECT count(*) FROM exception_tasks)`,
		find: `SELECT tenant, id, jsonb_build_object('table', kind, 'status', status), format('%s is %s and has no due_at', kind, status) FROM (
		    SELECT tenant, id, 'checkout' AS kind, status FROM checkouts WHERE due_at IS NULL AND (status IN ('reserving','awaiting_payment') OR closed_at IS NULL)
		    UNION ALL SELECT tenant, id, 'payment', status FROM payments WHERE due_at IS NULL AND status IN ('pending','processing','unknown')
		    UNION ALL SELECT tenant, id, 'authorization', status FROM payments WHERE due_at IS NULL AND status = 'authorized'
		    UNION ALL SELECT tenant, id, 'dispute', status FROM disputes WHERE due_at IS NULL AND status = 'open'
		    UNION ALL SELECT tenant, id, 'refund', status FROM refunds WHERE due_at IS NULL AND status IN ('pending','unknown')
		    UNION ALL SELECT tenant, id, 'refund', 'waiting' FROM refund_requests WHERE due_at IS NULL AND waits
		    UNION ALL SELECT tenant, id, 'hold', status FROM holds WHERE due_at IS NULL AND status IN ('held','short')
		    UNION ALL SELECT tenant, id, 'inbox', status FROM inbox WHERE due_at IS NULL AND status = 'pending'
		    UNION ALL SELECT tenant, id, 'reconciliation', status FROM reconciliations WHERE due_at IS NULL AND status = 'running'
		    UNION ALL SELECT tenant, id, 'transfer', status FROM transfers WHERE due_at IS NULL AND status IN ('requested','in_transit','partially_received')
		    UNION ALL SELECT tenant, id, 'receipt', status FROM receipts WHERE due_at IS NULL AND status = 'open'
		    UNION ALL SELECT tenant, id, 'return', status FROM returns WHERE due_at IS NULL AND status NOT IN ('closed','rejected','expired','cancelled')
		    UNION ALL SELECT tenant, id, 'count', status FROM counts WHERE due_at IS NULL AND status = 'open'
		    UNION ALL SELECT tenant, id, 'pick list', status FROM pick_lists WHERE due_at IS NULL AND status IN ('open','in_progress','picked')
		    UNION ALL SELECT tenant, id, 'exception', status FROM exception_tasks WHERE due_at IS NULL AND status = 'open'
		    UNION ALL SELECT tenant, id, 'difference', resolution FROM reconciliation_items WHERE due_at IS NULL AND resolution = 'raised'
		    UNION ALL SELECT tenant, id, 'shipment', status FROM shipments WHERE due_at IS NULL AND status IN ('pending','picking','packed','labelled')
		  ) open ORDER BY 1, 2`,
		repair: "set due_at to now(): the row comes to the support list and its run is looked at within a minute",
	},
}

// pastDue is everything that must be on the support list, written without a
// look at how that list is made: what is past its time, parked, in need of a
// person, or without its run. names are those under which the list may show it:
// by its own id, or by the run or order that it belongs to.
const pastDue = `
  SELECT tenant, kind, id, names, why FROM (
    SELECT tenant, 'checkout' AS kind, id, ARRAY[id] AS names, 'is ' || status || ', due ' || due_at AS why FROM checkouts WHERE due_at < now()
    UNION ALL SELECT tenant, 'payment', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM payments WHERE due_at < now()
    UNION ALL SELECT d.tenant, 'dispute', d.id, ARRAY[d.payment_id], 'is open' FROM disputes d WHERE d.status = 'open'
    UNION ALL SELECT tenant, 'authorization', id, ARRAY[id], 'lapses at ' || capture_until FROM payments WHERE status = 'authorized' AND capture_amount IS NULL AND void_reason IS NULL AND capture_until < now() + interval '23 hours'
    UNION ALL SELECT tenant, 'refund', id, ARRAY[id, request_id], 'is ' || status || ', due ' || due_at FROM refunds WHERE due_at < now()
    UNION ALL SELECT tenant, 'refund', id, ARRAY[id], 'waits for its payment, due ' || due_at FROM refund_requests WHERE due_at < now()
    UNION ALL SELECT tenant, 'refund', id, ARRAY[id, 'refund:' || tenant || ':' || coalesce(request_id, id)], 'needs attention' FROM refunds
               WHERE status = 'needs_attention' AND updated_at < now() - interval '1 minute'
    UNION ALL SELECT tenant, 'hold', id, ARRAY[id, checkout_id, 'checkout:' || tenant || ':' || checkout_id], 'is ' || status || ', due ' || due_at FROM holds WHERE due_at < now()
    UNION ALL SELECT tenant, 'shipment', id, ARRAY[id, order_id], 'is ' || status || ', due ' || due_at FROM shipments WHERE due_at < now()
    UNION ALL SELECT tenant, 'receipt', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM receipts WHERE due_at < now()
    UNION ALL SELECT tenant, 'inbox', id, ARRAY[id, payment_id], kind || ' of ' || gateway || ' waits, due ' || due_at FROM inbox WHERE due_at < now()
    UNION ALL SELECT tenant, 'reconciliation', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM reconciliations WHERE due_at < now()
    UNION ALL SELECT tenant, 'transfer', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM transfers WHERE due_at < now()
    UNION ALL SELECT tenant, 'exception', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM exception_tasks WHERE due_at < now()
    UNION ALL SELECT tenant, 'pick list', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM pick_lists WHERE due_at < now()
    UNION ALL SELECT tenant, 'purchase order', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM purchase_orders WHERE due_at < now()
    UNION ALL SELECT tenant, 'count', id, ARRAY[id], 'is ' || status || ', due ' || due_at FROM counts WHERE due_at < now()
    UNION ALL SELECT tenant, 'difference', id, ARRAY[id], gateway || ' of ' || day || ' waits for a person: ' || result FROM reconciliation_items WHERE resolution = 'raised'
    UNION ALL SELECT tenant, 'parked', workflow_id, ARRAY[workflow_id], 'waits for a person: ' || reason FROM parked WHERE resolved_at IS NULL
    UNION ALL SELECT tenant, 'run', workflow_id, ARRAY[workflow_id], 'its run is ' || problem FROM run_problems
    UNION ALL SELECT tenant, 'order', id, ARRAY[id], 'waits for a person: ' || attention FROM orders WHERE attention IS NOT NULL
  ) late ORDER BY 1, 2, 3`
