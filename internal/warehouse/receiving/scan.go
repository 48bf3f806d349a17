package receiving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/label"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
	"justlogistics/internal/warehouse/scancode"
)

const (
	// mostScans and mostSerials bound what one request may carry.
	mostScans   = 200
	mostSerials = 1000
)

// Scan is what a person holds in hand. What it does not say is taken from the
// code.
type Scan struct {
	Code      string   `json:"code"`
	Quantity  *int     `json:"quantity"`
	Lot       string   `json:"lot"`
	ExpiresOn *string  `json:"expires_on"` // a day
	Serials   []string `json:"serials"`
	Condition string   `json:"condition"` // good or damaged; empty is good
}

// Scans are scanned for a receipt.
type Scans struct {
	ReceiptID string
	// Batch is an id of the caller's under which the entries can be read again.
	Batch string
	Scans []Scan
	stock.By
}

// Entry is what became of a scan, or of a part of it.
type Entry struct {
	Scan      int    `json:"scan"` // which of the request's scans, from 0
	Kind      string `json:"kind"` // scan, unknown or correction
	Scanned   string `json:"scanned,omitempty"`
	SKU       string `json:"sku,omitempty"`
	Lot       string `json:"lot,omitempty"`
	Serial    string `json:"serial,omitempty"`
	Quantity  int    `json:"quantity"`
	Condition string `json:"condition"`
	// Bin and Status are where it was booked; empty where nothing was.
	Bin    string `json:"bin,omitempty"`
	Status string `json:"status,omitempty"`
	// Line is the purchase order's line that it counts for; 0 is none.
	Line int `json:"line,omitempty"`
	// Discrepancies are the kinds of what is wrong with it. What is too much is
	// told by the receipt's.
	Discrepancies []string `json:"discrepancies"`
	corrects      int64
	reason        string
}

// ScanGoods books what was scanned, all of it or nothing: units come from outside
// into the receiving bin, damaged ones into the warehouse's damaged bin if it has
// one. What is wrong with them does not keep them out; it is noted, and units that
// should not be sold yet are held. A code that no product has books nothing and is
// noted.
//
// 409 serial_in_stock and lot_expiry_differs name the scan that contradicts what
// is known; receipt_closed and receipt_cancelled come with the receipt. After
// serial_in_stock the transaction may be over, so a caller that goes on takes a
// savepoint before. A repetition books again: a caller keeps its idempotency key.
func ScanGoods(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, in Scans, now time.Time) ([]Entry, error) {
	all, err := ScanGoodsAll(ctx, tx, shop, []Scans{in}, now)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ScanGoodsAll books what was scanned in several requests for one receipt, one
// after the other as ScanGoods does each, in few round trips however many there
// are. Either all stand or none: of a refusal nobody knows to which request it
// belongs, so a caller with more than one books them by ScanGoods then.
func ScanGoodsAll(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, requests []Scans, now time.Time) ([][]Entry, error) {
	for _, in := range requests {
		if in.ReceiptID != requests[0].ReceiptID {
			return nil, fmt.Errorf("scans of receipt %s and of %s: together go those of one receipt", requests[0].ReceiptID, in.ReceiptID)
		}
	}
	r, order, err := lockReceipt(ctx, tx, shop.ID, requests[0].ReceiptID)
	if err != nil {
		return nil, err
	}
	if r.Status != "open" {
		return nil, r.over()
	}
	b := &booking{ctx: ctx, tx: tx, tenant: shop.ID, receipt: r, order: order, came: map[int][2]int{}, counted: map[string]bool{}, lots: map[lotSeen][]string{}}
	if b.today, err = today(shop, now); err != nil {
		return nil, err
	}
	goods, err := b.identify(requests, now)
	if err != nil {
		return nil, err
	}
	if err := b.place(); err != nil {
		return nil, err
	}
	var skus, batches []string
	for _, g := range slices.Concat(goods...) {
		if !g.unknown {
			skus = append(skus, g.item.SKU)
		}
	}
	if err := lockLevels(ctx, tx, shop.ID, r.Warehouse, skus); err != nil {
		return nil, err
	}
	for i, in := range requests {
		b.in = in
		batches = append(batches, in.Batch)
		for _, g := range goods[i] {
			if err := b.book(g); err != nil {
				return nil, err
			}
		}
	}
	if err := b.finish(len(requests)); err != nil {
		return nil, err
	}
	return readBatches(ctx, tx, shop.ID, batches)
}

// today is the day at the tenant's place, as a UTC midnight.
func today(shop tenant.Tenant, now time.Time) (time.Time, error) {
	zone, err := time.LoadLocation(shop.Settings.TimeZone)
	if err != nil {
		return time.Time{}, fmt.Errorf("time zone of tenant %s: %w", shop.ID, err)
	}
	local := now.In(zone)
	return time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC), nil
}

