// Package bench measures the whole product as it runs on one machine: the
// processes that `justlogistics dev` starts, used over HTTP, beside bare
// workflows on the same Temporal in the same run. Figures of one run are to be
// compared with each other, not with those of another machine.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"justlogistics/internal/devfolder"
)

// stack is a private `justlogistics dev`.
type stack struct {
	info devfolder.Info
	http *http.Client
	stop func()
}

var shared struct {
	once  sync.Once
	stack *stack
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.stack != nil {
		shared.stack.stop()
	}
	os.Exit(code)
}

// start runs one dev for all benchmarks of the binary.
func start(b *testing.B) *stack {
	b.Helper()
	shared.once.Do(func() { shared.stack, shared.err = run() })
	require.NoError(b, shared.err)
	return shared.stack
}

func run() (*stack, error) {
	program, err := filepath.Abs("../../bin/justlogistics")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("build first (make build): %w", err)
	}
	dir, err := os.MkdirTemp("", "justlogistics-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"dev", "--data-dir", dir}
	for _, flag := range []string{"--api-port", "--temporal-port", "--temporal-ui-port", "--sandbox-port"} {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		args = append(args, flag, strconv.Itoa(port))
	}
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s := &stack{http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 200},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	s.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		_ = os.RemoveAll(dir)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		raw, err := os.ReadFile(filepath.Join(dir, "dev.json"))
		if err == nil {
			return s, json.Unmarshal(raw, &s.info)
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("dev ended: %w\n%s", err, out.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, errors.New("dev did not come up:\n" + out.String())
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// call sends JSON, or nothing, and decodes the answer into out. A status of 300 or more is an error
// that says what was answered.
func (s *stack) call(method, url string, body, out any) (int, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(raw))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.info.APIKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s answered %d: %.300s", method, req.URL.Path, res.StatusCode, answer)
	}
	if err != nil || out == nil {
		return res.StatusCode, err
	}
	return res.StatusCode, json.Unmarshal(answer, out)
}

// stocked makes a catalogue with plenty of everything.
func (s *stack) stocked(b *testing.B, skus int) []string {
	b.Helper()
	var names []string
	for i := range skus {
		sku := fmt.Sprintf("BENCH-%02d", i)
		_, err := s.call("PUT", s.info.APIURL+"/v1/products/"+sku, map[string]any{"name": sku, "weight_grams": 200, "prices": []any{map[string]any{"currency": "CLP", "amount": 9990}}}, nil)
		require.NoError(b, err)
		_, err = s.call("PUT", s.info.APIURL+"/v1/stock/"+sku, map[string]any{"warehouse": "SCL-1", "on_hand": 1_000_000}, nil)
		require.NoError(b, err)
		names = append(names, sku)
	}
	return names
}

type checkout struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Payment struct {
		ID string `json:"id"`
	} `json:"payment"`
}

// checkout has its stock held and can be paid when it returns.
func (s *stack) checkout(sku string, n int64) (checkout, error) {
	c, status, err := s.submit(sku, n)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("POST /v1/checkouts answered %d", status)
	}
	return c, err
}

// submit is checkout with the answer 202 allowed: it can be paid later.
func (s *stack) submit(sku string, n int64) (c checkout, status int, err error) {
	status, err = s.call("POST", s.info.APIURL+"/v1/checkouts", map[string]any{
		"items": []any{map[string]any{"sku": sku, "quantity": 1}}, "currency": "CLP", "customer": map[string]any{"name": "Rosa Soto", "email": fmt.Sprintf("bench%d@example.cl", n)},
		"shipping": map[string]any{"street": "Av. Providencia", "number": "1", "comuna": "Providencia", "region": "RM", "country": "CL", "service": "standard"},
		"payment":  map[string]any{"gateway": "transbank", "return_url": "https://shop.example/thanks"},
	}, &c)
	return c, status, err
}

// approve plays the buyer to the end: the sandbox charges, the browser comes
// back, the order is paid.
func (s *stack) approve(c checkout) error {
	status, err := s.call("POST", s.info.SandboxURL+"/buyer/"+c.Payment.ID+"/approve", nil, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the buyer's approval answered %d", status)
	}
	return err
}

