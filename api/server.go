// Package api is the HTTP border: it authenticates, checks, starts or messages
// a workflow, or reads from PostgreSQL. What is decided about money and stock
// is decided elsewhere. openapi.yaml describes it in full; a test compares the
// two.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/tenant"
)

// Config of the API.
type Config struct {
	// Addr is where the API listens, host:port.
	Addr string
	// MetricsAddr is where /metrics listens; not at all when empty.
	MetricsAddr string
	// MetricsHere serves /metrics on Addr too (development).
	MetricsHere bool
	// PublicURL is what providers and buyers reach us at, without a slash at
	// the end.
	PublicURL string
	// TemporalUIURL makes links for support; none when empty.
	TemporalUIURL string
	Namespace     string
	// CodecOrigin is the Temporal UI that may have payloads decoded; the codec
	// endpoint is off when empty.
	CodecOrigin string
	PayloadKeys *secretbox.Keyring
	// CredentialKeys encrypt the credentials that tenants set.
	CredentialKeys *secretbox.Keyring
	// LocalEndpoints lets event endpoints be http and on this machine, where
	// providers are played.
	LocalEndpoints bool
}

// Temporal is what the API needs of Temporal's client.
type Temporal interface {
	NewWithStartWorkflowOperation(options client.StartWorkflowOptions, workflow any, args ...any) client.WithStartWorkflowOperation
	UpdateWithStartWorkflow(ctx context.Context, options client.UpdateWithStartWorkflowOptions) (client.WorkflowUpdateHandle, error)
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	DescribeWorkflow(ctx context.Context, workflowID, runID string) (*client.WorkflowExecutionDescription, error)
	CheckHealth(ctx context.Context, request *client.CheckHealthRequest) (*client.CheckHealthResponse, error)
}

// Gateways finds a tenant's payment gateways, and those for a payment.
type Gateways interface {
	Gateway(ctx context.Context, tenant string, name payment.Name) (payment.Gateway, error)
	Route(ctx context.Context, tenantID string, rules tenant.Settings, q tenant.RouteQuery) (ready, down []payment.Name, err error)
	Open(ctx context.Context, tenant string, name payment.Name) bool
}

// Metrics is where the API registers its measurements.
type Metrics interface {
	prometheus.Registerer
	Handler() http.Handler
}

// Deps are what the API works with.
type Deps struct {
	DB       *postgres.DB
	Temporal Temporal
	Gateways Gateways
	Carriers Carriers
	Metrics  Metrics
	Logger   *slog.Logger
}

// Server answers the API's requests.
type Server struct {
	cfg      Config
	db       *postgres.DB
	temporal Temporal
	gateways Gateways
	carriers Carriers
	metrics  Metrics
	log      *slog.Logger
	counts   *counts
	router   *gin.Engine
	spec     []byte
	hints    *senders

	// after is what still runs for requests that were answered.
	after      sync.WaitGroup
	afterSlots chan struct{}
	stopping   context.Context
	stop       context.CancelFunc
}

// New returns a server that is ready to serve but does not listen.
func New(cfg Config, d Deps) (*Server, error) {
	spec, err := specJSON()
	if err != nil {
		return nil, err
	}
	stopping, stop := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, db: d.DB, temporal: d.Temporal, gateways: d.Gateways, carriers: d.Carriers, metrics: d.Metrics, log: d.Logger, spec: spec,
		hints: newSenders(), afterSlots: make(chan struct{}, 64), stopping: stopping, stop: stop}
	if s.counts, err = newCounts(d.Metrics, d.DB); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

// Handler is the real router, for httptest too.
func (s *Server) Handler() http.Handler { return s.router }

// Close waits for what still runs for requests that were answered; after ctx it
// is cut off, and the inbox loop or the sweeper does it instead.
func (s *Server) Close(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.after.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.stop()
	<-done
}

