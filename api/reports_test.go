package api_test

import (
	"encoding/csv"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/payment"
	"justlogistics/internal/reconcile"
	"justlogistics/internal/tenant"
)

// santiago is the clock of the tests' shops.
var santiago = func() *time.Location {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		panic(err)
	}
	return zone
}()

// yesterday is a day that is over, whenever the tests run.
func yesterday() reconcile.Day { return reconcile.DayOf(time.Now(), santiago).Before(santiago) }

// soldYesterday is a checkout that was paid at noon yesterday, in the books.
func (b *bundle) soldYesterday() (checkoutID, paymentID string, amount int64) {
	b.t.Helper()
	c := b.checkout()
	checkoutID = c["id"].(string)
	paymentID = c["payment"].(map[string]any)["id"].(string)
	noon := yesterday().From.Add(12 * time.Hour)
	b.sql(`UPDATE payments SET status = 'captured', captured_amount = amount, closed = true, due_at = NULL, begun_at = $2, created_at = $2, fee_amount = 0, reference = 'tok', capture_ref = 'cap-' || id WHERE id = $1`, paymentID, noon)
	b.sql(`INSERT INTO captures (tenant, id, payment_id, amount, currency, reference, captured_at) SELECT tenant, id, id, amount, currency, 'cap', $2 FROM payments WHERE id = $1`, paymentID, noon)
	return checkoutID, paymentID, value[int64](b, `SELECT amount FROM payments WHERE id = $1`, paymentID)
}

// settle compares as the reconciliation's run would.
func (b *bundle) settle() {
	b.t.Helper()
	for _, id := range list[string](b, `SELECT id FROM reconciliations WHERE status = 'running'`) {
		require.NoError(b.t, b.db.InTenant(b.t.Context(), shop, func(tx pgx.Tx) error {
			if _, err := reconcile.Settle(b.t.Context(), tx, shop, id, reconcile.Terms{Source: reconcile.FromQuestions, Final: true}); err != nil {
				return err
			}
			_, err := reconcile.Finish(b.t.Context(), tx, shop, id)
			return err
		}))
	}
}

func list[T any](b *bundle, query string, args ...any) []T {
	b.t.Helper()
	rows, err := b.super.Query(b.t.Context(), query, args...)
	require.NoError(b.t, err)
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(b.t, err)
	return out
}

const settlementHeader = "date,commerce_code,buy_order,authorization_code,kind,amount,currency,fee,reference\n"

func (b *bundle) upload(gateway, date, file string, headers ...string) answer {
	b.t.Helper()
	return b.do("POST", "/v1/settlements/"+gateway+"?date="+date, file, append([]string{"Content-Type", "text/csv"}, headers...)...)
}

