package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/carriers"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/returns"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
)

// Returns are the steps of a return's run: reading how it stands, and what it does itself.
type Returns struct {
	DB *postgres.DB
	// Keys open the accounts that transfers go to.
	Keys     *secretbox.Keyring
	Carriers *carriers.Registry
	// Able tells what the gateways of an order's payments can give back.
	Able func(ctx context.Context, tenantID, orderID string) (refund.Able, error)
}

// ReturnRef names a return.
type ReturnRef struct {
	Tenant   string `json:"tenant"`
	ReturnID string `json:"return_id"`
}

// ReturnStanding is how far a return is.
type ReturnStanding = returns.Standing

// step runs do in a transaction of which the return's own run is not told.
func (a *Returns) step(ctx context.Context, ref ReturnRef, do func(tx pgx.Tx, shop tenant.Tenant) error) error {
	return inShop(ctx, a.DB, ref.Tenant, func(tx pgx.Tx, shop tenant.Tenant) error {
		if err := returns.Own(ctx, tx, ref.ReturnID); err != nil {
			return err
		}
		return do(tx, shop)
	})
}

// StandReturn reads how a return stands.
func (a *Returns) StandReturn(ctx context.Context, ref ReturnRef) (out ReturnStanding, err error) {
	err = a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		out, err = returns.Stand(ctx, tx, ref.Tenant, ref.ReturnID)
		return err
	})
	return out, classify(err)
}

// RemindReturn tells the buyer until when the goods must be sent; done again it says
// nothing.
func (a *Returns) RemindReturn(ctx context.Context, ref ReturnRef) error {
	return classify(a.step(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return returns.Remind(ctx, tx, shop, ref.ReturnID)
	}))
}

// ExpireReturn ends a return that was not sent in time; one that was stays.
func (a *Returns) ExpireReturn(ctx context.Context, ref ReturnRef) error {
	return classify(a.step(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return returns.Expire(ctx, tx, shop, ref.ReturnID)
	}))
}

// PayReturn books the refund of what is owed for a return, in one transaction with the
// word to the refund's run: killed anywhere it is booked once, since what is booked is owed
// no more. Where the order's payments can't give it back, why is written down for a person.
func (a *Returns) PayReturn(ctx context.Context, ref ReturnRef) error {
	var orderID string
	err := a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error {
		r, err := returns.Get(ctx, tx, ref.Tenant, ref.ReturnID)
		orderID = r.OrderID
		return err
	})
	if err != nil {
		return classify(err)
	}
	able, err := a.Able(ctx, ref.Tenant, orderID)
	if err != nil {
		return classify(err)
	}
	err = a.step(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return returns.Pay(ctx, tx, shop, ref.ReturnID, a.Keys, able)
	})
	var refused *problem.Error
	if errors.As(err, &refused) && refused.Kind != problem.NotFound {
		err = a.step(ctx, ref, func(tx pgx.Tx, _ tenant.Tenant) error {
			return returns.CannotPay(ctx, tx, ref.Tenant, ref.ReturnID, fmt.Sprintf("%s (%s)", refused.Detail, refused.Code))
		})
	}
	return classify(err)
}

// CloseReturn ends a return of which nothing is left to do.
func (a *Returns) CloseReturn(ctx context.Context, ref ReturnRef) error {
	return classify(a.step(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return returns.Settle(ctx, tx, shop, ref.ReturnID)
	}))
}

// labels is the desk at which labels for the way back are bought.
func (a *Returns) labels(ref ReturnRef) labelDesk {
	return labelDesk{db: a.DB, carriers: a.Carriers, tenant: ref.Tenant, of: shipping.OfReturn(ref.ReturnID),
		read: func(ctx context.Context, tx pgx.Tx, shop tenant.Tenant) (shipping.Unbooked, error) {
			return returns.ToBook(ctx, tx, shop, ref.ReturnID)
		},
		order: func(ctx context.Context, tx pgx.Tx) (string, error) {
			r, err := returns.Get(ctx, tx, ref.Tenant, ref.ReturnID)
			return r.OrderID, err
		}}
}

