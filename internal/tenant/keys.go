package tenant

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
)

// Scope is what an API key may do.
type Scope string

// The scopes. Admin includes the others.
const (
	Storefront Scope = "storefront"
	Warehouse  Scope = "warehouse"
	Support    Scope = "support"
	Admin      Scope = "admin"
)

// Scopes lists all of them.
var Scopes = []Scope{Storefront, Warehouse, Support, Admin}

// Key is an API key that was presented and found good.
type Key struct {
	ID     string
	Tenant string
	// AlsoFor are further tenants that an operator's key may act for.
	AlsoFor []string
	Scopes  []Scope
}

// Has reports whether the key carries one of the scopes, or admin.
func (k Key) Has(scopes ...Scope) bool {
	return slices.Contains(k.Scopes, Admin) || slices.ContainsFunc(scopes, func(s Scope) bool { return slices.Contains(k.Scopes, s) })
}

// IssueKey creates a key and returns it in clear, the only time that it is
// known: the database keeps its SHA-256 (the key has 256 random bits, so there
// is nothing to guess).
func IssueKey(ctx context.Context, tx pgx.Tx, tenantID, name string, scopes []Scope, alsoFor []string) (key, keyID string, err error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", "", err
	}
	key = "jl_" + base64.RawURLEncoding.EncodeToString(secret)
	keyID = id.New()
	if err := StoreKey(ctx, tx, tenantID, keyID, key, name, scopes, alsoFor); err != nil {
		return "", "", err
	}
	return key, keyID, nil
}

// StoreKey records a key whose clear text the caller knows already (the demo
// key, which survives restarts). Storing the same key again changes nothing.
func StoreKey(ctx context.Context, tx pgx.Tx, tenantID, keyID, key, name string, scopes []Scope, alsoFor []string) error {
	names := make([]string, 0, len(scopes))
	for _, s := range scopes {
		if !slices.Contains(Scopes, s) {
			return fmt.Errorf("no scope %q: storefront, warehouse, support or admin", s)
		}
		names = append(names, string(s))
	}
	if alsoFor == nil {
		alsoFor = []string{}
	}
	_, err := tx.Exec(ctx, `INSERT INTO api_keys (tenant, id, hash, name, scopes, also_for) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT (hash) DO NOTHING`,
		tenantID, keyID, hashKey(key), name, names, alsoFor)
	if err != nil {
		return fmt.Errorf("store API key: %w", err)
	}
	return nil
}

// RevokeKey ends a key at once. An unknown id is an error.
func RevokeKey(ctx context.Context, tx pgx.Tx, tenantID, keyID string) error {
	tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant = $1 AND id = $2`, tenantID, keyID)
	if err != nil {
		return fmt.Errorf("revoke API key: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("tenant %s has no API key %s", tenantID, keyID)
	}
	return nil
}

// KeyInfo describes a key without the key.
type KeyInfo struct {
	ID, Name  string
	Scopes    []string
	CreatedAt time.Time
	RevokedAt *time.Time
}

// ListKeys lists a tenant's keys, newest first.
func ListKeys(ctx context.Context, tx pgx.Tx, tenantID string) ([]KeyInfo, error) {
	rows, err := tx.Query(ctx, `SELECT id, name, scopes, created_at, revoked_at FROM api_keys WHERE tenant = $1 ORDER BY id DESC`, tenantID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[KeyInfo])
}

// ErrBadKey is returned for a key that does not exist or was revoked.
var ErrBadKey = errors.New("API key unknown or revoked")

// Authenticate finds a presented key. Nothing is cached: a revoked key ends
// with the next request.
func Authenticate(ctx context.Context, db *postgres.DB, key string) (Key, error) {
	var k Key
	var scopes []string
	err := db.NoTenant(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT tenant, id, scopes, also_for FROM jl.find_api_key($1)`, hashKey(key)).Scan(&k.Tenant, &k.ID, &scopes, &k.AlsoFor)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Key{}, ErrBadKey
	}
	if err != nil {
		return Key{}, fmt.Errorf("API key: %w", err)
	}
	for _, s := range scopes {
		k.Scopes = append(k.Scopes, Scope(s))
	}
	return k, nil
}

func hashKey(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}