func TestReconciliation_RunsADayOnceAndReportsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, paymentID, amount := b.soldYesterday()
	date := yesterday().Date
	for range 2 { // the second finds it under way
		a := b.do("POST", "/v1/reports/reconciliation", map[string]any{"date": date, "gateways": []string{"transbank"}})
		require.Equal(t, 202, a.status, a.body)
		require.Equal(t, "/v1/reports/reconciliation?date="+date, a.header.Get("Location"))
	}
	id := value[string](b, `SELECT id FROM reconciliations WHERE gateway = 'transbank'`)
	require.Equal(t, 2, b.temporal.count("execute Reconciliation reconciliation:shop:"+id))
	require.Empty(t, b.temporal.signalled())
	b.settle()
	a := b.do("GET", "/v1/reports/reconciliation?date="+date, nil)
	require.Equal(t, 200, a.status, a.body)
	g := a.json()["gateways"].([]any)[0].(map[string]any)
	require.Equal(t, "done", g["status"])
	require.Equal(t, "questions", g["source"])
	item := g["items"].([]any)[0].(map[string]any)
	require.Equal(t, "missing_there", item["result"])
	require.Equal(t, paymentID, item["payment_id"])
	require.Equal(t, float64(amount), item["ours"].(map[string]any)["amount"])
	require.Nil(t, item["theirs"])
	require.Equal(t, []any{"resolve"}, item["verbs"])
	require.Equal(t, float64(1), g["counts"].(map[string]any)["raised"])
	require.Equal(t, float64(-amount), g["totals"].([]any)[0].(map[string]any)["difference"])

	stuck := b.do("GET", "/v1/support/stuck", nil).json()["data"].([]any)
	require.Equal(t, item["id"], stuck[0].(map[string]any)["subject"])

	path := "/v1/reports/reconciliation/items/" + item["id"].(string) + "/resolve"
	require.Equal(t, 422, b.do("POST", path, map[string]any{"reason": "", "actor": "ana"}).status)
	require.Equal(t, 403, b.do("POST", path, map[string]any{"reason": "r", "actor": "ana"}, as(b.keys[tenant.Storefront])...).status)
	require.Equal(t, 404, b.do("POST", path, map[string]any{"reason": "r", "actor": "ana"}, as(b.otherKey)...).status)
	a = b.do("POST", path, map[string]any{"reason": "=SUM(A1) the panel shows it", "actor": "ana"}, as(b.keys[tenant.Support])...)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "resolved", a.json()["resolution"])
	require.Equal(t, 409, b.do("POST", path, map[string]any{"reason": "again", "actor": "ana"}).status)
	require.Equal(t, "ana resolve reconciliation:shop:"+id, value[string](b, `SELECT actor || ' ' || verb || ' ' || workflow_id FROM support_actions`))
	require.Empty(t, b.do("GET", "/v1/support/stuck", nil).json()["data"])

	for _, csvOf := range []answer{b.do("GET", "/v1/reports/reconciliation?format=csv&gateway=transbank&date="+date, nil), b.do("GET", "/v1/reports/reconciliation?date="+date, nil, "Accept", "text/csv")} {
		require.Equal(t, 200, csvOf.status)
		require.Equal(t, "text/csv; charset=utf-8", csvOf.header.Get("Content-Type"))
		rows, err := csv.NewReader(strings.NewReader(csvOf.body)).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.Equal(t, []string{date, "transbank", "charge", "missing_there", "resolved", paymentID}, rows[1][:6])
		require.Equal(t, "'=SUM(A1) the panel shows it", rows[1][16])
	}
}

func TestReconciliation_WithoutTemporalTheRowWaitsForTheSweeper(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.temporal.set(func(f *fakeTemporal) { f.down = true })
	a := b.do("POST", "/v1/reports/reconciliation", map[string]any{"date": yesterday().Date})
	require.Equal(t, 202, a.status, a.body)
	require.Equal(t, value[int](b, `SELECT count(*) FROM provider_credentials`), value[int](b, `SELECT count(*) FROM reconciliations WHERE status = 'running' AND due_at IS NOT NULL`))
}

func TestReconciliation_OneThatWaitsForItsProviderIsToldToTry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := map[string]any{"date": yesterday().Date, "gateways": []string{"stripe"}}
	require.Equal(t, 202, b.do("POST", "/v1/reports/reconciliation", body).status)
	b.sql(`UPDATE reconciliations SET status = 'failed', failure = 'statement_credentials', due_at = NULL`)
	a := b.do("GET", "/v1/reports/reconciliation?date="+yesterday().Date, nil)
	require.Equal(t, "statement_credentials", a.json()["gateways"].([]any)[0].(map[string]any)["failure"])
	require.Equal(t, 202, b.do("POST", "/v1/reports/reconciliation", body).status)
	require.Len(t, b.temporal.signalled(), 1)
	require.Contains(t, b.temporal.signalled()[0], "again reconciliation:shop:")
}

