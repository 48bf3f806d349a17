package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/payment"
	"justlogistics/internal/tenant"
)

// Statuses of a reconciliation.
const (
	Running = "running"
	Done    = "done"
	Failed  = "failed"
)

// patience is by when a run must have shown a sign of life.
const patience = "30 minutes"

// Row is one gateway's day.
type Row struct {
	Tenant    string
	ID        string
	Gateway   payment.Name
	Day       Day
	Status    string
	StartedAt time.Time
}

// ErrNone is returned for a reconciliation that does not exist.
var ErrNone = errors.New("no such reconciliation")

// Zone is the clock by which a tenant's days are cut.
func Zone(ctx context.Context, tx pgx.Tx, tenantID string) (*time.Location, error) {
	t, err := tenant.Get(ctx, tx, tenantID)
	if err != nil {
		return nil, err
	}
	return time.LoadLocation(t.Settings.TimeZone)
}

// Open makes a gateway's day be run, or run again; one that is running already
// stays as it is. again says that something has come that a running one may have
// missed: it then compares once more. was is its status before; "" when it is new.
func Open(ctx context.Context, tx pgx.Tx, tenantID string, gateway payment.Name, day Day, by string, again bool) (reconciliationID, was string, err error) {
	tag, err := tx.Exec(ctx, `INSERT INTO reconciliations (tenant, id, gateway, day, from_at, to_at, status, requested_by, due_at) VALUES ($1,$2,$3,$4::date,$5,$6,'failed',$7,NULL)
	  ON CONFLICT (tenant, gateway, day) DO NOTHING`, tenantID, id.New(), gateway, day.Date, day.From, day.To, by)
	if err != nil {
		return "", "", fmt.Errorf("open reconciliation of %s: %w", day.Date, err)
	}
	err = tx.QueryRow(ctx, `SELECT id, status FROM reconciliations WHERE tenant = $1 AND gateway = $2 AND day = $3::date FOR UPDATE`, tenantID, gateway, day.Date).Scan(&reconciliationID, &was)
	if err != nil {
		return "", "", fmt.Errorf("open reconciliation of %s: %w", day.Date, err)
	}
	if was == Running {
		_, err = tx.Exec(ctx, `UPDATE reconciliations SET again = again OR $3 WHERE tenant = $1 AND id = $2`, tenantID, reconciliationID, again)
	} else {
		_, err = tx.Exec(ctx, `UPDATE reconciliations SET status = 'running', again = false, from_at = $3, to_at = $4, requested_by = $5, failure = '', started_at = now(), finished_at = NULL,
		    updated_at = now(), due_at = now() + interval '`+patience+`' WHERE tenant = $1 AND id = $2`, tenantID, reconciliationID, day.From, day.To, by)
	}
	if err != nil {
		return "", "", fmt.Errorf("open reconciliation %s: %w", reconciliationID, err)
	}
	if tag.RowsAffected() == 1 {
		was = ""
	}
	return reconciliationID, was, nil
}

// Load reads a reconciliation.
func Load(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID string) (Row, error) {
	return loadRow(ctx, tx, tenantID, reconciliationID, "")
}

func loadRow(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID, lock string) (Row, error) {
	r := Row{Tenant: tenantID, ID: reconciliationID}
	err := tx.QueryRow(ctx, `SELECT gateway, to_char(day, 'YYYY-MM-DD'), from_at, to_at, status, started_at FROM reconciliations WHERE tenant = $1 AND id = $2 `+lock, tenantID, reconciliationID).
		Scan(&r.Gateway, &r.Day.Date, &r.Day.From, &r.Day.To, &r.Status, &r.StartedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, fmt.Errorf("%w: %s", ErrNone, reconciliationID)
	}
	if err != nil {
		return r, fmt.Errorf("reconciliation %s: %w", reconciliationID, err)
	}
	return r, nil
}

// Resume makes a reconciliation run that had failed; a run at work shows a sign
// of life by it.
func Resume(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID string) error {
	return touch(ctx, tx, tenantID, reconciliationID, `started_at = CASE WHEN status = 'running' THEN started_at ELSE now() END, status = 'running', failure = '', finished_at = NULL, due_at = now() + interval '`+patience+`'`)
}

