package simulate

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/audit"
)

func TestRun_AShopThatKeepsItsWordHasNoDifference(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	requireClean(t, r)
	require.Empty(t, r.Never.Buyers)
	require.Len(t, r.Outcomes, len(Kinds(both)))
	for _, o := range r.Outcomes {
		require.Positive(t, o.Buyers)
		require.NotContains(t, o.Ends, "unanswered", "%s", o.Kind)
	}
	require.GreaterOrEqual(t, r.Latency.Count, 2*len(Kinds(both)))
	require.Equal(t, "there is no database", r.NoAudit)

	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "0 differences.")
	require.Contains(t, text.String(), "Not audited: there is no database")
	text.Reset()
	require.NoError(t, r.WriteJSON(&text))
	require.Contains(t, text.String(), `"differences": []`)
}

func TestRun_ARequestWithoutAnAnswerIsRepeatedWithItsKey(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.dropFirst = map[string]bool{}
	f.hold = 3 * time.Second
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	requireClean(t, r)
	require.GreaterOrEqual(t, r.Answers["no answer"], 2*len(Kinds(both)))
	require.Positive(t, r.Answers["201"])
}

func TestRun_AnApprovalWhoseAnswerWasLostIsStillTheBuyers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.losesAnswers = true
	f.hold = 3 * time.Second
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	requireClean(t, r)
	require.NotEmpty(t, f.charges)
}

func TestRun_PaidOrdersThatNobodyWasChargedForAreNamed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.neverCharges = true
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	require.False(t, r.OK())
	require.Subset(t, []string{"paid_without_charge", "refunded_too_much"}, rulesOf(r)) // what is refunded was never taken
	require.Contains(t, rulesOf(r), "paid_without_charge")
	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "DIFFERENCE paid_without_charge: buyer ")
}

func TestRun_UnitsThatAreGivenBackTwiceAreNamed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.givesTwice = true
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	require.Contains(t, rulesOf(r), "unexpected_answer")
}

func TestRun_BooksAreComparedUntilTheyAgree(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	requireClean(t, r)
	require.Len(t, r.Books, 1)
	require.Equal(t, 2, r.Books[0].Rounds, "what the first repaired the second finds matched")

	f = newFake(t)
	f.booksDiffer = true
	o := f.options()
	o.Orders = 1
	r, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"books_differ"}, rulesOf(r))
}

func TestRun_StockThatIsNotFreedIsNamed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.keepsStock = true
	r, err := Run(t.Context(), f.options())
	require.NoError(t, err)
	require.Contains(t, rulesOf(r), "reserved_differs")
}

func TestRun_FaultsAreSetAndClearedAndThoseThatNeverOccurredAreTold(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := f.options()
	o.Faults = LightFaults
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	requireClean(t, r)
	require.Len(t, f.everSet, 2)
	require.Empty(t, f.faults)
	require.Equal(t, 6, r.FaultsSeen["error_500"])
	require.Equal(t, []string{"timeout_after_effect", "outage", "dropped_webhook"}, r.Never.Faults)
}

func TestRun_AnInterruptedRunClearsItsFaults(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := f.options()
	o.Faults, o.Rate = HeavyFaults, 1
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, o)
		done <- err
	}()
	require.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.faults) == 2 && len(f.checkouts) > 0
	}, 10*time.Second, 5*time.Millisecond)
	interrupt()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Empty(t, f.faults)
}

func TestRun_WhatDoesNotEndInTimeIsNamed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.hold = time.Hour
	o := f.options()
	o.Orders, o.Timeout = len(Kinds(both)), 3*time.Second
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, rulesOf(r), "not_ended")
}

func TestRun_TheAuditsVerdictCounts(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := f.options()
	o.Orders = 1
	o.Audit = func(context.Context) (audit.Report, error) { return audit.Report{Violations: 1}, nil }
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.False(t, r.OK())
	o.Audit = func(context.Context) (audit.Report, error) { return audit.Report{}, errors.New("no such database") }
	r, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.False(t, r.OK())
	require.Equal(t, "no such database", r.NoAudit)
}

func TestRun_OptionsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for words, change := range map[string]func(*Options){
		"orders":               func(o *Options) { o.Orders = 0 },
		"rate":                 func(o *Options) { o.Rate = 0 },
		"gateways":             func(o *Options) { o.Gateways = nil },
		"as far as paid":       func(o *Options) { o.To = "exchanged" },
		"return-rate":          func(o *Options) { o.To, o.ReturnRate = toReturned, 1.5 },
		"timeout":              func(o *Options) { o.Timeout = 0 },
		"--api-url":            func(o *Options) { o.APIURL = "" },
		"warehouses":           func(o *Options) { o.Warehouses = nil },
		"none, light or heavy": func(o *Options) { o.Faults = "some" },
	} {
		o := f.options()
		change(&o)
		_, err := Run(t.Context(), o)
		require.ErrorContains(t, err, words)
	}
}

func TestFinal_OnlyWhatARepetitionWouldNotChange(t *testing.T) {
	t.Parallel()
	for _, a := range []answer{{status: 201}, {status: 404}, {status: 409}, {status: 429, problem: problem{Code: "too_many_holds"}}, {status: 503, problem: problem{Code: "gateway_unavailable"}}} {
		require.True(t, final(a), "%s", a)
	}
	for _, a := range []answer{{status: 500}, {status: 503}, {status: 429}, {status: http.StatusRequestTimeout}, {status: 409, problem: problem{Code: "idempotency_key_in_progress"}}} {
		require.False(t, final(a), "%s", a)
	}
}
