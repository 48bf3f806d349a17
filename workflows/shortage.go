package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// shortageRetry is how often other shelves are looked at while a person has
// not decided.
const shortageRetry = 15 * time.Minute

// Shortage looks after a paid order that lost units to a count: it takes them
// from other warehouses, and asks a person while there are none. New stock
// cures it by itself.
func Shortage(ctx workflow.Context, in ShortageInput) error {
	d, err := newDesk(ctx, in.Tenant, in.OrderID)
	if err != nil {
		return err
	}
	d.describe(ctx, "Looking for other shelves.")
	if in.HoldID == "" { // restarted from its row
		if in.HoldID, err = certain[string](ctx, d, "load", "find the order's hold", checkouts.HoldOf, in.Tenant, in.OrderID); err != nil {
			return err
		}
	}
	for {
		whole, err := certain[bool](ctx, d, "cure", "hold elsewhere what the shelf did not have", checkouts.CureShort, in.Tenant, in.HoldID)
		if err != nil {
			return err
		}
		if whole {
			if err := d.unpark(ctx, "shortage", "units were found"); err != nil {
				return err
			}
			break
		}
		if err := d.park(ctx, Case{Step: "shortage", Reason: "short_stock", Verbs: []string{VerbRetry, VerbResolve, VerbSkip},
			Message: "The order is paid and the shelves have fewer units than it needs. Receive stock and retry, or agree with the buyer and resolve.",
			Tried:   "all warehouses, again every " + shortageRetry.String()}); err != nil {
			return err
		}
		timerCtx, cancel := workflow.WithCancel(ctx)
		timer := workflow.NewTimerWithOptions(timerCtx, shortageRetry, workflow.TimerOptions{Summary: "look for units again"})
		if err := workflow.Await(ctx, func() bool { return timer.IsReady() || len(d.decided) > 0 }); err != nil {
			cancel()
			return err
		}
		cancel()
		dec, ok := d.next()
		if !ok {
			continue
		}
		dec.result, dec.done = dec.Verb+" done", true
		if dec.Verb != VerbRetry {
			if err := d.unpark(ctx, "shortage", dec.Verb); err != nil {
				return err
			}
			break
		}
	}
	d.describe(ctx, "Done.")
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}
