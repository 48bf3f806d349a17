package conformance

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
)

// Run runs the suite. Each case has a sandbox of its own.
func Run(t *testing.T, p Provider) {
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
		{"close: a paid one is an approval", (*bundle).closesPaid, true},
		{"close: each fault is a failure or a doubt", (*bundle).closeFaults, true},
		{"refund: the whole, once", (*bundle).refundsWhole, true},
		{"refund: in parts, and not more than there is", (*bundle).refundsParts, p.partial(t)},
		{"refund: each fault is a failure or a doubt, and the question leads to one refund", (*bundle).refundFaults, true},
		{"refund: repeated under its id has one effect", (*bundle).refundIsIdempotent, p.RefundsAreIdempotent},
		{"refund: one that failed later is told", (*bundle).refundFailsLater, p.RefundsCanFailLater},
		{"capture: an authorization is taken once", (*bundle).captures, p.NewDeferred != nil},
		{"cancel: an authorization is given back", (*bundle).cancels, p.NewDeferred != nil},
		{"notification: genuine, forged, stale, repeated", (*bundle).notifies, true},
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

func (p Provider) partial(t *testing.T) bool {
	return p.New(t, "http://127.0.0.1:1/"+string(p.Name)).Capabilities().PartialRefunds
}

// How the provider may go wrong during an effect. acted says whether the effect
// has happened all the same.
var effectFaults = []struct {
	kind    string
	acted   bool
	failure payment.Class // what must be said when it is certain that nothing happened
}{
	{kind: "cut_before"},
	{kind: "cut_after", acted: true},
	{kind: "timeout_after_effect", acted: true},
	{kind: "error_500"},
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
			return payment.Attempt{PaymentID: in.PaymentID, Amount: in.Amount, Currency: in.Currency}
		},
		func(b *bundle, ctx context.Context, _ payment.Attempt) (payment.Outcome, error) {
			in, _ := intents.Load(b)
			a, err := b.gateway.Begin(ctx, in.(payment.Intent), payment.Untried)
			return a.Outcome, err
		},
		func(b *bundle, lost payment.Attempt, _ bool) {
			looked, said := b.lookup(lost)
			require.Equal(b.t, payment.CodeNoSuchAttempt, said.Code)
			require.Equal(b.t, payment.OutcomeDeclined, said.Outcome)
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
	require.Len(b.t, a.CardLast4, 4)
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
	require.Equal(b.t, payment.ReturnCancelled, ret.Kind)
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
		require.Equal(b.t, payment.ReturnTimedOut, ret.Kind)
		var err error
		a, err = b.gateway.Settle(b.t.Context(), at, ret, payment.Untried)
		require.NoError(b.t, err)
		require.Equal(b.t, payment.CodeFormTimeout, a.Code)
	} else {
		_, a = b.lookup(at)
		require.Equal(b.t, payment.CodeExpired, a.Code)
	}
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
	status, _ := b.send(http.MethodPost, "/buyer/"+at.PaymentID+"/return?variant=abort", nil)
	require.Equal(b.t, http.StatusOK, status)
	ret := b.returned(at)
	require.Equal(b.t, payment.ReturnCancelled, ret.Kind)
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
	_, a := b.lookup(payment.Attempt{PaymentID: b.intent().PaymentID})
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.Equal(b.t, payment.CodeNoSuchAttempt, a.Code)

	// The begin that is lost reaches the provider, and nobody can pay it.
	in := b.intent()
	b.fault(b.provider.Operations.Begin, "cut_after")
	said, err := b.gateway.Begin(b.t.Context(), in, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeUnknown, said.Outcome)
	closed, err := b.gateway.Close(b.t.Context(), payment.Attempt{PaymentID: in.PaymentID}, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeDeclined, closed.Outcome)
	require.True(b.t, closed.Closed)
}

