package checkout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/notice"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// CureShort tries to hold elsewhere what a live hold has lost to a count. ok
// reports that nothing is missing any more.
func CureShort(ctx context.Context, db *postgres.DB, tenantID, holdID string) (ok bool, err error) {
	err = db.InTenant(ctx, tenantID, func(tx pgx.Tx) error {
		ok = false
		t, err := tenant.Get(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		ok, err = cure(ctx, tx, t, holdID)
		return err
	})
	return ok, err
}

func cure(ctx context.Context, tx pgx.Tx, t tenant.Tenant, holdID string) (ok bool, err error) {
	h, err := stock.Get(ctx, tx, t.ID, holdID)
	if err != nil || h.Status != "short" {
		return err == nil, err
	}
	region := ""
	if h.CheckoutID != "" {
		r, err := lock(ctx, tx, t.ID, h.CheckoutID)
		if err != nil {
			return false, err
		}
		region = r.Region
	}
	warehouses, err := Preference(ctx, tx, t, region)
	if err != nil {
		return false, err
	}
	if h.OrderID != "" {
		if warehouses, err = notLeft(ctx, tx, t.ID, h.OrderID, warehouses); err != nil {
			return false, err
		}
	}
	if ok, err = stock.Cure(ctx, tx, t.ID, holdID, warehouses); err != nil || !ok {
		return false, err
	}
	subject := holdID
	if h.CheckoutID != "" {
		subject = h.CheckoutID
	}
	if h.OrderID != "" {
		after, err := stock.Get(ctx, tx, t.ID, holdID)
		if err != nil {
			return false, err
		}
		due := time.Now().UTC().Add(time.Duration(t.Settings.DispatchHours) * time.Hour)
		if err := order.Resplit(ctx, tx, t.ID, h.OrderID, after.Lines, due); err != nil {
			return false, err
		}
		if err := shipping.FollowHold(ctx, tx, t, h.OrderID); err != nil {
			return false, err
		}
		subject = h.OrderID
	}
	return true, timeline.Add(ctx, tx, t.ID, subject, "held_elsewhere", "system", map[string]any{"reservation_id": holdID})
}

// notLeft leaves out warehouses from which the order's shipment has left: an order has
// one of each, so what was found there could not leave any more.
func notLeft(ctx context.Context, tx pgx.Tx, tenantID, orderID string, warehouses []string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT warehouse FROM shipments WHERE tenant = $1 AND order_id = $2 AND handed_over_at IS NOT NULL`, tenantID, orderID)
	if err != nil {
		return nil, fmt.Errorf("what has left of order %s: %w", orderID, err)
	}
	gone, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("what has left of order %s: %w", orderID, err)
	}
	return slices.DeleteFunc(warehouses, func(w string) bool { return slices.Contains(gone, w) }), nil
}

// What a person may state of units that are missing. Anything else leaves the order to
// what was agreed with the buyer.
const (
	ShortRefund    = tenant.RefundShort
	ShortBackOrder = tenant.BackOrder
)

// ShortRef names a paid order and its hold.
type ShortRef struct {
	Tenant  string `json:"tenant"`
	OrderID string `json:"order_id"`
	HoldID  string `json:"hold_id"`
}

// ShortView is how a paid order stands of which units are missing, in words for people
// and without anything of the buyer.
type ShortView struct {
	// Over: nothing is missing any more.
	Over bool `json:"over,omitempty"`
	// WaitsFor says what is next, or how it ended.
	WaitsFor string `json:"waits_for"`
	// Asks is what a person is asked; empty: nobody is.
	Asks string `json:"asks,omitempty"`
	// Until is when a person is asked at the latest, if not now.
	Until time.Time `json:"until,omitzero"`
	// Result is what this step has done.
	Result string `json:"result,omitempty"`
}

// leftShort is the attention that a short pick has raised: it is seen to.
const leftShort = "short_pick"

// shortSlack is how long after its next look a hold that waits is late.
const shortSlack = time.Hour

// MendShort looks after a paid order's hold that has lost units: it takes them from
// another bin or warehouse, and otherwise does what the tenant's rule says. able tells
// what the gateways of its payments can give back. What it does it does in one
// transaction, and again it does nothing: a refund is written together with the units
// that it is for, so it can neither be forgotten nor be made twice.
func MendShort(ctx context.Context, db *postgres.DB, ref ShortRef, able refund.Able) (v ShortView, err error) {
	err = db.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		s, missing, err := loadShort(ctx, tx, ref)
		if err != nil {
			return err
		}
		v = s.over("nothing is missing")
		if !missing || s.cancelled {
			return nil
		}
		found, err := cure(ctx, tx, s.shop, ref.HoldID)
		if err != nil {
			return err
		}
		if found {
			v = s.over("the missing units were found")
			v.Result = "found"
			if s.until != nil {
				err = shipping.SetDue(ctx, tx, ref.Tenant, ref.OrderID, s.now.Add(time.Duration(s.shop.Settings.DispatchHours)*time.Hour))
			}
			return err
		}
		// Stock, or another who decides, may have been quicker than the read above.
		if s, missing, err = loadShort(ctx, tx, ref); err != nil || !missing {
			return err
		}
		v, err = s.byRule(ctx, tx, able)
		return err
	})
	return v, err
}

// DecideShort carries out what a person states of missing units: ShortRefund,
// ShortBackOrder, or anything else, which means that the order goes on without a rule.
// A refund that is refused changes nothing: the view says why, and a person is asked
// again.
func DecideShort(ctx context.Context, db *postgres.DB, ref ShortRef, outcome string, able refund.Able) (v ShortView, err error) {
	err = db.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		// The order of locks is that of a look.
		if err := stock.LockHold(ctx, tx, ref.Tenant, ref.HoldID); err != nil {
			return err
		}
		s, missing, err := loadShort(ctx, tx, ref)
		if err != nil {
			return err
		}
		if !missing || s.cancelled {
			v = s.over("nothing is missing")
			v.Result = "nothing done: nothing is missing any more"
			return nil
		}
		switch outcome {
		case ShortRefund:
			v, err = s.takeOff(ctx, tx, able, "support")
			if v.Result == "" {
				v.Result = "nothing done: " + v.Asks
			}
		case ShortBackOrder:
			v, err = s.backOrder(ctx, tx, "support")
		default:
			v = ShortView{WaitsFor: s.missing() + " missing; a person has settled it."}
			_, err = tx.Exec(ctx, `UPDATE holds SET short_until = NULL, short_asked = true, updated_at = now() WHERE tenant = $1 AND id = $2`, ref.Tenant, ref.HoldID)
		}
		return err
	})
	return v, err
}

// short is a paid order whose hold is read for a decision.
type short struct {
	ShortRef
	shop      tenant.Tenant
	status    string
	number    string
	currency  money.Currency
	cancelled bool
	until     *time.Time
	asked     bool
	lostAt    time.Time
	now       time.Time
	lost      []stock.Want
}

// loadShort reads an order and its hold; missing reports that units are.
func loadShort(ctx context.Context, tx pgx.Tx, ref ShortRef) (s short, missing bool, err error) {
	s.ShortRef = ref
	if s.shop, err = tenant.Get(ctx, tx, ref.Tenant); err != nil {
		return s, false, err
	}
	err = tx.QueryRow(ctx, `SELECT h.status, h.short_until, h.short_asked, h.updated_at, now(), o.number, o.currency, o.status = 'cancelled'
	    FROM holds h JOIN orders o ON o.tenant = h.tenant AND o.id = $3 WHERE h.tenant = $1 AND h.id = $2`, ref.Tenant, ref.HoldID, ref.OrderID).
		Scan(&s.status, &s.until, &s.asked, &s.lostAt, &s.now, &s.number, &s.currency, &s.cancelled)
	if err != nil {
		return s, false, fmt.Errorf("short order %s: %w", ref.OrderID, err)
	}
	s.lost, err = stock.Missing(ctx, tx, ref.Tenant, ref.HoldID)
	return s, s.status == "short" && len(s.lost) > 0, err
}

func (s short) over(how string) ShortView {
	return ShortView{Over: true, WaitsFor: "Order " + s.number + ": " + how + "."}
}

// missing says what is: "1 unit of SKU-2, 2 units of SKU-7 are".
func (s short) missing() string {
	verb := " are"
	if len(s.lost) == 1 && s.lost[0].Quantity == 1 {
		verb = " is"
	}
	return wanted(s.lost) + verb
}

func wanted(list []stock.Want) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = strconv.Itoa(w.Quantity) + " units of " + w.SKU
		if w.Quantity == 1 {
			words[i] = "1 unit of " + w.SKU
		}
	}
	return strings.Join(words, ", ")
}

// byRule is what the tenant's rule makes of an order that nothing was found for.
func (s short) byRule(ctx context.Context, tx pgx.Tx, able refund.Able) (ShortView, error) {
	rule := s.shop.Settings.Fulfillment.Short
	switch {
	case s.asked:
		return s.ask(""), nil
	case s.until != nil && s.until.After(s.now):
		return s.waits(), s.look(ctx, tx)
	case s.until != nil:
		return s.ask("It was back-ordered until " + day(*s.until) + ", and that is over. "), s.look(ctx, tx)
	case rule == tenant.BackOrder:
		return s.backOrder(ctx, tx, "system")
	case rule == tenant.RefundShort:
		return s.takeOff(ctx, tx, able, "system")
	}
	return s.ask(""), nil
}

// ask is the question to a person.
func (s short) ask(why string) ShortView {
	return ShortView{
		WaitsFor: s.missing() + " missing for order " + s.number + "; a person is asked.",
		Asks: why + "The order is paid and the shelves have fewer units than it needs: " + s.missing() + " missing. Receive stock and retry, or resolve: with outcome `refund` the missing units are taken off the order and paid back, with `back_order` it waits " +
			strconv.Itoa(s.shop.Settings.Fulfillment.BackOrderDays) + " days for stock; without one it was agreed with the buyer otherwise.",
	}
}

func (s short) waits() ShortView {
	return ShortView{Until: s.until.UTC(), WaitsFor: "Back-ordered until " + day(*s.until) + "; " + s.missing() + " missing for order " + s.number + ". Other shelves are looked at again and again."}
}

func day(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 UTC") }

// look notes that somebody looks after the hold.
func (s short) look(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE holds SET due_at = now() + $3::interval WHERE tenant = $1 AND id = $2 AND status = 'short'`, s.Tenant, s.HoldID, shortSlack)
	if err != nil {
		return fmt.Errorf("short hold %s: %w", s.HoldID, err)
	}
	return nil
}

