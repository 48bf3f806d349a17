package sandbox

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mpPayment is the stored state of one payment. Pesos are whole.
type mpPayment struct {
	ID                string        `json:"id"`
	Account           string        `json:"account"`
	Preference        string        `json:"preference"`
	ExternalReference string        `json:"external_reference"`
	NotificationURL   string        `json:"notification_url"`
	Description       string        `json:"description"`
	Amount            int64         `json:"amount"`
	Status            string        `json:"status"`
	Detail            string        `json:"status_detail"`
	Capture           bool          `json:"capture"`
	Captured          bool          `json:"captured"`
	Method            string        `json:"method"`
	Installments      int           `json:"installments"`
	FirstSix          string        `json:"first_six"`
	LastFour          string        `json:"last_four"`
	AuthCode          string        `json:"auth_code"`
	Creq              string        `json:"creq"` // of a challenge that waits
	Base              string        `json:"base"`
	Created           time.Time     `json:"created"`
	Approved          time.Time     `json:"approved"`
	Updated           time.Time     `json:"updated"`
	Refunds           []mpRefund    `json:"refunds"`
	Chargeback        *mpChargeback `json:"chargeback"`
}

type mpRefund struct {
	ID      string    `json:"id"`
	Amount  int64     `json:"amount"`
	Status  string    `json:"status"`
	Created time.Time `json:"created"`
}

