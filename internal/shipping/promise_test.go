package shipping_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/order"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

func santiago(t require.TestingT) *time.Location {
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	return zone
}

func TestAtOrder_CountsWorkingDaysWhereTheShopIs(t *testing.T) {
	t.Parallel()
	zone := santiago(t)
	for name, row := range map[string]struct {
		paid           string
		days           int
		promised, risk string
	}{
		"a Monday, to be there on Tuesday":       {"2026-11-30 10:00", 1, "2026-12-01 23:59", "2026-11-30 15:59"},
		"a Friday, over the weekend":             {"2026-11-27 10:00", 1, "2026-11-30 23:59", "2026-11-27 15:59"},
		"a Saturday counts as Monday":            {"2026-11-28 10:00", 1, "2026-12-01 23:59", "2026-11-30 15:59"},
		"a Sunday's last minute too":             {"2026-11-29 23:59", 2, "2026-12-02 23:59", "2026-11-30 15:59"},
		"more than a week":                       {"2026-11-30 10:00", 7, "2026-12-09 23:59", "2026-11-30 15:59"},
		"Monday here is Tuesday in Greenwich":    {"2026-11-30 23:30", 1, "2026-12-01 23:59", "2026-11-30 15:59"},
		"over the end of the year, working days": {"2026-12-31 10:00", 2, "2027-01-04 23:59", "2026-12-31 15:59"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paid, err := time.ParseInLocation("2006-01-02 15:04", row.paid, zone)
			require.NoError(t, err)
			promised, risk, err := shipping.AtOrder(tenant.Defaults("acme"), paid, row.days)
			require.NoError(t, err)
			require.Equal(t, time.UTC, promised.Location())
			require.Equal(t, row.promised, promised.In(zone).Format("2006-01-02 15:04"))
			require.Equal(t, row.risk, risk.In(zone).Format("2006-01-02 15:04"))
		})
	}
	promised, risk, err := shipping.AtOrder(tenant.Defaults("acme"), time.Now(), 0)
	require.NoError(t, err)
	require.Nil(t, promised, "nobody has told the buyer a day")
	require.Nil(t, risk)
}

func TestAtOrder_WhoHandsOverBeforeTheRiskKeepsThePromise(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := santiago(t)
		s := tenant.Defaults("acme")
		s.PromiseMarginHours = 0
		paid := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "paid"), 0)
		days := rapid.IntRange(1, 20).Draw(t, "days")
		promised, risk, err := shipping.AtOrder(s, paid, days)
		require.NoError(t, err)
		require.False(t, risk.Before(paid.Truncate(time.Second)), "there is time when it is paid")
		require.Equal(t, *promised, shipping.PromisedAt(*risk, days, zone))
		require.True(t, shipping.PromisedAt(risk.Add(time.Second), days, zone).After(*promised), "a second later is too late")
	})
}

// promised is a pending shipment of an order whose buyer was told to have it in two
// working days.
func (d *dock) promised(units int) (orderID, shipment string) {
	d.t.Helper()
	orderID, of := d.paid(map[string]int{"SCL-1": units})
	d.Exec(d.t, `UPDATE orders SET email = 'ana@example.cl', shipping = shipping || '{"promised_days": 2}' WHERE id = $1`, orderID)
	d.Exec(d.t, `UPDATE shipments SET promised_at = now() + interval '10 days', risk_at = now() + interval '8 days' WHERE id = $1`, of["SCL-1"])
	return orderID, of["SCL-1"]
}

// near brings the risk of a shipment's promise here, and breaks it when broken.
func (d *dock) near(shipment string, broken bool) {
	d.t.Helper()
	d.Exec(d.t, `UPDATE shipments SET risk_at = now() - interval '1 minute', promised_at = now() + CASE WHEN $2 THEN interval '-1 second' ELSE interval '1 hour' END WHERE id = $1`, shipment, broken)
}

func (d *dock) tellDelayed(shipment string) error {
	ctx := context.Background()
	return d.DB.InTenant(ctx, acme, func(tx pgx.Tx) error {
		shop, err := tenant.Get(ctx, tx, acme)
		if err != nil {
			return err
		}
		return shipping.TellDelayed(ctx, tx, shop, shipment)
	})
}

func (d *dock) delayed(shipment string) []string {
	return shoptest.List[string](d.t, d.Shop, `SELECT data::text FROM notices WHERE kind = 'delayed' AND dedupe = $1`, shipment)
}

// wakes forgets the words to runs, and tells how many there were.
func (d *dock) wakes() int {
	return len(shoptest.List[int64](d.t, d.Shop, `DELETE FROM wakes RETURNING id`))
}

// asked is the case about the promise, nil for none.
func asked(at shipping.Standing) *shipping.Trouble {
	for _, c := range at.Troubles {
		if c.Step == shipping.StepPromise {
			return &c
		}
	}
	return nil
}

