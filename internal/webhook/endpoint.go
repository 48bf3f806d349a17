// Package webhook tells a tenant's own servers what the feed tells: who wants it
// (endpoints), what has to be told to whom (deliveries, which the feed makes with
// each event), and the signed calls, by Standard Webhooks
// (https://github.com/standard-webhooks/standard-webhooks).
//
// An event is told at least once: a process that dies between the call and its
// record leaves a lease that lapses, and the call is made again under the same id.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/secretbox"
)

// MaxEndpoints is how many endpoints a tenant may have.
const MaxEndpoints = 20

// oldSecretSigns is how long a secret that was replaced signs beside the new one.
const oldSecretSigns = "24 hours"

// What an endpoint may be.
const (
	Active   = "active"
	Failing  = "failing"  // a delivery was given up and none has succeeded since; it is tried all the same
	Disabled = "disabled" // nothing is told to it
)

// Why an endpoint is disabled.
const (
	Gone     = "gone"     // it answered 410
	Switched = "switched" // somebody switched it off
)

var (
	// ErrNotFound is returned for an endpoint or event that the tenant does not have.
	ErrNotFound = errors.New("no such endpoint or event")
	// ErrTooMany is returned when a tenant has MaxEndpoints already.
	ErrTooMany = errors.New("too many endpoints")
	// ErrDisabled is returned when something is to be told to a disabled endpoint.
	ErrDisabled = errors.New("the endpoint is disabled")
)

// Endpoint is where a tenant wants to be told.
type Endpoint struct {
	ID             string     `json:"id"`
	URL            string     `json:"url"`
	Types          []string   `json:"types"` // none means all
	Description    string     `json:"description"`
	Status         string     `json:"status"`
	FailingSince   *time.Time `json:"failing_since"`
	DisabledReason *string    `json:"disabled_reason"`
	RestingUntil   *time.Time `json:"resting_until"` // it asked to be left alone until then
	LastSuccessAt  *time.Time `json:"last_success_at"`
	OldSecretUntil *time.Time `json:"old_secret_until"` // the secret before this one signs too until then
	CreatedAt      time.Time  `json:"created_at"`
	UpdatedAt      time.Time  `json:"updated_at"`
}

const endpointColumns = `id, url, types, description, status, failing_since, disabled_reason, CASE WHEN resting_until > now() THEN resting_until END, last_success_at,
   CASE WHEN old_until > now() THEN old_until END, created_at, updated_at`

// Change is what a tenant may say of an endpoint; nil leaves it as it is.
type Change struct {
	URL         *string
	Types       *[]string
	Description *string
	// Active switches the endpoint on or off. What happened while it is off is told
	// by Resend only.
	Active *bool
}

func scan(row pgx.CollectableRow) (Endpoint, error) { return pgx.RowToStructByPos[Endpoint](row) }

