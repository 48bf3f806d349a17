package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/secretbox"
)

// ErrNoCredentials is returned when a tenant has not set a provider's
// credentials.
var ErrNoCredentials = errors.New("no credentials for this provider")

// SetCredentials stores a provider's credentials, encrypted with the newest
// key of the ring and bound to tenant and provider. They take effect without a
// restart.
func SetCredentials(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenantID, provider string, credentials json.RawMessage) error {
	if !json.Valid(credentials) {
		return errors.New("credentials must be a JSON object")
	}
	keyID, box, err := ring.Seal(credentials, aad(tenantID, provider))
	if err != nil {
		return fmt.Errorf("encrypt credentials: %w", err)
	}
	// Of the clock, so that credentials which were withdrawn and set again have a
	// version that nobody has seen.
	_, err = tx.Exec(ctx, `INSERT INTO provider_credentials (tenant, provider, key_id, box, version) VALUES ($1,$2,$3,$4, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
		ON CONFLICT (tenant, provider) DO UPDATE SET key_id = excluded.key_id, box = excluded.box, version = greatest(provider_credentials.version + 1, excluded.version), updated_at = now()`,
		tenantID, provider, keyID, box)
	if err != nil {
		return fmt.Errorf("store credentials of %s: %w", provider, err)
	}
	return nil
}

// Credentials reads a provider's credentials and their version, which grows
// with every change.
func Credentials(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenantID, provider string) (json.RawMessage, int64, error) {
	var keyID string
	var box []byte
	var version int64
	err := tx.QueryRow(ctx, `SELECT key_id, box, version FROM provider_credentials WHERE tenant = $1 AND provider = $2`, tenantID, provider).Scan(&keyID, &box, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, 0, fmt.Errorf("%w: %s", ErrNoCredentials, provider)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("credentials of %s: %w", provider, err)
	}
	clear, err := ring.Open(keyID, box, aad(tenantID, provider))
	if err != nil {
		return nil, 0, fmt.Errorf("decrypt credentials of %s: %w", provider, err)
	}
	return clear, version, nil
}

// WithdrawCredentials deletes a provider's credentials: within seconds no process
// uses them any more. ErrNoCredentials when there are none.
func WithdrawCredentials(ctx context.Context, tx pgx.Tx, tenantID, provider string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM provider_credentials WHERE tenant = $1 AND provider = $2`, tenantID, provider)
	if err != nil {
		return fmt.Errorf("withdraw credentials of %s: %w", provider, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s", ErrNoCredentials, provider)
	}
	return nil
}

// Rotated counts what was encrypted anew.
type Rotated struct {
	// Done had another key than the ring's first; Kept had it already.
	Done, Kept int
}

// RotateCredentials encrypts a tenant's credentials anew with the ring's first
// key where another was used, without changing them. Once it has run for every
// tenant, on a ring that every process has, the other keys can be dropped.
func RotateCredentials(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenantID string) (Rotated, error) {
	var out Rotated
	// Locked, so that credentials which are set meanwhile are not undone.
	rows, err := tx.Query(ctx, `SELECT provider, key_id, box FROM provider_credentials WHERE tenant = $1 ORDER BY provider FOR UPDATE`, tenantID)
	if err != nil {
		return out, fmt.Errorf("rotate credentials: %w", err)
	}
	type sealed struct {
		Provider, KeyID string
		Box             []byte
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sealed])
	if err != nil {
		return out, fmt.Errorf("rotate credentials: %w", err)
	}
	for _, c := range list {
		if c.KeyID == ring.EncryptionKeyID() {
			out.Kept++
			continue
		}
		clear, err := ring.Open(c.KeyID, c.Box, aad(tenantID, c.Provider))
		if err != nil {
			return out, fmt.Errorf("decrypt credentials of %s at %s: %w", tenantID, c.Provider, err)
		}
		keyID, box, err := ring.Seal(clear, aad(tenantID, c.Provider))
		if err != nil {
			return out, fmt.Errorf("encrypt credentials of %s at %s: %w", tenantID, c.Provider, err)
		}
		if _, err := tx.Exec(ctx, `UPDATE provider_credentials SET key_id = $3, box = $4, updated_at = now() WHERE tenant = $1 AND provider = $2`, tenantID, c.Provider, keyID, box); err != nil {
			return out, fmt.Errorf("store credentials of %s at %s: %w", tenantID, c.Provider, err)
		}
		out.Done++
	}
	return out, nil
}

// IDs lists all tenants. tx is the system's.
func IDs(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT tenant FROM tenants ORDER BY tenant`)
	if err != nil {
		return nil, fmt.Errorf("tenants: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("tenants: %w", err)
	}
	return ids, nil
}

func aad(tenantID, provider string) []byte { return []byte("credentials:" + tenantID + ":" + provider) }
