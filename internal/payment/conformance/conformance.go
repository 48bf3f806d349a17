package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

// Run runs the suite. Each case has a sandbox of its own.
func Run(t *testing.T, p Provider) {
	can := p.New(t, "http://127.0.0.1:1/"+string(p.Name)).Capabilities()
	for _, c := range []struct {
		name string
		test func(*bundle)
		runs bool
	}{
		{"begin: a page where the buyer pays, and nothing charged", (*bundle).beginsWithoutCharging, true},
		{"begin: each fault is a failure or a doubt, and a repetition charges once", (*bundle).beginFaults, true},
		{"begin: another amount at the provider is told", (*bundle).tellsAnotherAmount, true},
		{"settle: an approval is charged once, however often it is settled", (*bundle).approves, true},
		{"settle: ten at once charge once", (*bundle).settlesTenAtOnce, true},
		{"settle: each fault is a failure or a doubt, and the question leads to one charge", (*bundle).settleFaults, true},
		{"settle: a declined card charges nothing", (*bundle).declines, true},
		{"settle: an aborted form charges nothing", (*bundle).aborts, true},
		{"settle: a form that timed out charges nothing", (*bundle).timesOut, true},
		{"settle: a broken form charges nothing", (*bundle).breaksDown, p.FormErrors},
		{"settle: a return that comes late does not undo an approval", (*bundle).lateAbortUndoesNothing, true},
		{"return: another payment's is refused without a call", (*bundle).refusesForeignReturns, true},
		{"lookup: a begin without an answer cannot be paid", (*bundle).nothingToLookUp, true},
		{"lookup: no answer is an error", (*bundle).lookupFaults, true},
		{"close: an unpaid attempt can't be charged any more", (*bundle).closesUnpaid, true},
		{"close: declined and then closed is told as declined", (*bundle).closesDeclined, !p.DeclineEnds},
		{"close: a paid one is an approval", (*bundle).closesPaid, true},
		{"close: paid after it should have been closed is told as an approval", (*bundle).paidAfterAll, true},
		{"two attempts of one order: both approvals are told", (*bundle).approvesTwice, true},
		{"one attempt that is paid twice: both approvals are told, and each is given back by its own name", (*bundle).paidTwice, p.PaidTwice != nil},
		{"close: each fault is a failure or a doubt", (*bundle).closeFaults, true},
		{"refund: the whole, once", (*bundle).refundsWhole, true},
		{"refund: in parts", (*bundle).refundsParts, can.PartialRefunds},
		{"refund: a part that is repeated is not given twice", (*bundle).repeatsPart, can.PartialRefunds},
		{"refund: more than is left is refused, not doubted", (*bundle).refusesTooMuch, can.PartialRefunds},
		{"refund: one made in the provider's panel is told", (*bundle).tellsPanelRefunds, !p.RefundsUntold},
		{"refund: each fault is a failure or a doubt, and the question leads to one refund", (*bundle).refundFaults, true},
		{"refund: repeated under its id has one effect", (*bundle).refundIsIdempotent, p.RefundsAreIdempotent},
		{"refund: one that failed later is told", (*bundle).refundFailsLater, p.RefundsCanFailLater},
		{"capture: an authorization is taken once", (*bundle).captures, p.NewDeferred != nil},
		{"capture: a part, once, and the rest is let go", (*bundle).capturesPart, p.NewDeferred != nil},
		{"capture: after its time is refused", (*bundle).capturesTooLate, p.NewDeferred != nil},
		{"capture: what was taken can be given back", (*bundle).refundsCaptured, p.NewDeferred != nil},
		{"cancel: an authorization is given back", (*bundle).cancels, p.NewDeferred != nil},
		{"cancel: each fault is a failure or a doubt, and the question leads to no charge", (*bundle).cancelFaults, p.NewDeferred != nil},
		{"notification: genuine, forged, stale, repeated", (*bundle).notifies, true},
		{"notification: before anything is known of it", (*bundle).notifiesEarly, can.Notifications},
		{"notification: one that is lost costs nothing", (*bundle).losesNotifications, can.Notifications},
		{"dispute: open, then won", func(b *bundle) { b.disputes("won", payment.DisputeWon) }, can.Disputes && !p.TellsLostOnly},
		{"dispute: open, then lost", func(b *bundle) { b.disputes("lost", payment.DisputeLost) }, can.Disputes && !p.TellsLostOnly},
		{"dispute: told once it is lost", (*bundle).losesDispute, can.Disputes && p.TellsLostOnly},
		{"statement: the charges and refunds of the day", (*bundle).states, can.Statement},
		{"statement: there is none", (*bundle).statesNothing, !can.Statement},
		{"token: an approved card is charged once", (*bundle).chargesToken, can.Tokens},
		{"token: a declined card is not charged", (*bundle).declinesToken, can.Tokens},
		{"token: each fault is a failure or a doubt, and the question leads to one charge", (*bundle).tokenFaults, can.Tokens},
		{"held answers: a slow provider is no other provider", (*bundle).waitsForHeldAnswers, true},
		{"outage: nothing reached is a failure", (*bundle).outage, true},
		{"credentials: refused ones are told as such", (*bundle).badCredentials, true},
	} {
		if !c.runs {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(setup(t, p))
		})
	}
}

// How the provider may go wrong during an effect. acted says whether the effect
// has happened all the same.
var effectFaults = []struct {
	kind    string
	acted   bool
	failure payment.Class // what must be said when it is certain that nothing happened
}{
	{kind: "cut_before"},
	{kind: "cut_during", acted: true},
	{kind: "cut_after", acted: true},
	{kind: "timeout_after_effect", acted: true},
	{kind: "error_500"},
	{kind: "refuse", failure: payment.ClassInvalid},
	{kind: "error_503", failure: payment.ClassUnavailable},
	{kind: "rate_limited", failure: payment.ClassRateLimited},
}

// inEachFault runs do once a fault, each time with a sandbox of its own. do
// returns the outcome of the call that went wrong.
func (b *bundle) inEachFault(operation string, prepare func(*bundle) payment.Attempt,
	do func(*bundle, context.Context, payment.Attempt) (payment.Outcome, error), after func(b *bundle, at payment.Attempt, acted bool)) {
	for _, f := range effectFaults {
		b.t.Run(f.kind, func(t *testing.T) {
			t.Parallel()
			own := setup(t, b.provider)
			at := prepare(own)
			own.fault(operation, f.kind)
			outcome, err := do(own, own.patience(f.kind), at)
			switch {
			case err != nil:
				require.NotEmpty(t, f.failure, "a fault that may have had an effect is a doubt, not an error: %v", err)
				failed(t, err, f.failure)
			case f.kind == "error_503":
				// Who can't be sure that a 503 did nothing may doubt it.
				require.Equal(t, payment.OutcomeUnknown, outcome)
			case f.kind == "refuse":
				// A refusal that nobody has heard of may be doubted, or asked about.
				require.NotEqual(t, payment.OutcomeApproved, outcome)
			default:
				require.Empty(t, f.failure, "must be a failure")
				require.Equal(t, payment.OutcomeUnknown, outcome)
			}
			after(own, at, f.acted)
		})
	}
}

