package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"

	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/reconcile"
)

// Reconciliations compare providers' books with ours. The calls to a provider
// are FetchStatement; everything else is the database's.
type Reconciliations struct {
	DB       *postgres.DB
	Gateways Gateways
	Logger   *slog.Logger
	// WakeRefund tells the run of a refund that its provider should be asked:
	// that of its request, or its own when requestID is empty.
	WakeRefund func(ctx context.Context, tenant, requestID, refundID string) error
}

// ReconciliationRef names a reconciliation.
type ReconciliationRef struct {
	Tenant           string `json:"tenant"`
	ReconciliationID string `json:"reconciliation_id"`
}

// ReconciliationView is a reconciliation as its workflow sees it.
type ReconciliationView struct {
	Gateway payment.Name `json:"gateway"`
	Date    string       `json:"date"`
}

// LoadReconciliation reads a reconciliation.
func (a *Reconciliations) LoadReconciliation(ctx context.Context, in ReconciliationRef) (v ReconciliationView, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		r, err := reconcile.Load(ctx, tx, in.Tenant, in.ReconciliationID)
		v = ReconciliationView{r.Gateway, r.Day.Date}
		return err
	})
	return v, classify(err)
}

// ResumeReconciliation marks a reconciliation as running again.
func (a *Reconciliations) ResumeReconciliation(ctx context.Context, in ReconciliationRef) error {
	return classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error { return reconcile.Resume(ctx, tx, in.Tenant, in.ReconciliationID) }))
}

// FailReconciliation marks a reconciliation as failed and says why.
func (a *Reconciliations) FailReconciliation(ctx context.Context, in ReconciliationRef, why string) error {
	return classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		return reconcile.Fail(ctx, tx, in.Tenant, in.ReconciliationID, why)
	}))
}

// FinishReconciliation ends a run; true means that it has to begin anew, because
// something has come meanwhile.
func (a *Reconciliations) FinishReconciliation(ctx context.Context, in ReconciliationRef) (again bool, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		again, err = reconcile.Finish(ctx, tx, in.Tenant, in.ReconciliationID)
		return err
	})
	return again, classify(err)
}

// Fetched is what a turn of FetchStatement got.
type Fetched struct {
	// Next is where the next turn goes on; empty when there is no more.
	Next   string           `json:"next,omitempty"`
	Source reconcile.Source `json:"source"`
	// LookupSeconds is how long after its beginning the provider answers
	// questions about an attempt; zero: always.
	LookupSeconds int64 `json:"lookup_seconds,omitempty"`
	Transactions  int   `json:"transactions"`
}

const (
	// fetchFor is how long a turn goes on before it hands its cursor back.
	fetchFor = 20 * time.Second
	// askBatch is how many payments are asked about between two heartbeats.
	askBatch = 10
)

// FetchStatement reads the provider's side of a day and keeps it, from cursor
// (empty: the beginning) for as long as a turn lasts. Where the provider lists
// nothing, it is asked about each payment of ours; where it lists no refunds,
// about those. A page is stored before the
// next one is fetched, and stored again it is the same: a turn that was cut off
// goes on at the page of its last heartbeat.
func (a *Reconciliations) FetchStatement(ctx context.Context, in ReconciliationRef, cursor string) (out Fetched, err error) {
	out, err = a.fetch(ctx, in, cursor)
	return out, classify(err)
}

func (a *Reconciliations) fetch(ctx context.Context, in ReconciliationRef, cursor string) (out Fetched, err error) {
	if activity.HasHeartbeatDetails(ctx) {
		var reached string
		if err := activity.GetHeartbeatDetails(ctx, &reached); err == nil && reached != "" {
			cursor = reached
		}
	}
	var r reconcile.Row
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
		r, err = reconcile.Load(ctx, tx, in.Tenant, in.ReconciliationID)
		return err
	})
	if err != nil {
		return out, err
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, r.Gateway)
	if err != nil {
		return out, err
	}
	able := g.Capabilities()
	page, source := a.statementPage, reconcile.FromAPI
	if !able.Statement {
		page, source = a.askSome, reconcile.FromQuestions
	}
	out = Fetched{Source: source, LookupSeconds: int64(able.LookupFor.Seconds()), Next: cursor}
	for begun := time.Now(); ; {
		lines, next, err := page(ctx, r, g, out.Next)
		if err != nil {
			return out, err
		}
		err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
			if err := reconcile.Resume(ctx, tx, in.Tenant, in.ReconciliationID); err != nil {
				return err
			}
			return reconcile.StoreLines(ctx, tx, in.Tenant, r.Gateway, lines)
		})
		if err != nil {
			return out, err
		}
		out.Transactions += len(lines)
		if next != "" && next == out.Next {
			return out, fmt.Errorf("%s gives the same page again and again", r.Gateway)
		}
		if out.Next = next; next == "" {
			return out, nil
		}
		activity.RecordHeartbeat(ctx, next)
		if time.Since(begun) > fetchFor {
			return out, nil
		}
	}
}

