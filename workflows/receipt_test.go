package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/workflows"
)

const atTheDoor = "Goods for purchase order PO-1 are being received in bin IN of SCL-1 since yesterday: the receipt waits for "

// newDoor is a receipt that nobody has scanned anything for.
func newDoor(t *testing.T, due time.Duration) *lorry {
	t.Helper()
	return newWatched(t, workflows.KindReceipt, workflows.ReceiptName, workflows.Receipt, activities.Watched{Status: "open", WaitsFor: atTheDoor + "the first scan.", DueAt: dawn.Add(due)})
}

func (l *lorry) closes() { l.row = activities.Watched{Status: "closed", Over: true} }

func TestReceipt_EndsWhenItIsClosedAndAsksNobody(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 12*time.Hour)
	d.at(20*time.Minute, true, func() { d.row.WaitsFor = atTheDoor + "a person to close it." })
	d.at(50*time.Minute, true, d.closes)
	d.run(t, workflows.WatchInput{})
	require.Empty(t, d.asked)
	require.Equal(t, []time.Duration{0, 20 * time.Minute, 50 * time.Minute}, d.looked)
}

func TestReceipt_EndsWithinAnHourWhenNobodyTellsIt(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 12*time.Hour)
	d.at(150*time.Minute, false, func() { d.row = activities.Watched{Status: "cancelled", Over: true} })
	d.run(t, workflows.WatchInput{})
	require.Equal(t, 3*time.Hour, d.looked[len(d.looked)-1])
}

func TestReceipt_ALateOneIsToldOfInWordsAndClosingCuresIt(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 90*time.Minute)
	d.at(91*time.Minute, false, func() {
		c := d.parked["reception"]
		require.Equal(t, []string{workflows.VerbRetry}, c.Verbs)
		require.Equal(t, lorryID, c.Subject)
		require.Contains(t, c.Tried, "waited until "+dawn.Add(90*time.Minute).Format("2006-01-02 15:04")+" UTC")
	})
	d.at(100*time.Minute, true, func() { d.row.WaitsFor = atTheDoor + "a person to close it." })
	d.at(10*time.Hour, true, d.closes)
	d.run(t, workflows.WatchInput{})
	require.Equal(t, []string{
		"receipt_overdue: " + atTheDoor + "the first scan. Close it with what came, or cancel it when nothing did. `retry` waits another day.",
		"receipt_overdue: " + atTheDoor + "a person to close it. Close it with what came, or cancel it when nothing did. `retry` waits another day.",
	}, d.asked, "somebody has scanned: other words")
	require.Equal(t, []string{"it is closed"}, d.ends)
}

func TestReceipt_RetryWaitsAnotherDayAndResolveIsRefused(t *testing.T) {
	t.Parallel()
	d := newDoor(t, time.Hour)
	d.verb(90*time.Minute, workflows.VerbResolve)
	d.verb(2*time.Hour, workflows.VerbRetry)
	d.at(25*time.Hour, false, func() { require.Empty(t, d.parked) })
	d.at(27*time.Hour, false, func() { require.Len(t, d.parked, 1) })
	d.at(28*time.Hour, true, d.closes)
	d.run(t, workflows.WatchInput{})
	require.Len(t, d.answer, 2)
	require.Contains(t, d.answer[0], "does not apply here; those that do: retry")
	require.Equal(t, "waits another day", d.answer[1])
	require.Empty(t, d.closer)
	require.Len(t, d.asked, 2)
}

func TestReceipt_RestartedFromItsRowGoesOn(t *testing.T) {
	t.Parallel()
	d := newDoor(t, -time.Hour)
	d.at(3*time.Hour, true, d.closes)
	d.run(t, workflows.WatchInput{})
	require.Len(t, d.asked, 1, "late already")

	over := newDoor(t, 0)
	over.closes()
	over.run(t, workflows.WatchInput{})
	require.Len(t, over.looked, 1)
	require.Empty(t, over.asked)
}

func TestReceipt_ALaterPartOfTheRunKnowsItsCase(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	d.parked["reception"] = activities.ParkedCase{}
	d.closes()
	d.run(t, workflows.WatchInput{Parked: true})
	require.Equal(t, []string{"it is closed"}, d.ends)
}
