package workflows_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"justlogistics/activities"
	"justlogistics/internal/warehouse/transfer"
	"justlogistics/workflows"
)

// Rules of the warehouse that a test leaves out to see it noticed.
const (
	ruleSweep    rule = "a run that is gone is begun again"
	ruleInherit  rule = "a new run takes the old one's cases off the list"
	rulePostpone rule = "a retry gives another day"
	ruleEndCount rule = "a count of which nothing is left is done"
)

// matter is the row that a run looks after, with the rules of its package as far
// as the run's activities see them.
type matter interface {
	// do is what a person does at the warehouse; told is whether the API then
	// signals the run. What the rules refuse changes nothing.
	do(st step) (told bool)
	// finish has people bring it to its end, as far as they can there.
	finish() (told bool)
	// open: a run must look after it. due is when the sweeper asks for that.
	open() bool
	due() time.Time
	// waits: something is left to wait for. What is not only has to be noticed.
	waits() bool
	// wants are the steps for which a person is to be asked now, with reasons.
	wants() map[string]string
	status() string
}

// watchedRow is a matter of package activities' Watches.
type watchedRow interface {
	matter
	view() activities.Watched
	postpone(by time.Duration)
	// resolve ends it at the support desk; false where nobody may.
	resolve() bool
}

func newMatter(plan shift, now func() time.Time, omitted *rule) matter {
	begun := now()
	switch plan.Kind {
	case workflows.KindTransfer:
		due := begun.Add(plan.Due)
		t := transfer.Transfer{From: "SCL-1", To: "CCP-1", Status: transfer.InTransit, DispatchedAt: &begun, DueAt: &due}
		for _, sku := range []string{"AGENDA", "BOLSO"} {
			t.Units = append(t.Units, transfer.Unit{SKU: sku, Sent: plan.Units, InTransit: plan.Units})
		}
		return &transferRow{now: now, t: t, omitted: omitted}
	case workflows.KindReceipt:
		return &receiptRow{now: now, at: "open", begun: begun, dueAt: begun.Add(plan.Due), missing: "the first scan", omitted: omitted}
	}
	c := &countRow{now: now, at: "open", begun: begun, recount: plan.Recount, completeBy: begun.Add(24 * time.Hour), rest: begun, dueAt: begun.Add(5 * time.Minute), omitted: omitted}
	for i := range plan.Units {
		c.bins = append(c.bins, bin{name: fmt.Sprintf("A-%02d", i+1), status: "open"})
	}
	return c
}

// transferRow is goods on their way, by package transfer.
type transferRow struct {
	now     func() time.Time
	t       transfer.Transfer
	omitted *rule
}

func (r *transferRow) open() bool {
	return r.t.Status == transfer.InTransit || r.t.Status == transfer.PartiallyReceived
}
func (r *transferRow) status() string { return r.t.Status }
func (r *transferRow) waits() bool    { return r.open() }

func (r *transferRow) due() time.Time {
	if r.t.DueAt == nil {
		return time.Time{}
	}
	return *r.t.DueAt
}

func (r *transferRow) wants() map[string]string {
	if !r.open() || r.due().After(r.now()) {
		return nil
	}
	return map[string]string{"reception": "transfer_overdue"}
}

func (r *transferRow) do(st step) bool {
	switch st.Do {
	case arrive:
		return r.move(st.On, func(u *transfer.Unit, n int) { u.Received += n }, 24*time.Hour)
	case arriveDamaged:
		return r.move(st.On, func(u *transfer.Unit, n int) { u.Damaged += n }, 24*time.Hour)
	case loseSome:
		return r.move(st.On, func(u *transfer.Unit, n int) { u.Lost += n }, 0)
	case recallSome:
		return r.move(st.On, func(u *transfer.Unit, n int) { u.Recalled += n }, 0)
	}
	return false
}

func (r *transferRow) finish() bool { return r.do(step{Do: arrive}) }

// move is what becomes of so many units of each SKU, 0 for all; then the rest is
// waited for so long from now, or until when it was.
func (r *transferRow) move(units int, to func(u *transfer.Unit, n int), rest time.Duration) bool {
	if !r.open() {
		return false
	}
	for i := range r.t.Units {
		u := &r.t.Units[i]
		n := u.InTransit
		if units > 0 {
			n = min(n, units)
		}
		to(u, n)
		u.InTransit -= n
	}
	if rest > 0 {
		due := r.now().Add(rest)
		r.t.DueAt = &due
	}
	r.settle()
	return true
}

