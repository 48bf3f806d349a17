package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/checkout"
	"justlogistics/internal/inbox"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/timeline"
)

// Payments are the calls to gateways. Each is a regular activity with a
// summary, so that a person can see, pause and reset it; each writes its
// intent before the call and asks the gateway first when the intent was there
// already.
type Payments struct {
	DB       *postgres.DB
	Gateways Gateways
	// PublicURL is where providers reach us and send browsers back.
	PublicURL string
}

// Gateways finds the gateway of a tenant.
type Gateways interface {
	Gateway(ctx context.Context, tenant string, name payment.Name) (payment.Gateway, error)
}

// PaymentRef names an attempt.
type PaymentRef struct {
	Tenant     string `json:"tenant"`
	CheckoutID string `json:"checkout_id"`
	PaymentID  string `json:"payment_id"`
	// InboxID is the stored return that asks to be settled; empty for the
	// payment's newest.
	InboxID string `json:"inbox_id,omitempty"`
	// MayCommit allows Settle to move money, if units are still held by then.
	// Without it a gateway that charges only when we commit answers
	// NotCommitted.
	MayCommit bool `json:"may_commit,omitempty"`
}

// Asked is a gateway's answer and when it was asked, by the database's clock.
type Asked struct {
	Answer  payment.Answer `json:"answer"`
	AskedAt time.Time      `json:"asked_at"`
	// NotCommitted: the buyer finished, and nothing was charged because
	// MayCommit was not given, or nothing is held any more.
	NotCommitted bool `json:"not_committed,omitempty"`
	// ByUs: of a Close, the provider knows nothing of it; the attempt dies by
	// our not committing it.
	ByUs bool `json:"by_us,omitempty"`
	// Lingers: of a Close, nobody can close the attempt (Flow): it can be paid
	// until its link's end, whatever is wished, and only then is it over.
	Lingers bool `json:"lingers,omitempty"`
}

// lastMoment is how long before the hold's end a refusal may be due to that end: providers
// count whole seconds, and refuse what is over when they read it as if it were wrong.
const lastMoment = 2 * time.Second

