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
	_, err = tx.Exec(ctx, `INSERT INTO provider_credentials (tenant, provider, key_id, box) VALUES ($1,$2,$3,$4)
		ON CONFLICT (tenant, provider) DO UPDATE SET key_id = excluded.key_id, box = excluded.box, version = provider_credentials.version + 1, updated_at = now()`,
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

func aad(tenantID, provider string) []byte { return []byte("credentials:" + tenantID + ":" + provider) }
