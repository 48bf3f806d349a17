package scancode_test

import (
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/problem"
	"justlogistics/internal/shoptest"
	"justlogistics/internal/warehouse/scancode"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestResolve_FindsAProductByEveryNameItHas(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Product(t, "POL-1", 1000, 1)
	s.Product(t, "QUESO", 1000, 1)
	s.Product(t, "TWIN", 1000, 1)
	s.Exec(t, `UPDATE products SET barcodes = '{4006381333931,mine-1}' WHERE sku = 'POL-1'`)
	s.Exec(t, `UPDATE products SET barcodes = '{09501101530003}', tracking = 'lot' WHERE sku = 'QUESO'`)
	s.Exec(t, `UPDATE products SET barcodes = '{mine-1}' WHERE sku = 'TWIN'`)
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	expires := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	for scanned, want := range map[string]scancode.Item{
		"POL-1":                                 {SKU: "POL-1", Tracking: "none"},
		"4006381333931":                         {SKU: "POL-1", Tracking: "none"},
		"04006381333931":                        {SKU: "POL-1", Tracking: "none"},
		"9501101530003":                         {SKU: "QUESO", Tracking: "lot"},
		"(01)09501101530003(17)261231(10)AB-12": {SKU: "QUESO", Tracking: "lot", Lot: "AB-12", ExpiresOn: &expires},
		"]C10109501101530003172612313712\x1d10AB": {SKU: "QUESO", Tracking: "lot", Lot: "AB", ExpiresOn: &expires, Count: 12},
		"(01)04006381333931(21)S-9":               {SKU: "POL-1", Tracking: "none", Serial: "S-9"},
	} {
		s.Do(t, func(tx pgx.Tx) error {
			got, err := scancode.Resolve(t.Context(), tx, shoptest.Tenant, scanned, now)
			require.NoError(t, err, scanned)
			want.Name = "Producto " + want.SKU
			require.Equal(t, want, got, scanned)
			return nil
		})
	}
	for scanned, code := range map[string]string{"": "unknown_item", "NO-SUCH": "unknown_item", "mine-1": "ambiguous_item", "7801234567894": "unknown_item", "(01)09501101530004": "unknown_item"} {
		s.Do(t, func(tx pgx.Tx) error {
			_, err := scancode.Resolve(t.Context(), tx, shoptest.Tenant, scanned, now)
			p, ok := problem.As(err)
			require.True(t, ok, "%s: %v", scanned, err)
			require.Equal(t, code, p.Code, scanned)
			return nil
		})
	}
}
