// Package starken is the adapter of Starken's gateway for shops (StarkenPro): quotes,
// issuances, tracking. Paths and fields are those of the modules that were written for
// Starken (https://github.com/zenx5/swastarkencl,
// https://github.com/SoftwareAgil/magento-2-starkenpro).
//
// An issuance is accepted at once and gets its number and its label later; it is asked for
// by the id of that first answer, and by nothing else: one whose answer was lost stays in
// doubt. There is no call to cancel. Most errors come with HTTP 200 and a status inside.
package starken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/chile"
	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// ProductionURL is the gateway. Older modules use https://apiprod.starkenpro.cl.
const ProductionURL = "https://gateway.starken.cl/externo/integracion"

// Config is one tenant's account at StarkenPro.
type Config struct {
	// BaseURL is what stands before /agency, /quote, /emision and /tracking; empty means
	// ProductionURL.
	BaseURL string `json:"base_url,omitempty"`
	// Token is issued in StarkenPro.
	Token string `json:"token"`
	// RUT of the shop.
	RUT string `json:"rut"`
	// OriginAgency is the code (code_dls) of the agency where the shop hands parcels over.
	OriginAgency int `json:"origin_agency"`
	// CurrentAccount pays (with its check digit: "41966-8"); CostCentre may be empty.
	CurrentAccount string `json:"current_account"`
	CostCentre     string `json:"cost_centre,omitempty"`
}

var (
	token          = regexp.MustCompile(`^[!-~]{1,1000}$`)
	currentAccount = regexp.MustCompile(`^([0-9]{1,12})-([0-9Kk])$`)
)

// Carrier is shipping.Carrier for one account.
type Carrier struct {
	config         Config
	base           *url.URL
	root           string
	rut            chile.RUT
	account, digit string
	caller         wire.Caller
	comunas        wire.Table[[]comuna]
	cities         wire.Table[map[string]chile.Region]
	agencies       wire.Table[[]agency]
}

var _ shipping.Carrier = (*Carrier)(nil)

// New checks cfg without calling Starken. client must come from httpclient.New.
func New(cfg Config, client *http.Client) (*Carrier, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = ProductionURL
	}
	root, err := wire.Base("starken", cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(root)
	if err != nil {
		return nil, errors.New("starken: base_url is no address")
	}
	if !token.MatchString(cfg.Token) {
		return nil, errors.New("starken: token is missing or has blanks")
	}
	rut, err := chile.ParseRUT(cfg.RUT)
	if err != nil {
		return nil, fmt.Errorf("starken: rut: %w", err)
	}
	account := currentAccount.FindStringSubmatch(cfg.CurrentAccount)
	switch {
	case account == nil:
		return nil, errors.New("starken: current_account is no number with a check digit")
	case cfg.OriginAgency <= 0:
		return nil, errors.New("starken: origin_agency is the code of an agency")
	case client == nil:
		return nil, errors.New("starken: an HTTP client is needed")
	}
	return &Carrier{
		config: cfg, base: base, root: root, rut: rut, account: account[1], digit: strings.ToUpper(account[2]), caller: wire.Caller{Client: client, Now: time.Now},
	}, nil
}

// Name is shipping.Starken.
func (*Carrier) Name() shipping.Name { return shipping.Starken }

// Capabilities of the gateway.
func (*Carrier) Capabilities() shipping.Capabilities {
	return shipping.Capabilities{
		Methods:     []shipping.Method{shipping.ToDoor, shipping.ToPoint},
		Reprint:     true,
		IssuesLater: true,
		TrackAtOnce: 1,
		Labels:      []shipping.Format{shipping.PDF},
	}
}

// told is an error's body.
type told struct {
	Status wire.Text `json:"status"`
	Error  string    `json:"error"`
}

// call makes a call. A status inside an answer of the 200s counts as the answer's own.
func (c *Carrier) call(ctx context.Context, method, path string, body any) wire.Reply {
	r := c.caller.Call(ctx, wire.Request{Method: method, URL: c.root + path, JSON: body, Header: map[string]string{
		"Authorization": "Bearer " + c.config.Token, "Cache-Control": "no-cache",
	}})
	var t told
	if r.OK() && r.Read(&t) && t.Error != "" {
		if status, numbered := t.Status.Whole(); numbered && status >= 400 && status < 600 {
			return r.As(int(status))
		}
	}
	return r
}

// failed is the failure of a question.
func failed(r wire.Reply) *shipping.Failure {
	if r.OK() {
		return r.Unreadable()
	}
	var t told
	r.Read(&t)
	return r.Failure("", t.Error)
}

// Void is not possible: no call to cancel is known.
func (*Carrier) Void(context.Context, shipping.Booked, shipping.Looked) (shipping.Answer, error) {
	return shipping.Answer{}, shipping.ErrCannotVoid
}

// Label fetches the PDF from the address that the issuance names; an issuance that has
// none yet is a failure that passes.
func (c *Carrier) Label(ctx context.Context, at shipping.Booked) (shipping.Label, error) {
	if at.CarrierID == "" {
		return shipping.Label{}, wire.Invalid("id", "a label is found by the issuance's id")
	}
	i, err := c.issuance(ctx, at.CarrierID)
	if err != nil {
		return shipping.Label{}, err
	}
	if i.Label == "" || i.Number.Digits() == "" {
		return shipping.Label{}, &shipping.Failure{Reason: shipping.Unavailable, Code: "label_not_ready", Message: "Starken has not made the label yet"}
	}
	where, ours, err := c.labelAddress(i.Label)
	if err != nil {
		return shipping.Label{}, err
	}
	header := map[string]string{"Accept": "application/pdf"}
	if ours {
		header["Authorization"] = "Bearer " + c.config.Token
	}
	r := c.caller.Call(ctx, wire.Request{Method: http.MethodGet, URL: where, Header: header})
	format, known := wire.FormatOf(r.Body)
	if !r.OK() || !known {
		return shipping.Label{}, failed(r)
	}
	return shipping.Label{Format: format, Data: r.Body}, nil
}

// labelAddress checks the address of a label; ours is true for the gateway's own host,
// the only one that gets the token.
//
// Unconfirmed: where labels lie. Any host with a public name is taken, by https.
func (c *Carrier) labelAddress(text string) (where string, ours bool, err error) {
	u, err := url.Parse(text)
	bad := wire.Invalid("etiqueta", "the label's address is not one to fetch from")
	if err != nil || u.User != nil {
		return "", false, bad
	}
	if u.Scheme == c.base.Scheme && u.Host == c.base.Host {
		return u.String(), true, nil
	}
	_, notIP := netip.ParseAddr(strings.Trim(u.Hostname(), "[]"))
	if u.Scheme != "https" || notIP == nil || !strings.Contains(u.Hostname(), ".") || strings.HasSuffix(u.Hostname(), ".local") || strings.HasSuffix(u.Hostname(), ".internal") {
		return "", false, bad
	}
	return u.String(), false, nil
}

// number writes a code as Starken's modules do: a text.
func number(n int) map[string]any { return map[string]any{"codigo_dls": strconv.Itoa(n)} }

func words(b shipping.Booking) func(string) string {
	return func(message string) string { return wire.Words(httpclient.Readable(message), b) }
}
