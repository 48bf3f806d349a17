package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ledgerCharge is money that a provider took, or holds by an authorization.
// Amount is in minor units, Currency in ISO 4217 capitals.
type ledgerCharge struct {
	PaymentID string       `json:"payment_id"`
	Gateway   string       `json:"gateway"`
	Amount    int64        `json:"amount"`
	Currency  string       `json:"currency"`
	Status    chargeStatus `json:"status"`
	Reference string       `json:"reference"`
	CreatedAt time.Time    `json:"created_at"`
	Account   string       `json:"account"`
	HandMade  bool         `json:"hand_made,omitempty"`
}

type chargeStatus string

const (
	chargeAuthorized        chargeStatus = "authorized"
	chargeVoided            chargeStatus = "voided"
	chargeCaptured          chargeStatus = "captured"
	chargePartiallyRefunded chargeStatus = "partially_refunded"
	chargeRefunded          chargeStatus = "refunded"
	chargeReversed          chargeStatus = "reversed"
	chargeDisputed          chargeStatus = "disputed"     // the buyer's bank has taken it back for now
	chargeChargedBack       chargeStatus = "charged_back" // and for good
)

// ledgerRefund is money that a provider gave back.
type ledgerRefund struct {
	PaymentID string       `json:"payment_id"`
	Gateway   string       `json:"gateway"`
	Amount    int64        `json:"amount"`
	Currency  string       `json:"currency"`
	Status    refundStatus `json:"status"`
	Reference string       `json:"reference"`
	CreatedAt time.Time    `json:"created_at"`
	Account   string       `json:"account"`
	// Code is the authorization's, where the provider gives one.
	Code     string `json:"code,omitempty"`
	HandMade bool   `json:"hand_made,omitempty"`
}

type refundStatus string

const (
	refundPending   refundStatus = "pending" // accepted, and no money moved yet
	refundSucceeded refundStatus = "succeeded"
	refundFailed    refundStatus = "failed"
)

// refundSettler is a provider whose refunds are not over when they are asked
// for: one that is pending goes through or not, one that went through fails
// days later.
type refundSettler interface {
	// settleRefund lets the refund with the ledger's reference succeed or fail;
	// reason is the provider's word for why, "" its usual one. errNotFound when
	// it is not this provider's, errNotRefundable when it is over already.
	settleRefund(t *tx, reference string, succeed bool, reason string) (ledgerRefund, error)
}

var (
	errNotFound      = errors.New("not found")
	errNotRefundable = errors.New("not refundable")
)

// ledgerKey finds the entry of a reference, or makes one at the end.
func (t *tx) ledgerKey(bucket, gateway, reference string) string {
	index := bucket + "/" + gateway + "/" + reference
	seq, found := get[uint64](t, bucketLedgerIndex, index)
	if !found {
		seq = t.next(bucket)
		put(t, bucketLedgerIndex, index, seq)
	}
	return ordered(seq)
}

// book writes a charge, in place of what its reference had.
func (t *tx) book(c ledgerCharge) {
	put(t, bucketCharges, t.ledgerKey(bucketCharges, c.Gateway, c.Reference), c)
}

// bookRefund writes a refund, in place of what its reference had.
func (t *tx) bookRefund(r ledgerRefund) {
	put(t, bucketRefunds, t.ledgerKey(bucketRefunds, r.Gateway, r.Reference), r)
}

// rebook changes the status of a charge that is in the ledger.
func (t *tx) rebook(gateway, reference string, status chargeStatus) {
	key := t.ledgerKey(bucketCharges, gateway, reference)
	c, found := get[ledgerCharge](t, bucketCharges, key)
	if !found {
		t.fail(fmt.Errorf("ledger: no charge %s of %s", reference, gateway))
		return
	}
	c.Status = status
	put(t, bucketCharges, key, c)
}

func (s *Server) serveLedger() {
	s.mux.HandleFunc("GET /ledger", s.getLedger)
	s.mux.HandleFunc("POST /ledger/charges", s.postCharge)
	s.mux.HandleFunc("POST /ledger/refunds", s.postRefund)
	s.mux.HandleFunc("POST /ledger/refunds/{refund}/{outcome}", s.settleRefund)
}

// settleRefund plays what a provider decides about a refund later: succeed or
// fail, with ?reason= in the provider's words.
func (s *Server) settleRefund(w http.ResponseWriter, r *http.Request) {
	reference, outcome := r.PathValue("refund"), r.PathValue("outcome")
	if outcome != "succeed" && outcome != "fail" {
		s.refused(w, fmt.Errorf("a refund can succeed or fail, not %s: %w", outcome, errNotFound))
		return
	}
	var entry ledgerRefund
	var refusal error
	err := s.store.update(func(t *tx) {
		refusal = fmt.Errorf("refund %s: %w", reference, errNotFound)
		for _, name := range sortedKeys(s.providers) {
			p, can := s.providers[name].(refundSettler)
			if !can {
				continue
			}
			if entry, refusal = p.settleRefund(t, reference, outcome == "succeed", r.FormValue("reason")); !errors.Is(refusal, errNotFound) {
				return
			}
		}
	})
	if err = errors.Join(err, refusal); err != nil {
		s.refused(w, err)
		return
	}
	s.writeJSON(w, http.StatusOK, entry)
}