// booking is one request's work on a locked receipt.
type booking struct {
	ctx     context.Context
	tx      pgx.Tx
	tenant  string
	receipt Receipt
	order   *PurchaseOrder
	in      Scans
	today   time.Time
	// damagedBin is where damaged units go.
	damagedBin string
	// came is, by the order's line, units that came and those of them damaged.
	came map[int][2]int
	// counted are the requests of which something counts for the order, by batch.
	counted map[string]bool
	// moves are units that are told apart by no serial: one movement for all of a
	// SKU, lot and place, however often they were scanned.
	moves []stock.BinMovement
	// entries are what is to be written of the scans.
	entries pgx.Batch
	// lots is what was wrong with lots that were seen.
	lots map[lotSeen][]string
}

// lotSeen is a lot as a label says it, with its day of expiry if it does.
type lotSeen struct{ sku, lot, expires string }

// goods is a scan whose product is known, or is known to be unknown.
type goods struct {
	at        int
	scan      Scan
	item      scancode.Item
	unknown   bool
	units     int
	serials   []string
	condition string
}

// identify finds the products of all scans and refuses what can't be booked.
func (b *booking) identify(requests []Scans, now time.Time) ([][]goods, error) {
	var codes []string
	for _, in := range requests {
		var f problem.Fields
		switch {
		case len(in.Scans) == 0:
			f.Add("scans", "required", "send one at least")
		case len(in.Scans) > mostScans:
			f.Add("scans", "too_many", "at most %d", mostScans)
		}
		if err := f.Err(); err != nil {
			return nil, err
		}
		for _, s := range in.Scans {
			codes = append(codes, s.Code)
		}
	}
	found, err := find(b.ctx, b.tx, b.tenant, codes, now)
	if err != nil {
		return nil, err
	}
	out := make([][]goods, len(requests))
	for i, in := range requests {
		if out[i], err = identifyGoods(in.Scans, found); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func identifyGoods(scans []Scan, found scancode.Items) ([]goods, error) {
	var f problem.Fields
	out := make([]goods, 0, len(scans))
	for i, s := range scans {
		at := fmt.Sprintf("scans[%d]", i)
		g := goods{at: i, scan: s, condition: s.Condition}
		faults := len(f)
		checkScan(&f, at, &g)
		if len(f) > faults {
			continue
		}
		var err error
		g.item, err = labelled(found, s.Code)
		refused, ok := problem.As(err)
		switch {
		case ok && refused.Code == "unknown_item":
			g.unknown = true
			g.units = 1
			if s.Quantity != nil {
				g.units = *s.Quantity
			}
		case ok:
			f.Add(at+".code", refused.Code, "%s", refused.Detail)
		case err != nil:
			return nil, err
		default:
			g.complete(&f, at)
		}
		out = append(out, g)
	}
	// Stock is locked in the order of SKUs; who asked first within one stays first.
	slices.SortStableFunc(out, func(a, b goods) int { return strings.Compare(a.item.SKU, b.item.SKU) })
	return out, f.Err()
}

func checkScan(f *problem.Fields, at string, g *goods) {
	s := g.scan
	text(f, at+".code", s.Code, 200)
	if s.Quantity != nil {
		units(f, at+".quantity", *s.Quantity)
	}
	if s.Lot != "" && !lotForm.MatchString(s.Lot) {
		f.Add(at+".lot", "invalid", "a lot is 1 to 40 visible characters")
	}
	day(f, at+".expires_on", s.ExpiresOn)
	if len(s.Serials) > mostSerials {
		f.Add(at+".serials", "too_many", "at most %d", mostSerials)
		return
	}
	for i, n := range s.Serials {
		if !lotForm.MatchString(n) {
			f.Add(fmt.Sprintf("%s.serials[%d]", at, i), "invalid", "a serial is 1 to 40 visible characters")
		}
	}
	switch g.condition {
	case "":
		g.condition = "good"
	case "good", "damaged":
	default:
		f.Add(at+".condition", "invalid", "good or damaged")
	}
}

// find reads the products of codes, our own lot labels among them, for labelled.
func find(ctx context.Context, tx pgx.Tx, tenantID string, codes []string, now time.Time) (scancode.Items, error) {
	for _, code := range codes {
		if sku, _, ok := label.ReadLotCode(code); ok {
			codes = append(codes, sku)
		}
	}
	return scancode.Find(ctx, tx, tenantID, codes, now)
}

// labelled is the product of a code that may be one of our own lot labels.
func labelled(found scancode.Items, code string) (scancode.Item, error) {
	item, err := found.Resolve(code)
	if refused, ok := problem.As(err); !ok || refused.Code != "unknown_item" {
		return item, err
	}
	sku, lot, ok := label.ReadLotCode(code)
	if !ok {
		return item, err
	}
	own, ownErr := found.Resolve(sku)
	if ownErr != nil {
		return item, err
	}
	own.Lot = lot
	return own, nil
}

// complete joins what the person said with what the code says, as far as the
// product's units are told apart by it.
func (g *goods) complete(f *problem.Fields, at string) {
	s := g.scan
	byLot, bySerial := g.item.Tracking != "none", g.item.Tracking == "serial"
	if s.Lot != "" {
		if g.item.Lot != "" && g.item.Lot != s.Lot {
			f.Add(at+".lot", "invalid", "the code says lot %s", g.item.Lot)
		}
		g.item.Lot = s.Lot
	}
	if d := day(f, at+".expires_on", s.ExpiresOn); d != nil {
		if g.item.ExpiresOn != nil && !g.item.ExpiresOn.Equal(*d) {
			f.Add(at+".expires_on", "invalid", "the code says %s", g.item.ExpiresOn.Format(time.DateOnly))
		}
		g.item.ExpiresOn = d
	}
	g.serials = s.Serials
	if g.item.Serial != "" && !slices.Contains(g.serials, g.item.Serial) {
		g.serials = append(slices.Clone(g.serials), g.item.Serial)
	}
	if !byLot {
		g.item.Lot, g.item.ExpiresOn = "", nil
	}
	if !bySerial {
		g.serials = nil
	}
	if g.item.Lot != "" && !lotForm.MatchString(g.item.Lot) {
		f.Add(at+".lot", "invalid", "a lot is 1 to 40 visible characters")
	}
	if g.item.Tracking == "lot" && g.item.Lot == "" {
		f.Add(at+".lot", "required", "units of %s belong to lots", g.item.SKU)
	}
	switch {
	case s.Quantity != nil:
		g.units = *s.Quantity
	case bySerial:
		g.units = len(g.serials)
	case g.item.Count > 0:
		g.units = g.item.Count
	default:
		g.units = 1
	}
	switch {
	case bySerial && len(g.serials) == 0:
		f.Add(at+".serials", "required", "units of %s have serial numbers", g.item.SKU)
	case bySerial && len(g.serials) != g.units:
		f.Add(at+".quantity", "invalid", "%d serials were scanned", len(g.serials))
	case g.units > mostUnits:
		f.Add(at+".quantity", "out_of_range", "1 to %d", mostUnits)
	}
}

// place finds where damaged units go.
func (b *booking) place() error {
	b.damagedBin = b.receipt.Bin
	err := b.tx.QueryRow(b.ctx, `SELECT code FROM bins WHERE tenant = $1 AND warehouse = $2 AND kind = 'damaged' AND active ORDER BY code LIMIT 1`, b.tenant, b.receipt.Warehouse).Scan(&b.damagedBin)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("damaged bin of %s: %w", b.receipt.Warehouse, err)
	}
	return nil
}

// book books one scan.
func (b *booking) book(g goods) error {
	if g.unknown {
		b.write(Entry{Scan: g.at, Kind: "unknown", Scanned: g.scan.Code, Quantity: g.units, Condition: g.condition, Discrepancies: []string{UnknownItem}})
		return nil
	}
	faults, err := b.faultsOfLot(g)
	if err != nil {
		return err
	}
	for _, p := range b.share(g.item.SKU, g.item.Lot, g.units) {
		e := Entry{Scan: g.at, Kind: "scan", Scanned: g.scan.Code, SKU: g.item.SKU, Lot: g.item.Lot, Quantity: p.units, Condition: g.condition, Line: p.line, Discrepancies: slices.Clone(faults)}
		if p.fault != "" {
			e.Discrepancies = append(e.Discrepancies, p.fault)
		}
		if b.order != nil && b.order.Status == "cancelled" {
			e.Discrepancies = append(e.Discrepancies, OrderCancelled)
		}
		if g.condition == "damaged" {
			e.Discrepancies = append(e.Discrepancies, Damaged)
		}
		e.Bin, e.Status = b.receipt.Bin, statusFor(e.Discrepancies)
		if e.Status == stock.Damaged {
			e.Bin = b.damagedBin
		}
		if g.item.Tracking != "serial" {
			if err := b.bring(e); err != nil {
				return err
			}
			continue
		}
		e.Quantity = 1
		for _, e.Serial = range g.serials[:p.units] {
			if err := b.bring(e); err != nil {
				return err
			}
		}
		g.serials = g.serials[p.units:]
	}
	return nil
}

// statusFor is what units with such faults are booked as.
func statusFor(faults []string) string {
	switch {
	case slices.Contains(faults, Damaged):
		return stock.Damaged
	case slices.Contains(faults, ExpiredAlready):
		return stock.Expired
	case slices.Contains(faults, LotHeld) || slices.ContainsFunc(faults, func(f string) bool { return slices.Contains(holdBack, f) }):
		return stock.Held
	}
	return stock.Available
}

// faultsOfLot makes a lot known and says what is wrong with it.
func (b *booking) faultsOfLot(g goods) ([]string, error) {
	if g.item.Lot == "" {
		return nil, nil
	}
	expires := g.item.ExpiresOn
	if expires == nil {
		expires = b.agreedExpiry(g.item.SKU, g.item.Lot)
	}
	seen := lotSeen{sku: g.item.SKU, lot: g.item.Lot}
	if expires != nil {
		seen.expires = expires.Format(time.DateOnly)
	}
	if faults, known := b.lots[seen]; known {
		return faults, nil
	}
	faults, err := b.putLot(g, expires)
	if err == nil {
		b.lots[seen] = faults
	}
	return faults, err
}

func (b *booking) putLot(g goods, expires *time.Time) ([]string, error) {
	same, err := stock.PutLot(b.ctx, b.tx, b.tenant, stock.Lot{SKU: g.item.SKU, Lot: g.item.Lot, ExpiresOn: expires})
	if err != nil {
		return nil, err
	}
	var known *time.Time
	var status string
	var daysLeft int
	err = b.tx.QueryRow(b.ctx, `SELECT l.expires_on, l.status, p.receive_days_left FROM lots l JOIN products p ON p.tenant = l.tenant AND p.sku = l.sku WHERE l.tenant = $1 AND l.sku = $2 AND l.lot = $3`,
		b.tenant, g.item.SKU, g.item.Lot).Scan(&known, &status, &daysLeft)
	if err != nil {
		return nil, fmt.Errorf("lot %s of %s: %w", g.item.Lot, g.item.SKU, err)
	}
	switch {
	case !same && g.item.ExpiresOn != nil:
		return nil, problem.New(problem.Conflict, "lot_expiry_differs", "Lot "+g.item.Lot+" of "+g.item.SKU+" is known with another day of expiry: see whether label or record is wrong.").
			With("scan", g.at).With("current", map[string]any{"sku": g.item.SKU, "lot": g.item.Lot, "expires_on": known.Format(time.DateOnly)})
	case status == "expired" || known != nil && !known.After(b.today):
		return []string{ExpiredAlready}, nil
	}
	var faults []string
	if status == "held" {
		faults = append(faults, LotHeld)
	}
	if known != nil && !known.After(b.today.AddDate(0, 0, daysLeft)) {
		faults = append(faults, ExpiryTooNear)
	}
	return faults, nil
}

// agreedExpiry is the day that the purchase order names for a lot.
func (b *booking) agreedExpiry(sku, lot string) *time.Time {
	if b.order == nil {
		return nil
	}
	for _, l := range b.order.Lines {
		if l.SKU == sku && l.Lot == lot && l.ExpiresOn != nil {
			// The database wrote it: it is a day.
			if d, err := time.Parse(time.DateOnly, *l.ExpiresOn); err == nil {
				return &d
			}
		}
	}
	return nil
}

// part is units of a scan that count for one line of the purchase order, or for
// none.
type part struct {
	line, units int
	fault       string
}

// share divides units among the order's lines: the line of the very lot first,
// then one that takes any. What is too much counts for the last of them.
func (b *booking) share(sku, lot string, n int) []part {
	if b.order == nil {
		return []part{{units: n}}
	}
	var fit []*Ordered
	ordered := false
	for i := range b.order.Lines {
		l := &b.order.Lines[i]
		if l.SKU != sku {
			continue
		}
		ordered = true
		switch {
		case l.Lot == lot:
			fit = slices.Insert(fit, 0, l)
		case l.Lot == "":
			fit = append(fit, l)
		}
	}
	switch {
	case !ordered:
		return []part{{units: n, fault: NotOrdered}}
	case len(fit) == 0:
		return []part{{units: n, fault: WrongLot}}
	}
	var out []part
	for i, l := range fit {
		take := min(n, max(0, l.Ordered-l.Received))
		if i == len(fit)-1 {
			take = n
		}
		if take > 0 {
			l.Received += take
			n -= take
			out = append(out, part{line: l.Line, units: take})
		}
	}
	return out
}

// bring books units from outside and notes them.
func (b *booking) bring(e Entry) error {
	m := stock.BinMovement{SKU: e.SKU, Warehouse: b.receipt.Warehouse, Lot: e.Lot, Serial: e.Serial, Quantity: e.Quantity, To: stock.In(e.Bin, e.Status), Reason: "receipt", Document: document(b.receipt.ID), By: b.in.By}
	if e.Serial == "" {
		b.gather(m)
	} else {
		if err := b.notInStock(e); err != nil {
			return err
		}
		_, err := stock.Move(b.ctx, b.tx, b.tenant, m)
		if errors.Is(err, stock.ErrSerialThere) {
			return serialInStock(e, nil)
		}
		if err != nil {
			return err
		}
	}
	if e.Line > 0 {
		sum := b.came[e.Line]
		sum[0] += e.Quantity
		if e.Condition == "damaged" {
			sum[1] += e.Quantity
		}
		b.came[e.Line] = sum
		b.counted[b.in.Batch] = true
	}
	b.write(e)
	return nil
}

// gather adds units to the movement of their like.
func (b *booking) gather(m stock.BinMovement) {
	for i := range b.moves {
		if o := &b.moves[i]; o.SKU == m.SKU && o.Lot == m.Lot && *o.To == *m.To && o.By == m.By {
			o.Quantity += m.Quantity
			return
		}
	}
	b.moves = append(b.moves, m)
}

func (b *booking) notInStock(e Entry) error {
	var there struct {
		Warehouse string `json:"warehouse"`
		Bin       string `json:"bin"`
		Status    string `json:"status"`
	}
	err := b.tx.QueryRow(b.ctx, `SELECT warehouse, bin, status FROM serials WHERE tenant = $1 AND sku = $2 AND serial = $3 AND state = 'in_stock'`, b.tenant, e.SKU, e.Serial).Scan(&there.Warehouse, &there.Bin, &there.Status)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serial %s of %s: %w", e.Serial, e.SKU, err)
	}
	return serialInStock(e, there)
}