func TestReconciliation_RefusesWhatItCannotRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tomorrow := time.Now().AddDate(0, 0, 2).Format(time.DateOnly)
	require.Equal(t, "required", b.do("GET", "/v1/reports/reconciliation", nil).code())
	require.Equal(t, "invalid", b.do("GET", "/v1/reports/reconciliation?date=x", nil).code())
	require.Equal(t, "unknown_gateway", b.do("GET", "/v1/reports/reconciliation?gateway=x&date="+yesterday().Date, nil).code())
	require.Equal(t, "invalid", b.do("GET", "/v1/reports/reconciliation?format=xls&date="+yesterday().Date, nil).code())
	require.Equal(t, "out_of_range", b.do("POST", "/v1/reports/reconciliation", map[string]any{"date": tomorrow}).code())
	require.Equal(t, "gateway_not_configured", b.do("POST", "/v1/reports/reconciliation", map[string]any{"date": yesterday().Date, "gateways": []string{"khipu"}}).code())
	require.Equal(t, 400, b.do("POST", "/v1/reports/reconciliation", map[string]any{"day": yesterday().Date}).status)
	for _, path := range []string{"/v1/transactions", "/v1/reports/sales", "/v1/reports/reconciliation?date=" + yesterday().Date} {
		require.Equal(t, 403, b.do("GET", path, nil, as(b.keys[tenant.Storefront])...).status, path)
		require.Equal(t, 403, b.do("GET", path, nil, as(b.keys[tenant.Warehouse])...).status, path)
		require.Equal(t, 200, b.do("GET", path, nil, as(b.keys[tenant.Support])...).status, path)
	}
	require.Equal(t, 403, b.upload("transbank", yesterday().Date, settlementHeader, as(b.keys[tenant.Storefront])...).status)
}

func TestSettlement_TellsFeesAndWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, known, amount := b.soldYesterday()
	_, unsettled, _ := b.soldYesterday()
	date := yesterday().Date
	file := settlementHeader +
		fmt.Sprintf("%s,597055555532,%s,1213,charge,%d,CLP,386,\n", date, known, amount) +
		date + "T10:15:00-03:00,597055555532,de-otro,9999,charge,5000,CLP,,\n"
	a := b.upload("transbank", date, file, "Idempotency-Key", "file-1")
	require.Equal(t, 202, a.status, a.body)
	require.Equal(t, float64(2), a.json()["transactions"])
	require.Equal(t, "/v1/reports/reconciliation?date="+date+"&gateway=transbank", a.header.Get("Location"))
	again := b.upload("transbank", date, file, "Idempotency-Key", "file-1")
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, "idempotency_key_reused", b.upload("transbank", date, file+"\n", "Idempotency-Key", "file-1").code())

	b.settle()
	g := b.do("GET", "/v1/reports/reconciliation?date="+date, nil).json()["gateways"].([]any)[0].(map[string]any)
	require.Equal(t, "file", g["source"])
	require.Equal(t, []any{map[string]any{"currency": "CLP", "amount": float64(386)}}, g["fees"])
	results := map[string]string{}
	for _, i := range g["items"].([]any) {
		m := i.(map[string]any)
		of, _ := m["payment_id"].(string)
		results[of] = m["result"].(string) + " " + m["resolution"].(string)
	}
	require.Equal(t, map[string]string{unsettled: "missing_there raised", "": "missing_here raised"}, results)
	require.EqualValues(t, 386, value[int64](b, `SELECT fee_amount FROM payments WHERE id = $1`, known))

	// The corrected file takes the place of the first.
	require.Equal(t, 202, b.upload("transbank", date, settlementHeader+fmt.Sprintf("%s,,%s,1213,charge,%d,CLP,386,\n%s,,%s,1214,charge,%d,CLP,386,\n", date, known, amount, date, unsettled, amount)).status)
	b.settle()
	g = b.do("GET", "/v1/reports/reconciliation?date="+date, nil).json()["gateways"].([]any)[0].(map[string]any)
	require.Empty(t, g["items"])
	require.Equal(t, float64(2), g["counts"].(map[string]any)["matched"])
	require.Equal(t, float64(0), g["totals"].([]any)[0].(map[string]any)["difference"])
}

