package workflows

import "go.temporal.io/sdk/workflow"

// Transfer looks after goods that are on their way between two warehouses, from
// dispatch until all of them have arrived, been recalled or named as lost. A
// person is asked when they are later than the tenant allows, or when a part has
// arrived and the rest not within a day.
func Transfer(ctx workflow.Context, in WatchInput) error {
	return watch(ctx, watched{kind: KindTransfer, name: TransferName, step: "reception", reason: "transfer_overdue", verbs: []string{VerbRetry, VerbResolve}, waits: "the goods arrive",
		advice: "Receive them, or close the transfer with what was lost. `retry` waits another day, `resolve` writes off what has not arrived."}, in)
}
