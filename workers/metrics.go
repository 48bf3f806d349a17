package workers

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"justlogistics/internal/carriers"
	"justlogistics/internal/circuit"
	"justlogistics/internal/gateways"
	"justlogistics/internal/postgres"
)

// BusinessMetrics counts what a shop's people would ask about, over all
// tenants, when it is scraped.
type BusinessMetrics struct {
	db  *postgres.DB
	log *slog.Logger
}

// NewBusinessMetrics returns the collector.
func NewBusinessMetrics(db *postgres.DB, log *slog.Logger) *BusinessMetrics {
	return &BusinessMetrics{db, log}
}

var (
	holdsOpen         = prometheus.NewDesc("justlogistics_holds_open", "Holds that are not confirmed and not over.", nil, nil)
	holdsLate         = prometheus.NewDesc("justlogistics_holds_past_their_time", "Holds that stand past held_until.", nil, nil)
	paymentsPending   = prometheus.NewDesc("justlogistics_payments_unsettled", "Attempts at payment by status.", []string{"status"}, nil)
	refundsPending    = prometheus.NewDesc("justlogistics_refunds_unsettled", "Refunds by status.", []string{"status"}, nil)
	inboxPending      = prometheus.NewDesc("justlogistics_inbox_pending", "Stored news that nobody has applied.", nil, nil)
	inboxOldest       = prometheus.NewDesc("justlogistics_inbox_oldest_seconds", "Age of the oldest of them.", nil, nil)
	thingsParked      = prometheus.NewDesc("justlogistics_parked", "Steps that wait for a person.", nil, nil)
	differencesRaised = prometheus.NewDesc("justlogistics_reconciliation_differences", "Differences between providers' books and ours that wait for a person.", nil, nil)
	runProblems       = prometheus.NewDesc("justlogistics_run_problems", "Runs that are missing, terminated, failed or wedged.", []string{"problem"}, nil)
	eventsOldest      = prometheus.NewDesc("justlogistics_events_unpublished_oldest_seconds", "Age of the oldest public event that is not published.", nil, nil)
	deliveriesPending = prometheus.NewDesc("justlogistics_event_deliveries_pending", "Deliveries to tenants' endpoints that wait, by whether they are past due.", []string{"due"}, nil)
	endpointsByStatus = prometheus.NewDesc("justlogistics_event_endpoints", "Tenants' event endpoints by status.", []string{"status"}, nil)
	pastDue           = prometheus.NewDesc("justlogistics_past_due", "Rows that should have moved and have not.", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (m *BusinessMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{holdsOpen, holdsLate, paymentsPending, refundsPending, inboxPending, inboxOldest, thingsParked, differencesRaised, runProblems, eventsOldest, deliveriesPending, endpointsByStatus, pastDue} {
		ch <- d
	}
}

const counts = `
SELECT 'holds', '', count(*)::float8 FROM holds WHERE status IN ('held','short') AND confirmed_at IS NULL
UNION ALL SELECT 'late', '', count(*) FROM holds WHERE status IN ('held','short') AND confirmed_at IS NULL AND held_until < now()
UNION ALL SELECT 'payments', status, count(*) FROM payments WHERE status IN ('pending','processing','unknown') GROUP BY status
UNION ALL SELECT 'refunds', status, count(*) FROM refunds WHERE status IN ('pending','unknown','needs_attention') GROUP BY status
UNION ALL SELECT 'inbox', '', count(*) FROM inbox WHERE status = 'pending'
UNION ALL SELECT 'oldest', '', coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8 FROM inbox WHERE status = 'pending'
UNION ALL SELECT 'events', '', coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM events WHERE outbound
UNION ALL SELECT 'deliveries', CASE WHEN next_try_at <= now() THEN 'now' ELSE 'later' END, count(*) FROM event_deliveries WHERE status = 'pending' GROUP BY 2
UNION ALL SELECT 'endpoints', status, count(*) FROM event_endpoints GROUP BY status
UNION ALL SELECT 'parked', '', count(*) FROM parked WHERE resolved_at IS NULL
UNION ALL SELECT 'problems', problem, count(*) FROM run_problems GROUP BY problem
UNION ALL SELECT 'due', 'checkout', count(*) FROM checkouts WHERE due_at < now()
UNION ALL SELECT 'due', 'payment', count(*) FROM payments WHERE due_at < now()
UNION ALL SELECT 'due', 'refund', count(*) FROM refunds WHERE due_at < now()
UNION ALL SELECT 'due', 'shipment', count(*) FROM shipments WHERE due_at < now()
UNION ALL SELECT 'due', 'dispute', count(*) FROM disputes WHERE due_at < now()
UNION ALL SELECT 'due', 'reconciliation', count(*) FROM reconciliations WHERE due_at < now()
UNION ALL SELECT 'differences', '', count(*) FROM reconciliation_items WHERE resolution = 'raised'`

// Collect implements prometheus.Collector. A database that is away leaves the
// figures out rather than showing old ones.
func (m *BusinessMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	err := m.db.AsSystem(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, counts)
		if err != nil {
			return err
		}
		var what, label string
		var n float64
		_, err = pgx.ForEachRow(rows, []any{&what, &label, &n}, func() error {
			desc, labels := map[string]*prometheus.Desc{"holds": holdsOpen, "late": holdsLate, "payments": paymentsPending, "refunds": refundsPending, "inbox": inboxPending,
				"oldest": inboxOldest, "differences": differencesRaised, "parked": thingsParked, "problems": runProblems, "events": eventsOldest, "deliveries": deliveriesPending, "endpoints": endpointsByStatus, "due": pastDue}[what], []string(nil)
			if label != "" {
				labels = []string{label}
			}
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n, labels...)
			return nil
		})
		return err
	})
	if err != nil {
		m.log.Warn("business metrics left out", "error", err)
	}
}