// BeginPayment creates the attempt at its gateway and offers the checkout to the
// buyer. Repeated, it finds the attempt begun. It fails with TypeUnavailable,
// TypeInvalid or TypeCredentials when the buyer cannot pay there, and with
// TypeUnknown when the gateway did not answer. With a token the buyer may have
// paid by its end: the answer, with when it was asked for, is then to be
// recorded, and TypeUnknown means that money may have moved. A token is sent
// again only when the gateway knows of no attempt.
func (a *Payments) BeginPayment(ctx context.Context, in PaymentRef) (Asked, error) {
	var p payment.Payment
	var at payment.Attempt
	var intent payment.Intent
	var out Asked
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		var err error
		if p, out.AskedAt, err = payment.Announce(ctx, tx, in.Tenant, in.PaymentID, payment.EffectBegin); err != nil {
			return err
		}
		if at, err = hinted(ctx, tx, in.Tenant, p); err != nil {
			return err
		}
		choice, err := payment.Chosen(ctx, tx, in.Tenant, p)
		if err != nil {
			return err
		}
		if choice.Token != "" && p.Status == payment.StatusPending && !p.ByToken {
			if err := payment.UsesToken(ctx, tx, in.Tenant, p.ID); err != nil {
				return err
			}
			p.ByToken = true
		}
		intent = payment.Intent{PaymentID: p.ID, Tenant: in.Tenant, Amount: p.Amount, Currency: p.Currency, At: p.CreatedAt.Truncate(time.Second),
			Method: choice.Method, Token: choice.Token, Installments: choice.Installments}
		return tx.QueryRow(ctx, `SELECT c.number, c.email, c.rut, h.expires_at FROM checkouts c JOIN holds h ON h.tenant = c.tenant AND h.id = c.hold_id WHERE c.tenant = $1 AND c.id = $2`,
			in.Tenant, p.CheckoutID).Scan(&intent.Number, &intent.Email, &intent.RUT, &intent.Deadline)
	})
	if err != nil {
		return out, classify(fmt.Errorf("begin payment %s: %w", in.PaymentID, err))
	}
	if p.BegunAt != nil && (!p.ByToken || p.Status != payment.StatusPending) {
		return out, nil // begun, and what became of it is recorded
	}
	if p.Status != payment.StatusPending {
		return out, classify(fmt.Errorf("%w: %s", payment.ErrGivenUp, p.ID))
	}
	// Nothing begins after the hold's end: a worker was away, or earlier tries took long.
	late := &payment.Failure{Gateway: p.Gateway, Class: payment.ClassUnavailable, Code: "hold_ended", Message: "the hold ended before the payment could begin"}
	left := func() time.Duration { return time.Until(intent.Deadline) }
	if p.BeginTriedAt == nil && !intent.Deadline.After(out.AskedAt) {
		return out, classify(late)
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, p.Gateway)
	if err != nil {
		return out, classify(err)
	}
	if intent, err = a.addressed(g, intent); err != nil {
		return out, classify(err)
	}
	before := payment.Untried
	if p.BeginTriedAt != nil {
		if before, err = g.Lookup(ctx, at); err != nil {
			return out, classify(err)
		}
		if p.BegunAt != nil { // its answer was recorded; what it said was lost
			if said, _ := before.Answer(); said.Outcome != payment.OutcomePending || said.Processing || p.Redirect == nil {
				out.Answer = said
			}
			return out, nil
		}
	}
	answer, found := before.Answer()
	if found = found && p.ByToken && answer.Code != payment.CodeNoSuchAttempt; !found {
		if err = late; left() > 0 {
			answer, err = g.Begin(ctx, intent, before)
		}
	}
	var refused *payment.Failure
	if errors.As(err, &refused) && refused.Class == payment.ClassInvalid && left() < lastMoment {
		err = late // it was asked for what was over on its way
	}
	if err != nil {
		if p.ByToken { // certainly nothing has happened: the token was not used
			err = errors.Join(err, a.tokenUnused(ctx, in))
		}
		return out, classify(err)
	}
	switch {
	case answer.Outcome == payment.OutcomeUnknown:
		return out, temporal.NewApplicationError("the gateway did not say whether the attempt was created", TypeUnknown)
	case answer.Outcome == payment.OutcomePending && answer.Redirect != nil:
	case p.ByToken && answer.Code != payment.CodeNoSuchAttempt:
		out.Answer = answer
	default:
		if p.ByToken {
			if err := a.tokenUnused(ctx, in); err != nil {
				return out, classify(err)
			}
		}
		if left() < lastMoment {
			return out, classify(late)
		}
		return out, temporal.NewNonRetryableApplicationError("the gateway refused the attempt: "+answer.Code, TypeInvalid, nil)
	}
	return out, classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		err := payment.Begun(ctx, tx, in.Tenant, p.ID, answer, g.Capabilities(), answer.Account, answer.LiveMode)
		if errors.Is(err, payment.ErrBegun) {
			return nil // by another try, while this one was taken for dead
		}
		if err != nil {
			return err
		}
		if err := payment.ForgetToken(ctx, tx, in.Tenant, p); err != nil {
			return err
		}
		if err := checkout.Offer(ctx, tx, in.Tenant, p.CheckoutID); err != nil {
			return err
		}
		if err := checkout.SetRun(ctx, tx, in.Tenant, p.CheckoutID, runID(ctx)); err != nil {
			return err
		}
		return timeline.Add(ctx, tx, in.Tenant, p.CheckoutID, "payment_begun", "system", map[string]any{"payment_id": p.ID, "gateway": p.Gateway, "attempt": p.Attempt})
	}))
}

// tokenUnused takes the doubt back that a token was used, also when the step's
// time is over by now.
func (a *Payments) tokenUnused(ctx context.Context, in PaymentRef) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error { return payment.TokenUnused(ctx, tx, in.Tenant, in.PaymentID) })
}

