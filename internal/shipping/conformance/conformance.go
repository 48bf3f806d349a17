package conformance

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Run runs the suite. Each case has a sandbox of its own.
func Run(t *testing.T, of Carrier) {
	can := of.New(t, "http://127.0.0.1:1/"+string(of.Name)).Capabilities()
	points := slices.Contains(can.Methods, shipping.ToPoint)
	for _, c := range []struct {
		name string
		test func(*bundle)
		runs bool
	}{
		{"quote: prices, and never zero", (*bundle).quotes, true},
		{"quote: a large parcel costs what its volume weighs", (*bundle).quotesVolume, true},
		{"quote: a comuna that is not served has no offers", (*bundle).quotesNothing, true},
		{"quote: comunas of like names are kept apart", (*bundle).quotesLookAlikes, true},
		{"quote: an offer of nothing is none", (*bundle).quotesZero, true},
		{"points: branches of the comuna, to which a parcel can be booked", (*bundle).listsPoints, points},
		{"points: there are none", (*bundle).listsNoPoints, !points},
		{"book: a number and one label", (*bundle).books, true},
		{"book: in each form of label", (*bundle).booksEachLabel, true},
		{"book: what was found is not booked again", (*bundle).booksOnce, true},
		{"book: each fault is a refusal, a failure or a doubt, and the question leads to one label", (*bundle).bookFaults, true},
		{"book: the carrier's no, in its own way, names nobody", (*bundle).refuses, true},
		{"book: the number comes later", (*bundle).issuesLater, can.IssuesLater},
		{"book: a caller who asks after each doubt never has two labels, whatever goes wrong", (*bundle).booksThroughAnything, true},
		{"book: ten at once are ten", (*bundle).booksTenAtOnce, true},
		{"lookup: what was never booked is not found", (*bundle).looksForNothing, can.Lookup},
		{"lookup: without the carrier's id there is nothing to ask", (*bundle).cannotLook, !can.Lookup},
		{"lookup: no answer is an error", (*bundle).lookupFaults, true},
		{"label: fetched again", (*bundle).reprints, can.Reprint},
		{"label: only with the booking", (*bundle).printsOnce, !can.Reprint},
		{"void: a booking that nobody took over", (*bundle).voids, can.Void},
		{"void: each fault is a failure or a doubt, and the question tells", (*bundle).voidFaults, can.Void},
		{"void: not once the carrier has the parcel", (*bundle).voidsTooLate, can.Void},
		{"void: there is no such call", (*bundle).cannotVoid, !can.Void},
		{"track: everything that happens, the oldest first", (*bundle).tracks, true},
		{"track: a word that nobody knows is kept, and moves nothing", (*bundle).tracksStrangeWords, true},
		{"track: one that the carrier does not know is absent", (*bundle).tracksStrangers, true},
		{"track: several at once", (*bundle).tracksSeveral, can.TrackAtOnce > 1},
		{"track: no answer is an error", (*bundle).trackFaults, true},
		{"outage: nothing reached is a failure", (*bundle).outage, true},
		{"rate limit: told, with when to come back", (*bundle).rateLimited, true},
		{"credentials: refused ones are told as such", (*bundle).badCredentials, true},
	} {
		if !c.runs {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(setup(t, of))
		})
	}
}

func (b *bundle) quotes() {
	require.Equal(b.t, b.of.Name, b.carrier.Name())
	offers, err := b.carrier.Quote(b.t.Context(), quote())
	require.NoError(b.t, err)
	require.NotEmpty(b.t, offers)
	for _, o := range offers {
		require.Positive(b.t, o.Price)
		require.Less(b.t, o.Price, int64(100_000))
		require.NotEmpty(b.t, o.Service)
		require.NotEmpty(b.t, o.Name)
		require.Equal(b.t, shipping.ToDoor, o.Method)
	}
}

// cheapest is the least that a parcel costs; zero: it isn't carried.
func (b *bundle) cheapest(q shipping.QuoteRequest) int64 {
	b.t.Helper()
	offers, err := b.carrier.Quote(b.t.Context(), q)
	require.NoError(b.t, err)
	var least int64
	for _, o := range offers {
		if least == 0 || o.Price < least {
			least = o.Price
		}
	}
	return least
}

func (b *bundle) quotesVolume() {
	large := quote()
	large.Parcel = shipping.Parcel{WeightGrams: box.WeightGrams, LengthMM: 800, WidthMM: 600, HeightMM: 500}
	require.Greater(b.t, b.cheapest(large), b.cheapest(quote()))
}

