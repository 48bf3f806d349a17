package refund

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/secretbox"
)

// holders are the tables that have accounts: of refunds, and of returns whose money will go
// back.
var holders = []string{"refund_requests", "returns"}

// RotateAccounts encrypts up to n bank accounts of a tenant's refunds and returns anew with
// the ring's first key, those that another key has encrypted, and reports how many they
// were: fewer than n means that none is left.
func RotateAccounts(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenant string, n int) (done int, err error) {
	for _, table := range holders {
		of, err := rotate(ctx, tx, ring, tenant, table, n-done)
		if done += of; err != nil || done == n {
			return done, err
		}
	}
	return done, nil
}

func rotate(ctx context.Context, tx pgx.Tx, ring *secretbox.Keyring, tenant, table string, n int) (int, error) {
	rows, err := tx.Query(ctx, `SELECT id, bank_account FROM `+table+`
	   WHERE tenant = $1 AND bank_account IS NOT NULL AND position(convert_to($2, 'UTF8') IN bank_account) <> 1 ORDER BY id LIMIT $3 FOR UPDATE`, tenant, ring.EncryptionKeyID()+":", n)
	if err != nil {
		return 0, fmt.Errorf("rotate bank accounts: %w", err)
	}
	type sealed struct {
		ID  string
		Box []byte
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sealed])
	if err != nil {
		return 0, fmt.Errorf("rotate bank accounts: %w", err)
	}
	for _, old := range list {
		box, err := Reseal(ring, tenant, old.ID, old.ID, old.Box)
		if err != nil {
			return 0, err
		}
		if _, err := tx.Exec(ctx, `UPDATE `+table+` SET bank_account = $3 WHERE tenant = $1 AND id = $2`, tenant, old.ID, box); err != nil {
			return 0, fmt.Errorf("rotate the bank account of %s in %s: %w", old.ID, table, err)
		}
	}
	return len(list), nil
}
