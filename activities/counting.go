package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/warehouse/counting"
)

// Counts are the database steps of a count's run.
type Counts struct {
	DB *postgres.DB
}

// CountRef names a count.
type CountRef struct {
	Tenant  string `json:"tenant"`
	CountID string `json:"count_id"`
}

// CountView is a count as its run sees it.
type CountView = counting.View

// LookAtCount tells how far a count is, and closes it when nothing is left.
func (a *Counts) LookAtCount(ctx context.Context, in CountRef) (v CountView, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		v, err = counting.Look(ctx, tx, in.Tenant, in.CountID)
		return err
	})
	return v, classify(err)
}

// ExtendCount gives a count a day more; with approvals that is for what waits for
// approval.
func (a *Counts) ExtendCount(ctx context.Context, in CountRef, approvals bool) error {
	return classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error { return counting.Extend(ctx, tx, in.Tenant, in.CountID, approvals) }))
}

// CancelCount cancels what is left of a count. One that is done meanwhile stays.
func (a *Counts) CancelCount(ctx context.Context, in CountRef) error {
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error { return counting.Cancel(ctx, tx, in.Tenant, in.CountID) })
	if p, ok := problem.As(err); ok && p.Code == "count_over" {
		return nil
	}
	return classify(err)
}
