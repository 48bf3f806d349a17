package counting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/scancode"
)

// mostLines are the most lines of one count.
const mostLines = 2000

// Line is what a counter saw of one thing.
type Line struct {
	// Code is what was scanned, SKU the product by its name: one of them.
	Code string `json:"code"`
	SKU  string `json:"sku"`
	// Lot may be left out where the bin has one lot of the SKU.
	Lot       string `json:"lot"`
	ExpiresOn string `json:"expires_on"` // a day of a lot that is new
	// Status may be left out: units of other statuses than available are then
	// taken to be there first.
	Status   string   `json:"status"`
	Quantity *int     `json:"quantity"`
	Serials  []string `json:"serials"`
	// Unknown says that no product has the code: a person must look at it.
	Unknown bool `json:"unknown"`
}

// Counted is what a counter saw in a bin: all of it, since what is not named was
// not there.
type Counted struct {
	Lines []Line `json:"lines"`
	// Empty says that there was nothing; without it no lines are a mistake.
	Empty bool `json:"empty"`
	// ExpectedVersion, when not zero, is the version that the task must have.
	ExpectedVersion int64 `json:"expected_version"`
}

// Outcome is a task after somebody acted on it, and what that did to promises.
// Nothing in it tells what the books say.
type Outcome struct {
	Task Task
	// Moved are holds and allocations that lost units: their runs must be told.
	Moved stock.Moved
	// Changed says that the count's run should look: the last bin is done, or the
	// first one waits for approval.
	Changed bool
}

// Begin takes a task for a person: from now on movements are told apart from
// differences. Beginning again starts over. It is 409 count_task_over,
// another_person_needed or count_task_taken (with current, the task) when
// somebody else has begun less than half an hour ago.
func Begin(ctx context.Context, tx pgx.Tx, tenant, taskID string, expectedVersion int64, by stock.By) (Task, error) {
	t, _, err := lockTask(ctx, tx, tenant, taskID)
	if err != nil {
		return t, err
	}
	if err := mayCount(ctx, tx, tenant, t, by.Person, expectedVersion); err != nil {
		return t, err
	}
	_, err = tx.Exec(ctx, `UPDATE count_tasks SET status = 'counting', person = $3, began_at = clock_timestamp(), began_after = coalesce((SELECT max(id) FROM bin_movements WHERE tenant = $1), 0),
	    version = version + 1, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, taskID, by.Person)
	if err != nil {
		return t, fmt.Errorf("begin count task %s: %w", taskID, err)
	}
	return getTask(ctx, tx, tenant, taskID)
}

// keepsFor is how long a person who has begun keeps others away.
const keepsFor = 30 * time.Minute

// lockTask reads a task that is locked until the transaction ends, with the
// database's time.
func lockTask(ctx context.Context, tx pgx.Tx, tenant, taskID string) (Task, time.Time, error) {
	var now time.Time
	err := tx.QueryRow(ctx, `SELECT clock_timestamp() FROM count_tasks WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, taskID).Scan(&now)
	if errors.Is(err, pgx.ErrNoRows) {
		return Task{}, now, problem.Missing("count task")
	}
	if err != nil {
		return Task{}, now, fmt.Errorf("count task %s: %w", taskID, err)
	}
	t, err := getTask(ctx, tx, tenant, taskID)
	return t, now, err
}

func refuse(code, detail string, t Task) error {
	return problem.New(problem.Conflict, code, detail).With("current", t)
}

