package stripe_test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/payment/stripe"
)

// startMock builds Stripe's own mock server from the tools module that pins it and
// runs it for this test. It keeps no state: it checks every request against
// Stripe's OpenAPI description and answers with fixtures.
func startMock(t *testing.T) string {
	t.Helper()
	module, err := filepath.Abs(filepath.Join("..", "..", "..", "tools"))
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), "stripe-mock")
	build := exec.Command("go", "build", "-C", module, "-o", binary, "github.com/stripe/stripe-mock")
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "build stripe-mock: %s", out)

	mock := exec.Command(binary, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
	stdout, err := mock.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, mock.Start())
	t.Cleanup(func() {
		_ = mock.Process.Kill() // by its own pid
		_ = mock.Wait()
	})
	address := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if _, at, found := strings.Cut(lines.Text(), "Listening for HTTP at address: "); found {
				address <- at
			}
		}
	}()
	select {
	case at := <-address:
		_, _, err := net.SplitHostPort(at)
		require.NoError(t, err)
		return "http://" + at
	case <-time.After(time.Minute):
		require.FailNow(t, "stripe-mock did not start")
		return ""
	}
}

func TestGateway_EveryRequestFitsStripesOwnDescription(t *testing.T) {
	t.Parallel()
	address := startMock(t)
	refused := make(chan string, 32)
	client := httpclient.New(httpclient.Options{})
	next := client.Transport
	client.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode >= 400 {
			refused <- req.Method + " " + req.URL.Path + ": " + resp.Status
		}
		return resp, err
	})
	g, err := stripe.New(stripe.Config{BaseURL: address, SecretKey: "sk_test_123", WebhookSecret: webhookSecret}, client)
	require.NoError(t, err)

	a, err := g.Begin(t.Context(), intent(), payment.Untried)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomePending, a.Outcome)
	require.NotEmpty(t, a.Reference)

	at := payment.Attempt{PaymentID: id.New(), Reference: a.Reference, CaptureRef: "pi_123", Amount: 1000, Currency: money.CLP}
	authorized := payment.Asked(payment.Answer{Outcome: payment.OutcomeApproved, Amount: 1000, CaptureRef: "pi_123"})
	_, err = g.Lookup(t.Context(), at)
	require.NoError(t, err)
	_, err = g.Close(t.Context(), at, payment.Untried)
	require.NoError(t, err)
	_, err = g.Capture(t.Context(), at, 1000, authorized)
	require.NoError(t, err)
	_, err = g.Cancel(t.Context(), at, authorized)
	require.NoError(t, err)
	refund := payment.RefundIntent{RefundID: id.New(), Attempt: at, Amount: 100, Currency: money.CLP, Reason: "late_payment"}
	made, err := g.Refund(t.Context(), refund, payment.UntriedRefund)
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeApproved, made.Outcome)
	_, err = g.LookupRefund(t.Context(), refund)
	require.NoError(t, err)
	refund.Reference = made.Reference
	_, err = g.LookupRefund(t.Context(), refund)
	require.NoError(t, err)
	for _, cursor := range []string{"", "refunds/"} {
		_, err = g.Transactions(t.Context(), payment.StatementQuery{From: time.Now().Add(-time.Hour), To: time.Now(), Cursor: cursor})
		require.NoError(t, err)
	}
	close(refused)
	for line := range refused {
		require.Fail(t, "stripe-mock refused a request", line)
	}

	// The proof that a wrong name would have been noticed.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/v1/refunds", strings.NewReader("payment_intents=pi_123"))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer sk_test_123")
	resp, err := httpclient.New(httpclient.Options{}).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }
