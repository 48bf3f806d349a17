// Package bluexpress is the adapter of Blue Express's corporate API of the newer
// generation: a token of client credentials beside a key, emission, tracking and search
// by reference, pricing. The places and labels are still those of the generation before,
// with three headers of its own.
//
// Blue Express publishes no reference. Paths and fields are those that integrators have
// published in their own code, which can be found by the paths themselves
// ("cmkin/customer/corp/emission", "cmkin/bff/tracking-pull-corp", "legacy-pricing"); a
// key is enabled for each product by itself, and 403 usually means "not enabled".
package bluexpress

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Blue Express's hosts.
const (
	signInURL  = "https://sso.blue.cl"
	ordersURL  = "https://cmkin.api.blue.cl"
	pricingURL = "https://eplin.api.blue.cl"
	olderURL   = "https://bx-tracking.bluex.cl"
)

// Config is one tenant's account at Blue Express.
type Config struct {
	// BaseURL stands in the place of all four hosts; empty means theirs.
	BaseURL string `json:"base_url,omitempty"`
	// ClientID and ClientSecret get a token, which APIKey accompanies.
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	APIKey       string `json:"api_key"`
	// Token, UserCode and Account are the headers BX-TOKEN, BX-USERCODE and
	// BX-CLIENT_ACCOUNT; the last two also stand on emissions.
	Token    string `json:"token"`
	UserCode string `json:"user_code"`
	Account  string `json:"account"`
	// Services that are quoted: EX express, PY priority, PR premium, MD the same day.
	// Empty means EX and PY.
	Services []string `json:"services,omitempty"`
}

var (
	secret   = regexp.MustCompile(`^[!-~]{1,400}$`)
	services = map[string]string{"EX": "Express", "PY": "Priority", "PR": "Premium", "MD": "Same day"}
)

// Carrier is shipping.Carrier for one account.
type Carrier struct {
	config                         Config
	signIn, orders, pricing, older string
	caller                         wire.Caller
	places                         wire.Table[[]state]

	mu     sync.Mutex
	bearer string
	until  time.Time
}

var _ shipping.Carrier = (*Carrier)(nil)

// New checks cfg without calling Blue Express. client must come from httpclient.New.
func New(cfg Config, client *http.Client) (*Carrier, error) {
	c := &Carrier{config: cfg, signIn: signInURL, orders: ordersURL, pricing: pricingURL, older: olderURL, caller: wire.Caller{Client: client, Now: time.Now}}
	if cfg.BaseURL != "" {
		base, err := wire.Base("bluexpress", cfg.BaseURL)
		if err != nil {
			return nil, err
		}
		c.signIn, c.orders, c.pricing, c.older = base, base, base, base
	}
	for name, value := range map[string]string{
		"client_id": cfg.ClientID, "client_secret": cfg.ClientSecret, "api_key": cfg.APIKey, "token": cfg.Token, "user_code": cfg.UserCode, "account": cfg.Account,
	} {
		if !secret.MatchString(value) {
			return nil, fmt.Errorf("bluexpress: %s is missing or has blanks", name)
		}
	}
	for _, s := range cfg.Services {
		if services[s] == "" {
			return nil, fmt.Errorf("bluexpress: services: %q is none of EX, PY, PR, MD", s)
		}
	}
	if len(cfg.Services) == 0 {
		c.config.Services = []string{"EX", "PY"}
	}
	if client == nil {
		return nil, errors.New("bluexpress: an HTTP client is needed")
	}
	return c, nil
}

// Name is shipping.BlueExpress.
func (*Carrier) Name() shipping.Name { return shipping.BlueExpress }

// lookupAfter is how long after an emission the search is believed when it finds
// nothing. Blue Express says nothing of it; the emission itself is answered at once.
const lookupAfter = 15 * time.Minute

// Capabilities of Blue Express. There is no call to cancel, and none for points: what a
// booking to an agency needs is not known.
func (*Carrier) Capabilities() shipping.Capabilities {
	return shipping.Capabilities{
		Methods:     []shipping.Method{shipping.ToDoor},
		Lookup:      true,
		LookupFinal: true,
		LookupAfter: lookupAfter,
		Reprint:     true,
		TrackAtOnce: 1,
		Labels:      []shipping.Format{shipping.PDF, shipping.ZPL, shipping.EPL},
	}
}

// token returns a token that lives for another minute at least, and whether it was got
// just now; the error says that nothing was asked of anybody but for it.
func (c *Carrier) token(ctx context.Context) (token string, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bearer != "" && c.caller.Now().Before(c.until) {
		return c.bearer, false, nil
	}
	basic := base64.StdEncoding.EncodeToString([]byte(c.config.ClientID + ":" + c.config.ClientSecret))
	r := c.caller.Call(ctx, wire.Request{
		Method: http.MethodPost, URL: c.signIn + "/oauth2/token", Form: url.Values{"grant_type": {"client_credentials"}},
		Header: map[string]string{"Authorization": "Basic " + basic},
	})
	var out struct {
		Token   string    `json:"access_token"`
		Expires wire.Text `json:"expires_in"`
		Error   string    `json:"error"`
	}
	if !r.Read(&out) || !r.OK() || !secret.MatchString(out.Token) {
		f := r.Failure(httpclient.Readable(out.Error), "")
		if r.Status == http.StatusBadRequest {
			f.Reason = shipping.Credentials // how OAuth refuses a client
		}
		return "", false, f
	}
	life, told := out.Expires.Whole()
	if !told {
		life = 300
	}
	c.bearer, c.until = out.Token, c.caller.Now().Add(time.Duration(min(life, 86400))*time.Second-time.Minute)
	return c.bearer, true, nil
}