func (b *bundle) quotesNothing() {
	q := quote()
	q.To.Comuna, q.To.Region = "Juan Fernández", "VS"
	require.Zero(b.t, b.cheapest(q))
	q.To.Comuna, q.To.Region = "Concepción", "RM" // no such comuna there
	require.Zero(b.t, b.cheapest(q))
}

func (b *bundle) quotesLookAlikes() {
	near, far := quote(), quote()
	near.To.Comuna, near.To.Region = "San Pedro", "RM"
	far.To.Comuna, far.To.Region = "SAN PEDRO DE LA PAZ", "BI"
	require.Less(b.t, b.cheapest(near), b.cheapest(far), "the one is in the region, the other 500 km away")
	// The carrier writes this one otherwise than the state.
	far.To.Comuna, far.To.Region = "Natales", "MA"
	require.Positive(b.t, b.cheapest(far))
}

func (b *bundle) quotesZero() {
	b.settings(map[string]any{"zero_quotes": true})
	offers, err := b.carrier.Quote(b.t.Context(), quote())
	require.NoError(b.t, err)
	for _, o := range offers {
		require.Positive(b.t, o.Price)
	}
}

func (b *bundle) listsPoints() {
	found, err := b.carrier.Points(b.t.Context(), "PROVIDENCIA", "RM")
	require.NoError(b.t, err)
	require.NotEmpty(b.t, found)
	for _, p := range found {
		require.NotEmpty(b.t, p.ID)
		require.NotEmpty(b.t, p.Name)
		require.Contains(b.t, []string{"branch", "partner", "locker"}, p.Kind)
		require.Equal(b.t, "Providencia", p.Comuna)
		require.Equal(b.t, "RM", p.Region)
	}
	none, err := b.carrier.Points(b.t.Context(), "Juan Fernández", "VS")
	require.NoError(b.t, err)
	require.Empty(b.t, none)

	q := quote()
	q.Method, q.To = shipping.ToPoint, shipping.Place{Comuna: "Providencia", Region: "RM", PointID: found[0].ID}
	offers, err := b.carrier.Quote(b.t.Context(), q)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, offers)
	in := b.booking()
	in.Method, in.To, in.Service = shipping.ToPoint, shipping.Place{Street: found[0].Street, Comuna: "Providencia", Region: "RM", PointID: found[0].ID}, offers[0].Service
	a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
	require.NoError(b.t, err)
	b.issued(in, a)
	require.Len(b.t, b.labels(in.Reference), 1)

	b.fault(b.of.Operations.Points, "error_500")
	_, err = b.of.New(b.t, b.sandbox+"/"+string(b.of.Name)).Points(b.t.Context(), "Providencia", "RM")
	failed(b.t, err, shipping.Unavailable)
}

func (b *bundle) listsNoPoints() {
	found, err := b.carrier.Points(b.t.Context(), "Providencia", "RM")
	require.NoError(b.t, err)
	require.Empty(b.t, found)
}

func (b *bundle) books() {
	in, a := b.book()
	require.Len(b.t, b.labels(in.Reference), 1)
	require.Equal(b.t, a.Tracking, b.labels(in.Reference)[0].Tracking)
	if can := b.carrier.Capabilities(); can.Lookup || can.IssuesLater {
		require.Equal(b.t, a.Tracking, b.lookup(in, a).Tracking)
	}
}

func (b *bundle) booksEachLabel() {
	can := b.carrier.Capabilities()
	require.NotEmpty(b.t, can.Labels)
	for _, format := range can.Labels {
		in := b.booking()
		in.Label = format
		a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
		require.NoError(b.t, err)
		a = b.issued(in, a)
		l := a.Label
		if l == nil {
			require.True(b.t, can.Reprint, "or nobody has it")
			fetched, err := b.carrier.Label(b.t.Context(), booked(in, a))
			require.NoError(b.t, err)
			l = &fetched
		}
		b.is(*l, format)
	}
}

// is demands a label of one of the formats, also by its own bytes.
func (b *bundle) is(l shipping.Label, formats ...shipping.Format) {
	b.t.Helper()
	require.Contains(b.t, formats, l.Format)
	seen, known := wire.FormatOf(l.Data)
	require.True(b.t, known)
	require.Equal(b.t, l.Format, seen)
}

