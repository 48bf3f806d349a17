package tenant_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/tenant"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func issue(t *testing.T, s *shoptest.Shop, scopes []tenant.Scope, alsoFor ...string) (key, keyID string) {
	t.Helper()
	s.Do(t, func(tx pgx.Tx) (err error) {
		key, keyID, err = tenant.IssueKey(t.Context(), tx, shoptest.Tenant, "a key", scopes, alsoFor)
		return err
	})
	return key, keyID
}

func TestKey_IsFoundByItsTextAndKeptAsAHashOnly(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	key, keyID := issue(t, s, []tenant.Scope{tenant.Storefront, tenant.Warehouse}, "other")
	got, err := tenant.Authenticate(t.Context(), s.DB, key)
	require.NoError(t, err)
	require.Equal(t, tenant.Key{ID: keyID, Tenant: shoptest.Tenant, AlsoFor: []string{"other"}, Scopes: []tenant.Scope{tenant.Storefront, tenant.Warehouse}}, got)
	require.GreaterOrEqual(t, len(key), 46, "256 bits")

	row := shoptest.Value[string](t, s, `SELECT to_jsonb(k)::text || encode(hash, 'escape') FROM api_keys k`)
	require.NotContains(t, row, strings.TrimPrefix(key, "jl_"))
	require.Equal(t, 32, shoptest.Value[int](t, s, `SELECT length(hash) FROM api_keys`))
}

func TestKey_EndsAtOnceWhenItIsRevoked(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	key, keyID := issue(t, s, tenant.Scopes)
	stays, _ := issue(t, s, tenant.Scopes)
	_, err := tenant.Authenticate(t.Context(), s.DB, key)
	require.NoError(t, err)
	for range 2 {
		s.Do(t, func(tx pgx.Tx) error { return tenant.RevokeKey(t.Context(), tx, shoptest.Tenant, keyID) })
		_, err = tenant.Authenticate(t.Context(), s.DB, key)
		require.ErrorIs(t, err, tenant.ErrBadKey)
	}
	_, err = tenant.Authenticate(t.Context(), s.DB, stays)
	require.NoError(t, err)

	s.AddTenant(t, "other")
	err = s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error { return tenant.RevokeKey(t.Context(), tx, "other", keyID) })
	require.Error(t, err, "another tenant's key")
	s.Do(t, func(tx pgx.Tx) error {
		list, err := tenant.ListKeys(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Nil(t, list[0].RevokedAt)
		require.Equal(t, keyID, list[1].ID)
		require.NotNil(t, list[1].RevokedAt)
		return nil
	})
}

func TestKey_RevokedIsNotRevivedByStoringItAgain(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	key, keyID := issue(t, s, tenant.Scopes)
	s.Do(t, func(tx pgx.Tx) error {
		require.NoError(t, tenant.StoreKey(t.Context(), tx, shoptest.Tenant, "01ARZ3NDEKTSV4RRFFQ69G5FAV", key, "again", tenant.Scopes, nil))
		return tenant.RevokeKey(t.Context(), tx, shoptest.Tenant, keyID)
	})
	s.Do(t, func(tx pgx.Tx) error {
		return tenant.StoreKey(t.Context(), tx, shoptest.Tenant, "01ARZ3NDEKTSV4RRFFQ69G5FAV", key, "again", tenant.Scopes, nil)
	})
	_, err := tenant.Authenticate(t.Context(), s.DB, key)
	require.ErrorIs(t, err, tenant.ErrBadKey)
	require.Equal(t, 1, shoptest.Value[int](t, s, `SELECT count(*) FROM api_keys`))
}

func TestAuthenticate_RefusesWhatIsNotAKey(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	key, _ := issue(t, s, tenant.Scopes)
	for _, guess := range []string{"", "jl_", key + "x", key[:len(key)-1], strings.ToUpper(key), strings.Repeat("a", 1<<20), "\x00"} {
		_, err := tenant.Authenticate(t.Context(), s.DB, guess)
		require.ErrorIs(t, err, tenant.ErrBadKey)
	}
}

