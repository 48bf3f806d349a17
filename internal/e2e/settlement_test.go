package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// settlementOf is the file that the sandbox's Transbank has of a day.
func settlementOf(t *testing.T, s *stacktest.Shop, date string) string {
	t.Helper()
	res, err := http.Get(s.Sandbox.URL + "/settlements/transbank?date=" + date)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	require.Equal(t, 200, res.StatusCode)
	file, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(file)
}

func sendSettlement(t *testing.T, s *stacktest.Shop, date, file string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIURL+"/v1/settlements/transbank?date="+date, strings.NewReader(file))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+s.Keys[tenant.Support])
	req.Header.Set("Content-Type", "text/csv")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(raw)
}

func TestSettlement_TransbanksFileAgreesWithTheDayAndTellsItsFees(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	c := paid(t, s, "transbank")
	r := s.Refund(c.ID, map[string]any{"shipping_amount": 3990})
	s.AwaitRefund(r.ID, "succeeded")
	paid(t, s, "transbank")
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	date := time.Now().In(zone).Format(time.DateOnly)
	file := settlementOf(t, s, date)
	status, body := sendSettlement(t, s, date, file)
	require.Equal(t, 202, status, body)

	type day struct {
		Gateways []struct {
			Status string         `json:"status"`
			Source *string        `json:"source"`
			Counts map[string]int `json:"counts"`
			Totals []struct {
				TheirsRefunded int64 `json:"theirs_refunded"`
				Fees           int64 `json:"fees"`
				Difference     int64 `json:"difference"`
			} `json:"totals"`
		} `json:"gateways"`
	}
	read := func() (d day) {
		s.Eventually(func() (string, bool) {
			a := s.Call(tenant.Support, "GET", "/v1/reports/reconciliation?gateway=transbank&date="+date, nil)
			d = stacktest.Decode[day](t, a)
			return string(a.Body), len(d.Gateways) == 1 && d.Gateways[0].Status == "done"
		})
		return d
	}
	d := read().Gateways[0]
	require.Equal(t, "file", *d.Source)
	require.Equal(t, 3, d.Counts["matched"], d.Counts)
	require.Zero(t, d.Counts["raised"]+d.Counts["repaired"]+d.Counts["explained"], d.Counts)
	require.EqualValues(t, 3990, d.Totals[0].TheirsRefunded)
	require.Positive(t, d.Totals[0].Fees)
	require.Zero(t, d.Totals[0].Difference)
	require.Positive(t, readFee(t, s, c.Payment.ID))

	// A sale that we know nothing of stands only in the file.
	status, body = sendSettlement(t, s, date, file+date+",597055555532,venta-de-otra-caja,77,charge,5000,CLP,60,otra-caja-1\n")
	require.Equal(t, 202, status, body)
	d = read().Gateways[0]
	require.Equal(t, 1, d.Counts["missing_here"], d.Counts)
	require.Equal(t, 1, d.Counts["raised"], d.Counts)
	stuck := s.Stuck()
	require.Len(t, stuck, 1)
	a := s.Call(tenant.Support, "POST", "/v1/reports/reconciliation/items/"+stuck[0].Subject+"/resolve", map[string]any{"reason": "the till in the shop", "actor": "ana"})
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Empty(t, s.Stuck())
}

func readFee(t *testing.T, s *stacktest.Shop, paymentID string) int64 {
	t.Helper()
	a := s.Call(tenant.Support, "GET", "/v1/transactions?kind=payment&status=partially_refunded", nil)
	list := stacktest.Decode[struct {
		Data []struct {
			ID  string `json:"id"`
			Fee int64  `json:"fee"`
		} `json:"data"`
	}](t, a)
	for _, x := range list.Data {
		if x.ID == paymentID {
			return x.Fee
		}
	}
	require.Fail(t, "the payment is not in the list", "%s", a.Body)
	return 0
}

func TestReconciliation_IsScheduledForEveryMorning(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Eventually(func() (string, bool) {
		d, err := s.Temporal.ScheduleClient().GetHandle(t.Context(), "reconcile-all").Describe(t.Context())
		if err != nil {
			return err.Error(), false
		}
		require.Len(t, d.Info.NextActionTimes, 10)
		zone, err := time.LoadLocation("America/Santiago")
		require.NoError(t, err)
		next := d.Info.NextActionTimes[0].In(zone)
		require.Equal(t, "06:10", next.Format("15:04"))
		require.Equal(t, 24*time.Hour, d.Info.NextActionTimes[1].Sub(d.Info.NextActionTimes[0]).Round(2*time.Hour))
		return "", true
	})
}
