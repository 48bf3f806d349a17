package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/checkout"
	"justlogistics/workflows"
)

// counter is a reservation beside a checkout that finds no stock.
func counter(steps ...step) schedule {
	return schedule{Gateway: "stripe", Units: 9, SCL: 2, Hold: 600, Reservation: 2, Steps: steps}
}

func TestReservation_ConfirmMakesOneOrder(t *testing.T) {
	t.Parallel()
	s := play(t, counter(step{At: 10 * time.Second, Do: confirmIt}, step{At: 10 * time.Second, Do: confirmIt, N: 1}))
	a := answer[workflows.ReservationAnswer](t, s, workflows.UpdateConfirm, 1)
	require.Equal(t, workflows.ReservationAnswer{Status: "confirmed", OrderID: reservationID}, a)
	require.Equal(t, a, answer[workflows.ReservationAnswer](t, s, workflows.UpdateConfirm, 2), "the same request again")
	require.Equal(t, 1, s.db.reservation.orderConfirmed)
	require.Equal(t, 2, s.reserved())
}

func TestReservation_ReleaseFreesTheUnits(t *testing.T) {
	t.Parallel()
	s := play(t, counter(step{At: 10 * time.Second, Do: releaseIt}))
	require.Equal(t, workflows.ReservationAnswer{Status: "released"}, answer[workflows.ReservationAnswer](t, s, workflows.UpdateRelease, 1))
	require.Zero(t, s.reserved())
}

func TestReservation_ReleaseAndConfirmAtOnceAreDecidedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s := play(t, counter(step{At: 10 * time.Second, Do: confirmIt}, step{At: 10 * time.Second, Do: releaseIt}))
	require.Equal(t, workflows.ReservationAnswer{Status: "confirmed", OrderID: reservationID, Refused: "reservation_over"}, answer[workflows.ReservationAnswer](t, s, workflows.UpdateRelease, 1))
	require.Equal(t, 2, s.reserved())
}

func TestReservation_ExpiresAtItsTime(t *testing.T) {
	t.Parallel()
	s := play(t, counter(), at(599*time.Second, func(s *simulation) {
		if s.reserved() != 2 {
			s.broken("it ended early")
		}
	}), at(602*time.Second, func(s *simulation) {
		if s.reserved() != 0 {
			s.broken("it outlived its time")
		}
	}))
	require.Equal(t, "expired", s.db.hold(reservationID).status)
}

func TestReservation_ExtendMovesTheEndWithinTheLimit(t *testing.T) {
	t.Parallel()
	s := play(t, counter(step{At: 10 * time.Second, Do: reserveMore, N: 1}, step{At: 20 * time.Second, Do: reserveMore, N: 9}, step{At: 30 * time.Second, Do: reserveMore, N: 0}),
		at(905*time.Second, func(s *simulation) {
			if s.reserved() != 2 {
				s.broken("it was not extended")
			}
		}))
	require.Equal(t, workflows.ReservationAnswer{Status: "held"}, answer[workflows.ReservationAnswer](t, s, workflows.UpdateExtend, 1))
	require.Equal(t, "beyond_limit", answer[workflows.ReservationAnswer](t, s, workflows.UpdateExtend, 2).Refused)
	require.ErrorContains(t, s.asked[len(s.asked)-1].err, "at least 1")
	require.Equal(t, "expired", s.db.hold(reservationID).status)
}

func TestReservation_TooLittleStockIsRefused(t *testing.T) {
	t.Parallel()
	p := counter()
	p.Reservation = 3
	s := play(t, p)
	a := answer[workflows.BeginAnswer](t, s, workflows.UpdateBegin, 2)
	require.Equal(t, checkout.FailInsufficientStock, a.FailureCode)
	require.Equal(t, 2, a.Shortages[0].Available)
}

func TestReservation_CountThatTakesUnitsIsCuredOrKeepsItFromBeingConfirmed(t *testing.T) {
	t.Parallel()
	p := counter(step{At: 10 * time.Second, Do: count, N: 1}, step{At: 20 * time.Second, Do: confirmIt})
	s := play(t, p)
	require.Equal(t, "short_stock", answer[workflows.ReservationAnswer](t, s, workflows.UpdateConfirm, 1).Refused)
	require.Equal(t, "expired", s.db.hold(reservationID).status)

	p.CCP = 1
	s = play(t, p)
	require.Empty(t, answer[workflows.ReservationAnswer](t, s, workflows.UpdateConfirm, 1).Refused)
	require.Len(t, s.db.hold(reservationID).held(), 2)
}

func TestReservation_BugParksTheStepAndRetryGoesOn(t *testing.T) {
	t.Parallel()
	p := counter(step{At: 10 * time.Second, Do: confirmIt})
	p.Faults = []fault{{Call: "ConfirmReservation", Nth: 1, Times: 1, When: before, As: bug}}
	s := play(t, p, verb(60*time.Second, theReservation, "confirm", workflows.VerbRetry, ""))
	require.Equal(t, []string{"confirm step_failed"}, s.parkedSteps())
	require.Equal(t, "confirmed", answer[workflows.ReservationAnswer](t, s, workflows.UpdateConfirm, 1).Status)
}
