package checkout

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/chile"
	"justlogistics/internal/contact"
	"justlogistics/internal/id"
	"justlogistics/internal/money"
	"justlogistics/internal/order"
	"justlogistics/internal/payment"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/shipping"
	"justlogistics/internal/tenant"
	"justlogistics/internal/timeline"
)

// GatewayAuto asks for the first gateway of the tenant's order that works.
const GatewayAuto = "auto"

// Submission is what a storefront sends to begin a checkout.
type Submission struct {
	Items        []Item         `json:"items"`
	Currency     string         `json:"currency"`
	Customer     Customer       `json:"customer"`
	Shipping     *Address       `json:"shipping"`
	Payment      *PaymentChoice `json:"payment"`
	Channel      string         `json:"channel"`
	HoldSeconds  *int           `json:"hold_seconds"`
	DiscountCode string         `json:"discount_code"`
	ClientIP     string         `json:"client_ip"`
	CustomerRef  string         `json:"customer_ref"`
	Replaces     string         `json:"replaces"`
	Metadata     map[string]any `json:"metadata"`
}

// Item is how many units of a SKU are wanted. A SKU named twice is summed.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// Customer is who buys. It is stored in one form: e-mail in lower case, phone
// as E.164, RUT without dots.
type Customer struct {
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
	RUT   string `json:"rut,omitempty"`
}

// Address is where the goods go. Comuna and region are stored as the state
// names them.
type Address struct {
	Street  string `json:"street"`
	Number  string `json:"number,omitempty"`
	Unit    string `json:"unit,omitempty"`
	Comuna  string `json:"comuna"`
	Region  string `json:"region"`
	Country string `json:"country,omitempty"`
	Service string `json:"service,omitempty"`
	// RateID is a rate that the buyer has chosen; service, carrier, method and
	// pickup point are then its.
	RateID        string `json:"rate_id,omitempty"`
	Carrier       string `json:"carrier,omitempty"`
	Method        string `json:"method,omitempty"`
	PickupPointID string `json:"pickup_point_id,omitempty"`
	// PromisedDays are the rate's working days until the buyer has it, 0 where it says none.
	PromisedDays int `json:"promised_days,omitempty"`
}

// PaymentChoice is how the buyer wants to pay.
type PaymentChoice struct {
	Gateway      string `json:"gateway"`
	ReturnURL    string `json:"return_url"`
	Method       string `json:"method"`
	Token        string `json:"token"`
	Installments *int   `json:"installments"`
}

// Made is the choice as an attempt keeps it; false when there is none beside
// the gateway.
func (c PaymentChoice) Made() (choice payment.Choice, made bool) {
	choice = payment.Choice{Gateway: payment.Name(c.Gateway), Method: c.Method, Token: c.Token}
	if c.Installments != nil {
		choice.Installments = *c.Installments
	}
	return choice, c.Method != "" || c.Token != "" || c.Installments != nil
}

// Limits of a request.
const (
	MaxLines    = 200
	MaxQuantity = 10_000
	maxMetadata = 16 << 10
	maxHold     = 1<<31 - 1 // what a key with scope admin may ask for, in seconds
)

// Terms are what the caller is allowed, and what the gateway it names can do.
type Terms struct {
	// Admin: any length of hold, and no limits on holds by those who never pay.
	Admin bool
	// Gateway is the named gateway's abilities; nil for auto, and for a gateway
	// that the tenant has not set up.
	Gateway *payment.Capabilities
}

// Created is a checkout that was written.
type Created struct {
	Number   string
	Channel  string
	Currency money.Currency
	Units    int
	Total    int64 // minor units
}

// callerWaits is how long the caller of POST /v1/checkouts may still be waiting:
// after it nobody starts the checkout any more.
const callerWaits = 60 * time.Second

var channelForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// Create checks and prices a submission and writes the checkout with status
// reserving, its lines and the use of its discount code. All amounts come from
// the catalogue and the tenant's freight table. A submission that is not
// acceptable is refused with all its faults (*problem.Error) and leaves nothing.
func Create(ctx context.Context, tx pgx.Tx, t tenant.Tenant, checkoutID string, s Submission, terms Terms) (Created, error) {
	var f problem.Fields
	seconds := holdSeconds(&f, s.HoldSeconds, t.Settings.HoldSeconds, t.Settings.MaxHoldSeconds, terms.Admin)
	currency := parseCurrency(&f, s.Currency)
	customer := checkCustomer(&f, s.Customer, true)
	address := checkAddress(&f, s.Shipping)
	channel := checkChannel(&f, s.Channel)
	checkRest(&f, &s)
	lines, err := priceItems(ctx, tx, t.ID, &f, s.Items, currency)
	if err != nil {
		return Created{}, err
	}
	choice, err := checkPayment(ctx, tx, t, &f, s.Payment, currency, terms)
	if err != nil {
		return Created{}, err
	}
	if err := checkReplaces(ctx, tx, t.ID, &f, s); err != nil {
		return Created{}, err
	}
	freight := int64(0)
	switch {
	case address == nil || currency == "" || len(f) > 0:
	case address.RateID != "":
		if freight, err = byRate(ctx, tx, t, &f, address, lines.grams, currency); err != nil {
			return Created{}, err
		}
	default:
		var ok bool
		if freight, ok = t.Settings.FreightFor(address.Region, address.Service, string(currency), lines.grams); !ok {
			f.Add("shipping.service", "no_freight", "no price for service %q to region %s in %s", address.Service, address.Region, currency)
		}
	}
	discount := int64(0)
	code := catalog.DiscountCode(s.DiscountCode)
	if code != "" {
		d, err := catalog.GetDiscount(ctx, tx, t.ID, code)
		if _, missing := problem.As(err); missing {
			f.Add("discount_code", "unknown_discount_code", "there is no such code")
		} else if err != nil {
			return Created{}, err
		} else {
			d.Usable(&f, "discount_code", string(currency), time.Now())
			discount = d.Of(lines.total)
		}
	}
	total := lines.total - discount + freight
	if len(f) == 0 && total < 1 {
		f.Add("items", "nothing_to_pay", "the total must be more than zero")
	}
	if len(f) == 0 {
		CheckAmount(&f, "payment.gateway", total, currency, terms)
	}
	if err := f.Err(); err != nil {
		return Created{}, err
	}

	number, err := tenant.NextNumber(ctx, tx, t)
	if err != nil {
		return Created{}, err
	}
	out := Created{Number: number, Channel: channel, Currency: currency, Units: lines.units, Total: total}
	w := writing{id: checkoutID, out: out, seconds: seconds, customer: customer, address: *address, choice: choice, lines: lines,
		discount: discount, freight: freight, tax: lines.tax(discount, freight), code: code, submission: s, exempt: terms.Admin}
	return out, w.write(ctx, tx, t.ID)
}

