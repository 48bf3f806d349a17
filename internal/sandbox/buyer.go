package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// buyerStep is what a buyer does on a provider's page.
type buyerStep string

const (
	stepApprove buyerStep = "approve"
	stepDecline buyerStep = "decline"
	stepAbort   buyerStep = "abort"
	stepTimeout buyerStep = "timeout"
	stepError   buyerStep = "error"
)

var buyerSteps = []buyerStep{stepApprove, stepDecline, stepAbort, stepTimeout, stepError}

// errPageClosed: the buyer cannot do that any more.
var errPageClosed = errors.New("the page is closed")

// pageRef names a payment at a provider.
type pageRef struct {
	Provider string `json:"provider"`
	Key      string `json:"key"`
}

// page is what the buyer sees.
type page struct {
	Provider    string
	Key         string
	PaymentID   string
	Merchant    string
	Description string
	Amount      int64 // minor units
	Currency    string
	Status      string
	Open        bool // the buyer can act
	Lapsed      bool // only timeout is left
	Notice      string
}

// stepInput are the choices of one step.
type stepInput struct {
	step        buyerStep
	card        string // "", debit or prepaid
	parts       int    // instalments; 0: none
	declineCode string
	amount      int64 // 0: what was asked for
	postReturn  bool
	risk        string // "", normal, elevated or highest
	review      bool   // held up for a person
}

// stepResult is what became of the payment and how the browser goes back; nil
// when the buyer stays on the provider's page.
type stepResult struct {
	Status string
	Return *browserReturn
}

// browserReturn is the request that the buyer's browser makes to the merchant.
type browserReturn struct {
	Method string     `json:"method"`
	URL    string     `json:"url"`
	Fields url.Values `json:"fields,omitempty"`
}

// location is the URL of a GET with the fields in its query.
func (b browserReturn) location() string {
	if b.Method != http.MethodGet || len(b.Fields) == 0 {
		return b.URL
	}
	separator := "?"
	if strings.Contains(b.URL, "?") {
		separator = "&"
	}
	return b.URL + separator + b.Fields.Encode()
}

// addPage makes a payment reachable by each of ids, newest first.
func (t *tx) addPage(ref pageRef, ids ...string) {
	for _, id := range slices.Compact(ids) {
		if id == "" {
			continue
		}
		refs, _ := get[[]pageRef](t, bucketPages, id)
		put(t, bucketPages, id, append([]pageRef{ref}, refs...))
	}
}

// pagesOf are the payments of an id, newest first; gateway "" is any.
func (t *tx) pagesOf(id, gateway string) []pageRef {
	refs, _ := get[[]pageRef](t, bucketPages, id)
	return slices.DeleteFunc(refs, func(ref pageRef) bool { return gateway != "" && ref.Provider != gateway })
}

func (s *Server) serveBuyer() {
	s.mux.HandleFunc("GET /buyer/{id}", s.showPage)
	s.mux.HandleFunc("POST /buyer/{id}/return", s.replayReturn)
	s.mux.HandleFunc("POST /buyer/{id}/{step}", s.takeStep)
}

// findPage is the newest open page of an id, else the newest.
func (s *Server) findPage(t *tx, id string) (page, bool) {
	var newest *page
	for _, ref := range t.pagesOf(id, "") {
		p, found := s.providers[ref.Provider].page(t, ref.Key)
		if !found {
			continue
		}
		p.Provider, p.Key = ref.Provider, ref.Key
		if p.Open || p.Lapsed {
			return p, true
		}
		if newest == nil {
			newest = &p
		}
	}
	if newest == nil {
		return page{}, false
	}
	return *newest, true
}

// stepAnswer is what a scripted step answers.
type stepAnswer struct {
	PaymentID      string    `json:"payment_id"`
	Gateway        string    `json:"gateway"`
	Step           buyerStep `json:"step"`
	Status         string    `json:"status"`
	Returned       bool      `json:"returned"`
	ReturnMethod   string    `json:"return_method,omitempty"`
	ReturnURL      string    `json:"return_url,omitempty"`
	ReturnStatus   int       `json:"return_status,omitempty"`
	ReturnLocation string    `json:"return_location,omitempty"`
	ReturnError    string    `json:"return_error,omitempty"`
}

func (s *Server) takeStep(w http.ResponseWriter, r *http.Request) {
	in, err := readStep(r)
	if err != nil {
		s.refused(w, err)
		return
	}
	id := r.PathValue("id")
	var p page
	var result stepResult
	var refusal error
	err = s.store.update(func(t *tx) {
		var found bool
		result, refusal = stepResult{}, nil
		if p, found = s.findPage(t, id); !found {
			refusal = fmt.Errorf("payment %s: %w", id, errNotFound)
			return
		}
		result, refusal = s.providers[p.Provider].step(t, p.Key, in)
		if refusal == nil && result.Return != nil {
			put(t, bucketReturns, p.Provider+"/"+p.Key, result.Return)
		}
	})
	byBrowser := r.FormValue("browser") != ""
	if byBrowser && (err == nil && (refusal == nil || errors.Is(refusal, errPageClosed))) {
		if refusal != nil || result.Return == nil {
			http.Redirect(w, r, "/buyer/"+url.PathEscape(id), http.StatusSeeOther)
			return
		}
		s.sendBrowser(w, r, *result.Return)
		return
	}
	if err = errors.Join(err, refusal); err != nil {
		s.refused(w, err)
		return
	}
	s.log.Info("buyer", "gateway", p.Provider, "payment", p.PaymentID, "step", in.step, "status", result.Status)
	answer := stepAnswer{PaymentID: p.PaymentID, Gateway: p.Provider, Step: in.step, Status: result.Status}
	if result.Return != nil && r.URL.Query().Get("return") != "false" {
		s.play(r.Context(), *result.Return, &answer)
	}
	s.writeJSON(w, http.StatusOK, answer)
}