func (b *bundle) booksOnce() {
	in, a := b.book()
	calls := b.calls(b.of.Operations.Book)
	again, err := b.carrier.Book(b.t.Context(), in, shipping.Found(a))
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomeBooked, again.Outcome)
	require.Equal(b.t, a.Tracking, again.Tracking)
	doubt, err := b.carrier.Book(b.t.Context(), in, shipping.Found(shipping.Answer{Outcome: shipping.OutcomeUnknown}))
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomeUnknown, doubt.Outcome, "a doubt is no leave to try again")
	require.Equal(b.t, calls, b.calls(b.of.Operations.Book))
	require.Len(b.t, b.labels(in.Reference), 1)
}

// effectFaults are how a carrier may go wrong during an effect. acted says whether the
// effect has happened all the same.
var effectFaults = []struct {
	kind    string
	acted   bool
	failure shipping.Reason // what must be said when it is certain that nothing happened
}{
	{kind: "cut_before"},
	{kind: "cut_during", acted: true},
	{kind: "cut_after", acted: true},
	{kind: "timeout_after_effect", acted: true},
	{kind: "error_500"},
	{kind: "error_503", failure: shipping.Unavailable},
	{kind: "rate_limited", failure: shipping.RateLimited},
}

func (b *bundle) bookFaults() {
	for _, f := range effectFaults {
		b.t.Run(f.kind, func(t *testing.T) {
			t.Parallel()
			own := setup(t, b.of)
			in := own.booking()
			own.fault(b.of.Operations.Book, f.kind)
			a, err := own.carrier.Book(own.patience(f.kind), in, shipping.Untried)
			if f.failure != "" {
				failed(t, err, f.failure)
				require.Empty(t, own.labels(in.Reference))
				own.bookedAtLast(in, shipping.Untried)
				return
			}
			require.NoError(t, err, "a fault that may have had an effect is a doubt, not an error")
			require.Equal(t, shipping.OutcomeUnknown, a.Outcome)
			own.asksAfterDoubt(in, a, f.acted)
		})
	}
}

// asksAfterDoubt goes on as a caller would whose booking had no answer.
func (b *bundle) asksAfterDoubt(in shipping.Booking, a shipping.Answer, acted bool) {
	b.t.Helper()
	can := b.carrier.Capabilities()
	made := map[bool]int{true: 1}[acted]
	require.Len(b.t, b.labels(in.Reference), made)
	looked, err := b.carrier.Lookup(b.t.Context(), booked(in, a))
	switch {
	case !can.Lookup:
		require.ErrorIs(b.t, err, shipping.ErrNoLookup, "it stays in doubt")
	case acted:
		require.NoError(b.t, err)
		require.Equal(b.t, shipping.OutcomeBooked, looked.Outcome)
		b.bookedAtLast(in, looked)
	default:
		require.NoError(b.t, err)
		require.Equal(b.t, shipping.OutcomeNotFound, looked.Outcome)
		if can.LookupFinal {
			require.Positive(b.t, can.LookupAfter)
		}
		// Final, or a person said so.
		b.bookedAtLast(in, looked)
	}
}

// bookedAtLast books with what is known, and demands one label.
func (b *bundle) bookedAtLast(in shipping.Booking, before shipping.Looked) {
	b.t.Helper()
	a, err := b.carrier.Book(b.t.Context(), in, before)
	require.NoError(b.t, err)
	b.issued(in, a)
	require.Len(b.t, b.labels(in.Reference), 1)
}

func (b *bundle) refuses() {
	in := b.booking()
	b.faults(map[string]any{"next": []map[string]any{{
		"op": b.of.Operations.Book, "kind": "refuse", "count": 1, "message": "La dirección Los Carrera de ANA BELEN SOTO FUENTES no es válida",
	}}})
	a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomeRefused, a.Outcome)
	require.NotEmpty(b.t, a.Code)
	require.Contains(b.t, a.Message, "no es válida")
	saysNothingOf(b.t, in, a.Message)
	require.Empty(b.t, b.labels(in.Reference))

	// What the carrier cannot carry, it says itself.
	in.Parcel.WeightGrams = 900_000
	if a, err = b.carrier.Book(b.t.Context(), in, shipping.Untried); err != nil {
		failed(b.t, err, shipping.Invalid)
	} else {
		require.Equal(b.t, shipping.OutcomeRefused, a.Outcome)
	}
	in.Parcel, in.To.Comuna, in.To.Region = box, "Juan Fernández", "VS"
	if a, err = b.carrier.Book(b.t.Context(), in, shipping.Untried); err != nil {
		failed(b.t, err, shipping.Invalid)
	} else {
		require.Equal(b.t, shipping.OutcomeRefused, a.Outcome)
	}
	require.Empty(b.t, b.labels(in.Reference))
}

