package payment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"justlogistics/internal/money"
)

// Gateway is what the product asks of a payment provider, for one tenant's
// account. Money never moves on the strength of a Go error: a method with an
// effect answers with an Answer whose Outcome says what is known, and returns
// an error only when it is certain that nothing happened at the provider (a
// *Failure says why). An attempt whose effect may have been tried before is
// tried again only with what Lookup says now, which is why the effectful
// methods take a Looked.
//
// Implementations hold no state of ours, never retry by themselves and are
// safe for concurrent use.
type Gateway interface {
	Name() Name
	Capabilities() Capabilities

	// Begin creates the attempt at the provider and answers OutcomePending
	// with a Redirect. The idempotency key of the call is the payment's id, so
	// a repetition yields the same attempt, or another one that cannot be paid
	// twice.
	Begin(ctx context.Context, in Intent, before Looked) (Answer, error)
	// Settle does what the buyer's return asks for: Webpay commits, others
	// read the state.
	Settle(ctx context.Context, at Attempt, ret Return, before Looked) (Answer, error)
	// Lookup asks the provider what became of an attempt. It has no effect and
	// is the only method that turns OutcomeUnknown into something else.
	Lookup(ctx context.Context, at Attempt) (Looked, error)
	// Close makes the attempt unpayable. A close that the provider refuses
	// because the buyer has paid answers OutcomeApproved; a provider that has
	// no such call (Capabilities.CloseIsOurs) answers from Lookup.
	Close(ctx context.Context, at Attempt, before Looked) (Answer, error)
	// Capture takes amount (minor units) of an authorized payment.
	Capture(ctx context.Context, at Attempt, amount int64, before Looked) (Answer, error)
	// Cancel voids an authorization that was not captured.
	Cancel(ctx context.Context, at Attempt, before Looked) (Answer, error)
	// Refund gives back in.Amount of a captured payment.
	Refund(ctx context.Context, in RefundIntent, before LookedRefund) (RefundAnswer, error)
	// LookupRefund asks whether the refund of this intent was made.
	LookupRefund(ctx context.Context, in RefundIntent) (LookedRefund, error)

	// ParseReturn reads the parameters with which the buyer's browser comes
	// back. It makes no call. ErrForeignReturn: the parameters name another
	// payment than at.
	ParseReturn(at Attempt, params url.Values) (Return, error)
	// ParseNotification checks a notification over exactly what the provider
	// signs. ErrForged, ErrStale, ErrUnreadable, ErrNoNotifications.
	ParseNotification(in Delivery, now time.Time) (Notification, error)

	// Transactions lists what the provider says happened on the account, for
	// reconciliation, a page at a time. It has no effect. ErrNoStatement where
	// Capabilities.Statement is false.
	Transactions(ctx context.Context, q StatementQuery) (StatementPage, error)
}

// Delivery is a notification as it came: what is signed differs by provider
// (Stripe and Khipu sign the body's bytes, Mercado Pago a part of the query).
type Delivery struct {
	Header http.Header
	Query  url.Values
	Body   []byte
}

// Name is a gateway's name in the API.
type Name string

// The gateways of the API. Those without an adapter in this build are refused
// as not configured.
const (
	Transbank   Name = "transbank"
	MercadoPago Name = "mercadopago"
	Stripe      Name = "stripe"
	Flow        Name = "flow"
	Khipu       Name = "khipu"
)

// Names lists the gateways of the API.
func Names() []Name { return []Name{Transbank, MercadoPago, Stripe, Flow, Khipu} }

// Title is what people call a gateway.
func (n Name) Title() string {
	switch n {
	case Transbank:
		return "Webpay"
	case MercadoPago:
		return "Mercado Pago"
	case Stripe:
		return "Stripe"
	case Flow:
		return "Flow"
	case Khipu:
		return "Khipu"
	}
	return string(n)
}