// settle is the status that follows from the units.
func (r *transferRow) settle() {
	sent, arrived, lost, left := 0, 0, 0, 0
	for _, u := range r.t.Units {
		sent, arrived, lost, left = sent+u.Sent, arrived+u.Received+u.Damaged, lost+u.Lost, left+u.InTransit
	}
	switch {
	case left > 0 && arrived > 0:
		r.t.Status = transfer.PartiallyReceived
	case left > 0:
		r.t.Status = transfer.InTransit
	case arrived == 0 && lost == 0:
		r.t.Status = transfer.Cancelled
	case arrived == sent:
		r.t.Status = transfer.Received
	default:
		r.t.Status = transfer.ReceivedShort
	}
	if left == 0 {
		r.t.DueAt = nil
	}
}

func (r *transferRow) view() activities.Watched {
	return activities.Watched{Status: r.t.Status, WaitsFor: r.t.WaitsFor(), DueAt: r.due().UTC(), Over: !r.open()}
}

func (r *transferRow) postpone(by time.Duration) {
	if until := r.now().Add(by); r.open() && until.After(r.due()) && *r.omitted != rulePostpone {
		r.t.DueAt = &until
	}
}

func (r *transferRow) resolve() bool {
	r.do(step{Do: loseSome})
	return true
}

// receiptRow is goods at the door, by package receiving.
type receiptRow struct {
	now           func() time.Time
	at            string
	begun, dueAt  time.Time
	missing       string
	scanned, gone bool
	omitted       *rule
}

func (r *receiptRow) open() bool     { return r.at == "open" }
func (r *receiptRow) status() string { return r.at }
func (r *receiptRow) waits() bool    { return r.open() }
func (r *receiptRow) due() time.Time { return r.dueAt }

func (r *receiptRow) wants() map[string]string {
	if !r.open() || r.dueAt.After(r.now()) {
		return nil
	}
	return map[string]string{"reception": "receipt_overdue"}
}

func (r *receiptRow) do(st step) bool {
	if !r.open() {
		return false
	}
	switch st.Do {
	case scanGoods, correctScan:
		if st.Do == correctScan && !r.scanned {
			return false
		}
		r.scanned = true
		if r.missing = "a person to close it"; r.gone {
			r.missing = "a person to decide on goods of a cancelled purchase order"
		}
	case orderGone:
		r.gone, r.missing = true, "a person to decide on goods of a cancelled purchase order"
		return false // its receipts' runs are not told
	case closeReceipt:
		r.at, r.missing, r.dueAt = "closed", "", time.Time{}
	case giveItUp:
		if r.scanned {
			return false
		}
		r.at, r.missing, r.dueAt = "cancelled", "", time.Time{}
	default:
		return false
	}
	return true
}

func (r *receiptRow) finish() bool { return r.do(step{Do: closeReceipt}) }

func (r *receiptRow) view() activities.Watched {
	if !r.open() {
		return activities.Watched{Status: r.at, Over: true}
	}
	return activities.Watched{Status: r.at, DueAt: r.dueAt.UTC(), WaitsFor: fmt.Sprintf("Goods are being received in bin IN of SCL-1 since %s: the receipt waits for %s.", r.begun.Format("2006-01-02 15:04 UTC"), r.missing)}
}

func (r *receiptRow) postpone(by time.Duration) {
	if until := r.now().Add(by); r.open() && until.After(r.dueAt) && *r.omitted != rulePostpone {
		r.dueAt = until
	}
}

func (r *receiptRow) resolve() bool { return false }

// countRow is a count with its tasks, by package counting.
type countRow struct {
	now              func() time.Time
	at               string
	begun            time.Time
	recount, watched bool
	completeBy, rest time.Time
	dueAt            time.Time
	bins             []bin
	omitted          *rule
}

// bin is a task: open, recount, awaiting_approval, done or cancelled.
type bin struct {
	name, status string
	since        time.Time // when it began to wait for approval
}

func (r *countRow) open() bool     { return r.at == "open" }
func (r *countRow) status() string { return r.at }
func (r *countRow) due() time.Time { return r.dueAt }

func (r *countRow) waits() bool {
	left, waiting, _, _ := r.tally()
	return r.open() && left+waiting > 0
}