func TestSettlement_NamesTheLinesThatCannotBeReadAndKeepsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	date := yesterday().Date
	a := b.upload("transbank", date, settlementHeader+date+",,order,1,charge,100,CLP,,\n"+date+",,other,2,charge,-5,XXX,1.5,\n2020-01-01,,x,3,sale,1,CLP,,\nshort,line\n"+date+",,order,1,charge,100,CLP,,\n")
	require.Equal(t, 422, a.status, a.body)
	require.Equal(t, map[string]string{"line 3.amount": "invalid", "line 3.currency": "invalid", "line 3.fee": "invalid", "line 4.date": "invalid", "line 4.kind": "invalid", "line 5": "invalid", "line 6": "invalid"}, a.fields())
	require.Zero(t, value[int](b, `SELECT count(*) FROM provider_transactions`))
	require.Zero(t, value[int](b, `SELECT count(*) FROM reconciliations`))

	require.Equal(t, 422, b.upload("transbank", date, "").status)
	require.Equal(t, 422, b.upload("transbank", date, "date,amount\n").status)
	require.Equal(t, 422, b.upload("transbank", "x", settlementHeader).status)
	require.Equal(t, 415, b.upload("transbank", date, settlementHeader, "Content-Type", "application/json").status)
	require.Equal(t, 404, b.upload("paypal", date, settlementHeader).status)
	require.Equal(t, "gateway_not_configured", b.upload("khipu", date, settlementHeader).code())
	large := settlementHeader + strings.Repeat(date+",,"+strings.Repeat("x", 150)+",1,charge,1,CLP,,\n", 190_000)
	require.Greater(t, len(large), 32<<20)
	require.Equal(t, 413, b.upload("transbank", date, large).status)
}

func TestTransactions_FilterAndPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	checkoutID, paymentID, amount := b.soldYesterday()
	b.sql(`UPDATE payments SET fee_amount = 12 WHERE id = $1`, paymentID)
	other := b.checkout()["payment"].(map[string]any)["id"].(string)
	b.sql(`INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, origin, reference, created_at) SELECT tenant, '01JCQZ5Y3N8W2K4T6V7X9ABCDE', id, 500, currency, 'r', 'succeeded', 'provider', 're_1', created_at + interval '1 hour' FROM payments WHERE id = $1`, paymentID)
	ids := func(query string) []string {
		t.Helper()
		a := b.do("GET", "/v1/transactions"+query, nil)
		require.Equal(t, 200, a.status, a.body)
		out := []string{}
		for _, d := range a.json()["data"].([]any) {
			out = append(out, d.(map[string]any)["id"].(string))
		}
		return out
	}
	refundID := "01JCQZ5Y3N8W2K4T6V7X9ABCDE"
	number := value[string](b, `SELECT number FROM checkouts WHERE id = $1`, checkoutID)
	require.Equal(t, []string{other, refundID, paymentID}, ids(""))
	require.Equal(t, []string{refundID, paymentID}, ids("?order="+url.QueryEscape(number)))
	require.Equal(t, []string{refundID, paymentID}, ids("?order="+checkoutID))
	require.Equal(t, []string{paymentID}, ids("?kind=payment&status=captured"))
	require.Equal(t, []string{refundID}, ids("?kind=refund"))
	require.Equal(t, []string{refundID}, ids("?max_amount=500"))
	require.Equal(t, []string{other, paymentID}, ids(fmt.Sprintf("?min_amount=%d&gateway=transbank", amount)))
	require.Empty(t, ids("?gateway=stripe"))
	require.Equal(t, []string{refundID, paymentID}, ids("?from="+yesterday().From.Format(time.RFC3339)+"&to="+yesterday().To.Format(time.RFC3339)))
	first := b.do("GET", "/v1/transactions?limit=2", nil).json()
	require.Equal(t, []string{paymentID}, ids("?limit=2&cursor="+first["next_cursor"].(string)))
	payment := b.do("GET", "/v1/transactions?status=captured", nil).json()["data"].([]any)[0].(map[string]any)
	require.Equal(t, number, payment["order_number"])
	require.Equal(t, float64(12), payment["fee"])
	for query, code := range map[string]string{"?status=x": "invalid", "?kind=x": "invalid", "?min_amount=x": "invalid", "?cursor=MTp4": "invalid", "?limit=0": "out_of_range"} {
		require.Equal(t, code, b.do("GET", "/v1/transactions"+query, nil).code(), query)
	}
	require.Empty(t, b.do("GET", "/v1/transactions", nil, as(b.otherKey)...).json()["data"])
}

