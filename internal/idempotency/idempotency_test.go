package idempotency_test

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/idempotency"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const shop = "shop"

func setup(t *testing.T) (*postgres.DB, func(sql string)) {
	t.Helper()
	database := pgtest.New(t)
	db, err := postgres.Open(t.Context(), database.AppURL, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, db.InTenant(t.Context(), shop, func(tx pgx.Tx) error {
		return tenant.Put(t.Context(), tx, tenant.Tenant{ID: shop, Name: shop, Settings: tenant.Defaults(shop)})
	}))
	return db, func(sql string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), database.SuperuserURL)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), sql)
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
}

func request(body string) idempotency.Request {
	return idempotency.Request{Key: "k", Method: "POST", Path: "/v1/x", Hash: idempotency.Hash("POST", "/v1/x", []byte(body))}
}

func TestTake_OneWorksAndTheNextGetsItsAnswer(t *testing.T) {
	t.Parallel()
	db, _ := setup(t)
	ctx := t.Context()
	claim, answered, err := idempotency.Take(ctx, db, shop, request(`{"a":1,"b":2}`))
	require.NoError(t, err)
	require.Nil(t, answered)
	require.NotNil(t, claim)
	_, _, err = idempotency.Take(ctx, db, shop, request(`{"b":2,"a":1}`))
	require.ErrorIs(t, err, idempotency.ErrInProgress, "the order of members does not matter")
	_, _, err = idempotency.Take(ctx, db, shop, request(`{"a":2}`))
	require.ErrorIs(t, err, idempotency.ErrReused)
	require.NoError(t, claim.Renew(ctx, db))
	require.NoError(t, claim.Finish(ctx, db, idempotency.Answer{Status: 201, Location: "/v1/x/1", Body: []byte(`{}`)}))
	claim, answered, err = idempotency.Take(ctx, db, shop, request(`{"a":1,"b":2}`))
	require.NoError(t, err)
	require.Nil(t, claim)
	require.Equal(t, &idempotency.Answer{Status: 201, Location: "/v1/x/1", Body: []byte(`{}`)}, answered)
}

func TestTake_ALapsedLeaseIsTakenOverWithWhatWasBegun(t *testing.T) {
	t.Parallel()
	db, sql := setup(t)
	ctx := t.Context()
	first, _, err := idempotency.Take(ctx, db, shop, request(`{}`))
	require.NoError(t, err)
	require.NoError(t, db.InTenant(ctx, shop, func(tx pgx.Tx) error { return first.Begun(ctx, tx, "made") }))
	sql(`UPDATE idempotency_keys SET lease_until = now() - interval '1 second'`)
	second, _, err := idempotency.Take(ctx, db, shop, request(`{}`))
	require.NoError(t, err)
	require.Equal(t, "made", second.ResourceID)
	require.ErrorIs(t, first.Renew(ctx, db), idempotency.ErrLost)
	require.ErrorIs(t, db.InTenant(ctx, shop, func(tx pgx.Tx) error { return first.Begun(ctx, tx, "twice") }), idempotency.ErrLost)
	require.ErrorIs(t, first.Finish(ctx, db, idempotency.Answer{Status: 200}), idempotency.ErrLost)

	require.NoError(t, second.Finish(ctx, db, idempotency.Answer{Status: 503}))
	third, answered, err := idempotency.Take(ctx, db, shop, request(`{}`))
	require.NoError(t, err)
	require.Nil(t, answered, "a 5xx is not kept")
	require.Empty(t, third.ResourceID, "and what it had begun is forgotten")
}

func TestFinal_FollowsTheContract(t *testing.T) {
	t.Parallel()
	for status, final := range map[int]bool{200: true, 201: true, 202: true, 400: true, 404: true, 409: true, 413: true, 422: true, 401: false, 403: false, 408: false, 429: false, 500: false, 503: false, 303: false} {
		require.Equal(t, final, idempotency.Final(status), status)
	}
	require.False(t, idempotency.ValidKey(""))
	require.False(t, idempotency.ValidKey("a b"))
	require.False(t, idempotency.ValidKey("ñ"))
	require.False(t, idempotency.ValidKey(strings.Repeat("k", 256)))
	require.True(t, idempotency.ValidKey("~!"))
}

func TestPurge_ForgetsOldKeysOnly(t *testing.T) {
	t.Parallel()
	db, sql := setup(t)
	ctx := t.Context()
	claim, _, err := idempotency.Take(ctx, db, shop, request(`{}`))
	require.NoError(t, err)
	require.NoError(t, claim.Finish(ctx, db, idempotency.Answer{Status: 200, Body: []byte(`{}`)}))
	purge := func() (n int) {
		require.NoError(t, db.AsSystem(ctx, func(tx pgx.Tx) (err error) { n, err = idempotency.Purge(ctx, tx); return err }))
		return n
	}
	require.Zero(t, purge())
	sql(`UPDATE idempotency_keys SET created_at = now() - interval '8 days'`)
	again, answered, err := idempotency.Take(ctx, db, shop, request(`{"other":true}`))
	require.NoError(t, err, "an old key is free, purged or not")
	require.Nil(t, answered)
	require.NotNil(t, again)
	sql(`UPDATE idempotency_keys SET created_at = now() - interval '8 days', lease_until = NULL`)
	require.Equal(t, 1, purge())
}
