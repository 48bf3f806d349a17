package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/checkout"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/tenant"
)

// Shortages are the steps of the run that looks after a paid order of which units are
// missing.
type Shortages struct {
	DB *postgres.DB
	// Able tells what the gateways of an order's payments can give back.
	Able func(ctx context.Context, tenantID, orderID string) (refund.Able, error)
}

// ShortRef names a paid order and its hold, ShortView is how it stands.
type (
	ShortRef  = checkout.ShortRef
	ShortView = checkout.ShortView
)

// MendShort takes missing units from elsewhere, or does what the tenant's rule says:
// checkout.MendShort.
func (a *Shortages) MendShort(ctx context.Context, ref ShortRef) (ShortView, error) {
	var shop tenant.Tenant
	err := a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) (err error) {
		shop, err = tenant.Get(ctx, tx, ref.Tenant)
		return err
	})
	if err != nil {
		return ShortView{}, classify(err)
	}
	able, err := a.able(ctx, ref, shop.Settings.Fulfillment.Short == tenant.RefundShort)
	if err != nil {
		return ShortView{}, classify(err)
	}
	v, err := checkout.MendShort(ctx, a.DB, ref, able)
	return v, classify(err)
}

// DecideShort carries out what a person states of missing units: checkout.DecideShort.
func (a *Shortages) DecideShort(ctx context.Context, ref ShortRef, outcome string) (ShortView, error) {
	able, err := a.able(ctx, ref, outcome == checkout.ShortRefund)
	if err != nil {
		return ShortView{}, classify(err)
	}
	v, err := checkout.DecideShort(ctx, a.DB, ref, outcome, able)
	return v, classify(err)
}

// able asks only where money may go back. A rule that changes at the same moment finds
// that no gateway can, and a person is asked.
func (a *Shortages) able(ctx context.Context, ref ShortRef, needed bool) (refund.Able, error) {
	if needed {
		return a.Able(ctx, ref.Tenant, ref.OrderID)
	}
	return checkout.NoneAble, nil
}
