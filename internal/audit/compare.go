package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"justlogistics/internal/postgres"
)

// compareUntilCalm compares our books with the ledger. What differs is looked
// at again for as long as the options' patience lasts, because money moves
// while we look; only what differs in every look counts.
func compareUntilCalm(ctx context.Context, db *postgres.DB, o Options, first look) ([]Check, error) {
	checks := first.compare()
	deadline := time.Now().Add(o.Patience)
	for wait := 250 * time.Millisecond; differences(checks) > 0 && time.Now().Before(deadline); wait = min(2*wait, 2*time.Second) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(wait, time.Until(deadline))):
		}
		again, err := lookWithLedger(ctx, db, o, nil)
		if err != nil {
			return nil, err
		}
		keepCommon(checks, again.compare())
	}
	return checks, nil
}

func differences(checks []Check) (n int) {
	for _, c := range checks {
		n += len(c.Violations)
	}
	return n
}

// keepCommon drops from checks the violations that later does not repeat.
func keepCommon(checks, later []Check) {
	for i := range checks {
		still := map[string]bool{}
		for _, v := range later[i].Violations {
			still[v.Tenant+"/"+v.Subject] = true
		}
		checks[i].Violations = slices.DeleteFunc(checks[i].Violations, func(v Violation) bool { return !still[v.Tenant+"/"+v.Subject] })
	}
}

// compare makes the checks that need the providers' side. Their order is fixed.
func (l look) compare() []Check {
	return []Check{l.chargesAreKnown(), l.capturesAreCharged(), l.amountsAgree(), l.ourRefundsWentBack(), l.refundsAreKnown(),
		l.labelsAreKnown(), l.bookingsAreThere(), l.parcelsAreWhereCarriersSay()}
}

// owners finds whose a charge is.
type owners struct {
	byID map[string]booked
	// byName are the further approvals under a payment's reference, which share
	// its id at the provider.
	byName map[named]booked
}

// named is how a provider tells charges under one reference apart.
type named struct{ gateway, root, name string }

func (l look) owners() owners {
	o := owners{map[string]booked{}, map[named]booked{}}
	for _, p := range l.payments {
		o.byID[p.ID] = p
		if p.Under != "" {
			o.byName[named{p.Gateway, p.Under, p.CaptureRef}] = p
		}
	}
	return o
}

func (o owners) of(charge entry) (booked, bool) {
	if p, ok := o.byName[named{charge.Gateway, charge.PaymentID, charge.Reference}]; ok {
		return p, true
	}
	p, ok := o.byID[charge.PaymentID]
	return p, ok
}

// rootIDs are the ids by which providers know further approvals.
type rootIDs map[string]string

func (l look) roots() rootIDs {
	roots := rootIDs{}
	for _, p := range l.payments {
		roots[p.ID] = p.root()
	}
	return roots
}

func (m rootIDs) of(r bookedRefund) string {
	if root := m[r.PaymentID]; root != "" {
		return root
	}
	return r.PaymentID
}

// chargesAreKnown is invariant 3 seen from outside: every approved payment at a
// provider has paid an order, or goes back with its reason.
func (l look) chargesAreKnown() Check {
	c := Check{Invariant: 3, Name: "ledger.charges_are_known", Rule: "every charge at a provider paid an order, goes back with its reason, is in motion, or waits for a person"}
	ours := l.owners()
	backed := map[string]bool{}
	for _, r := range l.refunds {
		backed[r.PaymentID] = backed[r.PaymentID] || r.Reason != "" && (r.Status != "failed" || r.Code == "given_up_by_support")
	}
	for _, charge := range l.before.Charges {
		if !charge.taken() {
			continue
		}
		c.Rows++
		p, known := ours.of(charge)
		words := ""
		switch {
		case !known:
			words = "no payment of ours has this id"
		case p.Gateway != charge.Gateway:
			words = "our payment of this id is at " + p.Gateway
		case p.InMotion, p.Parked, p.Captured > 0 && (p.Applied || backed[p.ID] || p.Disputed):
		case p.Captured == 0:
			words = fmt.Sprintf("our payment is %s and has captured nothing", p.Status)
		default:
			words = "our payment is applied to nothing and no refund is booked"
		}
		if words != "" {
			c.Violations = append(c.Violations, charge.violation(p.Tenant, fmt.Sprintf("%s took %d %s: %s", charge.Gateway, charge.Amount, charge.Currency, words),
				"ask the gateway about the payment (support retry); money that is nobody's is refunded in the provider's panel"))
		}
	}
	return c
}

// capturesAreCharged: what we call captured, the provider took.
func (l look) capturesAreCharged() Check {
	c := Check{Invariant: 2, Name: "ledger.captures_are_charged", Rule: "every capture in our books is a charge at its provider, once"}
	charged := map[string]int{}
	ours := l.owners()
	for _, charge := range l.after.Charges {
		if p, known := ours.of(charge); known && charge.taken() {
			charged[charge.Gateway+"/"+p.ID]++
		}
	}
	for _, p := range l.payments {
		if p.Captured == 0 {
			continue
		}
		c.Rows++
		if n := charged[p.Gateway+"/"+p.ID]; n != 1 {
			c.Violations = append(c.Violations, Violation{Tenant: p.Tenant, Subject: p.ID, Data: map[string]any{"gateway": p.Gateway, "captured": p.Captured, "charges": n},
				Words: fmt.Sprintf("we captured %d %s, and %s has %d charges for it", p.Captured, p.Currency, p.Gateway, n), Repair: "compare with the provider's panel before anything is shipped"})
		}
	}
	return c
}

