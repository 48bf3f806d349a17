package returns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/money"
	"justlogistics/internal/notice"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
)

// Return is one as the API shows it. Amounts are minor units of the order's currency.
type Return struct {
	ID      string `json:"id"`
	Number  string `json:"number"`
	OrderID string `json:"order_id"`
	Status  string `json:"status"`
	Version int64  `json:"version"`
	// Review is why a person decides about it; none when the rules did.
	Review []string `json:"review"`
	// Exception is why the shop takes it although its rules do not.
	Exception  string `json:"exception"`
	DecidedBy  string `json:"decided_by"`
	DecidedWhy string `json:"decided_why"`
	// Warehouse is where the goods go, FreightBy who pays that.
	Warehouse string `json:"warehouse"`
	FreightBy string `json:"freight_by"`
	// Refund is how the money goes, Money when.
	Refund string `json:"refund"`
	Money  string `json:"money"`
	Units  []Unit `json:"units"`
	// Extras are things in the parcel that nobody had asked for.
	Extras []Extra `json:"extras"`
	// Photos are what it looked like; each is read by its number.
	Photos   []Photo `json:"photos"`
	Carrier  string  `json:"carrier"`
	Tracking string  `json:"tracking"`
	// Label is a carrier's for the way back, null when none is wanted; Parcels are those that
	// it is for.
	Label   *Label                  `json:"label"`
	Parcels []shipping.PackedParcel `json:"parcels"`
	// RefundIDs are its refunds, Refunded what went back by them so far.
	RefundIDs []string `json:"refund_ids"`
	Refunded  int64    `json:"refunded"`
	Currency  string   `json:"currency"`
	// Settled is how a person has settled goods that are others than were sold, or never
	// came; MoneySettled how money that does not go by itself.
	Settled      string `json:"settled"`
	MoneySettled string `json:"money_settled"`
	// Refused is why its money can't go, in words.
	Refused       string     `json:"refused"`
	PolicyVersion int        `json:"policy_version"`
	ExpiresAt     *time.Time `json:"expires_at"`
	DueAt         *time.Time `json:"due_at"`
	ApprovedAt    *time.Time `json:"approved_at"`
	SentAt        *time.Time `json:"sent_at"`
	ArrivedAt     *time.Time `json:"arrived_at"`
	ReceivedAt    *time.Time `json:"received_at"`
	InspectedAt   *time.Time `json:"inspected_at"`
	EndedAt       *time.Time `json:"ended_at"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`

	// Policy are the rules with which it began.
	Policy Policy `json:"-"`
	// Reminded is how many of the policy's reminders have gone.
	Reminded int `json:"-"`
	// Account is where a transfer goes, sealed for the return's id.
	Account []byte `json:"-"`
	// OrderNumber is what people call the order.
	OrderNumber string `json:"order_number"`
	// now is the database's clock.
	now time.Time
}

// Unit is one unit of a return.
type Unit struct {
	LineID string `json:"line_id"`
	// Unit numbers it within its line, from 0.
	Unit   int    `json:"unit"`
	SKU    string `json:"sku"`
	Reason string `json:"reason"`
	// Came is arrived, wrong_item or missing, empty while nobody has seen it.
	Came        string `json:"came"`
	Lot         string `json:"lot"`
	Serial      string `json:"serial"`
	Grade       string `json:"grade"`
	Disposition string `json:"disposition"`
	Bin         string `json:"bin"`
	// Paid is what it cost, Deducted what of that does not go back, and why.
	Paid        int64  `json:"paid"`
	Deducted    int64  `json:"deducted"`
	Deduction   string `json:"deduction"`
	Note        string `json:"note"`
	InspectedBy string `json:"inspected_by"`

	// back is what has gone back of it, or is to, by any refund.
	back int64
}

const returnColumns = `SELECT r.id, r.number, r.order_id, o.number, r.status, r.version, r.review, r.exception, r.decided_by, r.decided_why, r.warehouse, r.freight_by, r.method, r.money, r.carrier, r.tracking, o.currency, r.settled, r.money_settled, r.refused, r.policy, r.policy_version, r.reminded, r.bank_account,
    r.label_wanted_at, r.label_wanted_by, r.label_asked_carrier, r.label_not_booked, r.label_carrier, r.label_price, r.label_fee, r.labelled_at, coalesce(r.label_key::text, ''), r.label_round_at, r.label_checked_at,
    r.expires_at, r.due_at, r.approved_at, r.sent_at, r.arrived_at, r.received_at, r.inspected_at, r.ended_at, r.created_at, r.updated_at, now()
  FROM returns r JOIN orders o ON o.tenant = r.tenant AND o.id = r.order_id WHERE r.tenant = $1 AND `

