package returns

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
)

// Codes of why a line can't come back.
const (
	CodeUnknownReason = "unknown_reason"
	CodeNotDelivered  = "not_delivered"
	CodeUnderWay      = "return_under_way"
	CodePaidBack      = "refunded_already"
	CodeFinalSale     = "final_sale"
	CodeWindowOver    = "window_over"
	CodeTooMany       = "too_many"
)

// Why a person must decide.
const (
	ReviewByReason    = "reason_by_hand"
	ReviewByAmount    = "above_amount"
	ReviewByHistory   = "returned_much"
	ReviewByException = "exception"
)

// LineAsked is units of a line that are to come back.
type LineAsked struct {
	LineID   string `json:"line_id"`
	Quantity int    `json:"quantity"`
	Reason   string `json:"reason"`
}

// Line is what of an order's line can come back, and why not more. Amounts are minor
// units of the order's currency.
type Line struct {
	LineID   string `json:"line_id"`
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"` // that was asked for
	Reason   string `json:"reason"`
	// Returnable is how many units could come back for that reason.
	Returnable int `json:"returnable"`
	// Until is the last day for it, at the shop; null before the delivery.
	Until *string `json:"until"`
	// Code says why the quantity can't come back, null when it can.
	Code   *string `json:"code"`
	Detail string  `json:"detail,omitempty"`
	// Amount is what was paid for the units and has not gone back.
	Amount int64 `json:"amount"`
}