// tally is how many bins wait for a counter and for approval, since when the
// oldest does, and the names of the first that do.
func (r *countRow) tally() (left, waiting int, oldest time.Time, which string) {
	var those []bin
	for _, b := range r.bins {
		switch b.status {
		case "open", "recount":
			left++
		case "awaiting_approval":
			those = append(those, b)
		}
	}
	slices.SortStableFunc(those, func(a, b bin) int { return a.since.Compare(b.since) })
	var names []string
	for _, b := range those[:min(3, len(those))] {
		names = append(names, b.name)
	}
	if len(those) > 0 {
		oldest = those[0].since
	}
	return left, len(those), oldest, strings.Join(names, ", ")
}

func (r *countRow) patience(oldest time.Time) time.Time {
	if until := oldest.Add(4 * time.Hour); until.After(r.rest) {
		return until
	}
	return r.rest
}

func (r *countRow) wants() map[string]string {
	if !r.open() {
		return nil
	}
	out := map[string]string{}
	left, waiting, oldest, _ := r.tally()
	if left > 0 && !r.now().Before(r.completeBy) {
		out["tasks"] = "count_past_due"
	}
	if waiting > 0 && !r.now().Before(r.patience(oldest)) {
		out["approvals"] = "count_waits_for_approval"
	}
	return out
}

func (r *countRow) do(st step) bool {
	if st.Do == giveItUp {
		return r.cancel()
	}
	b := &r.bins[st.On%len(r.bins)]
	waits := b.status == "open" || b.status == "recount"
	switch {
	case st.Do == countRight && waits, st.Do == approveBin && b.status == "awaiting_approval":
		b.status = "done"
	case st.Do == countWrong && b.status == "open" && r.recount:
		b.status = "recount"
	case st.Do == countWrong && waits:
		b.status, b.since = "awaiting_approval", r.now()
	case st.Do == rejectBin && b.status == "awaiting_approval":
		b.status = "open"
	default:
		return false
	}
	return r.changed(*b)
}

// changed is whether the run is told: it looks by itself, and is told only what
// can't wait.
func (r *countRow) changed(b bin) bool {
	left, waiting, _, _ := r.tally()
	switch b.status {
	case "awaiting_approval":
		return waiting == 1
	case "recount":
		return false
	}
	return left+waiting == 0
}

func (r *countRow) finish() (told bool) {
	for i := range r.bins {
		for _, do := range []act{countRight, approveBin} {
			told = r.do(step{Do: do, On: i}) || told
		}
	}
	return told
}

func (r *countRow) cancel() bool {
	if r.at == "done" {
		return false
	}
	if r.at == "open" {
		r.at, r.dueAt, r.watched = "cancelled", time.Time{}, true
		for i := range r.bins {
			if r.bins[i].status != "done" {
				r.bins[i].status = "cancelled"
			}
		}
	}
	return true
}

// look is counting.Look.
func (r *countRow) look() activities.CountView {
	v := activities.CountView{Warehouse: "SCL-1"}
	if v.Over = !r.open(); v.Over {
		return v
	}
	var oldest time.Time
	v.Total = len(r.bins)
	v.Left, v.Waiting, oldest, v.Which = r.tally()
	r.watched = true
	if v.Left+v.Waiting == 0 && *r.omitted != ruleEndCount {
		v.Over, r.at, r.dueAt = true, "done", time.Time{}
		return v
	}
	now, next := r.now(), time.Hour
	if v.Left > 0 {
		if v.PastDue = !now.Before(r.completeBy); !v.PastDue {
			next = min(next, r.completeBy.Sub(now))
		}
	}
	if v.Waiting > 0 {
		until := r.patience(oldest)
		if v.Unapproved = !now.Before(until); !v.Unapproved {
			next = min(next, until.Sub(now))
		}
	}
	v.NextSeconds = int(max(next, time.Second).Round(time.Second).Seconds())
	r.dueAt = now.Add(time.Duration(2*v.NextSeconds+60) * time.Second)
	return v
}

// extend is counting.Extend.
func (r *countRow) extend(approvals bool) {
	switch until := r.now().Add(24 * time.Hour); {
	case !r.open() || *r.omitted == rulePostpone:
	case approvals:
		r.rest = until
	default:
		r.completeBy = until
	}
}
