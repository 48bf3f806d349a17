// Package chilexpress is the adapter of Chilexpress's REST API: georeference, rating
// and transport orders. Each is a product with a key of its own. Fields are those of
// developers.wschilexpress.com and of the public source of Chilexpress's own modules
// (https://github.com/cxpdevelopers/WooCommerce_Chilexpress_Oficial,
// https://github.com/cxpdevelopers/prestashop_chilexpress_oficial).
//
// An order is made at once and has no idempotency key; it can be asked for by our
// reference. There is no call to cancel one: an order without a parcel lapses. States
// are free text in Spanish, of which no list is published.
package chilexpress

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/chile"
	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

// Hosts of Chilexpress's API.
const (
	ProductionURL = "https://services.wschilexpress.com"
	TestURL       = "https://testservices.wschilexpress.com"
)

// Config is one tenant's account at Chilexpress.
type Config struct {
	// BaseURL is what stands before /georeference, /rating and /transport-orders;
	// empty means ProductionURL.
	BaseURL string `json:"base_url,omitempty"`
	// Keys of the three products.
	CoverageKey string `json:"coverage_key"`
	RatingKey   string `json:"rating_key"`
	ShippingKey string `json:"shipping_key"`
	// Card is the number of the contract (TCC); RUT that of its holder.
	Card string `json:"card"`
	RUT  string `json:"rut"`
	// SellerRUT and MarketplaceRUT stand on orders; empty means RUT.
	SellerRUT      string `json:"seller_rut,omitempty"`
	MarketplaceRUT string `json:"marketplace_rut,omitempty"`
}

// Carrier is shipping.Carrier for one account.
type Carrier struct {
	config  Config
	base    string
	rut     string // digits without the check digit
	caller  wire.Caller
	regions wire.Table[map[chile.Region]string]
	areas   wire.Table[[]area]
}

var _ shipping.Carrier = (*Carrier)(nil)

var (
	key  = regexp.MustCompile(`^[!-~]{1,200}$`)
	card = regexp.MustCompile(`^[0-9]{4,12}$`)
)

// New checks cfg without calling Chilexpress. client must come from httpclient.New.
func New(cfg Config, client *http.Client) (*Carrier, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = ProductionURL
	}
	base, err := wire.Base("chilexpress", cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"coverage_key": cfg.CoverageKey, "rating_key": cfg.RatingKey, "shipping_key": cfg.ShippingKey} {
		if !key.MatchString(value) {
			return nil, fmt.Errorf("chilexpress: %s is missing or has blanks", name)
		}
	}
	if !card.MatchString(cfg.Card) {
		return nil, errors.New("chilexpress: card is not the number of a TCC")
	}
	rut, err := chile.ParseRUT(cfg.RUT)
	if err != nil {
		return nil, fmt.Errorf("chilexpress: rut: %w", err)
	}
	digits, _, _ := strings.Cut(string(rut), "-")
	if client == nil {
		return nil, errors.New("chilexpress: an HTTP client is needed")
	}
	cfg.SellerRUT, cfg.MarketplaceRUT = or(cfg.SellerRUT, digits), or(cfg.MarketplaceRUT, digits)
	return &Carrier{config: cfg, base: base, rut: digits, caller: wire.Caller{Client: client, Now: time.Now}}, nil
}

// Name is shipping.Chilexpress.
func (*Carrier) Name() shipping.Name { return shipping.Chilexpress }

// Capabilities of Chilexpress. LookupFinal is false because nobody says that an order
// can be found by its reference alone, or how soon (see byReference): what is not found
// waits for a person.
func (*Carrier) Capabilities() shipping.Capabilities {
	return shipping.Capabilities{
		Methods:     []shipping.Method{shipping.ToDoor, shipping.ToPoint},
		Lookup:      true,
		Reprint:     true,
		TrackAtOnce: 20,
		Labels:      []shipping.Format{shipping.JPEG},
	}
}

// envelope is what stands around each answer. Success is read from it, not from the
// HTTP status, which is 400 for some answers that are usable.
type envelope struct {
	StatusCode  wire.Text `json:"statusCode"`
	Description string    `json:"statusDescription"`
	Message     string    `json:"message"` // the gateway's own
}

func (e envelope) code() string {
	if e.StatusCode == "" || e.StatusCode == "0" {
		return ""
	}
	return string(e.StatusCode)
}

func (e envelope) text() string { return or(e.Description, e.Message) }

// Codes of the envelope that were seen
// (https://github.com/whooohq/whq-woocommerce-chilexpress-shipping, issues 22, 42, 120
// and 249).
const (
	codeNoOffice   = "-1"
	codeNotYours   = "-41" // the order is not visible to this key: not linked to its TCC
	codeNoSuchBill = "-81" // no such order in this environment
)

func (c *Carrier) get(ctx context.Context, product, path string) wire.Reply {
	return c.caller.Call(ctx, wire.Request{Method: http.MethodGet, URL: c.base + path, Header: gate(product)})
}

func (c *Carrier) post(ctx context.Context, product, path string, body any) wire.Reply {
	return c.caller.Call(ctx, wire.Request{Method: http.MethodPost, URL: c.base + path, Header: gate(product), JSON: body})
}

func gate(product string) map[string]string {
	return map[string]string{"Ocp-Apim-Subscription-Key": product, "Cache-Control": "no-cache"}
}

// failed is the failure of a question that was not answered as it should be.
func failed(r wire.Reply) *shipping.Failure {
	var e envelope
	r.Read(&e)
	f := r.Failure(e.code(), e.text())
	if r.OK() && e.code() == "" {
		f = r.Unreadable()
	}
	if e.code() == codeNotYours {
		f.Reason = shipping.Credentials
	}
	return f
}

// Label fetches a label again: POST transport-orders-labels. One integrator got 404
// for it from the test product, so a failure here may be for good.
func (c *Carrier) Label(ctx context.Context, at shipping.Booked) (shipping.Label, error) {
	number, err := strconv.ParseInt(at.Tracking, 10, 64)
	if err != nil {
		return shipping.Label{}, wire.Invalid("transport_order_number", "a label is fetched by the order's number")
	}
	r := c.post(ctx, c.config.ShippingKey, "/transport-orders/api/v1.0/transport-orders-labels",
		map[string]any{"transportOrderNumber": number, "labelType": labelImage, "reportType": 0})
	var out struct {
		Data struct {
			Label printed `json:"label"`
		} `json:"data"`
	}
	if !r.Read(&out) || out.Data.Label.Data == "" {
		return shipping.Label{}, failed(r)
	}
	label, known := wire.Label(out.Data.Label.Data)
	if !known {
		return shipping.Label{}, r.Unreadable()
	}
	return label, nil
}

// Void is not possible: no call to cancel an order is published.
func (*Carrier) Void(context.Context, shipping.Booked, shipping.Looked) (shipping.Answer, error) {
	return shipping.Answer{}, shipping.ErrCannotVoid
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