// Capabilities says what a provider can do, so that nothing is promised that
// it cannot keep.
type Capabilities struct {
	// Currencies that can be charged.
	Currencies []money.Currency
	// Methods are the values of payment.method that it takes; nil: none, its
	// page asks.
	Methods []string
	// Tokens: it takes payment.token, a card that its own script has tokenized
	// in the storefront. A Begin with a token moves the buyer's money: an
	// unknown outcome then forbids trying another gateway.
	Tokens bool
	// MaxInstallments that payment.installments may ask for; zero: its page asks.
	MaxInstallments int
	// Notifications: the provider sends webhooks. Signed: they prove who sent
	// them; without it they are only a reason to look.
	Notifications bool
	Signed        bool
	// DefersCapture: with these credentials approvals are only authorized, to
	// be captured within CaptureFor or else they lapse.
	DefersCapture bool
	CaptureFor    time.Duration
	// Disputes: Lookup tells of chargebacks.
	Disputes bool
	// Statement: Transactions lists the account's transactions.
	Statement bool
	// LookupFor is how long after Begin the provider answers Lookup; zero means
	// no known limit (Webpay: 7 days).
	LookupFor time.Duration
	// SettleMovesMoney: nothing is charged until Settle commits (Webpay).
	SettleMovesMoney bool
	// CloseIsOurs: the provider cannot close an attempt. Where SettleMovesMoney
	// it dies by our not settling it; elsewhere (Flow) it can be paid until the
	// end of the link, whatever we do, and until then Close answers pending.
	CloseIsOurs bool
	// PayableFor is how long after Begin an attempt that was not closed can
	// still become approved.
	PayableFor time.Duration
	// Refunds: money can be given back through the provider at all.
	Refunds bool
	// RefundsLater: a refund is accepted first and done, or refused, minutes to
	// days later.
	RefundsLater bool
	// RefundFor is how long after the capture a refund can be asked for; zero
	// means no known limit.
	RefundFor time.Duration
	// PartialRefunds: less than the whole can be given back.
	PartialRefunds bool
	// PartialRefundMethods limits that to approvals with one of these values of
	// Answer.Method (Webpay: credit without instalments); nil means any.
	PartialRefundMethods []string
	// MinAmount in minor units by currency; absent means 1. MaxAmount: absent
	// means no known limit.
	MinAmount map[money.Currency]int64
	MaxAmount map[money.Currency]int64
}

// Why a gateway cannot give an amount back: codes of the API.
const (
	NoRefunds        = "refund_not_supported"         // not through this gateway
	RefundWindowOver = "refund_window_over"           // asked too late
	NoPartialRefund  = "partial_refund_not_supported" // only the whole
)

// CanRefund says why amount (minor units) of a capture cannot be given back
// through the gateway, "" when it can be tried. captured is what was taken,
// method and installments are those of the approval.
func (c Capabilities) CanRefund(amount, captured int64, method string, installments int, capturedAt, now time.Time) string {
	switch {
	case !c.Refunds:
		return NoRefunds
	case c.RefundFor > 0 && now.Sub(capturedAt) > c.RefundFor:
		return RefundWindowOver
	case amount >= captured:
		return ""
	case !c.PartialRefunds:
		return NoPartialRefund
	case c.PartialRefundMethods != nil && !slices.Contains(c.PartialRefundMethods, method):
		return NoPartialRefund
	}
	return ""
}

// Takes reports whether a payment of amount (minor units) in currency by method
// can begin there.
func (c Capabilities) Takes(amount int64, currency money.Currency, method string) bool {
	most, limited := c.MaxAmount[currency]
	return slices.Contains(c.Currencies, currency) && amount >= c.MinAmount[currency] && (!limited || amount <= most) &&
		(method == "" || slices.Contains(c.Methods, method))
}

// Intent is what we want the provider to charge, written to the database
// before the call.
type Intent struct {
	PaymentID   string // ULID; our reference at every provider
	Tenant      string
	Number      string // what a person calls the order, e.g. DEMO-000123
	Amount      int64  // minor units
	Currency    money.Currency
	Description string
	ReturnURL   string    // where the provider sends the browser
	Deadline    time.Time // UTC; the hold's end: the link should not live longer
	// At is when the intent was written. What an adapter derives from the time
	// of day it derives from this, so that a repetition asks for the same.
	At    time.Time
	Email string // the buyer's, for providers that ask for it
	RUT   string // likewise, with dots and dash; may be empty
	// NotifyURL is where the provider sends notifications about this payment.
	NotifyURL string
	// Method, Token and Installments are the storefront's choice, where the
	// Capabilities allow one. A token is used once and is never a card number.
	Method       string
	Token        string
	Installments int
}

