package checkout_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

// rated keeps a rate to Providencia and returns its id.
func rated(t *testing.T, s *shoptest.Shop, r shipping.Rate) string {
	t.Helper()
	rates := []shipping.Rate{r}
	rates[0].Service, rates[0].Method, rates[0].Price = "3", shipping.ToDoor, 4000
	s.Do(t, func(tx pgx.Tx) error {
		return shipping.Keep(t.Context(), tx, shoptest.Tenant, rates, shipping.Place{Comuna: "Providencia", Region: "RM"}, 5000)
	})
	return rates[0].ID
}

func TestRecord_WhatIsPaidByARateIsPromisedByItsDays(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "MUG", 5000, 10)
	zone, err := time.LoadLocation(tenant.Defaults(shoptest.Tenant).TimeZone)
	require.NoError(t, err)
	three := 3
	nextWeek := time.Now().In(zone).AddDate(0, 0, 7).Format(time.DateOnly)
	for name, row := range map[string]struct {
		rate shipping.Rate
		days int
	}{
		"its days":                      {shipping.Rate{Carrier: shipping.Chilexpress, Days: &three}, 3},
		"the day that the carrier says": {shipping.Rate{Carrier: shipping.BlueExpress, DeliverBy: &nextWeek}, 5},
		"a row of the shop's own table": {shipping.Rate{}, 0},
	} {
		sub := shoptest.Submission("MUG", 1)
		sub.Shipping.RateID = rated(t, s, row.rate)
		checkoutID, paymentID := s.Offer(t, sub)
		before := time.Now()
		require.True(t, approve(t, s, checkoutID, paymentID).Changed)
		promised := shoptest.List[*time.Time](t, s, `SELECT promised_at FROM shipments WHERE order_id = $1`, checkoutID)
		require.Len(t, promised, 1)
		if row.days == 0 {
			require.Nil(t, promised[0], name)
			continue
		}
		require.Contains(t, []time.Time{shipping.PromisedAt(before, row.days, zone), shipping.PromisedAt(time.Now(), row.days, zone)}, promised[0].UTC(), name)
		require.True(t, shoptest.Value[bool](t, s, `SELECT risk_at < promised_at AND risk_at > created_at - interval '24 hours' FROM shipments WHERE order_id = $1`, checkoutID), name)
	}
}

func TestCreate_HowLongItTakesIsNotTheCallersToSay(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "MUG", 5000, 10)
	sub := shoptest.Submission("MUG", 1)
	sub.Shipping.PromisedDays = 1
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		shop, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		_, err = checkout.Create(t.Context(), tx, shop, "01ARZ3NDEKTSV4RRFFQ69G5FAV", sub, checkout.Terms{})
		return err
	})
	require.ErrorContains(t, err, "promised_days")
}
