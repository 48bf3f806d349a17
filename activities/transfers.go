package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/warehouse/transfer"
)

// Watches are the database steps of what waits in a warehouse for people and
// lorries.
type Watches struct {
	DB *postgres.DB
}

// WatchRef names what is watched: a transfer, for one.
type WatchRef struct {
	Kind   string `json:"kind"`
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
}

// Watched is how far it is.
type Watched struct {
	Status string `json:"status"`
	// WaitsFor says in words what is missing.
	WaitsFor string `json:"waits_for"`
	// DueAt is when a person is asked, in UTC.
	DueAt time.Time `json:"due_at,omitzero"`
	// Over: nothing is left to wait for.
	Over bool `json:"over"`
}

// anotherDay is what a person's retry gives.
const anotherDay = 24 * time.Hour

// watchable is how a kind is read and what a person can do about it. Every
// statement and step is of one row.
type watchable struct {
	load     func(ctx context.Context, tx pgx.Tx, tenant, id string) (Watched, error)
	postpone func(ctx context.Context, tx pgx.Tx, tenant, id string, by time.Duration) error
	// resolve ends it as far as a person at the support desk may; nil where they
	// may not, and the run has no such verb.
	resolve func(ctx context.Context, tx pgx.Tx, tenant, id string, by stock.By) error
}

// watchables are the kinds, by the names that workflow ids have.
var watchables = map[string]watchable{
	"transfer": {load: loadTransfer, postpone: transfer.Postpone, resolve: loseRest},
	"receipt":  {load: loadReceipt, postpone: postponeReceipt},
}

func loadTransfer(ctx context.Context, tx pgx.Tx, tenant, id string) (Watched, error) {
	t, err := transfer.Get(ctx, tx, tenant, id)
	if err != nil {
		return Watched{}, err
	}
	w := Watched{Status: t.Status, WaitsFor: t.WaitsFor(), Over: t.Status != transfer.InTransit && t.Status != transfer.PartiallyReceived}
	if t.DueAt != nil {
		w.DueAt = t.DueAt.UTC()
	}
	return w, nil
}

func loseRest(ctx context.Context, tx pgx.Tx, tenant, id string, by stock.By) error {
	_, err := transfer.LoseRest(ctx, tx, tenant, id, "did not arrive; closed at the support desk", by)
	return err
}

// loadReceipt reads a receipt, and says in words what it waits for and at which
// door.
func loadReceipt(ctx context.Context, tx pgx.Tx, tenant, id string) (Watched, error) {
	var w Watched
	var bin, warehouse, order, waits string
	var begun time.Time
	var due *time.Time
	err := tx.QueryRow(ctx, `SELECT r.status, r.bin, r.warehouse, r.waits_for, r.created_at, r.due_at, coalesce((SELECT number FROM purchase_orders o WHERE o.tenant = r.tenant AND o.id = r.purchase_order_id), '')
	  FROM receipts r WHERE r.tenant = $1 AND r.id = $2`, tenant, id).Scan(&w.Status, &bin, &warehouse, &waits, &begun, &due, &order)
	if errors.Is(err, pgx.ErrNoRows) {
		return Watched{}, problem.Missing("receipt")
	}
	if err != nil {
		return Watched{}, fmt.Errorf("receipt %s: %w", id, err)
	}
	if w.Over = w.Status != "open"; w.Over {
		return w, nil
	}
	what := "Goods"
	if order != "" {
		what += " for purchase order " + order
	}
	w.WaitsFor = fmt.Sprintf("%s are being received in bin %s of %s since %s: the receipt waits for %s.", what, bin, warehouse, begun.UTC().Format("2006-01-02 15:04 UTC"), waits)
	if due != nil {
		w.DueAt = due.UTC()
	}
	return w, nil
}

// postponeReceipt gives an open receipt so much longer from now. Its version
// stays: what a person sees of it has not changed.
func postponeReceipt(ctx context.Context, tx pgx.Tx, tenant, id string, by time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE receipts SET due_at = greatest(due_at, now() + $3::interval), updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'open'`, tenant, id, by)
	if err != nil {
		return fmt.Errorf("postpone receipt %s: %w", id, err)
	}
	return nil
}

func (a *Watches) in(ctx context.Context, ref WatchRef, do func(tx pgx.Tx, k watchable) error) error {
	k, known := watchables[ref.Kind]
	if !known {
		return classify(fmt.Errorf("nothing of kind %q is watched", ref.Kind))
	}
	return classify(a.DB.InTenant(ctx, ref.Tenant, func(tx pgx.Tx) error { return do(tx, k) }))
}

// LoadWatched reads the row.
func (a *Watches) LoadWatched(ctx context.Context, ref WatchRef) (w Watched, err error) {
	err = a.in(ctx, ref, func(tx pgx.Tx, k watchable) (err error) {
		w, err = k.load(ctx, tx, ref.Tenant, ref.ID)
		return err
	})
	return w, err
}

// PostponeWatched gives it another day from now, before a person is asked again.
func (a *Watches) PostponeWatched(ctx context.Context, ref WatchRef) error {
	return a.in(ctx, ref, func(tx pgx.Tx, k watchable) error {
		return k.postpone(ctx, tx, ref.Tenant, ref.ID, anotherDay)
	})
}

// ResolveWatched ends it in the name of the person who used the verb; what is
// over already stays as it is. A kind that nobody may end here is a bug.
func (a *Watches) ResolveWatched(ctx context.Context, ref WatchRef, actionID string) error {
	return a.in(ctx, ref, func(tx pgx.Tx, k watchable) error {
		if k.resolve == nil {
			return fmt.Errorf("a %s is not ended at the support desk", ref.Kind)
		}
		by := stock.By{Person: "support"}
		err := tx.QueryRow(ctx, `SELECT actor, api_key_id FROM support_actions WHERE tenant = $1 AND id = $2`, ref.Tenant, actionID).Scan(&by.Person, &by.KeyID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("support action %s: %w", actionID, err)
		}
		return k.resolve(ctx, tx, ref.Tenant, ref.ID, by)
	})
}
