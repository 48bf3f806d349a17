package returns

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Report is what came back of what was delivered within a span: units are counted by the
// day of their delivery, whenever they came back, so that rates of a month can be compared
// with those of another once its windows are over. Money is in minor units.
type Report struct {
	SKUs     []Rate  `json:"skus"`     // by SKU
	Reasons  []Share `json:"reasons"`  // by the reason that was given
	Carriers []Rate  `json:"carriers"` // by who had brought it
	// Labels are those that were bought for the way back within the span and not cancelled.
	Labels []Labels `json:"labels"`
	// Money is how long it took from the request to the money, of the returns that were asked
	// for within the span and have had it.
	Money Waits `json:"money"`
}

// Rate is how much of something came back. A currency is a row of its own where there is
// money.
type Rate struct {
	// Of is the SKU, or the carrier.
	Of        string `json:"of"`
	Currency  string `json:"currency"`
	Delivered int    `json:"delivered"`
	Returned  int    `json:"returned"`
	// Percent of what was delivered came back, with one decimal.
	Percent float64 `json:"percent"`
	// Refunded is what went back, or is to, for the units; NotRestocked what was paid for
	// those that can't be sold again.
	Refunded     int64 `json:"refunded"`
	NotRestocked int64 `json:"not_restocked"`
}

// Share is how many of the units came back for a reason.
type Share struct {
	Reason       string  `json:"reason"`
	Currency     string  `json:"currency"`
	Returned     int     `json:"returned"`
	Percent      float64 `json:"percent"` // of all that came back
	Refunded     int64   `json:"refunded"`
	NotRestocked int64   `json:"not_restocked"`
}

// Labels are what a carrier's labels for the way back have cost, in pesos.
type Labels struct {
	Carrier string `json:"carrier"`
	Labels  int    `json:"labels"`
	// Price is what the carrier takes for those of which it says so, or what it had offered;
	// Priced how many they are.
	Price  int64 `json:"price"`
	Priced int   `json:"priced"`
	// Charged is what buyers paid of it: it was kept of their money.
	Charged int64 `json:"charged"`
}

// Waits are hours from the request to the money, of so many returns; null of none.
type Waits struct {
	Returns int      `json:"returns"`
	Median  *float64 `json:"median_hours"`
	P90     *float64 `json:"p90_hours"`
}

// went are units that were delivered in the span, with what came back of them.
const went = `WITH sent AS (
    SELECT s.tenant, s.order_id, s.carrier, o.currency, l->>'sku' AS sku, (l->>'quantity')::int AS units
      FROM shipments s JOIN orders o ON o.tenant = s.tenant AND o.id = s.order_id, jsonb_array_elements(s.lines) l
     WHERE s.tenant = $1 AND s.status = 'delivered' AND s.ended_at >= $2 AND s.ended_at < $3
  ), back AS (
    SELECT u.order_id, u.sku, u.reason, f.refunded, CASE WHEN u.disposition <> '' AND u.disposition <> 'restock' THEN f.paid ELSE 0 END AS dead,
           -- an order's units of a SKU may have come by several carriers: the first has brought the first of them
           row_number() OVER (PARTITION BY u.order_id, u.sku ORDER BY u.line_id, u.unit) AS nth
      FROM return_units u JOIN refundable f ON f.tenant = u.tenant AND f.order_id = u.order_id AND f.line_id = u.line_id AND f.unit = u.unit
     WHERE u.tenant = $1 AND u.came = 'arrived' AND u.order_id IN (SELECT order_id FROM sent)
  ), parcels AS (
    SELECT order_id, carrier, currency, sku, units, sum(units) OVER (PARTITION BY order_id, sku ORDER BY carrier ROWS UNBOUNDED PRECEDING) AS upto FROM (
      SELECT order_id, carrier, currency, sku, sum(units)::int AS units FROM sent GROUP BY 1, 2, 3, 4) s
  ), both_ways AS (
    SELECT p.order_id, p.carrier, p.currency, p.sku, p.units AS delivered, b.reason, b.refunded, b.dead
      FROM parcels p LEFT JOIN back b ON b.order_id = p.order_id AND b.sku = p.sku AND b.nth > p.upto - p.units AND b.nth <= p.upto
  )`

