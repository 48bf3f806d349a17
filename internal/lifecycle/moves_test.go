package lifecycle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/lifecycle"
)

func statuses(m lifecycle.Machine) (out []string) {
	for _, mv := range lifecycle.Moves() {
		if mv.Machine == m {
			out = append(out, mv.From, mv.To)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// from is everything that can follow a status, at any distance.
func from(m lifecycle.Machine, status string, never ...string) map[string]bool {
	seen := map[string]bool{}
	for _, s := range never {
		seen[s] = true
	}
	for queue := []string{status}; len(queue) > 0; queue = queue[1:] {
		for _, mv := range lifecycle.Moves() {
			if mv.Machine == m && mv.From == queue[0] && !seen[mv.To] {
				seen[mv.To] = true
				queue = append(queue, mv.To)
			}
		}
	}
	return seen
}

func TestMoves_NameEachMoveOnceAndNeverStaying(t *testing.T) {
	t.Parallel()
	seen := map[lifecycle.Move]bool{}
	for _, mv := range lifecycle.Moves() {
		require.False(t, seen[mv], mv)
		require.NotEqual(t, mv.From, mv.To)
		require.Contains(t, lifecycle.Machines(), mv.Machine)
		seen[mv] = true
	}
}

func TestMoves_PaidAndCancelledCheckoutsAreFinal(t *testing.T) {
	t.Parallel()
	require.Empty(t, from(lifecycle.Checkout, "paid"))
	require.Empty(t, from(lifecycle.Checkout, "cancelled"), "its approval is refunded")
	for _, s := range []string{"reserving", "awaiting_payment", "expired", "payment_failed"} {
		require.True(t, lifecycle.Allowed(lifecycle.Checkout, s, "paid"), s)
	}
	require.False(t, lifecycle.Allowed(lifecycle.Checkout, "expired", "awaiting_payment"))
}

func TestMoves_AnApprovalIsForwardFromEveryUnpaidPayment(t *testing.T) {
	t.Parallel()
	paid := []string{"authorized", "captured", "partially_refunded", "refunded", "disputed", "charged_back"}
	for _, s := range statuses(lifecycle.Payment) {
		if slices.Contains(paid, s) {
			continue
		}
		require.True(t, lifecycle.Allowed(lifecycle.Payment, s, "captured"), s)
		require.True(t, lifecycle.Allowed(lifecycle.Payment, s, "authorized"), s)
	}
	for _, s := range paid[1:] {
		for _, unpaid := range []string{"pending", "processing", "declined", "cancelled", "expired", "unknown"} {
			// A dispute that is won leaves money authorized only where none was taken.
			require.False(t, from(lifecycle.Payment, s, "authorized")[unpaid], "%s never becomes %s", s, unpaid)
		}
	}
	require.Empty(t, from(lifecycle.Payment, "charged_back"))
}

func TestMoves_ARefundMayFailAfterItSucceeded(t *testing.T) {
	t.Parallel()
	require.True(t, lifecycle.Allowed(lifecycle.Refund, "succeeded", "failed"))
	require.True(t, lifecycle.Allowed(lifecycle.Refund, "failed", "pending"))
	require.False(t, lifecycle.Allowed(lifecycle.Refund, "succeeded", "pending"))
}

func TestAllowed_StayingIsAlways(t *testing.T) {
	t.Parallel()
	for _, m := range lifecycle.Machines() {
		for _, s := range statuses(m) {
			require.True(t, lifecycle.Allowed(m, s, s))
		}
	}
	require.False(t, lifecycle.Allowed(lifecycle.Checkout, "reserving", "captured"), "another machine's status")
}

func TestDiagram_DrawsEveryMoveAndBegins(t *testing.T) {
	t.Parallel()
	for _, m := range lifecycle.Machines() {
		d := lifecycle.Diagram(m)
		require.True(t, strings.HasPrefix(d, "stateDiagram-v2\n"))
		require.Contains(t, d, "[*] --> ")
		for _, mv := range lifecycle.Moves() {
			if mv.Machine == m {
				require.Contains(t, d, "  "+mv.From+" --> "+mv.To+"\n")
			}
		}
		for _, s := range statuses(m) {
			require.Contains(t, d, " --> "+s+"\n", "%s: nothing leads to %s", m, s)
		}
	}
}
