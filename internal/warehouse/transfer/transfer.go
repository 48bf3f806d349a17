// Package transfer looks after goods that go from one warehouse of a tenant to
// another: asked for, dispatched, on the way, received in parts, lost, damaged,
// recalled. Units in transit are nobody's stock; each is in a row that says what
// became of it.
//
// Every action works inside a transaction of the caller, takes the transfer's row
// first and then stock rows in the order of SKU, and may name its operation: a
// repetition under the same name changes nothing and is told so. Refusals are
// problem.Errors; after one the caller rolls back.
package transfer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
)

// Statuses of a transfer.
const (
	Requested         = "requested"
	InTransit         = "in_transit"
	PartiallyReceived = "partially_received"
	Received          = "received"
	ReceivedShort     = "received_short"
	Cancelled         = "cancelled"
)

// Statuses are all of them, in the order in which they come about.
var Statuses = []string{Requested, InTransit, PartiallyReceived, Received, ReceivedShort, Cancelled}

// Transfer is what became of a transfer until now. Times are UTC, quantities
// units.
type Transfer struct {
	ID           string     `json:"id"`
	From         string     `json:"from"`
	To           string     `json:"to"`
	Status       string     `json:"status"`
	Reference    string     `json:"reference"`
	ExpectedAt   *time.Time `json:"expected_at"`
	RequestedBy  string     `json:"requested_by"`
	DispatchedAt *time.Time `json:"dispatched_at"`
	ClosedAt     *time.Time `json:"closed_at"`
	// DueAt is when a person is asked, unless it has gone on by then.
	DueAt *time.Time `json:"due_at"`
	// Version grows with every change.
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// InTransit is how many units are on the way.
	InTransit int    `json:"in_transit"`
	Lines     []Line `json:"lines"`
	Units     []Unit `json:"units"`
}

// Line is what was asked for.
type Line struct {
	SKU      string `json:"sku"`
	Lot      string `json:"lot"`
	Quantity int    `json:"quantity"`
}

// Unit is what left, and what became of it. Of a unit with a serial there is one.
type Unit struct {
	SKU      string `json:"sku"`
	Lot      string `json:"lot"`
	Serial   string `json:"serial"`
	Sent     int    `json:"sent"`
	Received int    `json:"received"`
	Damaged  int    `json:"damaged"`
	Lost     int    `json:"lost"`
	Recalled int    `json:"recalled"`
	// Over is what arrived without having been sent, as far as the books know.
	Over      int `json:"over"`
	InTransit int `json:"in_transit"`
}

// Entry is something that a person did with units of a transfer.
type Entry struct {
	// Kind is sent, received, damaged, lost, recalled or over.
	Kind      string    `json:"kind"`
	SKU       string    `json:"sku"`
	Lot       string    `json:"lot"`
	Serial    string    `json:"serial"`
	Quantity  int       `json:"quantity"`
	Bin       string    `json:"bin"`
	Reason    string    `json:"reason"`
	Person    string    `json:"person"`
	Device    string    `json:"device"`
	CreatedAt time.Time `json:"created_at"`
}

// Placed is units that an action has moved: out of a bin, or into one.
type Placed struct {
	SKU      string `json:"sku"`
	Lot      string `json:"lot"`
	Serial   string `json:"serial"`
	Quantity int    `json:"quantity"`
	Bin      string `json:"bin"`
	// Status is that of the units in the bin: what arrives of a lot that has
	// expired on the way is expired.
	Status string `json:"status"`
}

// Result is the transfer after an action.
type Result struct {
	Transfer
	Moved []Placed `json:"moved"`
	// Duplicate says that the operation was done before, and now nothing was.
	Duplicate bool `json:"duplicate"`
}

const columns = `id, from_warehouse, to_warehouse, status, reference, expected_at, requested_by, dispatched_at, closed_at, due_at, version, created_at, updated_at`

func scan(row pgx.CollectableRow) (t Transfer, err error) {
	err = row.Scan(&t.ID, &t.From, &t.To, &t.Status, &t.Reference, &t.ExpectedAt, &t.RequestedBy, &t.DispatchedAt, &t.ClosedAt, &t.DueAt, &t.Version, &t.CreatedAt, &t.UpdatedAt)
	t.Lines, t.Units = []Line{}, []Unit{}
	return t, err
}

// Get reads a transfer; a 404 when the tenant has none of that id.
func Get(ctx context.Context, tx pgx.Tx, tenant, transferID string) (Transfer, error) {
	list, err := read(ctx, tx, tenant, `SELECT `+columns+` FROM transfers WHERE tenant = $1 AND id = $2`, tenant, transferID)
	if err != nil {
		return Transfer{}, err
	}
	if len(list) == 0 {
		return Transfer{}, problem.Missing("transfer")
	}
	return list[0], nil
}

// Filter chooses transfers; empty fields choose all.
type Filter struct {
	Status string
	// Warehouse is where they come from or go to.
	Warehouse string
	// Before is the id after which the page begins.
	Before string
	Limit  int
}

