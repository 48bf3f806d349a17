package returns

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// gone is how the refunds of a return stand, in minor units.
type gone struct {
	// gone is what they come to that did not fail; done that all of them have ended.
	gone int64
	done bool
	// failed is the newest that came to nothing and that nobody has had go again.
	failed string
}

// moneyOf reads how a return's refunds stand.
func moneyOf(ctx context.Context, tx pgx.Tx, tenantID, returnID string) (out gone, err error) {
	rows, err := tx.Query(ctx, `SELECT refund_id, retried FROM return_refunds WHERE tenant = $1 AND return_id = $2 ORDER BY refund_id`, tenantID, returnID)
	if err != nil {
		return out, fmt.Errorf("refunds of return %s: %w", returnID, err)
	}
	type linked struct {
		ID      string
		Retried bool
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[linked])
	if err != nil {
		return out, fmt.Errorf("refunds of return %s: %w", returnID, err)
	}
	out.done = true
	for _, l := range list {
		r, err := refund.Read(ctx, tx, tenantID, l.ID)
		if err != nil {
			return out, err
		}
		if r.Status == "failed" {
			if !l.Retried {
				out.failed = l.ID
			}
			continue
		}
		out.done = out.done && r.Status == "succeeded"
		out.gone += r.Amount
	}
	return out, nil
}

// moneyWithin is how long money may be on its way: banks take days.
const moneyWithin = 16 * 24 * time.Hour

// owed is what must still go back.
type owed struct {
	units   []refund.UnitAsked
	freight int64
	total   int64
}

// keep leaves of what must go back as much as the buyer pays otherwise: first of the units,
// the last of them first.
func (o *owed) keep(amount int64) {
	o.total -= min(amount, o.total)
	for i := len(o.units) - 1; i >= 0 && amount > 0; i-- {
		n := min(amount, o.units[i].Amount)
		o.units[i].Amount -= n
		amount -= n
	}
	o.units = slices.DeleteFunc(o.units, func(u refund.UnitAsked) bool { return u.Amount == 0 })
	o.freight -= min(amount, o.freight)
}

// owes reckons what must go back for a return as it stands, beyond what has: of each unit
// that earns its money what was paid for it less what is deducted, less what the label of
// the way back costs the buyer. It converges: booked twice it is nothing the second time,
// and what a correction adds is the difference.
func (r Return) owes(ctx context.Context, tx pgx.Tx, tenantID string) (out owed, err error) {
	if r.MoneySettled != "" {
		return out, nil
	}
	for _, u := range r.Units {
		if !r.earns(u) {
			continue
		}
		if n := u.Paid - u.Deducted - u.back; n > 0 {
			out.units = append(out.units, refund.UnitAsked{Line: u.LineID, N: u.Unit, Amount: n})
			out.total += n
		}
	}
	if out.freight, err = r.freightBack(ctx, tx, tenantID); err != nil {
		return out, err
	}
	out.total += out.freight
	if r.Label != nil {
		out.keep(r.Label.Fee)
	}
	if out.total == 0 {
		return out, nil
	}
	// Goodwill and the like may have taken it already.
	left, err := refund.Left(ctx, tx, tenantID, r.OrderID)
	if err != nil {
		return out, err
	}
	out.total = min(out.total, left)
	return out, nil
}

// earns reports whether a unit's money goes back by now.
func (r Return) earns(u Unit) bool {
	switch {
	case u.Came == WrongItem || u.Came == Gone:
		return false
	case u.Came == Lost:
		return true
	case u.Disposition != "":
		return slices.Contains([]string{Inspected, Refunded, Closed}, r.Status) || r.Money != OnInspection
	case u.Came == Arrived:
		return r.Money != OnInspection
	}
	return r.Money == OnApproval && slices.Contains([]string{Approved, LabelIssued, InTransit, Received}, r.Status)
}

