// Package returns decides what a buyer may send back, what becomes of it, and which
// money goes with it. A return (an RMA) is about units of an order's lines, each of which
// comes back once; it keeps the rules with which it began. What the parcel had in it is
// said by whoever opens it, what a unit is worth by whoever looks at it, and both are
// booked in one transaction with the stock. The return's run asks how it stands, has the
// money go, and asks a person about whatever does not move.
package returns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/catalog"
	"justlogistics/internal/problem"
)

// Money goes back with the approval, when the goods are there, or when they were looked at.
const (
	OnApproval   = "on_approval"
	OnReceipt    = "on_receipt"
	OnInspection = "on_inspection"
)

// Automatic and ByHand say who approves a return.
const (
	Automatic = "automatic"
	ByHand    = "by_hand"
)

// Shop and Buyer are who pays the way back.
const (
	Shop  = "shop"
	Buyer = "buyer"
)

// When the freight that the buyer paid for the way to them goes back too.
const (
	FreightNever  = "never"
	FreightWhole  = "whole_order" // with the last unit of an order that comes back whole
	FreightAlways = "always"
)

// Policy is what a shop takes back and how. Money is in minor units of an order's
// currency, days are calendar days at the shop.
type Policy struct {
	// Reasons are what a buyer may give. What they may send back for it is within.
	Reasons []Reason `json:"reasons"`
	// Goods are exceptions for some goods; the first that fits counts.
	Goods []Goods `json:"goods"`
	// SendWithinDays after its approval a return must have been sent, else it expires.
	SendWithinDays int `json:"send_within_days"`
	// RemindDays before that the buyer is reminded, once for each.
	RemindDays []int `json:"remind_days"`
	// LateArrivalDays after it has expired a parcel is still taken.
	LateArrivalDays int `json:"late_arrival_days"`
	// ArriveWithinDays after it was sent a parcel must be there, else a person is asked.
	ArriveWithinDays int `json:"arrive_within_days"`
	// DecideWithinHours a person must decide, InspectWithinHours must goods be looked at.
	DecideWithinHours  int `json:"decide_within_hours"`
	InspectWithinHours int `json:"inspect_within_hours"`
	// Review is what a person must decide, whatever the reason.
	Review Review `json:"review"`
	// Trusted buyers have their money with the approval.
	Trusted Trusted `json:"trusted"`
	// LabelFee is what a buyer who pays the way back is charged for a label of the shop's, of
	// the money that goes back; null is what the carrier takes.
	LabelFee *int64 `json:"label_fee"`
	// Warehouse is where goods go back to; empty is whence they came.
	Warehouse string `json:"warehouse"`
}

// Reason is why goods come back, and by which rules.
type Reason struct {
	Code string `json:"code"`
	// Title is what buyers read.
	Title string `json:"title"`
	// WindowDays after the delivery it may be given.
	WindowDays int `json:"window_days"`
	// Approve is automatic or by_hand.
	Approve string `json:"approve"`
	// FreightBy is who pays the way back: shop or buyer.
	FreightBy string `json:"freight_by"`
	// FreightBack is when the freight of the way there goes back too.
	FreightBack string `json:"freight_back"`
	// Money is when it goes.
	Money string `json:"money"`
	// Label is when a carrier's label for the way back is bought: none (default), on_request
	// of the buyer, or on_approval.
	Label string `json:"label"`
	// EvenFinalSale: also what was sold for good, as the law has it for what is faulty.
	EvenFinalSale bool `json:"even_final_sale"`
}

// Goods have rules of their own: a SKU or a category of the catalogue, exact, or with * what
// they begin with. Where both are named both must fit.
type Goods struct {
	SKU      string `json:"sku"`
	Category string `json:"category"`
	// FinalSale is not taken back, apart from reasons that say otherwise.
	FinalSale bool `json:"final_sale"`
	// WindowDays instead of the reason's; zero leaves that.
	WindowDays int `json:"window_days"`
}

// Review is when a person decides. A zero is no limit.
type Review struct {
	AboveAmount int64 `json:"above_amount"`
	// AboveReturnedPercent of what a buyer had in the last year came back.
	AboveReturnedPercent int `json:"above_returned_percent"`
}

// Trusted is who has their money before the goods are back. Orders zero is nobody.
type Trusted struct {
	// Orders that were delivered before, at least.
	Orders int `json:"orders"`
	// MostReturnedPercent of what they had in the last year came back.
	MostReturnedPercent int `json:"most_returned_percent"`
	// MostAmount of one return; zero is no limit.
	MostAmount int64 `json:"most_amount"`
}