// backOrder has the order wait for stock from now on. The buyer is told once.
func (s short) backOrder(ctx context.Context, tx pgx.Tx, by string) (ShortView, error) {
	until := s.now.AddDate(0, 0, s.shop.Settings.Fulfillment.BackOrderDays)
	s.until = &until
	_, err := tx.Exec(ctx, `UPDATE holds SET short_until = $3, short_asked = false, updated_at = now() WHERE tenant = $1 AND id = $2`, s.Tenant, s.HoldID, until)
	if err != nil {
		return ShortView{}, fmt.Errorf("back-order hold %s: %w", s.HoldID, err)
	}
	if err := s.look(ctx, tx); err != nil {
		return ShortView{}, err
	}
	if err := shipping.SetDue(ctx, tx, s.Tenant, s.OrderID, until.Add(time.Duration(s.shop.Settings.DispatchHours)*time.Hour)); err != nil {
		return ShortView{}, err
	}
	if err := order.LowerAttention(ctx, tx, s.Tenant, s.OrderID, leftShort); err != nil {
		return ShortView{}, err
	}
	units := make([]notice.Units, len(s.lost))
	for i, w := range s.lost {
		units[i] = notice.Units{SKU: w.SKU, Quantity: w.Quantity}
	}
	if err := notice.Queue(ctx, tx, s.shop, s.OrderID, notice.BackOrdered, s.OrderID, notice.Data{Units: units}); err != nil {
		return ShortView{}, err
	}
	v := s.waits()
	v.Result = "back-ordered until " + day(until)
	return v, timeline.Add(ctx, tx, s.Tenant, s.OrderID, "back_ordered", by, map[string]any{"until": until.UTC(), "units": s.lost})
}

