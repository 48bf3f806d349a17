// Package idempotency keeps, for each key that a caller names, which request it
// stands for and how it was answered.
//
// A key is worked on under a lease, so that a process that dies leaves nothing
// locked: the next request with the key takes over and learns what the first
// one had already made (ResourceID).
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
)

// LeaseFor is how long a claim holds without being renewed.
const LeaseFor = 5 * time.Second

// Keep is how long a key is remembered.
const Keep = 7 * 24 * time.Hour

// Request is what a key stands for.
type Request struct {
	Key    string
	Method string
	Path   string
	Hash   []byte // of Hash
}

// Hash fingerprints a request: method, path with query, and body. Two JSON
// bodies that differ only in white space or the order of members are the same.
func Hash(method, path string, body []byte) []byte {
	h := sha256.New()
	_, _ = io.WriteString(h, method+"\n"+path+"\n")
	_, _ = h.Write(canonical(body))
	return h.Sum(nil)
}

func canonical(body []byte) []byte {
	var v any
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return body
	}
	out, err := json.Marshal(v)
	if err != nil {
		return body
	}
	return out
}

// ValidKey reports whether a key is 1 to 255 visible ASCII characters.
func ValidKey(key string) bool {
	if key == "" || len(key) > 255 {
		return false
	}
	for i := range len(key) {
		if key[i] < 0x21 || key[i] > 0x7e {
			return false
		}
	}
	return true
}

// Answer is a final answer as it was given.
type Answer struct {
	Status   int
	Location string
	Body     []byte
}

// Final reports whether an answer with this status is kept: 2xx and 4xx but
// 401, 403, 408 and 429. Any other lets the same key try again.
func Final(status int) bool {
	switch status {
	case 401, 403, 408, 429:
		return false
	}
	return status >= 200 && status < 300 || status >= 400 && status < 500
}

// Claim is the right to answer for a key.
type Claim struct {
	tenant, key, lease string
	// ResourceID is what an earlier holder of the key, who never answered, has
	// begun; empty when there was none.
	ResourceID string
}

// Errors of Take.
var (
	// ErrReused: the key stands for another request.
	ErrReused = errors.New("idempotency key used for another request")
	// ErrInProgress: somebody is working on it now.
	ErrInProgress = errors.New("idempotency key in progress")
	// ErrLost: the lease ended and another request has taken over.
	ErrLost = errors.New("idempotency key was taken over")
)

// Take claims a key. It returns the answer that was given before, when there is
// one; ErrInProgress while another request holds the lease.
func Take(ctx context.Context, db *postgres.DB, tenant string, r Request) (claim *Claim, answered *Answer, err error) {
	c := Claim{tenant: tenant, key: r.Key, lease: id.New()}
	err = db.InTenant(ctx, tenant, func(tx pgx.Tx) error {
		claim, answered = nil, nil
		tag, err := tx.Exec(ctx, `INSERT INTO idempotency_keys (tenant, key, method, path, body_hash, lease, lease_until)
		  VALUES ($1,$2,$3,$4,$5,$6, now() + $7) ON CONFLICT (tenant, key) DO NOTHING`, tenant, r.Key, r.Method, r.Path, r.Hash, c.lease, LeaseFor)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			claim = &c
			return nil
		}
		var old, same, busy bool
		var status *int
		var a Answer
		var location, resource *string
		err = tx.QueryRow(ctx, `SELECT created_at < now() - $4::interval, method = $5 AND path = $6 AND body_hash = $3, coalesce(lease_until > now(), false), status, location, body, resource_id
		   FROM idempotency_keys WHERE tenant = $1 AND key = $2 FOR UPDATE`, tenant, r.Key, r.Hash, Keep, r.Method, r.Path).
			Scan(&old, &same, &busy, &status, &location, &a.Body, &resource)
		if errors.Is(err, pgx.ErrNoRows) { // purged between the two statements
			return ErrInProgress
		}
		if err != nil {
			return err
		}
		switch {
		case old && !busy:
			_, err := tx.Exec(ctx, `UPDATE idempotency_keys SET method = $3, path = $4, body_hash = $5, lease = $6, lease_until = now() + $7,
			     resource_id = NULL, status = NULL, location = NULL, body = NULL, created_at = now() WHERE tenant = $1 AND key = $2`,
				tenant, r.Key, r.Method, r.Path, r.Hash, c.lease, LeaseFor)
			claim = &c
			return err
		case !same:
			return ErrReused
		case status != nil:
			a.Status = *status
			if location != nil {
				a.Location = *location
			}
			answered = &a
			return nil
		case busy:
			return ErrInProgress
		}
		if resource != nil {
			c.ResourceID = *resource
		}
		_, err = tx.Exec(ctx, `UPDATE idempotency_keys SET lease = $3, lease_until = now() + $4 WHERE tenant = $1 AND key = $2`, tenant, r.Key, c.lease, LeaseFor)
		claim = &c
		return err
	})
	if err != nil {
		if errors.Is(err, ErrReused) || errors.Is(err, ErrInProgress) {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("idempotency key: %w", err)
	}
	return claim, answered, nil
}

