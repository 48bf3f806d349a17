package sandbox

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"net/http"
	"slices"
	"strconv"
	"time"
	_ "time/tzdata" // Transbank's day is Chile's, also where the machine has no zones
)

// settlementLine is one movement of a day.
type settlementLine struct {
	at                              time.Time
	commerce, buyOrder, code        string
	kind, amount, currency, fee, id string
}

// webpayFee is what the sandbox's Transbank keeps of a sale, in pesos: 2.95 %,
// rounded up.
func webpayFee(amount int64) int64 { return (amount*295 + 9999) / 10_000 }

// serveSettlement answers GET /settlements/transbank?date=&account=: the sales
// and refunds of a day of Chile, oldest first. Transbank publishes no such
// interface, and the form of the file that its portal gives is unconfirmed:
// this one is the form that the shop reads.
func (p *transbank) serveSettlement(w http.ResponseWriter, r *http.Request) {
	zone, err := time.LoadLocation("America/Santiago")
	if err != nil {
		p.s.fail(w, err)
		return
	}
	day, err := time.ParseInLocation(time.DateOnly, r.FormValue("date"), zone)
	if err != nil {
		p.s.problem(w, http.StatusBadRequest, "invalid", "date is a day like 2026-11-20")
		return
	}
	var lines []settlementLine
	err = p.s.store.view(func(t *tx) { lines = p.settled(t, day, day.AddDate(0, 0, 1), r.FormValue("account")) })
	if err != nil {
		p.s.fail(w, err)
		return
	}
	var out bytes.Buffer
	file := csv.NewWriter(&out)
	records := [][]string{{"date", "commerce_code", "buy_order", "authorization_code", "kind", "amount", "currency", "fee", "reference"}}
	for _, l := range lines {
		records = append(records, []string{l.at.In(zone).Format(time.RFC3339), l.commerce, l.buyOrder, l.code, l.kind, l.amount, l.currency, l.fee, l.id})
	}
	if err := file.WriteAll(records); err != nil {
		p.s.fail(w, err)
		return
	}
	p.s.send(w, reply{status: http.StatusOK, header: http.Header{
		"Content-Type":        {"text/csv; charset=utf-8"},
		"Content-Disposition": {`attachment; filename="transbank-` + day.Format(time.DateOnly) + `.csv"`},
	}, body: out.Bytes()})
}

// settled are the movements from from until to, as the ledger has them: what a
// test wrote there by hand too.
func (p *transbank) settled(t *tx, from, to time.Time, account string) (lines []settlementLine) {
	wanted := func(gateway, commerce string, at time.Time) bool {
		return gateway == transbankName && (account == "" || account == commerce) && !at.Before(from) && at.Before(to)
	}
	each(t, bucketCharges, "", func(_ string, c ledgerCharge) bool {
		if !wanted(c.Gateway, c.Account, c.CreatedAt) || c.Status == chargeAuthorized || c.Status == chargeVoided {
			return true
		}
		x, _ := get[webpayTransaction](t, bucketWebpay, c.Reference)
		lines = append(lines, settlementLine{
			at: c.CreatedAt, commerce: c.Account, buyOrder: c.PaymentID, code: x.AuthCode, kind: "charge",
			amount: strconv.FormatInt(c.Amount, 10), currency: c.Currency, fee: strconv.FormatInt(webpayFee(c.Amount), 10), id: c.Reference,
		})
		return true
	})
	each(t, bucketRefunds, "", func(_ string, c ledgerRefund) bool {
		if !wanted(c.Gateway, c.Account, c.CreatedAt) || c.Status != refundSucceeded {
			return true
		}
		lines = append(lines, settlementLine{
			at: c.CreatedAt, commerce: c.Account, buyOrder: c.PaymentID, code: c.Code, kind: "refund",
			amount: strconv.FormatInt(c.Amount, 10), currency: c.Currency, fee: "0", id: c.Reference,
		})
		return true
	})
	slices.SortStableFunc(lines, func(a, b settlementLine) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.kind, b.kind)) })
	return lines
}