func TestKey_CarriesOnlyScopesThatExist(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	for _, scopes := range [][]tenant.Scope{{"root"}, {}} {
		err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
			_, _, err := tenant.IssueKey(t.Context(), tx, shoptest.Tenant, "x", scopes, nil)
			return err
		})
		require.Error(t, err)
	}
	storefront := tenant.Key{Scopes: []tenant.Scope{tenant.Storefront}}
	require.True(t, storefront.Has(tenant.Storefront, tenant.Support))
	require.False(t, storefront.Has(tenant.Support))
	require.False(t, storefront.Has())
	require.True(t, tenant.Key{Scopes: []tenant.Scope{tenant.Admin}}.Has(tenant.Support))
	require.False(t, tenant.Key{}.Has(tenant.Storefront))
}

func TestSettings_DefaultsAreValid(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "demo", "a-very-long-tenant-name-of-32-by", "1"} {
		require.NoError(t, tenant.Defaults(id).Validate(), id)
	}
}

func TestSettings_RefuseWhatContradictsItself(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(*tenant.Settings){
		"number_prefix":   func(s *tenant.Settings) { s.NumberPrefix = "" },
		"hold_seconds":    func(s *tenant.Settings) { s.HoldSeconds = 0 },
		"max_hold":        func(s *tenant.Settings) { s.MaxHoldSeconds = s.HoldSeconds - 1 },
		"grace_seconds":   func(s *tenant.Settings) { s.GraceSeconds = -1 },
		"allocation.rule": func(s *tenant.Settings) { s.Allocation.Rule = "random" },
		"dispatch_hours":  func(s *tenant.Settings) { s.DispatchHours = 0 },
		"transfer_grace":  func(s *tenant.Settings) { s.TransferGraceHours = -1 },
		"promise_margin":  func(s *tenant.Settings) { s.PromiseMarginHours = -1 },
		"waves are":       func(s *tenant.Settings) { s.Fulfillment.Waves = "sometimes" },
		"wave.at_least":   func(s *tenant.Settings) { s.Fulfillment.Wave.AtLeast = 0 },
		"wave.oldest":     func(s *tenant.Settings) { s.Fulfillment.Wave.OldestMinutes = 0 },
		"wave.by":         func(s *tenant.Settings) { s.Fulfillment.Wave.By = "colour" },
		"rounds and trol": func(s *tenant.Settings) { s.Fulfillment.Wave.Trolley.Units = -1 },
		"over_percent":    func(s *tenant.Settings) { s.Receiving.OverPercent = -1 },
		"close_hours":     func(s *tenant.Settings) { s.Receiving.CloseHours = 0 },
		"time_zone":       func(s *tenant.Settings) { s.TimeZone = "Chile/Nowhere" },
		"allowed_origins": func(s *tenant.Settings) { s.AllowedOrigins = []string{"http://shop.example"} },
		"origin":          func(s *tenant.Settings) { s.AllowedOrigins = []string{"shop.example"} },
		"gateways: there": func(s *tenant.Settings) { s.Gateways = []string{"paypal"} },
		"twice":           func(s *tenant.Settings) { s.Gateways = []string{"flow", "khipu", "flow"} },
		"each once":       func(s *tenant.Settings) { s.ScanPolicy = []string{"bin", "product", "bin"} },
		"must be scanned": func(s *tenant.Settings) { s.ScanPolicy = []string{"bin", "lot"} },
	} {
		s := tenant.Defaults("demo")
		change(&s)
		require.ErrorContains(t, s.Validate(), says)
	}
	shop := shoptest.New(t)
	err := shop.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		bad := tenant.Tenant{ID: shoptest.Tenant, Name: "x", Settings: tenant.Defaults("x")}
		bad.Settings.HoldSeconds = 0
		return tenant.Put(t.Context(), tx, bad)
	})
	require.ErrorContains(t, err, "hold_seconds")
}

