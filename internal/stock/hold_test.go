package stock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/id"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/stock"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func request(wants ...stock.Want) stock.Request {
	return stock.Request{HoldID: id.New(), Channel: "web", Buyer: "ana@example.cl", Wants: wants, Seconds: 900, Warehouses: shoptest.Warehouses}
}

func place(t *testing.T, s *shoptest.Shop, r stock.Request) (p stock.Placement) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		p, err = stock.Place(t.Context(), tx, shoptest.Tenant, r)
		return err
	})
	return p
}

// held places a hold that must succeed and returns its id.
func held(t *testing.T, s *shoptest.Shop, sku string, units int, change ...func(*stock.Request)) string {
	t.Helper()
	r := request(stock.Want{SKU: sku, Quantity: units})
	for _, c := range change {
		c(&r)
	}
	p := place(t, s, r)
	require.Empty(t, p.Shortages)
	require.NotEmpty(t, p.Lines)
	return r.HoldID
}

func state(t *testing.T, s *shoptest.Shop, holdID string) (h stock.State) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		h, err = stock.Get(t.Context(), tx, shoptest.Tenant, holdID)
		return err
	})
	return h
}

func level(t *testing.T, s *shoptest.Shop, sku, warehouse string) (l stock.Level) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) error {
		list, err := stock.Levels(t.Context(), tx, shoptest.Tenant, sku)
		require.NoError(t, err)
		i := slices.IndexFunc(list, func(l stock.Level) bool { return l.Warehouse == warehouse })
		require.GreaterOrEqual(t, i, 0)
		l = list[i]
		return nil
	})
	return l
}

type ending func(context.Context, pgx.Tx, string, string) (bool, error)

func do(t *testing.T, s *shoptest.Shop, fn ending, holdID string) (ok bool) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		ok, err = fn(t.Context(), tx, shoptest.Tenant, holdID)
		return err
	})
	return ok
}

func confirm(ctx context.Context, tx pgx.Tx, tenant, holdID string) (bool, error) {
	return stock.Confirm(ctx, tx, tenant, holdID, holdID)
}

func confirmed(t *testing.T, s *shoptest.Shop, sku string, units int) string {
	t.Helper()
	holdID := held(t, s, sku, units)
	require.True(t, do(t, s, confirm, holdID))
	return holdID
}

func TestPlace_SellsTheLastUnitOnceToFiftyBuyers(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "LAST", 9990, 0, 1, 0)
	var sold, refused atomic.Int64
	var g errgroup.Group
	for range 50 {
		g.Go(func() error {
			return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				p, err := stock.Place(t.Context(), tx, shoptest.Tenant, request(stock.Want{SKU: "LAST", Quantity: 1}))
				if len(p.Lines) > 0 {
					sold.Add(1)
				}
				if len(p.Shortages) > 0 {
					refused.Add(1)
				}
				return err
			})
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, sold.Load())
	require.EqualValues(t, 49, refused.Load())
	s.CheckBooks(t)
}