func TestPromise_InTheWarehouseAPersonIsAskedBeforeItBreaks(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.promised(2)
	s := d.read(shipment)
	require.False(t, s.AtRisk)
	at := d.stand(shipment)
	require.Empty(t, at.Troubles)
	require.WithinDuration(t, time.Now().Add(8*24*time.Hour), at.WakeAt, time.Minute, "one timer, for the risk")

	d.near(shipment, false)
	d.Exec(t, `UPDATE shipments SET due_at = now() + interval '9 days' WHERE id = $1`, shipment)
	require.True(t, d.read(shipment).AtRisk)
	at = d.stand(shipment)
	require.WithinDuration(t, time.Now().Add(time.Hour), at.WakeAt, time.Minute, "then for the promise")
	c := asked(at)
	require.NotNil(t, c)
	require.Equal(t, "promise_at_risk", c.Reason)
	require.Equal(t, []string{"resolve", "skip"}, c.Verbs)
	require.Contains(t, c.Message, "Waits for a wave in SCL-1")
	require.Contains(t, c.Message, "Let it leave now")
	require.Empty(t, at.Next, "the promise holds: nobody is told")
	require.NoError(t, d.tellDelayed(shipment))
	require.Empty(t, d.delayed(shipment))

	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, byHand)
	require.NotNil(t, asked(d.stand(shipment)), "a label does not bring it there")
	d.Exec(t, `UPDATE shipments SET promised_at = now() + interval '10 days' WHERE id = $1`, shipment)
	d.wakes()
	s = must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	require.False(t, s.AtRisk, "it went on in time")
	require.Positive(t, d.wakes())
	require.Nil(t, asked(d.stand(shipment)))
	require.NotContains(t, d.kinds(orderID), "delayed")
}

func TestPromise_ThatIsBrokenInTheWarehouseTheBuyerIsToldOnce(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.promised(2)
	d.near(shipment, true)
	at := d.stand(shipment)
	require.Equal(t, shipping.NextTell, at.Next)
	require.Equal(t, "promise_broken", asked(at).Reason)

	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := d.tellDelayed(shipment); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.JSONEq(t, `{"shipment_id": "`+shipment+`", "units": [{"sku": "MUG", "quantity": 2}]}`, d.delayed(shipment)[0])
	require.Len(t, d.delayed(shipment), 1)
	require.Contains(t, d.kinds(orderID), "delayed")
	require.NotNil(t, d.read(shipment).DelayedAt)
	at = d.stand(shipment)
	require.Empty(t, at.Next, "once")
	require.Equal(t, "promise_broken", asked(at).Reason, "a person still has to get it there")
	require.True(t, at.WakeAt.IsZero())

	// It leaves and arrives: too late, and nobody is told of that again.
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, byHand)
	require.True(t, must(d, shipping.HandOver, shipment, shipping.Handing{By: ana}).AtRisk)
	require.Empty(t, d.stand(shipment).Next)
	require.False(t, must(d, shipping.Report, shipment, shipping.News{Status: "delivered", By: ana}).AtRisk)
	at = d.stand(shipment)
	require.True(t, at.Over)
	require.Empty(t, at.Troubles)
	require.Len(t, d.delayed(shipment), 1)
}

func TestPromise_OfWhatACarrierHasIsWatchedByItsScans(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.promised(2)
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	d.buy(shipment, orderID)
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	risk := func() time.Duration {
		return time.Duration(shoptest.Value[float64](t, d.Shop, `SELECT extract(epoch FROM promised_at - risk_at)::float8 FROM shipments WHERE id = $1`, shipment)) * time.Second
	}
	require.Greater(t, risk(), 8*time.Hour, "without a scan: on the working day before")
	d.near(shipment, false)
	c := asked(d.stand(shipment))
	require.Equal(t, []string{"resolve", "skip", "retry"}, c.Verbs)
	require.Contains(t, c.Message, "Ask Chilexpress")

	d.wakes()
	d.Exec(t, `UPDATE shipments SET promised_at = now() + interval '10 days' WHERE id = $1`, shipment)
	d.hear(d.parcel("-0"), story(shipping.InTransit)...)
	require.Equal(t, 8*time.Hour, risk(), "after a scan: the margin before it")
	require.Positive(t, d.wakes(), "what a person was asked is over")
	require.Nil(t, asked(d.stand(shipment)))

	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.OutForDelivery)...)
	require.Zero(t, risk(), "the driver has it")
	d.near(shipment, true)
	require.Equal(t, shipping.NextTell, d.stand(shipment).Next)
	require.NoError(t, d.tellDelayed(shipment))
	require.JSONEq(t, `{"shipment_id": "`+shipment+`", "carrier": "Chilexpress", "tracking": ["`+orderID+`-0"], "units": [{"sku": "MUG", "quantity": 2}]}`, d.delayed(shipment)[0])
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.OutForDelivery, shipping.Delivered)...)
	require.Empty(t, d.stand(shipment).Troubles)
}

