package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var both = []string{"transbank", "stripe"}

func TestDraw_TheSameSeedDrawsTheSameBuyers(t *testing.T) {
	t.Parallel()
	require.Equal(t, Draw(7, 300, both), Draw(7, 300, both))
	require.NotEqual(t, Draw(7, 300, both), Draw(8, 300, both))
}

func TestDraw_EveryKindOccursOnceThereAreAsManyBuyersAsKinds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		seen := map[Kind]bool{}
		for _, b := range Draw(seed, len(Kinds(both)), both) {
			seen[b.Kind] = true
		}
		require.Len(t, seen, len(Kinds(both)), "seed %d", seed)
	}
	require.Len(t, Draw(1, 3, both), 3)
}

func TestDraw_EveryKindHasAScript(t *testing.T) {
	t.Parallel()
	all := Kinds([]string{"transbank", "mercadopago", "stripe", "flow", "khipu"})
	for _, k := range all {
		require.Contains(t, scripts, k)
	}
	require.Len(t, scripts, len(all))
	require.NotContains(t, Kinds([]string{"transbank"}), Disputes)
}

func TestDraw_BuyersAreWhatTheirKindSays(t *testing.T) {
	t.Parallel()
	for _, b := range Draw(3, 2000, both) {
		require.NotEmpty(t, b.Items)
		require.Positive(t, b.Seconds)
		switch b.Kind {
		case AnyGateway:
			require.Equal(t, autoRoute, b.Gateway)
		case HasDiscount:
			require.True(t, b.Code)
		case BuysMany:
			require.Len(t, b.Items, len(plenty)+1)
		case WantsTooMuch:
			require.Contains(t, b.Items, Item{few.name, tooMany})
		case WantsTheLast:
			require.Equal(t, scarce.name, b.Items[0].SKU)
		case DeclinedPaysAgain:
			require.NotEqual(t, b.Gateway, b.Other)
		}
	}
}

func TestDraw_WithOneGatewayAnotherAttemptGoesToTheSame(t *testing.T) {
	t.Parallel()
	for _, b := range Draw(1, 100, []string{"stripe"}) {
		require.Equal(t, "stripe", b.Other)
	}
}

func TestShelves_ThereIsPlentyOfAllButTheScarce(t *testing.T) {
	t.Parallel()
	buyers := Draw(9, 500, both)
	wanted := map[string]int{}
	for _, b := range buyers {
		for _, i := range b.Items {
			wanted[i.SKU] += i.Quantity
		}
	}
	for _, s := range shelves(buyers) {
		switch s.name {
		case scarce.name:
			require.Less(t, s.units, wanted[s.name])
			require.Positive(t, s.units)
		case few.name:
			require.Equal(t, fewUnits, s.units)
		default:
			require.Greater(t, s.units, wanted[s.name])
		}
	}
}