// Twenty units of each SKU lie in three warehouses; two hundred buyers want one
// of each and name them in opposite order.
func TestPlace_HoldsExactlyTwentyForTwoHundredBuyersOfTwentyUnits(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 7, 7, 6)
	s.Product(t, "B", 1000, 6, 7, 7)
	// A deadlock that is tried again is one too many: locks are taken in one order.
	deadlocks := func() int {
		return shoptest.Value[int](t, s, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`)
	}
	var sold, refused atomic.Int64
	var g errgroup.Group
	for i := range 200 {
		g.Go(func() error {
			wants := []stock.Want{{SKU: "A", Quantity: 1}, {SKU: "B", Quantity: 1}}
			order := slices.Clone(shoptest.Warehouses)
			if i%2 == 1 {
				slices.Reverse(wants)
				slices.Reverse(order)
			}
			r := request(wants...)
			r.Warehouses, r.Balanced = order, i%3 == 0
			var p stock.Placement
			runs := 0
			err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
				runs++
				p, err = stock.Place(t.Context(), tx, shoptest.Tenant, r)
				return err
			})
			switch {
			case err != nil:
				return err
			case runs > 1:
				return errors.New("a buyer ran into a deadlock")
			case len(p.Shortages) > 0:
				refused.Add(1)
				for _, short := range p.Shortages {
					if short.Available != 0 || short.Requested != 1 {
						return fmt.Errorf("refused while units were left: %+v", short)
					}
				}
			default:
				sold.Add(1)
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 20, sold.Load())
	require.EqualValues(t, 180, refused.Load())
	require.Zero(t, deadlocks())
	require.Equal(t, 40, shoptest.Value[int](t, s, `SELECT sum(quantity) FROM hold_lines`))
	require.Equal(t, 20, shoptest.Value[int](t, s, `SELECT count(*) FROM holds`))
	require.Equal(t, 20, shoptest.Value[int](t, s, `SELECT sum(reserved) FROM stock_levels WHERE sku = 'A'`))
	require.Equal(t, 20, shoptest.Value[int](t, s, `SELECT sum(reserved) FROM stock_levels WHERE sku = 'B'`))
	s.CheckBooks(t)
}

func TestPlace_RepeatedSKUsAreOneWant(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 3)
	p := place(t, s, request(stock.Want{SKU: "A", Quantity: 2}, stock.Want{SKU: "A", Quantity: 2}))
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 4, Available: 3}}, p.Shortages)
	require.Empty(t, p.Lines)
	p = place(t, s, request(stock.Want{SKU: "A", Quantity: 2}, stock.Want{SKU: "A", Quantity: 1}))
	require.Equal(t, []stock.Line{{SKU: "A", Warehouse: "SCL-1", Quantity: 3}}, p.Lines)
	s.CheckBooks(t)
}

func TestPlace_SplitsOverWarehouses(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 2, 3, 4)
	p := place(t, s, request(stock.Want{SKU: "A", Quantity: 5}))
	require.Equal(t, []stock.Line{{SKU: "A", Warehouse: "CCP-1", Quantity: 3}, {SKU: "A", Warehouse: "SCL-1", Quantity: 2}}, p.Lines)
	p = place(t, s, request(stock.Want{SKU: "A", Quantity: 5}))
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 5, Available: 4}}, p.Shortages)

	s.Product(t, "B", 1000, 2, 3, 4)
	p = place(t, s, request(stock.Want{SKU: "B", Quantity: 9}))
	require.Equal(t, []stock.Line{{SKU: "B", Warehouse: "ANF-1", Quantity: 4}, {SKU: "B", Warehouse: "CCP-1", Quantity: 3}, {SKU: "B", Warehouse: "SCL-1", Quantity: 2}}, p.Lines)
	s.CheckBooks(t)
}

func TestPlace_PrefersOneWarehouseThatCanGiveEverything(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5, 0, 5)
	s.Product(t, "B", 1000, 1, 5, 2)
	p := place(t, s, request(stock.Want{SKU: "A", Quantity: 2}, stock.Want{SKU: "B", Quantity: 2}))
	require.Equal(t, []stock.Line{{SKU: "A", Warehouse: "ANF-1", Quantity: 2}, {SKU: "B", Warehouse: "ANF-1", Quantity: 2}}, p.Lines,
		"Santiago is nearer, but only Antofagasta has both")
	s.CheckBooks(t)
}

func TestPlace_FollowsTheOrderOfPreferenceOrTakesTheFullestShelf(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 3, 9, 5)
	from := func(change func(*stock.Request)) string {
		r := request(stock.Want{SKU: "A", Quantity: 1})
		change(&r)
		p := place(t, s, r)
		require.Len(t, p.Lines, 1)
		return p.Lines[0].Warehouse
	}
	require.Equal(t, "SCL-1", from(func(*stock.Request) {}))
	require.Equal(t, "ANF-1", from(func(r *stock.Request) { r.Warehouses = []string{"ANF-1", "SCL-1", "CCP-1"} }))
	require.Equal(t, "CCP-1", from(func(r *stock.Request) { r.Balanced = true }))
	// A warehouse that is not named gives nothing.
	r := request(stock.Want{SKU: "A", Quantity: 9})
	r.Warehouses = []string{"SCL-1", "ANF-1"}
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 9, Available: 6}}, place(t, s, r).Shortages)
}

func TestPlace_HoldsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	s.Product(t, "B", 1000, 0)
	s.Product(t, "C", 1000) // never on any shelf
	r := request(stock.Want{SKU: "A", Quantity: 1}, stock.Want{SKU: "B", Quantity: 1}, stock.Want{SKU: "C", Quantity: 2})
	p := place(t, s, r)
	require.Equal(t, []stock.Shortage{{SKU: "B", Requested: 1}, {SKU: "C", Requested: 2}}, p.Shortages)
	require.Empty(t, p.Lines)
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM holds`))
	require.Zero(t, shoptest.Value[int](t, s, `SELECT count(*) FROM hold_lines`))
	s.CheckBooks(t)
}

