package refund_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/refund"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
)

func TestRotateAccounts_LetsTheOldKeyBeDropped(t *testing.T) {
	t.Parallel()
	s, orderID, _, _ := paid(t, 2)
	first, second := "k1:"+secretbox.GenerateKey(), "k2:"+secretbox.GenerateKey()
	ring := func(text string) *secretbox.Keyring {
		k, err := secretbox.ParseKeyring(text)
		require.NoError(t, err)
		return k
	}
	before, during, after := ring(first), ring(second+","+first), ring(second)
	account := refund.BankAccount{Holder: "Ana Rojas", RUT: "11111111-1", Bank: "Banco Estado", Type: "rut", Number: "11111111"}
	ids := []string{id.New(), id.New(), id.New()}
	for _, refundID := range ids {
		box, err := account.Seal(before, shoptest.Tenant, refundID)
		require.NoError(t, err)
		s.Exec(t, `INSERT INTO refund_requests (tenant, id, order_id, reason, amount, currency, method, bank_account) VALUES ($1,$2,$3,'goodwill',1,'CLP','bank_transfer',$4)`, shoptest.Tenant, refundID, orderID, box)
	}
	returnID := id.New()
	box, err := account.Seal(before, shoptest.Tenant, returnID)
	require.NoError(t, err)
	s.Exec(t, `INSERT INTO returns (tenant, id, order_id, number, status, policy, policy_version, warehouse, method, bank_account, money, freight_by, requested_by, due_at) VALUES ($1,$2,$3,'R-1','requested','{}',0,'SCL-1','bank_transfer',$4,'on_receipt','shop','web',now())`, shoptest.Tenant, returnID, orderID, box)
	done := []int{}
	for range 3 {
		s.Do(t, func(tx pgx.Tx) error {
			n, err := refund.RotateAccounts(t.Context(), tx, during, shoptest.Tenant, 2)
			done = append(done, n)
			return err
		})
	}
	require.Equal(t, []int{2, 2, 0}, done)
	for _, refundID := range ids {
		opened, err := refund.OpenAccount(after, shoptest.Tenant, refundID, shoptest.Value[[]byte](t, s, `SELECT bank_account FROM refund_requests WHERE id = $1`, refundID))
		require.NoError(t, err)
		require.Equal(t, account, *opened)
	}
	opened, err := refund.OpenAccount(after, shoptest.Tenant, returnID, shoptest.Value[[]byte](t, s, `SELECT bank_account FROM returns`))
	require.NoError(t, err)
	require.Equal(t, account, *opened)
}
