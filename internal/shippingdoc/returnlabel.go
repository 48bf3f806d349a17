package shippingdoc

import (
	"context"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/returns"
	"justlogistics/internal/shipping"
)

// ReturnLabels are the labels of a carrier for the way back as PDF of 100 x 150 mm, a page a
// parcel, as Labels lays them out. 404 for another tenant's return; 409 wrong_status before
// it has a label and once it is received, no_label when the carrier has given none,
// printer_label for ZPL and EPL, label_unreadable for what can't be laid out.
func ReturnLabels(ctx context.Context, tx pgx.Tx, tenantID, returnID string) ([]byte, error) {
	r, err := returns.Get(ctx, tx, tenantID, returnID)
	if err != nil {
		return nil, err
	}
	refused := func(code, detail string) error {
		return problem.New(problem.Conflict, code, detail).With("current", r)
	}
	if r.Status != returns.LabelIssued && r.Status != returns.InTransit || r.Label == nil {
		return nil, refused("wrong_status", "The return is "+r.Status+": it has no label.")
	}
	stored, err := shipping.CarrierLabels(ctx, tx, tenantID, shipping.OfReturn(r.ID), 0)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, refused("no_label", r.Label.Carrier.Title()+" has given no label for this return: print it in its panel.")
	}
	return carriersLabels(stored, refused)
}
