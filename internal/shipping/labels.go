package shipping

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/label"
)

// Labels are our own parcel labels, a page each, for parcels that no carrier labels.
// They name the buyer and say where the parcel goes. 409 wrong_status before the
// shipment has a carrier.
func Labels(ctx context.Context, tx pgx.Tx, tenantID, shipmentID string, p label.Print) (string, error) {
	s, err := Get(ctx, tx, tenantID, shipmentID)
	if err != nil {
		return "", err
	}
	if !slices.Contains([]string{Labelled, HandedOver, OnTheWay, Delivering, NotDelivered}, s.Status) {
		return "", s.conflict("wrong_status", "The shipment is "+s.Status+": it has no label.")
	}
	between, err := s.Parties(ctx, tx, tenantID)
	if err != nil {
		return "", fmt.Errorf("label of shipment %s: %w", s.ID, err)
	}
	var out strings.Builder
	for _, parcel := range s.Parcels {
		number := s.Number
		if len(s.Parcels) > 1 {
			number = fmt.Sprintf("%s %d/%d", s.Number, parcel.Position, len(s.Parcels))
		}
		zpl, err := label.Parcel{Shipment: parcel.Reference, Order: number, Grams: parcel.WeightGrams, Warehouse: between.Warehouse, Recipient: between.Recipient, Address: between.Address}.ZPL(p)
		if err != nil {
			return "", fmt.Errorf("label of parcel %s: %w", parcel.ID, err)
		}
		out.WriteString(zpl)
	}
	return out.String(), nil
}

// addressee is who gets a parcel and where, as an order keeps them.
func addressee(customer, address []byte) (name string, lines []string, err error) {
	var c struct {
		Name  string `json:"name"`
		Phone string `json:"phone"`
	}
	var a struct {
		Street  string `json:"street"`
		Number  string `json:"number"`
		Unit    string `json:"unit"`
		Comuna  string `json:"comuna"`
		Region  string `json:"region"`
		Country string `json:"country"`
	}
	if err := json.Unmarshal(customer, &c); err != nil {
		return "", nil, fmt.Errorf("customer of the order: %w", err)
	}
	if err := json.Unmarshal(address, &a); err != nil {
		return "", nil, fmt.Errorf("address of the order: %w", err)
	}
	for _, line := range []string{strings.TrimSpace(a.Street + " " + a.Number), a.Unit, strings.Trim(a.Comuna+", "+a.Region, ", "), a.Country, c.Phone} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return c.Name, lines, nil
}
