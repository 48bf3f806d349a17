package returns_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
)

// carried is a home whose shop has a carrier, and whose buyer an address.
func carried(t *testing.T, policy ...func(*returns.Policy)) *home {
	t.Helper()
	h := newHome(t, policy...)
	h.Exec(t, `INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1, 'starken', 'k', '')`, acme)
	h.Exec(t, `UPDATE warehouses SET comuna = 'Renca', street = 'Av. Uno', number = '1'`)
	h.Exec(t, `UPDATE orders SET shipping = shipping || '{"street":"Los Robles","number":"22","comuna":"Ñuñoa","region":"RM"}'`)
	return h
}

func (h *home) ask(r returns.Return, in returns.LabelAsked) (returns.Return, error) {
	h.t.Helper()
	if in.By == "" {
		in.By = support
	}
	return do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.AskLabel(ctx, tx, h.shop, r.ID, in)
	})
}

// books is the carrier's part: it takes every parcel, each for a price.
func (h *home) books(r returns.Return, price int64) returns.Return {
	h.t.Helper()
	h.intends(r)
	h.Do(h.t, func(tx pgx.Tx) error {
		ctx := h.t.Context()
		list, err := shipping.Bookings(ctx, tx, acme, shipping.OfReturn(r.ID))
		require.NoError(h.t, err)
		for _, k := range list {
			if !k.Live() || k.Status == shipping.BookedNow {
				continue
			}
			begun, err := k.Begin(ctx, tx, acme, false)
			require.NoError(h.t, err)
			require.True(h.t, begun)
			answer := shipping.Answer{Outcome: shipping.OutcomeBooked, Tracking: "S" + k.Reference, Price: price, Label: &shipping.Label{Format: shipping.PDF, Data: []byte("%PDF-1.4")}}
			require.NoError(h.t, k.Save(ctx, tx, acme, answer, 0))
		}
		return returns.FinishLabel(ctx, tx, h.shop, r.ID)
	})
	return h.read(r)
}

// intends writes down that Starken, which asks for 2,000, will carry it.
func (h *home) intends(r returns.Return) {
	h.t.Helper()
	h.Do(h.t, func(tx pgx.Tx) error {
		u, err := returns.ToBook(h.t.Context(), tx, h.shop, r.ID)
		require.NoError(h.t, err)
		_, ok, err := u.Intend(h.t.Context(), tx, []shipping.Choice{{Carrier: shipping.Starken, Service: "0", Price: 2_000}})
		require.True(h.t, ok)
		return err
	})
}

// says is the carrier's word about the first parcel.
func (h *home) says(r returns.Return, state shipping.State) returns.Return {
	h.t.Helper()
	r = h.read(r)
	require.NotEmpty(h.t, r.Parcels)
	h.Do(h.t, func(tx pgx.Tx) error {
		p := r.Parcels[0]
		f := shipping.Followed{Tenant: acme, ParcelID: p.ID, ReturnID: r.ID, Carrier: shipping.Starken, Tracking: p.Tracking, State: p.State}
		return returns.Heard(h.t.Context(), tx, h.shop, f, shipping.Track{Number: p.Tracking, Events: []shipping.Event{{At: time.Now(), State: state, Code: string(state)}}}, shipping.Pace{Least: time.Minute, Longest: time.Hour})
	})
	return h.read(r)
}

func (h *home) voids() []string {
	h.t.Helper()
	return shoptest.List[string](h.t, h.Shop, `SELECT status || ' ' || (void_at IS NOT NULL)::text FROM bookings WHERE return_id IS NOT NULL ORDER BY id`)
}