// takeOff takes the missing units off the order and books their money, all of it in the
// caller's transaction or nothing. When nothing is left to leave, the order is cancelled
// and everything goes back. A refund that is refused is a question to a person.
func (s short) takeOff(ctx context.Context, tx pgx.Tx, able refund.Able, by string) (ShortView, error) {
	nested, err := tx.Begin(ctx)
	if err != nil {
		return ShortView{}, err
	}
	v, err := s.takeOffIn(ctx, nested, able, by)
	if err == nil {
		return v, nested.Commit(ctx)
	}
	if undone := nested.Rollback(ctx); undone != nil {
		return ShortView{}, errors.Join(err, undone)
	}
	refused, is := problem.As(err)
	if !is {
		return ShortView{}, err
	}
	v = s.ask("The missing units can't be paid back by themselves (" + refused.Code + "): " + refused.Detail + " ")
	return v, s.look(ctx, tx)
}

func (s short) takeOffIn(ctx context.Context, tx pgx.Tx, able refund.Able, by string) (ShortView, error) {
	taken, err := stock.TakeOff(ctx, tx, s.Tenant, s.HoldID)
	if err != nil {
		return ShortView{}, err
	}
	if len(taken.Units) == 0 { // another was quicker
		return s.over("nothing is missing"), nil
	}
	s.lost = taken.Units
	ask := refund.Request{OrderID: s.OrderID, Reason: "units were not found", Method: refund.Original}
	if taken.Keeps+taken.Left == 0 {
		if _, err := shipping.CancelOrder(ctx, tx, s.shop, s.OrderID, ask.Reason, by); err != nil {
			return ShortView{}, err
		}
		if err := s.note(ctx, tx); err != nil {
			return ShortView{}, err
		}
		return s.payBack(ctx, tx, ask, true, able, by, "nothing of the order is left, so it is cancelled")
	}
	if err := shipping.FollowHold(ctx, tx, s.shop, s.OrderID); err != nil {
		return ShortView{}, err
	}
	// FollowHold has the order's lock.
	if err := s.note(ctx, tx); err != nil {
		return ShortView{}, err
	}
	notShipped, err := s.notShipped(ctx, tx)
	if err != nil {
		return ShortView{}, err
	}
	if ask.Lines, err = refund.Owed(ctx, tx, s.Tenant, s.OrderID, notShipped); err != nil {
		return ShortView{}, err
	}
	return s.payBack(ctx, tx, ask, len(ask.Lines) > 0, able, by, wanted(s.lost)+" taken off, the rest goes on")
}

