// Package simulate drives real orders through a running stack, as storefronts
// and buyers do: over the public HTTP API and the sandbox's pages for buyers,
// while the providers misbehave. At the end it compares what its buyers did,
// were told and were charged with what the API says.
//
// Which buyers there are is decided by a seed; how they meet is up to the
// machine.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"justlogistics/internal/audit"
	"justlogistics/internal/httpclient"
)

// Options of a run.
type Options struct {
	Orders   int
	Rate     float64 // checkouts per second
	Faults   Faults
	Gateways []string
	// To is how far orders are driven: paid; picked, which also works a shift in two
	// warehouses that only this run has; delivered, which sends out what was picked
	// there and follows it to the door; or returned, where some of it comes back.
	To string
	// ReturnRate is how much of what came home whole comes back, 0 to 1.
	ReturnRate float64
	// Later lets the time go by in which a return was to be sent; nil where that can't be
	// done: then none expires.
	Later func(ctx context.Context, returnID string) error
	Seed  uint64
	// APIURL is the API without /v1; APIKey one with scope admin, because the
	// run sets up products and holds stock for seconds only.
	APIURL, APIKey string
	SandboxURL     string
	// Warehouses that the run's stock lies in, unless it has its own.
	Warehouses []string
	// Timeout bounds the whole run.
	Timeout time.Duration
	// Audit makes the audit at the end; nil leaves it out, and NoAudit says why.
	Audit   func(ctx context.Context) (audit.Report, error)
	NoAudit string
	// Progress is told in words how far the run is; may be nil.
	Progress func(words string)
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	switch {
	case o.Orders < 1:
		return errors.New("orders: at least 1")
	case o.Rate <= 0:
		return errors.New("rate: more than 0 checkouts per second")
	case len(o.Gateways) == 0:
		return errors.New("gateways: at least one")
	case !slices.Contains([]string{toPaid, toPicked, toDelivered, toReturned}, o.To):
		return fmt.Errorf("to %s: this build drives orders as far as paid, picked, delivered or returned", o.To)
	case o.To == toReturned && (o.ReturnRate <= 0 || o.ReturnRate > 1):
		return errors.New("return-rate: more than 0, at most 1")
	case o.Timeout <= 0:
		return errors.New("timeout: more than 0")
	case o.APIURL == "" || o.APIKey == "" || o.SandboxURL == "":
		return errors.New("the API's URL, a key and the sandbox's URL are needed: run it beside a dev, or give --api-url, --api-key and --sandbox-url")
	case len(o.Warehouses) == 0 && o.To == toPaid:
		return errors.New("warehouses: at least one")
	}
	_, err := ParseFaults(string(o.Faults))
	return err
}

// run is one simulation.
type run struct {
	Options
	id      string
	shop    *storefront
	world   *world
	shelves []shelf
	records []*Record
	// shift is nil where orders are only paid.
	shift *shift
}

func (r *run) prefix() string         { return "SIM-" + strconv.FormatUint(r.Seed, 10) + "-" + r.id + "-" }
func (r *run) sku(name string) string { return r.prefix() + name }
func (r *run) name(sku string) string { return strings.TrimPrefix(sku, r.prefix()) }
func (r *run) code() string           { return strings.ToUpper("SIM-" + r.id) }
func (r *run) say(f string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(f, args...))
	}
}

func (r *run) othersThan(gateway string) (others []string) {
	for _, g := range r.Gateways {
		if g != gateway && gateway != autoRoute {
			others = append(others, g)
		}
	}
	return others
}