func serialInStock(e Entry, current any) error {
	return problem.New(problem.Conflict, "serial_in_stock", "Serial "+e.Serial+" of "+e.SKU+" is in stock already.").With("scan", e.Scan).With("serial", e.Serial).With("current", current)
}

func (b *booking) write(e Entry) {
	queueEntry(&b.entries, b.tenant, b.receipt.ID, b.in.Batch, e, b.in.By)
}

func queueEntry(to *pgx.Batch, tenantID, receiptID, batch string, e Entry, by stock.By) {
	to.Queue(`INSERT INTO receipt_entries (tenant, receipt_id, batch, position, kind, corrects, scanned, sku, lot, serial, quantity, condition, bin, status, line, faults, reason, person, device, key_id)
	  VALUES ($1,$2,$3,$4,$5,nullif($6::bigint, 0),$7,nullif($8, ''),$9,nullif($10, ''),$11,$12,nullif($13, ''),nullif($14, ''),nullif($15::int, 0),$16,$17,$18,$19,$20)`,
		tenantID, receiptID, batch, e.Scan, e.Kind, e.corrects, e.Scanned, e.SKU, e.Lot, e.Serial, e.Quantity, e.Condition, e.Bin, e.Status, e.Line, nonNil(e.Discrepancies), e.reason, by.Person, by.Device, by.KeyID)
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// finish books what was gathered, counts what came on the purchase order and says
// what the receipt waits for.
func (b *booking) finish(requests int) error {
	if len(b.moves) > 0 {
		if _, _, err := stock.MoveAll(b.ctx, b.tx, b.tenant, b.moves); err != nil {
			return err
		}
	}
	if err := b.tx.SendBatch(b.ctx, &b.entries).Close(); err != nil {
		return fmt.Errorf("entries of receipt %s: %w", b.receipt.ID, err)
	}
	if b.order != nil && len(b.came) > 0 {
		if err := count(b.ctx, b.tx, b.tenant, b.order.ID, b.came); err != nil {
			return err
		}
		_, err := b.tx.Exec(b.ctx, `UPDATE purchase_orders SET status = 'partially_received', waits_for = $3, version = version + $4, updated_at = now() WHERE tenant = $1 AND id = $2 AND status IN ('open','partially_received')`,
			b.tenant, b.order.ID, waitsForRest, len(b.counted))
		if err != nil {
			return fmt.Errorf("purchase order %s: %w", b.order.ID, err)
		}
	}
	waits := waitsForClose
	if b.order != nil && b.order.Status == "cancelled" {
		waits = waitsForDecision
	}
	return touch(b.ctx, b.tx, b.tenant, b.receipt.ID, waits, requests)
}

// count adds to the lines of a purchase order what came, and what of it damaged.
func count(ctx context.Context, tx pgx.Tx, tenantID, orderID string, came map[int][2]int) error {
	var lines, all, damaged []int
	for line, n := range came {
		lines, all, damaged = append(lines, line), append(all, n[0]), append(damaged, n[1])
	}
	_, err := tx.Exec(ctx, `UPDATE purchase_order_lines l SET received = l.received + c.units, damaged = l.damaged + c.damaged FROM unnest($3::int[], $4::int[], $5::int[]) AS c (line, units, damaged)
	  WHERE l.tenant = $1 AND l.purchase_order_id = $2 AND l.line = c.line`, tenantID, orderID, lines, all, damaged)
	if err != nil {
		return fmt.Errorf("lines of purchase order %s: %w", orderID, err)
	}
	return nil
}

// touch notes changes of an open receipt.
func touch(ctx context.Context, tx pgx.Tx, tenantID, receiptID, waitsFor string, changes int) error {
	_, err := tx.Exec(ctx, `UPDATE receipts SET waits_for = $3, version = version + $4, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'open'`, tenantID, receiptID, waitsFor, changes)
	if err != nil {
		return fmt.Errorf("receipt %s: %w", receiptID, err)
	}
	return nil
}

// ReadBatch reads what one request wrote, in the order of its scans.
func ReadBatch(ctx context.Context, tx pgx.Tx, tenantID, batch string) ([]Entry, error) {
	all, err := readBatches(ctx, tx, tenantID, []string{batch})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func readBatches(ctx context.Context, tx pgx.Tx, tenantID string, batches []string) ([][]Entry, error) {
	rows, err := tx.Query(ctx, `SELECT batch, position, kind, scanned, coalesce(sku, ''), lot, coalesce(serial, ''), quantity, condition, coalesce(bin, ''), coalesce(status, ''), coalesce(line, 0), faults
	  FROM receipt_entries WHERE tenant = $1 AND batch = ANY($2) ORDER BY position, id`, tenantID, batches)
	if err != nil {
		return nil, fmt.Errorf("entries of a request: %w", err)
	}
	defer rows.Close()
	of := map[string][]Entry{}
	for rows.Next() {
		var batch string
		var e Entry
		if err := rows.Scan(&batch, &e.Scan, &e.Kind, &e.Scanned, &e.SKU, &e.Lot, &e.Serial, &e.Quantity, &e.Condition, &e.Bin, &e.Status, &e.Line, &e.Discrepancies); err != nil {
			return nil, fmt.Errorf("entries of a request: %w", err)
		}
		of[batch] = append(of[batch], e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("entries of a request: %w", err)
	}
	out := make([][]Entry, len(batches))
	for i, batch := range batches {
		out[i] = append([]Entry{}, of[batch]...)
	}
	return out, nil
}
