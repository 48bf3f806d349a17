package counting

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// booking corrects the books of a bin by what a count differed in.
type booking struct {
	tenant string
	task   Task
	by     stock.By
	lines  []line
	// note is the reason, as it stands in the movements.
	note        string
	moved       stock.Moved
	over, under int
}

func (b *booking) document() string { return "count:" + b.task.CountID }

// book moves what was found in before what is missing goes out, so that no
// promise breaks over units that only have another lot or status.
//
// The difference is booked, not the number: what was moved since the count stays
// moved. When the bin has fewer units by now than are missing, what it has goes.
func (b *booking) book(ctx context.Context, tx pgx.Tx) error {
	for _, l := range b.lines {
		if err := b.comeIn(ctx, tx, l); err != nil {
			return err
		}
	}
	for _, l := range b.lines {
		if err := b.goOut(ctx, tx, l); err != nil {
			return err
		}
	}
	return nil
}

func (b *booking) move(ctx context.Context, tx pgx.Tx, warehouse string, p pile, serial string, units int, from, to *stock.Spot) error {
	moved, err := stock.Move(ctx, tx, b.tenant, stock.BinMovement{SKU: p.SKU, Warehouse: warehouse, Lot: p.Lot, Serial: serial, Quantity: units, From: from, To: to,
		Reason: "count", Document: b.document(), Note: b.note, By: b.by})
	b.moved.Shorted = append(b.moved.Shorted, moved.Shorted...)
	b.moved.Dropped = append(b.moved.Dropped, moved.Dropped...)
	if err != nil {
		return fmt.Errorf("count of bin %s: %w", b.task.Bin, err)
	}
	return nil
}

func (b *booking) comeIn(ctx context.Context, tx pgx.Tx, l line) error {
	if l.over() == 0 {
		return nil
	}
	if l.Lot != "" {
		// A lot that is known with another day keeps it: whoever approved has seen that.
		if _, err := stock.PutLot(ctx, tx, b.tenant, stock.Lot{SKU: l.SKU, Lot: l.Lot, ExpiresOn: l.ExpiresOn}); err != nil {
			return err
		}
	}
	for _, serial := range l.Found {
		if err := b.find(ctx, tx, l.pile, serial); err != nil {
			return err
		}
	}
	if len(l.Found)+len(l.Missing) > 0 {
		return nil
	}
	b.over += l.over()
	return b.move(ctx, tx, b.task.Warehouse, l.pile, "", l.over(), nil, stock.In(b.task.Bin, l.Status))
}

// find brings a unit with a number here, from where the books have it: then that
// bin is to be counted too.
func (b *booking) find(ctx context.Context, tx pgx.Tx, p pile, serial string) error {
	var at struct{ warehouse, bin, lot, status string }
	err := tx.QueryRow(ctx, `SELECT warehouse, bin, lot, status FROM serials WHERE tenant = $1 AND sku = $2 AND serial = $3 AND state = 'in_stock'`, b.tenant, p.SKU, serial).Scan(&at.warehouse, &at.bin, &at.lot, &at.status)
	b.over++
	here := stock.In(b.task.Bin, p.Status)
	if errors.Is(err, pgx.ErrNoRows) {
		return b.move(ctx, tx, b.task.Warehouse, p, serial, 1, nil, here)
	}
	if err != nil {
		return fmt.Errorf("serial %s of %s: %w", serial, p.SKU, err)
	}
	there := stock.In(at.bin, at.status)
	sameBin := at.warehouse == b.task.Warehouse && at.bin == b.task.Bin
	switch {
	case sameBin && at.lot == p.Lot && at.status == p.Status:
		b.over--
		return nil
	case at.warehouse == b.task.Warehouse && at.lot == p.Lot:
		err = b.move(ctx, tx, at.warehouse, p, serial, 1, there, here)
	default:
		// Its lot or its warehouse changes, which no movement does: out and in again.
		if err = b.move(ctx, tx, at.warehouse, pile{p.SKU, at.lot, at.status}, serial, 1, there, nil); err == nil {
			err = b.move(ctx, tx, b.task.Warehouse, p, serial, 1, nil, here)
		}
	}
	if err != nil || sameBin {
		return err
	}
	return Ask(ctx, tx, b.tenant, Asked{Warehouse: at.warehouse, Bin: at.bin, SKU: p.SKU, Reason: "serial_elsewhere", Document: b.document()})
}

