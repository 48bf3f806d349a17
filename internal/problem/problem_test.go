package problem_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
)

func TestFields_NoFaultIsNoError(t *testing.T) {
	t.Parallel()
	var f problem.Fields
	require.NoError(t, f.Err())
}

func TestFields_OneFaultGivesItsCodeAndSeveralAreAllNamed(t *testing.T) {
	t.Parallel()
	var f problem.Fields
	f.Add("items[0].quantity", "out_of_range", "at least %d", 1)
	p, ok := problem.As(f.Err())
	require.True(t, ok)
	require.Equal(t, problem.Refused, p.Kind)
	require.Equal(t, "out_of_range", p.Code)
	require.Equal(t, "items[0].quantity: at least 1", p.Detail)

	f.Add("currency", "required", "which one")
	p, ok = problem.As(f.Err())
	require.True(t, ok)
	require.Equal(t, "invalid_request", p.Code)
	require.Equal(t, []problem.Field{{Field: "items[0].quantity", Code: "out_of_range", Message: "at least 1"}, {Field: "currency", Code: "required", Message: "which one"}}, p.Fields)
	require.Contains(t, p.Error(), "; currency: which one")
}

func TestAs_FindsARefusalInsideOtherErrorsAndNoOther(t *testing.T) {
	t.Parallel()
	refusal := problem.New(problem.Unavailable, "temporarily_unavailable", "Temporal does not answer.").With("order_id", "o1").After(5 * time.Second)
	p, ok := problem.As(errors.Join(errors.New("unlock"), fmt.Errorf("begin: %w", refusal)))
	require.True(t, ok)
	require.Equal(t, map[string]any{"order_id": "o1"}, p.More)
	require.Equal(t, 5*time.Second, p.RetryAfter)
	require.Equal(t, "temporarily_unavailable: Temporal does not answer.", p.Error())

	_, ok = problem.As(errors.New("disk full"))
	require.False(t, ok)
	_, ok = problem.As(nil)
	require.False(t, ok)
}

func TestMissing_IsNotFound(t *testing.T) {
	t.Parallel()
	p := problem.Missing("order")
	require.Equal(t, problem.NotFound, p.Kind)
	require.Equal(t, "There is no such order.", p.Detail)
}
