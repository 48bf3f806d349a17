package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"justlogistics/internal/notice"
	"justlogistics/internal/shipping"
	"justlogistics/internal/webhook"
	"justlogistics/workers"
)

type workerCommand struct {
	Queues []string `help:"Task queues to serve; all of them when left out."`
}

// Run is called by kong.
func (c workerCommand) Run(ctx context.Context) error {
	p, err := newProcess(ctx, "worker")
	if err != nil {
		return err
	}
	defer p.close()
	p.metrics.MustRegister(workers.NewBusinessMetrics(p.db, p.log), workers.CircuitMetrics{Gateways: p.gateways, Carriers: p.carriers, Logger: p.log})
	var ready atomic.Bool
	if p.cfg.MetricsAddr != "" {
		listener, err := net.Listen("tcp", p.cfg.MetricsAddr)
		if err != nil {
			return fmt.Errorf("JL_METRICS_ADDR %s can't be listened on: %w", p.cfg.MetricsAddr, err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", p.metrics.Handler())
		mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
		mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
			if err := p.db.Ready(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			if !ready.Load() {
				http.Error(w, "waiting for Temporal", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ready")
		})
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
		go func() {
			if err := server.Serve(listener); err != http.ErrServerClosed {
				p.log.Error("the worker's health and metrics are not served any more", "error", err)
			}
		}()
		defer server.Close()
	}
	var mailServer *notice.MailServer
	if p.cfg.SMTPURL != "" {
		if mailServer, err = notice.ParseMailServer(p.cfg.SMTPURL, p.cfg.MailFrom); err != nil {
			return err
		}
	}
	stop, err := workers.Start(ctx, workers.Deps{DB: p.db, Temporal: p.temporal, Namespace: p.cfg.TemporalNamespace, Gateways: p.gateways, Carriers: p.carriers,
		Tracking: shipping.Pace{Least: p.cfg.TrackingLeast, Longest: p.cfg.TrackingLongest},
		Webhooks: webhook.NewSender(p.cfg.CredentialKeys, p.cfg.SandboxURL != ""), PublicURL: p.cfg.PublicURL, Logger: p.log, Mail: mailServer, CredentialKeys: p.cfg.CredentialKeys, Queues: c.Queues, BuildID: p.cfg.WorkerBuildID})
	if err != nil {
		return err
	}
	ready.Store(true)
	p.log.Info("the worker works", "task_queues", c.Queues)
	<-ctx.Done()
	stop()
	return nil
}
