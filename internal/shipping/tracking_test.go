package shipping_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// labelsByThemselves wants a label as soon as a shipment is packed.
func labelsByThemselves(s *tenant.Settings) { s.Fulfillment.Labels = tenant.Automatic }

// scanned hands over with the carrier's first scan.
func scanned(s *tenant.Settings) {
	labelsByThemselves(s)
	s.Fulfillment.Handover = tenant.Automatic
}

var pace = shipping.Pace{Least: time.Second, Longest: time.Hour}

// carried is a shipment of so many parcels that Chilexpress has given its numbers:
// <order>-0, <order>-1.
func (d *dock) carried(parcels int) (orderID, shipment string) {
	d.t.Helper()
	orderID, of := d.paid(map[string]int{"SCL-1": 2})
	shipment = of["SCL-1"]
	d.pick("SCL-1")
	weights := make([]int, parcels)
	for i := range weights {
		weights[i] = 700 / parcels
	}
	must(d, shipping.Pack, shipment, packing(weights...))
	d.buy(shipment, orderID)
	return orderID, shipment
}

// buy books all parcels of a shipment and labels it.
func (d *dock) buy(shipment, prefix string) {
	d.t.Helper()
	ctx := d.t.Context()
	d.Do(d.t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, acme)
		require.NoError(d.t, err)
		u, err := shipping.ToBook(ctx, tx, shop, shipment)
		require.NoError(d.t, err)
		_, ok, err := u.Intend(ctx, tx, []shipping.Choice{{Carrier: shipping.Chilexpress, Service: "3"}})
		require.NoError(d.t, err)
		require.True(d.t, ok)
		list, err := shipping.Bookings(ctx, tx, acme, shipping.OfShipment(shipment))
		require.NoError(d.t, err)
		n := 0
		for _, k := range list {
			if !k.Live() {
				continue
			}
			begun, err := k.Begin(ctx, tx, acme, false)
			require.NoError(d.t, err)
			require.True(d.t, begun)
			label := shipping.Label{Format: shipping.PDF, Data: []byte("%PDF-1.4")}
			require.NoError(d.t, k.Save(ctx, tx, acme, shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: fmt.Sprintf("%s-%d", prefix, n), Label: &label}, 0))
			n++
		}
		return shipping.Finish(ctx, tx, shop, shipment)
	})
	require.Equal(d.t, shipping.Labelled, d.read(shipment).Status)
}

func (d *dock) read(shipment string) (s shipping.Shipment) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) (err error) {
		s, err = shipping.Get(d.t.Context(), tx, acme, shipment)
		return err
	})
	return s
}

// due are the parcels that a poller would take now, all of them made due.
func (d *dock) due() (out []shipping.Followed) {
	d.t.Helper()
	d.Exec(d.t, `UPDATE parcels SET track_at = now() WHERE track_at IS NOT NULL`)
	require.NoError(d.t, d.DB.AsSystem(d.t.Context(), func(tx pgx.Tx) (err error) {
		out, err = shipping.ClaimFollowed(d.t.Context(), tx, shipping.Chilexpress, 100, time.Minute)
		return err
	}))
	return out
}

// parcel is the one that is due, by the end of its number.
func (d *dock) parcel(number string) shipping.Followed {
	d.t.Helper()
	for _, f := range d.due() {
		if strings.HasSuffix(f.Tracking, number) {
			return f
		}
	}
	require.Fail(d.t, "no parcel is due", number)
	return shipping.Followed{}
}

func (d *dock) hear(f shipping.Followed, events ...shipping.Event) {
	d.t.Helper()
	require.NoError(d.t, d.tryHear(f, events...))
}

func (d *dock) tryHear(f shipping.Followed, events ...shipping.Event) error {
	ctx := context.Background()
	return d.DB.InTenant(ctx, acme, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, acme)
		if err != nil {
			return err
		}
		return f.Heard(ctx, tx, shop, shipping.Track{Number: f.Tracking, Events: events}, pace)
	})
}