func TestSales_AddUpByDayAndGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, paymentID, amount := b.soldYesterday()
	b.soldYesterday()
	b.sql(`UPDATE payments SET fee_amount = 7, gateway = '=cmd' WHERE id = $1`, paymentID)
	b.sql(`INSERT INTO refunds (tenant, id, payment_id, amount, currency, reason, status, origin, created_at, settled_at) SELECT tenant, '01JCQZ5Y3N8W2K4T6V7X9ABCDE', id, $2, currency, 'r', 'succeeded', 'provider', created_at, $3 FROM payments WHERE id = $1`, paymentID, amount+1, yesterday().To.Add(-time.Second))
	date := yesterday().Date
	a := b.do("GET", "/v1/reports/sales?from="+date+"&to="+date, nil)
	require.Equal(t, 200, a.status, a.body)
	require.Len(t, a.json()["data"], 2)
	require.Equal(t, map[string]any{"currency": "CLP", "captured": float64(2 * amount), "refunded": float64(amount + 1), "net": float64(amount - 1), "count": float64(2), "refunds": float64(1), "fees": float64(7)}, a.json()["totals"].([]any)[0])
	require.Equal(t, "America/Santiago", a.json()["time_zone"])
	sheet := b.do("GET", "/v1/reports/sales?format=csv", nil)
	require.Equal(t, fmt.Sprintf("date,gateway,currency,captured,refunded,net,count,refunds,fees\n%s,'=cmd,CLP,%d,%d,-1,1,1,7\n%s,transbank,CLP,%d,0,%d,1,0,0\n", date, amount, amount+1, date, amount, amount), sheet.body)
	require.Equal(t, "out_of_range", b.do("GET", "/v1/reports/sales?from="+date+"&to=2020-01-01", nil).code())
	require.Equal(t, "out_of_range", b.do("GET", "/v1/reports/sales?from=2020-01-01", nil).code())
	require.Equal(t, "invalid", b.do("GET", "/v1/reports/sales?from=yesterday", nil).code())
	require.Equal(t, []string{string(payment.Transbank)}, list[string](b, `SELECT DISTINCT gateway FROM payments WHERE gateway <> '=cmd'`))
}

func TestSettlement_OfAnotherGatewayIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, known, amount := b.soldYesterday()
	date := yesterday().Date
	file := settlementHeader + fmt.Sprintf("%s,,%s,1213,charge,%d,CLP,386,\n", date, known, amount)
	require.Equal(t, "file_of_another_gateway", b.upload("stripe", date, file).code())
	require.Zero(t, value[int](b, `SELECT count(*) FROM provider_transactions`))
}

func TestSettlement_ThatCarriesACardNumberIsRefusedAndNothingOfItIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	date := yesterday().Date
	good := date + ",597055555532,01JCQZ5Y3N8W2K4T6V7X9ABCDE,1213,charge,29970,CLP,386,\n"
	for name, file := range map[string]string{
		"in a field":           settlementHeader + good + date + ",,y,1,charge,1,CLP,,4111 1111 1111 1111\n",
		"as the amount":        settlementHeader + good + date + ",,y,1,charge,4111111111111111,CLP,,\n",
		"in a column too many": settlementHeader + good + date + ",,y,1,charge,1,CLP,,,4111111111111111\n",
		"behind a bad quote":   settlementHeader + good + date + ",,y,1,\"charge\"4111111111111111,1,CLP,,\n",
		"unfinished":           settlementHeader + good + date + ",,y,1,charge,1,CLP,,4111-1111-1111-1111",
	} {
		a := b.upload("transbank", date, file, "Idempotency-Key", "card-1")
		require.Equal(t, 422, a.status, "%s: %s", name, a.body)
		require.Equal(t, "card_number_refused", a.code(), name)
		require.Equal(t, map[string]string{"line 3": "card_number_refused"}, a.fields(), name)
		require.NotContains(t, a.body, "1111", name)
	}
	a := b.upload("transbank", date, "date,4111111111111111\n")
	require.Equal(t, map[string]string{"line 1": "card_number_refused"}, a.fields(), "a header is not told either")
	require.NotContains(t, a.body+b.logs.String(), "4111")
	require.Zero(t, value[int](b, `SELECT count(*) FROM provider_transactions`))
	require.Zero(t, value[int](b, `SELECT count(*) FROM reconciliations`))
	require.Zero(t, value[int](b, `SELECT count(*) FROM idempotency_keys`))
	require.Equal(t, 202, b.upload("transbank", date, settlementHeader+good+date+",,ORD-9,XXXX6623,charge,5000,CLP,,************6623\n", "Idempotency-Key", "card-1").status, "masked ones pass")
}