func (b *bundle) issuesLater() {
	in := b.booking()
	a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomePending, a.Outcome)
	require.Len(b.t, b.labels(in.Reference), 1)
	require.Equal(b.t, shipping.OutcomePending, b.lookup(in, a).Outcome)
	_, err = b.carrier.Label(b.t.Context(), booked(in, a))
	require.Error(b.t, err, "there is no label yet")
	again, err := b.carrier.Book(b.t.Context(), in, b.lookup(in, a))
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomePending, again.Outcome)
	done := b.issued(in, a)
	require.Equal(b.t, a.CarrierID, done.CarrierID)
	require.Len(b.t, b.labels(in.Reference), 1)
}

// booksThroughAnything is a property: whatever goes wrong, call after call, a caller
// who asks after each doubt has one label in the end, or one doubt and at most one.
func (b *bundle) booksThroughAnything() {
	in := b.booking()
	can := b.carrier.Capabilities()
	wrong := []string{"", "cut_before", "cut_during", "cut_after", "error_500", "error_503", "rate_limited", "refuse"}
	rapid.Check(b.t, func(t *rapid.T) {
		in.Reference = reference()
		before, last := shipping.Untried, shipping.Answer{}
		for _, kind := range append(rapid.SliceOfN(rapid.SampledFrom(wrong), 0, 4).Draw(t, "faults"), "") {
			b.faults(map[string]any{})
			if kind != "" {
				b.fault(b.of.Operations.Book, kind)
			}
			a, err := b.carrier.Book(b.t.Context(), in, before)
			labels := len(b.labels(in.Reference))
			require.LessOrEqual(t, labels, 1)
			last = a
			switch {
			case err != nil, a.Outcome == shipping.OutcomeRefused:
				require.Zero(t, labels, "certain that nothing happened")
				before = shipping.Untried
				continue
			case a.Outcome == shipping.OutcomeBooked, a.Outcome == shipping.OutcomePending:
				require.Equal(t, 1, labels)
				before = shipping.Found(a)
				continue
			}
			require.Equal(t, shipping.OutcomeUnknown, a.Outcome)
			b.faults(map[string]any{})
			if before, err = b.carrier.Lookup(b.t.Context(), booked(in, a)); !can.Lookup {
				require.ErrorIs(t, err, shipping.ErrNoLookup)
				return // a person has to look
			}
			require.NoError(t, err)
		}
		require.Contains(t, []shipping.Outcome{shipping.OutcomeBooked, shipping.OutcomePending}, last.Outcome)
		require.Len(t, b.labels(in.Reference), 1)
	})
}

func (b *bundle) booksTenAtOnce() {
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	var bookings []shipping.Booking
	for range 10 {
		bookings = append(bookings, b.booking())
	}
	for _, in := range bookings {
		all.Go(func() {
			a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				seen[a.Tracking+a.CarrierID] = true
			}
		})
	}
	all.Wait()
	require.Len(b.t, seen, 10)
	for _, in := range bookings {
		require.Len(b.t, b.labels(in.Reference), 1)
	}
}

func (b *bundle) looksForNothing() {
	looked, err := b.carrier.Lookup(b.t.Context(), shipping.Booked{Reference: reference(), At: time.Now()})
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomeNotFound, looked.Outcome)
}

func (b *bundle) cannotLook() {
	_, err := b.carrier.Lookup(b.t.Context(), shipping.Booked{Reference: reference(), At: time.Now()})
	require.ErrorIs(b.t, err, shipping.ErrNoLookup)
}

// questionFaults are how a question may go unanswered.
var questionFaults = map[string][]shipping.Reason{
	"cut_before": {shipping.Unavailable}, "cut_during": {shipping.Unavailable}, "error_500": {shipping.Unavailable},
	"error_503": {shipping.Unavailable}, "rate_limited": {shipping.RateLimited},
}

func (b *bundle) lookupFaults() {
	in := b.booking()
	a, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
	require.NoError(b.t, err)
	for kind, reasons := range questionFaults {
		b.faultAlways(b.of.Operations.Lookup, kind)
		_, err := b.carrier.Lookup(b.t.Context(), booked(in, a))
		failed(b.t, err, reasons...)
	}
}

