package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/postgres"
)

// statement is the sandbox's ledger: what the providers believe happened.
// Amounts are in minor units.
type statement struct {
	Charges []entry      `json:"charges"`
	Refunds []entry      `json:"refunds"`
	Labels  []labelEntry `json:"labels"`
}

// entry is money taken or given back.
type entry struct {
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
	Reference string `json:"reference"`
}

// taken reports whether a charge moved money; an authorization has not.
func (e entry) taken() bool { return e.Status != "authorized" && e.Status != "voided" }

// fetchLedger tries for as long as the options' patience lasts: a sandbox that
// is being restarted is back within seconds.
func fetchLedger(ctx context.Context, o Options) (statement, error) {
	deadline := time.Now().Add(o.Patience)
	for {
		s, err := fetchLedgerOnce(ctx, o.Client, o.SandboxURL)
		if err == nil || time.Now().After(deadline) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, err
		case <-time.After(min(500*time.Millisecond, o.Patience)):
		}
	}
}

func fetchLedgerOnce(ctx context.Context, client *http.Client, sandboxURL string) (s statement, err error) {
	fail := func(err error) (statement, error) { return s, fmt.Errorf("%w at %s: %w", ErrLedger, sandboxURL, err) }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(sandboxURL, "/")+"/ledger", nil)
	if err != nil {
		return fail(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return fail(errors.New(res.Status))
	}
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return fail(err)
	}
	return s, nil
}

// look is the ledger before and after one snapshot of our books. A charge
// counts as missing with us only if it was there before the snapshot, and ours
// as missing there only if it is not there after it.
type look struct {
	before, after statement
	payments      []booked
	refunds       []bookedRefund
	labels        []bookedLabel
}

// booked is a payment of ours.
type booked struct {
	Tenant, ID, Gateway, Status, Currency string
	Captured                              int64
	Applied                               bool
	NotAppliedReason                      string
	// InMotion: not final and not past due, or news of it wait to be applied.
	InMotion bool
	// Parked: a person was asked about it.
	Parked bool
	// Disputed: its payer has taken it back, or is taking it back.
	Disputed bool
	// CaptureRef is the provider's name for the money. Under is set on a further
	// approval under the reference of that payment.
	CaptureRef, Under string
}

// root is the payment by whose id the provider knows it.
func (p booked) root() string {
	if p.Under != "" {
		return p.Under
	}
	return p.ID
}

// bookedRefund is a refund of ours, or one that the provider told us of.
type bookedRefund struct {
	Tenant, ID, PaymentID, Currency, Status, Reason, Code string
	Amount                                                int64
	// Elsewhere: settled outside the provider, so not in its ledger.
	Elsewhere bool
	InMotion  bool
}

// lookWithLedger takes the ledger, then a snapshot in which it runs more (when
// given) and reads our books, then the ledger again. Without a sandbox it
// returns nil.
func lookWithLedger(ctx context.Context, db *postgres.DB, o Options, more func(tx pgx.Tx) error) (*look, error) {
	if o.SandboxURL == "" {
		return nil, snapshot(ctx, db, more)
	}
	var l look
	var err error
	if l.before, err = fetchLedger(ctx, o); err != nil {
		return nil, err
	}
	err = snapshot(ctx, db, func(tx pgx.Tx) error {
		if more != nil {
			if err := more(tx); err != nil {
				return err
			}
		}
		return l.readBooks(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	if l.after, err = fetchLedger(ctx, o); err != nil {
		return nil, err
	}
	return &l, nil
}

func (l *look) readBooks(ctx context.Context, tx pgx.Tx) error {
	ids := make([]string, len(l.before.Charges))
	for i, c := range l.before.Charges {
		ids[i] = c.PaymentID
	}
	rows, err := tx.Query(ctx, `SELECT p.tenant, p.id, p.gateway, p.status, p.currency, p.captured_amount, p.applied, coalesce(p.not_applied_reason, ''),
	    (p.status IN ('pending','processing','unknown') OR p.status = 'authorized' AND p.capture_amount IS NOT NULL) AND coalesce(p.due_at >= now(), false)
	      OR EXISTS (SELECT FROM inbox i WHERE i.tenant = p.tenant AND i.payment_id = p.id AND i.status = 'pending' AND i.due_at >= now()),
	    EXISTS (SELECT FROM parked w WHERE w.tenant = p.tenant AND w.subject IN (p.id, p.checkout_id) AND w.step LIKE '%:' || p.id AND (w.resolved_at IS NULL OR w.resolution = 'skipped')),
	    p.status IN ('disputed','charged_back'), p.capture_ref, coalesce(p.under_payment, '')
	  FROM payments p WHERE p.gateway <> 'external' AND (p.captured_amount > 0 OR p.id = ANY($1))`, ids)
	if err != nil {
		return fmt.Errorf("audit: payments: %w", err)
	}
	if l.payments, err = pgx.CollectRows(rows, pgx.RowToStructByPos[booked]); err != nil {
		return fmt.Errorf("audit: payments: %w", err)
	}
	rows, err = tx.Query(ctx, `SELECT r.tenant, r.id, r.payment_id, r.currency, r.status, r.reason, r.code, r.amount,
	    r.code = 'resolved_by_support' OR r.method <> 'original', r.status IN ('pending','unknown') AND coalesce(r.due_at >= now(), false) OR r.status = 'needs_attention'
	  FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE p.gateway <> 'external'`)
	if err != nil {
		return fmt.Errorf("audit: refunds: %w", err)
	}
	if l.refunds, err = pgx.CollectRows(rows, pgx.RowToStructByPos[bookedRefund]); err != nil {
		return fmt.Errorf("audit: refunds: %w", err)
	}
	l.labels, err = readLabels(ctx, tx)
	return err
}