// Defaults are the rules of a shop that has made none: what Chilean law demands. Ten days
// to withdraw from what was bought at a distance (Ley 19.496, art. 3 bis), six months for
// what is faulty (art. 21, as changed by Ley 21.398); https://www.bcn.cl/leychile/navegar?idNorma=61438.
func Defaults() Policy {
	return Policy{
		Reasons: []Reason{
			{Code: "changed_mind", Title: "Me arrepentí de la compra", WindowDays: 10, Approve: Automatic, FreightBy: Buyer, FreightBack: FreightWhole, Money: OnInspection, Label: LabelOnRequest},
			{Code: "defective", Title: "No funciona o tiene una falla", WindowDays: 180, Approve: Automatic, FreightBy: Shop, FreightBack: FreightWhole, Money: OnInspection, Label: LabelAtOnce, EvenFinalSale: true},
			{Code: "damaged", Title: "Llegó dañado", WindowDays: 30, Approve: Automatic, FreightBy: Shop, FreightBack: FreightWhole, Money: OnInspection, Label: LabelAtOnce, EvenFinalSale: true},
			{Code: "wrong_item", Title: "Llegó otro producto", WindowDays: 30, Approve: Automatic, FreightBy: Shop, FreightBack: FreightWhole, Money: OnInspection, Label: LabelAtOnce, EvenFinalSale: true},
			{Code: "not_as_described", Title: "No es como se ofrecía", WindowDays: 180, Approve: ByHand, FreightBy: Shop, FreightBack: FreightWhole, Money: OnInspection, Label: LabelAtOnce, EvenFinalSale: true},
		},
		Goods:          []Goods{},
		SendWithinDays: 14, RemindDays: []int{7, 2}, LateArrivalDays: 15, ArriveWithinDays: 15, DecideWithinHours: 48, InspectWithinHours: 72,
		Review: Review{AboveAmount: 500_000, AboveReturnedPercent: 60},
	}
}

var reasonCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// Check says what is wrong with a policy by itself.
func (p *Policy) Check() error {
	var f problem.Fields
	if len(p.Reasons) == 0 || len(p.Reasons) > 50 {
		f.Add("reasons", "out_of_range", "1 to 50: without one nothing can come back")
	}
	seen := map[string]bool{}
	for i, r := range p.Reasons {
		at := fmt.Sprintf("reasons[%d].", i)
		switch {
		case !reasonCode.MatchString(r.Code):
			f.Add(at+"code", "invalid", "lower-case letters, digits and underscores, at most 40")
		case seen[r.Code]:
			f.Add(at+"code", "repeated", "named twice")
		}
		seen[r.Code] = true
		if r.Title == "" || len(r.Title) > 200 {
			f.Add(at+"title", "required", "what buyers read: 1 to 200 bytes")
		}
		days(&f, at+"window_days", r.WindowDays, 1, 3650)
		choice(&f, at+"approve", r.Approve, Automatic, ByHand)
		choice(&f, at+"freight_by", r.FreightBy, Shop, Buyer)
		choice(&f, at+"freight_back", r.FreightBack, FreightNever, FreightWhole, FreightAlways)
		choice(&f, at+"money", r.Money, OnApproval, OnReceipt, OnInspection)
		if r.Label == "" {
			p.Reasons[i].Label = LabelNever
		} else {
			choice(&f, at+"label", r.Label, LabelNever, LabelOnRequest, LabelAtOnce)
		}
	}
	if len(p.Goods) > 1000 {
		f.Add("goods", "out_of_range", "at most 1000")
	}
	for i, g := range p.Goods {
		at := fmt.Sprintf("goods[%d].", i)
		if len(g.SKU) > 64 || strings.Contains(strings.TrimSuffix(g.SKU, "*"), "*") {
			f.Add(at+"sku", "invalid", "a SKU, or what SKUs begin with and a *")
		}
		if !catalog.Category.MatchString(strings.TrimSuffix(g.Category, "*")) {
			f.Add(at+"category", "invalid", "a category, or what categories begin with and a *")
		}
		if g.SKU == "" && g.Category == "" {
			f.Add(at+"sku", "required", "name a SKU or a category")
		}
		days(&f, at+"window_days", g.WindowDays, 0, 3650)
	}
	days(&f, "send_within_days", p.SendWithinDays, 1, 365)
	for i, d := range p.RemindDays {
		if d < 1 || d >= p.SendWithinDays {
			f.Add(fmt.Sprintf("remind_days[%d]", i), "out_of_range", "1 to less than send_within_days")
		}
	}
	days(&f, "late_arrival_days", p.LateArrivalDays, 0, 365)
	days(&f, "arrive_within_days", p.ArriveWithinDays, 1, 365)
	days(&f, "decide_within_hours", p.DecideWithinHours, 1, 24*365)
	days(&f, "inspect_within_hours", p.InspectWithinHours, 1, 24*365)
	days(&f, "review.above_returned_percent", p.Review.AboveReturnedPercent, 0, 100)
	days(&f, "trusted.orders", p.Trusted.Orders, 0, 1000)
	days(&f, "trusted.most_returned_percent", p.Trusted.MostReturnedPercent, 0, 100)
	if p.Review.AboveAmount < 0 {
		f.Add("review.above_amount", "out_of_range", "not negative")
	}
	if p.LabelFee != nil && *p.LabelFee < 0 {
		f.Add("label_fee", "out_of_range", "not negative")
	}
	if p.Trusted.MostAmount < 0 {
		f.Add("trusted.most_amount", "out_of_range", "not negative")
	}
	if p.Goods == nil {
		p.Goods = []Goods{}
	}
	if p.RemindDays == nil {
		p.RemindDays = []int{}
	}
	slices.SortFunc(p.RemindDays, func(a, b int) int { return b - a })
	return f.Err()
}