func TestPromise_OfWhatWaitsAtAPointIsKept(t *testing.T) {
	t.Parallel()
	d := newDock(t, scanned)
	orderID, shipment := d.promised(2)
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(350, 350))
	d.buy(shipment, orderID)
	d.hear(d.parcel("-0"), story(shipping.InTransit, shipping.AtPoint)...)
	d.hear(d.parcel("-1"), story(shipping.InTransit)...)
	d.near(shipment, false)
	require.True(t, d.read(shipment).AtRisk, "one parcel is not there")
	d.wakes()
	d.hear(d.parcel("-1"), story(shipping.InTransit, shipping.AtPoint)...)
	require.Positive(t, d.wakes())
	d.Exec(t, `UPDATE shipments SET promised_at = now() - interval '1 second' WHERE id = $1`, shipment)
	require.False(t, d.read(shipment).AtRisk)
	at := d.stand(shipment)
	require.Empty(t, at.Next)
	require.Empty(t, at.Troubles)
	require.NoError(t, d.tellDelayed(shipment))
	require.Empty(t, d.delayed(shipment))
}

func TestPromise_OfWhatIsHandedOverTooLateIsAtRiskAtOnce(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, shipment := d.promised(2)
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, byHand)
	d.Exec(t, `UPDATE shipments SET promised_at = now() + interval '4 hours', risk_at = now() + interval '1 hour' WHERE id = $1`, shipment)
	require.True(t, must(d, shipping.HandOver, shipment, shipping.Handing{By: ana}).AtRisk)
}

func TestPromise_NobodyIsToldOfAnOrderThatMustNotLeave(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.promised(2)
	d.near(shipment, true)
	d.Do(t, func(tx pgx.Tx) error { return order.Freeze(t.Context(), tx, acme, orderID, "disputed") })
	at := d.stand(shipment)
	require.Empty(t, at.Next)
	require.Nil(t, asked(at))
	require.NoError(t, d.tellDelayed(shipment))
	require.Empty(t, d.delayed(shipment))
	d.wakes()
	d.Do(t, func(tx pgx.Tx) error { return order.Thaw(t.Context(), tx, acme, orderID, "disputed") })
	require.Positive(t, d.wakes(), "its run hears that it may leave")
	require.Equal(t, shipping.NextTell, d.stand(shipment).Next)

	d.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, acme)
		require.NoError(t, err)
		_, err = shipping.CancelOrder(t.Context(), tx, shop, orderID, "", "eva")
		return err
	})
	require.Equal(t, shipping.NextWithdraw, d.stand(shipment).Next)
	require.NoError(t, d.tellDelayed(shipment))
	require.Empty(t, d.delayed(shipment))
}

func TestPromise_WhoIsAskedAboutALateShipmentIsNotAskedTwice(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, shipment := d.promised(2)
	d.near(shipment, false)
	d.Exec(t, `UPDATE shipments SET due_at = now() WHERE id = $1`, shipment)
	at := d.stand(shipment)
	require.Len(t, at.Troubles, 1)
	require.Equal(t, shipping.StepLate, at.Troubles[0].Step)
	require.Contains(t, at.Troubles[0].Message, "It was promised to the buyer for")
}

func TestPromise_APersonKnowsOrAgreesOnAnotherDay(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	orderID, shipment := d.promised(2)
	d.near(shipment, false)
	decide := func(decision shipping.Decision) (result string) {
		decision.Step, decision.By = shipping.StepPromise, "eva"
		d.Do(t, func(tx pgx.Tx) error {
			shop, err := tenant.Get(t.Context(), tx, acme)
			require.NoError(t, err)
			result, err = shipping.Decide(t.Context(), tx, shop, shipment, decision)
			return err
		})
		return result
	}
	require.Contains(t, decide(shipping.Decision{Verb: "skip"}), "known")
	require.True(t, d.read(shipment).AtRisk)
	require.Nil(t, asked(d.stand(shipment)))

	for _, wrong := range []shipping.Decision{{Outcome: "delivered"}, {Outcome: shipping.OutcomeAgreed}, {Outcome: shipping.OutcomeAgreed, Reference: "tomorrow"}, {Outcome: shipping.OutcomeAgreed, Reference: "2026-02-30"}} {
		wrong.Step, wrong.Verb = shipping.StepPromise, "resolve"
		require.Error(t, shipping.CheckDecision(wrong))
	}
	require.Contains(t, decide(shipping.Decision{Verb: "resolve", Outcome: shipping.OutcomeAgreed, Reference: "2020-01-01"}), "is over")
	day := time.Now().In(santiago(t)).AddDate(0, 0, 20).Format(time.DateOnly)
	require.Equal(t, "promised for "+day, decide(shipping.Decision{Verb: "resolve", Outcome: shipping.OutcomeAgreed, Reference: day}))
	s := d.read(shipment)
	require.False(t, s.AtRisk)
	require.Equal(t, day, s.PromisedAt.In(santiago(t)).Format(time.DateOnly))
	require.Contains(t, d.kinds(orderID), "promise_agreed")
	d.near(shipment, true)
	require.NotNil(t, asked(d.stand(shipment)), "the other day is a promise too")
}

