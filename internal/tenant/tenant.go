// Package tenant knows who uses the product: the shops, their rules, their API
// keys and their credentials at providers.
package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Tenant is one shop.
type Tenant struct {
	ID       string
	Name     string
	Settings Settings
}

// Settings are a tenant's rules. Durations are in seconds, money in minor
// units, weights in grams.
type Settings struct {
	// NumberPrefix begins the order numbers that people read (DEMO-000123).
	NumberPrefix string `json:"number_prefix"`
	// AllowedOrigins may receive the buyer after the payment: scheme and host,
	// or "*" for any https address (development).
	AllowedOrigins []string `json:"allowed_origins"`
	HoldSeconds    int      `json:"hold_seconds"`
	MaxHoldSeconds int      `json:"max_hold_seconds"`
	// GraceSeconds is how much longer stock may be held when it is not known
	// whether the buyer has paid.
	GraceSeconds int `json:"grace_seconds"`
	// ReservationMaxSeconds limits a hold without a payment, extensions
	// included, counted from its start.
	ReservationMaxSeconds int        `json:"reservation_max_seconds"`
	Allocation            Allocation `json:"allocation"`
	// Gateways in the order in which `auto` tries them, where no rule of Routes
	// fits. Those without credentials are passed over.
	Gateways []string   `json:"gateways"`
	Routes   []Route    `json:"routes,omitempty"`
	Limits   HoldLimits `json:"limits"`
	Freight  []Freight  `json:"freight"`
	// DispatchHours is how long a paid order may wait for its warehouse before
	// it is late.
	DispatchHours int `json:"dispatch_hours"`
	// TransferGraceHours is how much longer than expected goods may be on their
	// way between warehouses before a person is asked.
	TransferGraceHours int    `json:"transfer_grace_hours"`
	TimeZone           string `json:"time_zone"`
	// ScanPolicy is what a picker must scan, and in which order: bin, product, and
	// the lot of SKUs that have lots. The product can't be left out: to stand
	// before a bin proves nothing about what was taken from it.
	ScanPolicy []string  `json:"scan_policy"`
	Receiving  Receiving `json:"receiving"`
	Packing    Packing   `json:"packing"`
	Rates      Rates     `json:"rates"`
	// DeliveryHours is how long a parcel may be under way before a person is
	// asked, and SecondTryHours after a delivery that failed.
	DeliveryHours  int `json:"delivery_hours"`
	SecondTryHours int `json:"second_try_hours"`
	// PromiseMarginHours before the last moment at which a shipment can still be with its
	// buyer as promised a person is asked.
	PromiseMarginHours int `json:"promise_margin_hours"`
	// Fulfillment says which steps of a shipment happen by themselves.
	Fulfillment Fulfillment `json:"fulfillment"`
	// CarrierCapacity is how many parcels a carrier takes on a day, by its name; one
	// without a number, or with zero, takes any.
	CarrierCapacity map[string]int `json:"carrier_capacity,omitempty"`
	// Sender is who sends parcels, as carriers are told.
	Sender Sender `json:"sender"`
	// Notices is what buyers are told, how and by whom.
	Notices Notices `json:"notices"`
}

// ByHand and Automatic are the two ways of a step.
const (
	ByHand    = "by_hand"
	Automatic = "automatic"
)

// What becomes of a paid order of which units are nowhere to be found.
const (
	// AskWhenShort asks a person.
	AskWhenShort = "ask"
	// BackOrder has the order wait for stock, and asks a person when that takes too long.
	BackOrder = "back_order"
	// RefundShort takes the missing units off the order and gives their money back.
	RefundShort = "refund"
)

// Fulfillment is how a shop works: each step is by_hand or automatic.
type Fulfillment struct {
	// Labels are bought when a shipment is packed (automatic), or when somebody asks
	// for them.
	Labels string `json:"labels"`
	// Handover is when somebody says so, or with the carrier's first scan (automatic).
	Handover string `json:"handover"`
	// Waves are made by somebody, or by themselves as Wave says (automatic).
	Waves string `json:"waves"`
	Wave  Wave   `json:"wave"`
	// Short is the rule for paid orders with fewer units than were sold, once no other
	// bin and no other warehouse has them: ask, back_order or refund.
	Short string `json:"short"`
	// BackOrderDays is how long such an order may wait for stock before a person is
	// asked.
	BackOrderDays int `json:"back_order_days"`
}