func readStep(r *http.Request) (stepInput, error) {
	in := stepInput{
		step:        buyerStep(r.PathValue("step")),
		card:        r.FormValue("card"),
		declineCode: r.FormValue("decline_code"),
		postReturn:  strings.EqualFold(r.FormValue("return_method"), http.MethodPost),
	}
	if !slices.Contains(buyerSteps, in.step) {
		return in, fmt.Errorf("step %s: %w", in.step, errNotFound)
	}
	if text := r.FormValue("installments"); text != "" {
		parts, err := strconv.Atoi(text)
		if err != nil || parts < 0 || parts > 48 || parts > 0 && in.card != "" && in.card != "credit" {
			return in, invalidInput{"installments are 0 to 48, of a credit card"}
		}
		in.parts = parts
	}
	in.risk, in.review = r.FormValue("risk"), r.FormValue("review") == "true"
	if !slices.Contains([]string{"", "normal", "elevated", "highest"}, in.risk) {
		return in, invalidInput{"risk is normal, elevated or highest"}
	}
	if !slices.Contains([]string{"", "credit", "debit", "prepaid"}, in.card) {
		return in, invalidInput{"card is credit, debit or prepaid"}
	}
	if text := r.FormValue("amount"); text != "" {
		amount, err := strconv.ParseInt(text, 10, 64)
		if err != nil || amount <= 0 {
			return in, invalidInput{"amount is a positive whole number of minor units"}
		}
		in.amount = amount
	}
	return in, nil
}

// replayReturn plays the last return again (a double click, a reload), or with
// ?variant= the return of another step, whatever really happened.
func (s *Server) replayReturn(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	variant := buyerStep(r.FormValue("variant"))
	if variant != "" && !slices.Contains(buyerSteps, variant) {
		s.problem(w, http.StatusBadRequest, "invalid", "variant is a step")
		return
	}
	var p page
	var back browserReturn
	var refusal error
	err := s.store.view(func(t *tx) {
		var found bool
		if p, found = s.findReturned(t, id); !found {
			refusal = fmt.Errorf("payment %s: %w", id, errNotFound)
			return
		}
		if variant != "" {
			back, refusal = s.providers[p.Provider].returnAs(t, p.Key, variant)
			return
		}
		if back, found = get[browserReturn](t, bucketReturns, p.Provider+"/"+p.Key); !found {
			refusal = fmt.Errorf("%w: the buyer has not come back yet", errPageClosed)
		}
	})
	if err = errors.Join(err, refusal); err != nil {
		s.refused(w, err)
		return
	}
	if method := strings.ToUpper(r.FormValue("return_method")); method == http.MethodPost || method == http.MethodGet {
		back.Method = method
	}
	if r.FormValue("browser") != "" {
		s.sendBrowser(w, r, back)
		return
	}
	answer := stepAnswer{PaymentID: p.PaymentID, Gateway: p.Provider, Step: variant, Status: p.Status}
	s.play(r.Context(), back, &answer)
	s.writeJSON(w, http.StatusOK, answer)
}

// findReturned prefers the newest payment of the id from which the buyer came
// back.
func (s *Server) findReturned(t *tx, id string) (page, bool) {
	for _, ref := range t.pagesOf(id, "") {
		if _, returned := get[browserReturn](t, bucketReturns, ref.Provider+"/"+ref.Key); returned {
			if p, found := s.providers[ref.Provider].page(t, ref.Key); found {
				p.Provider, p.Key = ref.Provider, ref.Key
				return p, true
			}
		}
	}
	return s.findPage(t, id)
}

// play makes the browser's request, once, without following where the merchant
// sends the browser next. What goes wrong is told in the answer: the step was
// taken all the same.
func (s *Server) play(ctx context.Context, back browserReturn, answer *stepAnswer) {
	answer.Returned = true
	answer.ReturnMethod = back.Method
	answer.ReturnURL = back.location()
	var body io.Reader
	if back.Method == http.MethodPost {
		body = strings.NewReader(back.Fields.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, back.Method, back.location(), body)
	if err != nil {
		answer.ReturnError = err.Error()
		return
	}
	request.Header.Set("User-Agent", "Mozilla/5.0 (sandbox buyer)")
	request.Header.Set("Accept", "text/html,application/xhtml+xml")
	if body != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := s.browser.Do(request)
	if err != nil {
		answer.ReturnError = err.Error()
		return
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, bodyLimit))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		answer.ReturnError = err.Error()
	}
	answer.ReturnStatus = response.StatusCode
	answer.ReturnLocation = response.Header.Get("Location")
}
