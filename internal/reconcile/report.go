package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/payment"
	"justlogistics/internal/problem"
)

// Report is what came of a day, gateway by gateway.
type Report struct {
	Date     string          `json:"date"`
	Gateways []GatewayReport `json:"gateways"`
}

// GatewayReport is one gateway's day. Amounts are in minor units.
type GatewayReport struct {
	ID         string       `json:"id"`
	Gateway    payment.Name `json:"gateway"`
	Status     string       `json:"status"`
	Source     *Source      `json:"source"`
	Failure    *string      `json:"failure"`
	StartedAt  time.Time    `json:"started_at"`
	ComparedAt *time.Time   `json:"compared_at"`
	FinishedAt *time.Time   `json:"finished_at"`
	// Counts are by result and by what became of the differences.
	Counts map[string]int `json:"counts"`
	Totals []Total        `json:"totals"`
	Fees   []Fee          `json:"fees"`
	// Items are the differences, at most MostItems of them.
	Items   []ReportItem `json:"items"`
	LeftOut int          `json:"items_left_out"`
}

// Fee is what a provider keeps of a day, in minor units.
type Fee struct {
	Currency money.Currency `json:"currency"`
	Amount   int64          `json:"amount"`
}

// ReportItem is a transaction as people see it.
type ReportItem struct {
	ID         string                  `json:"id"`
	Kind       payment.TransactionKind `json:"kind"`
	Result     Result                  `json:"result"`
	Resolution Resolution              `json:"resolution"`
	PaymentID  *string                 `json:"payment_id"`
	RefundID   *string                 `json:"refund_id"`
	Reference  *string                 `json:"reference"`
	Currency   money.Currency          `json:"currency"`
	Ours       *Side                   `json:"ours"`
	Theirs     *Side                   `json:"theirs"`
	Fee        int64                   `json:"fee"`
	Note       string                  `json:"note"`
	Actor      *string                 `json:"actor"`
	ResolvedAt *time.Time              `json:"resolved_at"`
	DueAt      *time.Time              `json:"due_at"`
	Verbs      []string                `json:"verbs"`
}

// Side is one side's word on a transaction.
type Side struct {
	Amount   int64          `json:"amount"`
	Currency money.Currency `json:"currency"`
	Status   string         `json:"status"`
	At       time.Time      `json:"at"`
}

// MostItems bounds the differences that a report lists; the CSV has all.
const MostItems = 1000

// Read makes the report of a day. gateway "" means all.
func Read(ctx context.Context, tx pgx.Tx, tenantID, date string, gateway payment.Name) (Report, error) {
	out := Report{Date: date, Gateways: []GatewayReport{}}
	list, err := collect(ctx, tx, func(row pgx.CollectableRow) (g GatewayReport, err error) {
		var source Source
		var failure string
		err = row.Scan(&g.ID, &g.Gateway, &g.Status, &source, &failure, &g.StartedAt, &g.ComparedAt, &g.FinishedAt, &g.Totals)
		if source != "" {
			g.Source = &source
		}
		if failure != "" {
			g.Failure = &failure
		}
		return g, err
	}, `SELECT id, gateway, status, source, failure, started_at, compared_at, finished_at, totals FROM reconciliations WHERE tenant = $1 AND day = $2::date AND ($3 = '' OR gateway = $3) ORDER BY gateway`,
		tenantID, date, string(gateway))
	if err != nil {
		return out, err
	}
	for _, g := range list {
		if err := g.fill(ctx, tx, tenantID); err != nil {
			return out, err
		}
		out.Gateways = append(out.Gateways, g)
	}
	return out, nil
}

