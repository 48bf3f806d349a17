package sandbox

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (b *bundle) khipu(method, path, body string) answer {
	header := http.Header{}
	header.Set("x-api-key", "sandbox-key-demo")
	if body != "" {
		header.Set("Content-Type", "application/json")
	}
	return b.do(method, "/khipu/v3"+path, header, body)
}

// khipuBegin creates a payment of 12,990 pesos that lives an hour.
func (b *bundle) khipuBegin(reference string) string {
	b.t.Helper()
	got := b.khipu(http.MethodPost, "/payments", fmt.Sprintf(
		`{"amount":12990,"currency":"CLP","subject":"Pedido 1/2","transaction_id":%q,"return_url":"%[2]s/return?how=paid","cancel_url":"%[2]s/return?how=left","notify_url":"%[2]s/webhook","notify_api_version":"3.0","expires_date":%[3]q}`,
		reference, b.merchant.url, b.clock.Now().Add(time.Hour).Format(time.RFC3339)))
	require.Equal(b.t, 200, got.status, string(got.raw))
	return got.json["payment_id"].(string)
}

func (b *bundle) khipuPaid(reference string) string {
	b.t.Helper()
	id := b.khipuBegin(reference)
	require.Equal(b.t, 200, b.buyer(reference, "approve").status)
	require.Equal(b.t, "done", b.khipu(http.MethodGet, "/payments/"+id, "").json["status"])
	return id
}

func (b *bundle) khipuSettings(body string) {
	b.t.Helper()
	require.Equal(b.t, 200, b.own(http.MethodPut, "/config/khipu", body).status)
}

func khipuSample(t *testing.T, name string) map[string]any {
	t.Helper()
	var all map[string]map[string]any
	readJSON(t, "khipu_samples.json", &all)
	require.Contains(t, all, name)
	return all[name]
}

// requireKhipuError compares an error with a sample, but for the ids in its text.
func requireKhipuError(t *testing.T, name string, got answer) {
	t.Helper()
	want := khipuSample(t, name)
	require.Equal(t, want["status"], float64(got.status), string(got.raw))
	require.Equal(t, want["message"], got.json["message"])
	first := func(of map[string]any) map[string]any { return of["errors"].([]any)[0].(map[string]any) }
	require.Equal(t, first(want)["field"], first(got.json)["field"])
	tail := func(of map[string]any) string {
		text := first(of)["message"].(string)
		return text[strings.LastIndex(text, " no ")+1:]
	}
	require.Equal(t, tail(want), tail(got.json))
}

func TestKhipu_AnswersHaveTheDocumentedFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.khipuSettings(`{"verifying_ms":0,"refund_ms":1000}`)
	created := b.khipu(http.MethodPost, "/payments", `{"amount":1000,"currency":"CLP","subject":"Test","transaction_id":"PAY-1"}`)
	require.Equal(t, 200, created.status)
	requireLike(t, khipuSample(t, "create"), created.json)
	id := b.khipuPaid("PAY-2")
	read := b.khipu(http.MethodGet, "/payments/"+id, "").json
	for name := range khipuSample(t, "payment") {
		require.Contains(t, read, name)
	}
	require.Equal(t, "12990.0000", read["amount"], "text, as notifications have it")
	require.InDelta(t, khipuReceiver("demo"), read["receiver_id"], 0)
	refund := b.khipu(http.MethodPost, "/refunds", `{"type":"partial","payment_id":"`+id+`","amount":"205"}`)
	require.Equal(t, 200, refund.status)
	requireLike(t, khipuSample(t, "refund"), refund.json)
	require.Equal(t, "12785.0000", refund.json["remaining"])
}