// mayCount refuses a person who may not count a locked task now.
func mayCount(ctx context.Context, tx pgx.Tx, tenant string, t Task, person string, expectedVersion int64) error {
	switch {
	case expectedVersion != 0 && expectedVersion != t.Version:
		return refuse("version_changed", "The task has changed since it was read.", t)
	case t.Status == Done || t.Status == Cancelled || t.Status == AwaitingApproval:
		return refuse("count_task_over", "This bin does not wait for a counter.", t)
	}
	var counted, recount, taken bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM count_attempts a WHERE a.tenant = t.tenant AND a.count_id = t.count_id AND a.bin = t.bin AND a.attempt > t.rejected AND a.person = $3), c.recount,
	    t.status = 'counting' AND t.person <> $3 AND t.began_at > clock_timestamp() - $4::interval
	  FROM count_tasks t JOIN counts c ON c.tenant = t.tenant AND c.id = t.count_id WHERE t.tenant = $1 AND t.id = $2`, tenant, t.ID, person, keepsFor).Scan(&counted, &recount, &taken)
	switch {
	case err != nil:
		return fmt.Errorf("counters of task %s: %w", t.ID, err)
	case counted && recount:
		return refuse("another_person_needed", "You have counted this bin: another person counts it again.", t)
	case taken:
		return refuse("count_task_taken", "Somebody else is counting this bin.", t)
	}
	return nil
}

// Submit takes what a person saw in a bin and compares it with what the bin had
// when that person began: what it has now less all movements since (without a
// beginning, what it has now). rules.decide tells what follows.
//
// The same result by the same person again is answered with the task as it
// stands. Refusals: those of Begin, 422 unknown_item, and faults of lines.
func Submit(ctx context.Context, tx pgx.Tx, tenant, taskID string, in Counted, by stock.By) (Outcome, error) {
	t, err := getTask(ctx, tx, tenant, taskID)
	if err != nil {
		return Outcome{}, err
	}
	s := submission{tenant: tenant, by: by, seen: newContents(), expiry: map[pile]*time.Time{}}
	if err := s.resolve(ctx, tx, in); err != nil {
		return Outcome{}, err
	}
	if err := s.lockStock(ctx, tx, t); err != nil {
		return Outcome{}, err
	}
	var now time.Time
	if s.task, now, err = lockTask(ctx, tx, tenant, taskID); err != nil {
		return Outcome{}, err
	}
	if err := s.look(ctx, tx, now); err != nil {
		return Outcome{}, err
	}
	if err := s.assign(); err != nil {
		return Outcome{}, err
	}
	digest := s.seen.digest(s.strange)
	if same, err := s.sentBefore(ctx, tx, digest); err != nil || same {
		return Outcome{Task: s.task}, err
	}
	if err := mayCount(ctx, tx, tenant, s.task, by.Person, in.ExpectedVersion); err != nil {
		return Outcome{}, err
	}
	return s.decide(ctx, tx, digest)
}

// submission is one count on its way in.
type submission struct {
	tenant   string
	by       stock.By
	task     Task
	items    []item
	strange  []string
	expected contents
	movedOf  map[pile]bool
	where    map[[2]string]pile // SKU and serial to where it is in this bin, as expected
	lotOf    map[[2]string]string
	seen     contents
	expiry   map[pile]*time.Time
	began    time.Time
}

// item is a line whose product is known.
type item struct {
	at int
	scancode.Item
	status  string
	units   int
	serials []string
}

var lotName = regexp.MustCompile(`^[!-~]{1,40}$`)

var statuses = []string{stock.Available, stock.Held, stock.Expired, stock.Damaged}

// resolve finds the products of the lines and tells all their faults at once.
func (s *submission) resolve(ctx context.Context, tx pgx.Tx, in Counted) error {
	var f problem.Fields
	switch {
	case len(in.Lines) == 0 && !in.Empty:
		f.Add("lines", "required", "name what is in the bin, or say that it is empty")
	case len(in.Lines) > 0 && in.Empty:
		f.Add("empty", "invalid", "an empty bin has no lines")
	case len(in.Lines) > mostLines:
		f.Add("lines", "too_many", "at most %d", mostLines)
		return f.Err()
	}
	var now time.Time
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return fmt.Errorf("database time: %w", err)
	}
	for i, l := range in.Lines {
		if err := s.resolveLine(ctx, tx, i, l, now, &f); err != nil {
			return err
		}
	}
	return f.Err()
}

func (s *submission) resolveLine(ctx context.Context, tx pgx.Tx, i int, l Line, now time.Time, f *problem.Fields) error {
	at := fmt.Sprintf("lines[%d].", i)
	if (l.Code == "") == (l.SKU == "") {
		f.Add(at+"code", "required", "name a code or a SKU, not both")
		return nil
	}
	found, err := scancode.Resolve(ctx, tx, s.tenant, cmp.Or(l.SKU, l.Code), now)
	refused, known := problem.As(err)
	switch {
	case err == nil && l.SKU != "" && found.SKU != l.SKU:
		f.Add(at+"sku", "unknown_sku", "no such SKU")
		return nil
	case err != nil && !known:
		return err
	case known && refused.Code == "unknown_item" && l.Unknown && len(l.Code) <= 200:
		if !slices.Contains(s.strange, "code "+l.Code) {
			s.strange = append(s.strange, "code "+l.Code)
		}
		return nil
	case known && l.SKU != "":
		f.Add(at+"sku", "unknown_sku", "no such SKU")
		return nil
	case known:
		f.Add(at+"code", refused.Code, "%s", refused.Detail)
		return nil
	}
	it := item{at: i, Item: found, status: l.Status, serials: slices.Clone(l.Serials)}
	s.finish(&it, l, at, f)
	s.items = append(s.items, it)
	return nil
}

// finish adds to what a code says what the line says, and checks both.
func (s *submission) finish(it *item, l Line, at string, f *problem.Fields) {
	if l.Lot != "" {
		it.Lot = l.Lot
	}
	if it.Lot != "" && !lotName.MatchString(it.Lot) {
		f.Add(at+"lot", "invalid", "1 to 40 visible characters")
	}
	if l.ExpiresOn != "" {
		day, err := time.Parse(time.DateOnly, l.ExpiresOn)
		if err != nil {
			f.Add(at+"expires_on", "invalid", "want a day like 2027-03-31")
		}
		it.ExpiresOn = &day
	}
	if l.Status != "" && !slices.Contains(statuses, l.Status) {
		f.Add(at+"status", "invalid", "available, held, expired or damaged")
	}
	if it.Serial != "" && !slices.Contains(it.serials, it.Serial) {
		it.serials = append(it.serials, it.Serial)
	}
	bySerial := it.Tracking == "serial"
	switch {
	case l.Quantity != nil:
		it.units = *l.Quantity
	case bySerial:
		it.units = len(it.serials)
	default:
		it.units = it.Count
	}
	switch {
	case l.Quantity == nil && it.units == 0 && !bySerial:
		f.Add(at+"quantity", "required", "say how many units there are")
	case it.units < 0 || it.units > 1_000_000_000:
		f.Add(at+"quantity", "out_of_range", "0 to 1000000000")
	case bySerial && it.units != len(it.serials):
		f.Add(at+"serials", "invalid", "units of this SKU have numbers: give one for each of %d units", it.units)
	case !bySerial:
		it.serials = nil
	}
	for j, serial := range it.serials {
		if !lotName.MatchString(serial) {
			f.Add(fmt.Sprintf("%sserials[%d]", at, j), "invalid", "1 to 40 visible characters")
		}
	}
}

// lockStock locks the levels of everything that the bin has or was seen in it,
// and of the warehouses where serials that were seen are thought to be.
func (s *submission) lockStock(ctx context.Context, tx pgx.Tx, t Task) error {
	skus, serials := []string{}, []string{}
	for _, it := range s.items {
		skus = append(skus, it.SKU)
		serials = append(serials, it.serials...)
	}
	return lockLevels(ctx, tx, s.tenant, t, skus, serials)
}

func lockLevels(ctx context.Context, tx pgx.Tx, tenant string, t Task, skus, serials []string) error {
	// What comes into the bin after this was not there when the count began.
	var all, warehouses []string
	err := tx.QueryRow(ctx, `SELECT ARRAY(SELECT unnest($4::text[]) UNION SELECT sku FROM bin_stock WHERE tenant = $1 AND warehouse = $2 AND bin = $3),
	    ARRAY(SELECT $2 UNION SELECT warehouse FROM serials WHERE tenant = $1 AND serial = ANY($5) AND sku = ANY($4) AND state = 'in_stock')`, tenant, t.Warehouse, t.Bin, skus, serials).Scan(&all, &warehouses)
	if err != nil {
		return fmt.Errorf("what is in bin %s: %w", t.Bin, err)
	}
	_, err = tx.Exec(ctx, `SELECT FROM stock_levels WHERE tenant = $1 AND sku = ANY($2) AND warehouse = ANY($3) ORDER BY sku, warehouse FOR UPDATE`, tenant, all, warehouses)
	if err != nil {
		return fmt.Errorf("lock the stock of bin %s: %w", t.Bin, err)
	}
	return nil
}

// look reads what the bin has and takes all movements since the count began out
// of it again.
func (s *submission) look(ctx context.Context, tx pgx.Tx, now time.Time) error {
	s.began = now
	after := int64(0)
	mine := s.task.Status == Counting && s.task.Person == s.by.Person && s.task.BeganAt != nil
	if mine {
		s.began = *s.task.BeganAt
		if err := tx.QueryRow(ctx, `SELECT began_after FROM count_tasks WHERE tenant = $1 AND id = $2`, s.tenant, s.task.ID).Scan(&after); err != nil {
			return fmt.Errorf("count task %s: %w", s.task.ID, err)
		}
	}
	if err := s.readBin(ctx, tx); err != nil {
		return err
	}
	s.movedOf = map[pile]bool{}
	if mine {
		if err := s.rewind(ctx, tx, after); err != nil {
			return err
		}
	}
	s.where = map[[2]string]pile{}
	for p, list := range s.expected.serials {
		for _, serial := range list {
			s.where[[2]string{p.SKU, serial}] = p
		}
	}
	return s.readLots(ctx, tx)
}

func (s *submission) readBin(ctx context.Context, tx pgx.Tx) error {
	s.expected = newContents()
	rows, err := tx.Query(ctx, `SELECT sku, lot, status, quantity, ARRAY(SELECT n.serial FROM serials n WHERE (n.tenant, n.warehouse, n.bin, n.sku, n.lot, n.status) = (b.tenant, b.warehouse, b.bin, b.sku, b.lot, b.status) AND n.state = 'in_stock')
	  FROM bin_stock b WHERE tenant = $1 AND warehouse = $2 AND bin = $3 AND quantity > 0`, s.tenant, s.task.Warehouse, s.task.Bin)
	if err != nil {
		return fmt.Errorf("bin %s: %w", s.task.Bin, err)
	}
	var p pile
	var units int
	var serials []string
	_, err = pgx.ForEachRow(rows, []any{&p.SKU, &p.Lot, &p.Status, &units, &serials}, func() error {
		s.expected.units[p] = units
		if len(serials) > 0 {
			s.expected.serials[p] = slices.Clone(serials)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bin %s: %w", s.task.Bin, err)
	}
	return nil
}

// rewind undoes, from the newest, the bin's movements since the count began.
func (s *submission) rewind(ctx context.Context, tx pgx.Tx, after int64) error {
	rows, err := tx.Query(ctx, `SELECT sku, lot, coalesce(serial, ''), quantity, coalesce(from_bin, '') = $3, coalesce(from_status, ''), coalesce(to_bin, '') = $3, coalesce(to_status, '') FROM bin_movements
	  WHERE tenant = $1 AND warehouse = $2 AND (from_bin = $3 OR to_bin = $3) AND id > $4 AND created_at >= $5 ORDER BY id DESC`, s.tenant, s.task.Warehouse, s.task.Bin, after, s.began)
	if err != nil {
		return fmt.Errorf("movements of bin %s: %w", s.task.Bin, err)
	}
	var sku, lot, serial, fromStatus, toStatus string
	var units int
	var left, came bool
	_, err = pgx.ForEachRow(rows, []any{&sku, &lot, &serial, &units, &left, &fromStatus, &came, &toStatus}, func() error {
		if came {
			p := pile{sku, lot, toStatus}
			s.expected.take(p, units, serial)
			s.movedOf[p] = true
		}
		if left {
			p := pile{sku, lot, fromStatus}
			s.expected.add(p, units, serial)
			s.movedOf[p] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("movements of bin %s: %w", s.task.Bin, err)
	}
	return nil
}

// readLots reads the lots of serials that are known, wherever they are.
func (s *submission) readLots(ctx context.Context, tx pgx.Tx) error {
	s.lotOf = map[[2]string]string{}
	var skus, serials []string
	for _, it := range s.items {
		for _, serial := range it.serials {
			skus, serials = append(skus, it.SKU), append(serials, serial)
		}
	}
	if len(serials) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT n.sku, n.serial, n.lot FROM serials n JOIN unnest($2::text[], $3::text[]) AS w (sku, serial) USING (sku, serial) WHERE n.tenant = $1`, s.tenant, skus, serials)
	if err != nil {
		return fmt.Errorf("serials: %w", err)
	}
	var sku, serial, lot string
	_, err = pgx.ForEachRow(rows, []any{&sku, &serial, &lot}, func() error {
		s.lotOf[[2]string{sku, serial}] = lot
		return nil
	})
	if err != nil {
		return fmt.Errorf("serials: %w", err)
	}
	return nil
}

