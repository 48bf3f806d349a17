package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/stock"
	"justlogistics/internal/temporalclient"
)

// Reservation holds stock without a payment until it is confirmed, released or
// its time is over. Restarted, it goes on from its row.
func Reservation(ctx workflow.Context, in ReservationInput) error {
	d, err := newDesk(ctx, in.Tenant, in.ReservationID)
	if err != nil {
		return err
	}
	r := &reservationRun{ref: activities.ReservationRef{Tenant: in.Tenant, ReservationID: in.ReservationID}, desk: d, lock: workflow.NewMutex(ctx), bell: workflow.NewBufferedChannel(ctx, 1000)}
	if err := r.register(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

type reservationRun struct {
	ref    activities.ReservationRef
	desk   *desk
	view   checkout.ReservationView
	opened bool
	lock   workflow.Mutex
	bell   workflow.Channel
}

// register sets the handlers. Each step of a reservation is one transaction,
// so a handler takes it itself, one at a time.
func (r *reservationRun) register(ctx workflow.Context) error {
	step := func(ctx workflow.Context, what string, activity any, args ...any) (ReservationAnswer, error) {
		if err := workflow.Await(ctx, func() bool { return r.opened }); err != nil {
			return ReservationAnswer{}, err
		}
		if err := r.lock.Lock(ctx); err != nil {
			return ReservationAnswer{}, err
		}
		defer r.lock.Unlock()
		v, err := certain[checkout.ReservationView](ctx, r.desk, what, what+" the reservation", activity, append([]any{r.ref}, args...)...)
		if err != nil {
			return ReservationAnswer{}, err
		}
		refused := v.Refused
		v.Refused = ""
		r.view = v
		r.bell.SendAsync(true)
		return ReservationAnswer{Status: v.Status, OrderID: v.OrderID, Refused: refused}, nil
	}
	begin := func(ctx workflow.Context) (BeginAnswer, error) {
		if err := workflow.Await(ctx, func() bool { return r.opened }); err != nil {
			return BeginAnswer{}, err
		}
		return BeginAnswer{Status: r.view.Status, FailureCode: r.view.Refused, Shortages: r.view.Shortages}, nil
	}
	confirm := func(ctx workflow.Context, req ReservationRequest) (ReservationAnswer, error) {
		return step(ctx, "confirm", reservations.ConfirmReservation, req.RequestID)
	}
	release := func(ctx workflow.Context, _ ReservationRequest) (ReservationAnswer, error) {
		a, err := step(ctx, "release", reservations.EndReservation, false)
		if a.Status != "released" && err == nil {
			a.Refused = "reservation_over"
		}
		return a, err
	}
	extend := func(ctx workflow.Context, req ReservationRequest) (ReservationAnswer, error) {
		return step(ctx, "extend", reservations.ExtendReservation, req.Seconds)
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateBegin, begin, workflow.UpdateHandlerOptions{Description: "answers once stock is held"}); err != nil {
		return err
	}
	enough := func(_ workflow.Context, req ReservationRequest) error {
		if req.Seconds < 1 {
			return temporal.NewApplicationError("seconds must be at least 1", activities.TypeInvalid)
		}
		return nil
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateConfirm, confirm, workflow.UpdateHandlerOptions{Description: "make a paid order of it"}); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, UpdateRelease, release, workflow.UpdateHandlerOptions{Description: "let the stock go"}); err != nil {
		return err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateExtend, extend, workflow.UpdateHandlerOptions{Description: "hold it longer", Validator: enough})
}

func (r *reservationRun) run(ctx workflow.Context) (err error) {
	r.desk.describe(ctx, "Holding stock.")
	if r.view, err = certain[checkout.ReservationView](ctx, r.desk, "hold", "hold stock", reservations.Reserve, r.ref); err != nil {
		return err
	}
	r.opened = true
	short := workflow.GetSignalChannel(ctx, SignalShort)
	for !r.view.Over() {
		if err := r.wait(ctx, short); err != nil {
			return err
		}
	}
	// A confirmed hold that lost units to a count is its order's to look after.
	r.desk.describe(ctx, "Done: "+r.view.Status+".")
	if err := workflow.UpsertTypedSearchAttributes(ctx, temporalclient.OrderState.ValueSet(r.view.Status)); err != nil {
		return err
	}
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// wait sleeps until a handler has changed something, a count has taken units,
// or the time is over.
func (r *reservationRun) wait(ctx workflow.Context, short workflow.ReceiveChannel) error {
	r.desk.describe(ctx, fmt.Sprintf("%s held until %s: waiting to be confirmed, released or extended.", stock.Describe(r.view.Held), clock(r.view.ExpiresAt)))
	timerCtx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	// Not at once where the database's clock, which decides, is behind ours.
	left := max(r.view.HeldUntil.Sub(workflow.Now(ctx)), time.Second)
	timer := workflow.NewTimerWithOptions(timerCtx, left, workflow.TimerOptions{Summary: "hold ends at " + clock(r.view.HeldUntil)})
	timeUp, lost := false, false
	s := workflow.NewSelector(ctx)
	s.AddReceive(r.bell, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) })
	s.AddReceive(short, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil); lost = true })
	s.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	s.AddFuture(timer, func(workflow.Future) { timeUp = true })
	s.Select(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !timeUp && !lost {
		return nil
	}
	if err := r.lock.Lock(ctx); err != nil {
		return err
	}
	defer r.lock.Unlock()
	var err error
	switch {
	case r.view.Over():
	case timeUp:
		r.view, err = certain[checkout.ReservationView](ctx, r.desk, "expire", "the time is over: free the stock", reservations.EndReservation, r.ref, true)
	case lost:
		if _, err = certain[bool](ctx, r.desk, "cure", "hold elsewhere what the shelf did not have", checkouts.CureShort, r.ref.Tenant, r.ref.ReservationID); err == nil {
			r.view, err = certain[checkout.ReservationView](ctx, r.desk, "load", "read the reservation", reservations.LoadReservation, r.ref)
		}
	}
	return err
}
