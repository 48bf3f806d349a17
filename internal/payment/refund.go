package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/postgres"
)

// Reasons of refunds that we decide ourselves. A payment gets one of these at
// most once (a unique index), however often the news of it comes.
const (
	ReasonDuplicate = "duplicate_payment"
	ReasonLate      = "late_payment"
	ReasonCancelled = "cancelled_checkout"
	ReasonMismatch  = "mismatch"
)

// ReasonCameBack is the reason of refunds of money that had gone back at the
// provider and has failed there. A payment may get several, one after another.
const ReasonCameBack = "refund_came_back"

// Codes of refunds that a person has decided.
const (
	// CodeBankTransfer: paid back by a transfer, whose reference is recorded.
	CodeBankTransfer = "bank_transfer"
	// CodeFoundBySupport: made by the gateway, as a person read in its panel.
	CodeFoundBySupport = "found_by_support"
	// CodeGivenUp: nothing goes back.
	CodeGivenUp = "given_up_by_support"
	// CodeNotMade: its answer was lost, and a person did not find it in the
	// provider's panel. Another has taken its place.
	CodeNotMade = "not_made_says_support"
	// CodeUnanswered: the provider has not said whether it was made.
	CodeUnanswered = "refund_unanswered"
)

// How a refund is paid: by the gateway, by a person's transfer, or by giving up
// an authorization of which nothing was taken.
const (
	MethodOriginal     = "original"
	MethodBankTransfer = "bank_transfer"
	MethodVoid         = "void"
)

// MayBeMade is the condition, in SQL, on a row of refunds that was sent to its
// provider, and of which nobody knows that it was not made: its answer is
// awaited, or a person was asked because the question what became of it has no
// answer either. One that waits for a person because the provider has refused it
// is not among them.
const MayBeMade = `(tried_at IS NOT NULL AND (status IN ('pending','unknown') OR ` + askedInVain + `))`

// askedInVain is true of a part that waits for a person in doubt. The last three
// codes are classes of failures: a try that a failure has ended is not tried any
// more, so these are of the question after it.
const askedInVain = `status = 'needs_attention' AND code IN ('refund_unanswered','refund_untraced','refund_invalid','refund_credentials','refund_bug')`

// RefundRecord is a refund as it is recorded: a part of a request, or one that
// nobody asked for.
type RefundRecord struct {
	ID string
	// RequestID is the request that it is a part of; empty for its own.
	RequestID string
	Method    string
	// Revived: it takes the place of one that failed after it had succeeded.
	Revived    bool
	PaymentID  string
	CheckoutID string
	OrderID    string
	Amount     int64 // minor units
	Currency   money.Currency
	Reason     string
	Status     string
	Reference  string
	// Hints are names that it may have at the provider, the newest last, while
	// Reference is empty.
	Hints          []string
	RefundedBefore int64
	TriedAt        *time.Time
	Code           string
	CreatedAt      time.Time
}

// IntendRefund books amount of a payment to be given back and returns the
// refund's id; the same reason for the same payment again returns the first
// one's. The database refuses a sum beyond what was captured.
func IntendRefund(ctx context.Context, tx pgx.Tx, tenant string, p Payment, amount int64, reason string) (string, error) {
	var existing string
	err := tx.QueryRow(ctx, `SELECT id FROM refunds WHERE tenant = $1 AND payment_id = $2 AND reason = $3 AND origin = 'ours' AND status <> 'failed'`, tenant, p.ID, reason).Scan(&existing)
	if err == nil {
		return existing, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("refund of payment %s: %w", p.ID, err)
	}
	return BookRefund(ctx, tx, tenant, p, amount, reason)
}

// BookRefund books amount of a payment to be given back and returns the refund's
// id. Called twice it books twice: the caller, who holds the payment's lock, has
// looked what is left of it. The database refuses a sum beyond what was captured.
func BookRefund(ctx context.Context, tx pgx.Tx, tenant string, p Payment, amount int64, reason string) (string, error) {
	refundID := id.New()
	_, err := tx.Exec(ctx, `INSERT INTO refunds (tenant, id, payment_id, order_id, amount, currency, reason, status, refunded_before, due_at)
	  SELECT $1, $2, p.id, p.order_id, $4, p.currency, $5, 'pending', p.refunded_amount, now() + interval '10 minutes' FROM payments p WHERE p.tenant = $1 AND p.id = $3`,
		tenant, refundID, p.ID, amount, reason)
	if err != nil {
		return "", fmt.Errorf("book refund of payment %s: %w", p.ID, err)
	}
	return refundID, nil
}