// unlisted begins the cursors of the turns after a list's last page.
const unlisted = "unlisted:"

// statementPage is a page of the provider's own list, the margin around the day
// included, and after the last one what the list does not name.
func (a *Reconciliations) statementPage(ctx context.Context, r reconcile.Row, g payment.Gateway, cursor string) (lines []reconcile.Line, next string, err error) {
	if rest, over := strings.CutPrefix(cursor, unlisted); over {
		lines, next, err = a.ask(ctx, r, g, rest, reconcile.UnlistedRefunds)
		if next != "" {
			next = unlisted + next
		}
		return lines, next, err
	}
	from, to := r.Day.Wide()
	page, err := g.Transactions(ctx, payment.StatementQuery{From: from, To: to, Cursor: cursor})
	if err != nil {
		return nil, "", err
	}
	for _, t := range page.Transactions {
		lines = append(lines, reconcile.LineOf(reconcile.FromAPI, t))
	}
	if page.Next == "" {
		return lines, unlisted, nil
	}
	return lines, page.Next, nil
}

// askSome asks the provider about some of our payments and refunds of the day.
func (a *Reconciliations) askSome(ctx context.Context, r reconcile.Row, g payment.Gateway, cursor string) (lines []reconcile.Line, next string, err error) {
	return a.ask(ctx, r, g, cursor, reconcile.Questions)
}

type questions func(ctx context.Context, tx pgx.Tx, r reconcile.Row, since time.Time, after reconcile.Question, limit int) ([]reconcile.Question, error)