func (b *bundle) reprints() {
	in, a := b.book()
	l, err := b.carrier.Label(b.t.Context(), booked(in, a))
	require.NoError(b.t, err)
	b.is(l, b.carrier.Capabilities().Labels...)
	b.fault(b.of.Operations.Label, "error_500")
	_, err = b.carrier.Label(b.t.Context(), booked(in, a))
	failed(b.t, err, shipping.Unavailable)
	require.Len(b.t, b.labels(in.Reference), 1)
}

func (b *bundle) printsOnce() {
	in, a := b.book()
	_, err := b.carrier.Label(b.t.Context(), booked(in, a))
	require.ErrorIs(b.t, err, shipping.ErrNoReprint)
	require.Len(b.t, b.labels(in.Reference), 1)
}

func (b *bundle) voids() {
	in, a := b.book()
	for _, before := range []shipping.Looked{shipping.Untried, shipping.Found(a)} {
		gone, err := b.carrier.Void(b.t.Context(), booked(in, a), before)
		require.NoError(b.t, err)
		require.Equal(b.t, shipping.OutcomeVoided, gone.Outcome, "however often it is asked: %s", gone.Message)
	}
	require.True(b.t, b.labels(in.Reference)[0].Voided)
	require.Equal(b.t, shipping.OutcomeVoided, b.lookup(in, a).Outcome)
}

func (b *bundle) voidFaults() {
	for _, f := range effectFaults {
		b.t.Run(f.kind, func(t *testing.T) {
			t.Parallel()
			own := setup(t, b.of)
			in, a := own.book()
			own.fault(b.of.Operations.Void, f.kind)
			gone, err := own.carrier.Void(own.patience(f.kind), booked(in, a), shipping.Untried)
			if f.failure != "" {
				failed(t, err, f.failure)
			} else {
				require.NoError(t, err)
				require.Equal(t, shipping.OutcomeUnknown, gone.Outcome)
			}
			require.Equal(t, f.acted, own.labels(in.Reference)[0].Voided)
			gone, err = own.carrier.Void(t.Context(), booked(in, a), own.lookup(in, a))
			require.NoError(t, err)
			require.Equal(t, shipping.OutcomeVoided, gone.Outcome)
			require.True(t, own.labels(in.Reference)[0].Voided)
		})
	}
}

func (b *bundle) voidsTooLate() {
	in, a := b.book()
	b.happens(a.Tracking, "handed_over", nil)
	gone, err := b.carrier.Void(b.t.Context(), booked(in, a), shipping.Untried)
	require.NoError(b.t, err)
	require.Equal(b.t, shipping.OutcomeRefused, gone.Outcome)
	require.NotEmpty(b.t, gone.Code)
	require.False(b.t, b.labels(in.Reference)[0].Voided)
}

func (b *bundle) cannotVoid() {
	in, a := b.book()
	_, err := b.carrier.Void(b.t.Context(), booked(in, a), shipping.Untried)
	require.ErrorIs(b.t, err, shipping.ErrCannotVoid)
}

// journeys are lives of parcels.
var journeys = [][]string{
	{"handed_over", "in_transit", "out_for_delivery", "delivery_failed", "out_for_delivery", "delivered"},
	{"handed_over", "in_transit", "out_for_delivery", "delivery_failed", "returned_to_sender"},
	{"handed_over", "in_transit", "lost"},
}

func (b *bundle) tracks() {
	for _, journey := range journeys {
		_, a := b.book()
		var want []shipping.State
		if !b.of.AnnouncesNothing {
			want = append(want, shipping.Announced)
		}
		b.reads(a.Tracking, want)
		b.pass(time.Minute)
		for _, step := range journey {
			b.happens(a.Tracking, step, nil)
			state, said := b.of.States[step]
			require.True(b.t, said, "the row says nothing of %s", step)
			want = append(want, state)
			b.reads(a.Tracking, want)
		}
	}
}

// reads demands the states of a parcel's events, in the order of time.
func (b *bundle) reads(tracking string, want []shipping.State) {
	b.t.Helper()
	var got []shipping.State
	var last time.Time
	for _, e := range b.track(tracking) {
		got = append(got, e.State)
		require.NotEmpty(b.t, e.Text+e.Code)
		require.False(b.t, e.At.IsZero())
		require.Equal(b.t, time.UTC, e.At.Location())
		require.False(b.t, e.At.Before(last), "the oldest first")
		require.WithinDuration(b.t, time.Now().Add(time.Duration(b.later.Load())), e.At, time.Hour, "Chile's time is not UTC")
		last = e.At
		require.NotContains(b.t, e.Text+e.Where, "PERSONA QUE RECIBE")
	}
	require.Equal(b.t, want, got)
}