// assign gives every counted unit its pile: first those whose status was named.
func (s *submission) assign() error {
	var f problem.Fields
	named := map[[2]string]bool{}
	var loose []item
	for _, it := range s.items {
		for _, serial := range it.serials {
			key := [2]string{it.SKU, serial}
			if named[key] {
				f.Add(fmt.Sprintf("lines[%d].serials", it.at), "repeated", "%s is named twice", serial)
				continue
			}
			named[key] = true
			p := s.pileOf(it, key)
			s.seen.add(p, 1, serial)
			s.expires(p, it.ExpiresOn)
		}
		if it.Tracking == "serial" {
			continue
		}
		lot, ok := s.lot(it)
		if !ok {
			f.Add(fmt.Sprintf("lines[%d].lot", it.at), "required", "units of this SKU belong to lots: name the lot")
			continue
		}
		it.Lot = lot
		if it.status == "" {
			loose = append(loose, it)
			continue
		}
		p := pile{it.SKU, lot, it.status}
		s.seen.add(p, it.units, "")
		s.expires(p, it.ExpiresOn)
	}
	for _, it := range loose {
		s.seen.spread(s.expected, it.SKU, it.Lot, it.units)
		s.expires(pile{it.SKU, it.Lot, stock.Available}, it.ExpiresOn)
	}
	slices.Sort(s.strange)
	return f.Err()
}