func TestLabel_TheBuyerWhoPaysTheWayHasItsPriceKeptBack(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 3}, "changed_mind")))
	require.Equal(t, returns.Approved, r.Status)
	require.Nil(t, r.Label, "the buyer has not asked for one")
	require.Equal(t, returns.Buyer, r.FreightBy)

	r = h.must(h.ask(r, returns.LabelAsked{Shopper: true, By: shopper}))
	require.Equal(t, returns.NextChoose, h.stand(r).Next)
	require.Len(t, r.Parcels, 1)
	again := h.must(h.ask(r, returns.LabelAsked{Shopper: true, By: shopper}))
	require.Equal(t, r.Version, again.Version, "the same wish")
	r = h.books(r, 2_345)
	require.Equal(t, returns.LabelIssued, r.Status)
	require.Equal(t, shipping.Starken, r.Label.Carrier)
	require.EqualValues(t, 2_345, *r.Label.Price)
	require.EqualValues(t, 2_345, r.Label.Fee)
	require.NotEmpty(t, r.Label.Path)
	require.Contains(t, h.notices(), "return_label")
	require.Nil(t, r.ForBuyers().Label.Price)
	_, err := h.ask(r, returns.LabelAsked{})
	require.Equal(t, returns.CodeHasLabel, h.code(err))

	r = h.says(r, shipping.InTransit)
	require.Equal(t, returns.InTransit, r.Status)
	require.Nil(t, r.ExpiresAt)
	r = h.says(r, shipping.Delivered)
	require.NotNil(t, r.ArrivedAt)
	require.Contains(t, h.stand(r).WaitsFor, "somebody opens it")

	r = h.must(h.receive(r, arrived(h, "A", 3)))
	r = h.must(h.inspect(r, false, restock(h, "A", 3)))
	paid := r.Units[0].Paid + r.Units[1].Paid + r.Units[2].Paid
	require.Equal(t, returns.NextPay, h.stand(r).Next)
	require.NoError(t, h.pay(r))
	require.NoError(t, h.pay(r), "done again it is nothing")
	require.Equal(t, []int64{paid - 2_345}, h.refunds())
	h.gone("succeeded")
	require.Equal(t, returns.NextSettle, h.stand(r).Next)
	require.Equal(t, returns.Closed, h.settle(r).Status)
	require.True(t, h.stand(r).Over)
	require.Equal(t, []string{"booked false"}, h.voids())

	report := h.report()
	require.Equal(t, []returns.Labels{{Carrier: "starken", Labels: 1, Price: 2_345, Priced: 1, Charged: 2_345}}, report.Labels)
	require.Equal(t, []any{"label", "starken", "CLP", "", "", "", "", "", 1, int64(2_345), int64(2_345)}, report.Sheet()[len(report.Sheet())-1])
}

// report is the report of the last hour.
func (h *home) report() (out returns.Report) {
	h.t.Helper()
	h.Do(h.t, func(tx pgx.Tx) (err error) {
		out, err = returns.Summarize(h.t.Context(), tx, acme, h.Now(h.t).Add(-time.Hour), h.Now(h.t).Add(time.Hour))
		return err
	})
	return out
}

func TestLabel_ThatLapsedCostsTheShopOnceAndTheBuyerNothing(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	r = h.books(h.must(h.ask(r, returns.LabelAsked{})), 2_345)
	h.Do(t, func(tx pgx.Tx) (err error) {
		r, err = returns.CancelLabel(t.Context(), tx, h.shop, r.ID, returns.Decision{By: "vale"})
		return err
	})
	h.Exec(t, `UPDATE bookings SET next_at = NULL, tries = 3 WHERE void_at IS NOT NULL`)
	require.Equal(t, "it lapses unused", h.rule(r, returns.StepVoid, "skip", ""))
	r = h.books(h.must(h.ask(r, returns.LabelAsked{})), 1_200)
	require.EqualValues(t, 1_200, r.Label.Fee)
	require.Equal(t, []returns.Labels{{Carrier: "starken", Labels: 2, Price: 3_545, Priced: 2, Charged: 1_200}}, h.report().Labels)
}