func (b *bundle) beginsWithoutCharging() {
	require.Equal(b.t, b.provider.Name, b.gateway.Name())
	in := b.intent()
	a, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	at := b.begun(in, a)
	page, err := url.Parse(a.Redirect.URL)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, page.Host)
	require.Contains(b.t, []string{http.MethodGet, http.MethodPost}, a.Redirect.Method)
	_, said := b.lookup(at)
	require.Equal(b.t, payment.OutcomePending, said.Outcome)
	require.False(b.t, said.Processing)
	require.Equal(b.t, in.PaymentID, said.PaymentID)
	b.charged(at, 0)
}

func (b *bundle) beginFaults() {
	var intents sync.Map
	b.inEachFault(b.provider.Operations.Begin,
		func(b *bundle) payment.Attempt {
			in := b.intent()
			intents.Store(b, in)
			return b.lost(in)
		},
		func(b *bundle, ctx context.Context, _ payment.Attempt) (payment.Outcome, error) {
			in, _ := intents.Load(b)
			a, err := b.gateway.Begin(ctx, in.(payment.Intent), payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, lost payment.Attempt, acted bool) {
			looked, said := b.lookup(lost)
			if !acted || said.Outcome != payment.OutcomePending { // some find it by our id
				require.Equal(b.t, payment.CodeNoSuchAttempt, said.Code)
				require.Equal(b.t, payment.OutcomeDeclined, said.Outcome)
			}
			in, _ := intents.Load(b)
			a, err := b.gateway.Begin(b.t.Context(), in.(payment.Intent), looked)
			require.NoError(b.t, err)
			at := b.begun(in.(payment.Intent), a)
			b.buyer(at, "approve")
			a, err = b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
			require.NoError(b.t, err)
			require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
			b.charged(at, 1)
		})
}

func (b *bundle) tellsAnotherAmount() {
	at := b.begin()
	b.buyer(at, "approve?amount=100")
	a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	require.EqualValues(b.t, 100, a.Amount)
}

func (b *bundle) approves() {
	at := b.begin()
	b.buyer(at, "approve")
	ret := b.returned(at)
	require.Equal(b.t, payment.ReturnFinished, ret.Kind)
	for range 3 {
		a, err := b.gateway.Settle(b.t.Context(), at, ret, b.asked(at))
		require.NoError(b.t, err)
		b.isApproval(at, a)
	}
	_, a := b.lookup(at)
	b.isApproval(at, a)
	b.charged(at, 1)
	charges, _ := b.ledger(at)
	require.Equal(b.t, "captured", charges[0].Status)
	require.Equal(b.t, b.provider.Account, charges[0].Account)
}

// asked is Untried the first time, as a caller that marks its tries would say.
func (b *bundle) asked(at payment.Attempt) payment.Looked {
	if charges, _ := b.ledger(at); len(charges) == 0 {
		return payment.Untried
	}
	looked, _ := b.lookup(at)
	return looked
}

// isApproval checks everything by which an approval is compared with its
// intent.
func (b *bundle) isApproval(at payment.Attempt, a payment.Answer) {
	b.t.Helper()
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome, "code %s", a.Code)
	require.True(b.t, a.Captured)
	require.Equal(b.t, at.PaymentID, a.PaymentID)
	require.Equal(b.t, at.Amount, a.Amount)
	require.Equal(b.t, at.Currency, a.Currency)
	require.Equal(b.t, b.provider.Account, a.Account)
	require.False(b.t, a.LiveMode, "a sandbox is not live")
	require.Equal(b.t, at.Reference, a.Reference)
	require.NotEmpty(b.t, a.CaptureRef)
	if !b.provider.NoCards {
		require.Len(b.t, a.CardLast4, 4)
	}
	require.NotEmpty(b.t, a.Method)
	require.Zero(b.t, a.Refunded)
	require.WithinDuration(b.t, time.Now(), a.ApprovedAt, time.Minute)
	require.Equal(b.t, time.UTC, a.ApprovedAt.Location())
}

func (b *bundle) settlesTenAtOnce() {
	at := b.begin()
	b.buyer(at, "approve")
	ret := b.returned(at)
	answers := make(chan payment.Answer, 10)
	failures := make(chan error, 10)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			a, err := b.gateway.Settle(b.t.Context(), at, ret, payment.Untried)
			answers <- a
			failures <- err
		})
	}
	all.Wait()
	approved := 0
	for range 10 {
		require.NoError(b.t, <-failures)
		switch a := <-answers; a.Outcome {
		case payment.OutcomeApproved:
			approved++
		case payment.OutcomeUnknown: // somebody else is at it: ask
		default:
			require.Fail(b.t, "neither approved nor in doubt", "%+v", a)
		}
	}
	require.Positive(b.t, approved)
	_, a := b.lookup(at)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) settleFaults() {
	if !b.gateway.Capabilities().SettleMovesMoney {
		// Settling is asking: see lookupFaults for each of them.
		at := b.begin()
		b.buyer(at, "approve")
		b.fault(b.provider.Operations.Settle, "error_500")
		_, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
		failed(b.t, err, payment.ClassUnavailable)
		a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
		require.NoError(b.t, err)
		b.isApproval(at, a)
		return
	}
	b.inEachFault(b.provider.Operations.Settle,
		func(b *bundle) payment.Attempt {
			at := b.begin()
			b.buyer(at, "approve")
			return at
		},
		func(b *bundle, ctx context.Context, at payment.Attempt) (payment.Outcome, error) {
			a, err := b.gateway.Settle(ctx, at, b.returned(at), payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			looked, said := b.lookup(at)
			want, charges := payment.OutcomePending, 0
			if acted {
				want, charges = payment.OutcomeApproved, 1
			}
			require.Equal(b.t, want, said.Outcome)
			b.charged(at, charges)
			a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), looked)
			require.NoError(b.t, err)
			b.isApproval(at, a)
			b.charged(at, 1)
		})
}

func (b *bundle) declines() {
	at := b.begin()
	b.buyer(at, "decline")
	var a payment.Answer
	if params := b.params(at); params != nil {
		var err error
		a, err = b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
		require.NoError(b.t, err)
	} else {
		_, a = b.lookup(at) // the buyer stays on the page
	}
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.NotEmpty(b.t, a.Code)
	require.Equal(b.t, b.provider.DeclineEnds, a.Closed)
	b.charged(at, 0)
	_, again := b.lookup(at)
	require.Equal(b.t, payment.OutcomeDeclined, again.Outcome)
	if b.provider.DeclineEnds {
		require.Equal(b.t, http.StatusConflict, b.tries(at, "approve"))
		return
	}
	b.buyer(at, "approve")
	_, a = b.lookup(at)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) aborts() {
	at := b.begin()
	b.buyer(at, "abort")
	ret := b.returned(at)
	if !b.provider.OneReturn {
		require.Equal(b.t, payment.ReturnCancelled, ret.Kind)
	}
	a, err := b.gateway.Settle(b.t.Context(), at, ret, payment.Untried)
	require.NoError(b.t, err)
	if b.provider.AbortEnds {
		require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
		require.True(b.t, a.Closed)
		require.Equal(b.t, payment.CodeAborted, a.Code)
	} else {
		require.Equal(b.t, payment.OutcomePending, a.Outcome)
		require.False(b.t, a.Closed)
	}
	b.charged(at, 0)
}

