package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// world is the outside as a script reaches it: the providers' pages for
// buyers, their faults and their ledger.
type world struct {
	base   string
	client *http.Client
}

// stepTaken is what a buyer's step at a provider's page led to.
type stepTaken struct {
	Status         string `json:"status"`
	Returned       bool   `json:"returned"` // the browser went back to the shop
	ReturnStatus   int    `json:"return_status"`
	ReturnLocation string `json:"return_location"`
	ReturnError    string `json:"return_error"`
}

// toldStatus is the checkout's status that the shop was told with the buyer.
func (s stepTaken) toldStatus() string {
	u, err := url.Parse(s.ReturnLocation)
	if err != nil {
		return ""
	}
	return u.Query().Get("status")
}

var (
	// errPageClosed: the provider does not let the buyer do that any more.
	errPageClosed = errors.New("the provider's page is closed")
	// errPerhapsTaken: the page is closed, maybe because of this buyer's own step,
	// to which there was no answer.
	errPerhapsTaken = errors.New("the provider may have taken the step")
)

// step lets the buyer of a payment act: approve, decline, abort or return.
// One that had no answer is taken again.
func (w *world) step(ctx context.Context, paymentID, step string, comeBack bool) (stepTaken, error) {
	path := "/buyer/" + url.PathEscape(paymentID) + "/" + step
	if !comeBack {
		path += "?return=false"
	}
	unanswered := false
	for pause := 300 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		var out stepTaken
		status, err := w.call(ctx, http.MethodPost, path, "", &out)
		switch {
		case err == nil && status == http.StatusOK:
			return out, nil
		case err == nil && status == http.StatusConflict && unanswered:
			return out, errPerhapsTaken
		case err == nil && status == http.StatusConflict:
			return out, errPageClosed
		case err == nil && status < 500:
			return out, fmt.Errorf("%s at payment %s: the provider answers %d", step, paymentID, status)
		}
		unanswered = true
		if failed := rest(ctx, pause); failed != nil {
			return out, fmt.Errorf("%s at payment %s: %w", step, paymentID, failed)
		}
	}
}

func (w *world) call(ctx context.Context, method, path string, body string, into any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, w.base+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := w.client.Do(req)
	if err != nil {
		return 0, err
	}
	raw, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return 0, err
	}
	if into != nil && res.StatusCode/100 == 2 {
		if err := json.Unmarshal(raw, into); err != nil {
			return res.StatusCode, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return res.StatusCode, nil
}

// want is call that accepts only success.
func (w *world) want(ctx context.Context, method, path, body string, into any) error {
	status, err := w.call(ctx, method, path, body, into)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("%s %s%s: status %d", method, w.base, path, status)
	}
	return nil
}

// entry is money that a provider took or gave back.
type entry struct {
	PaymentID string `json:"payment_id"`
	Gateway   string `json:"gateway"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
}

// ledger is what the providers believe happened, by our payments' ids.
type ledger struct {
	charges, refunds map[string][]entry
}

func (w *world) ledger(ctx context.Context) (ledger, error) {
	var raw struct {
		Charges []entry `json:"charges"`
		Refunds []entry `json:"refunds"`
	}
	if err := w.want(ctx, http.MethodGet, "/ledger", "", &raw); err != nil {
		return ledger{}, fmt.Errorf("the providers' ledger: %w", err)
	}
	l := ledger{map[string][]entry{}, map[string][]entry{}}
	for _, c := range raw.Charges {
		// An authorization has taken nothing.
		if c.Status != "authorized" && c.Status != "voided" {
			l.charges[c.PaymentID] = append(l.charges[c.PaymentID], c)
		}
	}
	for _, r := range raw.Refunds {
		if r.Status == "succeeded" {
			l.refunds[r.PaymentID] = append(l.refunds[r.PaymentID], r)
		}
	}
	return l, nil
}

// kept is what a provider took of a payment and has not given back.
func (l ledger) kept(paymentID string) int64 {
	var sum int64
	for _, c := range l.charges[paymentID] {
		sum += c.Amount
	}
	for _, r := range l.refunds[paymentID] {
		sum -= r.Amount
	}
	return sum
}
