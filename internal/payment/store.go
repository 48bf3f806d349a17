package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
)

// Status is where an attempt stands. Its moves are in package lifecycle.
type Status string

// The statuses of the API.
const (
	StatusPending           Status = "pending"
	StatusProcessing        Status = "processing"
	StatusAuthorized        Status = "authorized"
	StatusCaptured          Status = "captured"
	StatusDeclined          Status = "declined"
	StatusCancelled         Status = "cancelled"
	StatusExpired           Status = "expired"
	StatusUnknown           Status = "unknown"
	StatusPartiallyRefunded Status = "partially_refunded"
	StatusRefunded          Status = "refunded"
	StatusDisputed          Status = "disputed"
	StatusChargedBack       Status = "charged_back"
)

// Approved reports whether money was taken or authorized, whatever became of
// it later.
func (s Status) Approved() bool {
	switch s {
	case StatusAuthorized, StatusCaptured, StatusPartiallyRefunded, StatusRefunded, StatusDisputed, StatusChargedBack:
		return true
	}
	return false
}

// InDoubt reports whether the money may have moved without our knowing.
func (s Status) InDoubt() bool { return s == StatusUnknown || s == StatusProcessing }

// Payment is an attempt as it is recorded.
type Payment struct {
	ID            string
	CheckoutID    string
	OrderID       string
	Attempt       int
	Gateway       Name
	Method        string
	Amount        int64 // minor units
	Currency      money.Currency
	Status        Status
	ReturnURL     string
	Account       string
	LiveMode      bool
	Reference     string
	CaptureRef    string
	Redirect      *Redirect
	ExpiresAt     *time.Time
	PayableUntil  *time.Time
	Closed        bool
	BeginTriedAt  *time.Time
	SettleTriedAt *time.Time
	CloseTriedAt  *time.Time
	BegunAt       *time.Time
	Code          string
	Message       string
	Review        bool
	Captured      int64
	Refunded      int64 // ours: pending, succeeded or unknown
	// RefundedElsewhere was given back by the provider without our asking.
	RefundedElsewhere int64
	ByToken           bool
	Fee               int64
	Risk              string
	CaptureUntil      *time.Time
	// CaptureAmount is what somebody wants captured of an authorization, zero
	// when nobody does; VoidReason why it is to be voided. At most one of them.
	CaptureAmount    int64
	VoidReason       string
	CaptureTriedAt   *time.Time
	VoidTriedAt      *time.Time
	Applied          bool
	NotAppliedReason string
	// UnderPayment is set on an approval that nobody began: the provider has it
	// under the reference of that payment, which it has approved as well.
	UnderPayment string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// At names the attempt for its gateway.
func (p Payment) At() Attempt {
	a := Attempt{PaymentID: p.ID, Reference: p.Reference, CaptureRef: p.CaptureRef, Amount: p.Amount, Currency: p.Currency, BegunAt: p.CreatedAt, ByToken: p.ByToken}
	if p.UnderPayment != "" {
		a.PaymentID = p.UnderPayment
	}
	if p.BegunAt != nil {
		a.BegunAt = *p.BegunAt
	}
	if a.CaptureAmount = p.Captured; p.Captured == 0 {
		a.CaptureAmount = p.CaptureAmount
	}
	return a
}

const columns = `id, coalesce(checkout_id,''), coalesce(order_id,''), attempt, gateway, method, amount, currency, status, return_url, account, live_mode,
  reference, capture_ref, redirect, expires_at, payable_until, closed, begin_tried_at, settle_tried_at, close_tried_at, begun_at, code, message, review,
  captured_amount, refunded_amount, refunded_elsewhere, by_token, fee_amount, risk, capture_until,
  coalesce(capture_amount, 0), coalesce(void_reason, ''), capture_tried_at, void_tried_at, applied, coalesce(not_applied_reason,''), coalesce(under_payment,''), created_at, updated_at`

func scan(row pgx.CollectableRow) (Payment, error) {
	var p Payment
	var redirect []byte
	err := row.Scan(&p.ID, &p.CheckoutID, &p.OrderID, &p.Attempt, &p.Gateway, &p.Method, &p.Amount, &p.Currency, &p.Status, &p.ReturnURL, &p.Account, &p.LiveMode,
		&p.Reference, &p.CaptureRef, &redirect, &p.ExpiresAt, &p.PayableUntil, &p.Closed, &p.BeginTriedAt, &p.SettleTriedAt, &p.CloseTriedAt, &p.BegunAt, &p.Code, &p.Message, &p.Review,
		&p.Captured, &p.Refunded, &p.RefundedElsewhere, &p.ByToken, &p.Fee, &p.Risk, &p.CaptureUntil,
		&p.CaptureAmount, &p.VoidReason, &p.CaptureTriedAt, &p.VoidTriedAt, &p.Applied, &p.NotAppliedReason, &p.UnderPayment, &p.CreatedAt, &p.UpdatedAt)
	if err == nil && redirect != nil {
		err = json.Unmarshal(redirect, &p.Redirect)
	}
	return p, err
}

// ErrNoPayment is returned for a payment that does not exist.
var ErrNoPayment = errors.New("no such payment")

// Load reads a payment.
func Load(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (Payment, error) {
	return one(ctx, tx, `SELECT `+columns+` FROM payments WHERE tenant = $1 AND id = $2`, tenant, paymentID)
}

// Lock reads a payment and keeps others from changing it until the
// transaction ends.
func Lock(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (Payment, error) {
	return one(ctx, tx, `SELECT `+columns+` FROM payments WHERE tenant = $1 AND id = $2 FOR UPDATE`, tenant, paymentID)
}

func one(ctx context.Context, tx pgx.Tx, sql, tenant, paymentID string) (Payment, error) {
	rows, err := tx.Query(ctx, sql, tenant, paymentID)
	if err != nil {
		return Payment{}, fmt.Errorf("payment %s: %w", paymentID, err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return Payment{}, fmt.Errorf("%w: %s", ErrNoPayment, paymentID)
	}
	if err != nil {
		return Payment{}, fmt.Errorf("payment %s: %w", paymentID, err)
	}
	return p, nil
}

// OfCheckout lists a checkout's attempts, the first one first.
func OfCheckout(ctx context.Context, tx pgx.Tx, tenant, checkoutID string) ([]Payment, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM payments WHERE tenant = $1 AND checkout_id = $2 ORDER BY attempt`, tenant, checkoutID)
	if err != nil {
		return nil, fmt.Errorf("payments of %s: %w", checkoutID, err)
	}
	return pgx.CollectRows(rows, scan)
}

// Intend writes the intent of an attempt, before the gateway hears of it. The
// same intent twice changes nothing.
func Intend(ctx context.Context, tx pgx.Tx, tenant string, p Payment) error {
	_, err := tx.Exec(ctx, `INSERT INTO payments (tenant, id, checkout_id, attempt, gateway, amount, currency, status, return_url, due_at)
	  VALUES ($1,$2,$3,$4,$5,$6,$7,'pending',$8, now() + interval '5 minutes') ON CONFLICT (tenant, id) DO NOTHING`,
		tenant, p.ID, p.CheckoutID, p.Attempt, p.Gateway, p.Amount, p.Currency, p.ReturnURL)
	if err != nil {
		return fmt.Errorf("intend payment %s: %w", p.ID, err)
	}
	return nil
}

// Effect names an outward call whose intent is written before it is made.
type Effect string

// The effects on an attempt.
const (
	EffectBegin   Effect = "begin"
	EffectSettle  Effect = "settle"
	EffectClose   Effect = "close"
	EffectCapture Effect = "capture"
	EffectVoid    Effect = "void"
)

// Announce writes that an effect is about to be tried and returns the payment
// as it was before: its ...TriedAt says whether somebody has tried already, in
// which case the gateway must be asked first. askedAt is the database's time.
func Announce(ctx context.Context, tx pgx.Tx, tenant, paymentID string, e Effect) (before Payment, askedAt time.Time, err error) {
	before, err = Lock(ctx, tx, tenant, paymentID)
	if err != nil {
		return before, askedAt, err
	}
	var column string
	switch e {
	case EffectBegin:
		column = "begin_tried_at"
	case EffectSettle:
		column = "settle_tried_at"
	case EffectClose:
		column = "close_tried_at"
	case EffectCapture:
		column = "capture_tried_at"
	case EffectVoid:
		column = "void_tried_at"
	default:
		return before, askedAt, fmt.Errorf("no effect %q", e)
	}
	err = tx.QueryRow(ctx, `UPDATE payments SET `+column+` = coalesce(`+column+`, now()), updated_at = now() WHERE tenant = $1 AND id = $2 RETURNING now()`, tenant, paymentID).Scan(&askedAt)
	if err != nil {
		return before, askedAt, fmt.Errorf("announce %s of payment %s: %w", e, paymentID, err)
	}
	return before, askedAt, nil
}

// NotSettled takes back that settling was tried: the gateway has answered that
// there was nothing to settle yet, so no money can have moved by it.
func NotSettled(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	if _, err := tx.Exec(ctx, `UPDATE payments SET settle_tried_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, paymentID); err != nil {
		return fmt.Errorf("payment %s is not settled: %w", paymentID, err)
	}
	return nil
}

// ErrGivenUp is returned for an attempt that was ended before its Begin was
// recorded: the link belongs to nobody and is not handed out.
var ErrGivenUp = errors.New("the attempt was given up before it began")

// ErrBegun is returned for an attempt that has begun already: the link that its
// buyer was sent to stands, also when another try of Begin, that was taken for
// dead, brings one later.
var ErrBegun = errors.New("the attempt has begun already")

// Begun records what Begin answered: where the buyer pays, and until when an
// attempt that nobody closes can be paid (the link's own end when the provider
// names one, with a margin for a buyer who is in the middle of it). It is also
// recorded for an attempt with a token that was doubted meanwhile: it says under
// which name the provider can be asked.
func Begun(ctx context.Context, tx pgx.Tx, tenant, paymentID string, a Answer, c Capabilities, account string, live bool) error {
	redirect, err := json.Marshal(a.Redirect)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `UPDATE payments SET reference = $3, capture_ref = CASE WHEN $4 = '' THEN capture_ref ELSE $4 END, redirect = $5, expires_at = $6,
	       begun_at = now(), payable_until = least($6::timestamptz + interval '2 minutes', now() + make_interval(secs => $7)),
	       account = $8, live_mode = $9, updated_at = now(), capture_until = now() + make_interval(secs => nullif($10, 0)),
	       due_at = least($6::timestamptz + interval '2 minutes', now() + make_interval(secs => $7)) + interval '10 minutes'
	 WHERE tenant = $1 AND id = $2 AND begun_at IS NULL AND (status = 'pending' OR status = 'unknown' AND by_token)`,
		tenant, paymentID, a.Reference, a.CaptureRef, redirect, nullTime(a.ExpiresAt), c.PayableFor.Seconds(), account, live, captureFor(c))
	if err != nil {
		return fmt.Errorf("payment %s begun: %w", paymentID, err)
	}
	if tag.RowsAffected() > 0 {
		return nil
	}
	var begun bool
	if err := tx.QueryRow(ctx, `SELECT begun_at IS NOT NULL FROM payments WHERE tenant = $1 AND id = $2`, tenant, paymentID).Scan(&begun); err != nil {
		return fmt.Errorf("payment %s begun: %w", paymentID, err)
	}
	if begun {
		return fmt.Errorf("%w: %s", ErrBegun, paymentID)
	}
	return fmt.Errorf("%w: %s", ErrGivenUp, paymentID)
}

// captureFor is in seconds; zero when approvals are captured at once.
func captureFor(c Capabilities) float64 {
	if !c.DefersCapture {
		return 0
	}
	return c.CaptureFor.Seconds()
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// After is the status that an answer leads to. lapse is what an attempt
// becomes that ended because we let it: expired at its time, cancelled when
// the buyer or a newer attempt took its place. News that does not lead forward
// leaves the status as it is.
func After(current Status, a Answer, lapse Status) Status {
	if current.Approved() {
		switch {
		case current == StatusAuthorized && a.Outcome == OutcomeApproved && a.Captured:
			return StatusCaptured
		case current == StatusAuthorized && gone(a):
			return lapse
		}
		return current
	}
	switch a.Outcome {
	case OutcomeApproved:
		if a.Captured {
			return StatusCaptured
		}
		return StatusAuthorized
	case OutcomeUnknown:
		return StatusUnknown
	case OutcomeDeclined:
		switch {
		case current == StatusDeclined || current == StatusCancelled || current == StatusExpired:
			return current
		case a.Code == CodeAborted:
			return StatusCancelled
		case a.Code == CodeFormTimeout || a.Code == CodeExpired:
			return StatusExpired
		case a.Code == CodeClosed || a.Code == CodeNoSuchAttempt:
			return lapse
		}
		return StatusDeclined
	case OutcomePending:
		switch {
		case a.Processing:
			return StatusProcessing
		case current == StatusUnknown || current == StatusProcessing:
			return StatusPending
		}
	}
	return current
}

// gone reports whether an authorization is no more: voided, or not captured in
// time. What says that the buyer gave up, or that the provider knows of nothing
// (any longer), is no proof of that.
func gone(a Answer) bool {
	return a.Outcome == OutcomeDeclined && a.Closed && a.Code != CodeAborted && a.Code != CodeFormTimeout && a.Code != CodeNoSuchAttempt
}

// Put records an answer on a locked payment and returns its new status. closed
// says that nothing can be approved on it any more.
func Put(ctx context.Context, tx pgx.Tx, tenant string, p Payment, a Answer, to Status, closed bool) error {
	var due any // only what is not settled has a moment by which it must move
	switch to {
	case StatusPending, StatusProcessing, StatusUnknown:
		due = "10 minutes"
	}
	captured := int64(0)
	if NewMoney(p, a) {
		captured = a.Amount
		if captured <= 0 {
			captured = p.Amount
		}
	}
	if p.Applied && !to.Approved() {
		if err := unapply(ctx, tx, tenant, p.ID, LostReason(p)); err != nil {
			return err
		}
	}
	if captured > 0 {
		ref := a.CaptureRef
		if ref == "" {
			ref = a.Reference
		}
		at := a.ApprovedAt
		if at.IsZero() {
			at = time.Now().UTC()
		}
		currency := a.Currency
		if currency == "" {
			currency = p.Currency
		}
		_, err := tx.Exec(ctx, `INSERT INTO captures (tenant, id, payment_id, amount, currency, reference, captured_at) VALUES ($1,$2,$3,$4,$5,$6,$7)
		   ON CONFLICT (tenant, payment_id, reference) DO NOTHING`, tenant, id.New(), p.ID, captured, currency, ref, at)
		if err != nil {
			return fmt.Errorf("capture of payment %s: %w", p.ID, err)
		}
	}
	_, err := tx.Exec(ctx, `UPDATE payments SET status = $3, updated_at = now(),
	     due_at = CASE WHEN $3 = 'authorized' THEN CASE WHEN status = 'authorized' THEN due_at ELSE `+authorizedFrom+` END WHEN $4::text IS NULL THEN NULL WHEN status = $3 THEN coalesce(due_at, now() + $4::text::interval) ELSE greatest(payable_until, now()) + $4::text::interval END,
	     capture_until = CASE WHEN $3 = 'authorized' AND status <> 'authorized' THEN capture_until + (greatest(begun_at, $16) - begun_at) ELSE capture_until END,
	     begun_at = CASE WHEN by_token AND $7 <> '' THEN coalesce(begun_at, begin_tried_at) ELSE begun_at END,
	     closed = closed OR $5, captured_amount = captured_amount + $6,
	     reference = CASE WHEN $7 = '' THEN reference ELSE $7 END, capture_ref = CASE WHEN $8 = '' THEN capture_ref ELSE $8 END,
	     authorization_code = CASE WHEN $9 = '' THEN authorization_code ELSE $9 END, card_last4 = CASE WHEN $10 = '' THEN card_last4 ELSE $10 END,
	     method = CASE WHEN $11 = '' THEN method ELSE $11 END, installments = greatest(installments, $12), code = CASE WHEN applied AND $13 = '' THEN code ELSE $13 END, message = $14, review = $15,
	     redirect = CASE WHEN $3 = 'pending' THEN redirect END
	   WHERE tenant = $1 AND id = $2`,
		tenant, p.ID, to, due, closed, captured, a.Reference, a.CaptureRef, a.AuthorizationCode, a.CardLast4, a.Method, a.Installments, a.Code, clip(a.Message, 300), a.Review, nullTime(a.ApprovedAt))
	if err != nil {
		return fmt.Errorf("record %s on payment %s: %w", to, p.ID, err)
	}
	return nil
}

// authorizedFrom is authorizedDue for the statement that moves capture_until.
const authorizedFrom = `coalesce(capture_until + (greatest(begun_at, $16) - begun_at) - interval '24 hours', now() + interval '6 days')`

// NewMoney reports whether an answer tells of money taken that is not in the
// captures yet.
func NewMoney(p Payment, a Answer) bool {
	return a.Outcome == OutcomeApproved && a.Captured && p.Captured == 0
}

// LostReason says why an authorization that paid an order pays nothing any more.
func LostReason(p Payment) string {
	if p.VoidTriedAt != nil {
		return NotAppliedVoided
	}
	return ReasonLapsed
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}

// Mismatch compares an approval with its intent and says what differs, or
// nothing. Money that arrives elsewhere, or another sum, does not pay an order.
func Mismatch(p Payment, a Answer) string {
	switch {
	case a.PaymentID != "" && a.PaymentID != p.At().PaymentID:
		return "reference"
	case a.Amount != p.Amount:
		return "amount"
	case a.Currency != p.Currency:
		return "currency"
	case p.Account != "" && a.Account != "" && a.Account != p.Account:
		return "account"
	case a.LiveMode != p.LiveMode && (p.Account != "" || !p.ByToken):
		// Which account an attempt with a token went to is known by Begin's
		// answer; where that was lost nothing can be compared.
		return "live_mode"
	case a.Refunded > 0:
		// Given back at the provider before we knew of it.
		return "refunded"
	}
	return ""
}

// Choice is how the buyer wants to pay an attempt, where the storefront says so.
type Choice struct {
	Gateway      Name
	Method       string
	Installments int
	// Token is empty once the attempt has begun: it is good for one use.
	Token string
}

// Choose keeps the buyer's choice for an attempt that begins later: under the
// payment's id, or the checkout's for its first attempt. The same again changes
// nothing.
func Choose(ctx context.Context, tx pgx.Tx, tenant, id, checkoutID string, c Choice) error {
	_, err := tx.Exec(ctx, `INSERT INTO payment_choices (tenant, id, checkout_id, gateway, method, installments, token) VALUES ($1,$2,$3,$4,$5,$6,nullif($7,'')) ON CONFLICT (tenant, id) DO NOTHING`,
		tenant, id, checkoutID, c.Gateway, c.Method, c.Installments, c.Token)
	if err != nil {
		return fmt.Errorf("choice of payment %s: %w", id, err)
	}
	return nil
}

// Chosen is the buyer's choice for an attempt: its own, else that of its
// checkout; the zero Choice when there is none. A token is for the gateway that
// made it, and the checkout's is for its first attempt only: nobody is charged by
// it who has asked to pay in another way.
func Chosen(ctx context.Context, tx pgx.Tx, tenant string, p Payment) (Choice, error) {
	var c Choice
	var own bool
	err := tx.QueryRow(ctx, `SELECT gateway, method, installments, coalesce(token, ''), id = $3 FROM payment_choices WHERE tenant = $1 AND id = ANY($2) ORDER BY (id = $3) DESC LIMIT 1`,
		tenant, choiceIDs(p), p.ID).Scan(&c.Gateway, &c.Method, &c.Installments, &c.Token, &own)
	if errors.Is(err, pgx.ErrNoRows) {
		return Choice{}, nil
	}
	if err != nil {
		return Choice{}, fmt.Errorf("choice of payment %s: %w", p.ID, err)
	}
	if c.Gateway != p.Gateway || !own && p.Attempt > 1 {
		c.Token = ""
	}
	return c, nil
}

func choiceIDs(p Payment) []string { return []string{p.ID, p.CheckoutID} }

// UsesToken notes, before the call, that Begin is given a token: its outcome
// may then be that money moved.
func UsesToken(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	if _, err := tx.Exec(ctx, `UPDATE payments SET by_token = true, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, paymentID); err != nil {
		return fmt.Errorf("payment %s uses a token: %w", paymentID, err)
	}
	return nil
}

// TokenUnused takes back UsesToken: the provider has certainly done nothing.
func TokenUnused(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	if _, err := tx.Exec(ctx, `UPDATE payments SET by_token = false, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'pending' AND begun_at IS NULL`, tenant, paymentID); err != nil {
		return fmt.Errorf("payment %s did not use its token: %w", paymentID, err)
	}
	return nil
}

// DoubtBegin notes that a Begin with a token has had no answer: the buyer's
// money may have moved. false for an attempt without a token, which cannot have.
func DoubtBegin(ctx context.Context, tx pgx.Tx, tenant, paymentID string) (bool, error) {
	tag, err := tx.Exec(ctx, `UPDATE payments SET status = 'unknown', due_at = now() + interval '10 minutes', updated_at = now() WHERE tenant = $1 AND id = $2 AND by_token AND status = 'pending'`, tenant, paymentID)
	if err != nil {
		return false, fmt.Errorf("payment %s in doubt: %w", paymentID, err)
	}
	return tag.RowsAffected() > 0, nil
}

// ForgetToken drops the token of an attempt that has begun.
func ForgetToken(ctx context.Context, tx pgx.Tx, tenant string, p Payment) error {
	if _, err := tx.Exec(ctx, `UPDATE payment_choices SET token = NULL WHERE tenant = $1 AND id = ANY($2) AND token IS NOT NULL`, tenant, choiceIDs(p)); err != nil {
		return fmt.Errorf("forget the token of payment %s: %w", p.ID, err)
	}
	return nil
}
