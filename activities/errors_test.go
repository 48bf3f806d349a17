package activities

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/gateways"
	"justlogistics/internal/payment"
)

func TestClassify_DecidesWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	failure := func(c payment.Class) error {
		return fmt.Errorf("wrapped: %w", &payment.Failure{Gateway: payment.Stripe, Class: c, Code: "code", RetryAfter: 7 * time.Second, Err: errors.New("cause")})
	}
	for name, c := range map[string]struct {
		err   error
		want  string
		again bool
	}{
		"the provider is away":               {failure(payment.ClassUnavailable), TypeUnavailable, true},
		"the provider asks for patience":     {failure(payment.ClassRateLimited), TypeRateLimited, true},
		"the provider refuses":               {failure(payment.ClassInvalid), TypeInvalid, false},
		"the credentials are wrong":          {failure(payment.ClassCredentials), TypeCredentials, false},
		"a class that nobody knows":          {failure("strange"), TypeBug, false},
		"there are no credentials":           {fmt.Errorf("%w: khipu", gateways.ErrNotConfigured), TypeCredentials, false},
		"the database is restarting":         {&pgconn.PgError{Code: "57P01"}, TypeDatabase, true},
		"the database is full":               {fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: "53100"}), TypeDatabase, true},
		"a deadlock that did not end":        {&pgconn.PgError{Code: "40P01"}, TypeDatabase, true},
		"the step's time is over":            {context.DeadlineExceeded, TypeDatabase, true},
		"the worker stops":                   {fmt.Errorf("begin: %w", context.Canceled), TypeDatabase, true},
		"a statement that can never succeed": {&pgconn.PgError{Code: "42703"}, TypeBug, false},
		"a constraint":                       {&pgconn.PgError{Code: "23514"}, TypeBug, false},
		"a row that is not there":            {pgx.ErrNoRows, TypeBug, false},
		"anything else":                      {errors.New("index out of range"), TypeBug, false},
		"one of several":                     {errors.Join(errors.New("sweep"), &pgconn.PgError{Code: "08006"}), TypeDatabase, true},
	} {
		got := classify(c.err)
		var app *temporal.ApplicationError
		require.ErrorAs(t, got, &app, name)
		require.Equal(t, c.want, app.Type(), name)
		require.Equal(t, c.again, !app.NonRetryable(), name)
		require.Equal(t, c.want, ErrorType(got), name)
		require.Same(t, app, classify(got), "%s: classified once", name)
	}
	require.NoError(t, classify(nil))

	var app *temporal.ApplicationError
	require.ErrorAs(t, classify(failure(payment.ClassRateLimited)), &app)
	require.Equal(t, 7*time.Second, app.NextRetryDelay())
	var code string
	require.NoError(t, app.Details(&code))
	require.Equal(t, "code", code)
}

func TestErrorType_OfWhatReachesAWorkflow(t *testing.T) {
	t.Parallel()
	require.Empty(t, ErrorType(nil))
	require.Equal(t, TypeUnavailable, ErrorType(temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil)))
	require.Equal(t, TypeUnavailable, ErrorType(temporal.NewHeartbeatTimeoutError()))
	require.Equal(t, TypeInvalid, ErrorType(fmt.Errorf("activity: %w", temporal.NewNonRetryableApplicationError("no", TypeInvalid, nil))))
	require.Equal(t, TypeBug, ErrorType(errors.New("other")))
}
