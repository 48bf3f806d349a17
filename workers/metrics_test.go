package workers_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/carriers"
	"justlogistics/internal/gateways"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/pgserver/pgtest"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/shoptest"
	"justlogistics/workers"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestCircuitMetrics_ShowWhatAllProcessesShare(t *testing.T) {
	t.Parallel()
	s := shoptest.New(t)
	s.Exec(t, `INSERT INTO gateway_circuits (tenant, gateway, state, opened_at, probe_after, times_opened, times_half_opened, times_closed)
	  VALUES ('acme', 'flow', 'open', now(), now() + interval '1 minute', 3, 2, 1), ('acme', 'khipu', 'closed', NULL, NULL, 0, 0, 0),
	         ('acme', 'starken', 'open', now(), now() + interval '1 minute', 4, 3, 3)`)
	r := gateways.New(nil, gateways.Options{Client: httpclient.New(httpclient.Options{}), DB: s.DB})
	t.Cleanup(r.Close)
	keys, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	couriers := carriers.New(s.DB, keys)
	t.Cleanup(couriers.Close)
	registry := prometheus.NewRegistry()
	registry.MustRegister(workers.CircuitMetrics{Gateways: r, Carriers: couriers, Logger: slog.New(slog.DiscardHandler)})
	gathered := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		require.NoError(t, err)
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return out
	}
	require.Equal(t, map[string]float64{
		"justlogistics_gateway_circuit flow open acme": 1, "justlogistics_gateway_circuit khipu closed acme": 1,
		"justlogistics_gateway_circuit_changes_total flow open acme": 3, "justlogistics_gateway_circuit_changes_total flow half_open acme": 2, "justlogistics_gateway_circuit_changes_total flow closed acme": 1,
		"justlogistics_gateway_circuit_changes_total khipu open acme": 0, "justlogistics_gateway_circuit_changes_total khipu half_open acme": 0, "justlogistics_gateway_circuit_changes_total khipu closed acme": 0,
		"justlogistics_carrier_circuit starken open acme":               1,
		"justlogistics_carrier_circuit_changes_total starken open acme": 4, "justlogistics_carrier_circuit_changes_total starken half_open acme": 3, "justlogistics_carrier_circuit_changes_total starken closed acme": 3,
	}, gathered())
	s.DB.Close()
	began := time.Now()
	require.Empty(t, gathered(), "a database that is away leaves them out")
	require.Less(t, time.Since(began), 5*time.Second)
}