// addressed completes an intent with where the provider sends people and
// notifications, and leaves out what the gateway takes no choice of.
func (a *Payments) addressed(g payment.Gateway, in payment.Intent) (out payment.Intent, err error) {
	in.Description = "Pedido " + in.Number
	if in.ReturnURL, err = url.JoinPath(a.PublicURL, "payments", in.Tenant, string(g.Name()), in.PaymentID, "return"); err != nil {
		return in, err
	}
	if in.NotifyURL, err = a.notifyURL(in.Tenant, g.Name()); err != nil {
		return in, err
	}
	able := g.Capabilities()
	if !slices.Contains(able.Methods, in.Method) {
		in.Method = ""
	}
	if in.Installments > able.MaxInstallments {
		in.Installments = 0
	}
	return in, nil
}

func (a *Payments) notifyURL(tenant string, g payment.Name) (string, error) {
	return url.JoinPath(a.PublicURL, "webhooks", tenant, string(g))
}

// NotBegun records that an attempt could not begin and why. One whose token may
// have been used is in doubt instead. Either way its token is forgotten: it is
// never sent for an attempt that somebody has given up waiting for.
func (a *Payments) NotBegun(ctx context.Context, in PaymentRef, class string) error {
	return classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		p, err := payment.Lock(ctx, tx, in.Tenant, in.PaymentID)
		if err != nil {
			return err
		}
		if err := payment.ForgetToken(ctx, tx, in.Tenant, p); err != nil {
			return err
		}
		doubted, err := payment.DoubtBegin(ctx, tx, in.Tenant, in.PaymentID)
		if err != nil {
			return err
		}
		if doubted {
			if err := checkout.Offer(ctx, tx, in.Tenant, in.CheckoutID); err != nil {
				return err
			}
			return timeline.Add(ctx, tx, in.Tenant, in.CheckoutID, "payment_unknown", "system", map[string]any{"payment_id": in.PaymentID, "class": class})
		}
		tag, err := tx.Exec(ctx, `UPDATE payments SET status = 'cancelled', closed = true, code = $3, due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'pending' AND begun_at IS NULL`,
			in.Tenant, in.PaymentID, notBegunCode(class))
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return timeline.Add(ctx, tx, in.Tenant, in.CheckoutID, "payment_not_begun", "system", map[string]any{"payment_id": in.PaymentID, "class": class})
	}))
}

func notBegunCode(class string) string {
	if class == TypeInvalid {
		return checkout.FailPaymentRefused
	}
	return checkout.FailGatewayUnavailable
}