func TestSettings_AreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	want := tenant.Tenant{ID: shoptest.Tenant, Name: "Otra", Settings: tenant.Defaults(shoptest.Tenant)}
	want.Settings.AllowedOrigins = []string{"https://shop.example"}
	want.Settings.Gateways = []string{"stripe"}
	want.Settings.Freight = []tenant.Freight{{Region: "*", Service: "pickup", Currency: "CLP"}}
	want.Settings.Allocation = tenant.Allocation{Rule: "fixed", Order: []string{"CCP-1", "SCL-1"}}
	want.Settings.Limits = tenant.HoldLimits{}
	s.Do(t, func(tx pgx.Tx) error {
		require.NoError(t, tenant.Put(t.Context(), tx, want))
		got, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = tenant.Get(t.Context(), tx, "nobody")
		require.ErrorIs(t, err, tenant.ErrUnknown)
		return nil
	})
	// A rule that a stored tenant does not name has its default.
	s.Exec(t, `UPDATE tenants SET settings = settings - 'grace_seconds' - 'freight'`)
	s.Do(t, func(tx pgx.Tx) error {
		got, err := tenant.Get(t.Context(), tx, shoptest.Tenant)
		require.NoError(t, err)
		require.Equal(t, 300, got.Settings.GraceSeconds)
		require.Equal(t, tenant.Defaults("x").Freight, got.Settings.Freight)
		return nil
	})
}

func TestReturnURLAllowed_IsTheTenantsOriginOverHTTPS(t *testing.T) {
	t.Parallel()
	s := tenant.Settings{AllowedOrigins: []string{"https://shop.example", "https://shop.example:8443"}}
	anywhere := tenant.Settings{AllowedOrigins: []string{"*"}}
	for raw, want := range map[string][2]bool{
		"https://shop.example/thanks?x=1":        {true, true},
		"https://shop.example:8443/":             {true, true},
		"https://shop.example:9443/":             {false, true},
		"https://shop.example.evil.test/":        {false, true},
		"https://evil.test/https://shop.example": {false, true},
		"http://shop.example/":                   {false, false},
		"https://user@shop.example/":             {false, false},
		"https:///path":                          {false, false},
		"javascript:alert(1)":                    {false, false},
		"//shop.example/":                        {false, false},
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		require.Equal(t, want, [2]bool{s.ReturnURLAllowed(u), anywhere.ReturnURLAllowed(u)}, raw)
	}
}

func TestFreightFor_TakesTheFirstRowThatMatches(t *testing.T) {
	t.Parallel()
	s := tenant.Defaults("demo")
	for _, c := range []struct {
		region, service, currency string
		grams                     int
		want                      int64
		ok                        bool
	}{
		{"RM", "standard", "CLP", 5000, 3990, true},
		{"RM", "standard", "CLP", 5001, 7990, true},
		{"AN", "standard", "CLP", 100, 5990, true},
		{"AN", "standard", "CLP", 1 << 30, 12990, true},
		{"AN", "pickup", "CLP", 1, 0, true},
		{"RM", "drone", "CLP", 1, 0, false},
		{"RM", "standard", "EUR", 1, 0, false},
	} {
		got, ok := s.FreightFor(c.region, c.service, c.currency, c.grams)
		require.Equal(t, c.ok, ok, "%+v", c)
		require.Equal(t, c.want, got, "%+v", c)
	}
}

func ring(t *testing.T, keys ...string) *secretbox.Keyring {
	t.Helper()
	k, err := secretbox.ParseKeyring(strings.Join(keys, ","))
	require.NoError(t, err)
	return k
}

