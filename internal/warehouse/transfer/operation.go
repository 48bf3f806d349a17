package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

const (
	// usualJourney is how long goods are on the way when nobody said when they
	// are expected.
	usualJourney = 72 * time.Hour
	// restPatience is how long the rest may take once a part has arrived.
	restPatience = 24 * time.Hour
)

var operationID = regexp.MustCompile(`^[!-~]{1,64}$`)

// operation is what an action may name: itself, and the version of the transfer
// that its caller has seen.
type operation struct {
	id      string
	version int64
}

// action is one operation on a transfer whose row is locked.
type action struct {
	tx       pgx.Tx
	tenant   string
	rules    tenant.Settings
	transfer Transfer
	units    map[key]*Unit
	by       stock.By
	now      time.Time
	op       operation
	digest   []byte
	moved    []Placed
	// repeated: the operation was done before.
	repeated bool
}

// key names units that can't be told apart.
type key struct{ sku, lot, serial string }

// begin locks the transfer and finds out whether the operation was done before.
func begin(ctx context.Context, tx pgx.Tx, tenantID, transferID, kind string, op operation, in any, by stock.By) (*action, error) {
	if op.id != "" && !operationID.MatchString(op.id) {
		var f problem.Fields
		f.Add("operation_id", "invalid", "1 to 64 visible ASCII characters")
		return nil, f.Err()
	}
	a := &action{tx: tx, tenant: tenantID, units: map[key]*Unit{}, by: by, op: op, moved: []Placed{}}
	err := tx.QueryRow(ctx, `SELECT now() FROM transfers WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenantID, transferID).Scan(&a.now)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem.Missing("transfer")
	}
	if err != nil {
		return nil, fmt.Errorf("transfer %s: %w", transferID, err)
	}
	if a.transfer, err = Get(ctx, tx, tenantID, transferID); err != nil {
		return nil, err
	}
	for i := range a.transfer.Units {
		u := &a.transfer.Units[i]
		a.units[key{u.SKU, u.Lot, u.Serial}] = u
	}
	asked, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte(kind+"\n"), asked...))
	a.digest = sum[:]
	if a.repeated, err = a.doneBefore(ctx); err != nil || a.repeated {
		return a, err
	}
	if op.version != 0 && op.version != a.transfer.Version {
		return nil, a.refuse("stale_version", fmt.Sprintf("The transfer has changed since: it has version %d.", a.transfer.Version))
	}
	t, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return nil, err
	}
	a.rules = t.Settings
	return a, nil
}

func (a *action) doneBefore(ctx context.Context) (bool, error) {
	if a.op.id == "" {
		return false, nil
	}
	var digest []byte
	err := a.tx.QueryRow(ctx, `SELECT digest FROM transfer_operations WHERE tenant = $1 AND transfer_id = $2 AND operation_id = $3`, a.tenant, a.transfer.ID, a.op.id).Scan(&digest)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("operations of transfer %s: %w", a.transfer.ID, err)
	case !bytes.Equal(digest, a.digest):
		return false, a.refuse("operation_reused", "This operation_id was used for another operation on the transfer.")
	}
	return true, nil
}

// refuse is a conflict with what the transfer is now.
func (a *action) refuse(code, detail string) *problem.Error {
	return problem.New(problem.Conflict, code, detail).With("current", map[string]any{"status": a.transfer.Status, "version": a.transfer.Version, "in_transit": a.transfer.InTransit})
}

// demand refuses the action in any other status.
func (a *action) demand(detail string, statuses ...string) error {
	if slices.Contains(statuses, a.transfer.Status) {
		return nil
	}
	return a.refuse("transfer_status", "The transfer is "+a.transfer.Status+": "+detail)
}

// document is what movements are booked for.
func (a *action) document() string { return "transfer:" + a.transfer.ID }

// today is the tenant's day, as UTC midnight.
func (a *action) today() (time.Time, error) {
	zone, err := time.LoadLocation(a.rules.TimeZone)
	if err != nil {
		return time.Time{}, fmt.Errorf("time zone of %s: %w", a.tenant, err)
	}
	y, m, d := a.now.In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), nil
}

// grace is how much longer than expected the goods may be on the way.
func (a *action) grace() time.Duration {
	return time.Duration(a.rules.TransferGraceHours) * time.Hour
}

// note counts what became of units, and says who did it.
func (a *action) note(ctx context.Context, kind string, k key, quantity int, bin, reason string) error {
	// Not one upsert: the row that it proposes would have arrived without leaving.
	_, err := a.tx.Exec(ctx, `INSERT INTO transfer_units (tenant, transfer_id, sku, lot, serial) VALUES ($1,$2,$3,$4,$5) ON CONFLICT DO NOTHING`, a.tenant, a.transfer.ID, k.sku, k.lot, k.serial)
	if err != nil {
		return fmt.Errorf("units of transfer %s: %w", a.transfer.ID, err)
	}
	_, err = a.tx.Exec(ctx, `UPDATE transfer_units SET `+kind+` = `+kind+` + $6 WHERE tenant = $1 AND transfer_id = $2 AND sku = $3 AND lot = $4 AND serial = $5`, a.tenant, a.transfer.ID, k.sku, k.lot, k.serial, quantity)
	if err != nil {
		return fmt.Errorf("%s %d of %s by transfer %s: %w", kind, quantity, k.sku, a.transfer.ID, err)
	}
	_, err = a.tx.Exec(ctx, `INSERT INTO transfer_entries (tenant, transfer_id, kind, sku, lot, serial, quantity, bin, reason, person, device, key_id) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)`,
		a.tenant, a.transfer.ID, kind, k.sku, k.lot, k.serial, quantity, bin, reason, a.by.Person, a.by.Device, a.by.KeyID)
	if err != nil {
		return fmt.Errorf("%s %d of %s by transfer %s: %w", kind, quantity, k.sku, a.transfer.ID, err)
	}
	return nil
}

// finish writes the status that follows from the units, and the operation.
// dueAt is when the rest is late; it stays when that is nil.
func (a *action) finish(ctx context.Context, dueAt *time.Time) (Result, error) {
	_, err := a.tx.Exec(ctx, `
	WITH sum AS (
	  SELECT coalesce(sum(sent), 0) AS sent, coalesce(sum(received + damaged), 0) AS arrived, coalesce(sum(lost), 0) AS lost, coalesce(sum(sent - received - damaged - lost - recalled), 0) AS rest
	    FROM transfer_units WHERE tenant = $1 AND transfer_id = $2
	), next AS (
	  SELECT CASE WHEN rest > 0 AND arrived > 0 THEN 'partially_received' WHEN rest > 0 THEN 'in_transit'
	              WHEN arrived = 0 AND lost = 0 THEN 'cancelled' WHEN arrived = sent THEN 'received' ELSE 'received_short' END AS status, rest > 0 AS open FROM sum
	)
	UPDATE transfers t SET status = next.status, version = version + 1, updated_at = now(), due_at = CASE WHEN open THEN coalesce($3, due_at) END,
	       dispatched_at = CASE WHEN t.status = 'requested' AND next.open THEN now() ELSE dispatched_at END, closed_at = CASE WHEN NOT open THEN coalesce(closed_at, now()) END
	  FROM next WHERE t.tenant = $1 AND t.id = $2`, a.tenant, a.transfer.ID, dueAt)
	if err != nil {
		return Result{}, fmt.Errorf("status of transfer %s: %w", a.transfer.ID, err)
	}
	if a.op.id != "" {
		if _, err := a.tx.Exec(ctx, `INSERT INTO transfer_operations (tenant, transfer_id, operation_id, digest) VALUES ($1,$2,$3,$4)`, a.tenant, a.transfer.ID, a.op.id, a.digest); err != nil {
			return Result{}, fmt.Errorf("operation of transfer %s: %w", a.transfer.ID, err)
		}
	}
	after, err := Get(ctx, a.tx, a.tenant, a.transfer.ID)
	return Result{Transfer: after, Moved: a.moved}, err
}

// duplicate is the answer to a repetition.
func (a *action) duplicate() (Result, error) {
	return Result{Transfer: a.transfer, Moved: a.moved, Duplicate: true}, nil
}