// Attempt names a payment that was begun.
type Attempt struct {
	// PaymentID is our reference at the provider. Several approvals under one
	// reference share it and differ by CaptureRef.
	PaymentID string
	// Reference is the provider's name for it (Webpay's token, Stripe's
	// session id); empty when Begin's answer never arrived.
	Reference string
	// CaptureRef is what captures and refunds are made on (Stripe's payment
	// intent; Webpay's token again).
	CaptureRef string
	Amount     int64 // minor units
	Currency   money.Currency
	BegunAt    time.Time
	// ByToken: Begin was given a token, so it may have moved money.
	ByToken bool
	// CaptureAmount is what was captured of an authorization, or was asked to be,
	// in minor units; zero: nothing. A provider whose status does not tell (Webpay)
	// is read with it.
	CaptureAmount int64
	// Hint is the provider's name for the payment as a notification has it that
	// may be anybody's: a lead, not proof. Lookup may follow it where the provider
	// does not find the payment by our reference yet, and believes what it finds
	// only if that bears our reference.
	Hint string
}

// Outcome is what is known of an effect.
type Outcome string

// The outcomes. Unknown means that the money may have moved and nobody has
// told us.
const (
	OutcomePending  Outcome = "pending"
	OutcomeApproved Outcome = "approved"
	OutcomeDeclined Outcome = "declined"
	OutcomeUnknown  Outcome = "unknown"
)

// Answer is a provider's word on an attempt, in our terms. It carries no
// personal data and may be stored in a workflow history.
type Answer struct {
	Outcome Outcome `json:"outcome"`
	// Captured: of an approval, the money is taken (else only authorized).
	Captured bool `json:"captured,omitempty"`
	// Processing: of a pending attempt, the buyer is done and the provider is
	// still working.
	Processing bool `json:"processing,omitempty"`
	// Closed: the attempt cannot be approved any more.
	Closed bool `json:"closed,omitempty"`
	// Review: approved, but held for the provider's manual review.
	Review bool `json:"review,omitempty"`

	Reference  string `json:"reference,omitempty"`
	CaptureRef string `json:"capture_ref,omitempty"`
	// What the provider says it charged, to be compared with the intent.
	PaymentID string         `json:"payment_id,omitempty"`
	Amount    int64          `json:"amount,omitempty"`
	Currency  money.Currency `json:"currency,omitempty"`
	Account   string         `json:"account,omitempty"`
	LiveMode  bool           `json:"live_mode,omitempty"`
	// Refunded is what the provider says it has given back so far, in minor
	// units, whoever asked for it. Refunds are the single ones where it tells
	// them apart.
	Refunded int64        `json:"refunded,omitempty"`
	Refunds  []RefundSeen `json:"refunds,omitempty"`
	// Dispute is the newest chargeback of the payment.
	Dispute *Dispute `json:"dispute,omitempty"`
	// Fee is what the provider keeps for it, minor units; zero: not told.
	Fee int64 `json:"fee,omitempty"`
	// Risk is the provider's rating of an approval (Radar: normal, elevated,
	// highest).
	Risk string `json:"risk,omitempty"`

	AuthorizationCode string    `json:"authorization_code,omitempty"`
	CardLast4         string    `json:"card_last4,omitempty"`
	Method            string    `json:"method,omitempty"`
	Installments      int       `json:"installments,omitempty"`
	ApprovedAt        time.Time `json:"approved_at,omitzero"`

	// Code and Message say why an attempt was declined or is unknown, in the
	// provider's terms, without personal data.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`

	// Redirect and ExpiresAt are set by Begin: where the buyer pays, and when
	// the link dies by the provider's rule.
	Redirect  *Redirect `json:"redirect,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`

	// Others are further approvals that the provider has under the same reference
	// (a page that was paid twice), beside the one that this answer is about:
	// each is money of its own, told apart by its CaptureRef, and has no Others.
	Others []Answer `json:"others,omitempty"`
}

// Redirect is where a storefront sends the buyer.
type Redirect struct {
	URL    string            `json:"url"`
	Method string            `json:"method"` // GET or POST
	Fields map[string]string `json:"fields"` // form fields of a POST
}