func TestPlace_AnEmptyRequestOrCatalogueIsAnswered(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		_, err := stock.Place(t.Context(), tx, shoptest.Tenant, request())
		return err
	})
	require.ErrorContains(t, err, "nothing wanted")
	require.Equal(t, []stock.Shortage{{SKU: "NOTHING", Requested: 1}}, place(t, s, request(stock.Want{SKU: "NOTHING", Quantity: 1})).Shortages)
	r := request(stock.Want{SKU: "NOTHING", Quantity: 1})
	r.Warehouses = []string{}
	require.NotEmpty(t, place(t, s, r).Shortages)
}

func TestPlace_TimesAreTheDatabases(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	r := request(stock.Want{SKU: "A", Quantity: 1})
	p := place(t, s, r)
	require.Equal(t, p.StartedAt.Add(15*time.Minute), p.ExpiresAt)
	require.Equal(t, p.ExpiresAt, p.HeldUntil)
	h := state(t, s, r.HoldID)
	require.Equal(t, "held", h.Status)
	require.True(t, h.Live())
	require.Equal(t, 1, h.Units())
	require.True(t, p.ExpiresAt.Equal(h.ExpiresAt))
	require.WithinDuration(t, s.Now(t), p.StartedAt, time.Minute)
	s.Do(t, func(tx pgx.Tx) error {
		_, err := stock.Get(t.Context(), tx, shoptest.Tenant, id.New())
		require.ErrorIs(t, err, stock.ErrNoHold)
		return nil
	})
}

// waiting blocks until a session of the database waits for a lock.
func waiting(t *testing.T, s *shoptest.Shop) {
	t.Helper()
	require.Eventually(t, func() bool {
		return shoptest.Value[bool](t, s, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
	}, 20*time.Second, 5*time.Millisecond)
}

// A buyer who waits for a row decides on what the row says afterwards, not on
// what his statement saw when it began.
func TestPlace_DoesNotRefuseForWhatChangedWhileItWaited(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, tx pgx.Tx, holdID string) error{
		"the last unit is released": func(ctx context.Context, tx pgx.Tx, holdID string) error {
			_, err := stock.Release(ctx, tx, shoptest.Tenant, holdID)
			return err
		},
		"a unit arrives in another warehouse": func(ctx context.Context, tx pgx.Tx, _ string) error {
			// The buyer waits for Santiago meanwhile.
			if _, err := tx.Exec(ctx, `SELECT FROM stock_levels WHERE warehouse = 'SCL-1' FOR UPDATE`); err != nil {
				return err
			}
			_, err := stock.Adjust(ctx, tx, shoptest.Tenant, stock.Change{SKU: "A", Warehouse: "CCP-1", Delta: 1, Reason: "receipt"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shoptest.New(t)
			s.Product(t, "A", 1000, 1, 0)
			first := held(t, s, "A", 1)
			var buyer errgroup.Group
			var p stock.Placement
			s.Do(t, func(tx pgx.Tx) error {
				require.NoError(t, change(t.Context(), tx, first))
				buyer.Go(func() error {
					return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
						p, err = stock.Place(t.Context(), tx, shoptest.Tenant, request(stock.Want{SKU: "A", Quantity: 1}))
						return err
					})
				})
				waiting(t, s)
				return nil
			})
			require.NoError(t, buyer.Wait())
			require.Empty(t, p.Shortages)
			require.Len(t, p.Lines, 1)
			s.CheckBooks(t)
		})
	}
}

// Buyers come while others let go: whoever is refused was refused rightly, and
// at the end everything is free again.
func TestPlace_AndReleaseUnderLoadKeepTheBooks(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 3, 2, 1)
	s.Product(t, "B", 1000, 1, 2, 3)
	var g errgroup.Group
	g.SetLimit(12)
	for i := range 80 {
		g.Go(func() error {
			wants := []stock.Want{{SKU: "B", Quantity: 1 + i%2}, {SKU: "A", Quantity: 1 + i%3}}
			r := request(wants...)
			var p stock.Placement
			if err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
				p, err = stock.Place(t.Context(), tx, shoptest.Tenant, r)
				return err
			}); err != nil || len(p.Shortages) > 0 {
				return err
			}
			return s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				ok, err := stock.Release(t.Context(), tx, shoptest.Tenant, r.HoldID)
				if err == nil && !ok {
					err = errors.New("not released")
				}
				return err
			})
		})
	}
	require.NoError(t, g.Wait())
	require.Zero(t, shoptest.Value[int](t, s, `SELECT sum(reserved) FROM stock_levels`))
	s.CheckBooks(t)
}

func TestDatabase_RefusesToPromiseAUnitTwiceWhateverTheProgramDoes(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 1)
	for _, sql := range []string{`UPDATE stock_levels SET reserved = 2`, `UPDATE stock_levels SET reserved = -1`} {
		err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql)
			return err
		})
		require.True(t, postgres.Violates(err, "no_unit_promised_twice"), "%v", err)
	}
}