const refundColumns = `r.id, coalesce(r.request_id,''), r.method, r.revives IS NOT NULL, r.payment_id, coalesce(p.checkout_id,''), coalesce(r.order_id,''), r.amount, r.currency, r.reason, r.status, r.reference, r.hints, r.refunded_before, r.tried_at, r.code, r.created_at`

// LoadRefund reads a refund and its payment.
func LoadRefund(ctx context.Context, tx pgx.Tx, tenant, refundID string) (RefundRecord, Payment, error) {
	var r RefundRecord
	err := tx.QueryRow(ctx, `SELECT `+refundColumns+` FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2`, tenant, refundID).
		Scan(&r.ID, &r.RequestID, &r.Method, &r.Revived, &r.PaymentID, &r.CheckoutID, &r.OrderID, &r.Amount, &r.Currency, &r.Reason, &r.Status, &r.Reference, &r.Hints, &r.RefundedBefore, &r.TriedAt, &r.Code, &r.CreatedAt)
	if err != nil {
		return r, Payment{}, fmt.Errorf("refund %s: %w", refundID, err)
	}
	p, err := Load(ctx, tx, tenant, r.PaymentID)
	return r, p, err
}

// LockRefund is LoadRefund that keeps others from changing the refund and its
// payment until the transaction ends.
func LockRefund(ctx context.Context, tx pgx.Tx, tenant, refundID string) (RefundRecord, Payment, error) {
	_, err := tx.Exec(ctx, `SELECT FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2 FOR UPDATE OF p, r`, tenant, refundID)
	if err != nil {
		return RefundRecord{}, Payment{}, fmt.Errorf("lock refund %s: %w", refundID, err)
	}
	return LoadRefund(ctx, tx, tenant, refundID)
}

// Errors of AnnounceRefund.
var (
	// ErrFrozen: the payment is disputed; nothing goes back until that has ended.
	ErrFrozen = errors.New("the payment is disputed")
	// ErrBankGaveBack: the dispute was lost, the buyer has the money.
	ErrBankGaveBack = errors.New("the payment was charged back")
	// ErrRefundUnderWay: nobody knows yet whether another refund of the payment
	// was made. Where a provider tells refunds apart only by their sum, one in
	// doubt must be settled before the next is asked for.
	ErrRefundUnderWay = errors.New("another refund of the payment is under way")
)

// AnnounceRefund writes that the provider is about to be asked and returns
// whether it may have been asked before, and what had gone back of the payment
// through the provider apart from this refund. It takes the payment's lock.
// ErrFrozen, ErrBankGaveBack and ErrRefundUnderWay forbid the call; after a try,
// the question what became of it is always allowed.
func AnnounceRefund(ctx context.Context, tx pgx.Tx, tenant, refundID string) (tried bool, before int64, err error) {
	var paymentID string
	var status Status
	var triedAt *time.Time
	err = tx.QueryRow(ctx, `SELECT p.id, p.status, r.tried_at FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2 FOR UPDATE OF p, r`, tenant, refundID).
		Scan(&paymentID, &status, &triedAt)
	if err != nil {
		return false, 0, fmt.Errorf("announce refund %s: %w", refundID, err)
	}
	// What others gave back counts only as of the first try: later it may be
	// this refund, seen before its answer.
	var doubt bool
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(amount) FILTER (WHERE (status = 'succeeded' OR status = 'pending' AND reference <> '') AND (origin = 'ours' OR created_at <= coalesce($4, now()))), 0)::bigint,
	     coalesce(bool_or(origin = 'ours' AND tried_at IS NOT NULL AND (status = 'unknown' OR status = 'pending' AND reference = '' OR `+askedInVain+`)), false)
	   FROM refunds WHERE tenant = $1 AND payment_id = $2 AND id <> $3 AND method = 'original'`, tenant, paymentID, refundID, triedAt).Scan(&before, &doubt)
	if err != nil {
		return false, 0, fmt.Errorf("announce refund %s: %w", refundID, err)
	}
	switch {
	case status == StatusDisputed:
		return triedAt != nil, before, fmt.Errorf("refund %s: %w", refundID, ErrFrozen)
	case status == StatusChargedBack:
		return triedAt != nil, before, fmt.Errorf("refund %s: %w", refundID, ErrBankGaveBack)
	case doubt && triedAt == nil:
		return false, before, fmt.Errorf("refund %s: %w", refundID, ErrRefundUnderWay)
	}
	if _, err := tx.Exec(ctx, `UPDATE refunds SET tried_at = coalesce(tried_at, now()), refunded_before = $3, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, refundID, before); err != nil {
		return false, 0, fmt.Errorf("announce refund %s: %w", refundID, err)
	}
	return triedAt != nil, before, nil
}