// Begun writes, in the transaction that makes it, what this key has begun. It
// fails with ErrLost when another request has taken over, so that two never
// make it twice. A nil claim (a request without a key) does nothing.
func (c *Claim) Begun(ctx context.Context, tx pgx.Tx, resourceID string) error {
	if c == nil {
		return nil
	}
	tag, err := tx.Exec(ctx, `UPDATE idempotency_keys SET resource_id = $4, lease_until = now() + $5 WHERE tenant = $1 AND key = $2 AND lease = $3 AND status IS NULL`,
		c.tenant, c.key, c.lease, resourceID, LeaseFor)
	if err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLost
	}
	return nil
}

// Renew keeps the claim for another LeaseFor; ErrLost when it is gone.
func (c *Claim) Renew(ctx context.Context, db *postgres.DB) error {
	return c.update(ctx, db, `UPDATE idempotency_keys SET lease_until = now() + $4 WHERE tenant = $1 AND key = $2 AND lease = $3 AND status IS NULL`, LeaseFor)
}

// Finish keeps a final answer, or else lets the key and what was begun under it
// go, so that the next request begins anew.
func (c *Claim) Finish(ctx context.Context, db *postgres.DB, a Answer) error {
	if !Final(a.Status) {
		return c.update(ctx, db, `UPDATE idempotency_keys SET lease = NULL, lease_until = NULL, resource_id = NULL WHERE tenant = $1 AND key = $2 AND lease = $3 AND status IS NULL`)
	}
	if a.Body == nil {
		a.Body = []byte{}
	}
	return c.update(ctx, db, `UPDATE idempotency_keys SET lease = NULL, lease_until = NULL, status = $4, location = $5, body = $6 WHERE tenant = $1 AND key = $2 AND lease = $3 AND status IS NULL`,
		a.Status, a.Location, a.Body)
}

func (c *Claim) update(ctx context.Context, db *postgres.DB, sql string, args ...any) error {
	err := db.InTenant(ctx, c.tenant, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sql, append([]any{c.tenant, c.key, c.lease}, args...)...)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrLost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	return nil
}

// purgeAtOnce bounds one transaction of Purge.
const purgeAtOnce = 5000

// Purge deletes some of the keys, of all tenants, that are older than Keep and
// returns how many; the caller repeats it until there are none. tx is the
// system's.
func Purge(ctx context.Context, tx pgx.Tx) (int, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM idempotency_keys k USING (
	    SELECT tenant, key FROM idempotency_keys WHERE created_at < now() - $1::interval AND coalesce(lease_until < now(), true)
	     ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED) old
	  WHERE k.tenant = old.tenant AND k.key = old.key`, Keep, purgeAtOnce)
	if err != nil {
		return 0, fmt.Errorf("purge idempotency keys: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