func (b *bundle) timesOut() {
	at := b.begin()
	b.buyer(at, "timeout")
	var a payment.Answer
	if b.params(at) != nil {
		ret := b.returned(at)
		if !b.provider.OneReturn {
			require.Equal(b.t, payment.ReturnTimedOut, ret.Kind)
		}
		var err error
		a, err = b.gateway.Settle(b.t.Context(), at, ret, payment.Untried)
		require.NoError(b.t, err)
	} else {
		_, a = b.lookup(at)
	}
	require.Contains(b.t, []string{payment.CodeFormTimeout, payment.CodeExpired}, a.Code)
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.True(b.t, a.Closed)
	require.Equal(b.t, http.StatusConflict, b.tries(at, "approve"))
	b.charged(at, 0)
}

func (b *bundle) breaksDown() {
	at := b.begin()
	b.buyer(at, "error")
	ret := b.returned(at)
	require.Equal(b.t, payment.ReturnFormError, ret.Kind)
	a, err := b.gateway.Settle(b.t.Context(), at, ret, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.True(b.t, a.Closed)
	b.charged(at, 0)
}

func (b *bundle) lateAbortUndoesNothing() {
	at := b.pay()
	variant := "abort"
	if b.provider.OneReturn {
		variant = "approve"
	}
	status, _ := b.send(http.MethodPost, "/buyer/"+at.PaymentID+"/return?variant="+variant, nil)
	require.Equal(b.t, http.StatusOK, status)
	ret := b.returned(at)
	if !b.provider.OneReturn {
		require.Equal(b.t, payment.ReturnCancelled, ret.Kind)
	}
	a, err := b.gateway.Settle(b.t.Context(), at, ret, payment.Untried)
	require.NoError(b.t, err)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) refusesForeignReturns() {
	mine, other := b.begin(), b.begin()
	b.buyer(other, "approve")
	_, err := b.gateway.ParseReturn(mine, b.params(other))
	require.ErrorIs(b.t, err, payment.ErrForeignReturn)
	_, err = b.gateway.ParseReturn(mine, url.Values{})
	require.ErrorIs(b.t, err, payment.ErrForeignReturn)
	// A payment whose Begin was never answered has no way back at all.
	_, err = b.gateway.ParseReturn(payment.Attempt{PaymentID: mine.PaymentID}, b.params(other))
	require.ErrorIs(b.t, err, payment.ErrForeignReturn)
}

func (b *bundle) nothingToLookUp() {
	_, a := b.lookup(b.lost(b.intent()))
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.Equal(b.t, payment.CodeNoSuchAttempt, a.Code)

	// The begin that is lost reaches the provider, and nobody can pay it.
	in := b.intent()
	b.fault(b.provider.Operations.Begin, "cut_after")
	said, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeUnknown, said.Outcome)
	closed, err := b.gateway.Close(b.t.Context(), b.lost(in), payment.Untried)
	require.NoError(b.t, err)
	if b.cannotClose() && closed.Outcome == payment.OutcomePending {
		return // found by our id: alive until its time is up, with nobody to pay it
	}
	require.Equal(b.t, payment.OutcomeDeclined, closed.Outcome)
	require.True(b.t, closed.Closed)
}

// lost is the attempt whose Begin was never answered.
func (b *bundle) lost(in payment.Intent) payment.Attempt {
	return payment.Attempt{PaymentID: in.PaymentID, Amount: in.Amount, Currency: in.Currency, BegunAt: in.At}
}

// cannotClose: the buyer can pay until the link's time is up, whatever we do.
func (b *bundle) cannotClose() bool {
	c := b.gateway.Capabilities()
	return c.CloseIsOurs && !c.SettleMovesMoney
}

func (b *bundle) lookupFaults() {
	at := b.pay()
	for kind, class := range map[string]payment.Class{
		"cut_before": payment.ClassUnavailable, "cut_during": payment.ClassUnavailable, "cut_after": payment.ClassUnavailable, "timeout_after_effect": payment.ClassUnavailable,
		"error_500": payment.ClassUnavailable, "error_503": payment.ClassUnavailable, "rate_limited": payment.ClassRateLimited,
	} {
		// Twice: a GET that dies on a pooled connection is sent again by
		// net/http, which is allowed for a question.
		b.faults(map[string]any{"next": []map[string]any{{"op": b.provider.Operations.Lookup, "kind": kind, "count": 2}}})
		_, err := b.gateway.Lookup(b.patience(kind), at)
		failed(b.t, err, class)
		b.calm()
		_, a := b.lookup(at)
		require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	}
	b.charged(at, 1)
}

func (b *bundle) closesUnpaid() {
	at := b.begin()
	a, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
	require.NoError(b.t, err)
	if b.cannotClose() {
		require.Equal(b.t, payment.OutcomePending, a.Outcome)
		require.False(b.t, a.Closed, "nobody has closed it")
	} else {
		require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
		require.True(b.t, a.Closed)
		require.Equal(b.t, payment.CodeClosed, a.Code)
	}
	again, err := b.gateway.Close(b.t.Context(), at, payment.Asked(a))
	require.NoError(b.t, err)
	require.Equal(b.t, a.Closed, again.Closed)
	if !b.gateway.Capabilities().CloseIsOurs {
		require.Equal(b.t, http.StatusConflict, b.tries(at, "approve"))
		b.charged(at, 0)
		return
	}
	// The page still takes the buyer's money, or what looks like it until
	// somebody commits.
	b.buyer(at, "approve")
	_, late := b.lookup(at)
	if b.gateway.Capabilities().SettleMovesMoney {
		require.Equal(b.t, payment.OutcomePending, late.Outcome)
		b.charged(at, 0)
		return
	}
	b.isApproval(at, late)
	b.charged(at, 1)
}

// closesDeclined: the page is given up after a refused card. What ended the
// attempt is the bank's refusal, whoever tells of it: the close or the question
// after it.
func (b *bundle) closesDeclined() {
	at := b.begin()
	b.buyer(at, "decline")
	_, open := b.lookup(at)
	require.False(b.t, open.Closed, "another card can be tried")
	closed, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
	require.NoError(b.t, err)
	_, later := b.lookup(at)
	for _, a := range []payment.Answer{closed, later} {
		require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
		require.True(b.t, a.Closed)
		require.Equal(b.t, open.Code, a.Code)
		require.Equal(b.t, payment.StatusDeclined, payment.After(payment.StatusPending, a, payment.StatusExpired))
	}
	require.Equal(b.t, http.StatusConflict, b.tries(at, "approve"))
	b.charged(at, 0)
}