// RefundNotTried takes back that a refund was tried, after its provider has
// certainly done nothing: the next try needs no question first, which some
// providers can't answer. announced is the row's updated_at as of this try's
// announcement; when somebody else has announced a try since, nothing is changed.
func RefundNotTried(ctx context.Context, tx pgx.Tx, tenant, refundID string, announced time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE refunds SET tried_at = NULL WHERE tenant = $1 AND id = $2 AND updated_at = $3 AND status IN ('pending','unknown','needs_attention')`, tenant, refundID, announced)
	if err != nil {
		return fmt.Errorf("refund %s was not tried: %w", refundID, err)
	}
	return nil
}

// mostHints is how many names of a refund are kept that nobody has proven.
const mostHints = 4

// TraceRefund records the provider's name of a refund that was tried and whose
// answer was lost, as a notification tells it. One that is signed counts. Any
// other is a hint, kept beside the newest before it until the provider is asked:
// see ConfirmHint and DropHint. A name that is known already, of this refund or
// another, stays where it is; what the refund's state is, the provider is asked
// under that name.
func TraceRefund(ctx context.Context, tx pgx.Tx, tenant, refundID, reference string, signed bool) error {
	if reference == "" {
		return nil
	}
	change := `hints = (SELECT h[greatest(cardinality(h) - $4 + 1, 1):] FROM (SELECT array_remove(r.hints, $3) || $3::text AS h) kept)`
	args := []any{tenant, refundID, reference, mostHints}
	if signed {
		change, args = `reference = $3, hints = '{}'`, args[:3]
	}
	_, err := tx.Exec(ctx, `UPDATE refunds r SET `+change+` WHERE r.tenant = $1 AND r.id = $2 AND r.reference = '' AND r.tried_at IS NOT NULL AND r.status IN ('pending','unknown','needs_attention')
	   AND NOT EXISTS (SELECT FROM refunds o WHERE o.tenant = r.tenant AND o.reference = $3)`, args...)
	if err != nil {
		return fmt.Errorf("name of refund %s at its provider: %w", refundID, err)
	}
	return nil
}

// ConfirmHint makes a hint the name of a refund, after the provider has told of
// this refund under it. ok is false when the refund has a name already, or the
// name is another's.
func ConfirmHint(ctx context.Context, tx pgx.Tx, tenant, refundID, hint string) (ok bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE refunds r SET reference = $3, hints = '{}' WHERE r.tenant = $1 AND r.id = $2 AND r.reference = ''
	   AND NOT EXISTS (SELECT FROM refunds o WHERE o.tenant = r.tenant AND o.reference = $3)`, tenant, refundID, hint)
	if err != nil {
		return false, fmt.Errorf("name of refund %s at its provider: %w", refundID, err)
	}
	return tag.RowsAffected() == 1, nil
}

// DropHint forgets a name under which the provider knows nothing of a refund.
func DropHint(ctx context.Context, tx pgx.Tx, tenant, refundID, hint string) error {
	if _, err := tx.Exec(ctx, `UPDATE refunds SET hints = array_remove(hints, $3) WHERE tenant = $1 AND id = $2`, tenant, refundID, hint); err != nil {
		return fmt.Errorf("a wrong name of refund %s: %w", refundID, err)
	}
	return nil
}