func TestCredentials_AreEncryptedAndBoundToTenantAndProvider(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	k := ring(t, "k1:"+secretbox.GenerateKey())
	secret := json.RawMessage(`{"secret_key":"sk_live_very_secret"}`)
	s.Do(t, func(tx pgx.Tx) error {
		require.NoError(t, tenant.SetCredentials(t.Context(), tx, k, shoptest.Tenant, "stripe", secret))
		got, version, err := tenant.Credentials(t.Context(), tx, k, shoptest.Tenant, "stripe")
		require.NoError(t, err)
		require.Equal(t, secret, got)
		require.Positive(t, version)
		_, _, err = tenant.Credentials(t.Context(), tx, k, shoptest.Tenant, "khipu")
		require.ErrorIs(t, err, tenant.ErrNoCredentials)
		require.Error(t, tenant.SetCredentials(t.Context(), tx, k, shoptest.Tenant, "stripe", json.RawMessage(`sk_live`)))
		return nil
	})
	require.NotContains(t, shoptest.Value[string](t, s, `SELECT encode(box, 'escape') || to_jsonb(c)::text FROM provider_credentials c`), "sk_live")

	// A box that is moved to another provider or tenant stays shut.
	s.Exec(t, `INSERT INTO provider_credentials (tenant, provider, key_id, box) SELECT tenant, 'khipu', key_id, box FROM provider_credentials`)
	s.Exec(t, `INSERT INTO provider_credentials (tenant, provider, key_id, box) SELECT 'other', provider, key_id, box FROM provider_credentials WHERE provider = 'stripe'`)
	s.Do(t, func(tx pgx.Tx) error {
		_, _, err := tenant.Credentials(t.Context(), tx, k, shoptest.Tenant, "khipu")
		require.ErrorIs(t, err, secretbox.ErrTampered)
		return nil
	})
	require.ErrorIs(t, s.DB.InTenant(t.Context(), "other", func(tx pgx.Tx) error {
		_, _, err := tenant.Credentials(t.Context(), tx, k, "other", "stripe")
		return err
	}), secretbox.ErrTampered)
}

func TestCredentials_SurviveTheRotationOfTheirKey(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	first, second := "k1:"+secretbox.GenerateKey(), "k2:"+secretbox.GenerateKey()
	secret := json.RawMessage(`{"a":1}`)
	before, during, after := ring(t, first), ring(t, second, first), ring(t, second)
	s.Do(t, func(tx pgx.Tx) error {
		read := func(k *secretbox.Keyring) (int64, error) {
			got, version, err := tenant.Credentials(t.Context(), tx, k, shoptest.Tenant, "stripe")
			if err == nil {
				require.Equal(t, secret, got)
			}
			return version, err
		}
		require.NoError(t, tenant.SetCredentials(t.Context(), tx, before, shoptest.Tenant, "stripe", secret))
		_, err := read(during)
		require.NoError(t, err)
		_, err = read(after)
		require.ErrorIs(t, err, secretbox.ErrUnknownKey)
		require.NoError(t, tenant.SetCredentials(t.Context(), tx, during, shoptest.Tenant, "stripe", secret))
		earlier, err := read(during)
		require.NoError(t, err)
		require.NoError(t, tenant.SetCredentials(t.Context(), tx, during, shoptest.Tenant, "stripe", secret))
		version, err := read(after)
		require.NoError(t, err)
		require.Greater(t, version, earlier, "every change is seen by those who cache")
		return nil
	})
}

