package carriers_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/carriers"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestCheck_NamesNoSecretAndTakesNoOtherField(t *testing.T) {
	t.Parallel()
	require.NoError(t, carriers.Check(shipping.Correos, []byte(`{"token":"t","client_code":"c"}`)))
	for _, wrong := range []string{`{"token":"hidden-word","client_code":"c","tokn":1}`, `{"token":"hidden-word"}`, `["hidden-word"]`, `hidden-word`} {
		err := carriers.Check(shipping.Correos, []byte(wrong))
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "hidden-word")
	}
	require.ErrorIs(t, carriers.Check(shipping.Manual, []byte(`{}`)), carriers.ErrNotConfigured)
	require.Equal(t, []shipping.Name{shipping.BlueExpress, shipping.Chilexpress, shipping.Correos, shipping.Starken}, carriers.Adapters())
}

func TestRegistry_EachTenantHasItsOwnAdapter(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	keys, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	set := func(tenantID, token string) {
		t.Helper()
		require.NoError(t, s.DB.InTenant(t.Context(), tenantID, func(tx pgx.Tx) error {
			return tenant.SetCredentials(t.Context(), tx, keys, tenantID, "correos", json.RawMessage(`{"token":"`+token+`","client_code":"c"}`))
		}))
	}
	r := carriers.New(s.DB, keys)
	_, err = r.Carrier(t.Context(), shoptest.Tenant, shipping.Correos)
	require.ErrorIs(t, err, carriers.ErrNotConfigured)
	set(shoptest.Tenant, "a")
	mine, err := r.Carrier(t.Context(), shoptest.Tenant, shipping.Correos)
	require.NoError(t, err, "what was missing a moment ago is looked for again")
	again, err := r.Carrier(t.Context(), shoptest.Tenant, shipping.Correos)
	require.NoError(t, err)
	require.Same(t, mine, again, "it keeps what it has learned")
	all, err := r.All(t.Context(), "other")
	require.NoError(t, err)
	require.Empty(t, all)
	set("other", "b")
	all, err = r.All(t.Context(), "other")
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NotSame(t, mine, all[shipping.Correos])
	_, err = r.Carrier(t.Context(), shoptest.Tenant, shipping.Manual)
	require.ErrorIs(t, err, carriers.ErrNotConfigured)
}
