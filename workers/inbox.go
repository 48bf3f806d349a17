package workers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/workflows"
)

const (
	inboxIdle  = 700 * time.Millisecond
	inboxBatch = 50
	// unknownFor is how long news of a payment that we do not know are kept for
	// it to appear; an attempt's reference is recorded within seconds.
	unknownFor = 100 * time.Second
)

// inboxLoop carries news that nobody has applied yet to their workflows, again
// and again with back-off, until a transaction marks them. The handlers of the
// API try at once; this is for what was missed.
type inboxLoop struct {
	db       *postgres.DB
	temporal client.Client
	log      *slog.Logger
}

func (l *inboxLoop) run(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := l.round(ctx)
		if err != nil && ctx.Err() == nil {
			l.log.Warn("inbox: will be tried again", "error", err)
		}
		if n < inboxBatch {
			select {
			case <-ctx.Done():
			case <-time.After(inboxIdle):
			}
		}
	}
}

// round hands one batch on and reports how many there were.
func (l *inboxLoop) round(ctx context.Context) (int, error) {
	var rows []inbox.Row
	err := l.db.AsSystem(ctx, func(tx pgx.Tx) (err error) {
		rows, err = inbox.Claim(ctx, tx, inboxBatch)
		return err
	})
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, r := range rows {
		if err := l.hand(ctx, r); err != nil {
			failed = append(failed, err)
		}
	}
	return len(rows), errors.Join(failed...)
}

// hand tells the run that looks after the payment; a run that has ended gets a
// successor. Failing is harmless: the claim has set the next turn.
func (l *inboxLoop) hand(ctx context.Context, r inbox.Row) error {
	if r.CheckoutID == "" {
		if time.Since(r.ReceivedAt) < unknownFor {
			return nil
		}
		return l.db.InTenant(ctx, r.Tenant, func(tx pgx.Tx) error {
			return inbox.MarkIgnored(ctx, tx, r.Tenant, r.ID, "names no payment of ours")
		})
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if r.RefundRun == "" {
		if done, err := l.redundant(ctx, r); err != nil || done {
			return err
		}
	}
	if may, err := l.mayAsk(ctx, r); err != nil || !may {
		return err
	}
	err := l.tell(ctx, r)
	if err != nil && r.Hint() {
		return errors.Join(err, l.db.InTenant(ctx, r.Tenant, func(tx pgx.Tx) error { return inbox.NotAsked(ctx, tx, r.Tenant, r.PaymentID, r.ID) }))
	}
	return err
}

// tell signals the runs of the payment's checkout and refund.
func (l *inboxLoop) tell(ctx context.Context, r inbox.Row) error {
	news := workflows.News{PaymentID: r.PaymentID}
	if err := l.tellRefund(ctx, r, news); err != nil {
		return err
	}
	if r.Kind == inbox.Return {
		news.ReturnID = r.ID
	}
	id := workflows.ID(workflows.KindCheckout, r.Tenant, r.CheckoutID)
	err := l.temporal.SignalWorkflow(ctx, id, "", workflows.SignalNews, news)
	var gone *serviceerror.NotFound
	if !errors.As(err, &gone) {
		return err
	}
	v, err := checkout.Load(ctx, l.db, r.Tenant, r.CheckoutID)
	if err != nil {
		return err
	}
	if v.Status.Open() {
		return workflows.Restart(ctx, l.temporal, workflows.KindCheckout, r.Tenant, r.CheckoutID, false)
	}
	// A late run that waits for a person is told too: he must not rule on less
	// than is known.
	err = l.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindLatePayment, r.Tenant, r.PaymentID), "", workflows.SignalNews, news)
	if !errors.As(err, &gone) {
		return err
	}
	return workflows.StartLatePayment(ctx, l.temporal, workflows.CheckoutInput{Tenant: r.Tenant, CheckoutID: r.CheckoutID, PaymentID: r.PaymentID, ReturnID: news.ReturnID})
}

// mayAsk holds back an unsigned notification until the payment's minute is over.
func (l *inboxLoop) mayAsk(ctx context.Context, r inbox.Row) (may bool, err error) {
	if !r.Hint() {
		return true, nil
	}
	err = l.db.InTenant(ctx, r.Tenant, func(tx pgx.Tx) error {
		may, err = inbox.MayAsk(ctx, tx, r.Tenant, r.PaymentID, r.ID)
		return err
	})
	return may, err
}

// tellRefund tells the run of the refund that the news are about. One that has
// ended needs no word: the look-up of its payment tells what became of it.
func (l *inboxLoop) tellRefund(ctx context.Context, r inbox.Row, news workflows.News) error {
	if r.RefundRun == "" {
		return nil
	}
	err := l.temporal.SignalWorkflow(ctx, workflows.ID(workflows.KindRefund, r.Tenant, r.RefundRun), "", workflows.SignalNews, news)
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return nil
	}
	return err
}

// redundant settles what came after the answer that it tells of.
func (l *inboxLoop) redundant(ctx context.Context, r inbox.Row) (done bool, err error) {
	err = l.db.InTenant(ctx, r.Tenant, func(tx pgx.Tx) error {
		p, err := payment.Load(ctx, tx, r.Tenant, r.PaymentID)
		if err != nil {
			return err
		}
		if done = inbox.Redundant(p, r.Claim); !done {
			return nil
		}
		return inbox.MarkIgnored(ctx, tx, r.Tenant, r.ID, inbox.ReasonRedundant)
	})
	return done, err
}