func TestSetAside_IsGivenToItsChannelOnly(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	s.Do(t, func(tx pgx.Tx) error {
		return stock.SetAside(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", "mercadolibre", 3)
	})
	web := request(stock.Want{SKU: "A", Quantity: 3})
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 3, Available: 2}}, place(t, s, web).Shortages)

	own := held(t, s, "A", 4, func(r *stock.Request) { r.Channel = "mercadolibre" })
	require.Empty(t, without(level(t, s, "A", "SCL-1").SetAside), "its own units go first")
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 2, Available: 1}}, place(t, s, request(stock.Want{SKU: "A", Quantity: 2})).Shortages)

	require.True(t, do(t, s, stock.Release, own))
	require.Equal(t, map[string]int{"mercadolibre": 3}, without(level(t, s, "A", "SCL-1").SetAside), "given back to the channel")
	require.Equal(t, []stock.Shortage{{SKU: "A", Requested: 3, Available: 2}}, place(t, s, request(stock.Want{SKU: "A", Quantity: 3})).Shortages)

	// Setting it to nothing frees it for everybody.
	s.Do(t, func(tx pgx.Tx) error {
		return stock.SetAside(t.Context(), tx, shoptest.Tenant, "A", "SCL-1", "mercadolibre", 0)
	})
	require.Empty(t, level(t, s, "A", "SCL-1").SetAside)
	held(t, s, "A", 5)
	s.CheckBooks(t)
}

// without drops the channels that have nothing set aside.
func without(aside map[string]int) map[string]int {
	out := map[string]int{}
	for channel, n := range aside {
		if n != 0 {
			out[channel] = n
		}
	}
	return out
}

func TestRelease_FreesOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 2, 2)
	holdID := held(t, s, "A", 3)
	require.True(t, do(t, s, stock.Release, holdID))
	for _, again := range []ending{stock.Release, stock.Expire, confirm} {
		require.False(t, do(t, s, again, holdID))
	}
	h := state(t, s, holdID)
	require.Equal(t, "released", h.Status)
	require.False(t, h.Live())
	require.Equal(t, 2, level(t, s, "A", "SCL-1").Available)
	require.False(t, do(t, s, stock.Release, id.New()), "a hold that does not exist")
	s.CheckBooks(t)
}

func TestRelease_TenAtOnceFreeOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := held(t, s, "A", 5)
	var ended atomic.Int64
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			fn := stock.Release
			if i%2 == 0 {
				fn = confirm
			}
			err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
				ok, err := fn(t.Context(), tx, shoptest.Tenant, holdID)
				if ok {
					ended.Add(1)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, ended.Load(), "whoever wins the row wins")
	s.CheckBooks(t)
}

func TestExpire_OnlyAfterItsTimeByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := held(t, s, "A", 2)
	require.False(t, do(t, s, stock.Expire, holdID))
	require.Equal(t, 3, level(t, s, "A", "SCL-1").Available, "an expired hold counts until it is released")
	s.Age(t, holdID, time.Second)
	require.Equal(t, 3, level(t, s, "A", "SCL-1").Available)
	require.True(t, do(t, s, stock.Expire, holdID))
	require.False(t, do(t, s, stock.Expire, holdID))
	require.Equal(t, "expired", state(t, s, holdID).Status)
	require.Equal(t, 5, level(t, s, "A", "SCL-1").Available)
	s.CheckBooks(t)
}

func TestConfirm_IsFinalAndHappensOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := confirmed(t, s, "A", 2)
	for _, again := range []ending{confirm, stock.Release, stock.Expire} {
		require.False(t, do(t, s, again, holdID))
	}
	s.Age(t, holdID, time.Hour)
	require.False(t, do(t, s, stock.Expire, holdID))
	h := state(t, s, holdID)
	require.Equal(t, "confirmed", h.Status)
	require.Equal(t, holdID, h.OrderID)
	require.NotNil(t, h.ConfirmedAt)
	require.Equal(t, 2, level(t, s, "A", "SCL-1").Reserved, "a paid order's units stay reserved until they are handed over")
	s.CheckBooks(t)
}