// List reads transfers, newest first.
func List(ctx context.Context, tx pgx.Tx, tenant string, f Filter) ([]Transfer, error) {
	return read(ctx, tx, tenant, `SELECT `+columns+` FROM transfers
	  WHERE tenant = $1 AND ($2 = '' OR status = $2) AND ($3 = '' OR $3 IN (from_warehouse, to_warehouse)) AND ($4 = '' OR id < $4) ORDER BY id DESC LIMIT $5`,
		tenant, f.Status, f.Warehouse, f.Before, f.Limit)
}

// read runs a statement that chooses transfers, and adds what is in them.
func read(ctx context.Context, tx pgx.Tx, tenant, sql string, args ...any) ([]Transfer, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("transfers: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("transfers: %w", err)
	}
	ids, at := make([]string, len(list)), map[string]*Transfer{}
	for i := range list {
		ids[i], at[list[i].ID] = list[i].ID, &list[i]
	}
	var id string
	var l Line
	if rows, err = tx.Query(ctx, `SELECT transfer_id, sku, lot, quantity FROM transfer_lines WHERE tenant = $1 AND transfer_id = ANY($2) ORDER BY transfer_id, line`, tenant, ids); err != nil {
		return nil, fmt.Errorf("lines of transfers: %w", err)
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &l.SKU, &l.Lot, &l.Quantity}, func() error {
		at[id].Lines = append(at[id].Lines, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lines of transfers: %w", err)
	}
	var u Unit
	if rows, err = tx.Query(ctx, `SELECT transfer_id, sku, lot, serial, sent, received, damaged, lost, recalled, over, sent - received - damaged - lost - recalled
	    FROM transfer_units WHERE tenant = $1 AND transfer_id = ANY($2) ORDER BY transfer_id, sku, lot, serial`, tenant, ids); err != nil {
		return nil, fmt.Errorf("units of transfers: %w", err)
	}
	_, err = pgx.ForEachRow(rows, []any{&id, &u.SKU, &u.Lot, &u.Serial, &u.Sent, &u.Received, &u.Damaged, &u.Lost, &u.Recalled, &u.Over, &u.InTransit}, func() error {
		at[id].Units = append(at[id].Units, u)
		at[id].InTransit += u.InTransit
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("units of transfers: %w", err)
	}
	return list, nil
}

// Entries lists what people did with a transfer's units, in order.
func Entries(ctx context.Context, tx pgx.Tx, tenant, transferID string) ([]Entry, error) {
	rows, err := tx.Query(ctx, `SELECT kind, sku, lot, serial, quantity, bin, reason, person, device, created_at FROM transfer_entries WHERE tenant = $1 AND transfer_id = $2 ORDER BY id`, tenant, transferID)
	if err != nil {
		return nil, fmt.Errorf("entries of transfer %s: %w", transferID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Entry])
	if err != nil {
		return nil, fmt.Errorf("entries of transfer %s: %w", transferID, err)
	}
	return list, nil
}

// Coming counts a SKU's units that are on their way, by the warehouse they go to.
func Coming(ctx context.Context, tx pgx.Tx, tenant, sku string) (map[string]int, error) {
	rows, err := tx.Query(ctx, `SELECT t.to_warehouse, sum(u.sent - u.received - u.damaged - u.lost - u.recalled)::int
	    FROM transfer_units u JOIN transfers t ON t.tenant = u.tenant AND t.id = u.transfer_id
	   WHERE u.tenant = $1 AND u.sku = $2 AND u.received + u.damaged + u.lost + u.recalled < u.sent GROUP BY 1`, tenant, sku)
	if err != nil {
		return nil, fmt.Errorf("%s on the way: %w", sku, err)
	}
	out := map[string]int{}
	var warehouse string
	var units int
	_, err = pgx.ForEachRow(rows, []any{&warehouse, &units}, func() error {
		out[warehouse] = units
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s on the way: %w", sku, err)
	}
	return out, nil
}

// WaitsFor says in words what is on the way and since when; "" when nothing is.
func (t Transfer) WaitsFor() string {
	const named = 3
	var skus []string
	units := map[string]int{}
	for _, u := range t.Units {
		if u.InTransit == 0 {
			continue
		}
		if units[u.SKU] == 0 {
			skus = append(skus, u.SKU)
		}
		units[u.SKU] += u.InTransit
	}
	if len(skus) == 0 || t.DispatchedAt == nil {
		return ""
	}
	var parts []string
	for _, sku := range skus[:min(len(skus), named)] {
		parts = append(parts, fmt.Sprintf("%d of %s", units[sku], sku))
	}
	if more := len(skus) - named; more > 0 {
		parts = append(parts, fmt.Sprintf("units of %d more SKUs", more))
	}
	return fmt.Sprintf("On the way from %s to %s since %s: %s.", t.From, t.To, t.DispatchedAt.Format("2006-01-02 15:04 UTC"), strings.Join(parts, ", "))
}

// Postpone gives goods that are on the way so much longer from now, before a
// person is asked again.
func Postpone(ctx context.Context, tx pgx.Tx, tenant, transferID string, by time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE transfers SET due_at = greatest(due_at, now() + $3::interval), updated_at = now() WHERE tenant = $1 AND id = $2 AND status IN ('in_transit','partially_received')`, tenant, transferID, by)
	if err != nil {
		return fmt.Errorf("postpone transfer %s: %w", transferID, err)
	}
	return nil
}