// ChooseReturnCarrier writes the intent to book the way back with the carrier that was
// asked for; where none was it says that prices must be compared. It calls nobody.
func (a *Returns) ChooseReturnCarrier(ctx context.Context, ref ReturnRef) (ChosenCarrier, error) {
	return a.labels(ref).choose(ctx)
}

// CompareReturnCarriers is CompareCarriers of the way back.
func (a *Returns) CompareReturnCarriers(ctx context.Context, ref ReturnRef) error {
	return a.labels(ref).compare(ctx)
}

// BookReturnParcel is BookParcel of the way back.
func (a *Returns) BookReturnParcel(ctx context.Context, ref ReturnRef) error {
	return a.labels(ref).book(ctx)
}

// VoidReturnLabel is VoidLabel of the way back.
func (a *Returns) VoidReturnLabel(ctx context.Context, ref ReturnRef) error {
	return a.labels(ref).void(ctx)
}

// FinishReturnLabel gives the buyer the label when every parcel has one.
func (a *Returns) FinishReturnLabel(ctx context.Context, ref ReturnRef) error {
	return classify(a.step(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		return returns.FinishLabel(ctx, tx, shop, ref.ReturnID)
	}))
}

// scanWithin is how long a carrier is waited for that is asked whether it has had a parcel.
const scanWithin = 20 * time.Second

// ScanReturnLabel asks the carrier of a label once more whether it has had the parcels,
// when the goods are there and it has said nothing. A label that it has not had, and one
// of which it says nothing now, is given up: it costs the buyer nothing.
func (a *Returns) ScanReturnLabel(ctx context.Context, ref ReturnRef) error {
	var r returns.Return
	err := a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) (err error) {
		r, err = returns.Get(ctx, tx, ref.Tenant, ref.ReturnID)
		return err
	})
	if err != nil {
		return classify(err)
	}
	unscanned := r.Unscanned()
	tracks := map[string]shipping.Track{}
	if len(unscanned) > 0 {
		c, err := a.Carriers.Carrier(ctx, ref.Tenant, unscanned[0].Carrier)
		if err != nil && !errors.Is(err, carriers.ErrNotConfigured) {
			return classify(err)
		}
		if err == nil {
			numbers := make([]string, len(unscanned))
			for i, f := range unscanned {
				numbers[i] = f.Tracking
			}
			asking, cancel := context.WithTimeout(ctx, scanWithin)
			tracks, err = c.Track(asking, numbers)
			cancel()
			if err != nil && ctx.Err() != nil {
				return classify(ctx.Err())
			}
		}
	}
	return classify(a.step(ctx, ref, func(tx pgx.Tx, shop tenant.Tenant) error {
		for _, f := range unscanned {
			f.Tenant = ref.Tenant
			if t, said := tracks[f.Tracking]; said {
				if err := returns.Heard(ctx, tx, shop, f, t, scanPace); err != nil {
					return err
				}
			}
		}
		return returns.CheckedLabel(ctx, tx, ref.Tenant, ref.ReturnID)
	}))
}

// scanPace is when the carrier is asked again about a parcel that is here already.
var scanPace = shipping.Pace{Least: time.Hour, Longest: 24 * time.Hour}

// ReturnDecision is a person's about a return that waits for one.
type ReturnDecision struct {
	ReturnRef
	ActionID  string `json:"action_id"`
	Step      string `json:"step"`
	Verb      string `json:"verb"`
	Outcome   string `json:"outcome,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// DecideReturn carries a person's verb out and says in words what was done.
func (a *Returns) DecideReturn(ctx context.Context, d ReturnDecision) (result string, err error) {
	err = a.step(ctx, d.ReturnRef, func(tx pgx.Tx, shop tenant.Tenant) error {
		r := returns.Ruling{Step: d.Step, Verb: d.Verb, Outcome: d.Outcome, Reference: d.Reference, By: "support"}
		err := tx.QueryRow(ctx, `SELECT actor FROM support_actions WHERE tenant = $1 AND id = $2`, d.Tenant, d.ActionID).Scan(&r.By)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("support action %s: %w", d.ActionID, err)
		}
		result, err = returns.Rule(ctx, tx, shop, d.ReturnID, r)
		return err
	})
	return result, classify(err)
}