// SettleReturn does what a stored return asks for. If it was tried before, the
// gateway is asked first, so that a commit whose answer was lost is not made
// twice.
func (a *Payments) SettleReturn(ctx context.Context, in PaymentRef) (Asked, error) {
	var p payment.Payment
	var at payment.Attempt
	var ret payment.Return
	var out Asked
	announce := func(tx pgx.Tx) error {
		var detail []byte
		err := tx.QueryRow(ctx, `SELECT detail FROM inbox WHERE tenant = $1 AND payment_id = $2 AND kind = 'return' AND ($3 = '' OR id = $3) ORDER BY received_at DESC LIMIT 1`, in.Tenant, in.PaymentID, in.InboxID).Scan(&detail)
		if err != nil {
			return fmt.Errorf("return of payment %s: %w", in.PaymentID, err)
		}
		if err := json.Unmarshal(detail, &ret); err != nil {
			return fmt.Errorf("return of payment %s: %w", in.PaymentID, err)
		}
		if ret.Kind != payment.ReturnFinished {
			p, out.AskedAt, err = loadNow(ctx, tx, in)
			return err
		}
		// The workflow may not know yet that another checkout, or the sweeper, has
		// taken its units.
		if in.MayCommit {
			if in.MayCommit, err = checkout.Committable(ctx, tx, in.Tenant, in.CheckoutID); err != nil {
				return err
			}
		}
		if p, out.AskedAt, err = loadNow(ctx, tx, in); err != nil {
			return err
		}
		// Nor that another run has closed the attempt, while this one was lost.
		if in.MayCommit = in.MayCommit && (!p.Closed || p.Status.InDoubt()); !in.MayCommit {
			return nil
		}
		p, out.AskedAt, err = payment.Announce(ctx, tx, in.Tenant, in.PaymentID, payment.EffectSettle)
		return err
	}
	err := a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) (err error) {
		if err := announce(tx); err != nil {
			return err
		}
		at, err = hinted(ctx, tx, in.Tenant, p)
		return err
	})
	if err != nil {
		return out, classify(err)
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, p.Gateway)
	if err != nil {
		return out, classify(err)
	}
	before := payment.Untried
	commits := ret.Kind == payment.ReturnFinished && g.Capabilities().SettleMovesMoney
	if p.SettleTriedAt != nil || p.Status != payment.StatusPending || commits && !in.MayCommit {
		if before, err = g.Lookup(ctx, at); err != nil {
			return out, classify(err)
		}
		said, _ := before.Answer()
		if said.Outcome == payment.OutcomeUnknown || commits && !in.MayCommit {
			out.Answer = said
			// A commit that was tried and is still unknown may have charged the buyer.
			out.NotCommitted = commits && said.Outcome != payment.OutcomeApproved && (said.Outcome != payment.OutcomeUnknown || p.SettleTriedAt == nil)
			return out, nil
		}
	}
	if out.Answer, err = g.Settle(ctx, at, ret, before); err != nil || out.Answer.Outcome != payment.OutcomePending || out.Answer.Processing {
		return out, classify(err)
	}
	// The buyer has not paid yet (the return was opened by hand): nothing was
	// committed, and nobody needs to wonder whether it was.
	return out, classify(a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error { return payment.NotSettled(ctx, tx, in.Tenant, in.PaymentID) }))
}

// AskGateway asks the gateway what became of an attempt.
func (a *Payments) AskGateway(ctx context.Context, in PaymentRef) (Asked, error) {
	_, at, g, askedAt, err := a.attempt(ctx, in, "")
	if err != nil {
		return Asked{}, classify(err)
	}
	looked, err := g.Lookup(ctx, at)
	if err != nil {
		return Asked{}, classify(err)
	}
	answer, _ := looked.Answer()
	return Asked{Answer: answer, AskedAt: askedAt}, nil
}

// CloseAttempt makes an attempt unpayable, or finds that it was paid. A buyer who was back
// in time, and of whom the workflow has not heard yet, has approved what would be charged:
// that is committed instead.
func (a *Payments) CloseAttempt(ctx context.Context, in PaymentRef) (Asked, error) {
	inboxID, err := a.backInTime(ctx, in)
	if err != nil {
		return Asked{}, classify(err)
	}
	if inboxID != "" {
		back := in
		back.InboxID, back.MayCommit = inboxID, true
		settled, err := a.SettleReturn(ctx, back)
		if err != nil || settled.Answer.Outcome != payment.OutcomePending && !settled.NotCommitted {
			return settled, err
		}
	}
	p, at, g, askedAt, err := a.attempt(ctx, in, payment.EffectClose)
	if err != nil {
		return Asked{}, classify(err)
	}
	if p.BegunAt == nil && !p.ByToken {
		// The buyer was never given a way to pay it.
		return Asked{Answer: payment.Answer{Outcome: payment.OutcomeDeclined, Closed: true, Code: payment.CodeNoSuchAttempt}, AskedAt: askedAt}, nil
	}
	before := payment.Untried
	if p.CloseTriedAt != nil {
		if before, err = g.Lookup(ctx, at); err != nil {
			return Asked{}, classify(err)
		}
	}
	answer, err := g.Close(ctx, at, before)
	if err != nil {
		return Asked{}, classify(err)
	}
	able := g.Capabilities()
	out := Asked{Answer: answer, AskedAt: askedAt, ByUs: able.CloseIsOurs && answer.Code == payment.CodeClosed}
	if able.CloseIsOurs && !able.SettleMovesMoney {
		out = lingering(out, p.PayableUntil)
	}
	return out, nil
}