// Wave is when a wave begins by itself in a warehouse, and what it makes.
type Wave struct {
	// AtLeast so many shipments wait, or the oldest has waited OldestMinutes.
	AtLeast       int `json:"at_least"`
	OldestMinutes int `json:"oldest_minutes"`
	// By is what a list is: order, batch or zone.
	By string `json:"by"`
	// Rounds end the search for a better batching; zero leaves that to its usual time.
	Rounds  int     `json:"rounds"`
	Trolley Trolley `json:"trolley"`
}

// Trolley is what one list may carry; a zero is no limit. Grams and cubic millimetres.
type Trolley struct {
	Orders      int   `json:"orders"`
	Units       int   `json:"units"`
	WeightGrams int64 `json:"weight_grams"`
	VolumeMM3   int64 `json:"volume_mm3"`
}

// mostWaiting is how many shipments one wave takes at most.
const mostWaiting = 2000

func (w Wave) validate() error {
	switch {
	case w.AtLeast < 1 || w.AtLeast > mostWaiting:
		return fmt.Errorf("fulfillment.wave.at_least: 1 to %d", mostWaiting)
	case w.OldestMinutes < 1 || w.OldestMinutes > 7*24*60:
		return errors.New("fulfillment.wave.oldest_minutes: 1 to 10080")
	case !slices.Contains([]string{"order", "batch", "zone"}, w.By):
		return fmt.Errorf("fulfillment.wave.by: order, batch or zone, not %q", w.By)
	case w.Rounds < 0 || w.Trolley.Orders < 0 || w.Trolley.Units < 0 || w.Trolley.WeightGrams < 0 || w.Trolley.VolumeMM3 < 0:
		return errors.New("fulfillment.wave: rounds and trolley not negative")
	}
	return nil
}

// Sender is who sends parcels. An empty name is the tenant's.
type Sender struct {
	Name  string `json:"name"`
	Phone string `json:"phone"`
	Email string `json:"email"`
	RUT   string `json:"rut"`
}

// Rates is how ways to the buyer are offered.
type Rates struct {
	// Prefer is cheapest, fastest or best: a day of waiting then counts DayValue pesos.
	Prefer   string `json:"prefer"`
	DayValue int64  `json:"day_value"`
}

// Packing is how far a parcel's weight may be from what the catalogue says.
type Packing struct {
	// TolerancePercent is of the goods' weight, either way.
	TolerancePercent int `json:"tolerance_percent"`
	// BoxGrams is what a box and its filling may weigh besides.
	BoxGrams int `json:"box_grams"`
}

// Bounds are the least and the most that so many parcels may weigh with goods of
// so many grams.
func (p Packing) Bounds(goods int64, parcels int) (least, most int64) {
	give := goods * int64(p.TolerancePercent) / 100
	return goods - give, goods + give + int64(parcels*p.BoxGrams)
}

// Receiving is what a shop puts up with when goods come in.
type Receiving struct {
	// OverPercent of a purchase order's line may come too much before a person
	// must accept it.
	OverPercent int `json:"over_percent"`
	// LateHours is how long after the day it was expected a purchase order is
	// late.
	LateHours int `json:"late_hours"`
	// CloseHours is how long a receipt may stay open.
	CloseHours int `json:"close_hours"`
}

// Allocation says which warehouse gives first.
type Allocation struct {
	Rule  string   `json:"rule"` // nearest, balanced or fixed
	Order []string `json:"order,omitempty"`
}

// HoldLimits bound what a buyer who does not pay may keep from others. Zero
// means no limit.
type HoldLimits struct {
	OpenCheckouts int `json:"open_checkouts"`
	UnitsHeld     int `json:"units_held"`
	// UnpaidInWindow checkouts that ended unpaid within WindowSeconds.
	UnpaidInWindow int `json:"unpaid_in_window"`
	WindowSeconds  int `json:"window_seconds"`
}

// Freight is a row of the tenant's freight table: the first row that matches
// region (or "*"), service and weight gives the price.
type Freight struct {
	Region         string `json:"region"`
	Service        string `json:"service"`
	MaxWeightGrams int    `json:"max_weight_grams"` // 0: any
	Currency       string `json:"currency"`
	Amount         int64  `json:"amount"`
}