// BenchmarkPaidOrders_BesideBareWorkflows has 50 clients pay orders as fast as
// they can, and 50 clients run empty workflows on the same Temporal, in turns,
// so that a machine whose speed drifts is the same for both; it reports both
// and their ratio. It goes first: checkouts that nobody pays are asked about
// for a quarter of an hour.
func BenchmarkPaidOrders_BesideBareWorkflows(b *testing.B) {
	s := start(b)
	skus := s.stocked(b, 20)
	bare := s.bare(b)
	for b.Loop() {
		const clients, rounds, span = 50, 4, 8 * time.Second
		var paid, empty float64
		for range rounds {
			paid += saturate(b, clients, span, func(n int64) error { return s.pay(skus[n%int64(len(skus))], n) }) / rounds
			empty += saturate(b, clients, span, bare) / rounds
		}
		b.ReportMetric(paid, "paid/s")
		b.ReportMetric(empty, "bare/s")
		b.ReportMetric(paid/empty, "ratio")
	}
}

// pay takes an order from its checkout to paid.
func (s *stack) pay(sku string, n int64) error {
	c, err := s.checkout(sku, n)
	if err != nil {
		return err
	}
	if err := s.approve(c); err != nil {
		return err
	}
	var after checkout
	if _, err := s.call("GET", s.info.APIURL+"/v1/checkouts/"+c.ID, nil, &after); err != nil {
		return err
	}
	if after.Status != "paid" {
		return fmt.Errorf("checkout %s is %s after its approval", c.ID, after.Status)
	}
	return nil
}

// BenchmarkCheckout_AnswerAtTenPerSecond sends POST /v1/checkouts ten times a
// second, whatever the answers take, and reports how long they took.
func BenchmarkCheckout_AnswerAtTenPerSecond(b *testing.B) {
	s := start(b)
	skus := s.stocked(b, 20)
	const requests = 300
	for b.Loop() {
		took := make([]time.Duration, requests)
		failed := make([]error, requests)
		var wg sync.WaitGroup
		tick := time.NewTicker(100 * time.Millisecond)
		for i := range requests {
			<-tick.C
			wg.Go(func() {
				began := time.Now()
				_, failed[i] = s.checkout(skus[i%len(skus)], int64(i))
				took[i] = time.Since(began)
			})
		}
		wg.Wait()
		tick.Stop()
		require.NoError(b, errors.Join(failed...))
		slices.Sort(took)
		b.ReportMetric(float64(took[requests/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[requests*99/100].Microseconds())/1000, "p99-ms")
	}
}

// temporal connects as the product does, and says only what is wrong.
func (s *stack) temporal(b *testing.B) client.Client {
	b.Helper()
	c, err := client.Dial(client.Options{HostPort: s.info.TemporalAddress, Namespace: s.info.TemporalNamespace, ConnectionOptions: client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}},
		Logger: log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))})
	require.NoError(b, err)
	b.Cleanup(c.Close)
	return c
}

// bare runs a worker with an empty workflow and returns what runs one.
func (s *stack) bare(b *testing.B) func(n int64) error {
	b.Helper()
	c := s.temporal(b)
	w := worker.New(c, "bench-bare", worker.Options{MaxConcurrentWorkflowTaskPollers: 16})
	w.RegisterWorkflowWithOptions(func(workflow.Context) error { return nil }, workflow.RegisterOptions{Name: "Bare"})
	require.NoError(b, w.Start())
	b.Cleanup(w.Stop)
	return func(int64) error {
		run, err := c.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{TaskQueue: "bench-bare"}, "Bare")
		if err != nil {
			return err
		}
		return run.Get(context.Background(), nil)
	}
}

// saturate has clients do a thing over and over and returns how often per
// second it was done.
func saturate(b *testing.B, clients int, span time.Duration, do func(n int64) error) float64 {
	b.Helper()
	var n, done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for time.Since(began) < span {
				if err := do(n.Add(1)); err != nil {
					errs <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(b, err)
	}
	return float64(done.Load()) / time.Since(began).Seconds()
}
