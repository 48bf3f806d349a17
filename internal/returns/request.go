package returns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/problem"
	"justlogistics/internal/refund"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// Statuses of a return. Its moves are in package lifecycle.
const (
	Requested   = "requested"
	Approved    = "approved"
	LabelIssued = "label_issued"
	InTransit   = "in_transit"
	Received    = "received"
	Inspected   = "inspected"
	Refunded    = "refunded"
	Closed      = "closed"
	Rejected    = "rejected"
	Expired     = "expired"
	Cancelled   = "cancelled"
)

// Statuses lists them in the order of a return's life.
var Statuses = []string{Requested, Approved, LabelIssued, InTransit, Received, Inspected, Refunded, Closed, Rejected, Expired, Cancelled}

// Codes of refusals.
const (
	CodeNotEligible = "not_eligible"
	CodeWrongStatus = "wrong_status"
	CodeChanged     = "version_changed"
	CodeUnitTaken   = "unit_in_another_return"
	CodeTooLate     = "arrived_too_late"
)

// Request asks for units of an order to come back.
type Request struct {
	OrderID string `json:"order_id"`
	// OrderNumber and Email name the order for whoever has no id of it: a buyer.
	OrderNumber string      `json:"order_number"`
	Email       string      `json:"email"`
	Lines       []LineAsked `json:"lines"`
	// Refund is how the money goes: original (default) or bank_transfer.
	Refund      string              `json:"refund"`
	BankAccount *refund.BankAccount `json:"bank_account"`
	// Exception is why the shop takes it back although its rules do not. Support alone
	// may say so.
	Exception string `json:"exception"`
	// Able tells what the gateways of the order's payments can give back; without it that
	// is found out when the money goes.
	Able refund.Able `json:"-"`
}

// Check says what is wrong with a request by itself, and fills in defaults. staff may make
// exceptions.
func (r *Request) Check(staff bool) error {
	var f problem.Fields
	switch {
	case r.OrderID != "" && !id.Valid(r.OrderID):
		f.Add("order_id", "invalid", "not an id")
	case r.OrderID == "" && (r.OrderNumber == "" || r.Email == ""):
		f.Add("order_id", "required", "name the order, or its order_number and the buyer's email")
	case len(r.OrderNumber) > 64:
		f.Add("order_number", "too_long", "at most 64 bytes")
	case len(r.Email) > 254:
		f.Add("email", "too_long", "at most 254 bytes")
	}
	if r.Exception != "" && !staff {
		f.Add("exception", "not_allowed", "for support alone")
	}
	if len(r.Exception) > 500 {
		f.Add("exception", "too_long", "at most 500 bytes")
	}
	as := refund.Request{Reason: "return", Method: r.Refund, BankAccount: r.BankAccount}
	if err := as.Check(); err != nil {
		var wrong *problem.Error
		if !errors.As(err, &wrong) {
			return err
		}
		for _, field := range wrong.Fields {
			if field.Field == "method" {
				field.Field = "refund"
			}
			f = append(f, field)
		}
	}
	r.Refund = as.Method
	return f.Err()
}

// find names the order of a request: 404 for one that is not the tenant's, or whose buyer
// is another.
func (r *Request) find(ctx context.Context, tx pgx.Tx, tenantID string) error {
	err := tx.QueryRow(ctx, `SELECT id FROM orders WHERE tenant = $1 AND CASE WHEN $2 <> '' THEN id = $2 AND ($4 = '' OR email = lower($4)) ELSE number = upper($3) AND email = lower($4) END FOR UPDATE`,
		tenantID, r.OrderID, r.OrderNumber, strings.TrimSpace(r.Email)).Scan(&r.OrderID)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.Missing("order")
	}
	if err != nil {
		return fmt.Errorf("order of a return: %w", err)
	}
	return nil
}

// Find names the order of a request, for whoever must know it before. 404 as Open.
func Find(ctx context.Context, tx pgx.Tx, tenantID string, in Request) (orderID string, err error) {
	err = in.find(ctx, tx, tenantID)
	return in.OrderID, err
}

// Judge says what the shop's rules make of a request. It writes nothing of it.
func Judge(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, in Request) (Verdict, error) {
	v, _, err := consider(ctx, tx, shop, &in)
	if err != nil {
		return v, err
	}
	err = in.payable(ctx, tx, shop.ID, v)
	if _, refused := problem.As(err); refused {
		v.Refunds, err = []string{refund.BankTransfer}, nil
	}
	return v, err
}