func TestLabel_WhoPaysIsARule(t *testing.T) {
	t.Parallel()
	flat := int64(1_990)
	h := carried(t, func(p *returns.Policy) { p.LabelFee = &flat })
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	r = h.books(h.must(h.ask(r, returns.LabelAsked{})), 2_345)
	require.EqualValues(t, 1_990, r.Label.Fee)

	faulty := h.must(h.open(asked(h, map[string]int{"A": 1}, "defective")))
	require.NotNil(t, faulty.Label, "bought with the approval")
	require.Equal(t, "rules", faulty.Label.WantedBy)
	faulty = h.books(faulty, 2_345)
	require.Zero(t, faulty.Label.Fee)
	require.EqualValues(t, 2_345, *faulty.Label.Price)

	// Of a carrier that does not say what it takes, what it had offered counts.
	flatless := carried(t)
	r = flatless.must(flatless.open(asked(flatless, map[string]int{"A": 1}, "changed_mind")))
	r = flatless.must(flatless.ask(r, returns.LabelAsked{Parcels: []shipping.ParcelInput{{WeightGrams: 300}, {WeightGrams: 200}}}))
	r = flatless.books(r, 0)
	require.EqualValues(t, 4_000, r.Label.Fee)
	require.Len(t, r.Parcels, 2)
}

func TestLabel_WhereNoneCanBeBought(t *testing.T) {
	t.Parallel()
	h := carried(t, func(p *returns.Policy) { p.Reasons[0].Label = returns.LabelNever })
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	_, err := h.ask(r, returns.LabelAsked{Shopper: true})
	require.Equal(t, returns.CodeNoLabel, h.code(err))
	_, err = h.ask(r, returns.LabelAsked{Carrier: shipping.Correos})
	require.Equal(t, returns.CodeNoCarriers, h.code(err), "it is not set up")
	_, err = h.ask(r, returns.LabelAsked{Carrier: shipping.Manual})
	require.Error(t, err)
	_, err = h.ask(r, returns.LabelAsked{Service: "x"})
	require.Error(t, err)
	_, err = h.ask(r, returns.LabelAsked{Parcels: []shipping.ParcelInput{{WeightGrams: 0}}})
	require.Error(t, err)

	h.Exec(t, `UPDATE orders SET shipping = '{"service":"pickup"}'`)
	_, err = h.ask(r, returns.LabelAsked{})
	require.Equal(t, returns.CodeNoAddress, h.code(err))
	h.Exec(t, `DELETE FROM provider_credentials`)
	_, err = h.ask(r, returns.LabelAsked{})
	require.Equal(t, returns.CodeNoCarriers, h.code(err))
	faulty := h.must(h.open(asked(h, map[string]int{"B": 1}, "defective")))
	require.Equal(t, returns.Approved, faulty.Status)
	require.Nil(t, faulty.Label, "the buyer sends it as they like")
	require.Equal(t, returns.NextRemind, h.stand(faulty).Next)
}

func TestLabel_ThatIsNeverUsedIsCancelledWhenTheReturnExpires(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.books(h.must(h.open(asked(h, map[string]int{"A": 1}, "defective"))), 2_345)
	require.Equal(t, returns.LabelIssued, r.Status)
	h.Exec(t, `UPDATE returns SET expires_at = now() - interval '1 second', reminded = 2`)
	require.Equal(t, returns.NextExpire, h.stand(r).Next)
	h.Do(t, func(tx pgx.Tx) error { return returns.Expire(t.Context(), tx, h.shop, r.ID) })
	at := h.stand(r)
	require.Equal(t, returns.Expired, at.Status)
	require.Equal(t, returns.NextVoid, at.Next, "a label that nobody uses costs money")
	require.Equal(t, shipping.Starken, at.Carrier)
	require.False(t, at.Over)
	require.Equal(t, []string{"booked true"}, h.voids())

	// The carrier neither cancels it nor says why: a person does.
	h.Exec(t, `UPDATE bookings SET next_at = NULL, tries = 3`)
	at = h.stand(r)
	require.Len(t, at.Troubles, 1)
	require.Equal(t, "label_not_voided", at.Troubles[0].Reason)
	require.Equal(t, "it lapses unused", h.rule(r, returns.StepVoid, "skip", ""))
	require.True(t, h.stand(r).Over)
	// And it comes after all.
	r = h.must(h.receive(r, arrived(h, "A", 1)))
	require.Equal(t, returns.Received, r.Status)
}

