// Package workflows holds the lifecycles: what happens next, how long it
// waits, what is undone. This file is what their callers may know of them:
// names, ids, inputs and messages. No personal data is in any of them: a
// history holds ids, states and amounts, and the activities read the rest.
package workflows

import (
	"strings"

	"justlogistics/internal/payment"
	"justlogistics/internal/shipping"
	"justlogistics/internal/stock"
)

// Names of workflow types, as they stand in histories.
const (
	CheckoutName    = "Checkout"
	LatePaymentName = "LatePayment"
	ReservationName = "Reservation"
	RefundName      = "Refund"
	ShortageName    = "Shortage"
	CaptureName     = "Capture"
	SweeperName     = "Sweeper"
	// ReconciliationName and ReconcileAllName compare providers' books with ours.
	ReconciliationName = "Reconciliation"
	ReconcileAllName   = "ReconcileAll"
	TransferName       = "Transfer"
	// ReceiptName looks after goods that are being received.
	ReceiptName = "Receipt"
	// CountName looks after a count of bins.
	CountName = "Count"
	// FulfillmentName looks after a shipment.
	FulfillmentName = "Fulfillment"
)

// Names of updates and signals.
const (
	// UpdateBegin answers a Checkout's or Reservation's caller: BeginAnswer. A
	// Capture's is answered with CaptureAnswer.
	UpdateBegin = "begin"
	// UpdateSettle brings a buyer's return: SettleRequest, answered by
	// SettleAnswer once the gateway has spoken.
	UpdateSettle = "settle"
	// UpdateTry begins another attempt: TryRequest, TryAnswer.
	UpdateTry = "try"
	// UpdateCancel asks a Checkout to cancel: CancelRequest, CancelAnswer.
	UpdateCancel = "cancel"
	// UpdateSupport is a person's decision on a parked step: SupportRequest,
	// SupportAnswer.
	UpdateSupport = "support"
	// UpdateConfirm, UpdateRelease and UpdateExtend are a Reservation's.
	UpdateConfirm = "confirm"
	UpdateRelease = "release"
	UpdateExtend  = "extend"
	// SignalNews says that there is news of a payment in the inbox: News.
	SignalNews = "news"
	// SignalAgain says that a day is to be compared again: no argument.
	SignalAgain = "again"
	// SignalShort says that a hold lost units to a count: no argument.
	SignalShort = "short"
	// SignalChanged says that the row which a run watches has changed: no argument.
	SignalChanged = "changed"
)

// Kinds of workflow ids.
const (
	KindCheckout    = "checkout"
	KindLatePayment = "late-payment"
	KindReservation = "reservation"
	KindRefund      = "refund"
	// KindReconciliation is a gateway's day; the subject is the row's id.
	KindReconciliation = "reconciliation"
	KindShortage       = "shortage"
	KindCapture        = "capture"
	KindTransfer       = "transfer"
	KindReceipt        = "receipt"
	KindCount          = "count"
	// KindFulfillment is a shipment's.
	KindFulfillment = "fulfillment"
	KindReturn      = "return"
)

// ID is the workflow id of a subject: <kind>:<tenant>:<ULID>.
func ID(kind, tenant, subject string) string { return kind + ":" + tenant + ":" + subject }

// ParseID takes a workflow id apart.
func ParseID(workflowID string) (kind, tenant, subject string, ok bool) {
	p := strings.Split(workflowID, ":")
	if len(p) != 3 || p[0] == "" || p[1] == "" || p[2] == "" {
		return "", "", "", false
	}
	return p[0], p[1], p[2], true
}

// TaskQueue is where workflows and database steps run; calls to a provider
// have a queue of their own, so that one that hangs does not hold up others.
const TaskQueue = "justlogistics"

// GatewayTaskQueue is the queue of a gateway's calls.
func GatewayTaskQueue(g payment.Name) string { return "gateway-" + string(g) }

// CarrierTaskQueue is the queue of a carrier's calls.
func CarrierTaskQueue(c shipping.Name) string { return "carrier-" + string(c) }

// CheckoutInput starts a Checkout or, with LatePayment, looks after one payment
// of a checkout whose run has ended.
type CheckoutInput struct {
	Tenant     string `json:"tenant"`
	CheckoutID string `json:"checkout_id"`
	// PaymentID and, when a return waits, ReturnID are LatePayment's.
	PaymentID string `json:"payment_id,omitempty"`
	ReturnID  string `json:"return_id,omitempty"`
}