// CircuitMetrics shows the circuit of each tenant's gateways and carriers, as all
// processes share it.
type CircuitMetrics struct {
	Gateways *gateways.Registry
	Carriers *carriers.Registry
	Logger   *slog.Logger
}

var (
	gatewayCircuit = prometheus.NewDesc("justlogistics_gateway_circuit", "1 for the state that a gateway's circuit is in.", []string{"tenant", "gateway", "state"}, nil)
	gatewayChanges = prometheus.NewDesc("justlogistics_gateway_circuit_changes_total", "How often a gateway's circuit went into a state.", []string{"tenant", "gateway", "state"}, nil)
	carrierCircuit = prometheus.NewDesc("justlogistics_carrier_circuit", "1 for the state that a carrier's circuit is in.", []string{"tenant", "carrier", "state"}, nil)
	carrierChanges = prometheus.NewDesc("justlogistics_carrier_circuit_changes_total", "How often a carrier's circuit went into a state.", []string{"tenant", "carrier", "state"}, nil)
)

// Describe implements prometheus.Collector.
func (m CircuitMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{gatewayCircuit, gatewayChanges, carrierCircuit, carrierChanges} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A database that is away leaves the
// figures out.
func (m CircuitMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	ofGateways, err := m.Gateways.Circuits(ctx)
	if err != nil {
		m.Logger.Warn("circuit metrics left out", "error", err)
		return
	}
	ofCarriers, err := m.Carriers.Circuits(ctx)
	if err != nil {
		m.Logger.Warn("circuit metrics of carriers left out", "error", err)
	}
	for _, c := range ofGateways {
		show(ch, gatewayCircuit, gatewayChanges, c.Tenant, string(c.Gateway), c.Standing)
	}
	for _, c := range ofCarriers {
		show(ch, carrierCircuit, carrierChanges, c.Tenant, c.Name, c.Standing)
	}
}

func show(ch chan<- prometheus.Metric, state, changes *prometheus.Desc, tenant, name string, c circuit.Standing) {
	ch <- prometheus.MustNewConstMetric(state, prometheus.GaugeValue, 1, tenant, name, string(c.State))
	for to, n := range map[circuit.State]int64{circuit.Open: c.Opened, circuit.HalfOpen: c.HalfOpened, circuit.Closed: c.Closed} {
		ch <- prometheus.MustNewConstMetric(changes, prometheus.CounterValue, float64(n), tenant, name, string(to))
	}
}