// backInTime is the stored return of a buyer who has approved the newest attempt of a
// checkout before the end of its hold, where that moves the money and nobody has cancelled;
// "" when there is none, or when it was settled.
func (a *Payments) backInTime(ctx context.Context, in PaymentRef) (inboxID string, err error) {
	var gateway payment.Name
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT i.id, p.gateway FROM inbox i JOIN payments p ON p.tenant = i.tenant AND p.id = i.payment_id JOIN checkouts c ON c.tenant = p.tenant AND c.id = p.checkout_id
		   WHERE i.tenant = $1 AND i.payment_id = $2 AND i.kind = 'return' AND i.status = 'pending' AND i.detail->>'kind' = $3 AND i.received_at < c.expires_at
		     AND c.status = 'awaiting_payment' AND c.cancel_requested_at IS NULL AND NOT EXISTS (SELECT FROM payments n WHERE n.tenant = p.tenant AND n.checkout_id = p.checkout_id AND n.attempt > p.attempt)
		   ORDER BY i.received_at DESC LIMIT 1`, in.Tenant, in.PaymentID, payment.ReturnFinished).Scan(&inboxID, &gateway)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("return of payment %s: %w", in.PaymentID, err)
	}
	g, err := a.Gateways.Gateway(ctx, in.Tenant, gateway)
	if err != nil || !g.Capabilities().SettleMovesMoney {
		return "", err
	}
	return inboxID, nil
}

// lingering is what the close of an attempt comes to that its gateway cannot
// close: it is given up, and not closed before the end of its link. After that a
// provider that still calls it pending takes no money for it any more.
func lingering(a Asked, until *time.Time) Asked {
	if a.Answer.Outcome != payment.OutcomePending || a.Answer.Processing {
		return a
	}
	a.Answer.Outcome, a.Answer.Code = payment.OutcomeDeclined, payment.CodeClosed
	if a.Lingers = until == nil || a.AskedAt.Before(*until); !a.Lingers {
		a.Answer.Closed, a.Answer.Code = true, payment.CodeExpired
	}
	return a
}

func (a *Payments) attempt(ctx context.Context, in PaymentRef, e payment.Effect) (p payment.Payment, at payment.Attempt, g payment.Gateway, askedAt time.Time, err error) {
	err = a.DB.InTenant(ctx, in.Tenant, func(tx pgx.Tx) error {
		var err error
		if e != "" {
			p, askedAt, err = payment.Announce(ctx, tx, in.Tenant, in.PaymentID, e)
		} else {
			p, askedAt, err = loadNow(ctx, tx, in)
		}
		if err != nil {
			return err
		}
		at, err = hinted(ctx, tx, in.Tenant, p)
		return err
	})
	if err != nil {
		return p, at, nil, askedAt, err
	}
	g, err = a.Gateways.Gateway(ctx, in.Tenant, p.Gateway)
	return p, at, g, askedAt, err
}

// hinted names an attempt for its gateway, with what news that wait call it.
func hinted(ctx context.Context, tx pgx.Tx, tenant string, p payment.Payment) (payment.Attempt, error) {
	at := p.At()
	hint, err := inbox.Hinted(ctx, tx, tenant, p)
	at.Hint = hint
	return at, err
}

func loadNow(ctx context.Context, tx pgx.Tx, in PaymentRef) (p payment.Payment, now time.Time, err error) {
	if p, err = payment.Load(ctx, tx, in.Tenant, in.PaymentID); err != nil {
		return p, now, err
	}
	err = tx.QueryRow(ctx, `SELECT now()`).Scan(&now)
	return p, now, err
}