// Fail notes why a reconciliation cannot go on by itself. A person is told by
// its run.
func Fail(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID, why string) error {
	return touch(ctx, tx, tenantID, reconciliationID, `status = 'failed', failure = left($3, 500), finished_at = now(), due_at = NULL`, why)
}

func touch(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID, set string, args ...any) error {
	tag, err := tx.Exec(ctx, `UPDATE reconciliations SET updated_at = now(), `+set+` WHERE tenant = $1 AND id = $2`, append([]any{tenantID, reconciliationID}, args...)...)
	if err != nil {
		return fmt.Errorf("reconciliation %s: %w", reconciliationID, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s", ErrNone, reconciliationID)
	}
	return nil
}

// Finish ends a run. again reports that something has come meanwhile: the row
// then stays running, and the run begins anew.
func Finish(ctx context.Context, tx pgx.Tx, tenantID, reconciliationID string) (again bool, err error) {
	err = tx.QueryRow(ctx, `UPDATE reconciliations r SET again = false, updated_at = now(), status = CASE WHEN before.again THEN 'running' ELSE 'done' END,
	     started_at = CASE WHEN before.again THEN now() ELSE started_at END, finished_at = CASE WHEN before.again THEN NULL ELSE now() END, failure = '',
	     due_at = CASE WHEN before.again THEN now() + interval '`+patience+`' END
	   FROM (SELECT again FROM reconciliations WHERE tenant = $1 AND id = $2 FOR UPDATE) before WHERE r.tenant = $1 AND r.id = $2 RETURNING before.again`, tenantID, reconciliationID).Scan(&again)
	if err != nil {
		return false, fmt.Errorf("finish reconciliation %s: %w", reconciliationID, err)
	}
	return again, nil
}

// Due is a tenant's gateway whose books are to be compared.
type Due struct {
	Tenant  string
	Gateway payment.Name
}

// Configured lists tenants and gateways that have credentials, in a fixed order,
// from the one after a given one. tx is the system's.
func Configured(ctx context.Context, tx pgx.Tx, known []payment.Name, after Due, limit int) ([]Due, error) {
	return collect(ctx, tx, pgx.RowToStructByPos[Due], `SELECT tenant, provider FROM provider_credentials WHERE provider = ANY($1) AND (tenant, provider) > ($2, $3) ORDER BY tenant, provider LIMIT $4`,
		known, after.Tenant, after.Gateway, limit)
}

// GatewaysOf lists a tenant's gateways that have credentials.
func GatewaysOf(ctx context.Context, tx pgx.Tx, tenantID string) ([]payment.Name, error) {
	return collect(ctx, tx, pgx.RowTo[payment.Name], `SELECT provider FROM provider_credentials WHERE tenant = $1 AND provider = ANY($2) ORDER BY provider`, tenantID, payment.Names())
}

// Question is a payment or a refund of ours that the provider is to be asked
// about, because it lists nothing by itself.
type Question struct {
	PaymentID string
	// RefundID is set when the question is about a refund.
	RefundID string
}

// Questions lists the payments of a reconciliation's day that began since, and
// then its refunds, a batch at a time; after is the last one of the batch
// before.
func Questions(ctx context.Context, tx pgx.Tx, r Row, since time.Time, after Question, limit int) ([]Question, error) {
	from, to := r.Day.Wide()
	var out []Question
	if after.RefundID == "" {
		ids, err := collect(ctx, tx, pgx.RowTo[string], `SELECT p.id FROM payments p WHERE p.tenant = $1 AND p.gateway = $2 AND p.begun_at IS NOT NULL AND p.begun_at >= $6 AND p.id > $5
		      AND (p.begun_at >= $3 AND p.begun_at < $4 OR p.id IN (SELECT payment_id FROM captures WHERE tenant = $1 AND captured_at >= $3 AND captured_at < $4))
		    ORDER BY p.id LIMIT $7`, r.Tenant, r.Gateway, from, to, after.PaymentID, since, limit)
		if err != nil {
			return nil, err
		}
		for _, paymentID := range ids {
			out = append(out, Question{PaymentID: paymentID})
		}
	}
	if len(out) == limit {
		return out, nil
	}
	refunds, err := refundQuestions(ctx, tx, r, since, after, limit-len(out), `true`)
	return append(out, refunds...), err
}

// UnlistedRefunds are the refunds of a reconciliation's day that its provider's
// list does not name: some lists have charges only.
func UnlistedRefunds(ctx context.Context, tx pgx.Tx, r Row, since time.Time, after Question, limit int) ([]Question, error) {
	return refundQuestions(ctx, tx, r, since, after, limit, `NOT EXISTS (SELECT FROM provider_transactions l WHERE l.tenant = r.tenant AND l.gateway = p.gateway AND l.source = 'api' AND l.kind = 'refund'
	      AND (l.key IN (r.id, r.reference) OR l.payment_id = r.payment_id AND (l.refund_id = r.id OR l.amount = r.amount)))`)
}

func refundQuestions(ctx context.Context, tx pgx.Tx, r Row, since time.Time, after Question, limit int, which string) ([]Question, error) {
	from, to := r.Day.Wide()
	return collect(ctx, tx, pgx.RowToStructByPos[Question], `SELECT r.payment_id, r.id FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id
	    WHERE r.tenant = $1 AND p.gateway = $2 AND r.method = 'original' AND r.origin = 'ours' AND r.tried_at IS NOT NULL AND p.begun_at >= $6 AND r.id > $5
	      AND (r.settled_at >= $3 AND r.settled_at < $4 OR r.created_at >= $3 AND r.created_at < $4) AND `+which+`
	    ORDER BY r.id LIMIT $7`, r.Tenant, r.Gateway, from, to, after.RefundID, since, limit)
}

// Backed is what our books say went back, or may have, of a payment, in minor
// units: what the provider said before beyond it we do not know of.
func Backed(ctx context.Context, tx pgx.Tx, tenantID, paymentID string) (amount int64, references []string, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(amount), 0)::bigint, coalesce(array_agg(reference) FILTER (WHERE reference <> ''), '{}') FROM refunds
	   WHERE tenant = $1 AND payment_id = $2 AND method = 'original' AND (status = 'succeeded' OR origin = 'provider' AND status <> 'failed' OR `+payment.MayBeMade+`) AND code NOT IN ('resolved_by_support','bank_transfer')`, tenantID, paymentID).Scan(&amount, &references)
	if err != nil {
		return 0, nil, fmt.Errorf("refunds of payment %s: %w", paymentID, err)
	}
	return amount, references, nil
}

// Returned is what our books say has surely gone back of a payment through its
// provider, ours and others', in minor units.
func Returned(ctx context.Context, tx pgx.Tx, tenantID, paymentID string) (amount int64, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(amount), 0)::bigint FROM refunds
	   WHERE tenant = $1 AND payment_id = $2 AND method = 'original' AND status = 'succeeded' AND code NOT IN ('resolved_by_support','bank_transfer')`, tenantID, paymentID).Scan(&amount)
	if err != nil {
		return 0, fmt.Errorf("refunds of payment %s: %w", paymentID, err)
	}
	return amount, nil
}

