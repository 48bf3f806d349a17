// Package order knows paid orders: their lines, what leaves which warehouse
// for them, and what happened to them.
package order

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/stock"
)

// IVA is the rate of Chile's value added tax, in percent (Decreto Ley 825,
// article 14). Prices include it.
const IVA = 19

// New is an order about to be written.
type New struct {
	ID, Number, Channel string
	Currency            money.Currency
	Email               string
	Customer, Shipping  json.RawMessage
	Metadata            json.RawMessage
	HoldID              string
	Lines               []NewLine
	Discount            int64 // minor units, spread over the lines
	ShippingTotal       int64
	Tax                 int64
	// Completed: the units have left already (a counter sale).
	Completed bool
	// DispatchHours until a shipment that nobody has picked is late.
	DispatchHours int
	// PromisedAt is until when the buyer was told to have it, and RiskAt from when that
	// may not hold; nil where nobody has told them.
	PromisedAt, RiskAt *time.Time
}

// NewLine is a priced line.
type NewLine struct {
	SKU, Name string
	Quantity  int
	UnitPrice int64
	Tax       string // iva or exempt
}

// Create writes the order, its lines with the discount spread to the last
// minor unit, and a shipment for each warehouse that holds units for it.
func Create(ctx context.Context, tx pgx.Tx, tenant string, n New, held []stock.HeldLine) error {
	weights := make([]int64, len(n.Lines))
	var items int64
	for i, l := range n.Lines {
		weights[i] = l.UnitPrice * int64(l.Quantity)
		items += weights[i]
	}
	discounts := make([]int64, len(n.Lines))
	if n.Discount > 0 {
		discounts = money.Spread(n.Discount, weights)
	}
	status := "paid"
	if n.Completed {
		status = "completed"
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO orders (tenant, id, number, status, channel, currency, email, customer, shipping, hold_id, items_total, discount_total, shipping_total, tax_total, total, metadata)
	  VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)`,
		tenant, n.ID, n.Number, status, n.Channel, n.Currency, n.Email, orEmpty(n.Customer), orEmpty(n.Shipping), n.HoldID,
		items, n.Discount, n.ShippingTotal, n.Tax, items-n.Discount+n.ShippingTotal, orEmpty(n.Metadata))
	for i, l := range n.Lines {
		total := weights[i] - discounts[i]
		tax := int64(0)
		if l.Tax == "iva" {
			tax = money.IncludedTax(total, IVA)
		}
		b.Queue(`INSERT INTO order_lines (tenant, order_id, line_id, position, sku, name, quantity, unit_price, discount, total, tax) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)`,
			tenant, n.ID, id.New(), i+1, l.SKU, l.Name, l.Quantity, l.UnitPrice, discounts[i], total, tax)
	}
	if !n.Completed {
		for _, s := range split(held) {
			lines, err := json.Marshal(s.lines)
			if err != nil {
				return err
			}
			b.Queue(`INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines, due_at, promised_at, risk_at) VALUES ($1,$2,$3,$4,'pending',$5, now() + make_interval(hours => $6), $7, $8)`,
				tenant, id.New(), n.ID, s.warehouse, lines, n.DispatchHours, n.PromisedAt, n.RiskAt)
		}
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write order %s: %w", n.ID, err)
	}
	return nil
}

type part struct {
	warehouse string
	lines     []stock.Want
}

// split groups held units by the warehouse that will ship them.
func split(held []stock.HeldLine) []part {
	by := map[string][]stock.Want{}
	for _, l := range held {
		if units := l.Quantity - l.Shorted - l.Left; units > 0 {
			by[l.Warehouse] = append(by[l.Warehouse], stock.Want{SKU: l.SKU, Quantity: units})
		}
	}
	parts := make([]part, 0, len(by))
	for w, lines := range by {
		parts = append(parts, part{w, lines})
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i].warehouse < parts[j].warehouse })
	return parts
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage(`{}`)
	}
	return raw
}

// Freeze keeps the parcels of an order that have not left. One that is frozen
// already keeps its first reason.
func Freeze(ctx context.Context, tx pgx.Tx, tenant, orderID, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE shipments SET frozen_reason = $3, updated_at = now() WHERE tenant = $1 AND order_id = $2 AND frozen_reason IS NULL AND status IN ('pending','picking','packed','labelled')`, tenant, orderID, reason)
	if err != nil {
		return fmt.Errorf("freeze the parcels of order %s: %w", orderID, err)
	}
	return nil
}

// Thaw lets parcels go that were frozen for this reason.
func Thaw(ctx context.Context, tx pgx.Tx, tenant, orderID, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE shipments SET frozen_reason = NULL, updated_at = now() WHERE tenant = $1 AND order_id = $2 AND frozen_reason = $3`, tenant, orderID, reason)
	if err != nil {
		return fmt.Errorf("let the parcels of order %s go: %w", orderID, err)
	}
	return nil
}

// Resplit replaces the shipments that nobody has begun after the hold behind
// an order has changed warehouse. Parcels of a frozen order are frozen too, and the
// promise to the buyer stays.
func Resplit(ctx context.Context, tx pgx.Tx, tenant, orderID string, held []stock.HeldLine, due time.Time) error {
	parts := split(held)
	keep := make([]string, 0, len(parts))
	for _, s := range parts {
		lines, err := json.Marshal(s.lines)
		if err != nil {
			return err
		}
		keep = append(keep, s.warehouse)
		_, err = tx.Exec(ctx, `INSERT INTO shipments (tenant, id, order_id, warehouse, status, lines, due_at, frozen_reason, promised_at, risk_at)
		  SELECT $1,$2,$3,$4,'pending',$5::jsonb,$6::timestamptz, min(frozen_reason), min(promised_at), min(risk_at) FROM shipments WHERE tenant = $1 AND order_id = $3
		  ON CONFLICT (tenant, order_id, warehouse) DO UPDATE SET lines = excluded.lines, status = 'pending', due_at = coalesce(shipments.due_at, excluded.due_at), updated_at = now()
		    WHERE shipments.status IN ('pending','cancelled')`, tenant, id.New(), orderID, s.warehouse, lines, due)
		if err != nil {
			return fmt.Errorf("split order %s: %w", orderID, err)
		}
	}
	_, err := tx.Exec(ctx, `UPDATE shipments SET status = 'cancelled', due_at = NULL, updated_at = now() WHERE tenant = $1 AND order_id = $2 AND status = 'pending' AND NOT warehouse = ANY($3)`, tenant, orderID, keep)
	if err != nil {
		return fmt.Errorf("split order %s: %w", orderID, err)
	}
	return nil
}