// story are a carrier's events, an hour apart.
func story(states ...shipping.State) (out []shipping.Event) {
	for i, s := range states {
		out = append(out, shipping.Event{At: time.Date(2026, 11, 2, 12+i, 0, 0, 0, time.UTC), State: s, Code: fmt.Sprint(i), Text: "word for " + string(s)})
	}
	return out
}

func (d *dock) kinds(orderID string) (kinds []string) {
	d.t.Helper()
	d.Do(d.t, func(tx pgx.Tx) error {
		events, err := timeline.Of(d.t.Context(), tx, acme, orderID)
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		return err
	})
	return kinds
}

func TestHeard_TheSameWordsAgainChangeNothing(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(1)
	f := d.parcel("-0")
	way := story(shipping.Announced, shipping.InTransit, shipping.OutForDelivery)
	d.hear(f, way...)
	first, told := d.read(shipment), d.kinds(orderID)
	require.Equal(t, shipping.Delivering, first.Status)
	// A second worker that had taken the parcel before, and the next poll.
	d.hear(f, way...)
	d.hear(d.parcel("-0"), way...)
	again := d.read(shipment)
	require.Equal(t, first.Version, again.Version)
	require.Equal(t, told, d.kinds(orderID))
	require.Equal(t, 3, shoptest.Value[int](t, d.Shop, `SELECT count(*)::int FROM tracking_events`))
	require.Equal(t, first.Parcels[0].ToldAt, again.Parcels[0].ToldAt, "that is when there was news")
}

func TestHeard_DamageIsToldOnceAlsoToWhoeverComesLate(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(1)
	d.hear(d.parcel("-0"), story(shipping.InTransit)...)
	f := d.parcel("-0")
	d.hear(f, story(shipping.InTransit, shipping.Damaged)...)
	d.hear(f, story(shipping.InTransit, shipping.Damaged)...)
	require.Equal(t, []string{"parcel_damaged"}, d.attention(orderID))
	require.Equal(t, 1, strings.Count(strings.Join(d.kinds(orderID), " "), "parcel_damaged"))
	require.Equal(t, shipping.OnTheWay, d.read(shipment).Status)
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.Damaged, shipping.Delivered)...)
	require.Equal(t, shipping.Arrived, d.read(shipment).Status)
	require.Empty(t, d.due(), "it is over")
}

func TestHeard_UnknownWordsAreKeptAndMoveNothing(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	_, shipment := d.carried(1)
	before := d.read(shipment)
	d.hear(d.parcel("-0"), shipping.Event{Code: "??", Text: "EN PROCESO ESPECIAL"}, shipping.Event{Code: "??", Text: "EN PROCESO ESPECIAL"})
	now := d.read(shipment)
	require.Equal(t, before.Version, now.Version)
	require.Equal(t, shipping.Announced, shipping.State(now.Parcels[0].State))
	require.NotNil(t, now.Parcels[0].ToldAt, "it is news")
	require.Equal(t, 1, shoptest.Value[int](t, d.Shop, `SELECT count(*)::int FROM tracking_events WHERE state = '' AND at IS NULL`))
	// An unknown word after a known one leaves it where it is.
	d.hear(d.parcel("-0"), append(story(shipping.InTransit), shipping.Event{Code: "??", Text: "OTRA COSA"})...)
	require.Equal(t, shipping.OnTheWay, d.read(shipment).Status)
}

func TestHeard_AnAnswerThatComesLateIsCuredByTheNextPoll(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(1)
	slow := d.parcel("-0")
	fast := d.parcel("-0")
	d.hear(fast, story(shipping.InTransit, shipping.Delivered)...)
	d.hear(slow, story(shipping.InTransit)...)
	require.Equal(t, shipping.Arrived, d.read(shipment).Status, "who has it has it")
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.Delivered)...)
	require.Equal(t, shipping.Arrived, d.read(shipment).Status)
	require.Empty(t, d.due())
	require.Equal(t, "delivered", d.status(orderID))
	require.Empty(t, d.attention(orderID))
}

