package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"

	"justlogistics/internal/carriers"
	"justlogistics/internal/config"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/telemetry"
	"justlogistics/internal/temporalclient"
	"justlogistics/internal/tenant"
)

// process is what the API and the worker have in common.
type process struct {
	cfg      *config.Config
	log      *slog.Logger
	metrics  *telemetry.Metrics
	db       *postgres.DB
	temporal client.Client
	gateways *gateways.Registry
	carriers *carriers.Registry
	closers  []func()
}

// newProcess connects a long-running process. Nothing has to be up yet: each
// connection is made when it is needed and again after it was lost.
func newProcess(ctx context.Context, name string) (_ *process, err error) {
	p := &process{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.cfg, err = config.Load(ctx, config.Database, config.Temporal, config.Keys, config.PublicURL); err != nil {
		return nil, err
	}
	p.log = telemetry.Logger(os.Stdout, p.cfg.LogLevel.String()).With("process", name)
	slog.SetDefault(p.log)
	p.metrics = telemetry.NewMetrics()
	stopTracing, err := telemetry.SetupTracing(ctx, "justlogistics-"+name)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := stopTracing(ctx); err != nil {
			p.log.Warn("traces were lost at the end", "error", err)
		}
	})
	if p.db, err = postgres.Open(ctx, p.cfg.DatabaseURL, postgres.Options{MaxConns: 24}); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.db.Close)
	handler, err := telemetry.TemporalMetricsHandler(p.metrics)
	if err != nil {
		return nil, err
	}
	opts := temporalclient.Options{Keyring: p.cfg.PayloadKeys, Logger: p.log, Metrics: handler, Address: p.cfg.TemporalAddress, Namespace: p.cfg.TemporalNamespace}
	tracing, err := telemetry.TracingInterceptor()
	if err != nil {
		return nil, err
	}
	if tracing != nil {
		opts.Interceptors = []interceptor.ClientInterceptor{tracing}
	}
	if p.temporal, err = temporalclient.Dial(ctx, opts); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.temporal.Close)
	p.gateways = gateways.New(p.credentials, gateways.Options{Client: httpclient.New(httpclient.Options{}), DB: p.db, Logger: p.log})
	p.carriers = carriers.New(p.db, p.cfg.CredentialKeys)
	p.closers = append(p.closers, p.gateways.Close, p.carriers.Close)
	return p, nil
}

func (p *process) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
}

// credentials reads a tenant's credentials at a gateway for the registry.
func (p *process) credentials(ctx context.Context, tenantID string, name payment.Name) (value []byte, version int64, err error) {
	err = p.db.InTenant(ctx, tenantID, func(tx pgx.Tx) (err error) {
		value, version, err = tenant.Credentials(ctx, tx, p.cfg.CredentialKeys, tenantID, string(name))
		return err
	})
	if errors.Is(err, tenant.ErrNoCredentials) {
		return nil, 0, fmt.Errorf("%w: %s of tenant %s", gateways.ErrNotConfigured, name, tenantID)
	}
	return value, version, err
}
