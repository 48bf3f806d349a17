package demo_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/config"
	"justlogistics/internal/demo"
	"justlogistics/internal/gateways"
	"justlogistics/internal/payment"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type bundle struct {
	config config.Config
	db     *postgres.DB
}

func setup(t *testing.T) *bundle {
	t.Helper()
	d := pgtest.New(t)
	ring, err := secretbox.ParseKeyring("dev:" + secretbox.GenerateKey())
	require.NoError(t, err)
	b := &bundle{config: config.Config{DatabaseURL: d.AppURL, SandboxURL: "http://127.0.0.1:8090", CredentialKeys: ring}}
	b.db, err = postgres.Open(t.Context(), d.AppURL, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(b.db.Close)
	return b
}

func (b *bundle) seed(t *testing.T, kept string) (key string) {
	t.Helper()
	key, err := demo.Seed(t.Context(), &b.config, kept)
	require.NoError(t, err)
	return key
}

func (b *bundle) do(t *testing.T, fn func(tx pgx.Tx) error) {
	t.Helper()
	require.NoError(t, b.db.InTenant(t.Context(), demo.Tenant, fn))
}

func (b *bundle) credentials(t *testing.T, provider string) (got map[string]string) {
	t.Helper()
	b.do(t, func(tx pgx.Tx) error {
		raw, _, err := tenant.Credentials(t.Context(), tx, b.config.CredentialKeys, demo.Tenant, provider)
		require.NoError(t, err)
		return json.Unmarshal(raw, &got)
	})
	return got
}

func TestSeed_MakesAShopThatCanSell(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.seed(t, "")
	k, err := tenant.Authenticate(t.Context(), b.db, key)
	require.NoError(t, err)
	require.Equal(t, demo.Tenant, k.Tenant)
	require.ElementsMatch(t, tenant.Scopes, k.Scopes, "every scope")
	b.do(t, func(tx pgx.Tx) error {
		levels, err := stock.Levels(t.Context(), tx, demo.Tenant, "POL-ROJO-S")
		require.NoError(t, err)
		require.Len(t, levels, 2)
		require.Equal(t, "CCP-1", levels[0].Warehouse)
		require.Equal(t, 20, levels[1].Available)
		var sellable, products int
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM prices r WHERE r.sku = p.sku AND currency = 'CLP' AND amount > 0)) FROM products p`).Scan(&products, &sellable))
		require.Equal(t, products, sellable)
		require.Greater(t, products, 5)
		return nil
	})
	for _, name := range gateways.Adapters() {
		raw, err := json.Marshal(b.credentials(t, string(name)))
		require.NoError(t, err)
		require.NoError(t, gateways.Check(name, raw), "every provider of this build can be used: %s", name)
	}
}

func TestSeed_PlacesTheStockOfOneWarehouseOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.seed(t, "")
	look := func() (out []string) {
		b.do(t, func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), `SELECT 'bin ' || code || ' ' || kind || ' ' || xmin::text FROM bins
			   UNION ALL SELECT 'pile ' || bin || ' ' || sku || ' ' || quantity || ' ' || version FROM bin_stock
			   UNION ALL SELECT 'level ' || sku || ' ' || warehouse || ' ' || on_hand || ' ' || placed FROM stock_levels ORDER BY 1`)
			require.NoError(t, err)
			out, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		return out
	}
	first := look()
	count := func(prefix string) (n int) {
		for _, line := range first {
			if strings.HasPrefix(line, prefix) {
				n++
			}
		}
		return n
	}
	require.Equal(t, 126, count("bin "), "120 of the plan and 6 stations")
	require.Equal(t, 1, count("bin PACK-1 packing"))
	require.Contains(t, first, "pile E-05-A TAZA-CHILE 60 1")
	require.Contains(t, first, "pile E-05-C TAZA-CHILE 40 1")
	require.Contains(t, first, "level TAZA-CHILE SCL-1 100 100")
	require.Contains(t, first, "level TAZA-CHILE CCP-1 60 0", "the other warehouse has no bins")
	b.seed(t, key)
	require.Equal(t, first, look(), "a second start changes nothing")
}

func TestSeed_AgainKeepsWhatWasSoldAndTheKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.seed(t, "")
	b.do(t, func(tx pgx.Tx) error {
		_, err := stock.Adjust(t.Context(), tx, demo.Tenant, stock.Change{SKU: "ULTIMA-UNIDAD", Warehouse: "SCL-1", Delta: -1, Reason: "loss"})
		return err
	})
	require.Equal(t, key, b.seed(t, key))
	_, err := tenant.Authenticate(t.Context(), b.db, key)
	require.NoError(t, err)
	b.do(t, func(tx pgx.Tx) error {
		levels, err := stock.Levels(t.Context(), tx, demo.Tenant, "ULTIMA-UNIDAD")
		require.NoError(t, err)
		for _, l := range levels {
			require.Zero(t, l.OnHand, "what was sold does not come back")
		}
		keys, err := tenant.ListKeys(t.Context(), tx, demo.Tenant)
		require.Len(t, keys, 1)
		return err
	})
}

func TestSeed_AKeyOfADatabaseThatIsGoneWorksInTheNewOne(t *testing.T) {
	t.Parallel()
	first, second := setup(t), setup(t)
	key := first.seed(t, "")
	require.Equal(t, key, second.seed(t, key))
	_, err := tenant.Authenticate(t.Context(), second.db, key)
	require.NoError(t, err)
}

func TestSeed_FollowsTheSandboxAndLeavesRealCredentials(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.seed(t, "")
	require.Equal(t, "http://127.0.0.1:8090/transbank", b.credentials(t, "transbank")["base_url"])
	own := map[string]string{"base_url": "https://api.stripe.com", "secret_key": "sk_live_x", "webhook_secret": "whsec_x"}
	b.do(t, func(tx pgx.Tx) error {
		raw, err := json.Marshal(own)
		require.NoError(t, err)
		return tenant.SetCredentials(t.Context(), tx, b.config.CredentialKeys, demo.Tenant, string(payment.Stripe), raw)
	})
	b.config.SandboxURL = "http://127.0.0.1:9999"
	b.seed(t, key)
	require.Equal(t, "http://127.0.0.1:9999/transbank", b.credentials(t, "transbank")["base_url"])
	require.Equal(t, own, b.credentials(t, "stripe"))
}

func TestSeed_SaysWhyItCanNot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.config.DatabaseURL = "postgres://jl_app:hidden@127.0.0.1:1/none?sslmode=disable"
	_, err := demo.Seed(t.Context(), &b.config, "")
	require.ErrorContains(t, err, "seed the demo tenant")
	require.NotContains(t, err.Error(), "hidden")
}
