package audit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAudit_NamesWhatABuyerWasNotTold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ check, breaks string }{
		{"notices.have_their_turn", `UPDATE notices SET next_at = now() - interval '16 minutes' WHERE id = '{told}'`},
		{"notices.failures_are_told", `UPDATE notices SET status = 'failed', next_at = NULL, error = 'smtp_550' WHERE id = '{told}'`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			var told string
			require.NoError(t, s.super.QueryRow(t.Context(), `SELECT id FROM notices WHERE status = 'queued' ORDER BY id LIMIT 1`).Scan(&told))
			s.ids["told"] = told
			s.broken(`UPDATE notices SET next_at = now() - interval '14 minutes'`)
			whole := s.audit()
			require.True(t, whole.OK(), "%+v", whole.Checks)
			s.broken(tc.breaks)
			requireNamed(t, s.audit(), tc.check, told)
		})
	}
}
