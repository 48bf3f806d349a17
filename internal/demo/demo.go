// Package demo fills the tenant with which `justlogistics dev` starts: a small
// shop with two warehouses, a catalogue, stock, a discount code and the
// sandbox's credentials for every provider of this build.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/config"
	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
	"justlogistics/internal/stock"
	"justlogistics/internal/tenant"
)

// Tenant is the demo tenant's id.
const Tenant = "demo"

// transbankKey and transbankCode are the public integration credentials of
// Webpay Plus (https://www.transbankdevelopers.cl/documentacion/como_empezar),
// the same for every merchant that tests.
const (
	transbankKey  = "579B532A7440BB0C9079DED94D31EA1615BACEB56610332264630D42D0A36B1C"
	transbankCode = "597055555532"
)

type variant struct {
	sku, group, name string
	price            int64 // CLP
	grams            int
	options          map[string]string
	santiago, south  int // units in SCL-1 and CCP-1
}

var variants = []variant{
	{"POL-ROJO-S", "POL", "Polera roja S", 12990, 250, map[string]string{"talla": "S", "color": "rojo"}, 20, 10},
	{"POL-ROJO-M", "POL", "Polera roja M", 12990, 260, map[string]string{"talla": "M", "color": "rojo"}, 40, 20},
	{"POL-AZUL-M", "POL", "Polera azul M", 12990, 260, map[string]string{"talla": "M", "color": "azul"}, 35, 0},
	{"ZAP-NEGRO-40", "ZAP", "Zapatilla negra 40", 49990, 900, map[string]string{"talla": "40", "color": "negro"}, 12, 8},
	{"ZAP-NEGRO-42", "ZAP", "Zapatilla negra 42", 49990, 950, map[string]string{"talla": "42", "color": "negro"}, 0, 15},
	{"MOCHILA-22L", "MOCHILA", "Mochila 22 litros", 34990, 700, map[string]string{"modelo": "22L"}, 25, 25},
	{"TAZA-CHILE", "TAZA", "Taza Chile", 6990, 350, map[string]string{"modelo": "clásica"}, 100, 60},
	{"ULTIMA-UNIDAD", "ULTIMA", "Última unidad", 9990, 200, map[string]string{"modelo": "única"}, 1, 0},
}

// Seed makes what is missing of the demo tenant and returns its API key, which
// carries every scope. keptKey is the key of an earlier start ("" at the
// first): it goes on working. Stock is counted once; later starts leave it.
func Seed(ctx context.Context, c *config.Config, keptKey string) (apiKey string, err error) {
	db, err := postgres.Open(ctx, c.DatabaseURL, postgres.Options{MaxConns: 2, MaxSystemConns: 1})
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.InTenant(ctx, Tenant, func(tx pgx.Tx) error {
		if err := shop(ctx, tx); err != nil {
			return err
		}
		if err := floorOfSantiago(ctx, tx); err != nil {
			return err
		}
		if err := credentials(ctx, tx, c); err != nil {
			return err
		}
		apiKey = keptKey
		if keptKey == "" {
			apiKey, _, err = tenant.IssueKey(ctx, tx, Tenant, "demo", tenant.Scopes, nil)
			return err
		}
		return tenant.StoreKey(ctx, tx, Tenant, id.New(), keptKey, "demo", tenant.Scopes, nil)
	})
	if err != nil {
		return "", fmt.Errorf("seed the demo tenant: %w", err)
	}
	return apiKey, nil
}