// Verdict is what the rules say of a return.
type Verdict struct {
	// Eligible: all of it can come back.
	Eligible bool   `json:"eligible"`
	Lines    []Line `json:"lines"`
	// Approval is automatic, or by_hand because of Review.
	Approval string   `json:"approval"`
	Review   []string `json:"review"`
	// FreightBy is who pays the way back; FreightBack the freight of the way there that
	// goes back too.
	FreightBy   string `json:"freight_by"`
	FreightBack int64  `json:"freight_back"`
	// Label is when a carrier's label for the way back is bought: none, on_request or
	// on_approval; LabelFee what the buyer is charged for it, null where that is what the
	// carrier takes.
	Label    string `json:"label"`
	LabelFee *int64 `json:"label_fee"`
	// Money is when it goes, Amount how much when all comes back as it was sold.
	Money    string `json:"money"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	// Refunds are the ways in which that can go: original, bank_transfer.
	Refunds []string `json:"refunds"`
	// SendWithinDays after the approval.
	SendWithinDays int `json:"send_within_days"`
	PolicyVersion  int `json:"policy_version"`
}

// facts are what a verdict is found from.
type facts struct {
	policy   Policy
	version  int
	currency string
	// lines in their order, with their units.
	lines []lineFacts
	// freight is what is left of it to give back.
	freight int64
	// today is the day at the shop.
	today time.Time
	// the buyer's last year: orders that were delivered, units had and given back
	orders, had, back int
}

type lineFacts struct {
	id, sku, category string
	sold              int
	// arrived of the line's units, the last of them on a day at the shop.
	arrived     int
	deliveredOn time.Time
	// live are with a return, open or done; freeUnits can come back, those that cost most
	// first, with what is left of their money.
	live      int
	paidBack  int
	freeUnits []refund.Unit
}

// judge says what the rules make of what is asked. It is a function of its facts alone.
func judge(f facts, asked []LineAsked) Verdict {
	v := Verdict{Eligible: true, Lines: []Line{}, Approval: Automatic, Review: []string{}, FreightBy: Buyer, Label: LabelNever, Money: OnApproval, Currency: f.currency, Refunds: []string{refund.Original, refund.BankTransfer}, SendWithinDays: f.policy.SendWithinDays, PolicyVersion: f.version}
	freight := FreightNever
	left := map[string]int{} // units of a line that are asked for before
	for _, a := range asked {
		line := f.line(a, left[a.LineID], &v)
		left[a.LineID] += a.Quantity
		v.Lines = append(v.Lines, line)
		v.Amount += line.Amount
		v.Eligible = v.Eligible && line.Code == nil
		r, known := f.policy.reason(a.Reason)
		if !known {
			continue
		}
		if r.Approve == ByHand {
			v.review(ReviewByReason)
		}
		if r.FreightBy == Shop { // one reason that is the shop's fault is enough
			v.FreightBy = Shop
		}
		freight = more(freight, r.FreightBack, FreightNever, FreightWhole, FreightAlways)
		v.Money = more(v.Money, r.Money, OnApproval, OnReceipt, OnInspection) // the latest of them
		v.Label = more(v.Label, cmp.Or(r.Label, LabelNever), LabelNever, LabelOnRequest, LabelAtOnce)
	}
	var free int64
	if v.LabelFee = &free; v.FreightBy == Buyer {
		v.LabelFee = f.policy.LabelFee
	}
	switch {
	case freight == FreightAlways, freight == FreightWhole && f.whole(asked):
		v.FreightBack = f.freight
	}
	v.Amount += v.FreightBack
	if f.policy.Review.AboveAmount > 0 && v.Amount > f.policy.Review.AboveAmount {
		v.review(ReviewByAmount)
	}
	percent := 0
	if f.had > 0 {
		percent = f.back * 100 / f.had
	}
	if most := f.policy.Review.AboveReturnedPercent; most > 0 && percent > most && f.back > 0 {
		v.review(ReviewByHistory)
	}
	if t := f.policy.Trusted; t.Orders > 0 && f.orders >= t.Orders && percent <= t.MostReturnedPercent && (t.MostAmount == 0 || v.Amount <= t.MostAmount) {
		v.Money = OnApproval
	}
	return v
}

func (v *Verdict) review(why string) {
	v.Approval = ByHand
	if !slices.Contains(v.Review, why) {
		v.Review = append(v.Review, why)
	}
}

// more is whichever of two values comes later in an order.
func more(a, b string, order ...string) string {
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// line judges one line; before are units of it that the request names already.
func (f facts) line(a LineAsked, before int, v *Verdict) Line {
	out := Line{LineID: a.LineID, Quantity: a.Quantity, Reason: a.Reason}
	no := func(code, detail string, args ...any) Line {
		out.Code, out.Detail = &code, fmt.Sprintf(detail, args...)
		return out
	}
	i := slices.IndexFunc(f.lines, func(l lineFacts) bool { return l.id == a.LineID })
	l := f.lines[i]
	out.SKU = l.sku
	r, known := f.policy.reason(a.Reason)
	if !known {
		return no(CodeUnknownReason, "The shop knows no such reason.")
	}
	goods := f.policy.goods(l.sku, l.category)
	window := r.WindowDays
	if goods.WindowDays > 0 {
		window = goods.WindowDays
	}
	if l.arrived > 0 {
		until := l.deliveredOn.AddDate(0, 0, window)
		day := until.Format(time.DateOnly)
		out.Until = &day
		switch {
		case goods.FinalSale && !r.EvenFinalSale:
			return no(CodeFinalSale, "%s was sold for good.", l.sku)
		case f.today.After(until):
			return no(CodeWindowOver, "It could come back for this reason until %s.", day)
		}
	}
	free := l.freeUnits[min(before, len(l.freeUnits)):]
	out.Returnable = len(free)
	if a.Quantity <= len(free) {
		for _, u := range free[:a.Quantity] {
			out.Amount += u.Left
		}
		return out
	}
	switch {
	case l.arrived == 0:
		return no(CodeNotDelivered, "Nothing of it has been delivered.")
	case a.Quantity > l.sold:
		return no(CodeTooMany, "%d of it were sold.", l.sold)
	case l.live > 0 && l.live+a.Quantity+before > l.arrived-l.paidBack:
		return no(CodeUnderWay, "%d of it came back already, or are on their way.", l.live)
	case l.paidBack > 0:
		return no(CodePaidBack, "The money for %d of it has gone back.", l.paidBack)
	}
	return no(CodeNotDelivered, "%d of it have been delivered.", l.arrived)
}

// whole reports whether with what is asked all of the order has come back.
func (f facts) whole(asked []LineAsked) bool {
	for _, l := range f.lines {
		n := l.live + l.paidBack
		for _, a := range asked {
			if a.LineID == l.id {
				n += a.Quantity
			}
		}
		if n < l.sold {
			return false
		}
	}
	return true
}

// checkLines says what is wrong with lines by themselves, and with those that the order
// does not have.
func checkLines(asked []LineAsked, has []lineFacts) error {
	var f problem.Fields
	if len(asked) == 0 {
		f.Add("lines", "required", "say what comes back")
	}
	type same struct{ line, reason string }
	seen := map[same]bool{}
	for i, a := range asked {
		at := fmt.Sprintf("lines[%d].", i)
		if !id.Valid(a.LineID) || !slices.ContainsFunc(has, func(l lineFacts) bool { return l.id == a.LineID }) {
			f.Add(at+"line_id", "unknown_line", "the order has no such line")
		}
		if a.Quantity < 1 || a.Quantity > 10_000 {
			f.Add(at+"quantity", "out_of_range", "1 or more")
		}
		if a.Reason == "" {
			f.Add(at+"reason", "required", "say why")
		}
		if seen[same{a.LineID, a.Reason}] {
			f.Add(at+"line_id", "repeated", "named twice with this reason")
		}
		seen[same{a.LineID, a.Reason}] = true
	}
	return f.Err()
}

// learn reads what a verdict on an order needs. The caller holds the order's lock, or
// wants no more than an opinion.
func learn(ctx context.Context, tx pgx.Tx, tenantID, zone, orderID string, p Policy, version int) (facts, error) {
	f := facts{policy: p, version: version}
	units, err := refund.Units(ctx, tx, tenantID, orderID)
	if err != nil {
		return f, err
	}
	where, err := time.LoadLocation(zone)
	if err != nil {
		return f, err
	}
	var now time.Time
	var email string
	if err := tx.QueryRow(ctx, `SELECT currency, email, now() FROM orders WHERE tenant = $1 AND id = $2`, tenantID, orderID).Scan(&f.currency, &email, &now); err != nil {
		return f, fmt.Errorf("order %s: %w", orderID, err)
	}
	f.today = dayOf(now, where)
	arrived, last, err := arrivals(ctx, tx, tenantID, orderID)
	if err != nil {
		return f, err
	}
	live, err := liveUnits(ctx, tx, tenantID, orderID)
	if err != nil {
		return f, err
	}
	rows, err := tx.Query(ctx, `SELECT l.line_id, l.sku, coalesce(p.category, ''), l.quantity FROM order_lines l LEFT JOIN products p ON p.tenant = l.tenant AND p.sku = l.sku WHERE l.tenant = $1 AND l.order_id = $2 ORDER BY l.position`, tenantID, orderID)
	if err != nil {
		return f, fmt.Errorf("lines of order %s: %w", orderID, err)
	}
	var l lineFacts
	_, err = pgx.ForEachRow(rows, []any{&l.id, &l.sku, &l.category, &l.sold}, func() error {
		f.lines = append(f.lines, l)
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("lines of order %s: %w", orderID, err)
	}
	for i := range f.lines {
		l := &f.lines[i]
		// Lines with the same SKU share what has come, in their order.
		l.arrived = min(l.sold, arrived[l.sku])
		arrived[l.sku] -= l.arrived
		if at, ok := last[l.sku]; ok {
			l.deliveredOn = dayOf(at, where)
		}
		for _, u := range units {
			switch {
			case u.Line != l.id:
			case slices.Contains(live[l.id], u.N):
				l.live++
			case u.Paid > 0 && u.Left == 0:
				l.paidBack++
			default:
				l.freeUnits = append(l.freeUnits, u)
			}
		}
		slices.SortStableFunc(l.freeUnits, func(a, b refund.Unit) int { return int(b.Left - a.Left) })
		// Units of which the money went back count as those that did not come.
		can := max(0, l.arrived-l.live-max(0, l.paidBack-(l.sold-l.arrived)))
		l.freeUnits = l.freeUnits[:min(can, len(l.freeUnits))]
	}
	for _, u := range units {
		if u.Line == "" {
			f.freight = u.Left
		}
	}
	return f, f.history(ctx, tx, tenantID, orderID, email)
}

func dayOf(at time.Time, where *time.Location) time.Time {
	y, m, d := at.In(where).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// arrivals are the units of each SKU that the buyer has, and when the last of them came.
func arrivals(ctx context.Context, tx pgx.Tx, tenantID, orderID string) (map[string]int, map[string]time.Time, error) {
	rows, err := tx.Query(ctx, `SELECT lines, ended_at FROM shipments WHERE tenant = $1 AND order_id = $2 AND status = 'delivered' ORDER BY ended_at`, tenantID, orderID)
	if err != nil {
		return nil, nil, fmt.Errorf("what order %s was delivered: %w", orderID, err)
	}
	units, last := map[string]int{}, map[string]time.Time{}
	var raw []byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&raw, &at}, func() error {
		var lines []struct {
			SKU      string `json:"sku"`
			Quantity int    `json:"quantity"`
		}
		if err := json.Unmarshal(raw, &lines); err != nil {
			return err
		}
		for _, l := range lines {
			units[l.SKU] += l.Quantity
			last[l.SKU] = at
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("what order %s was delivered: %w", orderID, err)
	}
	return units, last, nil
}

// liveUnits are the units of each line that a return has.
func liveUnits(ctx context.Context, tx pgx.Tx, tenantID, orderID string) (map[string][]int, error) {
	rows, err := tx.Query(ctx, `SELECT line_id, unit FROM return_units WHERE tenant = $1 AND order_id = $2 AND live`, tenantID, orderID)
	if err != nil {
		return nil, fmt.Errorf("returns of order %s: %w", orderID, err)
	}
	out := map[string][]int{}
	var line string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&line, &n}, func() error {
		out[line] = append(out[line], n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("returns of order %s: %w", orderID, err)
	}
	return out, nil
}

// history reads what a buyer had and gave back in the last year, apart from this order. A
// buyer is known by e-mail alone.
func (f *facts) history(ctx context.Context, tx pgx.Tx, tenantID, orderID, email string) error {
	if email == "" {
		return nil
	}
	err := tx.QueryRow(ctx, `WITH had AS (SELECT id FROM orders WHERE tenant = $1 AND email = $2 AND id <> $3 AND status IN ('delivered','completed') AND paid_at > now() - interval '1 year')
	  SELECT (SELECT count(*) FROM had), coalesce((SELECT sum(l.quantity) FROM order_lines l JOIN had ON l.tenant = $1 AND l.order_id = had.id), 0),
	         (SELECT count(*) FROM return_units u JOIN had ON u.tenant = $1 AND u.order_id = had.id WHERE u.live)`, tenantID, email, orderID).Scan(&f.orders, &f.had, &f.back)
	if err != nil {
		return fmt.Errorf("what the buyer of order %s had before: %w", orderID, err)
	}
	return nil
}