// ReplaceFile keeps the lines of a day's settlement file; those of an earlier
// file of that day go.
func ReplaceFile(ctx context.Context, tx pgx.Tx, tenantID string, gateway payment.Name, day Day, lines []Line) error {
	_, err := tx.Exec(ctx, `DELETE FROM provider_transactions WHERE tenant = $1 AND gateway = $2 AND source = 'file' AND at >= $3 AND at < $4`, tenantID, gateway, day.From, day.To)
	if err != nil {
		return fmt.Errorf("replace the file of %s: %w", day.Date, err)
	}
	const batch = 1000
	for len(lines) > 0 {
		n := min(batch, len(lines))
		if err := StoreLines(ctx, tx, tenantID, gateway, lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// Compared reports whether a day was compared with a settlement file before, so
// that the next day's file may tell more about it.
func Compared(ctx context.Context, tx pgx.Tx, tenantID string, gateway payment.Name, day Day) (withFile bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM reconciliations WHERE tenant = $1 AND gateway = $2 AND day = $3::date AND source = 'file')`, tenantID, gateway, day.Date).Scan(&withFile)
	if err != nil {
		return false, fmt.Errorf("reconciliation of %s: %w", day.Date, err)
	}
	return withFile, nil
}

func encode(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("reconciliation: %w", err)
	}
	return raw, nil
}