// RefundSeen is a refund that a provider has in its books.
type RefundSeen struct {
	Reference string `json:"reference"`
	// RefundID is ours, where the provider keeps it.
	RefundID string  `json:"refund_id,omitempty"`
	Amount   int64   `json:"amount"` // minor units
	Outcome  Outcome `json:"outcome"`
}

// DisputeStatus is where a chargeback stands.
type DisputeStatus string

// The statuses of a dispute.
const (
	DisputeOpen DisputeStatus = "open"
	DisputeWon  DisputeStatus = "won"  // the money stays
	DisputeLost DisputeStatus = "lost" // the money is gone
)

// Dispute is a chargeback as its provider tells it.
type Dispute struct {
	Reference string         `json:"reference"`
	Status    DisputeStatus  `json:"status"`
	Amount    int64          `json:"amount"` // minor units
	Currency  money.Currency `json:"currency"`
	Reason    string         `json:"reason,omitempty"`
	// AnswerBy is until when evidence is taken; zero: not told.
	AnswerBy time.Time `json:"answer_by,omitzero"`
}

// Looked is proof that the provider was asked. Its zero value, Untried, says
// that the effect has never been attempted before.
type Looked struct {
	asked  bool
	answer Answer
}

// Untried is for the first attempt at an effect.
var Untried = Looked{}

// Asked wraps a Lookup's answer; only adapters and tests of the rule call it.
func Asked(a Answer) Looked { return Looked{asked: true, answer: a} }

// Answer returns what the provider said; ok is false for Untried.
func (l Looked) Answer() (a Answer, ok bool) { return l.answer, l.asked }

// RefundIntent is one refund of ours, written before the call.
type RefundIntent struct {
	RefundID string // ULID; idempotency key where the provider has one
	Attempt  Attempt
	Amount   int64 // minor units
	Currency money.Currency
	// Reason is ours: late_payment, duplicate_payment, cancelled_checkout...
	Reason string
	// RefundedBefore is what we know was refunded of this payment before this
	// intent, in minor units: a provider without idempotency keys is asked for
	// the sum and the difference tells whether this one was made.
	RefundedBefore int64
	// Reference is the provider's id of this refund, once known.
	Reference string
	// Email is the buyer's, for providers whose refund the payer must accept.
	Email string
	// NotifyURL is where the provider sends notifications about the refund.
	NotifyURL string
}

// RefundAnswer is a provider's word on a refund.
type RefundAnswer struct {
	// Outcome: approved is refunded, pending is accepted and on its way.
	Outcome   Outcome `json:"outcome"`
	Reference string  `json:"reference,omitempty"`
	Amount    int64   `json:"amount,omitempty"`
	Code      string  `json:"code,omitempty"`
	Message   string  `json:"message,omitempty"`
}

// LookedRefund is Looked for refunds. An answer with OutcomeDeclined and code
// CodeNoSuchRefund says that it was not made and may be tried.
type LookedRefund struct {
	asked  bool
	answer RefundAnswer
}

// UntriedRefund is for the first attempt at a refund.
var UntriedRefund = LookedRefund{}

// CodeNoSuchRefund is the code of a LookupRefund that found nothing.
const CodeNoSuchRefund = "no_such_refund"

// CodeRefundUntraced is the code of a LookupRefund, with OutcomeUnknown, of a
// refund whose answer was lost at a provider that can be asked only by its own
// name for it: asking again tells nothing until a notification brings that name.
const CodeRefundUntraced = "refund_untraced"

// CodeNoSuchAttempt is the code of a Lookup that found nothing: the Begin
// whose answer was lost had no effect.
const CodeNoSuchAttempt = "no_such_attempt"

// Codes of an Answer that ends an attempt without a bank's refusal.
const (
	CodeAborted     = "aborted_by_buyer" // the buyer pressed cancel
	CodeFormTimeout = "form_timeout"     // the provider's form ran out of time
	CodeExpired     = "expired"          // the provider closed it at its time
	CodeClosed      = "closed_by_us"     // closed because we asked
)

// AskedRefund wraps a LookupRefund's answer.
func AskedRefund(a RefundAnswer) LookedRefund { return LookedRefund{asked: true, answer: a} }

// Answer returns what the provider said; ok is false for UntriedRefund.
func (l LookedRefund) Answer() (a RefundAnswer, ok bool) { return l.answer, l.asked }