// payable says why what a verdict promises could not go back as it came.
func (r *Request) payable(ctx context.Context, tx pgx.Tx, tenantID string, v Verdict) error {
	if r.Able == nil || v.Amount == 0 {
		return nil
	}
	return refund.Possible(ctx, tx, tenantID, r.OrderID, v.Amount, r.Able)
}

func consider(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, in *Request) (Verdict, facts, error) {
	if err := in.find(ctx, tx, shop.ID); err != nil {
		return Verdict{}, facts{}, err
	}
	p, version, err := Current(ctx, tx, shop.ID)
	if err != nil {
		return Verdict{}, facts{}, err
	}
	f, err := learn(ctx, tx, shop.ID, shop.Settings.TimeZone, in.OrderID, p, version)
	if err != nil {
		return Verdict{}, facts{}, err
	}
	if err := checkLines(in.Lines, f.lines); err != nil {
		return Verdict{}, facts{}, err
	}
	return judge(f, in.Lines), f, nil
}

// Open begins a return under an id of the caller's, and approves it where the rules do so
// by themselves. sealed is the account of a bank transfer, sealed for that id, and by
// who asks, as the timeline has it.
//
// 404 for an order that is not there or another's; 422 not_eligible with the verdict where
// the rules forbid it and no exception is made; 409 refund_not_possible with the
// alternatives where its money could not go back as it came.
func Open(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in Request, sealed []byte, by string) (Return, error) {
	v, f, err := consider(ctx, tx, shop, &in)
	if err != nil {
		return Return{}, err
	}
	if !v.Eligible && in.Exception == "" {
		return Return{}, notEligible(v)
	}
	wanted := map[string]int{}
	for i, l := range v.Lines {
		// No exception makes units of what was never delivered, or came back already.
		if wanted[l.LineID] += l.Quantity; wanted[l.LineID] > len(f.free(l.LineID)) {
			return Return{}, notEligible(v)
		}
		if _, known := f.policy.reason(l.Reason); !known {
			var wrong problem.Fields
			wrong.Add(fmt.Sprintf("lines[%d].reason", i), CodeUnknownReason, "one of the policy's reasons")
			return Return{}, wrong.Err()
		}
	}
	if in.Refund == refund.Original {
		if err := in.payable(ctx, tx, shop.ID, v); err != nil {
			return Return{}, err
		}
	}
	if in.Exception != "" {
		v.Review = []string{ReviewByException} // a person has decided
	}
	policy, err := json.Marshal(f.policy)
	if err != nil {
		return Return{}, err
	}
	warehouse, err := home(ctx, tx, shop.ID, in.OrderID, f.policy)
	if err != nil {
		return Return{}, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO returns (tenant, id, order_id, number, status, policy, policy_version, warehouse, method, bank_account, money, freight_by, requested_by, exception, review, due_at)
	  SELECT $1, $2, o.id, o.number || '-R' || (1 + (SELECT count(*) FROM returns r WHERE r.tenant = $1 AND r.order_id = o.id)), 'requested', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + make_interval(hours => $14)
	    FROM orders o WHERE o.tenant = $1 AND o.id = $3`,
		shop.ID, returnID, in.OrderID, policy, v.PolicyVersion, warehouse, in.Refund, sealed, v.Money, v.FreightBy, by, in.Exception, strings.Join(v.Review, " "), f.policy.DecideWithinHours)
	if err != nil {
		return Return{}, fmt.Errorf("return %s: %w", returnID, err)
	}
	if err := f.claim(ctx, tx, shop.ID, returnID, in); err != nil {
		return Return{}, err
	}
	if err := timeline.Add(ctx, tx, shop.ID, in.OrderID, "return_requested", by, map[string]any{"return_id": returnID, "units": units(in.Lines)}); err != nil {
		return Return{}, err
	}
	if v.Approval == ByHand && in.Exception == "" {
		r, err := Get(ctx, tx, shop.ID, returnID)
		if err != nil {
			return r, err
		}
		return r, r.tell(ctx, tx, shop, noticeRequested)
	}
	who := "rules"
	if in.Exception != "" {
		who = by
	}
	return approve(ctx, tx, shop, returnID, Decision{By: who, Reason: in.Exception})
}

func (f facts) free(lineID string) []refund.Unit {
	i := slices.IndexFunc(f.lines, func(l lineFacts) bool { return l.id == lineID })
	if i < 0 {
		return nil
	}
	return f.lines[i].freeUnits
}

// claim writes which units come back: of each line those that cost most.
func (f facts) claim(ctx context.Context, tx pgx.Tx, tenantID, returnID string, in Request) error {
	b := &pgx.Batch{}
	taken := map[string]int{}
	for _, a := range in.Lines {
		i := slices.IndexFunc(f.lines, func(l lineFacts) bool { return l.id == a.LineID })
		free := f.lines[i].freeUnits[min(taken[a.LineID], len(f.lines[i].freeUnits)):]
		if a.Quantity > len(free) {
			return fmt.Errorf("return %s: line %s has %d units to come back, not %d", returnID, a.LineID, len(free), a.Quantity)
		}
		taken[a.LineID] += a.Quantity
		for _, u := range free[:a.Quantity] {
			b.Queue(`INSERT INTO return_units (tenant, return_id, order_id, line_id, unit, sku, reason) VALUES ($1,$2,$3,$4,$5,$6,$7)`, tenantID, returnID, in.OrderID, a.LineID, u.N, f.lines[i].sku, a.Reason)
		}
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("units of return %s: %w", returnID, err)
	}
	return nil
}

func units(lines []LineAsked) (n int) {
	for _, l := range lines {
		n += l.Quantity
	}
	return n
}

// home is the warehouse that goods go back to: the policy's, else the one that sent most
// of the order's shipments.
func home(ctx context.Context, tx pgx.Tx, tenantID, orderID string, p Policy) (code string, err error) {
	if p.Warehouse != "" {
		return p.Warehouse, nil
	}
	err = tx.QueryRow(ctx, `SELECT warehouse FROM shipments WHERE tenant = $1 AND order_id = $2 AND status <> 'cancelled' GROUP BY warehouse ORDER BY count(*) DESC, warehouse LIMIT 1`, tenantID, orderID).Scan(&code)
	if err != nil {
		return "", fmt.Errorf("warehouse of order %s: %w", orderID, err)
	}
	return code, nil
}

func notEligible(v Verdict) *problem.Error {
	return problem.New(problem.Refused, CodeNotEligible, "By the shop's rules not all of it can come back; see why of each line.").With("verdict", v)
}

// Decision is a person's, or the rules', about a return.
type Decision struct {
	// By is who, as the timeline has it.
	By string
	// Reason is for the buyer when it is rejected.
	Reason string
	// Version is the return's that the person has seen; zero is any.
	Version int64
}

func (d Decision) check(withReason bool) error {
	var f problem.Fields
	switch {
	case withReason && d.Reason == "":
		f.Add("reason", "required", "say why; the buyer is told")
	case len(d.Reason) > 500:
		f.Add("reason", "too_long", "at most 500 bytes")
	}
	return f.Err()
}

// Approve lets a return in that waits for a person. 409 with the return in current:
// wrong_status, version_changed. Once, whoever asks how often.
func Approve(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Decision) (Return, error) {
	if err := d.check(false); err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if r.Status == Approved {
		return r, nil
	}
	if err := r.may(d.Version, Requested); err != nil {
		return r, err
	}
	return approve(ctx, tx, shop, returnID, d)
}

func approve(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Decision) (Return, error) {
	_, err := tx.Exec(ctx, `UPDATE returns SET status = 'approved', version = version + 1, decided_by = $3, decided_why = $4, approved_at = now(), updated_at = now(),
	    expires_at = now() + make_interval(days => (policy->>'send_within_days')::int), due_at = now() + make_interval(days => (policy->>'send_within_days')::int, hours => 1)
	  WHERE tenant = $1 AND id = $2`, shop.ID, returnID, d.By, d.Reason)
	if err != nil {
		return Return{}, fmt.Errorf("approve return %s: %w", returnID, err)
	}
	r, err := Get(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_approved", d.By, map[string]any{"return_id": r.ID, "until": r.ExpiresAt}); err != nil {
		return r, err
	}
	if r.Policy.label(r.Units) == LabelAtOnce {
		// Where no carrier can be asked the buyer sends it as they like.
		why, err := r.unlabelled(ctx, tx, shop.ID, "")
		if err == nil && why == nil {
			err = r.wantLabel(ctx, tx, shop.ID, LabelAsked{By: "rules"})
		}
		if err == nil {
			r, err = Get(ctx, tx, shop.ID, returnID)
		}
		if err != nil {
			return r, err
		}
	}
	return r, r.tell(ctx, tx, shop, noticeApproved)
}

// Reject refuses a return that waits for a person, with the reason that the buyer is told.
// Its units may be asked for again.
func Reject(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Decision) (Return, error) {
	if err := d.check(true); err != nil {
		return Return{}, err
	}
	return give(ctx, tx, shop, returnID, d, Rejected, noticeRejected, Requested)
}

// Cancel ends a return of which nothing has come. A label that nobody has used is cancelled,
// and its units may be asked for again. Where its money has gone already, a person has to
// say how that is settled.
func Cancel(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Decision) (Return, error) {
	if err := d.check(false); err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if paid, err := moneyOf(ctx, tx, shop.ID, returnID); err != nil {
		return r, err
	} else if paid.gone > 0 && r.Settled == "" && r.Status != Cancelled {
		return r, r.conflict("refunded_already", "Its money has gone. Settle that at the support desk first.")
	}
	return give(ctx, tx, shop, returnID, d, Cancelled, noticeNone, Requested, Approved, LabelIssued, InTransit)
}

// give ends a return without its goods.
func give(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, d Decision, to string, tell noticeKind, from ...string) (Return, error) {
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if r.Status == to {
		return r, nil
	}
	if err := r.may(d.Version, from...); err != nil {
		return r, err
	}
	if err := r.release(ctx, tx, shop.ID); err != nil {
		return r, err
	}
	if err := r.dropLabel(ctx, tx, shop.ID, d.By); err != nil {
		return r, err
	}
	_, err = tx.Exec(ctx, `UPDATE returns SET status = $3, version = version + 1, decided_by = $4, decided_why = $5, ended_at = now(), due_at = NULL, expires_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, returnID, to, d.By, d.Reason)
	if err != nil {
		return r, fmt.Errorf("end return %s: %w", returnID, err)
	}
	if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_"+to, d.By, map[string]any{"return_id": r.ID}); err != nil {
		return r, err
	}
	if r, err = Get(ctx, tx, shop.ID, returnID); err != nil {
		return r, err
	}
	return r, r.tell(ctx, tx, shop, tell)
}