// Create makes an endpoint under an id that its caller chose, and returns its
// secret, which nobody is shown again. Events published from now on are told to
// it. ErrTooMany beyond MaxEndpoints.
func Create(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenant, endpointID, url string, types []string, description string) (e Endpoint, secret string, err error) {
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM event_endpoints WHERE tenant = $1`, tenant).Scan(&n); err != nil {
		return e, "", fmt.Errorf("endpoints of %s: %w", tenant, err)
	}
	if n >= MaxEndpoints {
		return e, "", ErrTooMany
	}
	secret = newSecret()
	keyID, box, err := ring.Seal([]byte(secret), aad(tenant, endpointID))
	if err != nil {
		return e, "", fmt.Errorf("encrypt the secret of endpoint %s: %w", endpointID, err)
	}
	if types == nil {
		types = []string{}
	}
	_, err = tx.Exec(ctx, `INSERT INTO event_endpoints (tenant, id, url, types, description, key_id, box) VALUES ($1,$2,$3,$4,$5,$6,$7)`, tenant, endpointID, url, types, description, keyID, box)
	if err != nil {
		return e, "", fmt.Errorf("endpoint %s: %w", endpointID, err)
	}
	e, err = Get(ctx, tx, tenant, endpointID)
	return e, secret, err
}

// Get reads an endpoint; ErrNotFound when there is none.
func Get(ctx context.Context, tx pgx.Tx, tenant, endpointID string) (Endpoint, error) {
	rows, err := tx.Query(ctx, `SELECT `+endpointColumns+` FROM event_endpoints WHERE tenant = $1 AND id = $2`, tenant, endpointID)
	if err != nil {
		return Endpoint{}, fmt.Errorf("endpoint %s: %w", endpointID, err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return e, ErrNotFound
	}
	if err != nil {
		return e, fmt.Errorf("endpoint %s: %w", endpointID, err)
	}
	return e, nil
}

// Secret reads the secret that an endpoint has now, for the request that made it
// and could not tell.
func Secret(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenant, endpointID string) (string, error) {
	var keyID string
	var box []byte
	err := tx.QueryRow(ctx, `SELECT key_id, box FROM event_endpoints WHERE tenant = $1 AND id = $2`, tenant, endpointID).Scan(&keyID, &box)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("secret of endpoint %s: %w", endpointID, err)
	}
	clear, err := ring.Open(keyID, box, aad(tenant, endpointID))
	if err != nil {
		return "", fmt.Errorf("secret of endpoint %s: %w", endpointID, err)
	}
	return string(clear), nil
}

// List reads a tenant's endpoints, newest first; there are at most MaxEndpoints.
func List(ctx context.Context, tx pgx.Tx, tenant string) ([]Endpoint, error) {
	rows, err := tx.Query(ctx, `SELECT `+endpointColumns+` FROM event_endpoints WHERE tenant = $1 ORDER BY id DESC`, tenant)
	if err != nil {
		return nil, fmt.Errorf("endpoints of %s: %w", tenant, err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("endpoints of %s: %w", tenant, err)
	}
	return list, nil
}

// Update changes an endpoint; saying the same again changes nothing. What is on
// its way goes to the new URL.
func Update(ctx context.Context, tx pgx.Tx, tenant, endpointID string, c Change) (Endpoint, error) {
	tag, err := tx.Exec(ctx, `UPDATE event_endpoints SET url = coalesce($3, url), types = coalesce($4, types), description = coalesce($5, description), updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenant, endpointID, c.URL, c.Types, c.Description)
	if err != nil {
		return Endpoint{}, fmt.Errorf("endpoint %s: %w", endpointID, err)
	}
	if tag.RowsAffected() == 0 {
		return Endpoint{}, ErrNotFound
	}
	switch {
	case c.Active == nil:
	case *c.Active:
		_, err = tx.Exec(ctx, `UPDATE event_endpoints SET status = 'active', disabled_reason = NULL, failing_since = NULL, streak = 0, resting_until = NULL WHERE tenant = $1 AND id = $2 AND status = 'disabled'`, tenant, endpointID)
	default:
		err = disable(ctx, tx, tenant, endpointID, Switched)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("endpoint %s: %w", endpointID, err)
	}
	return Get(ctx, tx, tenant, endpointID)
}

// disable ends everything that was to be told to an endpoint.
func disable(ctx context.Context, tx pgx.Tx, tenant, endpointID, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE event_endpoints SET status = 'disabled', disabled_reason = $3, failing_since = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status <> 'disabled'`, tenant, endpointID, reason)
	if err != nil {
		return fmt.Errorf("disable endpoint %s: %w", endpointID, err)
	}
	_, err = tx.Exec(ctx, `UPDATE event_deliveries SET status = 'cancelled', ended_at = now(), next_try_at = NULL, leased_until = NULL WHERE tenant = $1 AND endpoint_id = $2 AND status = 'pending'`, tenant, endpointID)
	if err != nil {
		return fmt.Errorf("cancel the deliveries of endpoint %s: %w", endpointID, err)
	}
	return nil
}

// Delete removes an endpoint and everything that was or was to be told to it.
func Delete(ctx context.Context, tx pgx.Tx, tenant, endpointID string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM event_endpoints WHERE tenant = $1 AND id = $2`, tenant, endpointID)
	if err != nil {
		return fmt.Errorf("delete endpoint %s: %w", endpointID, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotFound
	}
	return nil
}

// RotateSecret gives an endpoint another secret, which nobody is shown again. For
// a day the one before signs too; one before that no longer does.
func RotateSecret(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenant, endpointID string) (e Endpoint, secret string, err error) {
	secret = newSecret()
	keyID, box, err := ring.Seal([]byte(secret), aad(tenant, endpointID))
	if err != nil {
		return e, "", fmt.Errorf("encrypt the secret of endpoint %s: %w", endpointID, err)
	}
	_, err = tx.Exec(ctx, `UPDATE event_endpoints SET old_key_id = key_id, old_box = box, old_until = now() + interval '`+oldSecretSigns+`', key_id = $3, box = $4, updated_at = now() WHERE tenant = $1 AND id = $2`,
		tenant, endpointID, keyID, box)
	if err != nil {
		return e, "", fmt.Errorf("rotate the secret of endpoint %s: %w", endpointID, err)
	}
	e, err = Get(ctx, tx, tenant, endpointID)
	return e, secret, err
}

