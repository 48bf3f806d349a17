package shipping

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/tenant"
)

// Rate is a way to the buyer and its price, which a checkout may name until it
// expires.
type Rate struct {
	ID string `json:"id"`
	// Carrier is empty for a row of the tenant's own table.
	Carrier Name   `json:"carrier"`
	Service string `json:"service"`
	Name    string `json:"name"`
	Method  Method `json:"method"`
	Price   int64  `json:"price"` // pesos
	// Days are working days until delivery; null where the carrier doesn't say.
	Days *int `json:"days"`
	// DeliverBy is the day that the carrier promises.
	DeliverBy *string   `json:"deliver_by"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Silent is a carrier that did not answer, and why in a word: that of its failure,
// too_slow, or circuit_open for one that is left out for a while.
type Silent struct {
	Carrier Name   `json:"carrier"`
	Why     string `json:"why"`
}

// rateLife is how long a rate can be used.
const rateLife = time.Hour

// Compare asks all carriers at once, for as long as ctx lives, and returns their
// offers with those that did not answer. A carrier that does not go there has no
// offer and is not silent.
func Compare(ctx context.Context, carriers map[Name]Carrier, q QuoteRequest) (rates []Rate, silent []Silent) {
	type answer struct {
		name   Name
		offers []Offer
		err    error
	}
	answers := make(chan answer, len(carriers))
	var asked sync.WaitGroup
	for name, c := range carriers {
		if !slices.Contains(c.Capabilities().Methods, q.Method) {
			continue
		}
		asked.Go(func() {
			offers, err := c.Quote(ctx, q)
			answers <- answer{name, offers, err}
		})
	}
	asked.Wait()
	close(answers)
	for a := range answers {
		if a.err != nil {
			silent = append(silent, Silent{a.name, why(a.err)})
			continue
		}
		for _, o := range a.offers {
			rates = append(rates, o.rate(a.name))
		}
	}
	slices.SortFunc(silent, func(a, b Silent) int { return cmp.Compare(a.Carrier, b.Carrier) })
	return rates, silent
}

func (o Offer) rate(of Name) Rate {
	r := Rate{Carrier: of, Service: o.Service, Name: o.Name, Method: o.Method, Price: o.Price}
	if o.Days > 0 {
		r.Days = &o.Days
	}
	if !o.DeliverBy.IsZero() {
		day := o.DeliverBy.Format(time.DateOnly)
		r.DeliverBy = &day
	}
	return r
}

// WorkingDays are those until delivery: the carrier's, or from today in a time zone until
// the day that it names instead. Nil where it says neither.
func (r Rate) WorkingDays(timeZone string) *int {
	if r.Days != nil || r.DeliverBy == nil {
		return r.Days
	}
	zone, err := time.LoadLocation(timeZone)
	until, unread := time.Parse(time.DateOnly, *r.DeliverBy)
	if err != nil || unread != nil {
		return nil
	}
	now := time.Now().In(zone)
	days := workingDays(time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC), until)
	return &days
}

func why(err error) string {
	var f *Failure
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "too_slow"
	case errors.As(err, &f) && f.Code == CodeCircuitOpen:
		return CodeCircuitOpen
	case errors.As(err, &f):
		return string(f.Reason)
	}
	return string(Unavailable)
}

// FromTable are the rows of the tenant's own table for a way and a weight: what is
// offered when no carrier has answered.
func FromTable(s tenant.Settings, region string, grams int) []Rate {
	var out []Rate
	for _, row := range s.Freight {
		service := row.Service
		if slices.ContainsFunc(out, func(r Rate) bool { return r.Service == service }) {
			continue
		}
		if price, ok := s.FreightFor(region, service, "CLP", grams); ok {
			method := ToDoor
			if service == "pickup" {
				method = InShop
			}
			out = append(out, Rate{Service: service, Name: service, Method: method, Price: price})
		}
	}
	return out
}

// Sort puts rates in the order of a policy: cheapest, fastest, or best, which counts
// a day of waiting as dayValue pesos. A rate without days counts as slow.
func Sort(rates []Rate, policy string, dayValue int64) {
	days := func(r Rate) int {
		if r.Days == nil {
			return 30
		}
		return *r.Days
	}
	worth := func(r Rate) int64 {
		switch policy {
		case "fastest":
			return int64(days(r))
		case "best":
			return r.Price + int64(days(r))*dayValue
		}
		return r.Price
	}
	slices.SortStableFunc(rates, func(a, b Rate) int {
		return cmp.Or(cmp.Compare(worth(a), worth(b)), cmp.Compare(a.Price, b.Price), cmp.Compare(days(a), days(b)), cmp.Compare(a.Carrier, b.Carrier), cmp.Compare(a.Service, b.Service))
	})
}

// Keep writes rates down for checkouts to name, with the place and the weight that
// they are for, and gives them ids and an end. What has ended long ago goes.
func Keep(ctx context.Context, tx pgx.Tx, tenantID string, rates []Rate, to Place, grams int) error {
	b := &pgx.Batch{}
	b.Queue(`DELETE FROM rates WHERE tenant = $1 AND expires_at < now() - interval '1 day'`, tenantID)
	for i := range rates {
		r := &rates[i]
		r.ID = id.New()
		b.Queue(`INSERT INTO rates (tenant, id, carrier, service, name, method, price, days, comuna, region, point_id, weight_grams, expires_at, deliver_by) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12, now() + $13::interval, $14::text::date) RETURNING expires_at`,
			tenantID, r.ID, r.Carrier, r.Service, r.Name, r.Method, r.Price, r.Days, to.Comuna, to.Region, to.PointID, grams, rateLife, r.DeliverBy).QueryRow(func(row pgx.Row) error { return row.Scan(&r.ExpiresAt) })
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("keep rates: %w", err)
	}
	return nil
}

// Contents are goods as one parcel: their weight, and their sizes stacked on each
// other where the catalogue knows all of them. unknown are SKUs that it hasn't.
func Contents(ctx context.Context, tx pgx.Tx, tenantID string, skus []string, quantities []int) (p Parcel, value int64, unknown []string, err error) {
	rows, err := tx.Query(ctx, `SELECT w.sku, p.sku IS NOT NULL, coalesce(p.weight_grams, 0) * w.quantity, coalesce(p.length_mm, 0), coalesce(p.width_mm, 0), coalesce(p.height_mm, 0) * w.quantity, coalesce(r.amount, 0) * w.quantity
	    FROM unnest($2::text[], $3::int[]) AS w (sku, quantity) LEFT JOIN products p ON p.tenant = $1 AND p.sku = w.sku LEFT JOIN prices r ON r.tenant = $1 AND r.sku = w.sku AND r.currency = 'CLP'`, tenantID, skus, quantities)
	if err != nil {
		return p, 0, nil, fmt.Errorf("goods of a parcel: %w", err)
	}
	var sku string
	var known bool
	var grams, length, width, height int
	var worth int64
	sized := true
	_, err = pgx.ForEachRow(rows, []any{&sku, &known, &grams, &length, &width, &height, &worth}, func() error {
		if !known {
			unknown = append(unknown, sku)
		}
		sized = sized && length > 0 && width > 0 && height > 0
		p.WeightGrams += grams
		p.LengthMM, p.WidthMM, p.HeightMM = max(p.LengthMM, length), max(p.WidthMM, width), p.HeightMM+height
		value += worth
		return nil
	})
	if err != nil {
		return p, 0, nil, fmt.Errorf("goods of a parcel: %w", err)
	}
	if !sized {
		p.LengthMM, p.WidthMM, p.HeightMM = 0, 0, 0
	}
	p.WeightGrams = max(p.WeightGrams, 1)
	return p, value, unknown, nil
}

// AllPoints asks all carriers at once for the points of a comuna, as Compare does.
func AllPoints(ctx context.Context, carriers map[Name]Carrier, at Place) (map[Name][]Point, []Silent) {
	var mu sync.Mutex
	var asked sync.WaitGroup
	points := map[Name][]Point{}
	var silent []Silent
	for name, c := range carriers {
		if !slices.Contains(c.Capabilities().Methods, ToPoint) {
			continue
		}
		asked.Go(func() {
			list, err := c.Points(ctx, at.Comuna, at.Region)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, Silent{name, why(err)})
				return
			}
			points[name] = list
		})
	}
	asked.Wait()
	slices.SortFunc(silent, func(a, b Silent) int { return cmp.Compare(a.Carrier, b.Carrier) })
	return points, silent
}

// Origin is where a warehouse's parcels leave: the one named, or the tenant's first
// that is active and whose comuna is known. 422 unknown_warehouse, and no_comuna for one whose comuna nobody has
// written down.
func Origin(ctx context.Context, tx pgx.Tx, tenantID, warehouse string) (Place, error) {
	var p Place
	var f problem.Fields
	err := tx.QueryRow(ctx, `SELECT comuna, region FROM warehouses WHERE tenant = $1 AND ($2 = '' AND active OR code = $2) ORDER BY comuna = '', position, code LIMIT 1`, tenantID, warehouse).Scan(&p.Comuna, &p.Region)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
	case err != nil:
		return p, fmt.Errorf("warehouse %s: %w", warehouse, err)
	case p.Comuna == "":
		f.Add("warehouse", "no_comuna", "say in which comuna the warehouse is (PUT /v1/warehouses/{code})")
	}
	return p, f.Err()
}

// KeptRate is a rate with the place and the most weight that it is for.
type KeptRate struct {
	Rate
	To          Place
	WeightGrams int
}

// RateFor reads a rate that a checkout names. 422 unknown_rate for none of the
// tenant's, rate_expired for one whose time is over.
func RateFor(ctx context.Context, tx pgx.Tx, tenantID, rateID string) (KeptRate, error) {
	r := KeptRate{Rate: Rate{ID: rateID}}
	var expired bool
	err := tx.QueryRow(ctx, `SELECT carrier, service, name, method, price, days, deliver_by::text, comuna, region, point_id, weight_grams, expires_at, expires_at <= now() FROM rates WHERE tenant = $1 AND id = $2`, tenantID, rateID).
		Scan(&r.Carrier, &r.Service, &r.Name, &r.Method, &r.Price, &r.Days, &r.DeliverBy, &r.To.Comuna, &r.To.Region, &r.To.PointID, &r.WeightGrams, &r.ExpiresAt, &expired)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return r, problem.New(problem.Refused, "unknown_rate", "There is no such rate: ask for rates again.")
	case err != nil:
		return r, fmt.Errorf("rate %s: %w", rateID, err)
	case expired:
		return r, problem.New(problem.Refused, "rate_expired", "This rate is over: ask for rates again.")
	}
	return r, nil
}
