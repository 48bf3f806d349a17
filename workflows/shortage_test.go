package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/workflows"
)

// shortOrder is a paid order whose only unit a count has not found.
func shortOrder(steps ...step) schedule {
	return schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: append([]step{{At: 5 * time.Second, Do: approve}, {At: 60 * time.Second, Do: count}}, steps...)}
}

var theShortage = workflows.ID(workflows.KindShortage, demo, checkoutID)

func TestShortage_OtherShelvesAreTakenWithoutAskingAnybody(t *testing.T) {
	t.Parallel()
	p := shortOrder()
	p.CCP = 1
	s := play(t, p)
	require.Equal(t, "confirmed", s.db.hold(s.db.checkout.HoldID).status)
	require.Empty(t, s.parkedSteps())
}

func TestShortage_NewStockCuresItByItself(t *testing.T) {
	t.Parallel()
	s := play(t, shortOrder(step{At: 120 * time.Second, Do: restock, N: 1}))
	require.Equal(t, []string{"shortage short_stock"}, s.parkedSteps())
	require.Equal(t, "confirmed", s.db.hold(s.db.checkout.HoldID).status)
}

func TestShortage_RetryLooksAtOnce(t *testing.T) {
	t.Parallel()
	s := play(t, shortOrder(step{At: 120 * time.Second, Do: restock, N: 1}), verb(130*time.Second, theShortage, "", workflows.VerbRetry, ""),
		at(131*time.Second, func(s *simulation) {
			if s.running[theShortage] {
				s.broken("the shortage still waits")
			}
		}))
	require.Equal(t, "confirmed", s.db.hold(s.db.checkout.HoldID).status)
}

func TestShortage_PersonMayEndIt(t *testing.T) {
	t.Parallel()
	for _, v := range []string{workflows.VerbResolve, workflows.VerbSkip} {
		s := play(t, shortOrder(), verb(130*time.Second, theShortage, "", v, ""))
		require.Equal(t, v+" done", answer[workflows.SupportAnswer](t, s, workflows.UpdateSupport, 1).Result)
		require.Equal(t, "short", s.db.hold(s.db.checkout.HoldID).status)
	}
}

func TestShortage_CountBeforeThePaymentIsNoticedByTheOrder(t *testing.T) {
	t.Parallel()
	s := play(t, schedule{Gateway: "stripe", Units: 1, SCL: 1, Hold: 900, Steps: []step{{At: 5 * time.Second, Do: approve, N: 1}, {In: "RecordAnswer", Nth: 1, When: before, Do: count}}})
	require.Contains(t, s.parkedSteps(), "shortage short_stock")
}
