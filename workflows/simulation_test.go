package workflows_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSimulation_CheckoutSagaKeepsItsInvariants(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprintf("shard %d", i), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				plan := schedules().Draw(t, "schedule")
				if s := simulate(plan); len(s.failed) > 0 {
					t.Log(s.story())
					t.Fatal("an invariant is broken")
				}
			})
		})
	}
}

var _ = os.Getenv
var _ = strconv.Itoa
var _ = require.New