// Summarize reckons what came back of what was delivered from a moment to another.
func Summarize(ctx context.Context, tx pgx.Tx, tenantID string, from, to time.Time) (Report, error) {
	out := Report{SKUs: []Rate{}, Reasons: []Share{}, Carriers: []Rate{}, Labels: []Labels{}}
	b := &pgx.Batch{}
	rates := func(column string, into *[]Rate) {
		b.Queue(went+`, delivered AS (SELECT `+column+` AS of, currency, sum(units)::int AS units FROM parcels GROUP BY 1, 2)
		  SELECT d.of, d.currency, d.units, count(w.reason)::int, coalesce(sum(w.refunded), 0)::bigint, coalesce(sum(w.dead), 0)::bigint
		    FROM delivered d LEFT JOIN both_ways w ON w.`+column+` = d.of AND w.currency = d.currency AND w.reason IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2`, tenantID, from, to).
			Query(func(rows pgx.Rows) error {
				var r Rate
				_, err := pgx.ForEachRow(rows, []any{&r.Of, &r.Currency, &r.Delivered, &r.Returned, &r.Refunded, &r.NotRestocked}, func() error {
					r.Percent = percent(r.Returned, r.Delivered)
					*into = append(*into, r)
					return nil
				})
				return err
			})
	}
	rates("sku", &out.SKUs)
	rates("carrier", &out.Carriers)
	b.Queue(went+` SELECT reason, currency, count(*)::int, sum(refunded)::bigint, sum(dead)::bigint FROM both_ways WHERE reason IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2`, tenantID, from, to).
		Query(func(rows pgx.Rows) (err error) {
			var s Share
			_, err = pgx.ForEachRow(rows, []any{&s.Reason, &s.Currency, &s.Returned, &s.Refunded, &s.NotRestocked}, func() error {
				out.Reasons = append(out.Reasons, s)
				return nil
			})
			return err
		})
	b.Queue(`WITH paid AS (
	    SELECT extract(epoch FROM min(f.settled_at) - r.created_at) / 3600 AS hours FROM returns r JOIN return_refunds q ON q.tenant = r.tenant AND q.return_id = r.id
	      JOIN refunds f ON f.tenant = q.tenant AND f.request_id = q.refund_id AND f.status = 'succeeded' WHERE r.tenant = $1 AND r.created_at >= $2 AND r.created_at < $3 GROUP BY r.id, r.created_at)
	  SELECT count(*)::int, percentile_cont(0.5) WITHIN GROUP (ORDER BY hours), percentile_cont(0.9) WITHIN GROUP (ORDER BY hours) FROM paid`, tenantID, from, to).
		QueryRow(func(row pgx.Row) error { return row.Scan(&out.Money.Returns, &out.Money.Median, &out.Money.P90) })
	// A return knows the price and the fee of the label that it has, for all of its parcels. One
	// that lapsed before it costs what its carrier said, and the buyer nothing.
	b.Queue(`SELECT b.carrier, count(*)::int, coalesce(sum(CASE WHEN p.unpacked_at IS NOT NULL THEN b.price WHEN p.position = 1 THEN r.label_price END), 0)::bigint,
	     count(CASE WHEN p.unpacked_at IS NOT NULL THEN b.price ELSE r.label_price END)::int, coalesce(sum(r.label_fee) FILTER (WHERE p.unpacked_at IS NULL AND p.position = 1), 0)::bigint
	    FROM bookings b JOIN returns r ON r.tenant = b.tenant AND r.id = b.return_id JOIN parcels p ON p.tenant = b.tenant AND p.id = b.parcel_id
	   WHERE b.tenant = $1 AND b.booked_at >= $2 AND b.booked_at < $3 AND (b.status = 'booked' AND b.void_at IS NULL OR b.status = 'lapsed') GROUP BY 1 ORDER BY 1`, tenantID, from, to).
		Query(func(rows pgx.Rows) (err error) {
			out.Labels, err = pgx.AppendRows(out.Labels, rows, pgx.RowToStructByPos[Labels])
			return err
		})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return out, fmt.Errorf("what came back: %w", err)
	}
	all := 0
	for _, s := range out.Reasons {
		all += s.Returned
	}
	for i := range out.Reasons {
		out.Reasons[i].Percent = percent(out.Reasons[i].Returned, all)
	}
	for _, hours := range []*float64{out.Money.Median, out.Money.P90} {
		if hours != nil {
			*hours = math.Round(*hours*10) / 10
		}
	}
	return out, nil
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return math.Round(float64(part)*1000/float64(whole)) / 10
}

func tenths(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// Sheet is the report as rows, for a table: what they are about, and of what.
func (r Report) Sheet() (rows [][]any) {
	for _, part := range []struct {
		name string
		list []Rate
	}{{"sku", r.SKUs}, {"carrier", r.Carriers}} {
		for _, x := range part.list {
			rows = append(rows, []any{part.name, x.Of, x.Currency, x.Delivered, x.Returned, tenths(x.Percent), x.Refunded, x.NotRestocked, "", "", ""})
		}
	}
	for _, x := range r.Reasons {
		rows = append(rows, []any{"reason", x.Reason, x.Currency, "", x.Returned, tenths(x.Percent), x.Refunded, x.NotRestocked, "", "", ""})
	}
	for _, x := range r.Labels {
		rows = append(rows, []any{"label", x.Carrier, "CLP", "", "", "", "", "", x.Labels, x.Price, x.Charged})
	}
	return rows
}