func (s *submission) expires(p pile, day *time.Time) {
	if day != nil {
		s.expiry[p] = day
	}
}

// pileOf is where a unit with a number belongs: as the label or the counter says,
// else as the books do.
func (s *submission) pileOf(it item, key [2]string) pile {
	here, isHere := s.where[key]
	p := pile{it.SKU, it.Lot, it.status}
	if p.Lot == "" {
		p.Lot = s.lotOf[key]
	}
	switch {
	case p.Status != "":
	case isHere:
		p.Status = here.Status
	default:
		p.Status = stock.Available
	}
	return p
}

// lot is the lot of a line: the one that it names, or the only one that the bin
// has of the SKU.
func (s *submission) lot(it item) (string, bool) {
	if it.Lot != "" {
		return it.Lot, true
	}
	lots := []string{}
	for _, p := range s.expected.of(it.SKU) {
		if !slices.Contains(lots, p.Lot) {
			lots = append(lots, p.Lot)
		}
	}
	switch {
	case len(lots) == 1:
		return lots[0], true
	case it.Tracking == "lot":
		return "", it.units == 0 && len(lots) == 0
	}
	return "", true
}

// sentBefore reports whether the task's last count is this very one: its answer
// was lost.
func (s *submission) sentBefore(ctx context.Context, tx pgx.Tx, digest string) (same bool, err error) {
	if s.task.Status == Counting && s.task.Person == s.by.Person {
		return false, nil
	}
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM count_attempts WHERE tenant = $1 AND count_id = $2 AND bin = $3 AND attempt = $4 AND person = $5 AND digest = $6)`,
		s.tenant, s.task.CountID, s.task.Bin, s.task.Attempts, s.by.Person, digest).Scan(&same)
	if err != nil {
		return false, fmt.Errorf("counts of task %s: %w", s.task.ID, err)
	}
	return same, nil
}

// strangeLots are lots that were seen and that nobody knows, or knows with
// another day of expiry.
func (s *submission) strangeLots(ctx context.Context, tx pgx.Tx) error {
	var skus, lots []string
	var days []*time.Time
	for _, p := range s.seen.piles() {
		if p.Lot != "" && s.seen.units[p] > 0 {
			skus, lots, days = append(skus, p.SKU), append(lots, p.Lot), append(days, s.expiry[p])
		}
	}
	if len(lots) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT DISTINCT 'lot ' || w.lot || ' of ' || w.sku || CASE WHEN l.lot IS NULL THEN '' ELSE ' with another day of expiry' END
	  FROM unnest($2::text[], $3::text[], $4::date[]) AS w (sku, lot, day) LEFT JOIN lots l ON l.tenant = $1 AND l.sku = w.sku AND l.lot = w.lot
	  WHERE l.lot IS NULL OR l.expires_on <> w.day ORDER BY 1`, s.tenant, skus, lots, days)
	if err != nil {
		return fmt.Errorf("lots: %w", err)
	}
	strange, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("lots: %w", err)
	}
	s.strange = append(s.strange, strange...)
	return nil
}

