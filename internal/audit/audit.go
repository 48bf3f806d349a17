// Package audit checks the product's invariants over a whole database: that no
// unit is promised twice, no money kept twice, no order or news lost, no hold
// older than its time, and nothing stuck in silence. It only reads, and may run
// at any time on any database.
//
// What is in motion is judged by its due_at: a row that is not final and not
// past it is no violation, whatever it looks like.
package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/postgres"
)

// Options of Run. The zero value audits the database alone.
type Options struct {
	// SandboxURL is where the played providers tell what they believe happened;
	// empty leaves the comparison with them out.
	SandboxURL string
	// UpSince is when the last part of the running stack was started; zero says
	// that it is not known to be up. Only a stack that is up is held to the few
	// seconds within which holds end; else their due_at decides.
	UpSince time.Time
	// Patience is how long a difference from the providers' ledger may take to
	// vanish before it counts: money moves while we look (default 10 s).
	Patience time.Duration
	// Client fetches the ledger; nil takes one of our own.
	Client *http.Client
}

// Report is what an audit found.
type Report struct {
	// At is the database's time of the snapshot.
	At     time.Time `json:"at"`
	Ledger *Ledger   `json:"ledger"` // nil when there was none to compare with
	Checks []Check   `json:"checks"`
	// Violations counts those of all checks.
	Violations int `json:"violations"`
}

// Ledger says what the database was compared with.
type Ledger struct {
	URL     string `json:"url"`
	Charges int    `json:"charges"`
	Refunds int    `json:"refunds"`
	Labels  int    `json:"labels"`
}

// Check is one rule and what it found.
type Check struct {
	Invariant int    `json:"invariant"` // its number in the product's contract
	Name      string `json:"name"`
	Rule      string `json:"rule"`
	// Rows is how many rows the check looked at.
	Rows       int         `json:"rows"`
	Violations []Violation `json:"violations"`
}

// Violation is a row that breaks a rule.
type Violation struct {
	Tenant string `json:"tenant"`
	// Subject is the id of what is wrong, Data the other ids and numbers.
	Subject string         `json:"subject"`
	Data    map[string]any `json:"data,omitempty"`
	Words   string         `json:"words"`
	// Repair says what to do, where that is known.
	Repair string `json:"repair,omitempty"`
}

const (
	// holdTolerance is how late a hold may end while the stack is up, and
	// settling is how long a stack that has just started has to catch up.
	holdTolerance = 5 * time.Second
	settling      = 30 * time.Second
	// slowest bounds one statement of an audit, which reads whole tables.
	slowest = "10min"
)

// OK reports whether nothing was found.
func (r Report) OK() bool { return r.Violations == 0 }

// Run audits the database in one snapshot and, when there is a sandbox, against
// its ledger. An error means that the audit could not be made; what it finds is
// in the report.
func Run(ctx context.Context, db *postgres.DB, o Options) (Report, error) {
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	if o.Client == nil {
		o.Client = httpclient.New(httpclient.Options{Timeout: 30 * time.Second, MaxAnswer: 512 << 20})
	}
	var r Report
	look, err := lookWithLedger(ctx, db, o, func(tx pgx.Tx) (err error) {
		r, err = inSnapshot(ctx, tx, o)
		return err
	})
	if err != nil {
		return Report{}, err
	}
	if look != nil {
		r.Ledger = &Ledger{URL: o.SandboxURL, Charges: len(look.after.Charges), Refunds: len(look.after.Refunds), Labels: len(look.after.Labels)}
		checks, err := compareUntilCalm(ctx, db, o, *look)
		if err != nil {
			return Report{}, err
		}
		r.Checks = append(r.Checks, checks...)
	}
	for i := range r.Checks {
		if r.Checks[i].Violations == nil {
			r.Checks[i].Violations = []Violation{}
		}
		r.Violations += len(r.Checks[i].Violations)
	}
	return r, nil
}

// inSnapshot makes every check that needs only the database.
func inSnapshot(ctx context.Context, tx pgx.Tx, o Options) (Report, error) {
	var r Report
	if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&r.At); err != nil {
		return r, fmt.Errorf("audit: %w", err)
	}
	strictFrom := o.UpSince.Add(settling)
	args := pgx.NamedArgs{
		"tolerance": holdTolerance,
		// Until then, and without a stack that is up, due_at decides.
		"strict": !o.UpSince.IsZero() && r.At.After(strictFrom),
	}
	for _, rule := range rules() {
		c, err := rule.check(ctx, tx, args)
		if err != nil {
			return r, err
		}
		r.Checks = append(r.Checks, c)
	}
	listed, err := checkSupportList(ctx, tx)
	if err != nil {
		return r, err
	}
	r.Checks = append(r.Checks, listed)
	return r, nil
}

// snapshot runs fn over one snapshot of all tenants, without the limits that
// are meant for the statements of a request.
func snapshot(ctx context.Context, db *postgres.DB, fn func(tx pgx.Tx) error) error {
	return db.Snapshot(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = '`+slowest+`'; SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		return fn(tx)
	})
}

// rule is a check that is one statement.
type rule struct {
	invariant int
	name      string
	says      string
	// rows counts what is looked at: a statement of one number.
	rows string
	// find lists violations: tenant, subject, data (jsonb), words.
	find   string
	repair string
}

// rules are all checks of one statement, by invariant.
func rules() []rule {
	var all []rule
	for _, part := range [][]rule{stockRules, transferRules, receiptRules, moneyRules, disputeRules, refundRules, orderRules, holdRules, newsRules, dueRules, comparedRules, binRules, shipmentRules, fulfillmentRules, returnRules, noticeRules, eventRules} {
		all = append(all, part...)
	}
	return all
}

func (r rule) check(ctx context.Context, tx pgx.Tx, args pgx.NamedArgs) (Check, error) {
	c := Check{Invariant: r.invariant, Name: r.name, Rule: r.says}
	if err := tx.QueryRow(ctx, r.rows).Scan(&c.Rows); err != nil {
		return c, fmt.Errorf("audit: count for %s: %w", r.name, err)
	}
	rows, err := tx.Query(ctx, r.find, args)
	if err != nil {
		return c, fmt.Errorf("audit: %s: %w", r.name, err)
	}
	c.Violations, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Violation, error) {
		v := Violation{Repair: r.repair}
		err := row.Scan(&v.Tenant, &v.Subject, &v.Data, &v.Words)
		return v, err
	})
	if err != nil {
		return c, fmt.Errorf("audit: %s: %w", r.name, err)
	}
	return c, nil
}

// ErrLedger wraps the failure to read the sandbox's ledger.
var ErrLedger = errors.New("the sandbox's ledger can't be read")