// Defaults are the rules of a new tenant.
func Defaults(id string) Settings {
	prefix := strings.ToUpper(strings.ReplaceAll(id, "-", ""))
	return Settings{
		NumberPrefix: prefix[:min(len(prefix), 8)], HoldSeconds: 900, MaxHoldSeconds: 3600, GraceSeconds: 300, ReservationMaxSeconds: 14 * 24 * 3600,
		Allocation: Allocation{Rule: "nearest"},
		Gateways:   []string{"transbank", "mercadopago", "stripe", "flow", "khipu"},
		Limits:     HoldLimits{OpenCheckouts: 5, UnitsHeld: 60, UnpaidInWindow: 20, WindowSeconds: 24 * 3600},
		Freight: []Freight{
			{Region: "RM", Service: "standard", MaxWeightGrams: 5000, Currency: "CLP", Amount: 3990},
			{Region: "RM", Service: "standard", Currency: "CLP", Amount: 7990},
			{Region: "RM", Service: "express", Currency: "CLP", Amount: 8990},
			{Region: "*", Service: "standard", MaxWeightGrams: 5000, Currency: "CLP", Amount: 5990},
			{Region: "*", Service: "standard", Currency: "CLP", Amount: 12990},
			{Region: "*", Service: "express", Currency: "CLP", Amount: 14990},
			{Region: "*", Service: "pickup", Currency: "CLP", Amount: 0},
			{Region: "*", Service: "standard", Currency: "USD", Amount: 990},
		},
		DispatchHours: 72, TransferGraceHours: 24, Receiving: Receiving{OverPercent: 5, LateHours: 24, CloseHours: 12}, TimeZone: "America/Santiago", ScanPolicy: []string{"bin", "product", "lot"},
		Rates:   Rates{Prefer: "cheapest", DayValue: 500},
		Packing: Packing{TolerancePercent: 10, BoxGrams: 500}, DeliveryHours: 120, SecondTryHours: 48, PromiseMarginHours: 8,
		Fulfillment: Fulfillment{Labels: ByHand, Handover: Automatic, Short: AskWhenShort, BackOrderDays: 10,
			Waves: ByHand, Wave: Wave{AtLeast: 20, OldestMinutes: 30, By: "batch", Trolley: Trolley{Orders: 12}}},
		Notices: Notices{Language: "es", Channels: []string{"email"}},
	}
}

// Validate reports the first rule that contradicts itself.
func (s Settings) Validate() error {
	switch {
	case s.NumberPrefix == "" || len(s.NumberPrefix) > 12:
		return errors.New("number_prefix: 1 to 12 characters")
	case s.HoldSeconds < 1 || s.MaxHoldSeconds < s.HoldSeconds:
		return errors.New("hold_seconds: at least 1 and at most max_hold_seconds")
	case s.GraceSeconds < 0:
		return errors.New("grace_seconds: not negative")
	case !slices.Contains([]string{"nearest", "balanced", "fixed"}, s.Allocation.Rule):
		return fmt.Errorf("allocation.rule: nearest, balanced or fixed, not %q", s.Allocation.Rule)
	case s.DispatchHours < 1:
		return errors.New("dispatch_hours: at least 1")
	case s.TransferGraceHours < 0:
		return errors.New("transfer_grace_hours: not negative")
	case s.Receiving.OverPercent < 0 || s.Receiving.OverPercent > 1000:
		return errors.New("receiving.over_percent: 0 to 1000")
	case s.Packing.TolerancePercent < 0 || s.Packing.TolerancePercent > 100 || s.Packing.BoxGrams < 0:
		return errors.New("packing: tolerance_percent 0 to 100, box_grams not negative")
	case !slices.Contains([]string{"cheapest", "fastest", "best"}, s.Rates.Prefer) || s.Rates.DayValue < 0:
		return errors.New("rates: prefer is cheapest, fastest or best, day_value not negative")
	case s.DeliveryHours < 1 || s.SecondTryHours < 1:
		return errors.New("delivery_hours and second_try_hours: at least 1")
	case s.PromiseMarginHours < 0 || s.PromiseMarginHours > 24*7:
		return errors.New("promise_margin_hours: 0 to 168")
	case !way(s.Fulfillment.Labels) || !way(s.Fulfillment.Handover) || !way(s.Fulfillment.Waves):
		return errors.New("fulfillment: labels, handover and waves are by_hand or automatic")
	case !slices.Contains([]string{AskWhenShort, BackOrder, RefundShort}, s.Fulfillment.Short):
		return fmt.Errorf("fulfillment.short: ask, back_order or refund, not %q", s.Fulfillment.Short)
	case s.Fulfillment.BackOrderDays < 1 || s.Fulfillment.BackOrderDays > 365:
		return errors.New("fulfillment.back_order_days: 1 to 365")
	case s.Receiving.LateHours < 0 || s.Receiving.CloseHours < 1:
		return errors.New("receiving: late_hours not negative, close_hours at least 1")
	}
	for carrier, most := range s.CarrierCapacity {
		if most < 0 {
			return fmt.Errorf("carrier_capacity.%s: not negative", carrier)
		}
	}
	if err := s.Fulfillment.Wave.validate(); err != nil {
		return err
	}
	if _, err := time.LoadLocation(s.TimeZone); err != nil {
		return fmt.Errorf("time_zone: %w", err)
	}
	if err := validScanPolicy(s.ScanPolicy); err != nil {
		return err
	}
	if err := validGateways("gateways", s.Gateways); err != nil {
		return err
	}
	for i, r := range s.Routes {
		if err := r.validate(fmt.Sprintf("routes[%d]", i)); err != nil {
			return err
		}
	}
	for _, o := range s.AllowedOrigins {
		if u, err := url.Parse(o); o != "*" && (err != nil || u.Scheme != "https" || u.Host == "") {
			return fmt.Errorf("allowed_origins: %q is not an https origin", o)
		}
	}
	return s.Notices.validate()
}