func TestRotateCredentials_LetsTheOldKeyBeDropped(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	first, second := "k1:"+secretbox.GenerateKey(), "k2:"+secretbox.GenerateKey()
	before, during, after := ring(t, first), ring(t, second, first), ring(t, second)
	secrets := map[string]json.RawMessage{"stripe": json.RawMessage(`{"a":1}`), "flow": json.RawMessage(`{"b":2}`)}
	s.Do(t, func(tx pgx.Tx) error {
		for provider, secret := range secrets {
			require.NoError(t, tenant.SetCredentials(t.Context(), tx, before, shoptest.Tenant, provider, secret))
		}
		return tenant.SetCredentials(t.Context(), tx, during, shoptest.Tenant, "khipu", json.RawMessage(`{"c":3}`))
	})
	s.Do(t, func(tx pgx.Tx) error {
		_, version, err := tenant.Credentials(t.Context(), tx, during, shoptest.Tenant, "stripe")
		require.NoError(t, err)
		n, err := tenant.RotateCredentials(t.Context(), tx, during, shoptest.Tenant)
		require.NoError(t, err)
		require.Equal(t, tenant.Rotated{Done: 2, Kept: 1}, n)
		for provider, secret := range secrets {
			got, _, err := tenant.Credentials(t.Context(), tx, after, shoptest.Tenant, provider)
			require.NoError(t, err)
			require.Equal(t, secret, got)
		}
		_, same, err := tenant.Credentials(t.Context(), tx, after, shoptest.Tenant, "stripe")
		require.Equal(t, version, same, "nobody has to build anything anew")
		require.NoError(t, err)
		n, err = tenant.RotateCredentials(t.Context(), tx, after, shoptest.Tenant)
		require.Equal(t, tenant.Rotated{Kept: 3}, n)
		return err
	})
	err := s.DB.InTenant(t.Context(), shoptest.Tenant, func(tx pgx.Tx) error {
		_, err := tenant.RotateCredentials(t.Context(), tx, ring(t, "k3:"+secretbox.GenerateKey()), shoptest.Tenant)
		return err
	})
	require.ErrorIs(t, err, secretbox.ErrUnknownKey, "a ring that lacks a key changes nothing")
	require.Equal(t, []string{"k2"}, shoptest.List[string](t, s, `SELECT DISTINCT key_id FROM provider_credentials`))
}

func TestWithdrawCredentials_LeavesNothing(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	k := ring(t, "k1:"+secretbox.GenerateKey())
	s.Do(t, func(tx pgx.Tx) error {
		require.NoError(t, tenant.SetCredentials(t.Context(), tx, k, shoptest.Tenant, "flow", json.RawMessage(`{}`)))
		_, version, err := tenant.Credentials(t.Context(), tx, k, shoptest.Tenant, "flow")
		require.NoError(t, err)
		require.NoError(t, tenant.WithdrawCredentials(t.Context(), tx, shoptest.Tenant, "flow"))
		require.ErrorIs(t, tenant.WithdrawCredentials(t.Context(), tx, shoptest.Tenant, "flow"), tenant.ErrNoCredentials)
		require.NoError(t, tenant.SetCredentials(t.Context(), tx, k, shoptest.Tenant, "flow", json.RawMessage(`{}`)))
		_, again, err := tenant.Credentials(t.Context(), tx, k, shoptest.Tenant, "flow")
		require.Greater(t, again, version, "a version is never used twice")
		return err
	})
}

func TestNextNumber_IsNeverDrawnTwice(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.AddTenant(t, "other")
	const each = 20
	var mu sync.Mutex
	numbers := map[string][]string{}
	var g errgroup.Group
	for _, name := range []string{shoptest.Tenant, "other"} {
		for i := range each {
			g.Go(func() error {
				var n string
				err := s.DB.InTenant(t.Context(), name, func(tx pgx.Tx) error {
					shop, err := tenant.Get(t.Context(), tx, name)
					if err != nil {
						return err
					}
					if n, err = tenant.NextNumber(t.Context(), tx, shop); err == nil && i%4 == 0 {
						n, err = "", errRolledBack
					}
					return err
				})
				if n != "" {
					mu.Lock()
					numbers[name] = append(numbers[name], n)
					mu.Unlock()
				}
				if errors.Is(err, errRolledBack) {
					return nil
				}
				return err
			})
		}
	}
	require.NoError(t, g.Wait())
	for name, prefix := range map[string]string{shoptest.Tenant: "ACME", "other": "OTHER"} {
		var want []string
		for i := range each - each/4 {
			want = append(want, fmt.Sprintf("%s-%06d", prefix, i+1))
		}
		slices.Sort(numbers[name])
		require.Equal(t, want, numbers[name])
	}
}

var errRolledBack = errors.New("rolled back")
