package catalog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
)

func TestDiscountOf_RoundsToTheNearestUnitAndNeverBelowFree(t *testing.T) {
	t.Parallel()
	percent := catalog.Discount{Kind: "percent", Value: 1050}
	require.EqualValues(t, 105, percent.Of(1000))
	require.EqualValues(t, 1, percent.Of(5), "0.525 is nearer to 1")
	require.EqualValues(t, 0, percent.Of(4), "0.42 is nearer to 0")
	require.EqualValues(t, catalog.MaxAmount, catalog.Discount{Kind: "percent", Value: 10000}.Of(catalog.MaxAmount))
	amount := catalog.Discount{Kind: "amount", Value: 5000}
	require.EqualValues(t, 5000, amount.Of(12990))
	require.EqualValues(t, 990, amount.Of(990))
}

func TestDiscountUsable_SaysWhyNot(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 18, 12, 0, 0, 0, time.UTC)
	before, after, one, clp := now.Add(-time.Hour), now.Add(time.Hour), 1, "CLP"
	for want, d := range map[string]catalog.Discount{
		"":                     {Active: true, StartsAt: &before, EndsAt: &after, MaxUses: &one, Currency: &clp},
		"discount_inactive":    {},
		"discount_not_started": {Active: true, StartsAt: &after},
		"discount_ended":       {Active: true, EndsAt: &now},
		"discount_exhausted":   {Active: true, MaxUses: &one, Used: 1},
	} {
		var f problem.Fields
		d.Usable(&f, "discount_code", "CLP", now)
		if want == "" {
			require.Empty(t, f)
			continue
		}
		require.Equal(t, want, f[0].Code)
	}
	var f problem.Fields
	catalog.Discount{Active: true, Currency: &clp}.Usable(&f, "discount_code", "USD", now)
	require.Equal(t, "discount_currency", f[0].Code)
}
