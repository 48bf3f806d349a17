package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bundle is a sandbox with a merchant beside it, and a clock that the test
// moves.
type bundle struct {
	t        *testing.T
	server   *Server
	url      string
	clock    *testClock
	merchant *merchant
}

type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// merchant records the browser's returns and the notifications.
type merchant struct {
	url string

	mu      sync.Mutex
	returns []returned
	news    []received
	refuse  int // notifications still answered 500
}

type returned struct {
	method string
	fields url.Values
}

type received struct {
	header http.Header
	body   []byte
	event  map[string]any
}

func newMerchant(t *testing.T) *merchant {
	m := &merchant{}
	mux := http.NewServeMux()
	mux.HandleFunc("/return", func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		m.mu.Lock()
		m.returns = append(m.returns, returned{r.Method, r.Form})
		m.mu.Unlock()
		w.Header().Set("Location", "https://shop.example/thanks")
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("POST /webhook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		event := map[string]any{}
		if err != nil || json.Unmarshal(body, &event) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.news = append(m.news, received{r.Header.Clone(), body, event})
		if m.refuse > 0 {
			m.refuse--
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

func (m *merchant) lastReturn(t *testing.T) returned {
	m.mu.Lock()
	defer m.mu.Unlock()
	require.NotEmpty(t, m.returns)
	return m.returns[len(m.returns)-1]
}

func (m *merchant) received() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]received(nil), m.news...)
}

func setup(t *testing.T, change ...func(*Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, merchant: newMerchant(t), clock: &testClock{now: time.Now().UTC().Truncate(time.Second)}}
	opts := Options{Dir: t.TempDir(), Clock: b.clock.Now, NoSync: true, WebhookBackoff: 5 * time.Millisecond, StripeWebhookURL: b.merchant.url + "/webhook"}
	for _, fn := range change {
		fn(&opts)
	}
	b.open(opts)
	return b
}

func (b *bundle) open(opts Options) {
	server, err := Open(opts)
	require.NoError(b.t, err)
	web := httptest.NewServer(server.Handler())
	b.server, b.url = server, web.URL
	b.t.Cleanup(func() {
		server.stop() // cuts held answers, which Close of the listener waits for
		web.Close()
		require.NoError(b.t, server.Close())
	})
}

// answer is a response read whole; status 0 when the connection was cut.
type answer struct {
	status int
	header http.Header
	raw    []byte
	json   map[string]any
	err    error
}

// do is safe to use from goroutines: what went wrong is in the answer.
func (b *bundle) do(method, path string, header http.Header, body string) answer {
	request, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for name, values := range header {
		request.Header[name] = values
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	out := answer{status: response.StatusCode, header: response.Header, raw: raw, err: err}
	if json.Unmarshal(raw, &out.json) != nil {
		out.json = nil
	}
	return out
}

func (b *bundle) own(method, path, body string) answer {
	b.t.Helper()
	got := b.do(method, path, http.Header{"Content-Type": {"application/json"}}, body)
	require.NoError(b.t, got.err)
	return got
}

func (b *bundle) buyer(id, step string) answer {
	b.t.Helper()
	return b.own(http.MethodPost, "/buyer/"+url.PathEscape(strings.SplitN(id, "?", 2)[0])+"/"+step, "")
}

func (b *bundle) faults(provider, body string) {
	b.t.Helper()
	got := b.own(http.MethodPut, "/faults/"+provider, body)
	require.Equal(b.t, 200, got.status, string(got.raw))
}

type ledger struct {
	Charges []ledgerCharge `json:"charges"`
	Refunds []ledgerRefund `json:"refunds"`
}

func (b *bundle) ledger(query string) ledger {
	b.t.Helper()
	got := b.own(http.MethodGet, "/ledger"+query, "")
	require.Equal(b.t, 200, got.status)
	var out ledger
	require.NoError(b.t, json.Unmarshal(got.raw, &out))
	return out
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, v))
}

