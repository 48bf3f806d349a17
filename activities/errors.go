// Package activities is the border where workflows meet the world: one struct
// a subject, its methods the steps. Each step may run more than once and does
// its effect once; each error leaves with its class, decided here.
package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/gateways"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
)

// Types of application errors. TypeBug, which is everything
// that has no class of its own, is not tried again but parked.
const (
	TypeUnavailable = "unavailable" // the provider: again, with back-off
	TypeDatabase    = "database_unavailable"
	TypeRateLimited = "rate_limited" // again when the provider says
	TypeInvalid     = "invalid"      // the provider refuses what we ask
	TypeCredentials = "credentials"  // the tenant's credentials are wrong or missing
	TypeUnknown     = "unknown"      // nobody knows whether it happened: ask first
	TypeFrozen      = "frozen"       // the payment is disputed: when that has ended
	TypeChargedBack = "charged_back" // the buyer's bank gave the money back
	TypeBug         = "bug"
)

// classify gives an error its class. It is the only place that decides which
// failures are tried again.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app
	}
	var f *payment.Failure
	if errors.As(err, &f) {
		opts := temporal.ApplicationErrorOptions{Cause: nil, Details: []any{f.Code}}
		switch f.Class {
		case payment.ClassRateLimited:
			opts.NextRetryDelay = f.RetryAfter
			return temporal.NewApplicationErrorWithOptions(f.Error(), TypeRateLimited, opts)
		case payment.ClassUnavailable:
			return temporal.NewApplicationErrorWithOptions(f.Error(), TypeUnavailable, opts)
		case payment.ClassCredentials:
			opts.NonRetryable = true
			return temporal.NewApplicationErrorWithOptions(f.Error(), TypeCredentials, opts)
		case payment.ClassInvalid:
			opts.NonRetryable = true
			return temporal.NewApplicationErrorWithOptions(f.Error(), TypeInvalid, opts)
		}
	}
	switch {
	case errors.Is(err, payment.ErrGivenUp):
		return temporal.NewNonRetryableApplicationError(err.Error(), TypeUnavailable, nil)
	case errors.Is(err, gateways.ErrNotConfigured):
		return temporal.NewNonRetryableApplicationError(err.Error(), TypeCredentials, nil)
	case errors.Is(err, payment.ErrRefundUnderWay):
		return temporal.NewApplicationErrorWithOptions(err.Error(), TypeRateLimited, temporal.ApplicationErrorOptions{NextRetryDelay: 5 * time.Second})
	case errors.Is(err, payment.ErrFrozen):
		return temporal.NewNonRetryableApplicationError(err.Error(), TypeFrozen, nil)
	case errors.Is(err, payment.ErrBankGaveBack):
		return temporal.NewNonRetryableApplicationError(err.Error(), TypeChargedBack, nil)
	case postgres.Unavailable(err), errors.Is(err, context.Canceled):
		return temporal.NewApplicationError(err.Error(), TypeDatabase)
	}
	return temporal.NewNonRetryableApplicationError(err.Error(), TypeBug, nil)
}

// ErrorType is the class of an error that reached a workflow, "" for none.
func ErrorType(err error) string {
	var app *temporal.ApplicationError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &app):
		return app.Type()
	case temporal.IsTimeoutError(err):
		return TypeUnavailable
	}
	return TypeBug
}

// refusedWith is what the rules said to a request that they refuse, "" for any other
// error.
func refusedWith(err error) string {
	if p, is := problem.As(err); is {
		return p.Detail
	}
	return ""
}
