package workflows

import "go.temporal.io/sdk/workflow"

// Receipt looks after goods of one delivery that are being scanned, until a person
// closes the receipt, or cancels it. A person is asked when it is open for longer
// than the tenant allows. What came is known to those at the door alone: at the
// support desk it can wait and not be closed.
func Receipt(ctx workflow.Context, in WatchInput) error {
	return watch(ctx, watched{kind: KindReceipt, name: ReceiptName, step: "reception", reason: "receipt_overdue", verbs: []string{VerbRetry}, waits: "the receipt is closed",
		advice: "Close it with what came, or cancel it when nothing did. `retry` waits another day."}, in)
}