// amountsAgree: the same sum on both sides.
func (l look) amountsAgree() Check {
	c := Check{Invariant: 2, Name: "ledger.amounts_agree", Rule: "a charge and our capture of it are the same amount and currency"}
	ours := l.owners()
	for _, charge := range l.before.Charges {
		p, known := ours.of(charge)
		if !known || p.Captured == 0 || p.Gateway != charge.Gateway || !charge.taken() {
			continue
		}
		c.Rows++
		if charge.Amount != p.Captured || charge.Currency != p.Currency && p.NotAppliedReason != "mismatch_currency" {
			c.Violations = append(c.Violations, charge.violation(p.Tenant, fmt.Sprintf("%s took %d %s, our books say %d %s", charge.Gateway, charge.Amount, charge.Currency, p.Captured, p.Currency),
				"the provider's figure is what the buyer paid: correct the capture, and refund or claim the rest"))
		}
	}
	return c
}

// ourRefundsWentBack: what we call refunded, the provider gave back, once.
func (l look) ourRefundsWentBack() Check {
	c := Check{Invariant: 2, Name: "ledger.our_refunds_went_back", Rule: "every refund that succeeded in our books was given back by its provider, once"}
	there := tally(l.after.Refunds)
	roots := l.roots()
	for _, r := range l.refunds {
		if r.Status != "succeeded" || r.Elsewhere {
			continue
		}
		c.Rows++
		key := tallied{roots.of(r), r.Amount, r.Currency}
		if there[key] == 0 {
			c.Violations = append(c.Violations, Violation{Tenant: r.Tenant, Subject: r.ID, Data: map[string]any{"payment": r.PaymentID, "amount": r.Amount, "reason": r.Reason},
				Words: fmt.Sprintf("we say that %d %s of payment %s went back, the provider has no such refund", r.Amount, r.Currency, r.PaymentID), Repair: "ask the provider; if the money is still there, book the refund again"})
			continue
		}
		there[key]--
	}
	return c
}

// refundMixed is the code of a refund whose provider tells sums alone, and has given back
// another than ours: with its answer lost nobody can say what of that is ours.
const refundMixed = "refund_mismatch"

// refundsAreKnown: nothing went back without our knowing.
func (l look) refundsAreKnown() Check {
	c := Check{Invariant: 2, Name: "ledger.refunds_are_known", Rule: "every refund at a provider is in our books, once, or on its way there, or mixed up with one of ours, about which a person is asked"}
	ours := map[tallied]int{}
	mixed := map[string]bool{}
	tenants := map[string]string{}
	for _, p := range l.payments {
		tenants[p.ID] = p.Tenant
	}
	roots := l.roots()
	for _, r := range l.refunds {
		if r.Status == "succeeded" && !r.Elsewhere || r.InMotion {
			ours[tallied{roots.of(r), r.Amount, r.Currency}]++
		}
		if r.InMotion && r.Code == refundMixed {
			mixed[roots.of(r)] = true
		}
	}
	there := tally(l.before.Refunds)
	for _, key := range slices.SortedFunc(maps.Keys(there), tallied.compare) {
		n := there[key]
		c.Rows += n
		if n > ours[key] && !mixed[key.payment] {
			c.Violations = append(c.Violations, Violation{Tenant: tenants[key.payment], Subject: key.payment, Data: map[string]any{"amount": key.amount, "currency": key.currency, "there": n, "ours": ours[key]},
				Words: fmt.Sprintf("%d %s of payment %s went back %d times, our books know of %d", key.amount, key.currency, key.payment, n, ours[key]), Repair: "record the provider's refund, and stop refunds of ours that are pending"})
		}
	}
	return c
}

// tallied is what makes two refunds alike: providers name them in their own
// ways, so they are counted by payment and amount.
type tallied struct {
	payment  string
	amount   int64
	currency string
}

func (a tallied) compare(b tallied) int {
	if a.payment != b.payment {
		if a.payment < b.payment {
			return -1
		}
		return 1
	}
	return int(a.amount - b.amount)
}

func tally(refunds []entry) map[tallied]int {
	n := map[tallied]int{}
	for _, r := range refunds {
		if r.Status == "succeeded" {
			n[tallied{r.PaymentID, r.Amount, r.Currency}]++
		}
	}
	return n
}

func (e entry) violation(tenant, words, repair string) Violation {
	return Violation{Tenant: tenant, Subject: e.PaymentID, Data: map[string]any{"gateway": e.Gateway, "amount": e.Amount, "currency": e.Currency, "reference": e.Reference, "status": e.Status}, Words: words, Repair: repair}
}