func read(ctx context.Context, tx pgx.Tx, tenantID, which string, args ...any) ([]Return, error) {
	rows, err := tx.Query(ctx, returnColumns+which, append([]any{tenantID}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("returns: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Return, error) {
		r := Return{Review: []string{}, Units: []Unit{}, Extras: []Extra{}, Photos: []Photo{}, RefundIDs: []string{}, Parcels: []shipping.PackedParcel{}}
		var policy []byte
		var review, key string
		var l Label
		var wantedAt *time.Time
		err := row.Scan(&r.ID, &r.Number, &r.OrderID, &r.OrderNumber, &r.Status, &r.Version, &review, &r.Exception, &r.DecidedBy, &r.DecidedWhy, &r.Warehouse, &r.FreightBy, &r.Refund, &r.Money, &r.Carrier, &r.Tracking, &r.Currency, &r.Settled, &r.MoneySettled, &r.Refused, &policy, &r.PolicyVersion, &r.Reminded, &r.Account,
			&wantedAt, &l.WantedBy, &l.Asked, &l.NotBooked, &l.Carrier, &l.Price, &l.Fee, &l.IssuedAt, &key, &l.nextRound, &l.checkedAt,
			&r.ExpiresAt, &r.DueAt, &r.ApprovedAt, &r.SentAt, &r.ArrivedAt, &r.ReceivedAt, &r.InspectedAt, &r.EndedAt, &r.CreatedAt, &r.UpdatedAt, &r.now)
		if err != nil {
			return r, err
		}
		r.Review = append(r.Review, strings.Fields(review)...)
		if wantedAt != nil {
			l.WantedAt = *wantedAt
			if key != "" {
				l.Path = LabelPath(tenantID, key)
			}
			r.Label = &l
		}
		return r, json.Unmarshal(policy, &r.Policy)
	})
	if err != nil {
		return nil, fmt.Errorf("returns: %w", err)
	}
	if len(list) == 0 {
		return list, nil
	}
	return list, fillIn(ctx, tx, tenantID, list)
}

// fillIn reads the units, extras and refunds of returns.
func fillIn(ctx context.Context, tx pgx.Tx, tenantID string, list []Return) error {
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	of := func(id string) *Return { return &list[slices.Index(ids, id)] }
	var id string
	b := &pgx.Batch{}
	b.Queue(`SELECT u.return_id, u.line_id, u.unit, u.sku, u.reason, u.came, u.lot, u.serial, u.grade, u.disposition, u.bin, f.paid, u.deducted, u.deduction, u.note, u.inspected_by, f.refunded
	    FROM return_units u JOIN refundable f ON f.tenant = u.tenant AND f.order_id = u.order_id AND f.line_id = u.line_id AND f.unit = u.unit JOIN order_lines l ON l.tenant = u.tenant AND l.line_id = u.line_id
	   WHERE u.tenant = $1 AND u.return_id = ANY($2) ORDER BY u.return_id, l.position, u.unit`, tenantID, ids).Query(func(rows pgx.Rows) error {
		var u Unit
		_, err := pgx.ForEachRow(rows, []any{&id, &u.LineID, &u.Unit, &u.SKU, &u.Reason, &u.Came, &u.Lot, &u.Serial, &u.Grade, &u.Disposition, &u.Bin, &u.Paid, &u.Deducted, &u.Deduction, &u.Note, &u.InspectedBy, &u.back}, func() error {
			r := of(id)
			r.Units = append(r.Units, u)
			return nil
		})
		return err
	})
	b.Queue(`SELECT return_id, what, quantity FROM return_extras WHERE tenant = $1 AND return_id = ANY($2) ORDER BY return_id, n`, tenantID, ids).Query(func(rows pgx.Rows) error {
		var e Extra
		_, err := pgx.ForEachRow(rows, []any{&id, &e.What, &e.Quantity}, func() error {
			r := of(id)
			r.Extras = append(r.Extras, e)
			return nil
		})
		return err
	})
	b.Queue(`SELECT return_id, n, line_id, type, length(data), person, created_at FROM return_photos WHERE tenant = $1 AND return_id = ANY($2) ORDER BY return_id, n`, tenantID, ids).Query(func(rows pgx.Rows) error {
		var p Photo
		_, err := pgx.ForEachRow(rows, []any{&id, &p.N, &p.LineID, &p.Type, &p.Bytes, &p.By, &p.CreatedAt}, func() error {
			r := of(id)
			r.Photos = append(r.Photos, p)
			return nil
		})
		return err
	})
	b.Queue(`SELECT r.return_id, r.refund_id, coalesce((SELECT sum(f.amount) FROM refunds f WHERE f.tenant = r.tenant AND f.request_id = r.refund_id AND f.status = 'succeeded'), 0)::bigint
	    FROM return_refunds r WHERE r.tenant = $1 AND r.return_id = ANY($2) ORDER BY r.refund_id`, tenantID, ids).Query(func(rows pgx.Rows) error {
		var refundID string
		var amount int64
		_, err := pgx.ForEachRow(rows, []any{&id, &refundID, &amount}, func() error {
			r := of(id)
			r.RefundIDs, r.Refunded = append(r.RefundIDs, refundID), r.Refunded+amount
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("what returns are about: %w", err)
	}
	parcels, err := shipping.ParcelsOfReturns(ctx, tx, tenantID, ids)
	if err != nil {
		return err
	}
	for id, of := range parcels {
		r := &list[slices.Index(ids, id)]
		r.Parcels = append(r.Parcels, of...)
	}
	return nil
}

// LabelPath is where whoever has a label's key prints it.
func LabelPath(tenantID, key string) string { return "/return-label/" + tenantID + "/" + key }

// Get reads a return. 404 for another tenant's.
func Get(ctx context.Context, tx pgx.Tx, tenantID, returnID string) (Return, error) {
	return one(read(ctx, tx, tenantID, `r.id = $2`, returnID))
}

// lock is Get that has others wait.
func lock(ctx context.Context, tx pgx.Tx, tenantID, returnID string) (Return, error) {
	var there bool
	err := tx.QueryRow(ctx, `SELECT true FROM returns WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, returnID).Scan(&there)
	if errors.Is(err, pgx.ErrNoRows) {
		return Return{}, problem.Missing("return")
	}
	if err != nil {
		return Return{}, fmt.Errorf("return %s: %w", returnID, err)
	}
	return Get(ctx, tx, tenantID, returnID)
}

func one(list []Return, err error) (Return, error) {
	switch {
	case err != nil:
		return Return{}, err
	case len(list) == 0:
		return Return{}, problem.Missing("return")
	}
	return list[0], nil
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	Status, OrderID, Warehouse string
	// Before is the id of the last return of the page before.
	Before string
	Limit  int
}

// List reads a page of returns, the newest first.
func List(ctx context.Context, tx pgx.Tx, tenantID string, f Filter) ([]Return, error) {
	return read(ctx, tx, tenantID, `($2 = '' OR r.status = $2) AND ($3 = '' OR r.order_id = $3) AND ($4 = '' OR r.warehouse = $4) AND ($5 = '' OR r.id < $5) ORDER BY r.id DESC LIMIT $6`, f.Status, f.OrderID, f.Warehouse, f.Before, f.Limit)
}

func (r Return) conflict(code, detail string) *problem.Error {
	return problem.New(problem.Conflict, code, detail).With("current", r)
}

// may refuses a step that the return's status or a newer version forbids.
func (r Return) may(version int64, from ...string) error {
	switch {
	case version != 0 && version != r.Version:
		return r.conflict(CodeChanged, "The return has changed since; look again.")
	case !slices.Contains(from, r.Status):
		return r.conflict(CodeWrongStatus, "The return is "+r.Status+".")
	}
	return nil
}

// unit is the return's own of a copy.
func (r *Return) unit(u Unit) *Unit {
	i := slices.IndexFunc(r.Units, func(o Unit) bool { return o.LineID == u.LineID && o.Unit == u.Unit })
	return &r.Units[i]
}

// save writes what became of the units.
func (r Return) save(ctx context.Context, tx pgx.Tx, tenantID string) error {
	b := &pgx.Batch{}
	for _, u := range r.Units {
		b.Queue(`UPDATE return_units SET came = $5, lot = $6, serial = $7, grade = $8, disposition = $9, bin = $10, deducted = $11, deduction = $12, note = $13, inspected_by = $14
		  WHERE tenant = $1 AND return_id = $2 AND line_id = $3 AND unit = $4`, tenantID, r.ID, u.LineID, u.Unit, u.Came, u.Lot, u.Serial, u.Grade, u.Disposition, u.Bin, u.Deducted, u.Deduction, u.Note, u.InspectedBy)
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("units of return %s: %w", r.ID, err)
	}
	return nil
}

// ForBuyers leaves out what is meant for staff.
func (r Return) ForBuyers() Return {
	r.Review, r.Exception, r.DecidedBy, r.Settled, r.MoneySettled, r.Refused = []string{}, "", "", "", "", ""
	if r.Label != nil {
		l := *r.Label
		l.WantedBy, l.NotBooked, l.Price = "", "", nil
		r.Label = &l
	}
	r.Units = slices.Clone(r.Units)
	for i := range r.Units {
		r.Units[i].Note, r.Units[i].InspectedBy, r.Units[i].Bin, r.Units[i].Disposition = "", "", "", ""
	}
	return r
}

// noticeKind is what a buyer is told.
type noticeKind = notice.Kind

const (
	noticeNone      noticeKind = ""
	noticeRequested            = notice.ReturnRequested
	noticeApproved             = notice.ReturnApproved
	noticeLabel                = notice.ReturnLabel
	noticeRejected             = notice.ReturnRejected
	noticeReminder             = notice.ReturnReminder
	noticeReceived             = notice.ReturnReceived
	noticeExpired              = notice.ReturnExpired
	noticeClosed               = notice.ReturnClosed
)

// tell queues a notice of the return's, once for each kind.
func (r Return) tell(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, kind noticeKind) error {
	if kind == noticeNone {
		return nil
	}
	data := notice.Data{Return: r.Number, By: r.ExpiresAt}
	dedupe := r.ID
	switch kind {
	case noticeRejected:
		data.Why = r.DecidedWhy
	case noticeReminder:
		dedupe = fmt.Sprintf("%s:%d", r.ID, r.Reminded)
	case noticeLabel:
		// One that was given up leaves room for another.
		dedupe = r.ID + ":" + r.Parcels[0].ID
		data.LabelPath, data.Carrier, data.Amount, data.Currency = r.Label.Path, r.Label.Carrier.Title(), r.Label.Fee, money.Currency(r.Currency)
		for _, p := range r.Parcels {
			data.Tracking = append(data.Tracking, p.Tracking)
		}
	case noticeClosed:
		data.Amount, data.Currency, data.Why = r.Refunded, money.Currency(r.Currency), r.deductions()
		for _, u := range r.Units {
			if u.Came != Arrived && u.Came != Lost {
				data.Missing++
			}
		}
	}
	counts := map[string]int{}
	for _, u := range r.Units {
		counts[u.SKU]++
	}
	for _, u := range r.Units {
		if n := counts[u.SKU]; n > 0 {
			data.Units = append(data.Units, notice.Units{SKU: u.SKU, Quantity: n})
			counts[u.SKU] = 0
		}
	}
	if kind == noticeApproved || kind == noticeReminder {
		place, err := address(ctx, tx, shop.ID, r.Warehouse)
		if err != nil {
			return err
		}
		data.Point = place
	}
	return notice.Queue(ctx, tx, shop, r.OrderID, kind, dedupe, data)
}

// deductions says what did not go back, and why.
func (r Return) deductions() string {
	var all []string
	for _, u := range r.Units {
		if u.Deducted > 0 {
			all = append(all, u.SKU+": -"+money.Format(u.Deducted, money.Currency(r.Currency))+" ("+u.Deduction+").")
		}
	}
	return strings.Join(all, " ")
}

// address is where a warehouse is, in words.
func address(ctx context.Context, tx pgx.Tx, tenantID, code string) (text string, err error) {
	err = tx.QueryRow(ctx, `SELECT concat_ws(', ', nullif(name, ''), nullif(trim(street || ' ' || number), ''), nullif(comuna, '')) FROM warehouses WHERE tenant = $1 AND code = $2`, tenantID, code).Scan(&text)
	if err != nil {
		return "", fmt.Errorf("warehouse %s: %w", code, err)
	}
	return text, nil
}