// Run makes the run and reports it. What the buyers found wrong is in the
// report; an error means that the run could not be made or not be judged.
// Whatever happens, and when ctx ends too, the faults are cleared.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.Check(); err != nil {
		return Report{}, err
	}
	began := time.Now()
	// A buyer's step waits for the shop's page, which waits for the gateway.
	client := httpclient.New(httpclient.Options{Timeout: 45 * time.Second, MaxAnswer: 256 << 20, MaxConnsPerHost: 512})
	defer client.CloseIdleConnections()
	r := &run{Options: o, id: strconv.FormatInt(began.UnixMilli(), 36), shop: newStorefront(strings.TrimRight(o.APIURL, "/"), o.APIKey, client),
		world: &world{base: strings.TrimRight(o.SandboxURL, "/"), client: client}}
	if o.To != toPaid {
		r.shift = newShift(r)
	}
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()

	buyers := Draw(o.Seed, o.Orders, o.Gateways)
	if err := r.stockUp(limited, buyers); err != nil {
		return Report{}, fmt.Errorf("set up the run's products: %w", err)
	}
	arrivals := time.Duration(float64(o.Orders) / o.Rate * float64(time.Second))
	trouble, err := r.world.begin(limited, o.Faults, o.Gateways, o.Seed, arrivals)
	if trouble == nil {
		return Report{}, err
	}
	var noShift error
	if err == nil && r.shift != nil {
		defer r.shift.abandon()
		noShift = r.shift.begin(limited)
	}
	if err == nil && noShift == nil {
		r.trade(limited, buyers)
	}
	occurred, clearing := trouble.end(ctx)
	if err := errors.Join(err, clearing); err != nil {
		return Report{}, fmt.Errorf("faults: %w", err)
	}
	if ctx.Err() != nil {
		return Report{}, fmt.Errorf("interrupted; the faults are cleared: %w", ctx.Err())
	}
	if noShift != nil {
		return Report{}, fmt.Errorf("begin the shift: %w", noShift)
	}
	found, err := r.find(limited, began)
	if err != nil {
		return Report{}, err
	}
	report := r.report(found, occurred)
	if r.shift != nil {
		report.Work = r.shift.account(found.floor)
	}
	report.Seconds = time.Since(began).Seconds()
	r.audit(ctx, &report)
	return report, nil
}

// stockUp makes products, stock and a discount code that only this run uses.
func (r *run) stockUp(ctx context.Context, buyers []Buyer) error {
	r.shelves = shelves(buyers)
	if r.shift != nil {
		if err := r.shift.open(ctx); err != nil {
			return err
		}
	}
	for _, s := range r.shelves {
		product := map[string]any{"name": "Simulation " + s.name, "prices": []map[string]any{{"currency": "CLP", "amount": s.price}}, "weight_grams": unitGrams}
		if err := r.shop.put(ctx, "/v1/products/"+r.sku(s.name), product); err != nil {
			return err
		}
		if r.shift != nil {
			continue
		}
		for i, w := range r.Warehouses {
			here := s.units / len(r.Warehouses)
			if i == 0 {
				here += s.units % len(r.Warehouses)
			}
			if err := r.shop.put(ctx, "/v1/stock/"+r.sku(s.name), map[string]any{"warehouse": w, "on_hand": here}); err != nil {
				return err
			}
		}
	}
	if r.shift != nil {
		if err := r.shift.furnish(ctx, r.shelves); err != nil {
			return err
		}
	}
	return r.shop.put(ctx, "/v1/discount-codes/"+r.code(), map[string]any{"kind": "percent", "value": codeBasis})
}

// trade lets the buyers in at the run's rate and waits until all have gone.
func (r *run) trade(ctx context.Context, buyers []Buyer) {
	r.say("%d buyers arrive at %g a second, faults: %s", len(buyers), r.Rate, r.Faults)
	var all sync.WaitGroup
	door := time.NewTicker(time.Duration(float64(time.Second) / r.Rate))
	defer door.Stop()
	for _, b := range buyers {
		rec := &Record{Buyer: b}
		r.records = append(r.records, rec)
		all.Go(func() {
			v := &visit{run: r, shop: r.shop, out: r.world, rec: rec}
			v.choosesARate(ctx)
			scripts[b.Kind](ctx, v)
		})
		select {
		case <-door.C:
		case <-ctx.Done():
		}
	}
	all.Wait()
}

