package main

import (
	"context"
	"net"
	"strconv"

	"justlogistics/api"
	"justlogistics/internal/config"
)

type apiCommand struct{}

// Run is called by kong.
func (apiCommand) Run(ctx context.Context) error {
	p, err := newProcess(ctx, "api")
	if err != nil {
		return err
	}
	defer p.close()
	metricsAddr := p.cfg.MetricsAddr
	if metricsAddr == config.MetricsOnAPI {
		metricsAddr = ""
	}
	return api.Run(ctx, api.Config{
		Addr:           net.JoinHostPort(p.cfg.APIHost, strconv.Itoa(p.cfg.APIPort)),
		MetricsAddr:    metricsAddr,
		MetricsHere:    p.cfg.MetricsAddr == config.MetricsOnAPI,
		PublicURL:      p.cfg.PublicURL,
		TemporalUIURL:  p.cfg.TemporalUIURL,
		Namespace:      p.cfg.TemporalNamespace,
		CodecOrigin:    p.cfg.CodecOrigin,
		PayloadKeys:    p.cfg.PayloadKeys,
		CredentialKeys: p.cfg.CredentialKeys,
		LocalEndpoints: p.cfg.SandboxURL != "",
	}, api.Deps{DB: p.db, Temporal: p.temporal, Gateways: p.gateways, Carriers: p.carriers, Metrics: p.metrics, Logger: p.log})
}
