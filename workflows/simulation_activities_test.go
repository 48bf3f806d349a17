package workflows_test

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/checkout"
	"justlogistics/internal/payment"
	"justlogistics/workflows"
)

// register gives the environment the workflows under test and the activities
// by the names that histories have.
func (s *simulation) register(env *testsuite.TestWorkflowEnvironment) {
	for name, fn := range map[string]any{
		workflows.CheckoutName: workflows.Checkout, workflows.LatePaymentName: workflows.LatePayment, workflows.ReservationName: workflows.Reservation,
		workflows.RefundName: workflows.Refund, workflows.ShortageName: workflows.Shortage, workflows.CaptureName: workflows.Capture, rootName: s.root,
	} {
		if other := s.workflows[name]; other != nil {
			fn = other
		}
		env.RegisterWorkflowWithOptions(fn, workflow.RegisterOptions{Name: name})
	}
	for name, fn := range s.activities() {
		env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
}

func (s *simulation) activities() map[string]any {
	return map[string]any{
		"HoldStock": s.start, "NextGateway": s.next, "AddAttempt": s.try, "ReadCheckout": s.load, "GiveUp": s.giveUp, "Grace": s.grace, "EndUnpaid": s.endUnpaid, "EndRun": s.settled,
		"RecordAnswer": s.record, "HoldAgain": s.holdAgain, "LetGo": s.letGo, "NotCommitted": s.notCommitted, "RefundStray": s.refundStray, "CureShort": s.cureShort, "MendShort": s.mendShort, "DecideShort": s.decideShort, "HoldOf": s.holdOf, "Shorted": s.shorted,
		"BeginPayment": s.begin, "NotBegun": s.notBegun, "SettleReturn": s.settle, "AskGateway": s.lookup, "CloseAttempt": s.close,
		"LoadRefund": s.loadRefund, "RefundPayment": s.refund, "LookupRefund": s.lookupRefund, "PutRefund": s.putRefund, "RemakeRefund": s.remakeRefund, "SettleRefund": s.settleRefund, "VoidPayment": s.voidPayment,
		"Reserve": s.reserve, "LoadReservation": s.loadReservation, "EndReservation": s.endReservation, "ExtendReservation": s.extendReservation, "ConfirmReservation": s.confirmReservation,
		"LoadCapture": s.loadCapture, "CapturePayment": s.capturePayment, "VoidAuthorization": s.voidAuthorization, "WithdrawCapture": s.withdrawCapture, "PutCaptureOff": s.putCaptureOff,
		"ParkStep": s.park, "UnparkStep": s.unpark,
	}
}

// call runs an activity: what the schedule has for this call happens before
// its effect, in the middle of it, or after it.
func call[T any](ctx context.Context, s *simulation, name string, effect func() (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return called(ctx, s, name, "database", effect)
}

func called[T any](ctx context.Context, s *simulation, name, what string, effect func() (T, error)) (T, error) {
	var none T
	n := s.count(name)
	s.happen(name, n, before)
	if err := s.fault(name, n, before, what); err != nil {
		return none, err
	}
	if f, ok := s.slow(name, n); ok && f.As == late {
		token := activity.GetInfo(ctx).TaskToken
		s.later(f.For, func() {
			out, err := effect()
			s.answerLate(token, out, err)
		})
		return none, activity.ErrResultPending
	}
	out, err := effect()
	s.happen(name, n, after)
	if err == nil {
		err = s.fault(name, n, after, what)
	}
	if err != nil {
		return none, err
	}
	if f, ok := s.slow(name, n); ok {
		token := activity.GetInfo(ctx).TaskToken
		s.later(f.For, func() { s.answerLate(token, out, nil) })
		return none, activity.ErrResultPending
	}
	return out, nil
}

func (s *simulation) answerLate(token []byte, out any, err error) {
	if err := s.env.CompleteActivity(token, out, err); err != nil {
		s.broken("a late answer could not be given: %v", err)
	}
	// The environment wakes its root for it; the run that waits is another.
	for _, id := range slices.Sorted(maps.Keys(s.up)) {
		if s.up[id] {
			s.soon(func() { s.signal(id, "nudge", nil) })
		}
	}
}

// step is call for what has no answer but the view.
func (s *simulation) step(ctx context.Context, name string, effect func()) (checkout.View, error) {
	return call(ctx, s, name, func() (checkout.View, error) {
		effect()
		return s.db.view(), nil
	})
}

func (s *simulation) start(ctx context.Context, _ activities.CheckoutRef) (checkout.View, error) {
	return call(ctx, s, "HoldStock", func() (checkout.View, error) {
		if c := s.db.checkout; c.Status != checkout.Reserving || c.HoldID != "" {
			s.db.inheritDesk(theCheckout)
		}
		return s.db.start(), nil
	})
}

func (s *simulation) next(ctx context.Context, _ activities.CheckoutRef, number int) (activities.NextAttempt, error) {
	return call(ctx, s, "NextGateway", func() (activities.NextAttempt, error) {
		g := s.db.untried()
		ok := g != "" && s.db.addAttempt("", g, number)
		return activities.NextAttempt{View: s.db.view(), OK: ok}, nil
	})
}

func (s *simulation) try(ctx context.Context, _ activities.CheckoutRef, paymentID, gateway string) (activities.NextAttempt, error) {
	return call(ctx, s, "AddAttempt", func() (activities.NextAttempt, error) {
		g := payment.Name(gateway)
		if gateway == "auto" {
			g = s.db.untried()
		}
		ok := g != "" && s.db.addAttempt(paymentID, g, 0)
		return activities.NextAttempt{View: s.db.view(), OK: ok}, nil
	})
}

func (s *simulation) load(ctx context.Context, _ activities.CheckoutRef) (checkout.View, error) {
	return s.step(ctx, "ReadCheckout", func() {})
}

func (s *simulation) giveUp(ctx context.Context, _ activities.CheckoutRef, code, _ string) (checkout.View, error) {
	return s.step(ctx, "GiveUp", func() {
		if s.db.checkout.Status == checkout.Reserving {
			s.freeing("given up", false)
		}
		s.db.giveUp(code)
	})
}

func (s *simulation) grace(ctx context.Context, _ activities.CheckoutRef, seconds int) (checkout.View, error) {
	return s.step(ctx, "Grace", func() {
		if s.db.checkout.Status.Open() && !s.db.grace(s.db.checkout.HoldID, seconds, graceLimit) {
			s.broken("grace for a hold that is over")
		}
	})
}

func (s *simulation) endUnpaid(ctx context.Context, _ activities.CheckoutRef, to checkout.Status) (checkout.View, error) {
	return s.step(ctx, "EndUnpaid", func() {
		s.freeing(string(to), to != checkout.Cancelled)
		s.db.endUnpaid(to)
	})
}

func (s *simulation) settled(ctx context.Context, _ activities.CheckoutRef) error {
	_, err := s.step(ctx, "EndRun", s.db.settled)
	return err
}

func (s *simulation) record(ctx context.Context, _ activities.CheckoutRef, n checkout.News) (checkout.Ruling, error) {
	return call(ctx, s, "RecordAnswer", func() (checkout.Ruling, error) {
		out, err := s.db.record(n)
		return out, bugOf(err)
	})
}

func (s *simulation) holdAgain(ctx context.Context, _ activities.CheckoutRef) (activities.HeldAgain, error) {
	return call(ctx, s, "HoldAgain", func() (activities.HeldAgain, error) {
		ok := s.db.holdAgain()
		return activities.HeldAgain{View: s.db.view(), OK: ok}, nil
	})
}

func (s *simulation) letGo(ctx context.Context, _ activities.CheckoutRef) (checkout.View, error) {
	return s.step(ctx, "LetGo", s.db.letGo)
}

func (s *simulation) notCommitted(ctx context.Context, _ activities.CheckoutRef, paymentID, _ string) (checkout.View, error) {
	return s.step(ctx, "NotCommitted", func() { s.db.notCommitted(paymentID) })
}

func (s *simulation) refundStray(ctx context.Context, _ activities.CheckoutRef, paymentID string) (string, error) {
	return call(ctx, s, "RefundStray", func() (string, error) {
		p := s.db.payment(paymentID)
		id, err := s.db.refundStray(p)
		return id, bugOf(err)
	})
}

// bugOf is the class of an error that has none of its own.
func bugOf(err error) error {
	if err == nil {
		return nil
	}
	return temporal.NewNonRetryableApplicationError(err.Error(), activities.TypeBug, nil)
}

func (s *simulation) cureShort(ctx context.Context, _, holdID string) (bool, error) {
	return call(ctx, s, "CureShort", func() (bool, error) {
		return s.db.hold(holdID).status != "short" || s.db.cure(holdID), nil
	})
}

func (s *simulation) mendShort(ctx context.Context, ref activities.ShortRef) (activities.ShortView, error) {
	return call(ctx, s, "MendShort", func() (activities.ShortView, error) { return s.db.mendShort(ref.HoldID), nil })
}

func (s *simulation) decideShort(ctx context.Context, ref activities.ShortRef, outcome string) (activities.ShortView, error) {
	return call(ctx, s, "DecideShort", func() (activities.ShortView, error) { return s.db.decideShort(ref.HoldID, outcome), nil })
}

func (s *simulation) holdOf(ctx context.Context, _, orderID string) (string, error) {
	return call(ctx, s, "HoldOf", func() (string, error) {
		if orderID == checkoutID {
			return s.db.checkout.HoldID, nil
		}
		return orderID, nil
	})
}

func (s *simulation) shorted(ctx context.Context, _ activities.CheckoutRef) (checkout.View, error) {
	return s.step(ctx, "Shorted", s.db.shorted)
}

// asking is call for an activity that calls a gateway: announce is the
// transaction before the call, and between the two may lie anything.
func asking[T any](ctx context.Context, s *simulation, name, paymentID string, announce func(p *payment.Payment), ask func(before payment.Payment, at time.Time) (T, error), unknown func() (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.db.payment(paymentID)
	return called(ctx, s, name, string(p.Gateway), func() (T, error) {
		var none T
		as, at := *p, s.db.now()
		if announce != nil {
			announce(p)
		}
		n := s.calls[name]
		s.happen(name, n, announced)
		if err := s.fault(name, n, announced, string(p.Gateway)); err != nil {
			return none, err
		}
		if f, ok := s.unknown(name, n); ok {
			if f.As == unknownActed {
				if out, err := ask(as, at); err != nil {
					return out, err
				}
			}
			return unknown()
		}
		if f, ok := s.outlives(name, n); ok {
			s.orphans[name]++
			s.later(f.For, func() {
				_, err := ask(as, at)
				s.note("the second half of %s #%d has run: %v", name, n, err)
			})
			return none, asError(timesOut)
		}
		return ask(as, at)
	})
}

func (s *simulation) unknownAnswer() (activities.Asked, error) {
	return activities.Asked{Answer: payment.Answer{Outcome: payment.OutcomeUnknown, Code: "no_answer"}, AskedAt: s.db.now()}, nil
}

func (s *simulation) looked(p payment.Payment) payment.Looked { return payment.Asked(s.bank.lookup(p)) }

func (s *simulation) settle(ctx context.Context, in activities.PaymentRef) (activities.Asked, error) {
	var ret payment.Return
	return asking(ctx, s, "SettleReturn", in.PaymentID, func(p *payment.Payment) {
		e := s.db.newest(in.PaymentID, in.InboxID)
		if e == nil {
			s.broken("payment %s is settled without a return", in.PaymentID)
			return
		}
		ret = e.ret
		in.MayCommit = in.MayCommit && s.db.committable() && (!p.Closed || p.Status.InDoubt())
		if now := s.db.now(); ret.Kind == payment.ReturnFinished && in.MayCommit && p.SettleTriedAt == nil {
			p.SettleTriedAt = &now
		}
	}, func(p payment.Payment, at time.Time) (activities.Asked, error) {
		out, before := activities.Asked{AskedAt: at}, payment.Untried
		commits := ret.Kind == payment.ReturnFinished && capabilities(p.Gateway).SettleMovesMoney
		if p.SettleTriedAt != nil || p.Status != payment.StatusPending || commits && !in.MayCommit {
			before = s.looked(p)
			said, _ := before.Answer()
			if said.Outcome == payment.OutcomeUnknown || commits && !in.MayCommit {
				out.Answer = said
				out.NotCommitted = commits && said.Outcome != payment.OutcomeApproved && (said.Outcome != payment.OutcomeUnknown || p.SettleTriedAt == nil)
				return out, nil
			}
		}
		if out.Answer = s.bank.settle(p, ret, before); out.Answer.Outcome == payment.OutcomePending && !out.Answer.Processing {
			s.db.payment(p.ID).SettleTriedAt = nil
		}
		return out, nil
	}, s.unknownAnswer)
}

func (s *simulation) lookup(ctx context.Context, in activities.PaymentRef) (activities.Asked, error) {
	return asking(ctx, s, "AskGateway", in.PaymentID, nil, func(p payment.Payment, at time.Time) (activities.Asked, error) {
		return activities.Asked{Answer: s.bank.lookup(p), AskedAt: at}, nil
	}, s.unknownAnswer)
}

func (s *simulation) close(ctx context.Context, in activities.PaymentRef) (activities.Asked, error) {
	return asking(ctx, s, "CloseAttempt", in.PaymentID, func(p *payment.Payment) {
		if now := s.db.now(); p.CloseTriedAt == nil {
			p.CloseTriedAt = &now
		}
	}, func(p payment.Payment, at time.Time) (activities.Asked, error) {
		if p.BegunAt == nil && !p.ByToken {
			return activities.Asked{Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: payment.CodeNoSuchAttempt}, AskedAt: at}, nil
		}
		before := payment.Untried
		if p.CloseTriedAt != nil {
			before = s.looked(p)
		}
		a := s.bank.close(p, before)
		if p.Gateway == payment.Flow && a.Outcome == payment.OutcomePending && !a.Processing {
			a.Outcome, a.Code = payment.OutcomeDeclined, payment.CodeClosed
			return activities.Asked{Answer: a, AskedAt: at, Lingers: true}, nil
		}
		return activities.Asked{Answer: a, AskedAt: at, ByUs: capabilities(p.Gateway).CloseIsOurs && a.Code == payment.CodeClosed}, nil
	}, s.unknownAnswer)
}

func (s *simulation) loadRefund(ctx context.Context, in activities.RefundRef) (activities.RefundView, error) {
	return call(ctx, s, "LoadRefund", func() (activities.RefundView, error) { return s.db.loadRefund(in.RefundID), nil })
}

func (s *simulation) refund(ctx context.Context, in activities.RefundRef) (payment.RefundAnswer, error) {
	return s.giveBack(ctx, "RefundPayment", in, func(intent payment.RefundIntent, tried bool) payment.RefundAnswer {
		if tried {
			if said := s.bank.lookupRefund(intent); said.Code != payment.CodeNoSuchRefund {
				return said
			}
		}
		if s.plan.RefundRefused {
			return payment.RefundAnswer{Outcome: payment.OutcomeDeclined, Code: "too_late"}
		}
		a := s.bank.refund(intent, s.plan.RefundTakes > 0)
		if a.Outcome == payment.OutcomePending {
			back := s.bank.find(intent.Attempt.Reference).refunds[intent.RefundID]
			s.later(s.plan.RefundTakes, func() { back.pending = false })
		}
		if !tried && a.Outcome != payment.OutcomeDeclined {
			s.notify(s.db.payment(intent.Attempt.PaymentID), payment.OutcomeUnknown, false)
		}
		return a
	})
}

func (s *simulation) lookupRefund(ctx context.Context, in activities.RefundRef) (payment.RefundAnswer, error) {
	return s.giveBack(ctx, "LookupRefund", in, func(intent payment.RefundIntent, _ bool) payment.RefundAnswer { return s.bank.lookupRefund(intent) })
}

func (s *simulation) giveBack(ctx context.Context, name string, in activities.RefundRef, ask func(intent payment.RefundIntent, tried bool) payment.RefundAnswer) (payment.RefundAnswer, error) {
	var intent payment.RefundIntent
	var tried bool
	var announcedAs int
	var forbidden error
	s.mu.Lock()
	r := s.db.refund(in.RefundID)
	s.mu.Unlock()
	return asking(ctx, s, name, r.PaymentID, func(p *payment.Payment) {
		intent = payment.RefundIntent{RefundID: r.ID, Attempt: p.At(), Amount: r.Amount, Currency: r.Currency, Reason: r.Reason, RefundedBefore: r.RefundedBefore, Reference: r.Reference}
		if forbidden = s.db.mayGiveBack(r); forbidden != nil {
			return
		}
		now := s.db.now()
		if tried = r.TriedAt != nil; !tried {
			r.TriedAt = &now
		}
		s.db.changed[r.ID]++
		announcedAs = s.db.changed[r.ID]
	}, func(payment.Payment, time.Time) (payment.RefundAnswer, error) {
		if forbidden == nil {
			a := ask(intent, tried)
			if refused := a.Outcome == payment.OutcomeDeclined && a.Reference == ""; refused && announcedAs == s.db.changed[r.ID] && r.Status != "succeeded" && r.Status != "failed" {
				r.TriedAt = nil // payment.RefundNotTried
			}
			return a, nil
		}
		if r.TriedAt != nil && activities.ErrorType(forbidden) != activities.TypeRateLimited {
			if said := s.bank.lookupRefund(intent); said.Code != payment.CodeNoSuchRefund {
				return said, nil
			}
		}
		return payment.RefundAnswer{}, forbidden
	},
		func() (payment.RefundAnswer, error) {
			return payment.RefundAnswer{Outcome: payment.OutcomeUnknown}, nil
		})
}

func (s *simulation) putRefund(ctx context.Context, in activities.RefundRef, status string, a payment.RefundAnswer, _ int) error {
	_, err := s.step(ctx, "PutRefund", func() { s.db.putRefund(in.RefundID, status, a) })
	return err
}

func (s *simulation) remakeRefund(ctx context.Context, in activities.RefundRef) (activities.Remade, error) {
	return call(ctx, s, "RemakeRefund", func() (activities.Remade, error) { return s.db.remake(s.db.refund(in.RefundID)), nil })
}

func (s *simulation) reservationStep(ctx context.Context, name string, effect func() checkout.ReservationView) (checkout.ReservationView, error) {
	return call(ctx, s, name, func() (checkout.ReservationView, error) { return effect(), nil })
}

func (s *simulation) reserve(ctx context.Context, _ activities.ReservationRef) (checkout.ReservationView, error) {
	return s.reservationStep(ctx, "Reserve", s.db.reserve)
}

func (s *simulation) loadReservation(ctx context.Context, _ activities.ReservationRef) (checkout.ReservationView, error) {
	return s.reservationStep(ctx, "LoadReservation", s.db.reservationView)
}

func (s *simulation) endReservation(ctx context.Context, _ activities.ReservationRef, expire bool) (checkout.ReservationView, error) {
	return s.reservationStep(ctx, "EndReservation", func() checkout.ReservationView { return s.db.endReservation(expire) })
}

func (s *simulation) extendReservation(ctx context.Context, _ activities.ReservationRef, seconds int) (checkout.ReservationView, error) {
	return s.reservationStep(ctx, "ExtendReservation", func() checkout.ReservationView { return s.db.extendReservation(seconds) })
}

func (s *simulation) confirmReservation(ctx context.Context, _ activities.ReservationRef, requestID string) (checkout.ReservationView, error) {
	return s.reservationStep(ctx, "ConfirmReservation", func() checkout.ReservationView { return s.db.confirmReservation(requestID) })
}

func (s *simulation) park(ctx context.Context, c activities.ParkedCase) error {
	_, err := call(ctx, s, "ParkStep", func() (bool, error) { s.db.park(c); return true, nil })
	return err
}

func (s *simulation) unpark(ctx context.Context, c activities.ParkedCase, _ string) error {
	_, err := call(ctx, s, "UnparkStep", func() (bool, error) { s.db.unpark(c); return true, nil })
	return err
}