// release lets other returns have the units.
func (r Return) release(ctx context.Context, tx pgx.Tx, tenantID string) error {
	_, err := tx.Exec(ctx, `UPDATE return_units SET live = false WHERE tenant = $1 AND return_id = $2 AND came = ''`, tenantID, r.ID)
	if err != nil {
		return fmt.Errorf("units of return %s: %w", r.ID, err)
	}
	return nil
}

// Sending is how goods are on their way back.
type Sending struct {
	Carrier  string `json:"carrier"`
	Tracking string `json:"tracking"`
	Version  int64  `json:"version"`
	By       string `json:"-"`
}

// Sent says that goods are on their way: the return does not expire any more, and a person
// is asked when they do not come. Said again it corrects how.
func Sent(ctx context.Context, tx pgx.Tx, shop tenant.Tenant, returnID string, in Sending) (Return, error) {
	var f problem.Fields
	for field, value := range map[string]string{"carrier": in.Carrier, "tracking": in.Tracking} {
		if len(value) > 80 {
			f.Add(field, "too_long", "at most 80 bytes")
		}
	}
	if err := f.Err(); err != nil {
		return Return{}, err
	}
	r, err := lock(ctx, tx, shop.ID, returnID)
	if err != nil {
		return r, err
	}
	if err := r.may(in.Version, Approved, LabelIssued, InTransit); err != nil {
		return r, err
	}
	_, err = tx.Exec(ctx, `UPDATE returns SET status = 'in_transit', version = version + 1, carrier = $3, tracking = $4, sent_at = coalesce(sent_at, now()), expires_at = NULL,
	    due_at = coalesce(sent_at, now()) + make_interval(days => (policy->>'arrive_within_days')::int), updated_at = now() WHERE tenant = $1 AND id = $2`, shop.ID, returnID, in.Carrier, in.Tracking)
	if err != nil {
		return r, fmt.Errorf("return %s: %w", returnID, err)
	}
	if r.Status != InTransit {
		if err := timeline.Add(ctx, tx, shop.ID, r.OrderID, "return_sent", in.By, map[string]any{"return_id": r.ID}); err != nil {
			return r, err
		}
	}
	return Get(ctx, tx, shop.ID, returnID)
}