func (s *Server) getLedger(w http.ResponseWriter, r *http.Request) {
	gateway := r.URL.Query().Get("gateway")
	var since time.Time
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			s.problem(w, http.StatusBadRequest, "invalid", "since is an RFC 3339 time")
			return
		}
	}
	out := struct {
		Charges  []ledgerCharge `json:"charges"`
		Refunds  []ledgerRefund `json:"refunds"`
		Labels   []ledgerLabel  `json:"labels"`
		Listings []struct{}     `json:"listings"`
		Orders   []struct{}     `json:"orders"`
		Messages []text         `json:"messages"`
	}{[]ledgerCharge{}, []ledgerRefund{}, []ledgerLabel{}, []struct{}{}, []struct{}{}, []text{}}
	wanted := func(of string, at time.Time) bool {
		return (gateway == "" || of == gateway) && !at.Before(since)
	}
	err := s.store.view(func(t *tx) {
		each(t, bucketCharges, "", func(_ string, c ledgerCharge) bool {
			if wanted(c.Gateway, c.CreatedAt) {
				out.Charges = append(out.Charges, c)
			}
			return true
		})
		each(t, bucketRefunds, "", func(_ string, c ledgerRefund) bool {
			if wanted(c.Gateway, c.CreatedAt) {
				out.Refunds = append(out.Refunds, c)
			}
			return true
		})
		each(t, bucketParcels, "", func(_ string, x parcel) bool {
			if wanted(x.Carrier, x.CreatedAt) {
				out.Labels = append(out.Labels, x.label())
			}
			return true
		})
		each(t, bucketTexts, "", func(_ string, m text) bool {
			if wanted(m.Gateway, m.CreatedAt) {
				out.Messages = append(out.Messages, m)
			}
			return true
		})
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	s.writeJSON(w, http.StatusOK, out)
}

// postCharge writes a charge that no call of the merchant made: what an audit
// has to find.
func (s *Server) postCharge(w http.ResponseWriter, r *http.Request) {
	raw, ok := s.readOwn(w, r)
	if !ok {
		return
	}
	var in struct {
		PaymentID string       `json:"payment_id"`
		Gateway   string       `json:"gateway"`
		Amount    int64        `json:"amount"`
		Currency  string       `json:"currency"`
		Status    chargeStatus `json:"status"`
		Account   string       `json:"account"`
	}
	err := decodeOwn(raw, &in)
	if err == nil && (in.PaymentID == "" || s.providers[in.Gateway] == nil || in.Amount <= 0) {
		err = invalidInput{"payment_id, a known gateway and a positive amount are required"}
	}
	if err != nil {
		s.refused(w, err)
		return
	}
	if in.Status == "" {
		in.Status = chargeCaptured
	}
	charge := ledgerCharge{
		PaymentID: in.PaymentID, Gateway: in.Gateway, Amount: in.Amount, Currency: currencyOr(in.Currency),
		Status: in.Status, Account: in.Account, Reference: "hand_" + randomText(20, hexDigits), CreatedAt: s.now(), HandMade: true,
	}
	if err := s.store.update(func(t *tx) { t.book(charge) }); err != nil {
		s.fail(w, err)
		return
	}
	s.writeJSON(w, http.StatusCreated, charge)
}

// postRefund refunds as if in the provider's own panel; where the provider
// knows no such payment it only writes the ledger's entry, which then needs
// an amount.
func (s *Server) postRefund(w http.ResponseWriter, r *http.Request) {
	raw, ok := s.readOwn(w, r)
	if !ok {
		return
	}
	var in struct {
		PaymentID string `json:"payment_id"`
		Gateway   string `json:"gateway"`
		Amount    int64  `json:"amount"`
		Currency  string `json:"currency"`
		Account   string `json:"account"`
	}
	err := decodeOwn(raw, &in)
	if err == nil && (in.PaymentID == "" || s.providers[in.Gateway] == nil || in.Amount < 0) {
		err = invalidInput{"payment_id and a known gateway are required, and amount is not negative"}
	}
	if err != nil {
		s.refused(w, err)
		return
	}
	var refund ledgerRefund
	var refusal error
	reference := "hand_" + randomText(20, hexDigits)
	err = s.store.update(func(t *tx) {
		refusal = nil
		refs := t.pagesOf(in.PaymentID, in.Gateway)
		for _, ref := range refs {
			refund, refusal = s.providers[ref.Provider].refundByHand(t, ref.Key, in.Amount)
			if refusal == nil {
				return
			}
		}
		if len(refs) > 0 {
			return
		}
		if in.Amount == 0 {
			refusal = invalidInput{"an amount is required for a payment that the provider does not know"}
			return
		}
		refund = ledgerRefund{
			PaymentID: in.PaymentID, Gateway: in.Gateway, Amount: in.Amount, Currency: currencyOr(in.Currency),
			Status: refundSucceeded, Account: in.Account, Reference: reference, CreatedAt: s.now(), HandMade: true,
		}
		t.bookRefund(refund)
	})
	if err = errors.Join(err, refusal); err != nil {
		s.refused(w, err)
		return
	}
	s.writeJSON(w, http.StatusCreated, refund)
}

func currencyOr(currency string) string {
	if currency == "" {
		return "CLP"
	}
	return strings.ToUpper(currency)
}