func TestRun_ServesUntilItsContextEndsAndNamesATakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, Run(t.Context(), taken.Addr().String(), Options{NoSync: true}), taken.Addr().String())
	addr := taken.Addr().String()
	require.NoError(t, taken.Close())

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, addr, Options{NoSync: true}) }()
	require.Eventually(t, func() bool {
		response, err := http.Get("http://" + addr + "/healthz")
		return err == nil && response.Body.Close() == nil && response.StatusCode == 200
	}, 5*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

func TestState_OpenTwiceIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := Open(Options{Dir: b.server.opts.Dir})
	require.ErrorContains(t, err, "another process has it open")
}

// A copy of the file under a running sandbox is what kill -9 leaves behind.
func TestState_SurvivesAnUncleanEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.NoSync = false })
	token := b.webpayCreate("PAY-1", 12990)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status)
	require.Equal(t, 200, b.webpay(http.MethodPut, "/transactions/"+token, "").status)
	b.faults("transbank", `{"latency_ms":1,"next":[{"op":"refund","kind":"refuse","count":2}]}`)
	require.Equal(t, 422, b.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":12990}`).status)
	session := b.stripePost("/v1/checkout/sessions", sessionForm("PAY-2", 5000), "key-1").json["id"].(string)

	raw, err := os.ReadFile(filepath.Join(b.server.opts.Dir, stateFile))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, stateFile), raw, 0o600))
	again := setup(t, func(o *Options) { o.Dir = dir })

	require.Equal(t, "AUTHORIZED", again.webpay(http.MethodGet, "/transactions/"+token, "").json["status"])
	require.Equal(t, 422, again.webpay(http.MethodPut, "/transactions/"+token, "").status, "the commit is remembered")
	require.Equal(t, 422, again.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":12990}`).status, "one refusal was left")
	require.Equal(t, 200, again.webpay(http.MethodPost, "/transactions/"+token+"/refunds", `{"amount":12990}`).status)
	replay := again.stripePost("/v1/checkout/sessions", sessionForm("PAY-2", 5000), "key-1")
	require.Equal(t, session, replay.json["id"])
	require.Equal(t, "true", replay.header.Get("Idempotent-Replayed"))
	require.Len(t, again.ledger("").Charges, 1)
}

func TestFaults_NextHitsItsOperationAndIsUsedUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	b.faults("transbank", `{"next":[
		{"op":"commit","kind":"error_500"},{"op":"commit","kind":"error_503"},{"op":"commit","kind":"rate_limited"},
		{"op":"commit","kind":"refuse","message":"Transaction not allowed"},{"op":"commit","kind":"cut_before"}]}`)
	for _, status := range []int{500, 503, 429} {
		require.Equal(t, 200, b.webpay(http.MethodGet, "/transactions/"+token, "").status)
		require.Equal(t, status, b.webpay(http.MethodPut, "/transactions/"+token, "").status)
	}
	refused := b.webpay(http.MethodPut, "/transactions/"+token, "")
	require.Equal(t, 422, refused.status)
	require.Equal(t, "Transaction not allowed", refused.json["error_message"])
	require.Error(t, b.webpay(http.MethodPut, "/transactions/"+token, "").err)
	require.Empty(t, b.ledger("").Charges, "none of these acted")
	require.Equal(t, 200, b.webpay(http.MethodPut, "/transactions/"+token, "").status)

	state := b.own(http.MethodGet, "/faults/transbank", "").json
	require.Empty(t, state["next"])
	require.Equal(t, float64(1), state["fired"].(map[string]any)["error_503"])
	require.Equal(t, map[string]any{"create": 1.0, "status": 3.0, "commit": 6.0}, state["calls"])
}

func TestFaults_TheEffectIsThereAlthoughTheAnswerIsNot(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"cut_after", "timeout_after_effect"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(o *Options) { o.AnswerLimit = 20 * time.Millisecond })
			token := b.webpayCreate("PAY-1", 12990)
			b.buyer("PAY-1", "approve")
			b.faults("transbank", `{"next":[{"op":"commit","kind":"`+kind+`"}]}`)
			require.Error(t, b.webpay(http.MethodPut, "/transactions/"+token, "").err)
			require.Len(t, b.ledger("").Charges, 1)
			require.Equal(t, "AUTHORIZED", b.webpay(http.MethodGet, "/transactions/"+token, "").json["status"])
		})
	}
}