func TestLabel_OfGoodsThatCameOtherwiseCostsTheBuyerNothing(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	r = h.books(h.must(h.ask(r, returns.LabelAsked{})), 2_345)
	r = h.must(h.receive(r, arrived(h, "A", 1)))
	r = h.must(h.inspect(r, false, restock(h, "A", 1)))
	at := h.stand(r)
	require.Equal(t, returns.NextScan, at.Next, "has the carrier had it?")
	require.Equal(t, shipping.Starken, at.Carrier)
	require.Len(t, r.Unscanned(), 1)
	h.Do(t, func(tx pgx.Tx) error { return returns.CheckedLabel(t.Context(), tx, acme, r.ID) })
	r = h.read(r)
	require.Nil(t, r.Label)
	require.Equal(t, []string{"booked true"}, h.voids())
	require.NoError(t, h.pay(r))
	require.Equal(t, []int64{r.Units[0].Paid}, h.refunds())

	// Had it been with the carrier, it would have stayed.
	used := h.must(h.open(asked(h, map[string]int{"A": 1}, "changed_mind")))
	used = h.books(h.must(h.ask(used, returns.LabelAsked{})), 2_345)
	used = h.must(h.receive(used, arrived(h, "A", 1)))
	used = h.must(h.inspect(used, false, restock(h, "A", 1)))
	used = h.says(used, shipping.Delivered)
	require.Equal(t, returns.Inspected, used.Status)
	h.Do(t, func(tx pgx.Tx) error { return returns.CheckedLabel(t.Context(), tx, acme, used.ID) })
	require.EqualValues(t, 2_345, h.read(used).Label.Fee)
	require.Equal(t, returns.NextPay, h.stand(used).Next)
}

func TestLabel_CancelledLeavesRoomForAnother(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.books(h.must(h.open(asked(h, map[string]int{"A": 1}, "defective"))), 2_345)
	cancel := func() (returns.Return, error) {
		return do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
			return returns.CancelLabel(ctx, tx, h.shop, r.ID, returns.Decision{By: support})
		})
	}
	r = h.must(cancel())
	require.Equal(t, returns.Approved, r.Status)
	require.Nil(t, r.Label)
	require.Empty(t, r.Tracking)
	require.Equal(t, returns.NextVoid, h.stand(r).Next)
	h.must(cancel())

	r = h.books(h.must(h.ask(r, returns.LabelAsked{})), 2_345)
	require.Equal(t, returns.LabelIssued, r.Status)
	require.Equal(t, []string{"booked true", "booked false"}, h.voids())
	r = h.says(r, shipping.InTransit)
	_, err := cancel()
	require.Equal(t, returns.CodeWrongStatus, h.code(err))

	// Given up as a whole, what is unused of it goes too.
	other := h.books(h.must(h.open(asked(h, map[string]int{"B": 1}, "defective"))), 2_345)
	other = h.must(do(h, func(ctx context.Context, tx pgx.Tx) (returns.Return, error) {
		return returns.Cancel(ctx, tx, h.shop, other.ID, returns.Decision{By: shopper})
	}))
	require.Equal(t, returns.Cancelled, other.Status)
	require.Nil(t, other.Label)
	require.False(t, h.stand(other).Over, "its label is cancelled first")
	require.Equal(t, "the carrier is asked again", h.rule(r, returns.StepVoid, "retry", ""))
}