func days(f *problem.Fields, field string, n, least, most int) {
	if n < least || n > most {
		f.Add(field, "out_of_range", "%d to %d", least, most)
	}
}

func choice(f *problem.Fields, field, value string, among ...string) {
	if !slices.Contains(among, value) {
		f.Add(field, "invalid", "one of %s", strings.Join(among, ", "))
	}
}

// reason finds a reason by its code.
func (p Policy) reason(code string) (Reason, bool) {
	i := slices.IndexFunc(p.Reasons, func(r Reason) bool { return r.Code == code })
	if i < 0 {
		return Reason{}, false
	}
	return p.Reasons[i], true
}

// goods finds the rule for a SKU of a category.
func (p Policy) goods(sku, category string) Goods {
	fits := func(rule, word string) bool {
		start, open := strings.CutSuffix(rule, "*")
		return rule == "" || rule == word || open && strings.HasPrefix(word, start)
	}
	for _, g := range p.Goods {
		if fits(g.SKU, sku) && fits(g.Category, category) {
			return g
		}
	}
	return Goods{}
}

// Current reads a shop's rules and their version: 0 while it has made none.
func Current(ctx context.Context, tx pgx.Tx, tenantID string) (p Policy, version int, err error) {
	var raw []byte
	err = tx.QueryRow(ctx, `SELECT version, policy FROM return_policies WHERE tenant = $1 ORDER BY version DESC LIMIT 1`, tenantID).Scan(&version, &raw)
	if errors.Is(err, pgx.ErrNoRows) {
		return Defaults(), 0, nil
	}
	if err != nil {
		return p, 0, fmt.Errorf("policy for returns: %w", err)
	}
	return p, version, json.Unmarshal(raw, &p)
}

// PutPolicy makes rules a shop's own, for returns that begin from now on, and returns
// their version. The same rules again are no new version.
func PutPolicy(ctx context.Context, tx pgx.Tx, tenantID string, p Policy, person string) (version int, err error) {
	if err := p.Check(); err != nil {
		return 0, err
	}
	if p.Warehouse != "" {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM warehouses WHERE tenant = $1 AND code = $2)`, tenantID, p.Warehouse).Scan(&there); err != nil {
			return 0, fmt.Errorf("warehouse %s: %w", p.Warehouse, err)
		}
		if !there {
			var f problem.Fields
			f.Add("warehouse", "unknown_warehouse", "there is no such warehouse")
			return 0, f.Err()
		}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	// Two at once take turns.
	if _, err := tx.Exec(ctx, `SELECT FROM tenants WHERE tenant = $1 FOR UPDATE`, tenantID); err != nil {
		return 0, fmt.Errorf("policy for returns: %w", err)
	}
	err = tx.QueryRow(ctx, `WITH last AS (SELECT version, policy FROM return_policies WHERE tenant = $1 ORDER BY version DESC LIMIT 1),
	    made AS (INSERT INTO return_policies (tenant, version, policy, person) SELECT $1, coalesce((SELECT version FROM last), 0) + 1, $2, $3
	      WHERE NOT EXISTS (SELECT FROM last WHERE policy = $2::jsonb) RETURNING version)
	  SELECT version FROM made UNION ALL SELECT version FROM last ORDER BY version DESC LIMIT 1`, tenantID, raw, person).Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("policy for returns: %w", err)
	}
	return version, nil
}
