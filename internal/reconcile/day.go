// Package reconcile compares a gateway's books with ours: what the provider
// says happened on one day of the tenant's, transaction by transaction. What
// can be put right without a decision goes the ways that money always goes (the
// inbox, the refund's own run); the rest waits for a person.
//
// The comparison is a plain function (Compare). Around it are the rows: what
// providers said, which day was compared, what came of it.
package reconcile

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // a host without zones would cut the days elsewhere
)

// Margin is how far around a day transactions are looked at: the two sides
// date a payment by their own clocks, and one of them may have it after
// midnight.
const Margin = 3 * time.Hour

// Day is a day by a tenant's clock: From <= t < To, in UTC.
type Day struct {
	Date     string // 2006-01-02
	From, To time.Time
}

// ErrDay is returned for what is not a day.
var ErrDay = errors.New("want a day like 2026-11-20")

// DayIn returns the span of a date in a zone. Days on which the clocks change
// have 23 or 25 hours, and in Chile begin in the middle of it.
func DayIn(date string, zone *time.Location) (Day, error) {
	d, err := time.Parse(time.DateOnly, date)
	if err != nil || d.Year() < 2000 {
		return Day{}, ErrDay
	}
	return Day{Date: date, From: midnight(d, zone), To: midnight(d.AddDate(0, 0, 1), zone)}, nil
}

// DayOf returns the day in a zone that holds t.
func DayOf(t time.Time, zone *time.Location) Day {
	date := t.In(zone).Format(time.DateOnly)
	d, err := DayIn(date, zone)
	if err != nil {
		// Only years that no clock shows have dates that cannot be read back.
		panic(fmt.Sprintf("reconcile: day of %s: %v", t, err))
	}
	return d
}

// Before is the day before d.
func (d Day) Before(zone *time.Location) Day { return DayOf(d.From.Add(-time.Hour), zone) }

// Has reports whether t is in the day.
func (d Day) Has(t time.Time) bool { return !t.Before(d.From) && t.Before(d.To) }

// Wide is the day with the margin on both sides.
func (d Day) Wide() (from, to time.Time) { return d.From.Add(-Margin), d.To.Add(Margin) }

// midnight is the first moment of a date. Where the clocks jump over midnight,
// or show the hour before it twice, time.Date may give a moment of the evening
// before.
func midnight(d time.Time, zone *time.Location) time.Time {
	t := time.Date(d.Year(), d.Month(), d.Day(), 0, 0, 0, 0, zone)
	for t.Day() != d.Day() {
		t = t.Add(15 * time.Minute)
	}
	return t.UTC()
}