func (b *bundle) closesPaid() {
	at := b.pay()
	a, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
	require.NoError(b.t, err)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) paidAfterAll() {
	at := b.begin()
	if b.gateway.Capabilities().CloseIsOurs {
		_, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
		require.NoError(b.t, err)
	} else {
		// The close gets lost, and the buyer pays.
		b.fault(b.provider.Operations.Close, "cut_before")
		a, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
		if err == nil {
			require.Equal(b.t, payment.OutcomeUnknown, a.Outcome)
		}
	}
	b.buyer(at, "approve")
	if b.gateway.Capabilities().SettleMovesMoney {
		a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
		require.NoError(b.t, err)
		b.isApproval(at, a)
	}
	looked, a := b.lookup(at)
	b.isApproval(at, a)
	a, err := b.gateway.Close(b.t.Context(), at, looked)
	require.NoError(b.t, err)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) approvesTwice() {
	for range 2 { // same order, same number, each with a payment id of its own
		at := b.begin()
		b.buyer(at, "approve")
		a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
		require.NoError(b.t, err)
		b.isApproval(at, a)
		b.charged(at, 1)
	}
}

func (b *bundle) paidTwice() {
	status, body := b.send(http.MethodPut, "/config/"+string(b.provider.Name), b.provider.PaidTwice)
	require.Equal(b.t, http.StatusOK, status, "%s", body)
	at := b.pay()
	b.buyer(at, "approve")
	b.charged(at, 2)
	_, a := b.lookup(at)
	b.isApproval(at, a)
	require.Equal(b.t, at.CaptureRef, a.CaptureRef, "what is known as the attempt's money stays it")
	require.Len(b.t, a.Others, 1)
	second := at
	second.Reference, second.CaptureRef = a.Others[0].CaptureRef, a.Others[0].CaptureRef
	b.isApproval(second, a.Others[0])
	require.NotEqual(b.t, at.CaptureRef, second.CaptureRef)

	_, own := b.lookup(second)
	b.isApproval(second, own)
	require.Equal(b.t, second.CaptureRef, own.CaptureRef)
	require.Empty(b.t, own.Others)
	in := b.refundOf(second, at.Amount, 0)
	made, err := b.gateway.Refund(b.t.Context(), in, b.notMade(in))
	require.NoError(b.t, err)
	b.refunded(in, made)
	_, a = b.lookup(at)
	require.Zero(b.t, a.Refunded, "nothing of the attempt's own money")
	b.tells(a.Others[0], at.Amount)
	b.givenBack(at, 1, at.Amount)
}