// BeginAnswer is what the synchronous caller is told; details are in the row.
type BeginAnswer struct {
	Status      string           `json:"status"`
	FailureCode string           `json:"failure_code,omitempty"`
	Shortages   []stock.Shortage `json:"shortages,omitempty"`
}

// SettleRequest names the stored return of a payment.
type SettleRequest struct {
	PaymentID string `json:"payment_id"`
	InboxID   string `json:"inbox_id"`
}

// SettleAnswer is the payment's status afterwards.
type SettleAnswer struct {
	PaymentStatus  string `json:"payment_status"`
	CheckoutStatus string `json:"checkout_status"`
}

// TryRequest asks for another attempt. PaymentID is new and chosen by the
// caller, so that a repetition finds the attempt.
type TryRequest struct {
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"` // or auto
}

// TryAnswer tells what became of it. Refused is empty, or a problem code:
// already_paid, hold_ended, not_awaiting_payment, gateway_unavailable,
// payment_in_progress, payment_refused.
type TryAnswer struct {
	Refused string `json:"refused,omitempty"`
}

// CancelRequest asks to end a checkout that is not paid. The reason is in the
// row.
type CancelRequest struct{}

// CancelAnswer is cancelled, or refused with already_paid or the status that
// forbids it.
type CancelAnswer struct {
	Status string `json:"status"`
}

// News says that the gateway should be asked about a payment, or, with a
// ReturnID, that a stored return waits to be settled.
type News struct {
	PaymentID string `json:"payment_id"`
	ReturnID  string `json:"return_id,omitempty"`
}

// ReservationInput starts a Reservation; its row in holds' details tells the rest.
type ReservationInput struct {
	Tenant        string `json:"tenant"`
	ReservationID string `json:"reservation_id"`
}

// ReservationRequest carries what a Reservation's updates need; the buyer and
// the external payment of a confirm are in the database under RequestID.
type ReservationRequest struct {
	RequestID string `json:"request_id,omitempty"`
	Seconds   int    `json:"seconds,omitempty"` // extend
}

// ReservationAnswer is the state afterwards; Refused is empty or a problem
// code: reservation_over, beyond_limit, short_stock.
type ReservationAnswer struct {
	Status  string `json:"status"`
	OrderID string `json:"order_id,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// RefundInput starts a Refund.
type RefundInput struct {
	Tenant   string `json:"tenant"`
	RefundID string `json:"refund_id"`
}

// CaptureInput looks after an authorization of which something is wanted; what
// that is stands in its row.
type CaptureInput struct {
	Tenant    string `json:"tenant"`
	PaymentID string `json:"payment_id"`
}

// CaptureAnswer is the payment's status afterwards. Refused is empty, or why a
// person was asked.
type CaptureAnswer struct {
	Status  string `json:"status"`
	Refused string `json:"refused,omitempty"`
}

// ReconciliationInput starts a Reconciliation.
type ReconciliationInput struct {
	Tenant           string `json:"tenant"`
	ReconciliationID string `json:"reconciliation_id"`
}

// CountInput looks after a count of bins; everything else is in its rows.
type CountInput struct {
	Tenant  string `json:"tenant"`
	CountID string `json:"count_id"`
	// Told are the cases that an earlier history of this run has on the desk, so
	// that nobody is told of them again.
	Told []ToldCase `json:"told,omitempty"`
}

// ToldCase is a step that waits for a person, and what that person was told.
type ToldCase struct {
	Step    string `json:"step"`
	Message string `json:"message"`
	// Reason is its code, where the run must know it to take the case off the desk.
	Reason string `json:"reason,omitempty"`
}

// ShortageInput looks after a paid order that lost units to a count.
type ShortageInput struct {
	Tenant  string `json:"tenant"`
	OrderID string `json:"order_id"`
	HoldID  string `json:"hold_id"`
	// Told is the case that an earlier history of this run has on the desk.
	Told []ToldCase `json:"told,omitempty"`
}

// SupportRequest is a verb for a parked step. Step may be empty when one step
// is parked. Reason and actor stay in support_actions; ActionID names the row.
type SupportRequest struct {
	ActionID string `json:"action_id"`
	Step     string `json:"step,omitempty"`
	Verb     string `json:"verb"`
	// Outcome is what `resolve` states: approved or declined of a payment,
	// accept or refund of a mismatch, succeeded or failed of a refund, refund or
	// back_order of units that are missing.
	Outcome string `json:"outcome,omitempty"`
	// Reference is the provider's, or the bank transfer's, that proves it.
	Reference string `json:"reference,omitempty"`
}

// SupportAnswer says what the verb did, in plain words.
type SupportAnswer struct {
	Result string `json:"result"`
}