// later runs fn after the answer, for at most budget. When too much runs
// already, fn is left out and taken is false: whoever uses this has a slower way
// that always comes about.
func (s *Server) later(ctx context.Context, budget time.Duration, fn func(ctx context.Context)) (taken bool) {
	select {
	case s.afterSlots <- struct{}{}:
	default:
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	unlink := context.AfterFunc(s.stopping, cancel)
	s.after.Go(func() {
		defer func() { unlink(); cancel(); <-s.afterSlots }()
		fn(ctx)
	})
	return true
}

func (s *Server) routes() {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	// An answer of the router's own would be no problem+json and have no X-Request-Id.
	r.RedirectTrailingSlash = false
	r.ContextWithFallback = true
	// Behind a proxy, addresses in headers are the client's own claim.
	_ = r.SetTrustedProxies(nil)
	r.Use(s.identify, s.observe, s.recover)
	r.NoRoute(s.noRoute)
	r.NoMethod(s.noMethod)
	s.router = r

	const (
		storefront = tenant.Storefront
		warehouse  = tenant.Warehouse
		support    = tenant.Support
	)
	s.handle(http.MethodPost, "/v1/checkouts", s.createCheckout, storefront)
	s.handle(http.MethodGet, "/v1/checkouts/:id", s.getCheckout, storefront, support)
	s.handle(http.MethodPost, "/v1/checkouts/:id/payments", s.tryPayment, storefront)
	s.handle(http.MethodPost, "/v1/checkouts/:id/cancel", s.cancelCheckout, storefront, support)

	s.handle(http.MethodPost, "/v1/reservations", s.createReservation, storefront)
	s.handle(http.MethodGet, "/v1/reservations/:id", s.getReservation, storefront, support)
	s.handle(http.MethodPost, "/v1/reservations/:id/confirm", s.confirmReservation, storefront)
	s.handle(http.MethodPost, "/v1/reservations/:id/release", s.releaseReservation, storefront)
	s.handle(http.MethodPost, "/v1/reservations/:id/extend", s.extendReservation, storefront)

	s.handle(http.MethodGet, "/v1/gateways", s.listGateways, storefront, support)
	s.handle(http.MethodGet, "/v1/gateways/:gateway/events", s.listGatewayEvents, support)
	s.handle(http.MethodPut, "/v1/gateways/:gateway/credentials", s.putCredentials)
	s.handle(http.MethodDelete, "/v1/gateways/:gateway/credentials", s.deleteCredentials)

	s.handle(http.MethodGet, "/v1/orders", s.listOrders, storefront, support)
	s.handle(http.MethodGet, "/v1/orders/:id", s.getOrder, storefront, support)
	s.handle(http.MethodPost, "/v1/orders/:id/cancel", s.cancelOrder, support)
	s.handle(http.MethodPut, "/v1/orders/:id/address", s.correctAddress, support)
	s.handle(http.MethodPost, "/v1/orders/:id/attention", s.clearAttention, support)

	s.handle(http.MethodGet, "/v1/payments/:id", s.getPayment, support)
	s.handle(http.MethodPost, "/v1/payments/:id/capture", s.capturePayment, support)
	s.handle(http.MethodPost, "/v1/payments/:id/void", s.voidPayment, support)

	s.handle(http.MethodPost, "/v1/refunds", s.createRefund, support)
	s.handle(http.MethodGet, "/v1/refunds", s.listRefunds, support)
	s.handle(http.MethodGet, "/v1/refunds/:id", s.getRefund, support)

	s.handle(http.MethodPut, "/v1/products/:sku", s.putProduct)
	s.handle(http.MethodGet, "/v1/products/:sku", s.getProduct, storefront, warehouse, support)
	s.handle(http.MethodPut, "/v1/discount-codes/:code", s.putDiscount)
	s.handle(http.MethodGet, "/v1/discount-codes/:code", s.getDiscount, storefront, support)
	s.handle(http.MethodPut, "/v1/warehouses/:code", s.putWarehouse, warehouse)
	s.handle(http.MethodGet, "/v1/warehouses/:code", s.getWarehouse, storefront, warehouse, support)

	s.handle(http.MethodPut, "/v1/stock/:sku", s.putStock, warehouse)
	s.handle(http.MethodGet, "/v1/stock/:sku", s.getStock, storefront, warehouse, support)
	s.handle(http.MethodGet, "/v1/stock/:sku/movements", s.listMovements, warehouse, support)
	s.handle(http.MethodPost, "/v1/stock/adjustments", s.adjustStock, warehouse)
	s.handle(http.MethodPost, "/v1/stock/transfers", s.transferStock, warehouse)

	s.placeRoutes()
	s.pickingRoutes()
	s.shipmentRoutes()
	s.rmaRoutes()
	s.documentRoutes()
	s.rateRoutes()
	s.receivingRoutes()
	s.countingRoutes()
	s.transferRoutes()
	s.scanRoutes()
	s.noticeRoutes()
	s.eventRoutes()

	s.handle(http.MethodGet, "/v1/transactions", s.listTransactions, support)
	s.handle(http.MethodGet, "/v1/reports/sales", s.getSales, support)
	s.handle(http.MethodGet, "/v1/reports/returns", s.getReturnsReport, support)
	s.handle(http.MethodGet, "/v1/reports/reconciliation", s.getReconciliation, support)
	s.handle(http.MethodPost, "/v1/reports/reconciliation", s.runReconciliation, support)
	s.handle(http.MethodPost, "/v1/reports/reconciliation/items/:id/resolve", s.resolveDifference, support)
	s.handleUpload("/v1/settlements/:gateway", csvFile, s.readSettlement, support)

	s.handle(http.MethodGet, "/v1/support/stuck", s.listStuck, support)
	s.handle(http.MethodPost, "/v1/support/workflows/:id/:verb", s.actOnWorkflow, support)

	r.POST("/webhooks/:tenant/:gateway", s.webhook)
	r.GET("/payments/:tenant/:gateway/:payment/return", s.buyerReturn)
	r.POST("/payments/:tenant/:gateway/:payment/return", s.buyerReturn)
	r.GET("/payments/:tenant/:gateway/:payment/return/wait", s.buyerWait)

	r.GET("/track/:tenant/:key", s.journey)
	r.GET("/return-label/:tenant/:key", s.returnLabel)

	r.GET("/healthz", s.healthz)
	r.GET("/readyz", s.readyz)
	r.GET("/openapi.json", s.openAPI)
	r.GET("/docs", s.docs)
	if s.cfg.MetricsHere {
		r.GET("/metrics", gin.WrapH(s.metrics.Handler()))
	}
	if s.cfg.CodecOrigin != "" {
		s.codecRoutes()
	}
}

// Run serves until ctx ends, then lets running requests finish (at most 15 s).
func Run(ctx context.Context, cfg Config, d Deps) error {
	s, err := New(cfg, d)
	if err != nil {
		return err
	}
	listen, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("the API can't listen on %s: %w", cfg.Addr, err)
	}
	servers := []*http.Server{s.httpServer(s.Handler())}
	listeners := []net.Listener{listen}
	if cfg.MetricsAddr != "" {
		l, err := net.Listen("tcp", cfg.MetricsAddr)
		if err != nil {
			return errors.Join(fmt.Errorf("/metrics can't listen on %s: %w", cfg.MetricsAddr, err), listen.Close())
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metrics.Handler())
		servers = append(servers, s.httpServer(mux))
		listeners = append(listeners, l)
	}
	failed := make(chan error, len(servers))
	for i, server := range servers {
		go func() { failed <- server.Serve(listeners[i]) }()
	}
	s.log.InfoContext(ctx, "the API listens", slog.String("address", listen.Addr().String()))
	var broke error
	select {
	case <-ctx.Done():
	case broke = <-failed:
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	errs := []error{broke}
	for _, server := range servers {
		if err := server.Shutdown(grace); err != nil {
			errs = append(errs, fmt.Errorf("stop serving: %w", err), server.Close())
		}
	}
	s.Close(grace)
	return errors.Join(errs...)
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		// Above the longest wait of a handler.
		WriteTimeout:   45 * time.Second,
		IdleTimeout:    90 * time.Second,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}
