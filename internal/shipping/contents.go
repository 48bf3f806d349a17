package shipping

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/stock"
)

// Contents is what is in a shipment's parcels, or will be, by SKU: its lines once it
// was handed over, and before that what the order still keeps in its warehouse. A
// cancelled one has nothing.
func (s Shipment) Contents(ctx context.Context, tx pgx.Tx, tenantID string) ([]stock.Want, error) {
	switch {
	case s.Status == Cancelled:
		return nil, nil
	case s.HandedOverAt != nil:
		return s.Lines, nil
	}
	units, _, err := s.wanted(ctx, tx, tenantID)
	return units, err
}

// Parties are who sends a shipment and who gets it. Personal: for what is printed.
type Parties struct {
	Shop      string
	Warehouse string // its name
	Recipient string
	Address   []string // up to 5 lines, with the telephone
}

// Parties reads who sends the shipment and who gets it.
func (s Shipment) Parties(ctx context.Context, tx pgx.Tx, tenantID string) (Parties, error) {
	var p Parties
	var customer, address []byte
	err := tx.QueryRow(ctx, `SELECT t.name, w.name, o.customer, o.shipping FROM orders o JOIN tenants t ON t.tenant = o.tenant JOIN warehouses w ON w.tenant = o.tenant AND w.code = $3 WHERE o.tenant = $1 AND o.id = $2`,
		tenantID, s.OrderID, s.Warehouse).Scan(&p.Shop, &p.Warehouse, &customer, &address)
	if err != nil {
		return p, fmt.Errorf("parties of shipment %s: %w", s.ID, err)
	}
	if p.Recipient, p.Address, err = addressee(customer, address); err != nil {
		return p, fmt.Errorf("parties of shipment %s: %w", s.ID, err)
	}
	return p, nil
}