func (b *booking) goOut(ctx context.Context, tx pgx.Tx, l line) error {
	if l.under() == 0 {
		return nil
	}
	from := stock.In(b.task.Bin, l.Status)
	for _, serial := range l.Missing {
		var here bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM serials WHERE tenant = $1 AND sku = $2 AND serial = $3 AND state = 'in_stock' AND warehouse = $4 AND bin = $5 AND lot = $6 AND status = $7)`,
			b.tenant, l.SKU, serial, b.task.Warehouse, b.task.Bin, l.Lot, l.Status).Scan(&here)
		if err != nil {
			return fmt.Errorf("serial %s of %s: %w", serial, l.SKU, err)
		}
		if !here {
			continue
		}
		b.under++
		if err := b.move(ctx, tx, b.task.Warehouse, l.pile, serial, 1, from, nil); err != nil {
			return err
		}
	}
	if len(l.Found)+len(l.Missing) > 0 {
		return nil
	}
	var there int
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT quantity FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND bin = $3 AND sku = $4 AND lot = $5 AND status = $6), 0)`,
		b.tenant, b.task.Warehouse, b.task.Bin, l.SKU, l.Lot, l.Status).Scan(&there)
	if err != nil {
		return fmt.Errorf("bin %s: %w", b.task.Bin, err)
	}
	gone := min(there, l.under())
	if gone == 0 {
		return nil
	}
	b.under += gone
	return b.move(ctx, tx, b.task.Warehouse, l.pile, "", gone, from, nil)
}

// end closes the task with what came of it: the bin is counted.
func (b *booking) end(ctx context.Context, tx pgx.Tx, attempts int, outcome string) error {
	expected := 0
	for _, l := range b.lines {
		expected += l.Expected
	}
	batch := &pgx.Batch{}
	batch.Queue(`UPDATE count_tasks SET status = 'done', outcome = $3, attempts = $4, person = '', began_at = NULL, waits_since = NULL, decided_by = $5, expected_units = $6, units_over = $7, units_under = $8,
	    version = version + 1, updated_at = now(), ended_at = now() WHERE tenant = $1 AND id = $2`, b.tenant, b.task.ID, outcome, attempts, b.by.Person, expected, b.over, b.under)
	batch.Queue(`UPDATE bins SET counted_at = now() WHERE tenant = $1 AND warehouse = $2 AND code = $3`, b.tenant, b.task.Warehouse, b.task.Bin)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("end count task %s: %w", b.task.ID, err)
	}
	return nil
}

// wait leaves the task to another counter, or to somebody who decides.
func (b *booking) wait(ctx context.Context, tx pgx.Tx, attempts int, status string) error {
	_, err := tx.Exec(ctx, `UPDATE count_tasks SET status = $3, attempts = $4, person = '', began_at = NULL, waits_since = CASE WHEN $3 = 'awaiting_approval' THEN now() END, version = version + 1, updated_at = now()
	  WHERE tenant = $1 AND id = $2`, b.tenant, b.task.ID, status, attempts)
	if err != nil {
		return fmt.Errorf("count task %s: %w", b.task.ID, err)
	}
	return nil
}

// Asked is a bin that somebody wants counted, and why.
type Asked struct {
	Warehouse, Bin, SKU string
	Reason              string // a code: short_pick, serial_elsewhere, ...
	Document            string // as kind:id
}

// Ask requests a count of a bin: a task at once, unless the bin has one already. Of
// a bin that the warehouse does not have there is nothing to count.
func Ask(ctx context.Context, tx pgx.Tx, tenant string, a Asked) error {
	_, err := tx.Exec(ctx, `INSERT INTO count_requests (tenant, id, warehouse, bin, sku, reason, document)
	  SELECT tenant, $2, warehouse, code, $5, $6, $7 FROM bins WHERE tenant = $1 AND warehouse = $3 AND code = $4 ON CONFLICT DO NOTHING`, tenant, id.New(), a.Warehouse, a.Bin, a.SKU, a.Reason, a.Document)
	if err != nil {
		return fmt.Errorf("request a count of bin %s: %w", a.Bin, err)
	}
	return nil
}

// Decision is what somebody says to a difference.
type Decision struct {
	// Reason, when given, is booked instead of the count's.
	Reason          string `json:"reason"`
	ExpectedVersion int64  `json:"expected_version"`
}