func TestHeard_TwoParcelsOfAShipmentGoTogether(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(2)
	tell := func(number string, states ...shipping.State) string {
		d.hear(d.parcel(number), story(states...)...)
		return d.read(shipment).Status
	}
	require.Equal(t, shipping.OnTheWay, tell("-0", shipping.InTransit), "one of them was scanned: the carrier was there")
	require.Equal(t, shipping.OnTheWay, tell("-0", shipping.InTransit, shipping.OutForDelivery, shipping.Delivered))
	require.Equal(t, shipping.OnTheWay, tell("-1", shipping.InTransit))
	require.Equal(t, shipping.Delivering, tell("-1", shipping.InTransit, shipping.OutForDelivery))
	require.Equal(t, shipping.NotDelivered, tell("-1", shipping.InTransit, shipping.OutForDelivery, shipping.DeliveryFailed))
	require.Equal(t, []string{"delivery_failed"}, d.attention(orderID))
	require.Equal(t, shipping.Arrived, tell("-1", shipping.InTransit, shipping.OutForDelivery, shipping.DeliveryFailed, shipping.Delivered))
	require.Empty(t, d.attention(orderID))
	require.Equal(t, []int{8, 0}, d.level("SCL-1"))
	d.CheckBooks(t)
}

func TestHeard_TwoParcelsAtOnceTakeTurns(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	_, shipment := d.carried(2)
	list := d.due()
	require.Len(t, list, 2)
	errs := make([]error, 8)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { errs[i] = d.tryHear(list[i%2], story(shipping.InTransit, shipping.Delivered)...) })
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, shipping.Arrived, d.read(shipment).Status)
	require.Equal(t, []int{8, 0}, d.level("SCL-1"), "it left once")
	d.CheckBooks(t)
}

func TestHeard_TheFirstScanHandsOverWhereTheShopLeavesItToTheCarrier(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(1)
	d.hear(d.parcel("-0"), story(shipping.Announced)...)
	require.Equal(t, shipping.Labelled, d.read(shipment).Status)
	d.hear(d.parcel("-0"), story(shipping.Announced, shipping.InTransit)...)
	s := d.read(shipment)
	require.Equal(t, shipping.OnTheWay, s.Status)
	require.NotNil(t, s.HandedOverAt)
	require.Equal(t, []int{8, 0}, d.level("SCL-1"))
	require.Equal(t, "shipped", d.status(orderID))
	require.Empty(t, d.attention(orderID))
	d.CheckBooks(t)
}

func TestHeard_AScanThatNobodyHandedOverAsksForAPersonAndIsHeardAgain(t *testing.T) {
	t.Parallel()
	byHand := func(s *tenant.Settings) {
		labelsByThemselves(s)
		s.Fulfillment.Handover = tenant.ByHand
	}
	for name, frozen := range map[string]bool{"by hand": false, "frozen": true} {
		for _, last := range []shipping.State{shipping.InTransit, shipping.Delivered, shipping.Returned} {
			t.Run(name+" "+string(last), func(t *testing.T) {
				t.Parallel()
				d := newDock(t, byHand)
				orderID, shipment := d.carried(1)
				if frozen {
					d.Change(t, scanned)
					d.Exec(t, `UPDATE shipments SET frozen_reason = 'disputed'`)
				}
				d.hear(d.parcel("-0"), story(shipping.InTransit, last)...)
				require.Equal(t, shipping.Labelled, d.read(shipment).Status)
				require.Equal(t, []string{"left_without_handover"}, d.attention(orderID))
				require.Equal(t, []int{10, 2}, d.level("SCL-1"))
				d.Exec(t, `UPDATE shipments SET frozen_reason = NULL`)
				must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
				d.hear(d.parcel("-0"), story(shipping.InTransit, last)...)
				require.Equal(t, map[shipping.State]string{shipping.InTransit: shipping.OnTheWay, shipping.Delivered: shipping.Arrived, shipping.Returned: shipping.ReturnedToShop}[last], d.read(shipment).Status)
				d.CheckBooks(t)
			})
		}
	}
}