func (b *bundle) tracksStrangeWords() {
	_, a := b.book()
	strange := url.Values{"text": {"EN CUSTODIA JUDICIAL"}}
	if b.of.ByCode {
		strange.Set("code", "ZZ9")
	}
	b.happens(a.Tracking, "handed_over", strange)
	events := b.track(a.Tracking)
	last := events[len(events)-1]
	require.Equal(b.t, shipping.Unmapped, last.State)
	require.Equal(b.t, "EN CUSTODIA JUDICIAL", last.Text)
	if b.of.ByCode {
		require.Contains(b.t, last.Code, "ZZ9")
	}
}

func (b *bundle) tracksStrangers() {
	tracks, err := b.carrier.Track(b.t.Context(), []string{"79999999999"})
	require.NoError(b.t, err)
	require.Empty(b.t, tracks)
	tracks, err = b.carrier.Track(b.t.Context(), nil)
	require.NoError(b.t, err)
	require.Empty(b.t, tracks)
}

func (b *bundle) tracksSeveral() {
	_, first := b.book()
	_, second := b.book()
	tracks, err := b.carrier.Track(b.t.Context(), []string{first.Tracking, "79999999999", second.Tracking})
	require.NoError(b.t, err)
	require.Len(b.t, tracks, 2)
	require.Contains(b.t, tracks, first.Tracking)
	require.Contains(b.t, tracks, second.Tracking)
}

func (b *bundle) trackFaults() {
	_, a := b.book()
	for kind, reasons := range questionFaults {
		b.faultAlways(b.of.Operations.Track, kind)
		_, err := b.carrier.Track(b.t.Context(), []string{a.Tracking})
		failed(b.t, err, reasons...)
	}
}

func (b *bundle) outage() {
	// A connection that is kept would be written to after its end, which is a doubt.
	b.server.Config.SetKeepAlivesEnabled(false)
	in, a := b.book()
	for _, settings := range []map[string]any{{"outage": true}, {"outage": true, "outage_mode": "503"}} {
		b.faults(settings)
		_, err := b.carrier.Quote(b.t.Context(), quote())
		failed(b.t, err, shipping.Unavailable)
		_, err = b.carrier.Track(b.t.Context(), []string{a.Tracking})
		failed(b.t, err, shipping.Unavailable)
		_, err = b.carrier.Lookup(b.t.Context(), booked(in, a))
		failed(b.t, err, shipping.Unavailable)
	}
	// Nobody listens at all: certainly nothing was booked. What the adapter keeps of the
	// carrier's places it has by now.
	b.faults(map[string]any{})
	again := b.booking()
	b.server.Close()
	_, err := b.carrier.Book(b.t.Context(), again, shipping.Untried)
	failed(b.t, err, shipping.Unavailable)
}

func (b *bundle) rateLimited() {
	_, a := b.book()
	ask := func(op string, call func() error) {
		b.fault(op, "rate_limited")
		f := failed(b.t, call(), shipping.RateLimited)
		require.Equal(b.t, 7*time.Second, f.RetryAfter)
	}
	ask(b.of.Operations.Quote, func() error { _, err := b.carrier.Quote(b.t.Context(), quote()); return err })
	ask(b.of.Operations.Track, func() error {
		_, err := b.carrier.Track(b.t.Context(), []string{a.Tracking})
		return err
	})
	in := b.booking()
	ask(b.of.Operations.Book, func() error {
		_, err := b.carrier.Book(b.t.Context(), in, shipping.Untried)
		return err
	})
	require.Empty(b.t, b.labels(in.Reference))
}

func (b *bundle) badCredentials() {
	in, a := b.book()
	in.Reference = reference()
	wrong := b.of.NewRefused(b.t, b.sandbox+"/"+string(b.of.Name))
	for name, ask := range map[string]func(context.Context) error{
		"quote": func(ctx context.Context) error { _, err := wrong.Quote(ctx, quote()); return err },
		"track": func(ctx context.Context) error { _, err := wrong.Track(ctx, []string{a.Tracking}); return err },
		"book":  func(ctx context.Context) error { _, err := wrong.Book(ctx, in, shipping.Untried); return err },
	} {
		failed(b.t, ask(b.t.Context()), shipping.Credentials)
		require.Empty(b.t, b.labels(in.Reference), name)
	}
	status, _ := b.send(http.MethodGet, "/healthz", nil)
	require.Equal(b.t, http.StatusOK, status)
}