func (b *bundle) lookupFaults() {
	at := b.pay()
	for kind, class := range map[string]payment.Class{
		"cut_before": payment.ClassUnavailable, "cut_after": payment.ClassUnavailable, "timeout_after_effect": payment.ClassUnavailable,
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
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.True(b.t, a.Closed)
	require.Equal(b.t, payment.CodeClosed, a.Code)
	again, err := b.gateway.Close(b.t.Context(), at, payment.Asked(a))
	require.NoError(b.t, err)
	require.True(b.t, again.Closed)
	if b.gateway.Capabilities().CloseIsOurs {
		// The page still takes the buyer's card; nobody commits it.
		b.buyer(at, "approve")
	} else {
		require.Equal(b.t, http.StatusConflict, b.tries(at, "approve"))
	}
	b.charged(at, 0)
}

func (b *bundle) closesPaid() {
	at := b.pay()
	a, err := b.gateway.Close(b.t.Context(), at, payment.Untried)
	require.NoError(b.t, err)
	b.isApproval(at, a)
	b.charged(at, 1)
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
	in := refundOf(at, at.Amount, 0)
	_, before := b.lookupRefund(in)
	require.Equal(b.t, payment.OutcomeDeclined, before.Outcome)
	require.Equal(b.t, payment.CodeNoSuchRefund, before.Code)

	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	require.Equal(b.t, at.Amount, a.Amount)
	b.givenBack(at, 1, at.Amount)

	for _, reference := range []string{"", in.Reference} {
		in.Reference = reference
		looked, said := b.lookupRefund(in)
		require.Equal(b.t, payment.OutcomeApproved, said.Outcome)
		again, err := b.gateway.Refund(b.t.Context(), in, looked)
		require.NoError(b.t, err)
		require.Equal(b.t, payment.OutcomeApproved, again.Outcome)
	}
	_, state := b.lookup(at)
	require.Equal(b.t, payment.OutcomeApproved, state.Outcome)
	require.Equal(b.t, at.Amount, state.Refunded)
	b.givenBack(at, 1, at.Amount)

	_, err = b.gateway.Refund(b.t.Context(), refundOf(at, at.Amount, at.Amount), payment.UntriedRefund)
	failed(b.t, err, payment.ClassInvalid)
	b.givenBack(at, 1, at.Amount)
	b.charged(at, 1)
}

func (b *bundle) refundsParts() {
	at := b.pay()
	var before int64
	for i, amount := range []int64{970, 9000} {
		in := refundOf(at, amount, before)
		_, said := b.lookupRefund(in)
		require.Equal(b.t, payment.CodeNoSuchRefund, said.Code)
		a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
		require.NoError(b.t, err)
		require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
		require.Equal(b.t, amount, a.Amount)
		_, said = b.lookupRefund(in)
		require.Equal(b.t, payment.OutcomeApproved, said.Outcome)
		before += amount
		b.givenBack(at, i+1, before)
	}
	_, err := b.gateway.Refund(b.t.Context(), refundOf(at, at.Amount, before), payment.UntriedRefund)
	failed(b.t, err, payment.ClassInvalid)
	_, state := b.lookup(at)
	require.Equal(b.t, before, state.Refunded)

	rest := refundOf(at, at.Amount-before, before)
	a, err := b.gateway.Refund(b.t.Context(), rest, payment.UntriedRefund)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	b.givenBack(at, 3, at.Amount)
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
			in := refundOf(at, amount(b, at), 0)
			intents.Store(b, in)
			a, err := b.gateway.Refund(ctx, in, payment.UntriedRefund)
			return a.Outcome, err
		},
		func(b *bundle, at payment.Attempt, acted bool) {
			stored, _ := intents.Load(b)
			in := stored.(payment.RefundIntent)
			looked, said := b.lookupRefund(in)
			if acted {
				require.Equal(b.t, payment.OutcomeApproved, said.Outcome)
			} else {
				require.Equal(b.t, payment.CodeNoSuchRefund, said.Code)
			}
			a, err := b.gateway.Refund(b.t.Context(), in, looked)
			require.NoError(b.t, err)
			require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
			b.givenBack(at, 1, in.Amount)
		})
}

func (b *bundle) refundIsIdempotent() {
	at := b.pay()
	in := refundOf(at, 970, 0)
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
	in := refundOf(at, 970, 0)
	a, err := b.gateway.Refund(b.t.Context(), in, payment.UntriedRefund)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeApproved, a.Outcome)
	in.Reference = a.Reference
	status, body := b.send(http.MethodPost, "/ledger/refunds/"+url.PathEscape(a.Reference)+"/fail", map[string]any{})
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

