package transactions

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Sales are what a gateway took and gave back on one day by the tenant's clock,
// in minor units. Money that people paid back by bank transfer stands under the
// gateway bank_transfer.
type Sales struct {
	Date     string `json:"date"`
	Gateway  string `json:"gateway"`
	Currency string `json:"currency"`
	Captured int64  `json:"captured"`
	Refunded int64  `json:"refunded"`
	// Net is captured less refunded; fees are not taken off.
	Net int64 `json:"net"`
	// Count is of captures, Refunds of refunds.
	Count   int   `json:"count"`
	Refunds int   `json:"refunds"`
	Fees    int64 `json:"fees"` // as far as the providers have told
}

// DailySales adds up what was captured and refunded in From <= t < To, by day in
// the zone, gateway and currency, the first day first.
func DailySales(ctx context.Context, tx pgx.Tx, tenant string, from, to time.Time, zone *time.Location) ([]Sales, error) {
	rows, err := tx.Query(ctx, `
	WITH moved AS (
	  SELECT c.captured_at AS at, p.gateway, c.currency, c.amount AS captured, 0::bigint AS refunded, 1 AS count, 0 AS refunds,
	         CASE WHEN c.id = (SELECT min(f.id) FROM captures f WHERE f.tenant = c.tenant AND f.payment_id = c.payment_id) THEN p.fee_amount ELSE 0 END AS fees
	    FROM captures c JOIN payments p ON p.tenant = c.tenant AND p.id = c.payment_id WHERE c.tenant = $1 AND c.captured_at >= $2 AND c.captured_at < $3
	  UNION ALL
	  SELECT r.settled_at, CASE r.method WHEN 'bank_transfer' THEN 'bank_transfer' ELSE p.gateway END, r.currency, 0, r.amount, 0, 1, 0
	    FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.settled_at >= $2 AND r.settled_at < $3 AND r.status = 'succeeded' AND r.method <> 'void')
	SELECT to_char(at AT TIME ZONE $4, 'YYYY-MM-DD') AS date, gateway, currency, sum(captured)::bigint, sum(refunded)::bigint, (sum(captured) - sum(refunded))::bigint, sum(count)::int, sum(refunds)::int, sum(fees)::bigint
	  FROM moved GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, tenant, from, to, zone.String())
	if err != nil {
		return nil, fmt.Errorf("daily sales: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Sales])
	if err != nil {
		return nil, fmt.Errorf("daily sales: %w", err)
	}
	return list, nil
}
