package returns

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/id"
	"justlogistics/internal/refund"
)

// anyFacts is an order as it may be: what came of its lines, and what became of that.
func anyFacts(t *rapid.T) facts {
	p := Defaults()
	p.Goods = []Goods{{SKU: "S0", FinalSale: rapid.Bool().Draw(t, "final")}, {SKU: "S1*", WindowDays: rapid.IntRange(0, 40).Draw(t, "own window")}}
	p.Review = Review{AboveAmount: rapid.Int64Range(0, 30_000).Draw(t, "above"), AboveReturnedPercent: rapid.IntRange(0, 100).Draw(t, "percent")}
	p.Trusted = Trusted{Orders: rapid.IntRange(0, 3).Draw(t, "trusted")}
	f := facts{policy: p, currency: "CLP", today: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), freight: rapid.Int64Range(0, 5_000).Draw(t, "freight"),
		orders: rapid.IntRange(0, 5).Draw(t, "orders"), had: rapid.IntRange(0, 20).Draw(t, "had")}
	f.back = rapid.IntRange(0, f.had).Draw(t, "back")
	for i := range rapid.IntRange(1, 3).Draw(t, "lines") {
		l := lineFacts{id: id.New(), sku: fmt.Sprintf("S%d", i), sold: rapid.IntRange(1, 5).Draw(t, "sold")}
		l.arrived = rapid.IntRange(0, l.sold).Draw(t, "arrived")
		l.deliveredOn = f.today.AddDate(0, 0, -rapid.IntRange(0, 200).Draw(t, "days ago"))
		l.live = rapid.IntRange(0, l.arrived).Draw(t, "live")
		l.paidBack = rapid.IntRange(0, l.sold-l.live).Draw(t, "paid back")
		free := max(0, l.arrived-l.live-max(0, l.paidBack-(l.sold-l.arrived)))
		for n := range free {
			l.freeUnits = append(l.freeUnits, refund.Unit{Line: l.id, N: n, Paid: 10_000, Left: rapid.Int64Range(1, 10_000).Draw(t, "left")})
		}
		f.lines = append(f.lines, l)
	}
	return f
}

func TestJudge_NeverPromisesWhatIsNotThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := anyFacts(t)
		var asked []LineAsked
		reasons := []string{"changed_mind", "defective", "damaged", "wrong_item", "not_as_described", "unheard_of"}
		for _, l := range f.lines {
			for _, reason := range rapid.SliceOfNDistinct(rapid.SampledFrom(reasons), 0, 2, rapid.ID).Draw(t, "reasons") {
				asked = append(asked, LineAsked{LineID: l.id, Quantity: rapid.IntRange(1, 6).Draw(t, "quantity"), Reason: reason})
			}
		}
		v := judge(f, asked)
		require.Len(t, v.Lines, len(asked))
		granted, sum, every := map[string]int{}, v.FreightBack, true
		for i, line := range v.Lines {
			every = every && line.Code == nil
			sum += line.Amount
			if line.Code != nil {
				require.NotEmpty(t, line.Detail)
				require.Zero(t, line.Amount, "nothing is promised for what can't come back")
				continue
			}
			granted[line.LineID] += line.Quantity
			require.LessOrEqual(t, line.Quantity, line.Returnable)
			require.LessOrEqual(t, line.Amount, int64(line.Quantity)*10_000, "no more than was paid")
			require.NotEqual(t, "unheard_of", asked[i].Reason)
			until, err := time.Parse(time.DateOnly, *line.Until)
			require.NoError(t, err)
			require.False(t, f.today.After(until), "within the window")
		}
		require.Equal(t, every, v.Eligible)
		require.Equal(t, sum, v.Amount)
		for _, l := range f.lines {
			if every {
				require.LessOrEqual(t, granted[l.id]+l.live, l.arrived, "no more comes back than came")
			}
			if f.policy.goods(l.sku, l.category).FinalSale {
				for i, a := range asked {
					require.False(t, a.LineID == l.id && a.Reason == "changed_mind" && v.Lines[i].Code == nil, "sold for good")
				}
			}
		}
		require.True(t, v.FreightBack == 0 || v.FreightBack == f.freight)
		require.Equal(t, len(v.Review) > 0, v.Approval == ByHand)
		if f.policy.Trusted.Orders == 0 || f.orders < f.policy.Trusted.Orders {
			require.True(t, len(asked) == 0 || !v.Eligible || v.Money == OnInspection, "only the trusted have their money before")
		}
	})
}

func TestPolicy_TheFirstRuleThatFitsASKUCounts(t *testing.T) {
	t.Parallel()
	p := Policy{Goods: []Goods{{SKU: "POL-1", WindowDays: 1}, {SKU: "POL-*", WindowDays: 2}, {SKU: "*", WindowDays: 3}}}
	for sku, days := range map[string]int{"POL-1": 1, "POL-12": 2, "POL-": 2, "POL": 3, "TAZA": 3} {
		require.Equal(t, days, p.goods(sku, "").WindowDays, sku)
	}
	p = Policy{Goods: []Goods{{SKU: "POL-*", Category: "ropa/interior", WindowDays: 1}, {Category: "ropa/interior", FinalSale: true}, {Category: "ropa*", WindowDays: 2}}}
	require.Equal(t, 1, p.goods("POL-1", "ropa/interior").WindowDays)
	require.True(t, p.goods("MED-1", "ropa/interior").FinalSale)
	require.Equal(t, 2, p.goods("MED-1", "ropa").WindowDays)
	require.Zero(t, p.goods("TAZA", "").WindowDays)
}

func TestPolicy_SaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	p := Defaults()
	require.NoError(t, p.Check())
	p.Reasons = append(p.Reasons, Reason{Code: "damaged"}, Reason{Code: "Ñ", Title: "x", WindowDays: 1, Approve: "maybe", FreightBy: "nobody", FreightBack: "x", Money: "x"})
	p.Goods, p.SendWithinDays, p.RemindDays, p.Review.AboveAmount = []Goods{{SKU: "a*b"}, {}, {Category: "Ropa"}}, 0, []int{0}, -1
	err := p.Check()
	for _, field := range []string{"reasons[5].code", "reasons[5].title", "reasons[5].window_days", "reasons[6].code", "reasons[6].approve", "reasons[6].freight_by", "reasons[6].freight_back", "reasons[6].money",
		"goods[0].sku", "goods[1].sku", "goods[2].category", "send_within_days", "remind_days[0]", "review.above_amount"} {
		require.ErrorContains(t, err, field)
	}
}