type mpChargeback struct {
	ID       string    `json:"id"`
	Amount   int64     `json:"amount"`
	Covered  *bool     `json:"covered"`
	AnswerBy time.Time `json:"answer_by"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

// paid: the buyer's money was taken or is held, or was and is given back since.
func (x mpPayment) paid() bool {
	return slices.Contains([]string{"approved", "authorized", "refunded", "charged_back", "in_mediation"}, x.Status)
}

// open: somebody can still decide it.
func (x mpPayment) open() bool { return x.Status == "pending" || x.Status == "in_process" }

func (x mpPayment) kind() string {
	if strings.HasPrefix(x.Method, "deb") {
		return "debit_card"
	}
	return "credit_card"
}

// given sums the refunds; those that are in process only where asked.
func (x mpPayment) given(inProcess bool) (sum int64) {
	for _, r := range x.Refunds {
		if r.Status == "approved" || inProcess && r.Status == "in_process" {
			sum += r.Amount
		}
	}
	return sum
}

func (x mpPayment) view(inProcess bool) map[string]any {
	refunds := []any{}
	for _, r := range x.Refunds {
		if r.Status != "in_process" || inProcess {
			refunds = append(refunds, x.viewRefund(r))
		}
	}
	out := map[string]any{
		"id": mpNumber(x.ID), "date_created": mpTime(x.Created), "date_approved": mpTime(x.Approved), "date_last_updated": mpTime(x.Updated),
		"date_of_expiration": nil, "money_release_date": nil, "operation_type": "regular_payment", "issuer_id": "3",
		"payment_method_id": x.Method, "payment_type_id": x.kind(), "status": x.Status, "status_detail": x.Detail, "currency_id": "CLP",
		"description": x.Description, "live_mode": false, "sponsor_id": nil, "authorization_code": nil, "collector_id": mpCollector(x.Account),
		"external_reference": x.ExternalReference, "transaction_amount": x.Amount, "transaction_amount_refunded": x.given(false), "coupon_amount": 0,
		"transaction_details": map[string]any{"net_received_amount": 0, "total_paid_amount": x.Amount, "overpaid_amount": 0, "external_resource_url": nil, "installment_amount": x.Amount / int64(x.Installments)},
		"fee_details":         []any{}, "captured": x.Captured, "binary_mode": false, "statement_descriptor": "MERCADOPAGO", "installments": x.Installments,
		"card": map[string]any{"id": nil, "first_six_digits": x.FirstSix, "last_four_digits": x.LastFour}, "notification_url": x.NotificationURL,
		"refunds": refunds, "processing_mode": "aggregator", "merchant_account_id": nil, "three_ds_info": nil,
	}
	if x.AuthCode != "" {
		out["authorization_code"] = x.AuthCode
	}
	if x.Captured {
		fee := x.fee()
		out["fee_details"] = []any{map[string]any{"type": "mercadopago_fee", "amount": fee, "fee_payer": "collector"}}
		out["transaction_details"].(map[string]any)["net_received_amount"] = x.Amount - fee
	}
	if x.Creq != "" && x.open() {
		out["three_ds_info"] = map[string]any{"external_resource_url": x.Base + "/" + mercadoPagoName + "/challenge/" + x.ID, "creq": x.Creq}
	}
	return out
}

// fee is 3.19% and its VAT, rounded.
func (x mpPayment) fee() int64 { return int64(math.Round(float64(x.Amount) * 0.0319 * 1.19)) }

func (x mpPayment) viewRefund(r mpRefund) map[string]any {
	return map[string]any{
		"id": mpNumber(r.ID), "payment_id": mpNumber(x.ID), "amount": r.Amount, "status": r.Status, "date_created": mpTime(r.Created),
		"source":                 map[string]any{"name": "Comercio " + x.Account, "id": strconv.FormatInt(mpCollector(x.Account), 10), "type": "collector"},
		"unique_sequence_number": nil, "refund_mode": "standard", "adjustment_amount": 0, "reason": nil,
	}
}

func mpNumber(id string) json.Number { return json.Number(id) }

// open gives a new payment its id and its outcome in the books, and tells the
// merchant.
func (p *mercadoPago) open(t *tx, x *mpPayment) {
	now := p.s.now()
	x.ID = strconv.FormatUint(70_000_000_000+t.next("mp_ids"), 10)
	x.Created, x.Updated = now, now
	t.addPage(pageRef{mercadoPagoName, x.ID}, x.ID)
	put(t, bucketMPReferences, x.Account+"/"+x.ExternalReference+"/"+x.ID, x.ID)
	put(t, bucketMPTimeline, x.Account+"/"+x.ID, x.ID)
	if x.Status == "approved" || x.Status == "authorized" {
		p.accredit(t, x)
	}
	put(t, bucketMPPayments, x.ID, *x)
	p.notify(t, *x, "payment.created")
}

// accredit books the money of an approval.
func (p *mercadoPago) accredit(t *tx, x *mpPayment) {
	x.Approved, x.Updated = p.s.now(), p.s.now()
	if x.AuthCode == "" {
		x.AuthCode = randomText(6, digits)
	}
	status := chargeAuthorized
	if x.Status == "approved" {
		x.Captured, status = true, chargeCaptured
	} else {
		put(t, bucketMPHeld, ordered(uint64(x.Approved.Add(mpHold).Unix()))+x.ID, x.ID)
	}
	t.book(ledgerCharge{
		PaymentID: x.ExternalReference, Gateway: mercadoPagoName, Amount: x.Amount, Currency: "CLP", Status: status,
		Reference: x.ID, CreatedAt: x.Approved, Account: strconv.FormatInt(mpCollector(x.Account), 10),
	})
}

// mpHold is how long an authorization holds.
const mpHold = 5 * 24 * time.Hour

// lapse gives up the authorizations whose time is over.
func (p *mercadoPago) lapse() error {
	limit := ordered(uint64(p.s.now().Unix()) + 1)
	due := map[string]string{}
	collect := func(t *tx) {
		clear(due)
		each(t, bucketMPHeld, "", func(key, id string) bool {
			if key >= limit || len(due) == 100 {
				return false
			}
			due[key] = id
			return true
		})
	}
	if err := p.s.store.view(collect); err != nil || len(due) == 0 {
		return err
	}
	return p.s.store.update(func(t *tx) {
		collect(t)
		for _, key := range sortedKeys(due) {
			t.remove(bucketMPHeld, key)
			if x, found := get[mpPayment](t, bucketMPPayments, due[key]); found && x.Status == "authorized" {
				t.rebook(mercadoPagoName, x.ID, chargeVoided)
				x.Status, x.Detail = "cancelled", "expired"
				p.save(t, x)
			}
		}
	})
}

// save stores a change that the merchant is told of.
func (p *mercadoPago) save(t *tx, x mpPayment) {
	x.Updated = p.s.now()
	put(t, bucketMPPayments, x.ID, x)
	p.notify(t, x, "payment.updated")
}

// decide ends a review or a challenge.
func (p *mercadoPago) decide(t *tx, x mpPayment, in stepInput) (stepResult, error) {
	if !x.open() {
		return stepResult{}, fmt.Errorf("%w: the payment is %s", errPageClosed, x.Status)
	}
	switch in.step {
	case stepApprove:
		if in.amount != 0 {
			x.Amount = in.amount
		}
		x.Status, x.Detail = "approved", "accredited"
		if !x.Capture {
			x.Status, x.Detail = "authorized", "pending_capture"
		}
		p.accredit(t, &x)
	case stepTimeout:
		x.Status, x.Detail = "cancelled", "expired"
	case stepAbort:
		return stepResult{Status: x.Status}, nil
	default:
		x.Status, x.Detail = "rejected", "cc_rejected_other_reason"
		if x.Creq != "" {
			x.Detail = "cc_rejected_3ds_challenge"
		}
		if in.declineCode != "" {
			x.Detail = in.declineCode
		}
	}
	p.save(t, x)
	return stepResult{Status: x.Status}, nil
}

// mpCardToken stands for a card, once. Of the number only the two ends are kept.
type mpCardToken struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Name     string    `json:"name"`
	FirstSix string    `json:"first_six"`
	LastFour string    `json:"last_four"`
	Used     bool      `json:"used"`
	Created  time.Time `json:"created"`
}

var cardDigits = regexp.MustCompile(`^[0-9]{12,19}$`)

// createCardToken is what Mercado Pago's script calls from the buyer's browser.
func (p *mercadoPago) createCardToken(t *tx, r *mpRequest) (int, any, *mpError) {
	var in struct {
		Number     string      `json:"card_number"`
		Code       string      `json:"security_code"`
		Month      json.Number `json:"expiration_month"`
		Year       json.Number `json:"expiration_year"`
		Cardholder struct {
			Name           string         `json:"name"`
			Identification map[string]any `json:"identification"`
		} `json:"cardholder"`
	}
	if refused := mpDecode(r, &in); refused != nil {
		return 0, nil, refused
	}
	in.Number = strings.ReplaceAll(in.Number, " ", "")
	switch {
	case !cardDigits.MatchString(in.Number):
		return 0, nil, mpRefused(3016, "Invalid parameter card_number")
	case in.Code == "":
		return 0, nil, mpRefused(3013, "The parameter security_code is a required field can not be null or empty")
	case in.Cardholder.Name == "":
		return 0, nil, mpRefused(3020, "The parameter cardholder.name can not be null or empty")
	case in.Month == "" || in.Year == "":
		return 0, nil, mpRefused(3018, "The parameter expiration_month can not be null or empty")
	}
	x := mpCardToken{
		ID: randomText(32, hexDigits), Account: r.account, Name: in.Cardholder.Name,
		FirstSix: in.Number[:6], LastFour: in.Number[len(in.Number)-4:], Created: p.s.now(),
	}
	put(t, bucketMPTokens, x.ID, x)
	return http.StatusCreated, map[string]any{
		"id": x.ID, "first_six_digits": x.FirstSix, "last_four_digits": x.LastFour, "expiration_month": in.Month, "expiration_year": in.Year,
		"cardholder": map[string]any{"name": x.Name, "identification": in.Cardholder.Identification}, "status": "active",
		"date_created": mpTime(x.Created), "date_last_updated": mpTime(x.Created), "date_due": mpTime(x.Created.Add(8 * 24 * time.Hour)),
		"luhn_validation": true, "live_mode": false, "require_esc": false, "card_number_length": len(in.Number), "security_code_length": len(in.Code),
	}, nil
}

// mpResults are what the test cardholders' names bring about
// (mercadopago.cl/developers, "Tarjetas de prueba").
var mpResults = map[string][2]string{
	"APRO": {"approved", "accredited"},
	"OTHE": {"rejected", "cc_rejected_other_reason"},
	"CONT": {"in_process", "pending_contingency"},
	"CALL": {"rejected", "cc_rejected_call_for_authorize"},
	"FUND": {"rejected", "cc_rejected_insufficient_amount"},
	"SECU": {"rejected", "cc_rejected_bad_filled_security_code"},
	"EXPI": {"rejected", "cc_rejected_bad_filled_date"},
	"FORM": {"rejected", "cc_rejected_bad_filled_other"},
	"CARD": {"rejected", "cc_rejected_bad_filled_card_number"},
	"INST": {"rejected", "cc_rejected_invalid_installments"},
	"DUPL": {"rejected", "cc_rejected_duplicated_payment"},
	"LOCK": {"rejected", "cc_rejected_card_disabled"},
	"CTNA": {"rejected", "cc_rejected_card_type_not_allowed"},
	"ATTE": {"rejected", "cc_rejected_max_attempts"},
	"BLAC": {"rejected", "cc_rejected_blacklist"},
}

// mpChallengeCard is the documented test card that asks for a 3DS challenge.
const mpChallengeCard = "5483924623"

var mpMethods = []string{"visa", "master", "amex", "debvisa", "debmaster"}

// mpMethodOf tells the brand of a token's card by its first digit, "" when it
// cannot.
func mpMethodOf(t *tx, token string) string {
	card, _ := get[mpCardToken](t, bucketMPTokens, token)
	for first, method := range map[string]string{"4": "visa", "5": "master", "3": "amex"} {
		if strings.HasPrefix(card.FirstSix, first) {
			return method
		}
	}
	return ""
}

func (p *mercadoPago) createPayment(t *tx, r *mpRequest) (int, any, *mpError) {
	var in struct {
		Amount            json.Number `json:"transaction_amount"`
		Token             string      `json:"token"`
		Installments      int         `json:"installments"`
		Method            string      `json:"payment_method_id"`
		Description       string      `json:"description"`
		ExternalReference string      `json:"external_reference"`
		NotificationURL   string      `json:"notification_url"`
		Binary            bool        `json:"binary_mode"`
		Capture           *bool       `json:"capture"`
		ThreeDS           string      `json:"three_d_secure_mode"`
		Payer             struct {
			Email string `json:"email"`
		} `json:"payer"`
	}
	if refused := mpDecode(r, &in); refused != nil {
		return 0, nil, refused
	}
	amount, ok := mpPesos(in.Amount)
	if in.Method == "" {
		in.Method = mpMethodOf(t, in.Token)
	}
	_, badMail := mail.ParseAddress(in.Payer.Email)
	card, found := get[mpCardToken](t, bucketMPTokens, in.Token)
	switch {
	case !ok:
		return 0, nil, mpRefused(4037, "Invalid transaction_amount")
	case !found || card.Account != r.account:
		return 0, nil, mpRefused(2006, "Card Token not found")
	case card.Used:
		return 0, nil, mpRefused(3003, "Invalid card_token_id")
	case in.Method == "":
		return 0, nil, mpRefused(2131, "Cannot infer Payment Method")
	case !slices.Contains(mpMethods, in.Method):
		return 0, nil, mpRefused(3011, "Not found payment_method")
	case in.Installments < 1 || in.Installments > 36:
		return 0, nil, mpRefused(4025, "Invalid installments")
	case badMail != nil:
		return 0, nil, mpRefused(4050, "payer.email must be a valid email")
	case in.NotificationURL != "" && (!isWebURL(in.NotificationURL) || len(in.NotificationURL) > 248):
		return 0, nil, mpRefused(4020, "notificaction_url attribute must be url valid")
	case !mpReference.MatchString(in.ExternalReference):
		return 0, nil, mpRefused(4033, "Invalid external_reference")
	}
	card.Used = true
	put(t, bucketMPTokens, card.ID, card)
	word, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(card.Name)), " ")
	result, known := mpResults[word]
	if !known {
		result = mpResults["OTHE"]
	}
	x := mpPayment{
		Account: r.account, ExternalReference: in.ExternalReference, NotificationURL: in.NotificationURL, Description: in.Description, Amount: amount,
		Status: result[0], Detail: result[1], Capture: in.Capture == nil || *in.Capture, Method: in.Method, Installments: in.Installments,
		FirstSix: card.FirstSix, LastFour: card.LastFour, Base: r.base,
	}
	switch {
	case in.ThreeDS == "optional" && card.FirstSix+card.LastFour == mpChallengeCard:
		x.Status, x.Detail, x.Creq = "pending", "pending_challenge", randomText(64, alphanumeric)
	case x.Status == "approved" && !x.Capture:
		x.Status, x.Detail = "authorized", "pending_capture"
	case x.open() && in.Binary:
		x.Status, x.Detail = "rejected", "cc_rejected_other_reason"
	}
	p.open(t, &x)
	t.addPage(pageRef{mercadoPagoName, x.ID}, x.ExternalReference)
	return http.StatusCreated, x.view(false), nil
}

func (p *mercadoPago) payment(t *tx, r *mpRequest) (mpPayment, *mpError) {
	x, found := get[mpPayment](t, bucketMPPayments, r.args[0])
	if !found || x.Account != r.account {
		return x, mpNotFound
	}
	return x, nil
}

func (p *mercadoPago) getPayment(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.payment(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	return http.StatusOK, x.view(true), nil
}

// updatePayment captures or cancels.
func (p *mercadoPago) updatePayment(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.payment(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	var in struct {
		Status  string      `json:"status"`
		Capture bool        `json:"capture"`
		Amount  json.Number `json:"transaction_amount"`
	}
	if refused := mpDecode(r, &in); refused != nil {
		return 0, nil, refused
	}
	switch {
	case in.Status == "cancelled":
		if !x.open() && x.Status != "authorized" {
			return 0, nil, mpRefused(2018, "The action requested is not valid for the current payment state")
		}
		if x.Status == "authorized" {
			t.rebook(mercadoPagoName, x.ID, chargeVoided)
		}
		x.Status, x.Detail = "cancelled", "by_collector"
	case in.Capture:
		if x.Status != "authorized" {
			return 0, nil, mpRefused(2063, "The action requested is not valid for the current payment state")
		}
		if in.Amount != "" {
			amount, ok := mpPesos(in.Amount)
			if !ok || amount > x.Amount {
				return 0, nil, mpRefused(2017, "The transaction_amount is not valid for the current payment")
			}
			x.Amount = amount
		}
		x.Status, x.Detail = "approved", "accredited"
		p.accredit(t, &x)
	default:
		return 0, nil, mpRefused(1, "Params Error")
	}
	p.save(t, x)
	return http.StatusOK, x.view(true), nil
}

func (p *mercadoPago) createRefund(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.payment(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	var in struct {
		Amount json.Number `json:"amount"`
	}
	if len(r.body) > 0 {
		if refused := mpDecode(r, &in); refused != nil {
			return 0, nil, refused
		}
	}
	amount := x.Amount - x.given(true)
	if in.Amount != "" {
		var ok bool
		if amount, ok = mpPesos(in.Amount); !ok {
			return 0, nil, mpRefused(4040, "amount invalid")
		}
	}
	refund, refused := p.giveBack(t, &x, amount)
	if refused != nil {
		return 0, nil, refused
	}
	if refund.Status == "in_process" && r.header.Get("X-Render-In-Process-Refunds") != "true" {
		// It is on its way all the same: that is why the header exists.
		return http.StatusBadRequest, map[string]any{"message": "the refund is in process", "error": "bad_request", "status": 400, "cause": []any{}}, nil
	}
	return http.StatusCreated, x.viewRefund(refund), nil
}

// giveBack makes a refund, at once or in process.
func (p *mercadoPago) giveBack(t *tx, x *mpPayment, amount int64) (mpRefund, *mpError) {
	conf := p.settings(t, x.Account)
	now := p.s.now()
	left := x.Amount - x.given(true)
	switch {
	case x.Status != "approved" && !x.reimbursed() || !x.Captured || left == 0:
		return mpRefund{}, mpRefused(2063, "The action requested is not valid for the current payment state")
	case amount <= 0 || amount > left:
		return mpRefund{}, mpRefused(2017, "The amount is not valid: it is more than what is left of the payment")
	case now.Sub(x.Approved) > 180*24*time.Hour:
		return mpRefund{}, mpRefused(2024, "Payment too old to be refunded")
	case amount < left && slices.Contains(conf.WholeRefundsOnly, x.Method):
		return mpRefund{}, mpRefused(3024, "Not valid action - partial refund unsupported for this transaction")
	}
	refund := mpRefund{ID: strconv.FormatUint(1_600_000_000+t.next("mp_refund_ids"), 10), Amount: amount, Status: "approved", Created: now}
	if conf.RefundsInProcess {
		refund.Status = "in_process"
	}
	x.Refunds = append(x.Refunds, refund)
	put(t, bucketMPRefunds, refund.ID, x.ID)
	p.refunded(t, x, len(x.Refunds)-1)
	return refund, nil
}

// refunded books a refund whose status has changed, and what it makes of its
// payment.
func (p *mercadoPago) refunded(t *tx, x *mpPayment, i int) ledgerRefund {
	refund := x.Refunds[i]
	entry := ledgerRefund{
		PaymentID: x.ExternalReference, Gateway: mercadoPagoName, Amount: refund.Amount, Currency: "CLP", Reference: refund.ID, CreatedAt: refund.Created,
		Account: strconv.FormatInt(mpCollector(x.Account), 10),
		Status:  map[string]refundStatus{"approved": refundSucceeded, "in_process": refundPending, "rejected": refundFailed}[refund.Status],
	}
	t.bookRefund(entry)
	detail, booked := "partially_refunded", chargePartiallyRefunded
	switch x.given(false) {
	case 0:
		detail, booked = "accredited", chargeCaptured
	case x.Amount:
		x.Status, detail, booked = "refunded", "refunded", chargeRefunded
	}
	if x.Status != "charged_back" {
		x.Detail = detail
	}
	if x.Status != "charged_back" || x.reimbursed() { // else the bank has what is left
		t.rebook(mercadoPagoName, x.ID, booked)
	}
	p.save(t, *x)
	return entry
}

// reimbursed reports whether the merchant has won the payment's dispute. Nothing
// published says that the money cannot be given back then; it is taken to be
// possible, and the payment to stay charged_back until all of it has gone.
func (x mpPayment) reimbursed() bool { return x.Status == "charged_back" && x.Detail == "reimbursed" }

// settleRefund ends a refund that is in process.
func (p *mercadoPago) settleRefund(t *tx, reference string, succeed bool, _ string) (ledgerRefund, error) {
	id, found := get[string](t, bucketMPRefunds, reference)
	x, _ := get[mpPayment](t, bucketMPPayments, id)
	i := slices.IndexFunc(x.Refunds, func(r mpRefund) bool { return r.ID == reference })
	switch {
	case !found || i < 0:
		return ledgerRefund{}, fmt.Errorf("refund %s: %w", reference, errNotFound)
	case x.Refunds[i].Status != "in_process":
		return ledgerRefund{}, fmt.Errorf("%w: the refund is %s", errNotRefundable, x.Refunds[i].Status)
	}
	x.Refunds[i].Status = "rejected"
	if succeed {
		x.Refunds[i].Status = "approved"
	}
	return p.refunded(t, &x, i), nil
}

func (p *mercadoPago) refundByHand(t *tx, key string, amount int64) (ledgerRefund, error) {
	x, found := p.paidOf(t, key)
	if !found {
		return ledgerRefund{}, fmt.Errorf("%w: nothing was paid", errNotRefundable)
	}
	if amount == 0 {
		amount = x.Amount - x.given(true)
	}
	refund, refused := p.giveBack(t, &x, amount)
	if refused != nil {
		return ledgerRefund{}, fmt.Errorf("%w: %s", errNotRefundable, refused.message)
	}
	entry, _ := get[ledgerRefund](t, bucketRefunds, t.ledgerKey(bucketRefunds, mercadoPagoName, refund.ID))
	return entry, nil
}

// paidOf is the paid payment of a page, or of a payment's own id.
func (p *mercadoPago) paidOf(t *tx, key string) (mpPayment, bool) {
	ids := []string{key}
	if x, found := get[mpPreference](t, bucketMPPreferences, key); found {
		ids = x.Payments
	}
	for _, id := range ids {
		if x, found := get[mpPayment](t, bucketMPPayments, id); found && x.paid() {
			return x, true
		}
	}
	return mpPayment{}, false
}

func (p *mercadoPago) listRefunds(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.payment(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	out := []any{}
	for _, refund := range x.Refunds {
		if refund.Status != "in_process" || r.header.Get("X-Render-In-Process-Refunds") == "true" {
			out = append(out, x.viewRefund(refund))
		}
	}
	return http.StatusOK, out, nil
}

func (p *mercadoPago) getRefund(t *tx, r *mpRequest) (int, any, *mpError) {
	x, refused := p.payment(t, r)
	if refused != nil {
		return 0, nil, refused
	}
	for _, refund := range x.Refunds {
		if refund.ID == r.args[1] {
			return http.StatusOK, x.viewRefund(refund), nil
		}
	}
	return 0, nil, &mpError{status: http.StatusNotFound, code: 2000, message: "Refund not found"}
}

// searchPayments looks at the last three months unless a range is asked for
// (mercadopago.com.br/developers, search-payments).
func (p *mercadoPago) searchPayments(t *tx, r *mpRequest) (int, any, *mpError) {
	q := r.query
	limit, offset := 30, 0
	for name, into := range map[string]*int{"limit": &limit, "offset": &offset} {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return 0, nil, mpRefused(1, "Params Error")
			}
			*into = n
		}
	}
	if limit > 1000 {
		return 0, nil, mpRefused(1000, "Number of rows exceeded the limits")
	}
	from, bad1 := p.moment(q.Get("begin_date"), "NOW-3MONTHS")
	to, bad2 := p.moment(q.Get("end_date"), "NOW")
	if bad1 != nil || bad2 != nil {
		return 0, nil, mpRefused(1001, "Date format must be yyyy-MM-dd'T'HH:mm:ss.SSSZ")
	}
	by, ok := mpAttributes[q.Get("range")]
	order, sortable := mpAttributes[q.Get("sort")]
	switch {
	case !ok:
		return 0, nil, mpRefused(1, "Params Error")
	case !sortable && q.Get("sort") != "id":
		return 0, nil, mpRefused(1003, "Invalid sort value")
	case q.Get("criteria") != "" && q.Get("criteria") != "asc" && q.Get("criteria") != "desc":
		return 0, nil, mpRefused(1004, "Invalid criteria value")
	}
	var found []mpPayment
	bucket, prefix := bucketMPTimeline, r.account+"/"
	if reference := q.Get("external_reference"); reference != "" {
		bucket, prefix = bucketMPReferences, r.account+"/"+reference+"/"
	}
	each(t, bucket, prefix, func(_ string, id string) bool {
		x, _ := get[mpPayment](t, bucketMPPayments, id)
		if at := by(x); !at.IsZero() && !at.Before(from) && !at.After(to) {
			found = append(found, x)
		}
		return true
	})
	if sortable {
		slices.SortStableFunc(found, func(a, b mpPayment) int { return order(a).Compare(order(b)) })
	}
	if q.Get("criteria") == "desc" {
		slices.Reverse(found)
	}
	results := []any{}
	for _, x := range found[min(offset, len(found)):min(offset+limit, len(found))] {
		results = append(results, x.view(false))
	}
	return http.StatusOK, map[string]any{"paging": map[string]int{"total": len(found), "limit": limit, "offset": offset}, "results": results}, nil
}

var mpAttributes = map[string]func(mpPayment) time.Time{
	"":                  func(x mpPayment) time.Time { return x.Created },
	"date_created":      func(x mpPayment) time.Time { return x.Created },
	"date_approved":     func(x mpPayment) time.Time { return x.Approved },
	"date_last_updated": func(x mpPayment) time.Time { return x.Updated },
}

var mpRelative = regexp.MustCompile(`^NOW(?:-([0-9]{1,4})(MINUTES?|HOURS?|DAYS?|MONTHS?|YEARS?))?$`)

// moment reads a date of a search, absolute or relative.
func (p *mercadoPago) moment(text, otherwise string) (time.Time, error) {
	if text == "" {
		text = otherwise
	}
	now := p.s.now()
	m := mpRelative.FindStringSubmatch(text)
	if m == nil {
		return mpReadTime(text)
	}
	n, _ := strconv.Atoi(m[1]) // up to four digits, or none
	switch strings.TrimSuffix(m[2], "S") {
	case "MINUTE":
		return now.Add(-time.Duration(n) * time.Minute), nil
	case "HOUR":
		return now.Add(-time.Duration(n) * time.Hour), nil
	case "DAY":
		return now.AddDate(0, 0, -n), nil
	case "MONTH":
		return now.AddDate(0, -n, 0), nil
	case "YEAR":
		return now.AddDate(-n, 0, 0), nil
	}
	return now, nil
}