func TestKhipu_RefusesWhatTheReferenceDoesNotAllow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, body := range map[string]string{
		"amount":            `{"currency":"CLP","subject":"s"}`,
		"amount as text":    `{"amount":"1000","currency":"CLP","subject":"s"}`,
		"decimals of pesos": `{"amount":10.5,"currency":"CLP","subject":"s"}`,
		"nothing":           `{"amount":0,"currency":"CLP","subject":"s"}`,
		"currency":          `{"amount":1000,"currency":"JPY","subject":"s"}`,
		"subject":           `{"amount":1000,"currency":"CLP"}`,
		"long subject":      `{"amount":1000,"currency":"CLP","subject":"` + strings.Repeat("x", 256) + `"}`,
		"an unknown field":  `{"amount":1000,"currency":"CLP","subject":"s","transactionId":"1"}`,
		"yesterday":         `{"amount":1000,"currency":"CLP","subject":"s","expires_date":"2020-01-01T00:00:00Z"}`,
		"old notifications": `{"amount":1000,"currency":"CLP","subject":"s","notify_url":"https://x.example","notify_api_version":"1.3"}`,
		"no web address":    `{"amount":1000,"currency":"CLP","subject":"s","return_url":"shop"}`,
		"not JSON":          `{`,
		"two values":        `{} {}`,
	} {
		require.Equal(t, 400, b.khipu(http.MethodPost, "/payments", body).status, name)
	}
	require.Equal(t, 200, b.khipu(http.MethodPost, "/payments", `{"amount":38123.4567,"currency":"CLF","subject":"s"}`).status)
	require.Equal(t, 401, b.do(http.MethodGet, "/khipu/v3/payments/abcdefghijkl", http.Header{"X-Api-Key": {"other"}}, "").status)
	require.Equal(t, 404, b.khipu(http.MethodGet, "/payments/abcdefghijkl", "").status)
	require.Equal(t, 404, b.khipu(http.MethodGet, "/nothing", "").status)
	id := b.khipuBegin("PAY-1")
	require.Equal(t, 404, b.do(http.MethodGet, "/khipu/v3/payments/"+id, http.Header{"X-Api-Key": {"sandbox-key-other"}}, "").status, "another account's")
}

func TestKhipu_ATransferIsVerifiedBeforeItIsMoneyAlsoAcrossARestart(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.NoSync = false })
	id := b.khipuBegin("PAY-1")
	back := b.buyer("PAY-1", "approve")
	require.Equal(t, "verifying", back.json["status"])
	require.Equal(t, "paid", b.merchant.lastReturn(t).fields.Get("how"))
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)
	require.Equal(t, 400, b.khipu(http.MethodDelete, "/payments/"+id, "").status)
	require.Empty(t, b.ledger("").Charges)
	require.Empty(t, b.merchant.received())

	// A copy of the file under a running sandbox is what kill -9 leaves behind.
	raw, err := os.ReadFile(filepath.Join(b.server.opts.Dir, stateFile))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, stateFile), raw, 0o600))
	again := setup(t, func(o *Options) { o.Dir = dir })
	require.Equal(t, "verifying", again.khipu(http.MethodGet, "/payments/"+id, "").json["status"])
	again.clock.advance(time.Minute)
	require.Eventually(t, func() bool { return again.khipu(http.MethodGet, "/payments/"+id, "").json["status"] == "done" }, 5*time.Second, 10*time.Millisecond)
	require.Len(t, again.ledger("").Charges, 1)
	require.EqualValues(t, 12990, again.ledger("").Charges[0].Amount)
	// The first one's merchant is whom the payment names.
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 1 }, 5*time.Second, 10*time.Millisecond)
}