// freightBack is what goes back of the freight that the buyer paid for the way to them.
func (r Return) freightBack(ctx context.Context, tx pgx.Tx, tenantID string) (int64, error) {
	if !slices.Contains([]string{Inspected, Refunded, Closed}, r.Status) {
		return 0, nil // nobody knows yet whether all of it comes
	}
	rule := FreightNever
	for _, u := range r.Units {
		if reason, known := r.Policy.reason(u.Reason); known && (u.Came == Arrived || u.Came == Lost) {
			rule = more(rule, reason.FreightBack, FreightNever, FreightWhole, FreightAlways)
		}
	}
	if rule == FreightNever {
		return 0, nil
	}
	var freight int64
	var whole bool
	// Whole: of every unit that was sold the money goes back, or has, or it came back.
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT paid - refunded FROM refundable WHERE tenant = $1 AND order_id = $2 AND line_id = ''), 0),
	    NOT EXISTS (SELECT FROM refundable f WHERE f.tenant = $1 AND f.order_id = $2 AND f.line_id <> '' AND f.paid > 0 AND f.refunded < f.paid
	      AND NOT EXISTS (SELECT FROM return_units u WHERE u.tenant = f.tenant AND u.order_id = f.order_id AND u.line_id = f.line_id AND u.unit = f.unit AND u.live AND u.came IN ('arrived','lost')))`, tenantID, r.OrderID).Scan(&freight, &whole)
	if err != nil {
		return 0, fmt.Errorf("freight of order %s: %w", r.OrderID, err)
	}
	if rule == FreightWhole && !whole {
		return 0, nil
	}
	return freight, nil
}

// Pay books the refund of what is owed and has it begin; nothing when nothing is. A refusal
// of the order's payments is a problem.Error, and nothing is written then.
func Pay(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, ring *secretbox.Keyring, able refund.Able) error {
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return err
	}
	// Requests for one order are decided one after the other.
	if _, err := tx.Exec(ctx, `SELECT FROM orders WHERE tenant = $1 AND id = $2 FOR UPDATE`, shop.ID, r.OrderID); err != nil {
		return fmt.Errorf("order %s: %w", r.OrderID, err)
	}
	money, err := moneyOf(ctx, tx, shop.ID, returnID)
	if err != nil || money.failed != "" || !money.done {
		return err
	}
	if r, err = Get(ctx, tx, shop.ID, returnID); err != nil {
		return err
	}
	due, err := r.owes(ctx, tx, shop.ID)
	if err != nil || due.total == 0 {
		return err
	}
	refundID := id.New()
	sealed, err := refund.Reseal(ring, shop.ID, r.ID, refundID, r.Account)
	if err != nil {
		return err
	}
	in := refund.Request{OrderID: r.OrderID, Reason: "return " + r.Number, Units: append([]refund.UnitAsked{}, due.units...), Method: r.Refund, AtMost: true}
	if due.freight > 0 {
		in.ShippingAmount = &due.freight
	}
	b, err := refund.Book(ctx, tx, shop.ID, refundID, in, sealed, "return:"+r.ID, able)
	if err != nil {
		return err
	}
	// The refund's own run asks a person long before.
	if _, err := tx.Exec(ctx, `UPDATE returns SET due_at = greatest(due_at, now() + $3::interval), updated_at = now() WHERE tenant = $1 AND id = $2 AND status IN ('inspected','refunded')`, shop.ID, r.ID, moneyWithin); err != nil {
		return fmt.Errorf("return %s: %w", r.ID, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO return_refunds (tenant, return_id, refund_id) VALUES ($1, $2, $3)`, shop.ID, r.ID, refundID); err != nil {
		return fmt.Errorf("refund of return %s: %w", r.ID, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO wakes (tenant, kind, subject) VALUES ($1, 'refund', $2)`, shop.ID, refundID); err != nil {
		return fmt.Errorf("refund of return %s: %w", r.ID, err)
	}
	return timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_refund_booked", "system", map[string]any{"return_id": r.ID, "refund_id": refundID, "amount": b.Amount})
}

// CannotPay writes down why a return's money can't go. A person is asked.
func CannotPay(ctx context.Context, tx pgx.Tx, tenantID, returnID, why string) error {
	if _, err := tx.Exec(ctx, `UPDATE returns SET refused = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, tenantID, returnID, why); err != nil {
		return fmt.Errorf("return %s: %w", returnID, err)
	}
	return nil
}