func TestFaults_HeldAnswerWaitsForItsRelease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	b.faults("transbank", `{"next":[{"op":"commit","kind":"hold_answer"}]}`)
	none := b.own(http.MethodGet, "/faults/transbank/held?timeout_ms=1", "").json
	require.Equal(t, map[string]any{"held": 0.0, "reached": false}, none)

	answered := make(chan answer, 1)
	go func() { answered <- b.webpay(http.MethodPut, "/transactions/"+token, "") }()
	held := b.own(http.MethodGet, "/faults/transbank/held?min=1", "").json
	require.Equal(t, map[string]any{"held": 1.0, "reached": true}, held)
	require.Len(t, b.ledger("").Charges, 1, "it acted")
	select {
	case <-answered:
		t.Fatal("answered before the release")
	default:
	}
	require.Equal(t, 1.0, b.own(http.MethodPost, "/faults/transbank/release", "").json["released"])
	got := <-answered
	require.Equal(t, 200, got.status)
	require.Equal(t, "AUTHORIZED", got.json["status"])
}

func TestFaults_HeldAnswerOfACallerThatDiedIsForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.webpayCreate("PAY-1", 12990)
	b.buyer("PAY-1", "approve")
	b.faults("transbank", `{"next":[{"op":"commit","kind":"hold_answer"}]}`)
	ctx, kill := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, b.url+webpayPath+"/transactions/"+token, nil)
	require.NoError(t, err)
	request.Header = webpayHeader()
	ended := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		ended <- err
	}()
	require.Equal(t, true, b.own(http.MethodGet, "/faults/transbank/held", "").json["reached"])
	kill()
	require.Error(t, <-ended)
	require.Eventually(t, func() bool {
		state, _ := b.server.faults[transbankName].state()
		return state.Held == 0 && state.HeldEver == 1
	}, 5*time.Second, time.Millisecond)
	require.Len(t, b.ledger("").Charges, 1)
}

func TestFaults_OutageCutsOrAnswers503AndASeedRepeatsItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.faults("stripe", `{"outage":true}`)
	require.Error(t, b.stripeGet("/v1/account").err)
	b.faults("stripe", `{"outage":true,"outage_mode":"503"}`)
	require.Equal(t, 503, b.stripeGet("/v1/account").status)
	require.Equal(t, 204, b.own(http.MethodDelete, "/faults/stripe", "").status)
	require.Equal(t, 200, b.stripeGet("/v1/account").status)

	run := func() (statuses []int) {
		b.faults("stripe", `{"error_rate":0.5,"seed":7}`)
		for range 12 {
			statuses = append(statuses, b.stripeGet("/v1/account").status)
		}
		return statuses
	}
	first := run()
	require.Contains(t, first, 200)
	require.Contains(t, first, 500)
	require.Equal(t, first, run())
}

func TestFaults_AMistakeInThemIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, body := range []string{`{"latncy_ms":1}`, `{"error_rate":2}`, `{"outage":"yes"}`, `{"latency_ms":-1}`, `{"outage_mode":"x"}`, `{"next":[{"kind":"x"}]}`, `{`, `{} {}`} {
		require.Equal(t, 400, b.own(http.MethodPut, "/faults/stripe", body).status, body)
	}
	require.Equal(t, 404, b.own(http.MethodPut, "/faults/paypal", `{}`).status)
	require.Equal(t, 400, b.own(http.MethodGet, "/faults/stripe/held?min=x", ``).status)
}