func TestKhipu_NotifiesOnceItIsReconciledWithEscapedSlashesAndASignature(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile(filepath.Join("testdata", "khipu_notification.json"))
	require.NoError(t, err)
	require.Equal(t, "t=1711965600393,s=GYzpjnXlTKQ+BJY7pZJmrM6DZgWMSJdtOr/dleBKTdg=",
		signKhipu("1a4cbbbeb8bdb7e1d73572b9cc43ce4ce18f79d9", time.UnixMilli(1711965600393), example), "the documentation's example")

	b := setup(t)
	b.khipuSettings(`{"verifying_ms":0}`)
	id := b.khipuPaid("PAY-1")
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 1 }, 5*time.Second, 5*time.Millisecond)
	note := b.merchant.received()[0]
	require.Contains(t, string(note.body), `"receipt_url":"https:\/\/s3.amazonaws.com\/`)
	require.Contains(t, string(note.body), `"subject":"Pedido 1\/2"`)
	require.NotContains(t, strings.ReplaceAll(string(note.body), `\/`, ""), "/")
	require.Equal(t, signKhipu("sandbox-secret-demo", b.clock.Now(), note.body), note.header.Get("x-khipu-signature"))
	require.Equal(t, id, note.event["payment_id"])
	require.Equal(t, "PAY-1", note.event["transaction_id"])
	require.Equal(t, "12990.0000", note.event["amount"])
	var sample map[string]any
	readJSON(t, "khipu_notification.json", &sample)
	for name := range sample {
		require.IsType(t, sample[name], note.event[name], name)
	}
	require.Less(t, bytes.Index(note.body, []byte("payment_id")), bytes.Index(note.body, []byte("receiver_id")))
	require.Equal(t, 202, b.own(http.MethodPost, "/events/khipu/"+id+"/resend", "").status)
	require.Eventually(t, func() bool { return len(b.merchant.received()) == 2 }, 5*time.Second, 5*time.Millisecond)
}

func TestKhipu_TheBuyerWhoDoesNotPay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status := func(id string) [2]any {
		got := b.khipu(http.MethodGet, "/payments/"+id, "").json
		return [2]any{got["status"], got["status_detail"]}
	}
	failing := b.khipuBegin("PAY-1")
	require.False(t, b.buyer("PAY-1", "decline?decline_code=bank_error").json["returned"].(bool))
	require.Equal(t, [2]any{"pending", "pending"}, status(failing))
	require.Contains(t, string(b.own(http.MethodGet, "/buyer/PAY-1", "").raw), "DemoBank")
	require.Equal(t, 200, b.buyer("PAY-1", "abort").status)
	require.Equal(t, "left", b.merchant.lastReturn(t).fields.Get("how"))
	require.Equal(t, [2]any{"pending", "pending"}, status(failing), "the link stays payable")
	require.Equal(t, 200, b.buyer("PAY-1", "decline").status)
	require.Equal(t, [2]any{"done", "rejected-by-payer"}, status(failing))
	require.Equal(t, 409, b.buyer("PAY-1", "approve").status)

	late := b.khipuBegin("PAY-2")
	b.clock.advance(2 * time.Hour)
	require.Equal(t, 409, b.buyer("PAY-2", "approve").status)
	require.Equal(t, [2]any{"pending", "pending"}, status(late), "there is no status for it")
	require.Equal(t, 200, b.buyer("PAY-2", "timeout").status)

	deleted := b.khipuBegin("PAY-3")
	require.Equal(t, 200, b.khipu(http.MethodDelete, "/payments/"+deleted, "").status)
	require.Equal(t, [2]any{"deleted", "pending"}, status(deleted))
	require.Equal(t, 400, b.khipu(http.MethodDelete, "/payments/"+deleted, "").status)
	require.Equal(t, 409, b.buyer("PAY-3", "approve").status)
	require.Empty(t, b.ledger("").Charges)
	require.Empty(t, b.merchant.received(), "only a reconciliation is told")
}