func (b *bundle) closeFaults() {
	if b.gateway.Capabilities().CloseIsOurs {
		at := b.begin()
		b.fault(b.provider.Operations.Lookup, "error_503")
		_, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
		failed(b.t, err, payment.ClassUnavailable)
		return
	}
	b.inEachFault(b.provider.Operations.Close,
		func(b *bundle) payment.Attempt { return b.begin() },
		func(b *bundle, ctx context.Context, at payment.Attempt) (payment.Outcome, error) {
			a, err := b.gateway.Close(ctx, at, payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			looked, said := b.lookup(at)
			require.Equal(b.t, acted, said.Closed)
			a, err := b.gateway.Close(b.t.Context(), at, looked)
			require.NoError(b.t, err)
			require.True(b.t, a.Closed)
			require.Equal(b.t, http.StatusConflict, b.tries(at, "approve"))
		})
}

func (b *bundle) refundsWhole() {
	at := b.pay()
	in := b.refundOf(at, at.Amount, 0)
	b.notMade(in)

	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	require.NoError(b.t, err)
	a = b.refunded(in, a)
	require.Equal(b.t, at.Amount, a.Amount)
	b.givenBack(at, 1, at.Amount)

	for _, reference := range []string{"", a.Reference} {
		if in.Reference = reference; reference == "" && b.provider.RefundsUntraced {
			continue
		}
		looked, said := b.lookupRefund(in)
		require.Equal(b.t, payment.OutcomeApproved, said.Outcome)
		again, err := b.gateway.Refund(b.t.Context(), in, looked)
		require.NoError(b.t, err)
		require.Equal(b.t, payment.OutcomeApproved, again.Outcome)
	}
	_, state := b.lookup(at)
	require.Equal(b.t, payment.OutcomeApproved, state.Outcome)
	b.tells(state, at.Amount)
	b.givenBack(at, 1, at.Amount)

	b.refused(b.refundOf(at, at.Amount, at.Amount))
	b.givenBack(at, 1, at.Amount)
	b.charged(at, 1)
}

// notMade demands that a refund which was never asked for is not found; who
// cannot be asked for it without its reference must not say that it is not there.
func (b *bundle) notMade(in payment.RefundIntent) payment.LookedRefund {
	b.t.Helper()
	looked, said := b.lookupRefund(in)
	if b.provider.RefundsUntraced {
		b.untraced(said)
		return payment.UntriedRefund
	}
	require.Equal(b.t, payment.OutcomeDeclined, said.Outcome)
	require.Equal(b.t, payment.CodeNoSuchRefund, said.Code)
	return looked
}

// untraced demands the doubt about a refund whose reference is not known.
func (b *bundle) untraced(said payment.RefundAnswer) {
	b.t.Helper()
	require.Equal(b.t, payment.OutcomeUnknown, said.Outcome)
	require.NotEmpty(b.t, said.Code)
	require.NotEqual(b.t, payment.CodeNoSuchRefund, said.Code, "it would be tried again")
}

// tells demands that a payment says how much of it was given back, where the
// provider tells.
func (b *bundle) tells(state payment.Answer, amount int64) {
	b.t.Helper()
	if b.provider.RefundsUntold {
		amount = 0
	}
	require.Equal(b.t, amount, state.Refunded)
}

// refused demands that a refund is certainly not made: declined with a code, or
// a failure.
func (b *bundle) refused(in payment.RefundIntent) {
	b.t.Helper()
	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	if err != nil {
		failed(b.t, err, payment.ClassInvalid)
		return
	}
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.NotEmpty(b.t, a.Code)
	require.NotEqual(b.t, payment.CodeNoSuchRefund, a.Code, "it would be tried again")
}

func (b *bundle) refundsParts() {
	at := b.pay()
	var before int64
	for i, amount := range []int64{970, 9000} {
		in := b.refundOf(at, amount, before)
		b.notMade(in)
		a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
		require.NoError(b.t, err)
		a = b.refunded(in, a)
		require.Equal(b.t, amount, a.Amount)
		in.Reference = a.Reference
		_, said := b.lookupRefund(in)
		require.Equal(b.t, payment.OutcomeApproved, said.Outcome)
		before += amount
		b.givenBack(at, i+1, before)
	}
	_, state := b.lookup(at)
	b.tells(state, before)
	var told int64
	for _, r := range state.Refunds {
		told += r.Amount
	}
	if len(state.Refunds) > 0 {
		require.Len(b.t, state.Refunds, 2)
		require.Equal(b.t, before, told)
	}

	rest := b.refundOf(at, at.Amount-before, before)
	a, err := b.gateway.Refund(b.t.Context(), rest, payment.UntriedRefund)
	require.NoError(b.t, err)
	b.refunded(rest, a)
	b.givenBack(at, 3, at.Amount)
}

func (b *bundle) repeatsPart() {
	at := b.pay()
	in := b.refundOf(at, 970, 0)
	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	require.NoError(b.t, err)
	if a = b.refunded(in, a); b.provider.RefundsUntraced {
		in.Reference = a.Reference
	}
	for range 2 {
		looked, _ := b.lookupRefund(in)
		a, err := b.gateway.Refund(b.t.Context(), in, looked)
		require.NoError(b.t, err)
		require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	}
	b.givenBack(at, 1, 970)
	// Another refund of the same amount is another refund.
	second := b.refundOf(at, 970, 970)
	a, err = b.gateway.Refund(b.t.Context(), second, b.notMade(second))
	require.NoError(b.t, err)
	b.refunded(second, a)
	b.givenBack(at, 2, 2*970)
}

func (b *bundle) refusesTooMuch() {
	at := b.pay()
	part := b.refundOf(at, 970, 0)
	a, err := b.gateway.Refund(b.t.Context(), part, payment.UntriedRefund)
	require.NoError(b.t, err)
	b.refunded(part, a)
	b.refused(b.refundOf(at, at.Amount, 970))
	b.givenBack(at, 1, 970)
}

func (b *bundle) tellsPanelRefunds() {
	at := b.pay()
	amount := at.Amount
	if b.gateway.Capabilities().PartialRefunds {
		amount = 970
	}
	status, body := b.send(http.MethodPost, "/ledger/refunds", map[string]any{"payment_id": at.PaymentID, "gateway": b.provider.Name, "amount": amount})
	require.Equal(b.t, http.StatusCreated, status, "%s", body)
	var made entry
	require.NoError(b.t, json.Unmarshal(body, &made))
	if made.Status == "pending" {
		status, body = b.send(http.MethodPost, "/ledger/refunds/"+url.PathEscape(made.Reference)+"/succeed", nil)
		require.Equal(b.t, http.StatusOK, status, "%s", body)
	}
	_, a := b.lookup(at)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	require.Equal(b.t, amount, a.Refunded)
	for _, r := range a.Refunds {
		require.Empty(b.t, r.RefundID, "it is none of ours")
		require.Equal(b.t, amount, r.Amount)
		require.Equal(b.t, payment.OutcomeApproved, r.Outcome)
	}
	b.givenBack(at, 1, amount)
}

func (b *bundle) refundFaults() {
	amount := func(b *bundle, at payment.Attempt) int64 {
		if b.gateway.Capabilities().PartialRefunds {
			return 970 // the sum that a careless repetition would give twice
		}
		return at.Amount
	}
	var intents sync.Map
	b.inEachFault(b.provider.Operations.Refund,
		func(b *bundle) payment.Attempt { return b.pay() },
		func(b *bundle, ctx context.Context, at payment.Attempt) (payment.Outcome, error) {
			in := b.refundOf(at, amount(b, at), 0)
			intents.Store(b, in)
			a, err := b.gateway.Refund(ctx, in, payment.UntriedRefund)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			stored, _ := intents.Load(b)
			in := stored.(payment.RefundIntent)
			looked, said := b.lookupRefund(in)
			if b.provider.RefundsUntraced {
				b.untraced(said)
				a, err := b.gateway.Refund(b.t.Context(), in, looked)
				require.NoError(b.t, err)
				b.untraced(a)
				made := 0
				if acted {
					made = 1
				}
				b.givenBack(at, made, int64(made)*in.Amount)
				return
			}
			if acted {
				b.refunded(in, said)
			} else {
				require.Equal(b.t, payment.CodeNoSuchRefund, said.Code)
			}
			looked, _ = b.lookupRefund(in)
			a, err := b.gateway.Refund(b.t.Context(), in, looked)
			require.NoError(b.t, err)
			b.refunded(in, a)
			b.givenBack(at, 1, in.Amount)
		})
}

func (b *bundle) refundIsIdempotent() {
	at := b.pay()
	in := b.refundOf(at, 970, 0)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
			if err != nil || a.Outcome != payment.OutcomeApproved && a.Outcome != payment.OutcomeUnknown {
				b.t.Errorf("refund: %+v, %v", a, err)
			}
		})
	}
	all.Wait()
	_, said := b.lookupRefund(in)
	require.Equal(b.t, payment.OutcomeApproved, said.Outcome)
	b.givenBack(at, 1, 970)
}

func (b *bundle) refundFailsLater() {
	at := b.pay()
	in := b.refundOf(at, 970, 0)
	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	require.NoError(b.t, err)
	in.Reference = b.refunded(in, a).Reference
	status, body := b.send(http.MethodPost, "/ledger/refunds/"+url.PathEscape(in.Reference)+"/fail", map[string]any{})
	require.Less(b.t, status, 300, "%s", body)
	_, said := b.lookupRefund(in)
	require.Equal(b.t, payment.OutcomeDeclined, said.Outcome)
	require.NotEmpty(b.t, said.Code)
	require.NotEqual(b.t, payment.CodeNoSuchRefund, said.Code, "it must not be tried again as if it had never been")
	_, state := b.lookup(at)
	require.Zero(b.t, state.Refunded)
}

// authorize brings a payment to where it can be captured or cancelled.
func (b *bundle) authorize() payment.Attempt {
	b.t.Helper()
	b.gateway = b.provider.NewDeferred(b.t, b.sandbox+"/"+string(b.provider.Name))
	at := b.begin()
	b.buyer(at, "approve")
	a, err := b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	require.False(b.t, a.Captured)
	return at
}