func (b *bundle) cancels() {
	at := b.authorize()
	a, err := b.gateway.Cancel(b.t.Context(), at, payment.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	require.True(b.t, a.Closed)
	looked, _ := b.lookup(at)
	a, err = b.gateway.Cancel(b.t.Context(), at, looked)
	require.NoError(b.t, err)
	require.Equal(b.t, payment.OutcomeDeclined, a.Outcome)
	charges, refunds := b.ledger(at)
	require.Len(b.t, charges, 1)
	require.Equal(b.t, "voided", charges[0].Status)
	require.Empty(b.t, refunds)
}

func (b *bundle) notifies() {
	if !b.gateway.Capabilities().Notifications {
		_, err := b.gateway.ParseNotification(payment.Delivery{Body: []byte(`{}`)}, time.Now())
		require.ErrorIs(b.t, err, payment.ErrNoNotifications)
		return
	}
	b.faults(map[string]any{"duplicate_webhooks": true})
	at := b.begin()
	b.buyer(at, "approve?return=false")
	var first payment.Notification
	for i, n := range b.notifications(2)[:2] {
		got, err := b.gateway.ParseNotification(n.delivery(), time.Now())
		require.NoError(b.t, err)
		require.True(b.t, got.Signed)
		require.True(b.t, got.Relevant)
		require.Equal(b.t, at.PaymentID, got.PaymentID)
		require.NotEmpty(b.t, got.EventID)
		require.Equal(b.t, payment.OutcomeApproved, got.Claim)
		require.WithinDuration(b.t, time.Now(), got.At, time.Minute)
		if i == 0 {
			first = got
		}
		require.Equal(b.t, first.EventID, got.EventID, "a repetition has the id of the first")

		_, err = b.gateway.ParseNotification(payment.Delivery{Header: n.header, Query: n.query, Body: append(bytes.Clone(n.body), ' ')}, time.Now())
		require.ErrorIs(b.t, err, payment.ErrForged)
		_, err = b.gateway.ParseNotification(payment.Delivery{Query: n.query, Body: n.body}, time.Now())
		require.ErrorIs(b.t, err, payment.ErrForged)
		_, err = b.gateway.ParseNotification(n.delivery(), time.Now().Add(time.Hour))
		require.ErrorIs(b.t, err, payment.ErrStale)
	}
	// It is a hint: the truth is asked for.
	_, a := b.lookup(at)
	b.isApproval(at, a)
	b.charged(at, 1)
}

func (b *bundle) outage() {
	at := b.pay()
	open := b.begin()
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()
	away := b.provider.New(b.t, address+"/"+string(b.provider.Name))
	for name, err := range effects(b.t, away, b.intent(), open, at) {
		f := failed(b.t, err, payment.ClassUnavailable)
		require.Error(b.t, f.Err, name)
	}

	b.faults(map[string]any{"outage": true, "outage_mode": "503"})
	for name, err := range effects(b.t, b.gateway, b.intent(), open, at) {
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
	for name, err := range effects(b.t, refused, b.intent(), open, at) {
		f := failed(b.t, err, payment.ClassCredentials)
		require.False(b.t, errors.Is(f, payment.ErrForged), name)
	}
	b.charged(at, 1)
	b.givenBack(at, 0, 0)
}

// effects tries everything that calls the provider, once.
func effects(t *testing.T, g payment.Gateway, in payment.Intent, open, paid payment.Attempt) map[string]error {
	t.Helper()
	errs := map[string]error{}
	_, errs["begin"] = g.Begin(t.Context(), in, payment.Untried)
	_, errs["settle"] = g.Settle(t.Context(), open, payment.Return{Kind: payment.ReturnFinished, Token: open.Reference}, payment.Untried)
	_, errs["lookup"] = g.Lookup(t.Context(), paid)
	_, errs["close"] = g.Close(t.Context(), open, payment.Untried)
	_, errs["capture"] = g.Capture(t.Context(), open, 1, payment.Untried)
	_, errs["cancel"] = g.Cancel(t.Context(), open, payment.Untried)
	_, errs["refund"] = g.Refund(t.Context(), refundOf(paid, 970, 0), payment.UntriedRefund)
	_, errs["lookup refund"] = g.LookupRefund(t.Context(), refundOf(paid, 970, 0))
	return errs
}