func (g *GatewayReport) fill(ctx context.Context, tx pgx.Tx, tenantID string) error {
	g.Counts = map[string]int{}
	for _, r := range Results() {
		g.Counts[string(r)] = 0
	}
	for _, r := range Resolutions() {
		if r != None {
			g.Counts[string(r)] = 0
		}
	}
	rows, err := tx.Query(ctx, `SELECT result, resolution, count(*)::int FROM reconciliation_items WHERE tenant = $1 AND reconciliation_id = $2 GROUP BY result, resolution`, tenantID, g.ID)
	if err != nil {
		return fmt.Errorf("counts of reconciliation %s: %w", g.ID, err)
	}
	var result, resolution string
	var n, differences int
	_, err = pgx.ForEachRow(rows, []any{&result, &resolution, &n}, func() error {
		g.Counts[result] += n
		if Resolution(resolution) != None {
			g.Counts[resolution] += n
		}
		if Result(result) != Matched {
			differences += n
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("counts of reconciliation %s: %w", g.ID, err)
	}
	g.Fees = []Fee{}
	for _, t := range g.Totals {
		g.Fees = append(g.Fees, Fee{t.Currency, t.Fees})
	}
	g.Items, err = collect(ctx, tx, scanItem, itemSQL+` AND i.reconciliation_id = $2 AND i.result <> 'matched' ORDER BY (i.resolution = 'raised') DESC, i.created_at, i.id LIMIT $3`, tenantID, g.ID, MostItems)
	if g.Items == nil {
		g.Items = []ReportItem{}
	}
	g.LeftOut = differences - len(g.Items)
	return err
}

const itemSQL = `SELECT i.id, i.kind, i.result, i.resolution, i.payment_id, i.refund_id, i.currency, i.ours, i.theirs, i.fee, i.note, i.actor, i.resolved_at, i.due_at FROM reconciliation_items i WHERE i.tenant = $1`

func scanItem(row pgx.CollectableRow) (i ReportItem, err error) {
	var paymentID, refundID, actor string
	var ours, theirs []byte
	if err = row.Scan(&i.ID, &i.Kind, &i.Result, &i.Resolution, &paymentID, &refundID, &i.Currency, &ours, &theirs, &i.Fee, &i.Note, &actor, &i.ResolvedAt, &i.DueAt); err != nil {
		return i, err
	}
	i.PaymentID, i.RefundID, i.Actor, i.Verbs = named(paymentID), named(refundID), named(actor), []string{}
	if i.Resolution == Raised {
		i.Verbs = []string{VerbResolve}
	}
	if ours != nil {
		var o struct {
			Amount   int64
			Currency money.Currency
			Status   string
			At       time.Time
		}
		if err := json.Unmarshal(ours, &o); err != nil {
			return i, fmt.Errorf("item %s: %w", i.ID, err)
		}
		i.Ours = &Side{o.Amount, o.Currency, o.Status, o.At}
	}
	if theirs != nil {
		var l Line
		if err := json.Unmarshal(theirs, &l); err != nil {
			return i, fmt.Errorf("item %s: %w", i.ID, err)
		}
		state := string(l.Outcome)
		if l.Kind == payment.ChargeTransaction && l.Outcome == payment.OutcomeApproved && !l.Captured {
			state = "authorized"
		}
		i.Theirs, i.Reference = &Side{l.Amount, l.Currency, state, l.At}, named(first(l.RefundReference, l.CaptureRef, l.Reference))
	}
	return i, nil
}

func named(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Every calls fn with each item of a day, matched ones too, in the order of
// gateways.
func Every(ctx context.Context, tx pgx.Tx, tenantID, date string, gateway payment.Name, fn func(gateway payment.Name, i ReportItem) error) error {
	rows, err := tx.Query(ctx, `SELECT i.gateway, i.id, i.kind, i.result, i.resolution, i.payment_id, i.refund_id, i.currency, i.ours, i.theirs, i.fee, i.note, i.actor, i.resolved_at, i.due_at
	    FROM reconciliation_items i JOIN reconciliations r ON r.tenant = i.tenant AND r.id = i.reconciliation_id
	   WHERE i.tenant = $1 AND r.day = $2::date AND ($3 = '' OR r.gateway = $3) ORDER BY i.gateway, i.result, i.created_at, i.id`, tenantID, date, string(gateway))
	if err != nil {
		return fmt.Errorf("items of %s: %w", date, err)
	}
	defer rows.Close()
	for rows.Next() {
		var g payment.Name
		i, err := scanItem(gatewayFirst{rows, &g})
		if err != nil {
			return err
		}
		if err := fn(g, i); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("items of %s: %w", date, err)
	}
	return nil
}

// gatewayFirst is a row whose first column is the gateway.
type gatewayFirst struct {
	pgx.Rows
	gateway *payment.Name
}

func (g gatewayFirst) Scan(dest ...any) error {
	return g.Rows.Scan(append([]any{g.gateway}, dest...)...)
}

// VerbResolve is what a person can do about a difference: say what it is.
const VerbResolve = "resolve"

// Use is a person's word on a difference.
type Use struct {
	Tenant, ItemID string
	// Who and why: Actor names the person, KeyID the API key.
	Actor, KeyID, Reason string
}

// Resolve records what a person says of a difference that was raised, and takes
// it off the support list. It is 404 for another tenant's, and 409 when nobody
// is asked about it (any more).
func Resolve(ctx context.Context, tx pgx.Tx, u Use) (ReportItem, error) {
	var f problem.Fields
	for _, field := range []struct{ name, value string }{{"reason", u.Reason}, {"actor", u.Actor}} {
		switch {
		case field.value == "":
			f.Add(field.name, "required", "must not be empty")
		case len(field.value) > 500:
			f.Add(field.name, "too_long", "at most 500 bytes")
		}
	}
	if err := f.Err(); err != nil {
		return ReportItem{}, err
	}
	var reconciliationID string
	var resolution Resolution
	err := tx.QueryRow(ctx, `SELECT reconciliation_id, resolution FROM reconciliation_items WHERE tenant = $1 AND id = $2 FOR UPDATE`, u.Tenant, u.ItemID).Scan(&reconciliationID, &resolution)
	if errors.Is(err, pgx.ErrNoRows) {
		return ReportItem{}, problem.Missing("difference")
	}
	if err != nil {
		return ReportItem{}, fmt.Errorf("difference %s: %w", u.ItemID, err)
	}
	if resolution != Raised {
		return ReportItem{}, problem.New(problem.Conflict, "verb_not_applicable", "This difference does not wait for a person: it is "+string(resolution)+".").With("applicable", []string{})
	}
	if _, err := tx.Exec(ctx, `UPDATE reconciliation_items SET resolution = 'resolved', note = $3, actor = $4, resolved_at = now(), due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, u.Tenant, u.ItemID, u.Reason, u.Actor); err != nil {
		return ReportItem{}, fmt.Errorf("resolve difference %s: %w", u.ItemID, err)
	}
	detail, err := encode(map[string]string{"item_id": u.ItemID})
	if err != nil {
		return ReportItem{}, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO support_actions (tenant, id, workflow_id, step, verb, actor, api_key_id, reason, detail, outcome) VALUES ($1,$2,$3,'difference',$4,$5,$6,$7,$8,'done')`,
		u.Tenant, id.New(), "reconciliation:"+u.Tenant+":"+reconciliationID, VerbResolve, u.Actor, u.KeyID, u.Reason, detail)
	if err != nil {
		return ReportItem{}, fmt.Errorf("record resolve of %s: %w", u.ItemID, err)
	}
	list, err := collect(ctx, tx, scanItem, itemSQL+` AND i.id = $2`, u.Tenant, u.ItemID)
	if err != nil {
		return ReportItem{}, err
	}
	return list[0], nil
}