// Own has the return's run not be told of what it does itself in the transaction.
func Own(ctx context.Context, tx pgx.Tx, returnID string) error {
	if _, err := tx.Exec(ctx, `SELECT set_config('jl.own_run', $1, true)`, returnID); err != nil {
		return fmt.Errorf("return %s: %w", returnID, err)
	}
	return nil
}

// Settle ends a return of which nothing is left to do: refunded when money went back for
// it, then closed.
func Settle(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string) error {
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return err
	}
	money, err := moneyOf(ctx, tx, shop.ID, returnID)
	if err != nil || !money.done || money.failed != "" && r.MoneySettled == "" || r.Refused != "" && r.MoneySettled == "" || r.Status != Inspected && r.Status != Refunded || r.odd(money) != nil {
		return err
	}
	if due, err := r.owes(ctx, tx, shop.ID); err != nil || due.total > 0 {
		return err
	}
	if r.Status == Inspected && money.gone > 0 {
		if _, err := tx.Exec(ctx, `UPDATE returns SET status = 'refunded', version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, r.ID); err != nil {
			return fmt.Errorf("return %s: %w", r.ID, err)
		}
		if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_refunded", "system", map[string]any{"return_id": r.ID, "amount": money.gone}); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE returns SET status = 'closed', version = version + 1, ended_at = now(), due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, r.ID); err != nil {
		return fmt.Errorf("close return %s: %w", r.ID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_closed", "system", map[string]any{"return_id": r.ID}); err != nil {
		return err
	}
	if r, err = Get(ctx, tx, shop.ID, returnID); err != nil {
		return err
	}
	return r.tell(ctx, tx, shop, noticeClosed)
}

// Verbs of a person at the support desk.
const (
	verbRetry   = "retry"
	verbResolve = "resolve"
	verbCancel  = "cancel"
)

// Outcomes of what a person rules: it was settled otherwise; the carrier has lost goods with
// the shop's label on, and the buyer has the money.
const (
	OutcomeClosed = "closed"
	OutcomeLost   = "lost"
)

// Ruling is what a person rules about a return that waits for one.
type Ruling struct {
	Step, Verb, Outcome, Reference string
	By                             string
}

// CheckRuling says what is wrong with a ruling by itself.
func CheckRuling(d Ruling) error {
	var f problem.Fields
	if d.Step == StepBooking || d.Step == StepVoid {
		return shipping.CheckDecision(shipping.Decision{Step: d.Step, Verb: d.Verb, Outcome: d.Outcome, Reference: d.Reference})
	}
	switch {
	case d.Verb != verbResolve || d.Outcome == OutcomeLost && d.Step == StepGoods:
	case d.Outcome != OutcomeClosed:
		f.Add("outcome", "invalid", "closed: it was settled otherwise, as reference says")
	case d.Reference == "":
		f.Add("reference", "required", "say how it was settled")
	}
	return f.Err()
}

// Rule carries a ruling out and says in words what was done. One about what is over
// meanwhile changes nothing.
func Rule(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Ruling) (string, error) {
	if err := CheckRuling(d); err != nil {
		return "", err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return "", err
	}
	exec := func(sql string, args ...any) error {
		if _, err := tx.Exec(ctx, sql, append([]any{shop.ID, r.ID}, args...)...); err != nil {
			return fmt.Errorf("return %s: %w", r.ID, err)
		}
		return nil
	}
	switch {
	case d.Step == StepLabel || d.Step == StepBooking || d.Step == StepVoid:
		return r.ruleLabel(ctx, tx, shop.ID, d)
	case d.Step == StepMoney && d.Verb == verbRetry:
		money, err := moneyOf(ctx, tx, shop.ID, r.ID)
		if err != nil {
			return "", err
		}
		if err := exec(`UPDATE return_refunds SET retried = true WHERE tenant = $1 AND return_id = $2 AND refund_id = $3`, money.failed); err != nil {
			return "", err
		}
		return "the money goes again", exec(`UPDATE returns SET refused = '', due_at = greatest(due_at, now() + interval '1 day'), updated_at = now() WHERE tenant = $1 AND id = $2`)
	case d.Verb == verbRetry:
		if err := shipping.OfReturn(r.ID).AskAgain(ctx, tx, shop.ID); err != nil {
			return "", err
		}
		return "waits another day", exec(`UPDATE returns SET due_at = greatest(due_at, now() + interval '1 day'), updated_at = now() WHERE tenant = $1 AND id = $2 AND due_at IS NOT NULL`)
	}
	switch {
	case d.Step == StepMoney:
	case slices.Contains([]string{Inspected, Refunded, Expired, Closed}, r.Status):
	case slices.ContainsFunc(r.Units, func(u Unit) bool { return u.Came == Arrived && u.Disposition == "" }):
		return "nothing done: units that came must be inspected first", nil
	case !slices.Contains([]string{Approved, LabelIssued, InTransit, Received}, r.Status):
		return "nothing done: the return is " + r.Status, nil
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_settled", "support", map[string]any{"return_id": r.ID, "step": d.Step, "by": d.By}); err != nil {
		return "", err
	}
	switch {
	case d.Step == StepMoney:
		return "settled: no more money goes by itself", exec(`UPDATE returns SET money_settled = $3, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, d.Reference)
	case slices.Contains([]string{Inspected, Refunded, Expired, Closed}, r.Status):
		return "settled", exec(`UPDATE returns SET settled = $3, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, d.Reference)
	}
	// What has not come does not any more. What came has its money, and so has what a
	// carrier lost for the shop.
	came, result := Gone, "the goods that are missing do not come any more"
	if d.Outcome == OutcomeLost {
		came, result = Lost, "the carrier has lost them: the buyer gets the money"
	}
	r.end(came)
	if err := r.save(ctx, tx, shop.ID); err != nil {
		return "", err
	}
	if err := exec(`UPDATE returns SET status = 'received', received_at = coalesce(received_at, now()), expires_at = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`); err != nil {
		return "", err
	}
	_, err = r.over(ctx, tx, shop, d.By)
	return result, err
}

// ruleLabel carries out a ruling about a label for the way back.
func (r Return) ruleLabel(ctx context.Context, tx pgx.Tx, tenantID string, d Ruling) (result string, err error) {
	of := shipping.OfReturn(r.ID)
	as := shipping.Decision{Step: d.Step, Verb: d.Verb, Outcome: d.Outcome, Reference: d.Reference, By: d.By}
	anew := false
	switch {
	case d.Step == StepVoid:
		return of.DecideVoid(ctx, tx, tenantID, as)
	case d.Step == StepBooking:
		if result, anew, err = of.DecideBooking(ctx, tx, tenantID, as); err != nil || !anew {
			return result, err
		}
	case d.Verb == verbCancel:
		return "no label is bought: the buyer sends it as they like", r.dropLabel(ctx, tx, tenantID, d.By)
	default:
		result = "all carriers are asked again"
	}
	_, err = tx.Exec(ctx, `UPDATE returns SET label_wanted_at = clock_timestamp(), label_round_at = NULL, label_not_booked = '', version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'approved' AND label_wanted_at IS NOT NULL`, tenantID, r.ID)
	if err != nil {
		return "", fmt.Errorf("label of return %s: %w", r.ID, err)
	}
	return result, nil
}
