package simulate

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// scripts are what each kind of buyer does, from the basket to its last click.
// A script that finds its way barred ends: what became of the buyer is judged
// by its record.
var scripts = map[Kind]func(ctx context.Context, v *visit){
	Approves: pays, AnyGateway: pays, HasDiscount: pays, BuysMany: pays, WantsTheLast: pays,
	WantsTooMuch:       wantsTooMuch,
	DeclinedGivesUp:    leaves("decline"),
	DeclinedPaysAgain:  leavesAndPays("decline"),
	Aborts:             leaves("abort"),
	AbortsThenPays:     leavesAndPays("abort"),
	WalksAway:          walksAway,
	PaysLate:           paysLate,
	PaysTwice:          paysTwice,
	ClicksTwice:        clicksTwice,
	Cancels:            cancels,
	CancelsWhilePaying: cancelsWhilePaying,
	RetriesSameKey:     retriesSameKey,
	ClosesTheTab:       closesTheTab,
	PaysByToken:        paysByToken,
	GetsAllBack:        boughtFirst(getsAllBack),
	GetsAUnitBack:      boughtFirst(getsAUnitBack),
	AsksTwice:          boughtFirst(asksTwice),
	RefundedByPanel:    boughtFirst(refundedByPanel),
	Disputes:           boughtFirst(disputes),
}

// payment is the id of the attempt that can be paid now, or "".
func (c *checkout) payment() string {
	if c == nil || c.Payment == nil || c.Status != "awaiting_payment" {
		return ""
	}
	return c.Payment.ID
}

func pays(ctx context.Context, v *visit) {
	if p := v.checkOut(ctx).payment(); p != "" {
		v.hesitate(ctx)
		v.rec.Occurred = v.approve(ctx, p, true)
	}
}

func wantsTooMuch(ctx context.Context, v *visit) {
	v.checkOut(ctx)
	v.rec.Occurred = v.rec.Refused != ""
}

// leaves declines or aborts and gives up.
func leaves(step string) func(context.Context, *visit) {
	return func(ctx context.Context, v *visit) {
		if p := v.checkOut(ctx).payment(); p != "" {
			v.hesitate(ctx)
			v.rec.Occurred = v.leave(ctx, p, step)
		}
	}
}

// leavesAndPays declines or aborts, and pays with another attempt.
func leavesAndPays(step string) func(context.Context, *visit) {
	return func(ctx context.Context, v *visit) {
		c := v.checkOut(ctx)
		p := c.payment()
		if p == "" || !v.leave(ctx, p, step) {
			return
		}
		v.hesitate(ctx)
		if p = v.another(ctx, c, v.buyer().Other); p != "" {
			v.rec.Occurred = v.approve(ctx, p, true)
		}
	}
}

func walksAway(ctx context.Context, v *visit) {
	v.rec.Occurred = v.checkOut(ctx).payment() != ""
}

// paysLate approves after the hold's end; the provider may have closed its page
// by then.
func paysLate(ctx context.Context, v *visit) {
	c := v.checkOut(ctx)
	p := c.payment()
	if p == "" || c.ExpiresAt == nil {
		return
	}
	if rest(ctx, time.Until(*c.ExpiresAt)+500*time.Millisecond+time.Duration(5*v.buyer().Delay)*time.Millisecond) != nil {
		return
	}
	v.approve(ctx, p, true)
	v.rec.Occurred = true
}

// paysTwice tries to approve two attempts at one order: the first is left open
// in another tab, or approved at the moment when the second begins.
func paysTwice(ctx context.Context, v *visit) {
	c := v.checkOut(ctx)
	first := c.payment()
	if first == "" {
		return
	}
	var approved bool
	var both sync.WaitGroup
	second := ""
	if v.buyer().Coin {
		// The form is filled in, but the browser is not back when the second begins.
		approved = v.approve(ctx, first, false)
		second = v.another(ctx, c, v.buyer().Other)
	} else {
		// At once: which comes first is anybody's guess.
		other := *v
		other.rec = &Record{Buyer: v.rec.Buyer}
		both.Go(func() { approved = other.approve(ctx, first, true) })
		second = v.another(ctx, c, v.buyer().Other)
		both.Wait()
		v.rec.join(other.rec)
	}
	v.rec.Occurred = approved
	if second != "" {
		v.approve(ctx, second, true)
	}
	if approved && v.buyer().Coin {
		// The forgotten tab goes back to the shop at last.
		if took, err := v.out.step(ctx, first, "return", true); err == nil {
			v.back(ctx, first, took)
		}
	}
}

