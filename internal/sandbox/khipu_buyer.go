package sandbox

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// hosted are the addresses that creating a payment answers.
func (p *khipu) hosted(mux *http.ServeMux) {
	mux.HandleFunc("GET /"+khipuName+"/payment/{way}/{id}", func(w http.ResponseWriter, r *http.Request) {
		found := false
		err := p.s.store.view(func(t *tx) { _, found = get[khipuPayment](t, bucketKhipu, r.PathValue("id")) })
		switch {
		case err != nil:
			p.s.fail(w, err)
		case !found:
			p.s.render(w, http.StatusNotFound, missingPage, nil)
		default:
			http.Redirect(w, r, "/buyer/"+url.PathEscape(r.PathValue("id")), http.StatusSeeOther)
		}
	})
}

func (p *khipu) page(t *tx, id string) (page, bool) {
	x, found := get[khipuPayment](t, bucketKhipu, id)
	lapsed := x.lapsed(p.s.now())
	return page{
		PaymentID: x.TransactionID, Merchant: fmt.Sprintf("Cobrador de desarrollo #%d", khipuReceiver(x.Tenant)), Description: x.Subject,
		Amount: khipuMinor(x.Amount, x.Currency), Currency: x.Currency, Status: x.Status, Notice: x.Notice,
		Open: x.Status == khipuPending && !lapsed, Lapsed: lapsed && !x.TimedOut,
	}, found
}

const (
	bankErrorNotice = "DemoBank informó un error: no se hizo ninguna transferencia. Puedes intentarlo otra vez."
	bankError       = "bank_error"
)

func (p *khipu) step(t *tx, id string, in stepInput) (stepResult, error) {
	x, found := get[khipuPayment](t, bucketKhipu, id)
	if !found {
		return stepResult{}, fmt.Errorf("payment %s: %w", id, errNotFound)
	}
	now := p.s.now()
	if x.Status != khipuPending || x.TimedOut || x.lapsed(now) && in.step != stepTimeout {
		return stepResult{}, fmt.Errorf("%w: %s", errPageClosed, x.Status)
	}
	x.Notice = ""
	switch {
	case in.step == stepError || in.step == stepDecline && in.declineCode == bankError:
		x.Notice = bankErrorNotice
		put(t, bucketKhipu, x.ID, x)
		return stepResult{Status: x.Status}, nil
	case in.step == stepTimeout:
		// Also the last attempt's own three hours are over.
		x.TimedOut, x.ExpiresAt = true, now.Add(-3*time.Hour-time.Second)
		put(t, bucketKhipu, x.ID, x)
		return stepResult{Status: x.Status}, nil
	case in.step == stepDecline:
		x.Status, x.Detail = khipuDone, "rejected-by-payer"
		put(t, bucketKhipu, x.ID, x)
	case in.step == stepAbort:
		put(t, bucketKhipu, x.ID, x)
	case in.step == stepApprove:
		if in.amount != 0 {
			x.Amount = khipuScale(in.amount, x.Currency)
		}
		x.Status = khipuVerifying
		put(t, bucketKhipu, x.ID, x)
		if wait := time.Duration(*p.settings(t).VerifyingMS) * time.Millisecond; wait > 0 {
			p.later(t, now.Add(wait), khipuDue{Payment: x.ID})
		} else {
			x = p.reconcile(t, x)
		}
	}
	return stepResult{Status: x.Status, Return: p.goBack(x, in.step)}, nil
}

// goBack is the browser's return: to return_url when the buyer is done, to
// cancel_url when not. Khipu adds nothing to them.
func (p *khipu) goBack(x khipuPayment, step buyerStep) *browserReturn {
	address := x.CancelURL
	if step == stepApprove {
		address = x.ReturnURL
	}
	if address == "" {
		return nil
	}
	return &browserReturn{Method: http.MethodGet, URL: address}
}

func (p *khipu) returnAs(t *tx, id string, step buyerStep) (browserReturn, error) {
	x, found := get[khipuPayment](t, bucketKhipu, id)
	if !found {
		return browserReturn{}, fmt.Errorf("payment %s: %w", id, errNotFound)
	}
	if back := p.goBack(x, step); back != nil {
		return *back, nil
	}
	return browserReturn{}, fmt.Errorf("%w: the payment has no address to return to", errPageClosed)
}

// khipuNotice is the body of a notification, in the order of the documentation's
// example (docs.khipu.com/payment-solutions/instant-payments/payment-webhook).
type khipuNotice struct {
	PaymentID          string `json:"payment_id"`
	ReceiverID         int    `json:"receiver_id"`
	Subject            string `json:"subject"`
	Amount             string `json:"amount"`
	Discount           string `json:"discount"`
	Currency           string `json:"currency"`
	ReceiptURL         any    `json:"receipt_url"`
	Bank               any    `json:"bank"`
	BankID             any    `json:"bank_id"`
	PayerName          any    `json:"payer_name"`
	PayerEmail         any    `json:"payer_email"`
	PersonalIdentifier any    `json:"personal_identifier"`
	BankAccountNumber  any    `json:"bank_account_number"`
	OutOfDate          any    `json:"out_of_date_conciliation"`
	TransactionID      string `json:"transaction_id"`
	OperationCode      any    `json:"authorizer_operation_code"`
	ResponsibleEmail   string `json:"responsible_user_email"`
	PaymentMethod      any    `json:"payment_method"`
	ConciliationDate   any    `json:"conciliation_date"`
}

// letter is a notification of version 3.0: JSON in which slashes are escaped,
// signed over those bytes.
func (p *khipu) letter(t *tx, d delivery) (*http.Request, error) {
	x, found := get[khipuPayment](t, bucketKhipu, d.Event)
	if !found || x.NotifyURL == "" {
		return nil, errors.New("the payment has no address to notify")
	}
	of := p.transfer(x)
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(khipuNotice{
		PaymentID: x.ID, ReceiverID: khipuReceiver(x.Tenant), Subject: x.Subject, Amount: khipuText(x.Amount), Discount: "0.0000", Currency: x.Currency,
		ReceiptURL: of["receipt_url"], Bank: of["bank"], BankID: of["bank_id"], PayerName: of["payer_name"], PayerEmail: of["payer_email"],
		PersonalIdentifier: of["personal_identifier"], BankAccountNumber: of["bank_account_number"], OutOfDate: of["out_of_date_conciliation"],
		TransactionID: x.TransactionID, OperationCode: of["authorizer_operation_code"], ResponsibleEmail: "cobrador@example.cl",
		PaymentMethod: of["payment_method"], ConciliationDate: of["conciliation_date"],
	})
	if err != nil {
		return nil, fmt.Errorf("encode notification: %w", err)
	}
	raw := bytes.ReplaceAll(bytes.TrimSpace(body.Bytes()), []byte("/"), []byte(`\/`))
	request, err := http.NewRequest(http.MethodPost, x.NotifyURL, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("x-khipu-signature", signKhipu("sandbox-secret-"+x.Tenant, p.s.now(), raw))
	return request, nil
}

// signKhipu is the value of x-khipu-signature: t=<milliseconds>,s=<base64 of
// HMAC-SHA256 of "t.body">.
func signKhipu(secret string, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",s=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// delivered has nothing to mark: a notification is remembered by nobody.
func (*khipu) delivered(*tx, delivery) {}

// known: the event of a payment is its reconciliation, by the payment's id.
func (p *khipu) known(t *tx, event string) bool {
	x, found := get[khipuPayment](t, bucketKhipu, event)
	return found && !x.ReconciledAt.IsZero() && x.NotifyURL != ""
}