// decide writes the count down and does what follows from it.
func (s *submission) decide(ctx context.Context, tx pgx.Tx, digest string) (Outcome, error) {
	if err := s.strangeLots(ctx, tx); err != nil {
		return Outcome{}, err
	}
	lines := compare(s.expected, s.seen)
	moved := false
	for i, l := range lines {
		moved = moved || l.differs() && s.movedOf[l.pile]
		lines[i].ExpiresOn = s.expiry[l.pile]
	}
	r, earlier, err := s.rules(ctx, tx)
	if err != nil {
		return Outcome{}, err
	}
	attempt := s.task.Attempts + 1
	if err := s.write(ctx, tx, attempt, digest, lines, len(s.movedOf) > 0); err != nil {
		return Outcome{}, err
	}
	b := booking{tenant: s.tenant, task: s.task, by: s.by, lines: lines, note: r.reason}
	out := Outcome{}
	switch r.decide(lines, len(s.strange) > 0, moved, earlier) {
	case isRight:
		err = b.end(ctx, tx, attempt, "right")
	case isBooked:
		if err = b.book(ctx, tx); err == nil {
			err = b.end(ctx, tx, attempt, "adjusted")
		}
	case isAgain:
		err = b.wait(ctx, tx, attempt, Recount)
	case isWaiting:
		err = b.wait(ctx, tx, attempt, AwaitingApproval)
	}
	if err != nil {
		return Outcome{}, err
	}
	out.Moved = b.moved
	return out, out.read(ctx, tx, s.tenant, s.task.ID)
}