func validScanPolicy(policy []string) error {
	seen := map[string]bool{}
	for _, what := range policy {
		if !slices.Contains([]string{"bin", "product", "lot"}, what) || seen[what] {
			return fmt.Errorf("scan_policy: bin, product and lot, each once at most, not %q", policy)
		}
		seen[what] = true
	}
	if !seen["product"] {
		return errors.New("scan_policy: the product must be scanned")
	}
	return nil
}

// PromiseMargin is PromiseMarginHours as a duration.
func (s Settings) PromiseMargin() time.Duration {
	return time.Duration(s.PromiseMarginHours) * time.Hour
}

// ReturnURLAllowed reports whether buyers may be sent to u after paying.
func (s Settings) ReturnURLAllowed(u *url.URL) bool {
	if u.Scheme != "https" || u.Host == "" || u.User != nil {
		return false
	}
	return slices.Contains(s.AllowedOrigins, "*") || slices.Contains(s.AllowedOrigins, "https://"+u.Host)
}

// FreightFor prices the way to a region. ok is false when the table has no row
// for it.
func (s Settings) FreightFor(region, service, currency string, grams int) (amount int64, ok bool) {
	for _, f := range s.Freight {
		if (f.Region == region || f.Region == "*") && f.Service == service && f.Currency == currency && (f.MaxWeightGrams == 0 || grams <= f.MaxWeightGrams) {
			return f.Amount, true
		}
	}
	return 0, false
}

// ErrUnknown is returned for a tenant that does not exist.
var ErrUnknown = errors.New("no such tenant")

// Get reads a tenant inside a transaction of its own.
func Get(ctx context.Context, tx pgx.Tx, id string) (Tenant, error) {
	t := Tenant{ID: id, Settings: Defaults(id)}
	var settings []byte
	err := tx.QueryRow(ctx, `SELECT name, settings FROM tenants WHERE tenant = $1`, id).Scan(&t.Name, &settings)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, fmt.Errorf("%w: %s", ErrUnknown, id)
	}
	if err != nil {
		return t, fmt.Errorf("tenant %s: %w", id, err)
	}
	if err := json.Unmarshal(settings, &t.Settings); err != nil {
		return t, fmt.Errorf("settings of tenant %s: %w", id, err)
	}
	return t, nil
}

// Put creates a tenant or replaces its name and rules.
func Put(ctx context.Context, tx pgx.Tx, t Tenant) error {
	if err := t.Settings.Validate(); err != nil {
		return fmt.Errorf("settings of tenant %s: %w", t.ID, err)
	}
	settings, err := json.Marshal(t.Settings)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO tenants (tenant, name, settings) VALUES ($1, $2, $3)
		ON CONFLICT (tenant) DO UPDATE SET name = excluded.name, settings = excluded.settings, updated_at = now()`, t.ID, t.Name, settings)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", t.ID, err)
	}
	return nil
}

// NextNumber draws the next order number, e.g. DEMO-000123. Numbers have no
// gaps but those of transactions that failed.
func NextNumber(ctx context.Context, tx pgx.Tx, t Tenant) (string, error) {
	var n int64
	err := tx.QueryRow(ctx, `INSERT INTO tenant_counters (tenant, kind, value) VALUES ($1, 'order_number', 1)
		ON CONFLICT (tenant, kind) DO UPDATE SET value = tenant_counters.value + 1 RETURNING value`, t.ID).Scan(&n)
	if err != nil {
		return "", fmt.Errorf("order number: %w", err)
	}
	return fmt.Sprintf("%s-%06d", t.Settings.NumberPrefix, n), nil
}

func way(s string) bool { return s == ByHand || s == Automatic }