func TestHeard_WhatIsLostCanBeFound(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(1)
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.Lost)...)
	s := d.read(shipment)
	require.Equal(t, shipping.Missing, s.Status)
	require.Nil(t, s.DueAt)
	require.Equal(t, []string{"parcel_lost"}, d.attention(orderID))
	d.Exec(t, `UPDATE shipments SET settled = 'closed'`)
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.Lost, shipping.OutForDelivery)...)
	s = d.read(shipment)
	require.Equal(t, shipping.Delivering, s.Status)
	require.Empty(t, s.Settled, "it is open again")
	require.NotNil(t, s.DueAt)
	require.Empty(t, d.attention(orderID))
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.Lost, shipping.OutForDelivery, shipping.Delivered)...)
	require.Equal(t, "delivered", d.status(orderID))
}

func TestHeard_WordsOfAParcelThatWasUnpackedMoveNobody(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.carried(1)
	old := d.parcel("-0")
	must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana})
	must(d, shipping.Pack, shipment, packing(700))
	d.buy(shipment, "NEW")
	d.hear(old, story(shipping.InTransit, shipping.Damaged)...)
	require.Equal(t, shipping.Labelled, d.read(shipment).Status)
	require.Empty(t, d.attention(orderID))
	require.Len(t, d.due(), 1)
}

func TestClaimFollowed_NoTwoTakeTheSame(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	d.carried(10)
	d.Exec(t, `UPDATE parcels SET track_at = now() WHERE track_at IS NOT NULL`)
	var mu sync.Mutex
	var wait sync.WaitGroup
	taken := map[string]int{}
	var failed []error
	for range 4 {
		wait.Go(func() {
			var list []shipping.Followed
			err := d.DB.AsSystem(context.Background(), func(tx pgx.Tx) (err error) {
				list, err = shipping.ClaimFollowed(context.Background(), tx, shipping.Chilexpress, 3, time.Minute)
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
			}
			for _, f := range list {
				taken[f.ParcelID]++
			}
		})
	}
	wait.Wait()
	require.Empty(t, failed)
	for parcel, times := range taken {
		require.Equal(t, 1, times, parcel)
	}
	left := 10 - len(taken)
	require.NoError(t, d.DB.AsSystem(t.Context(), func(tx pgx.Tx) error {
		rest, err := shipping.ClaimFollowed(t.Context(), tx, shipping.Chilexpress, 100, time.Minute)
		require.Len(t, rest, left)
		return err
	}))
}

func TestPace_WaitsLongerTheLongerNothingIsNewAndNeverTooLong(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := shipping.Pace{Least: time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "least"))}
		p.Longest = p.Least + time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "more"))
		state := rapid.SampledFrom([]shipping.State{shipping.Unmapped, shipping.Announced, shipping.InTransit, shipping.OutForDelivery, shipping.DeliveryFailed, shipping.AtPoint, shipping.Returning, shipping.Lost, shipping.Damaged}).Draw(t, "state")
		quiet := rapid.IntRange(0, 1_000_000).Draw(t, "quiet")
		wait, more := p.After(state, quiet), p.After(state, quiet+1)
		require.GreaterOrEqual(t, more, wait)
		require.GreaterOrEqual(t, wait, p.Least)
		require.LessOrEqual(t, more, p.Longest)
		for _, over := range []shipping.State{shipping.Delivered, shipping.Returned, shipping.Voided} {
			require.Zero(t, p.After(over, quiet), "nothing more is to come")
		}
	})
}