// read fills in the task as it stands now, and whether the count's run should
// look: it polls by itself, so it is told only what can't wait.
func (o *Outcome) read(ctx context.Context, tx pgx.Tx, tenant, taskID string) (err error) {
	if o.Task, err = getTask(ctx, tx, tenant, taskID); err != nil {
		return err
	}
	err = tx.QueryRow(ctx, `SELECT CASE $3 WHEN 'awaiting_approval' THEN NOT EXISTS (SELECT FROM count_tasks WHERE tenant = $1 AND count_id = $2 AND status = 'awaiting_approval' AND id <> $4)
	    WHEN 'recount' THEN false ELSE NOT EXISTS (SELECT FROM count_tasks WHERE tenant = $1 AND count_id = $2 AND status NOT IN ('done','cancelled')) END`,
		tenant, o.Task.CountID, o.Task.Status, taskID).Scan(&o.Changed)
	if err != nil {
		return fmt.Errorf("count %s: %w", o.Task.CountID, err)
	}
	return nil
}

// documentRules are a count's rules and its reason.
type documentRules struct {
	rules
	reason string
}

func (s *submission) rules(ctx context.Context, tx pgx.Tx) (r documentRules, earlier []string, err error) {
	err = tx.QueryRow(ctx, `SELECT c.recount, c.tolerance_units, c.tolerance_percent, c.reason,
	    ARRAY(SELECT a.variance FROM count_attempts a WHERE a.tenant = t.tenant AND a.count_id = t.count_id AND a.bin = t.bin AND a.attempt > t.rejected ORDER BY a.attempt)
	  FROM count_tasks t JOIN counts c ON c.tenant = t.tenant AND c.id = t.count_id WHERE t.tenant = $1 AND t.id = $2`, s.tenant, s.task.ID).Scan(&r.Recount, &r.Units, &r.Percent, &r.reason, &earlier)
	if err != nil {
		return r, nil, fmt.Errorf("rules of count %s: %w", s.task.CountID, err)
	}
	return r, earlier, nil
}