// ask asks a batch of questions. The cursor names the last one that was asked.
func (a *Reconciliations) ask(ctx context.Context, r reconcile.Row, g payment.Gateway, cursor string, which questions) (lines []reconcile.Line, next string, err error) {
	var after reconcile.Question
	after.PaymentID, after.RefundID, _ = strings.Cut(cursor, "/")
	since := time.Time{}
	if able := g.Capabilities(); able.LookupFor > 0 {
		since = time.Now().Add(-able.LookupFor)
	}
	said := answers{}
	var batch []reconcile.Question
	err = a.DB.InTenant(ctx, r.Tenant, func(tx pgx.Tx) (err error) {
		batch, err = which(ctx, tx, r, since, after, askBatch)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	for _, q := range batch {
		one := a.askPayment
		if q.RefundID != "" {
			one = a.askRefund
		}
		told, err := one(ctx, r, g, q, said)
		if err != nil {
			return nil, "", err
		}
		lines = append(lines, told...)
	}
	if len(batch) == askBatch {
		last := batch[len(batch)-1]
		next = last.PaymentID + "/" + last.RefundID
	}
	return lines, next, nil
}

// answers are a provider's answers about payments, by their id: a payment is
// asked about once a batch.
type answers map[string]payment.Answer

func (s answers) about(ctx context.Context, g payment.Gateway, p payment.Payment) (payment.Answer, error) {
	if a, known := s[p.ID]; known {
		return a, nil
	}
	looked, err := g.Lookup(ctx, p.At())
	if err != nil {
		return payment.Answer{}, err
	}
	a, _ := looked.Answer()
	s[p.ID] = a
	return a, nil
}

// askPayment turns the answer about a payment into lines: its charge, and what
// was given back of it beyond what we know of. Our books are read after the
// question: a refund that is sent meanwhile is ours.
func (a *Reconciliations) askPayment(ctx context.Context, r reconcile.Row, g payment.Gateway, q reconcile.Question, said answers) ([]reconcile.Line, error) {
	var p payment.Payment
	err := a.DB.InTenant(ctx, r.Tenant, func(tx pgx.Tx) (err error) {
		p, err = payment.Load(ctx, tx, r.Tenant, q.PaymentID)
		return err
	})
	if err != nil {
		return nil, err
	}
	answer, err := said.about(ctx, g, p)
	if err != nil {
		return nil, err
	}
	var known int64
	var references []string
	err = a.DB.InTenant(ctx, r.Tenant, func(tx pgx.Tx) (err error) {
		known, references, err = reconcile.Backed(ctx, tx, r.Tenant, q.PaymentID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reconcile.Answered(p, answer, known, references), nil
}

// askRefund turns the answer about a refund of ours into lines. A provider that
// knows refunds only by their sum cannot tell of one any more when another has
// followed it: one that we know to be made is then there if all that we know to
// have gone back of its payment is.
func (a *Reconciliations) askRefund(ctx context.Context, r reconcile.Row, g payment.Gateway, q reconcile.Question, said answers) ([]reconcile.Line, error) {
	var record payment.RefundRecord
	var p payment.Payment
	var settled *time.Time
	var returned int64
	err := a.DB.InTenant(ctx, r.Tenant, func(tx pgx.Tx) (err error) {
		if record, p, err = payment.LoadRefund(ctx, tx, r.Tenant, q.RefundID); err != nil {
			return err
		}
		if returned, err = reconcile.Returned(ctx, tx, r.Tenant, p.ID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT settled_at FROM refunds WHERE tenant = $1 AND id = $2`, r.Tenant, q.RefundID).Scan(&settled)
	})
	if err != nil {
		return nil, err
	}
	looked, err := g.LookupRefund(ctx, payment.RefundIntent{RefundID: record.ID, Attempt: p.At(), Amount: record.Amount, Currency: record.Currency, Reason: record.Reason,
		RefundedBefore: record.RefundedBefore, Reference: record.Reference})
	if err != nil {
		return nil, err
	}
	answer, _ := looked.Answer()
	if record.Status == "succeeded" && answer.Outcome == payment.OutcomeUnknown {
		whole, err := said.about(ctx, g, p)
		if err != nil {
			return nil, err
		}
		if whole.Refunded >= returned {
			answer = payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: record.Reference, Amount: record.Amount}
		}
	}
	at := record.CreatedAt
	if settled != nil {
		at = *settled
	}
	return reconcile.AnsweredRefund(record, answer, at), nil
}

// Compared is what came of a comparison.
type Compared struct {
	Transactions int `json:"transactions"`
	// OnTheWay are differences that were sent the normal ways.
	OnTheWay int `json:"on_the_way,omitempty"`
	Raised   int `json:"raised,omitempty"`
}

// CompareBooks compares the two sides of a day and sends what can be put right
// the normal ways. With final, what was sent before and still differs waits for
// a person. Repeated, it writes the same.
func (a *Reconciliations) CompareBooks(ctx context.Context, in ReconciliationRef, got Fetched, final bool) (Compared, error) {
	var done reconcile.Outcome
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
		done, err = reconcile.Settle(ctx, tx, in.Tenant, in.ReconciliationID, reconcile.Terms{Source: got.Source, LookupFor: time.Duration(got.LookupSeconds) * time.Second, Final: final})
		return err
	})
	if err != nil {
		return Compared{}, classify(err)
	}
	for _, w := range done.Wake {
		// One that can't be told now is told by the next comparison, or raised.
		if err := a.WakeRefund(ctx, in.Tenant, w.RequestID, w.RefundID); err != nil {
			if ctx.Err() != nil {
				return Compared{}, classify(ctx.Err())
			}
			a.Logger.Warn("a refund's run was not told", "tenant", in.Tenant, "refund_id", w.RefundID, "error", err)
		}
	}
	return Compared{Transactions: done.Items, OnTheWay: done.OnTheWay, Raised: done.Raised}, nil
}

// DuePage is a part of the installation's daily round.
type DuePage struct {
	Opened []ReconciliationRef `json:"opened"`
	// Next is the last tenant and gateway of the page; nil when there is no more.
	Next *reconcile.Due `json:"next,omitempty"`
}

const duePage = 100

// OpenYesterday makes the reconciliation of yesterday, by each tenant's clock,
// be run for the tenants and gateways after one. now is when the round began.
func (a *Reconciliations) OpenYesterday(ctx context.Context, now time.Time, after reconcile.Due) (out DuePage, err error) {
	out.Opened = []ReconciliationRef{}
	var due []reconcile.Due
	err = a.DB.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		due, err = reconcile.Configured(ctx, tx, payment.Names(), after, duePage)
		return err
	})
	if err != nil {
		return out, classify(err)
	}
	var failed []error
	for _, d := range due {
		err := a.DB.InTenant(ctx, d.Tenant, func(tx pgx.Tx) error {
			zone, err := reconcile.Zone(ctx, tx, d.Tenant)
			if err != nil {
				return err
			}
			id, _, err := reconcile.Open(ctx, tx, d.Tenant, d.Gateway, reconcile.DayOf(now, zone).Before(zone), "schedule", false)
			if err == nil {
				out.Opened = append(out.Opened, ReconciliationRef{d.Tenant, id})
			}
			return err
		})
		switch {
		case err == nil:
		case postgres.Unavailable(err):
			return out, classify(err)
		default: // a tenant whose rules can't be read keeps no other from its books
			failed = append(failed, fmt.Errorf("reconciliation of %s at %s: %w", d.Gateway, d.Tenant, err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		a.Logger.Error("reconciliations were not opened", "error", err)
	}
	if len(due) == duePage {
		out.Next = &due[len(due)-1]
	}
	return out, nil
}