// forget drops a token that was refused; the next call gets another.
func (c *Carrier) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bearer == token {
		c.bearer = ""
	}
}

// call makes a call of the newer generation. Its error says that nothing was done. A
// kept token that is refused may only have been revoked: that passes with the next call,
// where one that was got just now says that the account is refused.
func (c *Carrier) call(ctx context.Context, r wire.Request) (wire.Reply, error) {
	token, fresh, err := c.token(ctx)
	if err != nil {
		return wire.Reply{}, err
	}
	if r.Header == nil {
		r.Header = map[string]string{}
	}
	r.Header["Authorization"], r.Header["x-api-key"] = "Bearer "+token, c.config.APIKey
	reply := c.caller.Call(ctx, r)
	if reply.Status == http.StatusUnauthorized {
		c.forget(token)
		if !fresh {
			return reply, &shipping.Failure{Reason: shipping.Unavailable, Code: "token_refused", Message: "the token was refused; the next call gets another"}
		}
	}
	return reply, nil
}

// ask makes a call of the generation before.
func (c *Carrier) ask(ctx context.Context, path string) wire.Reply {
	return c.caller.Call(ctx, wire.Request{Method: http.MethodGet, URL: c.older + path, Header: map[string]string{
		"BX-TOKEN": c.config.Token, "BX-USERCODE": c.config.UserCode, "BX-CLIENT_ACCOUNT": c.config.Account,
	}})
}

// trouble is an error of Blue Express: status false with HTTP 200, or a problem with a
// title and a detail.
//
// Unconfirmed: which of the fields are there; all those that integrators have read are.
type trouble struct {
	Status  json.RawMessage `json:"status"`
	Code    wire.Text       `json:"code"`
	Message string          `json:"message"`
	Title   string          `json:"title"`
	Detail  wire.Text       `json:"detail"`
	Data    json.RawMessage `json:"data"`
}

// no is true when the answer says that it was refused.
func (t trouble) no() bool { return string(t.Status) == "false" }

func (t trouble) told() (code, message string) {
	inner := struct {
		Code    wire.Text `json:"code"`
		Message string    `json:"message"`
		Detail  string    `json:"detail"`
	}{}
	var text string
	if json.Unmarshal(t.Data, &inner) != nil && json.Unmarshal(t.Data, &text) != nil {
		text = "" // neither of the two shapes: it says nothing
	}
	for _, s := range []string{t.Message, string(t.Detail), inner.Message, inner.Detail, text, t.Title} {
		if message == "" {
			message = s
		}
	}
	code = string(t.Code)
	if code == "" {
		code = string(inner.Code)
	}
	return code, message
}

// failed is the failure of a question.
func failed(r wire.Reply) *shipping.Failure {
	var t trouble
	r.Read(&t)
	code, message := t.told()
	if r.OK() {
		f := r.Unreadable()
		if t.no() {
			f.Reason, f.Code = shipping.Invalid, code
		}
		f.Message = httpclient.Readable(message)
		return f
	}
	return r.Failure(code, message)
}

// Points: none are offered.
func (*Carrier) Points(context.Context, string, string) ([]shipping.Point, error) { return nil, nil }

// Void is not possible: no call to cancel is known.
func (*Carrier) Void(context.Context, shipping.Booked, shipping.Looked) (shipping.Answer, error) {
	return shipping.Answer{}, shipping.ErrCannotVoid
}

// Label fetches a label again: GET bx-label/v1/{number}.
func (c *Carrier) Label(ctx context.Context, at shipping.Booked) (shipping.Label, error) {
	if at.Tracking == "" {
		return shipping.Label{}, wire.Invalid("tracking_number", "a label is fetched by the parcel's number")
	}
	r := c.ask(ctx, "/bx-label/v1/"+url.PathEscape(at.Tracking))
	if !r.OK() {
		return shipping.Label{}, failed(r)
	}
	label, known := labelIn(r.Body)
	if !known {
		return shipping.Label{}, failed(r)
	}
	return label, nil
}

// labelIn finds the label in an answer.
//
// Unconfirmed: where it stands in the answer of a reprint. An emission's labels are
// seen as a list and as an object.
func labelIn(raw []byte) (shipping.Label, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return wire.Label(text)
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for _, one := range list {
			if l, known := labelIn(one); known {
				return l, true
			}
		}
		return shipping.Label{}, false
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil {
		for _, name := range []string{"contenido", "labels", "label", "data"} {
			if inner := object[name]; len(inner) > 0 {
				if l, known := labelIn(inner); known {
					return l, true
				}
			}
		}
		return shipping.Label{}, false
	}
	return wire.Label(strings.TrimSpace(string(raw)))
}

// printFormats are the numbers of the forms of labels.
var printFormats = map[shipping.Format]int{shipping.EPL: 1, shipping.ZPL: 2, shipping.PDF: 4}

func printFormat(wanted shipping.Format, offered []shipping.Format) int {
	if !slices.Contains(offered, wanted) {
		wanted = shipping.PDF
	}
	return printFormats[wanted]
}
