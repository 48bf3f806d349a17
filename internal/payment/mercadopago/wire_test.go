package mercadopago

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
)

func read[T any](t *testing.T, name string) T {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".json")
	require.NoError(t, err)
	var v T
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}

func TestAnswer_OfThePublishedPayment(t *testing.T) {
	t.Parallel()
	a := read[charge](t, "payment").answer(payment.Attempt{Reference: "pref-1"})
	require.Equal(t, payment.OutcomeApproved, a.Outcome)
	require.True(t, a.Captured)
	require.True(t, a.LiveMode)
	require.Equal(t, "pref-1", a.Reference)
	require.Equal(t, "17014025134", a.CaptureRef)
	require.Equal(t, "810882223", a.Account)
	require.Equal(t, "301299", a.AuthorizationCode)
	require.Equal(t, "master", a.Method)
	require.Equal(t, money.Currency("BRL"), a.Currency)
	require.Positive(t, a.Amount)
	require.Len(t, a.CardLast4, 4)
	require.Equal(t, time.Date(2022, 1, 10, 10, 10, 10, 0, time.UTC), a.ApprovedAt)

	gone := read[charge](t, "payment_cancelled").answer(payment.Attempt{})
	require.Equal(t, payment.OutcomeDeclined, gone.Outcome)
	require.True(t, gone.Closed)
}

func TestDecoding_ReadsEveryPublishedSample(t *testing.T) {
	t.Parallel()
	found := read[page[charge]](t, "payments")
	require.Equal(t, 102, found.Paging.Total)
	require.NotEmpty(t, found.Results)
	for _, c := range found.Results {
		require.NotEmpty(t, c.ID)
		require.NotEmpty(t, c.account(), "a search names the receiver too")
		require.NotEqual(t, payment.OutcomeUnknown, c.answer(payment.Attempt{}).Outcome, c.Status)
	}
	short := read[page[charge]](t, "payments_short")
	require.Equal(t, payment.OutcomeUnknown, short.Results[0].answer(payment.Attempt{}).Outcome, "approved, and nobody says how much")
	require.Equal(t, payment.OutcomePending, short.Results[1].answer(payment.Attempt{}).Outcome)

	p := read[preference](t, "preference")
	require.Equal(t, identifier("1273205088"), p.CollectorID)
	require.Contains(t, p.InitPoint, p.ID)
	require.True(t, preferenceID.MatchString(p.ID))
	require.True(t, p.ExpiresAt.IsZero())

	refunds := read[[]refundOfMoney](t, "refunds")
	require.Equal(t, payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "1622029222", Amount: 150}, refunds[0].answer("BRL"))
	require.Equal(t, payment.OutcomeUnknown, refunds[0].answer(money.CLP).Outcome, "half a peso does not exist")
	require.Equal(t, payment.OutcomeApproved, read[refundOfMoney](t, "refund").outcome())
	require.NotPanics(t, func() { read[chargeback](t, "chargeback") })
}

func TestAnswer_EachStatusHasOneMeaning(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status, detail string
		outcome        payment.Outcome
		captured       bool
		closed         bool
		processing     bool
		code           string
		dispute        payment.DisputeStatus
	}{
		{status: "approved", detail: "accredited", outcome: payment.OutcomeApproved, captured: true},
		{status: "approved", detail: "partially_refunded", outcome: payment.OutcomeApproved, captured: true},
		{status: "authorized", detail: "pending_capture", outcome: payment.OutcomeApproved},
		{status: "refunded", detail: "refunded", outcome: payment.OutcomeApproved, captured: true},
		{status: "charged_back", detail: "in_process", outcome: payment.OutcomeApproved, captured: true, dispute: payment.DisputeOpen},
		{status: "charged_back", detail: "settled", outcome: payment.OutcomeApproved, captured: true, dispute: payment.DisputeLost},
		{status: "charged_back", detail: "reimbursed", outcome: payment.OutcomeApproved, captured: true, dispute: payment.DisputeWon},
		{status: "charged_back", detail: "something_new", outcome: payment.OutcomeApproved, captured: true, dispute: payment.DisputeOpen},
		{status: "in_mediation", detail: "pending", outcome: payment.OutcomeApproved, captured: true, dispute: payment.DisputeOpen},
		{status: "in_process", detail: "pending_contingency", outcome: payment.OutcomePending, processing: true},
		{status: "in_process", detail: "pending_review_manual", outcome: payment.OutcomePending, processing: true},
		{status: "pending", detail: "pending_challenge", outcome: payment.OutcomePending},
		{status: "pending", detail: "pending_waiting_payment", outcome: payment.OutcomePending},
		{status: "rejected", detail: "cc_rejected_insufficient_amount", outcome: payment.OutcomeDeclined, closed: true, code: "cc_rejected_insufficient_amount"},
		{status: "rejected", detail: "Ana Pérez no tiene fondos", outcome: payment.OutcomeDeclined, closed: true, code: "rejected"},
		{status: "cancelled", detail: "by_collector", outcome: payment.OutcomeDeclined, closed: true, code: "by_collector"},
		{status: "cancelled", detail: "expired", outcome: payment.OutcomeDeclined, closed: true, code: payment.CodeExpired},
		{status: "who_knows", outcome: payment.OutcomeUnknown, code: CodeUnreadable},
		{status: "", outcome: payment.OutcomeUnknown, code: CodeUnreadable},
	} {
		t.Run(c.status+" "+c.detail, func(t *testing.T) {
			t.Parallel()
			a := charge{ID: "7", Status: c.status, Detail: c.detail, Currency: "CLP", Amount: decimal{"29970"}}.answer(payment.Attempt{})
			require.Equal(t, c.outcome, a.Outcome)
			require.Equal(t, c.captured, a.Captured)
			require.Equal(t, c.closed, a.Closed)
			require.Equal(t, c.processing, a.Processing)
			require.Equal(t, c.code, a.Code)
			if c.dispute == "" {
				require.Nil(t, a.Dispute)
			} else {
				require.Equal(t, c.dispute, a.Dispute.Status)
			}
			if c.status == "refunded" {
				require.Equal(t, a.Amount, a.Refunded, "given back in full although the sum did not come")
			}
		})
	}
}