func TestPromise_RetryAsksTheCarrierAtOnce(t *testing.T) {
	t.Parallel()
	d := newDock(t, labelsByThemselves)
	orderID, shipment := d.promised(2)
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	d.buy(shipment, orderID)
	must(d, shipping.HandOver, shipment, shipping.Handing{By: ana})
	d.near(shipment, false)
	d.Exec(t, `UPDATE parcels SET track_at = now() + interval '3 hours', quiet = 7`)
	d.decide(shipment, shipping.Decision{Step: shipping.StepPromise, Verb: "retry", By: "eva"})
	require.True(t, shoptest.Value[bool](t, d.Shop, `SELECT track_at <= now() AND quiet = 0 FROM parcels`))
}

func TestIntend_KeepsTheDayThatWasAgreedOnMeanwhile(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	_, shipment := d.promised(2)
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	must(d, shipping.LabelParcels, shipment, shipping.Labelling{By: ana})
	var u shipping.Unbooked
	d.Do(t, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, acme)
		require.NoError(t, err)
		u, err = shipping.ToBook(t.Context(), tx, shop, shipment)
		return err
	})
	// While the carriers are asked for their prices:
	day := time.Now().AddDate(0, 0, 40).Format(time.DateOnly)
	d.decide(shipment, shipping.Decision{Step: shipping.StepPromise, Verb: "resolve", Outcome: shipping.OutcomeAgreed, Reference: day, By: "eva"})
	three := 3
	d.Do(t, func(tx pgx.Tx) error {
		_, ok, err := u.Intend(t.Context(), tx, []shipping.Choice{{Carrier: shipping.Chilexpress, Service: "3", Days: &three}})
		require.True(t, ok)
		return err
	})
	require.Equal(t, day, d.read(shipment).PromisedAt.In(santiago(t)).Format(time.DateOnly))
	require.True(t, shoptest.Value[bool](t, d.Shop, `SELECT risk_at > now() + interval '30 days' FROM shipments`), "the risk is that of the day that was agreed on")
}

func TestIntend_WithoutARateThePromiseIsTheDispatchTimeAndTheCarriersDays(t *testing.T) {
	t.Parallel()
	d := newDock(t, labelsByThemselves)
	_, of := d.paid(map[string]int{"SCL-1": 2})
	shipment := of["SCL-1"]
	require.Nil(t, d.read(shipment).PromisedAt)
	d.pick("SCL-1")
	must(d, shipping.Pack, shipment, packing(700))
	d.wakes()
	intend := func(days *int) {
		d.Do(t, func(tx pgx.Tx) error {
			shop, err := tenant.Get(t.Context(), tx, acme)
			require.NoError(t, err)
			u, err := shipping.ToBook(t.Context(), tx, shop, shipment)
			require.NoError(t, err)
			_, ok, err := u.Intend(t.Context(), tx, []shipping.Choice{{Carrier: shipping.Chilexpress, Service: "3", Days: days}})
			require.True(t, ok)
			return err
		})
	}
	three := 3
	intend(&three)
	s := d.read(shipment)
	require.Equal(t, shipping.PromisedAt(s.CreatedAt.Add(72*time.Hour), 3, santiago(t)), s.PromisedAt.UTC())
	require.Zero(t, d.wakes(), "the step of the run, which reads the shipment next")

	must(d, shipping.Unpack, shipment, shipping.Undoing{By: ana})
	require.Equal(t, s.PromisedAt, d.read(shipment).PromisedAt, "what the buyer may count on stays")
}

func TestPrefer_TakesADayForItsWorkingDays(t *testing.T) {
	t.Parallel()
	two, day := 2, time.Now().In(santiago(t)).AddDate(0, 0, 7).Format(time.DateOnly)
	require.Equal(t, &two, shipping.Rate{Days: &two, DeliverBy: &day}.WorkingDays("America/Santiago"))
	require.Equal(t, 5, *shipping.Rate{DeliverBy: &day}.WorkingDays("America/Santiago"), "a week has five")
	past := "2020-01-01"
	require.Equal(t, 1, *shipping.Rate{DeliverBy: &past}.WorkingDays("America/Santiago"))
	require.Nil(t, shipping.Rate{}.WorkingDays("America/Santiago"))
}