func TestGrace_MovesTheAuthorityNeverThePromise(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := held(t, s, "A", 1)
	grace := func(seconds int) (until time.Time, err error) {
		err = s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) (err error) {
			until, err = stock.Grace(t.Context(), tx, shoptest.Tenant, holdID, seconds, 300)
			return err
		})
		return until, err
	}
	promise := state(t, s, holdID).ExpiresAt
	until, err := grace(60)
	require.NoError(t, err)
	require.True(t, promise.Equal(until), "not earlier than it stands")

	s.Age(t, holdID, 10*time.Second)
	promise = state(t, s, holdID).ExpiresAt
	until, err = grace(60)
	require.NoError(t, err)
	require.WithinDuration(t, s.Now(t).Add(60*time.Second), until, 5*time.Second)
	shorter, err := grace(1)
	require.NoError(t, err)
	require.True(t, until.Equal(shorter), "never back")
	most, err := grace(100_000)
	require.NoError(t, err)
	require.True(t, promise.Add(300*time.Second).Equal(most), "at most the tenant's grace after the promise")
	require.True(t, promise.Equal(state(t, s, holdID).ExpiresAt))
	require.False(t, do(t, s, stock.Expire, holdID))

	require.True(t, do(t, s, confirm, holdID))
	_, err = grace(60)
	require.ErrorIs(t, err, stock.ErrNoHold)
}

func TestExtend_StaysWithinTheLimitFromTheStart(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 5)
	holdID := held(t, s, "A", 1)
	extend := func(seconds, most int) (until time.Time, ok bool) {
		s.Do(t, func(tx pgx.Tx) (err error) {
			until, ok, err = stock.Extend(t.Context(), tx, shoptest.Tenant, holdID, seconds, most)
			return err
		})
		return until, ok
	}
	until, ok := extend(3600, 3700)
	require.True(t, ok)
	h := state(t, s, holdID)
	require.True(t, until.Equal(h.ExpiresAt))
	require.True(t, until.Equal(h.HeldUntil))
	until, ok = extend(60, 3700)
	require.True(t, ok, "a new end may be earlier")
	require.WithinDuration(t, s.Now(t).Add(time.Minute), until, 10*time.Second)
	_, ok = extend(3600, 3599)
	require.False(t, ok, "counted from the start")
	// Extending again and again does not go past the limit either.
	s.Exec(t, `UPDATE holds SET started_at = now() - interval '1 hour' WHERE id = $1`, holdID)
	_, ok = extend(200, 3700)
	require.False(t, ok)
	_, ok = extend(50, 3700)
	require.True(t, ok)

	s.Age(t, holdID, time.Second)
	_, ok = extend(60, 1<<30)
	require.False(t, ok, "its time is over")
	require.True(t, do(t, s, stock.Expire, holdID))
	_, ok = extend(60, 1<<30)
	require.False(t, ok)
}

func TestHandOver_MovesBothCountersOnce(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "A", 1000, 2, 5)
	s.Product(t, "B", 1000, 0, 4)
	handOver := func(holdID string) {
		s.Do(t, func(tx pgx.Tx) error {
			return stock.HandOver(t.Context(), tx, shoptest.Tenant, holdID, "handed_over", "ana")
		})
	}
	r := request(stock.Want{SKU: "A", Quantity: 6}, stock.Want{SKU: "B", Quantity: 1})
	require.Empty(t, place(t, s, r).Shortages)
	handOver(r.HoldID)
	require.Equal(t, 7, state(t, s, r.HoldID).Units(), "not before it is paid")
	require.True(t, do(t, s, confirm, r.HoldID))
	for range 2 {
		handOver(r.HoldID)
		a, b := level(t, s, "A", "CCP-1"), level(t, s, "B", "CCP-1")
		require.Equal(t, [4]int{1, 0, 3, 0}, [4]int{a.OnHand + level(t, s, "A", "SCL-1").OnHand, a.Reserved, b.OnHand, b.Reserved})
		require.Zero(t, state(t, s, r.HoldID).Units())
		s.CheckBooks(t)
	}
	s.Do(t, func(tx pgx.Tx) error {
		moves, err := stock.Movements(t.Context(), tx, shoptest.Tenant, "B", 0, 10)
		require.NoError(t, err)
		require.Equal(t, "handed_over", moves[0].Reason)
		require.Equal(t, r.HoldID, moves[0].Reference)
		require.Equal(t, -1, moves[0].Delta)
		return nil
	})
}

func TestDescribe_CountsUnitsByWarehouse(t *testing.T) {
	t.Parallel()
	require.Equal(t, "3 units in SCL-1, 1 unit in CCP-1", stock.Describe([]stock.Line{{SKU: "A", Warehouse: "SCL-1", Quantity: 2}, {SKU: "A", Warehouse: "CCP-1", Quantity: 1}, {SKU: "B", Warehouse: "SCL-1", Quantity: 1}}))
	require.Empty(t, stock.Describe(nil))
}
