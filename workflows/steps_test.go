package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestBeginsWithin_LeavesTimeForTheFifthGateway: however long each of four gateways
// takes of what it is given, and each step between them up to a tenth of a second, the
// fifth is asked while the storefront still waits.
func TestBeginsWithin_LeavesTimeForTheFifthGateway(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		began := time.Unix(0, 0)
		now, until := began, began.Add(walkPatience)
		for range 4 {
			given := beginsWithin(now, until)
			require.GreaterOrEqual(t, given, leastBegin)
			took := time.Duration(rapid.Int64Range(0, int64(given)).Draw(t, "took"))
			if rapid.Bool().Draw(t, "hangs") {
				took = given
			}
			now = now.Add(took + time.Duration(rapid.Int64Range(0, int64(100*time.Millisecond)).Draw(t, "between")))
		}
		require.Less(t, now.Sub(began), 10*time.Second-leastBegin)
	})
}

func TestBeginsWithin_WithNoTimeLeftTheRestHaveAllThePatience(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	require.Zero(t, beginsWithin(now, now.Add(leastBegin-1)))
	require.Zero(t, beginsWithin(now, now.Add(-time.Hour)))
	require.Equal(t, leastBegin, beginsWithin(now, now.Add(leastBegin)))
}