func TestDecimal_IsExactOrRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{`29970`: 29970, `29970.00`: 29970, `"29970"`: 29970, `2.997E4`: 29970, `1e6`: 1000000} {
		var d decimal
		require.NoError(t, json.Unmarshal([]byte(text), &d), text)
		got, ok := d.minor(money.CLP)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{`29970.5`, `null`, `""`, `999999999999999999e9`} {
		var d decimal
		require.NoError(t, json.Unmarshal([]byte(text), &d), text)
		_, ok := d.minor(money.CLP)
		require.False(t, ok, text)
	}
	for _, text := range []string{`-1`, `"1e999999999"`, `"1/3"`, `true`, `"0x10"`, `{}`} {
		var d decimal
		require.Error(t, json.Unmarshal([]byte(text), &d), text)
	}
	var d decimal
	require.NoError(t, json.Unmarshal([]byte(`953.5`), &d))
	require.EqualValues(t, 954, d.rounded(money.CLP))
	require.EqualValues(t, 95350, d.rounded(money.USD))
}

func TestPick_FindsTheRefundOfAnIntentAmongOthers(t *testing.T) {
	t.Parallel()
	refundID := id.New()
	made, err := id.Time(refundID)
	require.NoError(t, err)
	refund := func(number, amount, status string, after time.Duration) refundOfMoney {
		return refundOfMoney{ID: identifier(number), Amount: decimal{amount}, Status: status, Created: date{made.Add(after)}}
	}
	for name, c := range map[string]struct {
		all    []refundOfMoney
		before int64
		want   string
	}{
		"none":                        {},
		"the only one":                {all: []refundOfMoney{refund("1", "970", "approved", time.Second)}, want: "1"},
		"in process":                  {all: []refundOfMoney{refund("1", "970", "in_process", time.Second)}, want: "1"},
		"of another amount":           {all: []refundOfMoney{refund("1", "971", "approved", time.Second)}},
		"made before the intent":      {all: []refundOfMoney{refund("1", "970", "approved", -time.Hour)}},
		"the one before is known":     {all: []refundOfMoney{refund("1", "970", "approved", -time.Second)}, before: 970},
		"the second of equal amounts": {all: []refundOfMoney{refund("2", "970", "approved", time.Second), refund("1", "970", "approved", -time.Second)}, before: 970, want: "2"},
		"rejected":                    {all: []refundOfMoney{refund("1", "970", "rejected", time.Second)}, want: "1"},
		"rejected, then made": {all: []refundOfMoney{
			refund("1", "970", "rejected", time.Second), refund("2", "970", "approved", time.Minute)}, want: "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found := pick(c.all, payment.RefundIntent{RefundID: refundID, Amount: 970, Currency: money.CLP, RefundedBefore: c.before})
			require.Equal(t, c.want != "", found)
			require.Equal(t, c.want, string(got.ID))
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"payment", "payment_cancelled"} {
		raw, err := os.ReadFile("testdata/" + name + ".json")
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte(`{"id":"7","status":"approved","currency_id":"CLP","transaction_amount":"1e18","refunds":[{"amount":0.1}],"fee_details":[{"fee_payer":"collector","amount":9e99}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c charge
		if json.Unmarshal(raw, &c) != nil {
			return
		}
		a := c.answer(payment.Attempt{PaymentID: "p"})
		if a.Outcome == payment.OutcomeApproved {
			require.NotZero(t, c.Amount.text, "an approval says how much")
		}
		require.GreaterOrEqual(t, a.Amount, int64(0))
		require.LessOrEqual(t, len(a.Message), 900)
		_ = c.rank()
	})
}