func (s *submission) write(ctx context.Context, tx pgx.Tx, attempt int, digest string, lines []line, moved bool) error {
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO count_attempts (tenant, count_id, bin, attempt, person, device, began_at, moved, digest, variance, strange) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)`,
		s.tenant, s.task.CountID, s.task.Bin, attempt, s.by.Person, s.by.Device, s.began, moved, digest, variance(lines)+strings.Join(s.strange, ","), orEmpty(s.strange))
	for _, l := range lines {
		b.Queue(`INSERT INTO count_lines (tenant, count_id, bin, attempt, sku, lot, status, expected, counted, serials, found, missing, expires_on) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)`,
			s.tenant, s.task.CountID, s.task.Bin, attempt, l.SKU, l.Lot, l.Status, l.Expected, l.Counted, orEmpty(l.Serials), orEmpty(l.Found), orEmpty(l.Missing), l.ExpiresOn)
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write count of task %s: %w", s.task.ID, err)
	}
	return nil
}

func readLines(ctx context.Context, tx pgx.Tx, tenant string, t Task, attempt int) ([]line, error) {
	rows, err := tx.Query(ctx, `SELECT sku, lot, status, expected, counted, serials, found, missing, expires_on FROM count_lines WHERE tenant = $1 AND count_id = $2 AND bin = $3 AND attempt = $4 ORDER BY sku, lot, status`,
		tenant, t.CountID, t.Bin, attempt)
	if err != nil {
		return nil, fmt.Errorf("lines of task %s: %w", t.ID, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l line, err error) {
		return l, row.Scan(&l.SKU, &l.Lot, &l.Status, &l.Expected, &l.Counted, &l.Serials, &l.Found, &l.Missing, &l.ExpiresOn)
	})
	if err != nil {
		return nil, fmt.Errorf("lines of task %s: %w", t.ID, err)
	}
	return list, nil
}