func TestKhipu_RefundsUntilThePayoutAndThenFromTheWallet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.khipuSettings(`{"verifying_ms":0,"payout_seconds":3600}`)
	id := b.khipuPaid("PAY-1")
	detail := func() any { return b.khipu(http.MethodGet, "/payments/"+id, "").json["status_detail"] }
	require.Equal(t, "normal", detail())
	require.Equal(t, 200, b.khipu(http.MethodPost, "/payments/"+id+"/refunds", `{"amount":990}`).status)
	require.Equal(t, "partially-refunded", detail())
	requireKhipuError(t, "too much", b.khipu(http.MethodPost, "/payments/"+id+"/refunds", ``)) // the whole, of which some is gone
	b.clock.advance(2 * time.Hour)
	requireKhipuError(t, "not refundable", b.khipu(http.MethodPost, "/payments/"+id+"/refunds", `{"amount":1000}`))
	b.khipuSettings(`{"payout_seconds":3600,"refund_wallet":false}`)
	requireKhipuError(t, "no wallet", b.khipu(http.MethodPost, "/refunds", `{"type":"full","payment_id":"`+id+`"}`))
	b.khipuSettings(`{"payout_seconds":3600}`)
	require.Equal(t, "12000.0000", b.khipu(http.MethodPost, "/refunds", `{"type":"full","payment_id":"`+id+`"}`).json["refunded_amount"])
	require.Equal(t, "fully-refunded", detail())
	requireKhipuError(t, "not refundable", b.khipu(http.MethodPost, "/refunds", `{"type":"full","payment_id":"`+id+`"}`))
	books := b.ledger("")
	require.Equal(t, chargeRefunded, books.Charges[0].Status)
	require.Len(t, books.Refunds, 2)
}

func TestKhipu_ARefundTakesItsTimeOrExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.khipuSettings(`{"verifying_ms":0,"refund_ms":60000}`)
	id := b.khipuPaid("PAY-1")
	ask := func() {
		require.Equal(t, 200, b.khipu(http.MethodPost, "/payments/"+id+"/refunds", `{"amount":990}`).status)
	}
	statuses := func() (all []refundStatus) {
		for _, r := range b.ledger("").Refunds {
			all = append(all, r.Status)
		}
		return all
	}
	ask()
	require.Equal(t, []refundStatus{refundPending}, statuses())
	require.Equal(t, chargeCaptured, b.ledger("").Charges[0].Status)
	require.Equal(t, 200, b.own(http.MethodPost, "/ledger/refunds/"+id+"/fail", "").status)
	require.Equal(t, "normal", b.khipu(http.MethodGet, "/payments/"+id, "").json["status_detail"])
	ask()
	b.clock.advance(2 * time.Minute)
	require.Eventually(t, func() bool { return b.ledger("").Charges[0].Status == chargePartiallyRefunded }, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, []refundStatus{refundFailed, refundSucceeded}, statuses())
	require.Equal(t, 409, b.own(http.MethodPost, "/ledger/refunds/"+id+"/succeed", "").status, "there is none under way")

	hand := b.own(http.MethodPost, "/ledger/refunds", `{"payment_id":"PAY-1","gateway":"khipu","amount":2000}`)
	require.Equal(t, 201, hand.status)
	require.Equal(t, "2990.0000", b.khipu(http.MethodGet, "/payments/"+id, "").json["total_refunded"])
}

func TestKhipu_ADisputeIsOnlyEverLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.khipuSettings(`{"verifying_ms":0}`)
	id := b.khipuPaid("PAY-1")
	require.Equal(t, 409, b.own(http.MethodPost, "/disputes/PAY-1/open", "").status)
	require.Equal(t, 200, b.own(http.MethodPost, "/disputes/PAY-1/lost", "").status)
	require.Equal(t, 409, b.own(http.MethodPost, "/disputes/PAY-1/lost", "").status)
	require.Equal(t, "reversed", b.khipu(http.MethodGet, "/payments/"+id, "").json["status_detail"])
	require.Equal(t, chargeChargedBack, b.ledger("").Charges[0].Status)
	requireKhipuError(t, "not refundable", b.khipu(http.MethodPost, "/payments/"+id+"/refunds", `{"amount":990}`))
}