// audit has the database checked, when it is known where it is.
func (r *run) audit(ctx context.Context, report *Report) {
	if r.Audit == nil {
		report.NoAudit = r.NoAudit
		return
	}
	r.say("auditing the database")
	found, err := r.Audit(ctx)
	if err != nil {
		report.NoAudit = err.Error()
		report.AuditFailed = true
		return
	}
	report.Audit = &found
}

// find waits until every checkout has ended, and gathers what the rules need.
func (r *run) find(ctx context.Context, began time.Time) (evidence, error) {
	r.say("faults are cleared, waiting for every checkout to end")
	r.settle(ctx)
	var floor *floorEvidence
	if r.shift != nil {
		floor = &floorEvidence{}
		r.shift.close(ctx, floor)
	}
	// What had not ended by the timeout is a difference; comparing and reading the
	// rest gets a little time of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	books, err := r.reconcile(ctx, days(began, time.Now()))
	if err != nil {
		return evidence{}, err
	}
	r.catchUp(ctx)
	e := evidence{records: r.records, shelves: r.shelves, stock: map[string]stockOf{}, prefix: r.prefix(), clean: r.Faults == NoFaults, books: books, floor: floor}
	for _, rec := range r.records {
		if len(rec.CheckoutIDs) == 0 || rec.checkout != nil && rec.checkout.endedBut(rec.Doubted) {
			continue
		}
		if _, err := r.look(ctx, rec); err != nil && rec.Unanswered == "" {
			rec.Unanswered = err.Error()
		}
	}
	if r.shift != nil {
		r.shift.gather(context.WithoutCancel(ctx), floor)
	}
	if e.ledger, err = r.world.ledger(ctx); err != nil {
		return e, err
	}
	for _, s := range r.shelves {
		var level stockOf
		if err := r.shop.get(ctx, "/v1/stock/"+r.sku(s.name), &level); err != nil {
			return e, err
		}
		e.stock[s.name] = level
	}
	return e, nil
}

// settle reads every checkout until it has ended or ctx has, and the orders of
// those that were paid.
func (r *run) settle(ctx context.Context) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, rec := range r.records {
		if len(rec.CheckoutIDs) == 0 {
			continue
		}
		all.Go(func() {
			for pause := 300 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
				slots <- struct{}{}
				// What can't be read now is read again, and once more at the end.
				done, _ := r.look(ctx, rec)
				<-slots
				if done || rest(ctx, pause) != nil {
					return
				}
			}
		})
	}
	all.Wait()
}

// catchUp reads the orders of what was done behind the API's back until it has
// heard of it, for a while: what it has not heard of by then is a difference.
func (r *run) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, rec := range r.records {
		if rec.Panel == 0 && rec.Dispute == "" && len(rec.Refunds) == 0 {
			continue
		}
		all.Go(func() {
			for rest(ctx, 300*time.Millisecond) == nil {
				if done, err := r.look(ctx, rec); err == nil && done && rec.heard() {
					return
				}
			}
		})
	}
	all.Wait()
}

func (r *run) look(ctx context.Context, rec *Record) (done bool, err error) {
	var c checkout
	a, err := r.shop.once(ctx, http.MethodGet, checkoutsPath+"/"+rec.CheckoutIDs[len(rec.CheckoutIDs)-1], "", nil)
	if err != nil || !a.ok() {
		return false, err
	}
	if err := a.into(&c); err != nil {
		return false, err
	}
	rec.checkout = &c
	if !c.ended() {
		if only, err := r.inDoubt(ctx, rec, c); err != nil || !only {
			return false, err
		}
	}
	if c.Status != "paid" {
		return true, nil
	}
	a, err = r.shop.once(ctx, http.MethodGet, "/v1/orders/"+c.ID, "", nil)
	if err != nil || a.status >= 500 {
		return false, err
	}
	if a.ok() {
		var o order
		if err := a.into(&o); err != nil {
			return false, err
		}
		rec.order = &o
	}
	return r.refunds(ctx, rec)
}