// PutRefund records a refund's status and, when money went back, moves the
// payment along. dueIn is when it must have moved if it is not settled. One that
// a person has paid otherwise (CodeBankTransfer) becomes a bank transfer.
// What a part that failed was booked on can be given back again.
func PutRefund(ctx context.Context, tx pgx.Tx, tenant, refundID, status string, a RefundAnswer, dueIn time.Duration) error {
	requestID, amount, err := putRefund(ctx, tx, tenant, refundID, status, a, dueIn)
	if err != nil || status != "failed" || requestID == "" {
		return err
	}
	return ReleaseBookings(ctx, tx, tenant, requestID, amount)
}

func putRefund(ctx context.Context, tx pgx.Tx, tenant, refundID, status string, a RefundAnswer, dueIn time.Duration) (requestID string, amount int64, err error) {
	var paymentID, method string
	err = tx.QueryRow(ctx, `UPDATE refunds SET status = $3, reference = CASE WHEN $4 = '' THEN reference ELSE $4 END, code = $5, message = $6, updated_at = now(),
	     method = CASE WHEN $3 = 'succeeded' AND $5 = 'bank_transfer' AND method <> 'void' THEN 'bank_transfer' ELSE method END,
	     due_at = CASE WHEN $3 IN ('pending','unknown') THEN now() + make_interval(secs => $7) END
	   WHERE tenant = $1 AND id = $2 RETURNING payment_id, method, coalesce(request_id, ''), amount`, tenant, refundID, status, a.Reference, a.Code, clip(a.Message, 300), dueIn.Seconds()).Scan(&paymentID, &method, &requestID, &amount)
	if err != nil {
		return "", 0, fmt.Errorf("record %s on refund %s: %w", status, refundID, err)
	}
	switch {
	case status != "succeeded" && status != "failed":
		return requestID, amount, nil
	case method == MethodVoid && status == "succeeded":
		return requestID, amount, voided(ctx, tx, tenant, paymentID)
	}
	return requestID, amount, wentBack(ctx, tx, tenant, paymentID)
}

// wentBack sets a captured payment's status to what its refunds tell.
func wentBack(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	_, err := tx.Exec(ctx, `UPDATE payments p SET updated_at = now(), status = CASE
	       WHEN p.captured_amount = 0 THEN p.status
	       WHEN back.sum >= p.captured_amount THEN 'refunded' WHEN back.sum > 0 THEN 'partially_refunded' ELSE 'captured' END
	  FROM (SELECT coalesce(sum(amount), 0) AS sum FROM refunds WHERE tenant = $1 AND payment_id = $2 AND status = 'succeeded' AND method <> 'void') back
	 WHERE p.tenant = $1 AND p.id = $2 AND p.status IN ('captured','partially_refunded','refunded')`, tenant, paymentID)
	if err != nil {
		return fmt.Errorf("payment %s after a refund: %w", paymentID, err)
	}
	return nil
}

// NotAppliedVoided is why a payment whose authorization was given up pays its
// order no more.
const NotAppliedVoided = "voided"

// voided ends an authorization of which nothing was taken.
func voided(ctx context.Context, tx pgx.Tx, tenant, paymentID string) error {
	_, err := tx.Exec(ctx, `UPDATE payments SET status = 'cancelled', closed = true, applied = false, not_applied_reason = $3, due_at = NULL, updated_at = now()
	   WHERE tenant = $1 AND id = $2 AND status = 'authorized'`, tenant, paymentID, NotAppliedVoided)
	if err != nil {
		return fmt.Errorf("void payment %s: %w", paymentID, err)
	}
	return nil
}

