package simulate

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const booksPath = "/v1/reports/reconciliation"

// Books is what the comparison of our books with the providers' said at the end
// of a run.
type Books struct {
	Date     string           `json:"date"`
	Gateways []GatewayBooks   `json:"gateways"`
	Rounds   int              `json:"rounds"` // how often it was made; a repair asks for another
	Open     []BookDifference `json:"open"`
}

// GatewayBooks is one gateway's comparison.
type GatewayBooks struct {
	Gateway string           `json:"gateway"`
	Status  string           `json:"status"`
	Source  string           `json:"source"`
	Counts  map[string]int   `json:"counts"`
	Items   []BookDifference `json:"items,omitempty"`
}

// BookDifference is a transaction on which the two sides do not agree.
type BookDifference struct {
	Gateway    string `json:"gateway"`
	Kind       string `json:"kind"`
	Result     string `json:"result"`
	Resolution string `json:"resolution"`
	PaymentID  string `json:"payment_id"`
	Note       string `json:"note"`
}

// mostRounds is how often books are compared until they agree: what one round
// repairs the next one finds matched.
const mostRounds = 12

// reconcile has the books of the days compared as the daily schedule would, and
// again while that repairs something.
func (r *run) reconcile(ctx context.Context, days []string) ([]Books, error) {
	r.say("comparing the books with the providers'")
	var all []Books
	for _, day := range days {
		books, err := r.compare(ctx, day)
		if err != nil {
			return all, fmt.Errorf("reconciliation of %s: %w", day, err)
		}
		all = append(all, books)
	}
	return all, nil
}

func (r *run) compare(ctx context.Context, day string) (b Books, err error) {
	for b.Rounds = 1; ; b.Rounds++ {
		key := fmt.Sprintf("sim-%s-books-%s-%d", r.id, day, b.Rounds)
		a, err := r.shop.insist(ctx, http.MethodPost, booksPath, key, map[string]any{"date": day, "gateways": r.Gateways})
		if err != nil {
			return b, err
		}
		if !a.ok() {
			return b, fmt.Errorf("POST %s: %s", booksPath, a)
		}
		if err := r.compared(ctx, day, &b); err != nil {
			return b, err
		}
		b.Open = nil
		repaired := false
		for _, g := range b.Gateways {
			for _, i := range g.Items {
				switch i.Resolution {
				case "repaired":
					repaired = true
					b.Open = append(b.Open, i)
				case "raised":
					b.Open = append(b.Open, i)
				}
			}
		}
		if len(b.Open) == 0 || !repaired && b.Rounds >= 3 || b.Rounds == mostRounds {
			return b, nil
		}
		if err := rest(ctx, 2*time.Second); err != nil {
			return b, err
		}
	}
}

// compared waits for the comparison of every gateway and reads it.
func (r *run) compared(ctx context.Context, day string, b *Books) error {
	rounds := b.Rounds
	for pause := 300 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		var now Books
		if err := r.shop.get(ctx, booksPath+"?date="+url.QueryEscape(day), &now); err != nil {
			return err
		}
		now.Rounds = rounds
		*b = now
		running := func(g GatewayBooks) bool { return slices.Contains(r.Gateways, g.Gateway) && g.Status == "running" }
		if len(b.Gateways) > 0 && !slices.ContainsFunc(b.Gateways, running) {
			return nil
		}
		if err := rest(ctx, pause); err != nil {
			return fmt.Errorf("it has not ended: %w", err)
		}
	}
}

// booksAgree: whatever differs between our books and the providers' is
// explained.
func (e evidence) booksAgree() (all []Difference) {
	for _, b := range e.books {
		for _, g := range b.Gateways {
			if g.Status == "failed" {
				all = append(all, Difference{Rule: "books_not_compared", Words: fmt.Sprintf("the books of %s of %s could not be compared", g.Gateway, b.Date)})
			}
		}
		for _, i := range b.Open {
			all = append(all, Difference{Rule: "books_differ", Words: fmt.Sprintf("%s of %s at %s: %s, %s: %s", i.Kind, i.PaymentID, i.Gateway, i.Result, i.Resolution, i.Note)})
		}
	}
	return all
}

// days are the days on which a run took place, in the shop's time.
func days(began, ended time.Time) []string {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		zone = time.UTC
	}
	first, last := began.In(zone).Format(time.DateOnly), ended.In(zone).Format(time.DateOnly)
	if first == last {
		return []string{first}
	}
	return []string{first, last}
}