// join adds what was done beside the buyer's main line.
func (r *Record) join(o *Record) {
	r.Approvals = append(r.Approvals, o.Approvals...)
	r.ServerErrors = append(r.ServerErrors, o.ServerErrors...)
	r.Trouble = append(r.Trouble, o.Trouble...)
	r.Refunds = append(r.Refunds, o.Refunds...)
	r.ToldPaid = r.ToldPaid || o.ToldPaid
	r.ToldCancelled = r.ToldCancelled || o.ToldCancelled
}

// clicksTwice sends everything twice: the checkout, at once and with one key,
// and the return from the provider.
func clicksTwice(ctx context.Context, v *visit) {
	key := v.key()
	var answers [2]answer
	var errs [2]error
	var both sync.WaitGroup
	for i := range answers {
		both.Go(func() {
			answers[i], errs[i] = v.shop.insist(ctx, http.MethodPost, checkoutsPath, key, v.body(v.buyer().Gateway))
		})
	}
	both.Wait()
	var c *checkout
	for i, a := range answers {
		if errs[i] != nil {
			v.rec.Unanswered = errs[i].Error()
			return
		}
		one, refusal := v.began(ctx, a)
		if refusal != nil {
			v.rec.Refused, v.rec.Reason, v.rec.Shortage = refusal.Code, a.String(), refusal.Lines
		}
		if one != nil {
			c = one
		}
	}
	if len(v.rec.CheckoutIDs) > 0 {
		v.rec.Refused, v.rec.Reason, v.rec.Shortage = "", "", nil
	}
	p := c.payment()
	if p == "" || !v.approve(ctx, p, true) {
		return
	}
	for range 2 {
		both.Go(func() {
			// Only that nothing comes of it counts, which the ledger tells.
			_, _ = v.out.step(ctx, p, "return", true)
		})
	}
	both.Wait()
	v.rec.Occurred = true
}

func cancels(ctx context.Context, v *visit) {
	c := v.checkOut(ctx)
	p := c.payment()
	if p == "" {
		return
	}
	v.hesitate(ctx)
	v.cancel(ctx, c)
	v.rec.Occurred = true
	if v.buyer().Coin {
		v.approve(ctx, p, true) // the provider's page may still be open
	}
}

func cancelsWhilePaying(ctx context.Context, v *visit) {
	c := v.checkOut(ctx)
	p := c.payment()
	if p == "" {
		return
	}
	other := *v
	other.rec = &Record{Buyer: v.rec.Buyer}
	// One of the two goes ahead by some hundredths of a second, and they cross.
	ahead := time.Duration(v.buyer().Delay/4) * time.Millisecond
	pay := func() { other.approve(ctx, p, true) }
	cancel := func() { v.cancel(ctx, c) }
	first, second := pay, cancel
	if v.buyer().Coin {
		first, second = cancel, pay
	}
	var crossing sync.WaitGroup
	crossing.Go(first)
	// A pause that is cut short is followed by steps that are.
	_ = rest(ctx, ahead)
	second()
	crossing.Wait()
	v.rec.join(other.rec)
	v.rec.Occurred = len(v.rec.Approvals) > 0 || v.rec.ToldCancelled
}

// retriesSameKey gives up waiting and asks again with the same key, as after a
// connection that broke.
func retriesSameKey(ctx context.Context, v *visit) {
	impatient, stop := context.WithTimeout(ctx, time.Duration(5+v.buyer().Delay/2)*time.Millisecond)
	// The key of checkOut's first request.
	body, key := v.body(v.buyer().Gateway), v.key()
	v.keys--
	_, err := v.shop.once(impatient, http.MethodPost, checkoutsPath, key, body)
	stop()
	v.rec.Occurred = true
	c := v.checkOut(ctx)
	if err == nil && c != nil {
		// It was answered in time after all: then the second answer is the first's.
		v.hesitate(ctx)
	}
	if p := c.payment(); p != "" {
		v.approve(ctx, p, true)
	}
}

// closesTheTab approves and never comes back: the shop has to hear of it by
// itself, where the provider takes the money without the shop's commit.
func closesTheTab(ctx context.Context, v *visit) {
	if p := v.checkOut(ctx).payment(); p != "" {
		v.hesitate(ctx)
		v.rec.Occurred = v.approve(ctx, p, false)
	}
}