// ReturnKind says how the buyer came back.
type ReturnKind string

// The kinds of return. Webpay has all four; others have Finished and
// Cancelled.
const (
	ReturnFinished  ReturnKind = "finished"   // paid or declined: settle
	ReturnCancelled ReturnKind = "cancelled"  // pressed cancel
	ReturnTimedOut  ReturnKind = "timed_out"  // the form's time ran out
	ReturnFormError ReturnKind = "form_error" // the form broke and the buyer went back
)

// Return is the buyer's way back. It proves nothing.
type Return struct {
	Kind  ReturnKind `json:"kind"`
	Token string     `json:"token,omitempty"`
}

// Notification is a provider's message about one payment.
type Notification struct {
	// EventID is the provider's own id of the event; empty for a hint.
	EventID string
	Type    string
	// PaymentID is ours, when the event names it; Reference the provider's.
	PaymentID string
	Reference string
	// Signed: the content was signed by the provider.
	Signed bool
	// Claim is what the event says happened; OutcomeUnknown when it only asks
	// us to look.
	Claim Outcome
	// RefundID, of an event about a refund: ours, when it names it;
	// RefundReference the provider's.
	RefundID        string
	RefundReference string
	// Relevant is false for event types that change nothing of ours: they are
	// stored and marked ignored.
	Relevant bool
	At       time.Time
}

// StatementQuery asks for the transactions with From <= time < To (UTC).
// Cursor continues where a page ended.
type StatementQuery struct {
	From, To time.Time
	Cursor   string
}

// StatementPage is a page of a provider's transactions; Next is empty on the
// last one.
type StatementPage struct {
	Transactions []Transaction
	Next         string
}

// TransactionKind is what a provider's transaction is.
type TransactionKind string

// The kinds of transactions.
const (
	ChargeTransaction TransactionKind = "charge"
	RefundTransaction TransactionKind = "refund"
)

// Transaction is one line of a provider's books.
type Transaction struct {
	Kind TransactionKind
	// PaymentID is ours, when the provider tells it; Reference and CaptureRef
	// are the provider's names of the payment, as in Attempt.
	PaymentID  string
	Reference  string
	CaptureRef string
	// RefundID is ours and RefundReference the provider's, of a refund.
	RefundID        string
	RefundReference string
	Amount          int64 // minor units
	Fee             int64 // minor units; zero: none, or not told
	Currency        money.Currency
	// Outcome: approved is money that moved.
	Outcome Outcome
	// Captured: of an approved charge, the money is taken.
	Captured bool
	// Dispute is the newest chargeback of a charge, where the list tells.
	Dispute *Dispute
	At      time.Time // UTC
}

// Errors of ParseReturn, ParseNotification and Transactions.
var (
	ErrForeignReturn   = errors.New("the return names another payment")
	ErrForged          = errors.New("the notification's signature is wrong or missing")
	ErrStale           = errors.New("the notification is older than the provider's tolerance")
	ErrNoNotifications = errors.New("this gateway sends no notifications")
	ErrUnreadable      = errors.New("the notification cannot be read")
	ErrNoStatement     = errors.New("this gateway lists no transactions")
)

// Class is the kind of a failure that certainly had no effect.
type Class string

// The classes, decided by the adapters and turned into Temporal's terms at the
// border of the activities.
const (
	// ClassInvalid: the provider refuses the request as it is.
	ClassInvalid Class = "invalid"
	// ClassRateLimited: again after RetryAfter.
	ClassRateLimited Class = "rate_limited"
	// ClassUnavailable: not reached, or an answer that says nothing was done.
	ClassUnavailable Class = "unavailable"
	// ClassCredentials: the tenant's credentials are refused.
	ClassCredentials Class = "credentials"
)

// Failure is an error after which nothing has happened at the provider.
type Failure struct {
	Gateway    Name
	Class      Class
	Code       string // the provider's
	Message    string // without personal data
	RetryAfter time.Duration
	Err        error
}

func (f *Failure) Error() string {
	s := fmt.Sprintf("%s: %s", f.Gateway, f.Class)
	if f.Code != "" {
		s += " (" + f.Code + ")"
	}
	if f.Message != "" {
		s += ": " + f.Message
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Failure) Unwrap() error { return f.Err }