func shop(ctx context.Context, tx pgx.Tx) error {
	_, err := tenant.Get(ctx, tx, Tenant)
	if err == nil {
		return nil
	}
	if !errors.Is(err, tenant.ErrUnknown) {
		return err
	}
	t := tenant.Tenant{ID: Tenant, Name: "Tienda Demo", Settings: tenant.Defaults(Tenant)}
	t.Settings.AllowedOrigins = []string{"*"}
	// Carriers want to know whom to call about a parcel.
	t.Settings.Sender = tenant.Sender{Name: "Tienda Demo", Phone: "+56222345678", Email: "despacho@tienda-demo.example", RUT: "76.192.083-9"}
	if err := tenant.Put(ctx, tx, t); err != nil {
		return err
	}
	for i, w := range []struct{ code, name, region, comuna, street, number string }{{"SCL-1", "Bodega Santiago", "RM", "Quilicura", "Las Esteras Norte", "2570"}, {"CCP-1", "Bodega Concepción", "BI", "Concepción", "Camilo Henríquez", "2330"}} {
		if _, err := catalog.PutWarehouse(ctx, tx, Tenant, w.code, catalog.WarehouseInput{Name: w.name, Region: w.region, Comuna: w.comuna, Street: w.street, Number: w.number, Position: i}); err != nil {
			return err
		}
	}
	for _, v := range variants {
		// Dollar prices let the demo sell abroad too: a rough 950 pesos each.
		in := catalog.ProductInput{Name: v.name, Product: v.group, Options: v.options, WeightGrams: v.grams,
			Prices: []catalog.Price{{Currency: "CLP", Amount: v.price}, {Currency: "USD", Amount: v.price * 100 / 950}}}
		if _, err := catalog.PutProduct(ctx, tx, Tenant, v.sku, in); err != nil {
			return err
		}
		for warehouse, units := range map[string]int{"SCL-1": v.santiago, "CCP-1": v.south} {
			if _, err := stock.Count(ctx, tx, Tenant, v.sku, warehouse, units, time.Now(), "demo"); err != nil {
				return err
			}
		}
	}
	uses := 1000
	_, err = catalog.PutDiscount(ctx, tx, Tenant, "BIENVENIDA10", catalog.DiscountInput{Kind: "percent", Value: 1000, MaxUses: &uses})
	return err
}

// sameButURL reports whether credentials are the sandbox's, wherever it is.
func sameButURL(kept, ours map[string]any) bool {
	kept, ours = maps.Clone(kept), maps.Clone(ours)
	delete(kept, "base_url")
	delete(ours, "base_url")
	return maps.Equal(kept, ours)
}

// credentials points the adapters at the sandbox. A sandbox that moved to
// another port is followed; credentials that a person has set for a real
// provider stay.
func credentials(ctx context.Context, tx pgx.Tx, c *config.Config) error {
	for provider, value := range map[string]map[string]any{
		"transbank":   {"base_url": c.SandboxURL + "/transbank", "commerce_code": transbankCode, "api_key": transbankKey},
		"stripe":      {"base_url": c.SandboxURL + "/stripe", "secret_key": "sk_test_sandbox_demo", "webhook_secret": "whsec_sandbox_demo"},
		"mercadopago": {"base_url": c.SandboxURL + "/mercadopago", "access_token": "TEST-sandbox-demo", "webhook_secret": "mpsec_sandbox_demo"},
		"flow":        {"base_url": c.SandboxURL + "/flow", "api_key": "sandbox-key-demo", "secret_key": "sandbox-secret-demo"},
		"khipu":       {"base_url": c.SandboxURL + "/khipu", "api_key": "sandbox-key-demo", "secret": "sandbox-secret-demo"},
		"chilexpress": {"base_url": c.SandboxURL + "/chilexpress", "coverage_key": "sandbox-coverage-demo", "rating_key": "sandbox-rating-demo", "shipping_key": "sandbox-shipping-demo", "card": "18578680", "rut": "96756430-3"},
		"bluexpress": {"base_url": c.SandboxURL + "/bluexpress", "client_id": "sandbox-client-demo", "client_secret": "sandbox-secret-demo", "api_key": "sandbox-key-demo",
			"token": "sandbox-token-demo", "user_code": "sandbox-user-demo", "account": "account-demo"},
		"correos": {"base_url": c.SandboxURL + "/correos", "token": "sandbox-token-demo", "client_code": "sap-demo"},
		// JSON knows numbers of one kind only.
		"starken": {"base_url": c.SandboxURL + "/starken", "token": "sandbox-bearer-demo", "rut": "76192083-9", "origin_agency": 1411., "current_account": "41966-8"},
		"twilio":  {"base_url": c.SandboxURL + "/twilio", "account_sid": "ACsandboxdemo", "auth_token": "sandbox-token-demo", "sms_from": "+56912345678", "whatsapp_from": "+56912345678"},
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		now, _, err := tenant.Credentials(ctx, tx, c.CredentialKeys, Tenant, provider)
		var kept map[string]any
		switch {
		case errors.Is(err, tenant.ErrNoCredentials):
		case err != nil:
			return err
		case json.Unmarshal(now, &kept) == nil && (kept["base_url"] == value["base_url"] || !sameButURL(kept, value)):
			continue
		}
		if err := tenant.SetCredentials(ctx, tx, c.CredentialKeys, Tenant, provider, raw); err != nil {
			return err
		}
	}
	return nil
}