func (b *bundle) captures() {
	b.inEachFault(b.provider.Operations.Capture,
		func(b *bundle) payment.Attempt { return b.authorize() },
		func(b *bundle, ctx context.Context, at payment.Attempt) (payment.Outcome, error) {
			a, err := b.gateway.Capture(ctx, at, at.Amount, payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			at.CaptureAmount = at.Amount
			looked, said := b.lookup(at)
			require.Equal(b.t, acted, said.Captured)
			a, err := b.gateway.Capture(b.t.Context(), at, at.Amount, looked)
			require.NoError(b.t, err)
			require.True(b.t, a.Captured)
			require.Equal(b.t, at.Amount, a.Amount)
			charges, _ := b.ledger(at)
			require.Len(b.t, charges, 1)
			require.Equal(b.t, "captured", charges[0].Status)
		})
}

func (b *bundle) capturesPart() {
	at := b.authorize()
	part := at.Amount - 970
	at.CaptureAmount = part // as the row has it before the call
	a, err := b.gateway.Capture(b.t.Context(), at, part, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	require.True(b.t, a.Captured)
	require.Equal(b.t, part, a.Amount)
	looked, said := b.lookup(at)
	require.True(b.t, said.Captured)
	require.Equal(b.t, part, said.Amount)
	require.Zero(b.t, said.Refunded, "what was let go was never taken")
	again, err := b.gateway.Capture(b.t.Context(), at, part, looked)
	require.NoError(b.t, err)
	require.True(b.t, again.Captured)
	charges, refunds := b.ledger(at)
	require.Len(b.t, charges, 1)
	require.Equal(b.t, "captured", charges[0].Status)
	require.Equal(b.t, part, charges[0].Amount)
	require.Empty(b.t, refunds)
}

func (b *bundle) capturesTooLate() {
	at := b.authorize()
	window := b.gateway.Capabilities().CaptureFor
	require.Positive(b.t, window, "an authorization does not live for ever")
	looked, _ := b.lookup(at)
	b.pass(window + time.Hour)
	a, err := b.gateway.Capture(b.t.Context(), at, at.Amount, looked)
	if err != nil {
		failed(b.t, err, payment.ClassInvalid)
	} else {
		require.Equal(b.t, payment.OutcomeDeclined, a.Outcome, "code %s", a.Code)
		require.NotEmpty(b.t, a.Code)
	}
	require.Eventually(b.t, func() bool {
		charges, _ := b.ledger(at)
		return len(charges) == 1 && charges[0].Status == "voided"
	}, 10*time.Second, 20*time.Millisecond)
	_, said := b.lookup(at)
	require.NotEqual(b.t, payment.OutcomeApproved, said.Outcome, "the authorization has lapsed")
}

func (b *bundle) refundsCaptured() {
	at := b.authorize()
	at.CaptureAmount = at.Amount - 970
	_, err := b.gateway.Capture(b.t.Context(), at, at.CaptureAmount, payment.Untried)
	require.NoError(b.t, err)
	parts := []int64{at.CaptureAmount}
	if b.gateway.Capabilities().PartialRefunds {
		parts = []int64{970, at.CaptureAmount - 970} // the first as much as was let go
	}
	var before int64
	for i, amount := range parts {
		in := b.refundOf(at, amount, before)
		looked, said := b.lookupRefund(in)
		require.Equal(b.t, payment.CodeNoSuchRefund, said.Code)
		a, err := b.gateway.Refund(b.t.Context(), in, looked)
		require.NoError(b.t, err)
		b.refunded(in, a)
		before += amount
		b.givenBack(at, i+1, before)
		_, state := b.lookup(at)
		require.Equal(b.t, before, state.Refunded)
	}
	b.refused(b.refundOf(at, 970, before))
}

func (b *bundle) cancels() {
	at := b.authorize()
	a, err := b.gateway.Cancel(b.t.Context(), at, payment.Untried)
	require.NoError(b.t, err)
	b.isVoided(at, a)
	looked, _ := b.lookup(at)
	a, err = b.gateway.Cancel(b.t.Context(), at, looked)
	require.NoError(b.t, err)
	b.isVoided(at, a)
}

func (b *bundle) isVoided(at payment.Attempt, a payment.Answer) {
	b.t.Helper()
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.True(b.t, a.Closed)
	charges, refunds := b.ledger(at)
	require.Len(b.t, charges, 1)
	require.Equal(b.t, "voided", charges[0].Status)
	require.Empty(b.t, refunds)
}

func (b *bundle) cancelFaults() {
	b.inEachFault(b.provider.Operations.Cancel,
		func(b *bundle) payment.Attempt { return b.authorize() },
		func(b *bundle, ctx context.Context, at payment.Attempt) (payment.Outcome, error) {
			a, err := b.gateway.Cancel(ctx, at, payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			looked, said := b.lookup(at)
			voided := said.Outcome == payment.OutcomeDeclined || said.Refunded == said.Amount
			require.Equal(b.t, acted, voided)
			a, err := b.gateway.Cancel(b.t.Context(), at, looked)
			require.NoError(b.t, err)
			b.isVoided(at, a)
		})
}

func (b *bundle) notifies() {
	if !b.gateway.Capabilities().Notifications {
		_, err := b.gateway.ParseNotification(payment.Delivery{Body: []byte(`{}`)}, time.Now())
		require.ErrorIs(b.t, err, payment.ErrNoNotifications)
		return
	}
	signed := b.gateway.Capabilities().Signed
	b.faults(map[string]any{"duplicate_webhooks": true})
	at := b.begin()
	b.buyer(at, "approve?return=false")
	notes := b.notifications(2)
	// It is a hint: the truth is asked for.
	_, a := b.lookup(at)
	b.isApproval(at, a)
	b.charged(at, 1)

	var first payment.Notification
	for i, n := range notes[:2] {
		got, err := b.gateway.ParseNotification(n.delivery(), time.Now())
		require.NoError(b.t, err)
		require.Equal(b.t, signed, got.Signed)
		require.True(b.t, got.Relevant)
		if got.PaymentID != "" {
			require.Equal(b.t, at.PaymentID, got.PaymentID)
		} else {
			require.Contains(b.t, []string{a.Reference, a.CaptureRef}, got.Reference, "nobody can tell whose it is")
		}
		if i == 0 {
			first = got
		}
		if !b.provider.EventIDsDiffer {
			require.Equal(b.t, first.EventID, got.EventID, "a repetition has the id of the first")
		}
		if !signed {
			require.Equal(b.t, payment.OutcomeUnknown, got.Claim, "without a signature it claims nothing")
			continue
		}
		require.Contains(b.t, []payment.Outcome{payment.OutcomeApproved, payment.OutcomeUnknown}, got.Claim)
		require.WithinDuration(b.t, time.Now(), got.At, time.Minute)
		if !b.provider.EventIDsDiffer {
			require.NotEmpty(b.t, got.EventID)
		}
		b.refusesForgeries(n)
		got, err = b.gateway.ParseNotification(n.delivery(), time.Now().Add(time.Hour))
		if b.provider.NeverStale {
			require.NoError(b.t, err)
			require.True(b.t, got.Relevant)
		} else {
			require.ErrorIs(b.t, err, payment.ErrStale)
		}
	}
}

// refusesForgeries changes each byte that the provider signs, one at a time,
// and leaves out each signed part.
func (b *bundle) refusesForgeries(n note) {
	b.t.Helper()
	signs := b.provider.Signs
	require.NotEmpty(b.t, signs.Headers, "Provider.Signs says what a signature covers")
	forged := func(what string, d payment.Delivery) {
		b.t.Helper()
		_, err := b.gateway.ParseNotification(d, time.Now())
		require.ErrorIs(b.t, err, payment.ErrForged, what)
	}
	for _, name := range signs.Headers {
		value := n.header.Get(name)
		require.NotEmpty(b.t, value, "header %s", name)
		for i := range len(value) {
			d := n.delivery()
			d.Header.Set(name, flipped(value, i))
			forged(fmt.Sprintf("header %s, byte %d", name, i), d)
		}
		d := n.delivery()
		d.Header.Del(name)
		forged("without header "+name, d)
	}
	for _, name := range signs.Query {
		value := n.query.Get(name)
		require.NotEmpty(b.t, value, "query %s", name)
		for i := range len(value) {
			d := n.delivery()
			d.Query.Set(name, flipped(value, i))
			forged(fmt.Sprintf("query %s, byte %d", name, i), d)
		}
	}
	if !signs.Body {
		return
	}
	for i := range n.body {
		d := n.delivery()
		d.Body = []byte(flipped(string(n.body), i))
		forged(fmt.Sprintf("body, byte %d", i), d)
	}
	for _, body := range [][]byte{append(bytes.Clone(n.body), ' '), n.body[:len(n.body)-1], nil} {
		d := n.delivery()
		d.Body = body
		forged("body longer or shorter", d)
	}
}

// flipped is text with one bit of one byte changed.
func flipped(text string, at int) string {
	raw := []byte(text)
	raw[at] ^= 1
	return string(raw)
}

func (b *bundle) notifiesEarly() {
	in := b.intent()
	b.fault(b.provider.Operations.Begin, "cut_after")
	a, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeUnknown, a.Outcome)
	b.buyer(b.lost(in), "approve?return=false")
	fresh := b.provider.New(b.t, b.sandbox+"/"+string(b.provider.Name))
	got, err := fresh.ParseNotification(b.notifications(1)[0].delivery(), time.Now())
	require.NoError(b.t, err)
	require.True(b.t, got.Relevant)
	require.NotEmpty(b.t, got.PaymentID+got.Reference, "nobody could keep it for later")
	if got.PaymentID != "" {
		require.Equal(b.t, in.PaymentID, got.PaymentID)
	}
}

func (b *bundle) losesNotifications() {
	b.faults(map[string]any{"drop_webhooks": true})
	at := b.pay()
	_, a := b.lookup(at)
	b.isApproval(at, a)
	require.Eventually(b.t, func() bool {
		status, body := b.send(http.MethodGet, "/deliveries/"+string(b.provider.Name), nil)
		var counts map[string]int
		return status == http.StatusOK && json.Unmarshal(body, &counts) == nil && counts["dropped"] > 0
	}, 10*time.Second, 10*time.Millisecond)
	b.merchant.mu.Lock()
	defer b.merchant.mu.Unlock()
	require.Empty(b.t, b.merchant.notes)
}

func (b *bundle) disputes(end string, want payment.DisputeStatus) {
	at := b.pay()
	_, a := b.lookup(at)
	require.Nil(b.t, a.Dispute)
	b.bank(at, "open")
	_, a = b.lookup(at)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome, "a dispute undoes no approval")
	require.NotNil(b.t, a.Dispute)
	require.Equal(b.t, payment.DisputeOpen, a.Dispute.Status)
	require.Equal(b.t, at.Amount, a.Dispute.Amount)
	require.Equal(b.t, at.Currency, a.Dispute.Currency)
	require.NotEmpty(b.t, a.Dispute.Reference)
	opened := *a.Dispute
	b.bank(at, end)
	_, a = b.lookup(at)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	require.NotNil(b.t, a.Dispute)
	require.Equal(b.t, want, a.Dispute.Status)
	require.Equal(b.t, opened.Reference, a.Dispute.Reference)
	if !b.gateway.Capabilities().Notifications {
		return
	}
	// The provider tells of the payment, its opening and its end.
	for _, n := range b.notifications(3) {
		got, err := b.gateway.ParseNotification(n.delivery(), time.Now())
		require.NoError(b.t, err)
		require.True(b.t, got.Relevant, got.Type)
		require.NotEmpty(b.t, got.PaymentID+got.Reference)
	}
}

func (b *bundle) losesDispute() {
	at := b.pay()
	_, a := b.lookup(at)
	require.Nil(b.t, a.Dispute)
	b.bank(at, "lost")
	for range 2 {
		_, a = b.lookup(at)
		require.Equal(b.t, payment.OutcomeApproved, a.Outcome, "a dispute undoes no approval")
		require.NotNil(b.t, a.Dispute)
		require.Equal(b.t, payment.DisputeLost, a.Dispute.Status)
		require.Equal(b.t, at.Amount, a.Dispute.Amount)
		require.Equal(b.t, at.Currency, a.Dispute.Currency)
		require.NotEmpty(b.t, a.Dispute.Reference)
		require.Zero(b.t, a.Refunded, "it would be counted twice")
	}
	b.refused(b.refundOf(at, at.Amount, 0))
}

// bank plays the buyer's bank.
func (b *bundle) bank(at payment.Attempt, status string) {
	b.t.Helper()
	code, body := b.send(http.MethodPost, "/disputes/"+at.PaymentID+"/"+status, nil)
	require.Equal(b.t, http.StatusOK, code, "%s", body)
}

func (b *bundle) states() {
	from := time.Now().Add(-time.Hour).UTC()
	paid := []payment.Attempt{b.pay(), b.pay(), b.pay()}
	b.begin() // nobody pays it
	_, said := b.lookup(paid[1])
	in := b.refundOf(paid[1], paid[1].Amount, 0)
	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	require.NoError(b.t, err)
	b.refunded(in, a)

	var charges, refunds []payment.Transaction
	for _, line := range b.statement(from, from.Add(2*time.Hour)) {
		require.Equal(b.t, money.CLP, line.Currency)
		require.Equal(b.t, time.UTC, line.At.Location())
		require.WithinDuration(b.t, time.Now(), line.At, time.Minute)
		switch {
		case line.Outcome != payment.OutcomeApproved: // what did not move money may stand there
		case line.Kind == payment.ChargeTransaction:
			charges = append(charges, line)
		case line.Kind == payment.RefundTransaction:
			refunds = append(refunds, line)
		default:
			require.Fail(b.t, "unknown kind", "%+v", line)
		}
	}
	require.Len(b.t, charges, len(paid))
	for _, at := range paid {
		i := slices.IndexFunc(charges, func(line payment.Transaction) bool { return b.isOf(line, at) })
		require.GreaterOrEqual(b.t, i, 0, "a charge is missing")
		require.Equal(b.t, at.Amount, charges[i].Amount)
		require.True(b.t, charges[i].Captured)
		if said.Fee > 0 && charges[i].Fee > 0 {
			require.Equal(b.t, said.Fee, charges[i].Fee, "the same amount costs the same")
		}
	}
	require.Empty(b.t, b.statement(from.Add(-72*time.Hour), from.Add(-48*time.Hour)))
	if b.provider.RefundsUntold {
		require.Empty(b.t, refunds)
		return
	}
	require.Len(b.t, refunds, 1)
	require.True(b.t, b.isOf(refunds[0], paid[1]))
	require.Equal(b.t, paid[1].Amount, refunds[0].Amount)
	if refunds[0].RefundID != "" {
		require.Equal(b.t, in.RefundID, refunds[0].RefundID)
	}
}

// isOf finds a line's payment by whatever the provider calls it.
func (b *bundle) isOf(line payment.Transaction, at payment.Attempt) bool {
	return line.PaymentID == at.PaymentID || line.Reference != "" && line.Reference == at.Reference ||
		line.CaptureRef != "" && line.CaptureRef == at.CaptureRef
}

// statement reads every page.
func (b *bundle) statement(from, to time.Time) (lines []payment.Transaction) {
	b.t.Helper()
	q := payment.StatementQuery{From: from, To: to}
	for range 100 {
		page, err := b.gateway.Transactions(b.t.Context(), q)
		require.NoError(b.t, err)
		lines = append(lines, page.Transactions...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return lines
		}
	}
	require.Fail(b.t, "the pages do not end")
	return nil
}

func (b *bundle) statesNothing() {
	_, err := b.gateway.Transactions(b.t.Context(), payment.StatementQuery{From: time.Now().Add(-time.Hour), To: time.Now()})
	require.ErrorIs(b.t, err, payment.ErrNoStatement)
}

// byToken is a payment with a card that the storefront has tokenized.
func (b *bundle) byToken(approves bool) (payment.Intent, payment.Attempt) {
	b.t.Helper()
	require.NotNil(b.t, b.provider.Token, "Capabilities.Tokens needs Provider.Token")
	in := b.intent()
	in.Token, in.Installments = b.provider.Token(b.t, b.sandbox, approves), 1
	at := b.lost(in)
	at.ByToken = true
	return in, at
}

func (b *bundle) chargesToken() {
	in, at := b.byToken(true)
	a, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	at.Reference = a.Reference
	b.isApproval(at, a)
	looked, said := b.lookup(at)
	b.isApproval(at, said)
	a, err = b.gateway.Begin(b.t.Context(), in, looked)
	require.NoError(b.t, err)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) declinesToken() {
	in, at := b.byToken(false)
	a, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.True(b.t, a.Closed, "a token is used once")
	require.NotEmpty(b.t, a.Code)
	at.Reference = a.Reference
	_, said := b.lookup(at)
	require.Equal(b.t, payment.OutcomeDeclined, said.Outcome)
	b.charged(at, 0)
}

func (b *bundle) tokenFaults() {
	var intents sync.Map
	b.inEachFault(b.provider.Operations.Token,
		func(b *bundle) payment.Attempt {
			in, at := b.byToken(true)
			intents.Store(b, in)
			return at
		},
		func(b *bundle, ctx context.Context, _ payment.Attempt) (payment.Outcome, error) {
			in, _ := intents.Load(b)
			a, err := b.gateway.Begin(ctx, in.(payment.Intent), payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			looked, said := b.lookup(at)
			if !acted {
				require.Equal(b.t, payment.CodeNoSuchAttempt, said.Code)
			}
			in, _ := intents.Load(b)
			a, err := b.gateway.Begin(b.t.Context(), in.(payment.Intent), looked)
			require.NoError(b.t, err)
			at.Reference = a.Reference
			b.isApproval(at, a)
			b.charged(at, 1)
		})
}

func (b *bundle) waitsForHeldAnswers() {
	in := b.intent()
	a := b.held(b.provider.Operations.Begin, func() (payment.Answer, error) {
		return b.gateway.Begin(b.t.Context(), in, payment.Untried)
	})
	at := b.begun(in, a)
	b.buyer(at, "approve")
	a = b.held(b.provider.Operations.Settle, func() (payment.Answer, error) {
		return b.gateway.Settle(b.t.Context(), at, b.returned(at), payment.Untried)
	})
	b.isApproval(at, a)
	b.charged(at, 1)
}

// held calls while the provider acts and keeps its answer back, then lets it go.
func (b *bundle) held(operation string, call func() (payment.Answer, error)) payment.Answer {
	b.t.Helper()
	b.fault(operation, "hold_answer")
	type result struct {
		answer payment.Answer
		err    error
	}
	done := make(chan result, 1)
	go func() {
		a, err := call()
		done <- result{a, err}
	}()
	status, body := b.send(http.MethodGet, "/faults/"+string(b.provider.Name)+"/held?min=1", nil)
	require.Equal(b.t, http.StatusOK, status)
	require.Contains(b.t, string(body), `"reached": true`)
	status, _ = b.send(http.MethodPost, "/faults/"+string(b.provider.Name)+"/release", nil)
	require.Equal(b.t, http.StatusOK, status)
	got := <-done
	require.NoError(b.t, got.err)
	return got.answer
}

func (b *bundle) outage() {
	at := b.pay()
	open := b.begin()
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()
	away := b.provider.New(b.t, address+"/"+string(b.provider.Name))
	for name, err := range b.effects(away, open, at) {
		f := failed(b.t, err, payment.ClassUnavailable)
		require.Error(b.t, f.Err, name)
	}

	b.faults(map[string]any{"outage": true, "outage_mode": "503"})
	for name, err := range b.effects(b.gateway, open, at) {
		if name == "refund" && err == nil {
			continue // in doubt is right too where refunds cannot be repeated
		}
		failed(b.t, err, payment.ClassUnavailable)
	}
	b.calm()
	b.charged(at, 1)
	b.givenBack(at, 0, 0)
}

func (b *bundle) badCredentials() {
	at := b.pay()
	open := b.begin()
	refused := b.provider.NewRefused(b.t, b.sandbox+"/"+string(b.provider.Name))
	for name, err := range b.effects(refused, open, at) {
		f := failed(b.t, err, payment.ClassCredentials)
		require.False(b.t, errors.Is(f, payment.ErrForged), name)
	}
	b.charged(at, 1)
	b.givenBack(at, 0, 0)
}

// effects tries everything that calls the provider, once.
func (b *bundle) effects(g payment.Gateway, open, paid payment.Attempt) map[string]error {
	b.t.Helper()
	ctx, errs := b.t.Context(), map[string]error{}
	_, errs["begin"] = g.Begin(ctx, b.intent(), payment.Untried)
	_, errs["settle"] = g.Settle(ctx, open, payment.Return{Kind: payment.ReturnFinished, Token: open.Reference}, payment.Untried)
	_, errs["lookup"] = g.Lookup(ctx, paid)
	_, errs["close"] = g.Close(ctx, open, payment.Untried)
	if b.provider.NewDeferred != nil {
		_, errs["capture"] = g.Capture(ctx, open, 1, payment.Untried)
		_, errs["cancel"] = g.Cancel(ctx, open, payment.Untried)
	}
	_, errs["refund"] = g.Refund(ctx, b.refundOf(paid, 970, 0), payment.UntriedRefund)
	in := b.refundOf(paid, 970, 0)
	if b.provider.RefundsUntraced {
		in.Reference = paid.Reference // without one there is no call
	}
	_, errs["lookup refund"] = g.LookupRefund(ctx, in)
	if g.Capabilities().Statement {
		_, errs["transactions"] = g.Transactions(ctx, payment.StatementQuery{From: time.Now().Add(-time.Hour), To: time.Now()})
	}
	return errs
}