func TestBuyer_UnknownPaymentIs404AndUnknownStepToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 404, b.buyer("nothing", "approve").status)
	require.Equal(t, 404, b.own(http.MethodGet, "/buyer/nothing", "").status)
	require.Equal(t, 404, b.buyer("nothing", "return").status)
	b.webpayCreate("PAY-1", 12990)
	require.Equal(t, 404, b.buyer("PAY-1", "dance").status)
	require.Equal(t, 400, b.buyer("PAY-1", "approve?card=gold").status)
	require.Equal(t, 400, b.buyer("PAY-1", "approve?amount=-3").status)
	require.Equal(t, 409, b.buyer("PAY-1", "return").status, "nobody has come back yet")
}

func TestBuyer_AReturnThatCannotBeDeliveredIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	created := b.webpay(http.MethodPost, "/transactions", `{"buy_order":"PAY-1","session_id":"s","amount":1000,"return_url":"http://`+gone.Addr().String()+`/return"}`)
	require.Equal(t, 200, created.status)
	got := b.buyer("PAY-1", "approve")
	require.Equal(t, 200, got.status)
	require.Equal(t, "approved", got.json["status"])
	require.NotEmpty(t, got.json["return_error"])
}

func TestBuyer_OfTwoPaymentsWithOneIdTheOpenOneIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.webpayCreate("PAY-1", 1000)
	second := b.webpayCreate("PAY-1", 2000)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status, "the newest")
	require.Equal(t, 422, b.webpay(http.MethodPut, "/transactions/"+first, "").status)
	require.Equal(t, 200, b.webpay(http.MethodPut, "/transactions/"+second, "").status)
	require.Equal(t, 200, b.buyer("PAY-1", "approve").status, "then the other")
	require.Equal(t, 200, b.webpay(http.MethodPut, "/transactions/"+first, "").status)
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)
	require.Len(t, b.ledger("").Charges, 2)
}

func TestLedger_TakesEntriesMadeByHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 201, b.own(http.MethodPost, "/ledger/charges", `{"payment_id":"GHOST","gateway":"stripe","amount":700}`).status)
	require.Equal(t, 400, b.own(http.MethodPost, "/ledger/charges", `{"payment_id":"GHOST","gateway":"paypal","amount":700}`).status)
	require.Equal(t, 400, b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"GHOST","gateway":"stripe"}`).status)
	require.Equal(t, 201, b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"GHOST","gateway":"stripe","amount":300,"currency":"clp"}`).status)
	all := b.ledger("")
	require.Len(t, all.Charges, 1)
	require.True(t, all.Charges[0].HandMade)
	require.Equal(t, chargeCaptured, all.Charges[0].Status)
	require.Equal(t, "CLP", all.Refunds[0].Currency)
	require.Empty(t, b.ledger("?gateway=transbank").Charges)
	require.Empty(t, b.ledger("?since="+url.QueryEscape(b.clock.Now().Add(time.Hour).Format(time.RFC3339))).Charges)
	require.Equal(t, 400, b.own(http.MethodGet, "/ledger?since=yesterday", "").status)
}

func TestPage_SpeaksSpanishAndShowsPesos(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webpayCreate("A/B?1", 1234567)
	b.stripePost("/v1/checkout/sessions", sessionForm("PAY-2", 12990), "")
	webpay := b.own(http.MethodGet, "/buyer/"+url.PathEscape("A/B?1"), "")
	require.Equal(t, 200, webpay.status)
	for _, text := range []string{"Webpay", "$1.234.567", "Pagar", "Rechazar", "Anular", "Dejar vencer", `action="/buyer/A%2FB%3F1/approve"`} {
		require.Contains(t, string(webpay.raw), text)
	}
	stripe := string(b.own(http.MethodGet, "/buyer/PAY-2", "").raw)
	require.Contains(t, stripe, "Stripe")
	require.Contains(t, stripe, "$12.990")
	require.Equal(t, "US$1.234,05", showAmount(123405, "USD"))
}

func TestHandler_BodyOverOneMegabyteIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.do(http.MethodPost, webpayPath+"/transactions", webpayHeader(), string(bytes.Repeat([]byte("x"), bodyLimit+1)))
	require.Equal(t, 413, got.status)
}