// Approve books the difference of a task's last count. Whoever approves has not
// counted the bin: 409 another_person_needed; 409 count_task_not_waiting when
// there is nothing to approve. Approving again what this person has approved
// changes nothing.
func Approve(ctx context.Context, tx pgx.Tx, tenant, taskID string, d Decision, by stock.By) (Outcome, error) {
	t, err := getTask(ctx, tx, tenant, taskID)
	if err != nil {
		return Outcome{}, err
	}
	var f problem.Fields
	if d.Reason != "" {
		if err := knownReason(ctx, tx, tenant, d.Reason, &f); err != nil {
			return Outcome{}, err
		}
	}
	if err := f.Err(); err != nil {
		return Outcome{}, err
	}
	lines, err := readLines(ctx, tx, tenant, t, t.Attempts)
	if err != nil {
		return Outcome{}, err
	}
	skus, serials := []string{}, []string{}
	for _, l := range lines {
		skus, serials = append(skus, l.SKU), append(serials, l.Found...)
	}
	if err := lockLevels(ctx, tx, tenant, t, skus, serials); err != nil {
		return Outcome{}, err
	}
	before := t.Attempts
	if t, _, err = lockTask(ctx, tx, tenant, taskID); err != nil {
		return Outcome{}, err
	}
	if decided, err := mayDecide(ctx, tx, tenant, t, d.ExpectedVersion, by.Person, Done); err != nil || decided {
		return Outcome{Task: t}, err
	}
	if t.Attempts != before {
		return Outcome{}, refuse("version_changed", "The task has changed since it was read.", t)
	}
	var reason string
	if err := tx.QueryRow(ctx, `SELECT reason FROM counts WHERE tenant = $1 AND id = $2`, tenant, t.CountID).Scan(&reason); err != nil {
		return Outcome{}, fmt.Errorf("count %s: %w", t.CountID, err)
	}
	b := booking{tenant: tenant, task: t, by: by, lines: lines, note: cmp.Or(d.Reason, reason)}
	if err := b.book(ctx, tx); err != nil {
		return Outcome{}, err
	}
	outcome := "adjusted"
	if b.over+b.under == 0 {
		outcome = "right" // something strange, and nothing else
	}
	if err := b.end(ctx, tx, t.Attempts, outcome); err != nil {
		return Outcome{}, err
	}
	out := Outcome{Moved: b.moved}
	return out, out.read(ctx, tx, tenant, taskID)
}

// Reject sets the counts of a task aside: the bin is counted anew, by anybody.
// Its refusals are those of Approve.
func Reject(ctx context.Context, tx pgx.Tx, tenant, taskID string, d Decision, by stock.By) (Outcome, error) {
	t, _, err := lockTask(ctx, tx, tenant, taskID)
	if err != nil {
		return Outcome{}, err
	}
	if decided, err := mayDecide(ctx, tx, tenant, t, d.ExpectedVersion, by.Person, Open); err != nil || decided {
		return Outcome{Task: t}, err
	}
	_, err = tx.Exec(ctx, `UPDATE count_tasks SET status = 'open', rejected = attempts, decided_by = $3, waits_since = NULL, version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, taskID, by.Person)
	if err != nil {
		return Outcome{}, fmt.Errorf("reject count task %s: %w", taskID, err)
	}
	out := Outcome{}
	return out, out.read(ctx, tx, tenant, taskID)
}

// mayDecide refuses a person who may not decide a locked task; decided says that
// this person has just done so.
func mayDecide(ctx context.Context, tx pgx.Tx, tenant string, t Task, expectedVersion int64, person, after string) (decided bool, err error) {
	var counted bool
	err = tx.QueryRow(ctx, `SELECT t.status = $4 AND t.decided_by = $3, EXISTS (SELECT FROM count_attempts a WHERE a.tenant = t.tenant AND a.count_id = t.count_id AND a.bin = t.bin AND a.attempt > t.rejected AND a.person = $3)
	  FROM count_tasks t WHERE t.tenant = $1 AND t.id = $2`, tenant, t.ID, person, after).Scan(&decided, &counted)
	switch {
	case err != nil:
		return false, fmt.Errorf("count task %s: %w", t.ID, err)
	case decided && t.Attempts > 0 && !counted:
		return true, nil
	case expectedVersion != 0 && expectedVersion != t.Version:
		return false, refuse("version_changed", "The task has changed since it was read.", t)
	case t.Status != AwaitingApproval:
		return false, refuse("count_task_not_waiting", "This bin does not wait for approval.", t)
	case counted:
		return false, refuse("another_person_needed", "You have counted this bin: another person decides.", t)
	}
	return false, nil
}