// Reseal encrypts a tenant's secrets anew with the ring's first key where another
// was used, without changing them, and forgets old ones that sign no more. It
// reports how many endpoints it changed.
func Reseal(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenant string) (n int, err error) {
	_, err = tx.Exec(ctx, `UPDATE event_endpoints SET old_key_id = NULL, old_box = NULL, old_until = NULL WHERE tenant = $1 AND old_until <= now()`, tenant)
	if err != nil {
		return 0, fmt.Errorf("old secrets of %s: %w", tenant, err)
	}
	rows, err := tx.Query(ctx, `SELECT id, key_id, box, coalesce(old_key_id, ''), old_box FROM event_endpoints WHERE tenant = $1 ORDER BY id FOR UPDATE`, tenant)
	if err != nil {
		return 0, fmt.Errorf("secrets of %s: %w", tenant, err)
	}
	type sealed struct {
		ID, KeyID string
		Box       []byte
		OldKeyID  string
		OldBox    []byte
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sealed])
	if err != nil {
		return 0, fmt.Errorf("secrets of %s: %w", tenant, err)
	}
	anew := func(endpointID, keyID string, box []byte) (string, []byte, error) {
		clear, err := ring.Open(keyID, box, aad(tenant, endpointID))
		if err != nil {
			return "", nil, fmt.Errorf("secret of endpoint %s: %w", endpointID, err)
		}
		return ring.Seal(clear, aad(tenant, endpointID))
	}
	for _, s := range list {
		if s.KeyID == ring.EncryptionKeyID() && (s.OldBox == nil || s.OldKeyID == ring.EncryptionKeyID()) {
			continue
		}
		keyID, box, err := anew(s.ID, s.KeyID, s.Box)
		if err != nil {
			return n, err
		}
		var oldKeyID *string
		var oldBox []byte
		if s.OldBox != nil {
			oldKeyID = &keyID
			if _, oldBox, err = anew(s.ID, s.OldKeyID, s.OldBox); err != nil {
				return n, err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE event_endpoints SET key_id = $3, box = $4, old_key_id = $5, old_box = $6 WHERE tenant = $1 AND id = $2`, tenant, s.ID, keyID, box, oldKeyID, oldBox); err != nil {
			return n, fmt.Errorf("secret of endpoint %s: %w", s.ID, err)
		}
		n++
	}
	return n, nil
}

func aad(tenant, endpointID string) []byte {
	return []byte("webhook:" + tenant + ":" + endpointID)
}

// Test makes a delivery of no event, so that a receiver can be tried. It is tried
// once. It returns the id that the call carries.
func Test(ctx context.Context, tx pgx.Tx, tenant, endpointID string) (eventID string, err error) {
	if err := open(ctx, tx, tenant, endpointID); err != nil {
		return "", err
	}
	eventID = id.New()
	if _, err := tx.Exec(ctx, `INSERT INTO event_deliveries (tenant, endpoint_id, event_id) VALUES ($1,$2,$3)`, tenant, endpointID, eventID); err != nil {
		return "", fmt.Errorf("test of endpoint %s: %w", endpointID, err)
	}
	return eventID, nil
}

// open locks an endpoint against being disabled meanwhile.
func open(ctx context.Context, tx pgx.Tx, tenant, endpointID string) error {
	var status string
	err := tx.QueryRow(ctx, `SELECT status FROM event_endpoints WHERE tenant = $1 AND id = $2 FOR SHARE`, tenant, endpointID).Scan(&status)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("endpoint %s: %w", endpointID, err)
	case status == Disabled:
		return ErrDisabled
	}
	return nil
}

// again begins a new round of tries of events that are told once more. What is on
// its way at this moment keeps its lease.
const again = ` ON CONFLICT (tenant, endpoint_id, event_id) DO UPDATE SET status = 'pending', tries = 0, ended_at = NULL,
   next_try_at = CASE WHEN event_deliveries.leased_until > now() THEN event_deliveries.next_try_at ELSE now() END`

// ResendEvent tells an endpoint one event again, whether it was told before or
// not. Doing it twice is harmless.
func ResendEvent(ctx context.Context, tx pgx.Tx, tenant, endpointID, eventID string) error {
	if err := open(ctx, tx, tenant, endpointID); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO event_deliveries (tenant, endpoint_id, event_id, position) SELECT tenant, $2, id, position FROM public_events WHERE tenant = $1 AND id = $3`+again, tenant, endpointID, eventID)
	if err != nil {
		return fmt.Errorf("tell event %s again: %w", eventID, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotFound
	}
	return nil
}

// ResendSince tells an endpoint again what has happened since a moment and is of
// a type that it wants, whether it was told before or not. It reports how many.
func ResendSince(ctx context.Context, tx pgx.Tx, tenant, endpointID string, since time.Time) (int, error) {
	if err := open(ctx, tx, tenant, endpointID); err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO event_deliveries (tenant, endpoint_id, event_id, position) SELECT p.tenant, w.id, p.id, p.position FROM event_endpoints w JOIN public_events p ON p.tenant = w.tenant
	   WHERE w.tenant = $1 AND w.id = $2 AND p.created_at >= $3 AND (w.types = '{}' OR p.type = ANY(w.types))`+again, tenant, endpointID, since)
	if err != nil {
		return 0, fmt.Errorf("tell events again: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
