package shipping_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
)

// quoter is a carrier that only quotes.
type quoter struct {
	shipping.Carrier
	methods []shipping.Method
	quote   func(ctx context.Context) ([]shipping.Offer, error)
}

func (q quoter) Capabilities() shipping.Capabilities {
	return shipping.Capabilities{Methods: q.methods}
}

func (q quoter) Quote(ctx context.Context, _ shipping.QuoteRequest) ([]shipping.Offer, error) {
	return q.quote(ctx)
}

func TestCompare_WaitsForNobodyLongerThanItMay(t *testing.T) {
	t.Parallel()
	home := []shipping.Method{shipping.ToDoor}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan struct{})
	carriers := map[shipping.Name]shipping.Carrier{
		shipping.Chilexpress: quoter{methods: home, quote: func(context.Context) ([]shipping.Offer, error) {
			defer close(answered)
			return []shipping.Offer{{Service: "3", Name: "Express", Method: shipping.ToDoor, Price: 4000, Days: 1, DeliverBy: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}}, nil
		}},
		shipping.Starken: quoter{methods: home, quote: func(ctx context.Context) ([]shipping.Offer, error) {
			<-ctx.Done()
			return nil, &shipping.Failure{Reason: shipping.Unavailable, Err: context.DeadlineExceeded}
		}},
		shipping.Correos:     quoter{methods: home, quote: func(context.Context) ([]shipping.Offer, error) { return nil, nil }},
		shipping.BlueExpress: quoter{methods: []shipping.Method{shipping.ToPoint}},
	}
	go func() {
		<-answered
		cancel()
	}()
	rates, silent := shipping.Compare(ctx, carriers, shipping.QuoteRequest{Method: shipping.ToDoor})
	one, day := 1, "2026-12-01"
	require.Equal(t, []shipping.Rate{{Carrier: shipping.Chilexpress, Service: "3", Name: "Express", Method: shipping.ToDoor, Price: 4000, Days: &one, DeliverBy: &day}}, rates)
	require.Equal(t, []shipping.Silent{{Carrier: shipping.Starken, Why: "too_slow"}}, silent, "one that does not go there is not silent")
}

func TestSort_ByTheTenantsPolicy(t *testing.T) {
	t.Parallel()
	rate := func(service string, price int64, days int) shipping.Rate {
		r := shipping.Rate{Service: service, Price: price}
		if days > 0 {
			r.Days = &days
		}
		return r
	}
	rates := []shipping.Rate{rate("slow", 3000, 6), rate("fast", 7000, 1), rate("middle", 4000, 2), rate("silent", 3500, 0)}
	for policy, want := range map[string][]string{
		"cheapest": {"slow", "silent", "middle", "fast"},
		"fastest":  {"fast", "middle", "slow", "silent"},
		"best":     {"middle", "slow", "fast", "silent"},
	} {
		shipping.Sort(rates, policy, 500)
		var got []string
		for _, r := range rates {
			got = append(got, r.Service)
		}
		require.Equal(t, want, got, policy)
	}
}

func TestFromTable_OffersEachServiceOnceByWeight(t *testing.T) {
	t.Parallel()
	prices := func(region string, grams int) map[string]int64 {
		out := map[string]int64{}
		for _, r := range shipping.FromTable(tenant.Defaults("demo"), region, grams) {
			require.Empty(t, r.Carrier)
			out[r.Service+" "+string(r.Method)] = r.Price
		}
		return out
	}
	require.Equal(t, map[string]int64{"standard home": 3990, "express home": 8990, "pickup pickup_in_shop": 0}, prices("RM", 5000))
	require.Equal(t, map[string]int64{"standard home": 12990, "express home": 14990, "pickup pickup_in_shop": 0}, prices("AP", 5001))
}
