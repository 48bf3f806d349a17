package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

const (
	mostLines = 500
	mostUnits = 1_000_000_000
	// dispatchPatience is how long a request without a day may wait for somebody
	// to dispatch it.
	dispatchPatience = 7 * 24 * time.Hour
)

// Request asks for goods to be sent.
type Request struct {
	From  string        `json:"from"`
	To    string        `json:"to"`
	Lines []RequestLine `json:"lines"`
	// Reference is the shop's own name for it, at most 128 bytes.
	Reference  string  `json:"reference"`
	ExpectedAt *string `json:"expected_at"`
}

// RequestLine is a SKU, and perhaps the very lot, that is to be sent.
type RequestLine struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Lot      string `json:"lot"`
}

// Ask writes a request; nothing moves yet. transferID is new and chosen by the
// caller. All faults are told at once, as a 422.
func Ask(ctx context.Context, tx pgx.Tx, tenant, transferID string, in Request, by stock.By) error {
	var f problem.Fields
	expected := catalog.Moment(&f, "expected_at", in.ExpectedAt)
	if expected != nil && expected.Before(time.Now().Add(-time.Minute)) {
		f.Add("expected_at", "out_of_range", "lies in the past")
	}
	if len(in.Reference) > 128 {
		f.Add("reference", "too_long", "at most 128 bytes")
	}
	if err := checkWarehouses(ctx, tx, tenant, in, &f); err != nil {
		return err
	}
	if err := checkLines(ctx, tx, tenant, in.Lines, &f); err != nil {
		return err
	}
	if err := f.Err(); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO transfers (tenant, id, from_warehouse, to_warehouse, status, reference, expected_at, requested_by, due_at)
	  VALUES ($1,$2,$3,$4,'requested',$5,$6,$7, coalesce($6, now() + $8::interval))`, tenant, transferID, in.From, in.To, in.Reference, expected, by.Person, dispatchPatience)
	if err != nil {
		return fmt.Errorf("write transfer %s: %w", transferID, err)
	}
	for i, l := range in.Lines {
		_, err := tx.Exec(ctx, `INSERT INTO transfer_lines (tenant, transfer_id, line, sku, lot, quantity) VALUES ($1,$2,$3,$4,$5,$6)`, tenant, transferID, i+1, l.SKU, l.Lot, l.Quantity)
		if err != nil {
			return fmt.Errorf("write line %d of transfer %s: %w", i+1, transferID, err)
		}
	}
	return nil
}

func checkWarehouses(ctx context.Context, tx pgx.Tx, tenant string, in Request, f *problem.Fields) error {
	for _, end := range []struct{ field, code string }{{"from", in.From}, {"to", in.To}} {
		if end.code == "" {
			f.Add(end.field, "required", "name the warehouse")
			continue
		}
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2)`, tenant, end.code).Scan(&exists); err != nil {
			return fmt.Errorf("warehouse %s: %w", end.code, err)
		}
		if !exists {
			f.Add(end.field, "unknown_warehouse", "there is no such warehouse")
		}
	}
	if in.From != "" && in.From == in.To {
		f.Add("to", "invalid", "must be another warehouse")
	}
	return nil
}

func checkLines(ctx context.Context, tx pgx.Tx, tenant string, lines []RequestLine, f *problem.Fields) error {
	switch {
	case len(lines) == 0:
		f.Add("lines", "required", "name one at least")
	case len(lines) > mostLines:
		f.Add("lines", "too_many", "at most %d", mostLines)
		return nil
	}
	seen := map[[2]string]bool{}
	for i, l := range lines {
		at := fmt.Sprintf("lines[%d]", i)
		if l.Quantity < 1 || l.Quantity > mostUnits {
			f.Add(at+".quantity", "out_of_range", "1 to %d", mostUnits)
		}
		var known, lotKnown bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM products WHERE tenant = $1 AND sku = $2), $3 = '' OR EXISTS (SELECT FROM lots WHERE tenant = $1 AND sku = $2 AND lot = $3)`, tenant, l.SKU, l.Lot).Scan(&known, &lotKnown)
		if err != nil {
			return fmt.Errorf("product %s: %w", l.SKU, err)
		}
		switch key := [2]string{l.SKU, l.Lot}; {
		case l.SKU == "":
			f.Add(at+".sku", "required", "name the SKU")
		case !known:
			f.Add(at+".sku", "unknown_sku", "there is no such SKU")
		case !lotKnown:
			f.Add(at+".lot", "unknown_lot", "the SKU has no such lot")
		case seen[key]:
			f.Add(at, "repeated", "the SKU and lot are in a line before")
		default:
			seen[key] = true
		}
	}
	return nil
}