// AnnounceVoid writes that an authorization is about to be given up and returns
// whether anything may have been tried on it before, also by a capture or void
// that somebody asked for. captured: the money was taken meanwhile, and the
// refund has become one by the gateway. ErrCaptureAsked forbids the call.
func AnnounceVoid(ctx context.Context, tx pgx.Tx, tenant, refundID string) (tried, captured bool, err error) {
	var paymentID string
	var status Status
	var capturing bool
	err = tx.QueryRow(ctx, `SELECT p.id, p.status, p.capture_amount IS NOT NULL, coalesce(r.tried_at, p.void_tried_at, p.capture_tried_at) IS NOT NULL
	   FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2 FOR UPDATE OF p, r`, tenant, refundID).
		Scan(&paymentID, &status, &capturing, &tried)
	if err == nil && status.Approved() && status != StatusAuthorized {
		_, err = tx.Exec(ctx, `UPDATE refunds SET method = 'original', tried_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, tenant, refundID)
		if err != nil {
			return false, false, fmt.Errorf("refund %s is no void any more: %w", refundID, err)
		}
		return false, true, nil
	}
	if err == nil && status == StatusAuthorized && capturing {
		return false, false, fmt.Errorf("refund %s: %w", refundID, ErrCaptureAsked)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `WITH r AS (UPDATE refunds SET tried_at = coalesce(tried_at, now()), updated_at = now() WHERE tenant = $1 AND id = $2)
		  UPDATE payments SET void_tried_at = coalesce(void_tried_at, now()), updated_at = now() WHERE tenant = $1 AND id = $3`, tenant, refundID, paymentID)
	}
	if err != nil {
		return false, false, fmt.Errorf("announce the void of refund %s: %w", refundID, err)
	}
	return tried, false, nil
}

// ReleaseBookings takes amount of a request's bookings back, because that much of it
// will not be paid: goodwill first, then freight, then units, so that what went
// back is booked on goods.
func ReleaseBookings(ctx context.Context, tx pgx.Tx, tenant, requestID string, amount int64) error {
	type booking struct {
		Kind, Line string
		Unit       int
		Amount     int64
	}
	rows, err := tx.Query(ctx, `SELECT kind, line_id, unit, amount FROM refund_bookings WHERE tenant = $1 AND request_id = $2 AND NOT released
	   ORDER BY array_position(ARRAY['goodwill','freight','unit'], kind), line_id DESC, unit DESC FOR UPDATE`, tenant, requestID)
	if err != nil {
		return fmt.Errorf("bookings of refund %s: %w", requestID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[booking])
	if err != nil {
		return fmt.Errorf("bookings of refund %s: %w", requestID, err)
	}
	b := &pgx.Batch{}
	for _, k := range list {
		if amount == 0 {
			break
		}
		if k.Amount <= amount {
			b.Queue(`UPDATE refund_bookings SET released = true WHERE tenant = $1 AND request_id = $2 AND kind = $3 AND line_id = $4 AND unit = $5`, tenant, requestID, k.Kind, k.Line, k.Unit)
			amount -= k.Amount
			continue
		}
		b.Queue(`UPDATE refund_bookings SET amount = amount - $6 WHERE tenant = $1 AND request_id = $2 AND kind = $3 AND line_id = $4 AND unit = $5`, tenant, requestID, k.Kind, k.Line, k.Unit, amount)
		amount = 0
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("release the bookings of refund %s: %w", requestID, err)
	}
	if amount > 0 {
		return fmt.Errorf("refund %s had %d less booked than its parts", requestID, amount)
	}
	return nil
}

// ReviveRefund records that a refund which had succeeded has failed at its
// provider, and books it anew under another id, since an idempotency key is good
// for one refund: it is tried once more by itself, and the next time it waits
// for a person from the start. It returns the refund whose workflow must run
// now: the request's id, or the new refund's own when nobody asked for it. Told
// again, it returns the same. It returns "" when nothing is to be run: for a
// refund that has not succeeded by its gateway, and when the payment has not
// that much left, because the buyer got it otherwise.
func ReviveRefund(ctx context.Context, tx pgx.Tx, tenant, partID string, a RefundAnswer) (refundID string, err error) {
	var requestID, status, method string
	var again bool
	err = tx.QueryRow(ctx, `SELECT coalesce(r.request_id, ''), r.status, r.method, r.revives IS NOT NULL, coalesce((SELECT n.id FROM refunds n WHERE n.tenant = r.tenant AND n.revives = r.id), '')
	   FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2 FOR UPDATE OF p, r`, tenant, partID).Scan(&requestID, &status, &method, &again, &refundID)
	if err != nil {
		return "", fmt.Errorf("revive refund %s: %w", partID, err)
	}
	if refundID == "" {
		if status != "succeeded" || method != MethodOriginal {
			return "", nil
		}
		if again {
			status = "needs_attention"
		} else {
			status = "pending"
		}
		if refundID, err = bookAnew(ctx, tx, tenant, partID, status, a); err != nil || refundID == "" {
			return "", err
		}
	}
	if requestID != "" {
		return requestID, nil
	}
	return refundID, nil
}

// RemakeRefund carries out a person's word that a refund whose answer was lost is
// not at its provider: it ends as failed with CodeNotMade, and another takes its
// place under another id, so that nothing of the first try can be taken for the
// second. It returns the refund whose workflow must run now, like ReviveRefund,
// and the same when told again. ok is false, and nothing is changed, when there
// is no such doubt (any more): the refund has another state than
// CodeRefundUntraced, or a notification has brought a name to ask for first. With
// ok, "" is returned when the payment has not that much left, because the buyer
// got it otherwise.
func RemakeRefund(ctx context.Context, tx pgx.Tx, tenant, partID string) (refundID string, ok bool, err error) {
	r, _, err := LockRefund(ctx, tx, tenant, partID)
	if err != nil {
		return "", false, err
	}
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT id FROM refunds WHERE tenant = $1 AND revives = $2), '')`, tenant, partID).Scan(&refundID)
	if err != nil {
		return "", false, fmt.Errorf("remake refund %s: %w", partID, err)
	}
	if refundID == "" {
		named := r.Reference != "" || len(r.Hints) > 0
		if r.Status != "needs_attention" || r.Code != CodeRefundUntraced || r.Method != MethodOriginal || r.TriedAt == nil || named {
			return "", false, nil
		}
		refundID, err = bookAnew(ctx, tx, tenant, partID, "pending", RefundAnswer{Outcome: OutcomeDeclined, Code: CodeNotMade, Message: "not in the provider's panel, says a person"})
		if err != nil || refundID == "" {
			return "", err == nil, err
		}
	}
	if r.RequestID != "" {
		return r.RequestID, true, nil
	}
	return refundID, true, nil
}

// bookAnew ends a refund as failed, for the reason that a tells, and books it
// again with the status under another id, which it returns. Of money that paid no order
// what is left goes back, when that is less by now; "" when nothing is, or when a request
// for an order's can't have all that it was for. The caller holds the locks of the refund and its
// payment.
func bookAnew(ctx context.Context, tx pgx.Tx, tenant, partID, status string, a RefundAnswer) (refundID string, err error) {
	requestID, amount, err := putRefund(ctx, tx, tenant, partID, "failed", a, 0)
	if err != nil {
		return "", err
	}
	var left int64
	err = tx.QueryRow(ctx, `SELECT p.captured_amount - p.refunded_amount - p.refunded_elsewhere FROM refunds r JOIN payments p ON p.tenant = r.tenant AND p.id = r.payment_id WHERE r.tenant = $1 AND r.id = $2`, tenant, partID).Scan(&left)
	if err != nil {
		return "", fmt.Errorf("book refund %s anew: %w", partID, err)
	}
	switch {
	case left >= amount:
	case requestID != "":
		return "", ReleaseBookings(ctx, tx, tenant, requestID, amount)
	case left <= 0:
		return "", nil
	default:
		amount = left
	}
	refundID = id.New()
	_, err = tx.Exec(ctx, `INSERT INTO refunds (tenant, id, payment_id, order_id, request_id, amount, currency, reason, status, captured_at, revives, code, message, due_at)
	  SELECT tenant, $3, payment_id, order_id, request_id, $7, currency, reason, $4, captured_at, id, $5, $6, now() + interval '10 minutes' FROM refunds WHERE tenant = $1 AND id = $2`,
		tenant, partID, refundID, status, a.Code, clip(a.Message, 300), amount)
	if err != nil {
		return "", fmt.Errorf("book refund %s anew: %w", partID, err)
	}
	return refundID, nil
}

// TooMuchBack reports whether err is the database's refusal to give back more
// than was taken.
func TooMuchBack(err error) bool { return postgres.Violates(err, "no_more_back_than_taken") }