// note writes down which lines the missing units are of, the first of a SKU first.
func (s short) note(ctx context.Context, tx pgx.Tx) error {
	for _, w := range s.lost {
		tag, err := tx.Exec(ctx, `UPDATE order_lines l SET not_shipped = l.not_shipped + n.units
		    FROM (SELECT line_id, least(quantity - not_shipped, $4 - (sum(quantity - not_shipped) OVER (ORDER BY position) - (quantity - not_shipped)))::int AS units FROM order_lines WHERE tenant = $1 AND order_id = $2 AND sku = $3) n
		   WHERE l.tenant = $1 AND l.line_id = n.line_id AND n.units > 0`, s.Tenant, s.OrderID, w.SKU, w.Quantity)
		if err != nil {
			return fmt.Errorf("lines of order %s: %w", s.OrderID, err)
		}
		if tag.RowsAffected() == 0 {
			return fmt.Errorf("order %s has lost %d units of %s, and no line has so many", s.OrderID, w.Quantity, w.SKU)
		}
	}
	return nil
}

func (s short) notShipped(ctx context.Context, tx pgx.Tx) (map[string]int, error) {
	rows, err := tx.Query(ctx, `SELECT line_id, not_shipped FROM order_lines WHERE tenant = $1 AND order_id = $2 AND not_shipped > 0`, s.Tenant, s.OrderID)
	if err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	out := map[string]int{}
	var line string
	var n int
	if _, err = pgx.ForEachRow(rows, []any{&line, &n}, func() error { out[line] = n; return nil }); err != nil {
		return nil, fmt.Errorf("lines of order %s: %w", s.OrderID, err)
	}
	return out, nil
}

// payBack books what ask says, if anything is owed, and tells the timeline what was done.
// The refund has its id from the loss that it is for.
func (s short) payBack(ctx context.Context, tx pgx.Tx, ask refund.Request, owed bool, able refund.Able, by, what string) (ShortView, error) {
	v := s.over(what)
	data := map[string]any{"units": s.lost}
	v.Result = what + "; nothing is owed for it"
	if owed {
		b, booked, err := refund.BookOrNothing(ctx, tx, s.Tenant, id.For(s.lostAt, "short", s.Tenant, s.HoldID, wanted(s.lost)), ask, "shortage", able)
		if err != nil {
			return ShortView{}, err
		}
		if booked {
			data["refund_id"] = b.ID
			v.Result = what + "; " + money.Format(b.Amount, b.Currency) + " go back by refund " + b.ID
		}
	}
	v.WaitsFor = "Order " + s.number + ": " + v.Result + "."
	if err := order.LowerAttention(ctx, tx, s.Tenant, s.OrderID, leftShort); err != nil {
		return ShortView{}, err
	}
	return v, timeline.Add(ctx, tx, s.Tenant, s.OrderID, "units_taken_off", by, data)
}

// NoneAble is for steps by which no money goes back.
func NoneAble(payment.Name) (payment.Capabilities, bool) { return payment.Capabilities{}, false }