// byRate prices the way by the rate that the buyer has chosen, which must be for that
// comuna and carry that weight, and writes into the address what it says.
func byRate(ctx context.Context, tx pgx.Tx, t tenant.Tenant, f *problem.Fields, a *Address, grams int, currency money.Currency) (int64, error) {
	rate, err := shipping.RateFor(ctx, tx, t.ID, a.RateID)
	if refused, missing := problem.As(err); missing {
		f.Add("shipping.rate_id", refused.Code, "%s", refused.Detail)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	switch {
	case currency != "CLP":
		f.Add("shipping.rate_id", "rate_mismatch", "rates are in CLP")
	case rate.To.Comuna != a.Comuna || rate.To.Region != a.Region:
		f.Add("shipping.rate_id", "rate_mismatch", "this rate is for %s", rate.To.Comuna)
	case rate.WeightGrams < grams:
		f.Add("shipping.rate_id", "rate_mismatch", "this rate is for %d g, and the basket weighs %d g", rate.WeightGrams, grams)
	}
	a.Service, a.Carrier, a.Method, a.PickupPointID = rate.Service, string(rate.Carrier), string(rate.Method), rate.To.PointID
	if days := rate.WorkingDays(t.Settings.TimeZone); days != nil {
		a.PromisedDays = *days
	}
	return rate.Price, nil
}

// CheckAmount notes whether the named gateway charges an amount (minor units).
func CheckAmount(f *problem.Fields, field string, total int64, currency money.Currency, terms Terms) {
	if terms.Gateway == nil {
		return
	}
	least := terms.Gateway.MinAmount[currency]
	most, limited := terms.Gateway.MaxAmount[currency]
	switch {
	case total < least:
		f.Add(field, "below_minimum", "this gateway charges at least %s", money.Format(least, currency))
	case limited && total > most:
		f.Add(field, "above_maximum", "this gateway charges at most %s", money.Format(most, currency))
	}
}

// writing is everything that one checkout's rows are made of.
type writing struct {
	id                     string
	out                    Created
	seconds                int
	customer               Customer
	address                Address
	choice                 PaymentChoice
	lines                  priced
	discount, freight, tax int64
	code                   string
	submission             Submission
	exempt                 bool
}

func (w writing) write(ctx context.Context, tx pgx.Tx, tenantID string) error {
	customer, err := json.Marshal(w.customer)
	if err != nil {
		return err
	}
	address, err := json.Marshal(w.address)
	if err != nil {
		return err
	}
	metadata, err := json.Marshal(w.submission.Metadata)
	if err != nil {
		return err
	}
	if w.submission.Metadata == nil {
		metadata = []byte(`{}`)
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO checkouts (tenant, id, number, status, channel, currency, email, rut, client_ip, customer_ref, customer, shipping, gateway, return_url, metadata,
	    hold_seconds, exempt_from_limits, replaces, discount_code, items_total, discount_total, shipping_total, tax_total, total, caller_waits_until, due_at)
	  VALUES ($1,$2,$3,'reserving',$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,nullif($17,''),nullif($18,''),$19,$20,$21,$22,$23, now() + $24::interval, now() + $24::interval)`,
		tenantID, w.id, w.out.Number, w.out.Channel, w.out.Currency, w.customer.Email, w.customer.RUT, w.submission.ClientIP, w.submission.CustomerRef, customer, address,
		w.choice.Gateway, w.choice.ReturnURL, metadata, w.seconds, w.exempt, w.submission.Replaces, w.code,
		w.lines.total, w.discount, w.freight, w.tax, w.out.Total, callerWaits)
	for i, l := range w.lines.lines {
		b.Queue(`INSERT INTO checkout_lines (tenant, checkout_id, position, sku, name, quantity, unit_price, tax, total) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)`,
			tenantID, w.id, i+1, l.sku, l.name, l.quantity, l.price, l.tax, l.total)
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("write checkout %s: %w", w.id, err)
	}
	if choice, made := w.choice.Made(); made {
		if err := payment.Choose(ctx, tx, tenantID, w.id, w.id, choice); err != nil {
			return err
		}
	}
	err = timeline.Add(ctx, tx, tenantID, w.id, "checkout_created", "storefront", map[string]any{"number": w.out.Number, "channel": w.out.Channel, "units": w.out.Units, "total": w.out.Total, "currency": w.out.Currency})
	if err != nil {
		return err
	}
	if w.code == "" {
		return nil
	}
	// Last, because the code's row is locked until the transaction ends.
	_, err = tx.Exec(ctx, `INSERT INTO discount_uses (tenant, code, checkout_id) VALUES ($1,$2,$3)`, tenantID, w.code, w.id)
	if postgres.Violates(err) {
		var f problem.Fields
		f.Add("discount_code", "discount_exhausted", "this code has been used up")
		return f.Err()
	}
	if err != nil {
		return fmt.Errorf("use discount %s: %w", w.code, err)
	}
	return nil
}

func holdSeconds(f *problem.Fields, asked *int, usual, most int, admin bool) int {
	if admin {
		most = maxHold
	}
	switch {
	case asked == nil:
		return usual
	case *asked < 1 || *asked > most:
		f.Add("hold_seconds", "out_of_range", "1 to %d seconds", most)
	}
	return *asked
}

func parseCurrency(f *problem.Fields, code string) money.Currency {
	if code == "" {
		f.Add("currency", "required", "name the currency")
		return ""
	}
	c, err := money.ParseCurrency(code)
	if err != nil {
		f.Add("currency", "unknown_currency", "not an ISO 4217 currency")
	}
	return c
}

// CheckDelivery checks a name, a telephone and an address as those of a checkout are, and
// returns them in the form in which they are kept.
func CheckDelivery(c Customer, a *Address) (Customer, Address, error) {
	var f problem.Fields
	c, to := checkCustomer(&f, c, false), checkAddress(&f, a)
	if err := f.Err(); err != nil {
		return c, Address{}, err
	}
	return c, *to, nil
}

func checkCustomer(f *problem.Fields, c Customer, needsEmail bool) Customer {
	tooLong(f, "customer.name", c.Name, 200)
	c.Name = strings.TrimSpace(c.Name)
	switch {
	case c.Email == "" && needsEmail:
		f.Add("customer.email", "required", "name the buyer's e-mail address")
	case c.Email != "":
		email, err := contact.NormalizeEmail(c.Email)
		if err != nil {
			f.Add("customer.email", "invalid_email", "not a valid e-mail address")
		}
		c.Email = email
	}
	if c.Phone != "" {
		phone, err := contact.NormalizePhone(c.Phone, "CL")
		if err != nil {
			f.Add("customer.phone", "invalid_phone", "not a valid phone number")
		}
		c.Phone = phone
	}
	if c.RUT != "" {
		rut, err := chile.ParseRUT(c.RUT)
		if err != nil {
			f.Add("customer.rut", "invalid_rut", "%v", err)
		}
		c.RUT = rut.String()
	}
	return c
}

func checkAddress(f *problem.Fields, a *Address) *Address {
	if a == nil {
		f.Add("shipping", "required", "name where the order goes")
		return nil
	}
	out := *a
	if strings.TrimSpace(out.Street) == "" {
		f.Add("shipping.street", "required", "name the street")
	}
	tooLong(f, "shipping.street", out.Street, 200)
	tooLong(f, "shipping.number", out.Number, 20)
	tooLong(f, "shipping.unit", out.Unit, 50)
	tooLong(f, "shipping.service", out.Service, 50)
	for name, value := range map[string]string{"carrier": out.Carrier, "method": out.Method, "pickup_point_id": out.PickupPointID} {
		if value != "" {
			f.Add("shipping."+name, "comes_with_rate", "who carries and how is said by a rate: name its rate_id")
		}
	}
	if out.PromisedDays != 0 {
		f.Add("shipping.promised_days", "comes_with_rate", "how long it takes is said by a rate: name its rate_id")
	}
	if out.RateID != "" && !id.Valid(out.RateID) {
		f.Add("shipping.rate_id", "unknown_rate", "there is no such rate: ask for rates again")
	}
	if out.Country == "" {
		out.Country = "CL"
	}
	if out.Country != "CL" {
		f.Add("shipping.country", "unsupported_country", "orders go to addresses in Chile (CL)")
	}
	if out.Service == "" {
		out.Service = "standard"
	}
	region, err := chile.ParseRegion(out.Region)
	switch {
	case out.Region == "":
		f.Add("shipping.region", "required", "name the region")
	case err != nil:
		f.Add("shipping.region", "unknown_region", "not a region of Chile")
	}
	if out.Comuna == "" {
		f.Add("shipping.comuna", "required", "name the comuna")
		return &out
	}
	comuna, ok := chile.LookupComuna(out.Comuna)
	switch {
	case !ok:
		f.Add("shipping.comuna", "unknown_comuna", "not a comuna of Chile")
	case err == nil:
		if _, err := chile.ValidatePlace(out.Comuna, out.Region); err != nil {
			f.Add("shipping.comuna", "comuna_outside_region", "%s lies in region %s", comuna.Name, comuna.Region)
		}
	}
	out.Comuna, out.Region = comuna.Name, string(region)
	return &out
}

func checkChannel(f *problem.Fields, channel string) string {
	if channel == "" {
		return "web"
	}
	if !channelForm.MatchString(channel) {
		f.Add("channel", "invalid", "1 to 32 lower-case letters, digits, dots, underscores and hyphens")
	}
	return channel
}

func checkRest(f *problem.Fields, s *Submission) {
	tooLong(f, "customer_ref", s.CustomerRef, 128)
	tooLong(f, "discount_code", s.DiscountCode, 40)
	checkMetadata(f, s.Metadata)
	if s.ClientIP != "" {
		ip, err := netip.ParseAddr(s.ClientIP)
		if err != nil {
			f.Add("client_ip", "invalid", "not an IP address")
		}
		s.ClientIP = ip.Unmap().WithZone("").String()
	}
}

func checkMetadata(f *problem.Fields, m map[string]any) {
	if raw, err := json.Marshal(m); err != nil || len(raw) > maxMetadata {
		f.Add("metadata", "too_long", "at most %d bytes of JSON", maxMetadata)
	}
}

func tooLong(f *problem.Fields, field, value string, longest int) {
	if len(value) > longest {
		f.Add(field, "too_long", "at most %d bytes", longest)
	}
}

// priced are the lines of an order at today's prices.
type priced struct {
	lines []pricedLine
	total int64
	units int
	grams int
}

type pricedLine struct {
	sku, name, tax string
	quantity       int
	price, total   int64
}

// tax is the IVA within what is paid: of the taxed lines less their share of
// the discount, and of the freight.
func (p priced) tax(discount, freight int64) int64 {
	weights := make([]int64, len(p.lines))
	for i, l := range p.lines {
		weights[i] = l.total
	}
	shares := money.Spread(discount, weights)
	taxed := freight
	for i, l := range p.lines {
		if l.tax == "iva" {
			taxed += l.total - shares[i]
		}
	}
	return money.IncludedTax(taxed, order.IVA)
}

// priceItems sums what is wanted by SKU and prices it from the catalogue.
func priceItems(ctx context.Context, tx pgx.Tx, tenantID string, f *problem.Fields, items []Item, currency money.Currency) (priced, error) {
	var p priced
	switch {
	case len(items) == 0:
		f.Add("items", "required", "name at least one SKU")
	case len(items) > MaxLines:
		f.Add("items", "too_many", "at most %d lines", MaxLines)
		return p, nil
	}
	var skus []string
	first := map[string]int{} // where a SKU is named first
	sum := map[string]int{}
	for i, item := range items {
		at := fmt.Sprintf("items[%d]", i)
		if item.SKU == "" {
			f.Add(at+".sku", "required", "name the SKU")
			continue
		}
		if !catalog.SKU.MatchString(item.SKU) {
			f.Add(at+".sku", "invalid", "a SKU is 1 to 64 letters, digits, dots, underscores and hyphens")
			continue
		}
		if item.Quantity < 1 || item.Quantity > MaxQuantity {
			f.Add(at+".quantity", "out_of_range", "a quantity is 1 to %d", MaxQuantity)
			continue
		}
		if _, seen := first[item.SKU]; !seen {
			first[item.SKU] = i
			skus = append(skus, item.SKU)
		}
		sum[item.SKU] += item.Quantity
	}
	rows, err := tx.Query(ctx, `SELECT p.sku, p.name, p.tax, p.active, p.max_per_order, p.weight_grams, r.amount
	   FROM products p LEFT JOIN prices r ON r.tenant = p.tenant AND r.sku = p.sku AND r.currency = $3 WHERE p.tenant = $1 AND p.sku = ANY($2)`, tenantID, skus, currency)
	if err != nil {
		return p, fmt.Errorf("price items: %w", err)
	}
	type known struct {
		SKU, Name, Tax string
		Active         bool
		Max            *int
		Grams          int
		Price          *int64
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[known])
	if err != nil {
		return p, fmt.Errorf("price items: %w", err)
	}
	for _, sku := range skus {
		at := fmt.Sprintf("items[%d]", first[sku])
		quantity := sum[sku]
		i := slices.IndexFunc(list, func(k known) bool { return k.SKU == sku })
		if i < 0 {
			f.Add(at+".sku", "unknown_sku", "there is no such SKU")
			continue
		}
		k := list[i]
		if !k.Active {
			f.Add(at+".sku", "inactive_sku", "this SKU is not for sale")
			continue
		}
		if quantity > MaxQuantity {
			f.Add(at+".quantity", "out_of_range", "a quantity is 1 to %d", MaxQuantity)
			continue
		}
		if k.Max != nil && quantity > *k.Max {
			f.Add(at+".quantity", "max_per_order", "at most %d of this SKU in one order", *k.Max)
		}
		if k.Price == nil {
			if currency != "" {
				f.Add(at+".sku", "no_price", "this SKU has no price in %s", currency)
			}
			continue
		}
		total, err := money.Mul(*k.Price, quantity)
		if err != nil || total > catalog.MaxAmount || p.total+total > catalog.MaxAmount {
			f.Add(at+".quantity", "amount_too_large", "the order would be worth more than can be charged")
			continue
		}
		p.lines = append(p.lines, pricedLine{sku: sku, name: k.Name, tax: k.Tax, quantity: quantity, price: *k.Price, total: total})
		p.total += total
		p.units += quantity
		p.grams += k.Grams * quantity
	}
	return p, nil
}

// KnownGateway reports whether a name is one of the API's gateways, or auto.
func KnownGateway(name string) bool {
	return name == GatewayAuto || slices.Contains(payment.Names(), payment.Name(name))
}

func checkPayment(ctx context.Context, tx pgx.Tx, t tenant.Tenant, f *problem.Fields, choice *PaymentChoice, currency money.Currency, terms Terms) (PaymentChoice, error) {
	if choice == nil {
		f.Add("payment", "required", "name the gateway and the return_url")
		return PaymentChoice{}, nil
	}
	CheckReturnURL(f, "payment.return_url", t, choice.ReturnURL)
	CheckChoice(f, "payment.", *choice, terms)
	return *choice, CheckGateway(ctx, tx, t, f, "payment.gateway", choice.Gateway, currency, terms)
}

// CheckChoice notes what the named gateway does not take of the buyer's choice.
// Where its own page asks the buyer, a method or a number of installments is
// let pass and means nothing. prefix begins the fields' names.
func CheckChoice(f *problem.Fields, prefix string, choice PaymentChoice, terms Terms) {
	tooLong(f, prefix+"method", choice.Method, 50)
	tooLong(f, prefix+"token", choice.Token, 255)
	if n := choice.Installments; n != nil && (*n < 1 || *n > 48) {
		f.Add(prefix+"installments", "out_of_range", "1 to 48")
	}
	able := terms.Gateway
	if n := choice.Installments; able != nil && n != nil && able.MaxInstallments > 0 && *n > able.MaxInstallments {
		f.Add(prefix+"installments", "out_of_range", "this gateway takes at most %d", able.MaxInstallments)
	}
	switch {
	case choice.Gateway == GatewayAuto && choice.Token != "":
		f.Add(prefix+"token", "unsupported", "a token belongs to one gateway: name it")
	case able == nil:
	case choice.Token != "" && !able.Tokens:
		f.Add(prefix+"token", "unsupported", "this gateway takes no token: its own page asks the buyer")
	case choice.Method != "" && len(able.Methods) > 0 && !slices.Contains(able.Methods, choice.Method):
		f.Add(prefix+"method", "unsupported", "this gateway takes %s", strings.Join(able.Methods, ", "))
	}
}

// CheckGateway notes whether the tenant can be paid through a gateway.
func CheckGateway(ctx context.Context, tx pgx.Tx, t tenant.Tenant, f *problem.Fields, field, name string, currency money.Currency, terms Terms) error {
	switch {
	case name == "":
		f.Add(field, "required", "name the gateway, or auto")
	case !KnownGateway(name):
		f.Add(field, "unknown_gateway", "want transbank, mercadopago, stripe, flow, khipu or auto")
	case name == GatewayAuto:
		set, err := gatewaysOf(ctx, tx, t)
		if err != nil {
			return err
		}
		if len(set) == 0 {
			f.Add(field, "gateway_not_configured", "no gateway is set up for this tenant")
		}
	case terms.Gateway == nil:
		f.Add(field, "gateway_not_configured", "this gateway is not set up for this tenant")
	case currency != "" && !slices.Contains(terms.Gateway.Currencies, currency):
		f.Add(field, "unsupported_currency", "this gateway does not charge in %s", currency)
	}
	return nil
}

// CheckReturnURL notes whether buyers may be sent to a URL after paying.
func CheckReturnURL(f *problem.Fields, field string, t tenant.Tenant, raw string) {
	if raw == "" {
		f.Add(field, "required", "name where the buyer goes after paying")
		return
	}
	tooLong(f, field, raw, 2000)
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		f.Add(field, "invalid_url", "want an https URL")
	case !t.Settings.ReturnURLAllowed(u):
		f.Add(field, "origin_not_allowed", "this origin is not one of the tenant's")
	}
}

// gatewaysOf lists the gateways of the tenant's routes that it has set up.
func gatewaysOf(ctx context.Context, tx pgx.Tx, t tenant.Tenant) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT provider FROM provider_credentials WHERE tenant = $1`, t.ID)
	if err != nil {
		return nil, fmt.Errorf("gateways: %w", err)
	}
	set, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("gateways: %w", err)
	}
	out := []string{}
	for _, g := range t.Settings.Routed() {
		if slices.Contains(set, g) {
			out = append(out, g)
		}
	}
	return out, nil
}

func checkReplaces(ctx context.Context, tx pgx.Tx, tenantID string, f *problem.Fields, s Submission) error {
	if s.Replaces == "" {
		return nil
	}
	if s.CustomerRef == "" {
		f.Add("customer_ref", "required", "a checkout is replaced by one of the same customer_ref")
		return nil
	}
	var status Status
	var ref string
	rows, err := tx.Query(ctx, `SELECT status, customer_ref FROM checkouts WHERE tenant = $1 AND id = $2`, tenantID, s.Replaces)
	if err != nil {
		return fmt.Errorf("replaced checkout: %w", err)
	}
	found := false
	_, err = pgx.ForEachRow(rows, []any{&status, &ref}, func() error { found = true; return nil })
	switch {
	case err != nil:
		return fmt.Errorf("replaced checkout: %w", err)
	case !found || ref != s.CustomerRef:
		f.Add("replaces", "unknown_checkout", "this customer_ref has no such checkout")
	case !status.Open():
		f.Add("replaces", "checkout_not_open", "that checkout is %s", status)
	}
	return nil
}