func TestLabel_ThatNobodyMakesWaitsForAPerson(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.must(h.open(asked(h, map[string]int{"A": 1}, "defective")))
	h.Do(t, func(tx pgx.Tx) error {
		u, err := returns.ToBook(t.Context(), tx, h.shop, r.ID)
		require.NoError(t, err)
		require.Equal(t, "Los Robles", u.From.Street)
		require.Equal(t, "Renca", u.To.Comuna)
		require.Equal(t, shipping.ToDoor, u.Method)
		return u.Subject.NotBooked(t.Context(), tx, "Nobody carries it yet: Starken does not answer.", 10*time.Minute)
	})
	at := h.stand(r)
	require.Len(t, at.Troubles, 1)
	require.Equal(t, "no_return_label", at.Troubles[0].Reason)
	require.Equal(t, returns.NextChoose, at.Next)
	require.False(t, at.NextAt.IsZero(), "it is tried again by itself")
	require.Equal(t, "all carriers are asked again", h.rule(r, returns.StepLabel, "retry", ""))
	at = h.stand(r)
	require.Empty(t, at.Troubles)
	require.True(t, at.NextAt.IsZero())

	// Whether it was bought is not known: a person looks in the carrier's panel.
	h.intends(r)
	h.Exec(t, `UPDATE bookings SET status = 'unknown', tried_at = now(), tries = 1, next_at = NULL`)
	require.Equal(t, "booking_unknown", h.stand(r).Troubles[0].Reason)
	require.Equal(t, "not made: the parcel is booked anew", h.ruleAs(r, returns.StepBooking, "resolve", "not_made", ""))
	require.Equal(t, returns.NextChoose, h.stand(r).Next)
	require.Equal(t, "no label is bought: the buyer sends it as they like", h.rule(r, returns.StepLabel, "cancel", ""))
	r = h.read(r)
	require.Nil(t, r.Label)
	require.Equal(t, returns.Approved, r.Status)
	require.Equal(t, returns.NextRemind, h.stand(r).Next)
}

func TestLabel_OfAParcelThatTheCarrierLostTheBuyerHasTheMoney(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.books(h.must(h.open(asked(h, map[string]int{"A": 2}, "defective"))), 2_345)
	h.says(r, shipping.InTransit)
	r = h.says(r, shipping.Lost)
	require.Equal(t, returns.InTransit, r.Status)
	at := h.stand(r)
	require.Len(t, at.Troubles, 1)
	require.Equal(t, "return_lost", at.Troubles[0].Reason)
	require.Equal(t, "the carrier has lost them: the buyer gets the money", h.ruleAs(r, returns.StepGoods, "resolve", "lost", ""))
	r = h.read(r)
	require.Equal(t, returns.Inspected, r.Status)
	require.Equal(t, returns.Lost, r.Units[0].Came)
	require.NoError(t, h.pay(r))
	require.Equal(t, []int64{r.Units[0].Paid + r.Units[1].Paid}, h.refunds())
	h.gone("succeeded")
	require.Equal(t, returns.Closed, h.settle(r).Status)
	_, err := h.open(asked(h, map[string]int{"A": 2}, "defective"))
	require.Equal(t, returns.CodeNotEligible, h.code(err), "a lost unit does not come back again")

	back := h.books(h.must(h.open(asked(h, map[string]int{"B": 1}, "defective"))), 2_345)
	h.says(back, shipping.InTransit)
	back = h.says(back, shipping.Returned)
	require.Equal(t, "return_went_back", h.stand(back).Troubles[0].Reason)
}

func TestPublicLabel_IsForItsKeyAloneWhileTheParcelIsAtHome(t *testing.T) {
	t.Parallel()
	h := carried(t)
	r := h.books(h.must(h.open(asked(h, map[string]int{"A": 1}, "defective"))), 2_345)
	key := shoptest.Value[string](t, h.Shop, `SELECT label_key::text FROM returns`)
	open := func(key string) (string, error) {
		return do(h, func(ctx context.Context, tx pgx.Tx) (string, error) { return returns.PublicLabel(ctx, tx, acme, key) })
	}
	found, err := open(key)
	require.NoError(t, err)
	require.Equal(t, r.ID, found)
	_, err = open("00000000-0000-0000-0000-000000000000")
	require.Error(t, err)
	h.says(r, shipping.InTransit)
	_, err = open(key)
	require.Error(t, err)
}
