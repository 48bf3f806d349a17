package simulate

import (
	"math/rand/v2"
	"slices"
)

// Kind is a kind of buyer: what it wants, and how it behaves.
type Kind string

// The kinds of buyer.
const (
	Approves           Kind = "approves"
	DeclinedGivesUp    Kind = "declined_gives_up"
	DeclinedPaysAgain  Kind = "declined_pays_elsewhere"
	Aborts             Kind = "aborts"
	AbortsThenPays     Kind = "aborts_then_pays"
	WalksAway          Kind = "walks_away"
	PaysLate           Kind = "pays_late"
	PaysTwice          Kind = "pays_twice"
	ClicksTwice        Kind = "clicks_twice"
	Cancels            Kind = "cancels"
	CancelsWhilePaying Kind = "cancels_while_paying"
	RetriesSameKey     Kind = "retries_with_same_key"
	AnyGateway         Kind = "takes_any_gateway"
	HasDiscount        Kind = "has_discount_code"
	BuysMany           Kind = "buys_many_skus"
	WantsTooMuch       Kind = "wants_more_than_there_is"
	WantsTheLast       Kind = "wants_the_last_units"
	ClosesTheTab       Kind = "closes_the_tab_after_paying"
	PaysByToken        Kind = "pays_with_a_card_token"
	GetsAllBack        Kind = "gets_all_back"
	GetsAUnitBack      Kind = "gets_a_unit_back"
	AsksTwice          Kind = "asks_twice_for_the_same_units"
	RefundedByPanel    Kind = "refunded_in_the_providers_panel"
	Disputes           Kind = "disputes_the_charge"
)

// tokenGateway takes cards that were tokenized in the storefront; disputable
// are those whose sandbox plays chargebacks both ways.
const tokenGateway = "mercadopago"

var disputable = []string{"stripe", tokenGateway}

// tellsOfPanels are gateways that can be asked what was given back in their
// panel; Flow's API says nothing of it.
var tellsOfPanels = []string{"transbank", "stripe", tokenGateway, "khipu"}

// trait is what is fixed of a kind: how many of a hundred buyers are like that,
// and for how long their stock is held. Those who do not pay get little time,
// so that a run ends soon; those who pay get enough for a stack that is killed
// meanwhile.
type trait struct {
	kind    Kind
	weight  int
	seconds int
	// needs is what of the run's gateways the kind cannot do without, one of
	// them; nil: any.
	needs []string
}

var traits = []trait{
	{Approves, 20, 90, nil},
	{DeclinedGivesUp, 6, 8, nil},
	{DeclinedPaysAgain, 7, 90, nil},
	{Aborts, 4, 7, nil},
	{AbortsThenPays, 5, 90, nil},
	{WalksAway, 6, 6, nil},
	{PaysLate, 7, 5, nil},
	{PaysTwice, 7, 90, nil},
	{ClicksTwice, 6, 90, nil},
	{Cancels, 5, 60, nil},
	{CancelsWhilePaying, 6, 60, nil},
	{RetriesSameKey, 5, 90, nil},
	{AnyGateway, 6, 90, nil},
	{HasDiscount, 5, 90, nil},
	{BuysMany, 5, 90, nil},
	{WantsTooMuch, 3, 60, nil},
	{WantsTheLast, 6, 60, nil},
	{ClosesTheTab, 5, 20, nil},
	{PaysByToken, 4, 90, []string{tokenGateway}},
	{GetsAllBack, 5, 90, nil},
	{GetsAUnitBack, 5, 90, nil},
	{AsksTwice, 4, 90, nil},
	{RefundedByPanel, 4, 90, tellsOfPanels},
	{Disputes, 4, 90, disputable},
}

// among are the traits that a run with these gateways can show.
func among(gateways []string) []trait {
	return slices.DeleteFunc(slices.Clone(traits), func(t trait) bool {
		return t.needs != nil && !slices.ContainsFunc(t.needs, func(g string) bool { return slices.Contains(gateways, g) })
	})
}

// Kinds lists the kinds of buyer that come to shops with these gateways.
func Kinds(gateways []string) []Kind {
	traits := among(gateways)
	all := make([]Kind, len(traits))
	for i, t := range traits {
		all[i] = t.kind
	}
	return all
}

// Item is units of one of the run's SKUs.
type Item struct {
	SKU      string `json:"sku"` // the short name; the run's own prefix is added
	Quantity int    `json:"quantity"`
}

// Buyer is one buyer as drawn.
type Buyer struct {
	N       int    `json:"n"`
	Kind    Kind   `json:"kind"`
	Gateway string `json:"gateway"` // or auto
	// Other is where another attempt goes: another gateway if there is one.
	Other   string `json:"other"`
	Items   []Item `json:"items"`
	Seconds int    `json:"hold_seconds"`
	// Code: the buyer has the run's discount code.
	Code bool `json:"code"`
	// Delay is a pause of the buyer in thousandths of a second, and Coin a
	// choice, used as the kind sees fit.
	Delay int  `json:"delay_ms"`
	Coin  bool `json:"coin"`
}

// good is a SKU of the run.
type good struct {
	name  string
	price int64 // CLP
}

var (
	plenty = []good{{"A", 12990}, {"B", 4990}, {"C", 1}, {"D", 29990}, {"E", 333}}
	scarce = good{"LAST", 9990}
	few    = good{"FEW", 7990}
)

const (
	fewUnits   = 3
	tooMany    = 50
	codeBasis  = 1250 // the discount code takes 12.5 %
	autoRoute  = "auto"
	maxDelayMS = 400
)

// Draw draws the buyers of a run: the same ones for the same seed, number and
// gateways. Every kind occurs once there are as many buyers as kinds.
func Draw(seed uint64, orders int, gateways []string) []Buyer {
	r := rand.New(rand.NewPCG(seed, 0x51b7))
	traits := among(gateways)
	deck := make([]trait, 0, orders)
	for _, i := range r.Perm(len(traits))[:min(orders, len(traits))] {
		deck = append(deck, traits[i])
	}
	total := 0
	for _, t := range traits {
		total += t.weight
	}
	for len(deck) < orders {
		at := r.IntN(total)
		for _, t := range traits {
			if at -= t.weight; at < 0 {
				deck = append(deck, t)
				break
			}
		}
	}
	r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	buyers := make([]Buyer, len(deck))
	for i, t := range deck {
		buyers[i] = drawBuyer(r, i, t, gateways)
	}
	return buyers
}

func drawBuyer(r *rand.Rand, n int, t trait, gateways []string) Buyer {
	own := gateways
	if t.needs != nil {
		own = slices.DeleteFunc(slices.Clone(gateways), func(g string) bool { return !slices.Contains(t.needs, g) })
	}
	b := Buyer{N: n, Kind: t.kind, Seconds: t.seconds, Gateway: own[r.IntN(len(own))], Delay: r.IntN(maxDelayMS), Coin: r.IntN(2) == 0}
	others := slices.DeleteFunc(slices.Clone(gateways), func(g string) bool { return g == b.Gateway })
	if b.Other = b.Gateway; len(others) > 0 {
		b.Other = others[r.IntN(len(others))]
	}
	b.Items = []Item{{plenty[r.IntN(len(plenty)-2)].name, 1 + r.IntN(3)}}
	b.Code = t.kind == HasDiscount || r.IntN(10) == 0
	switch t.kind {
	case AnyGateway:
		b.Gateway = autoRoute
	case BuysMany:
		b.Items = nil
		for _, i := range r.Perm(len(plenty)) {
			b.Items = append(b.Items, Item{plenty[i].name, 1 + r.IntN(2)})
		}
		b.Items = append(b.Items, Item{b.Items[0].SKU, 1}) // one SKU is named twice
	case WantsTooMuch:
		b.Items = append(b.Items, Item{few.name, tooMany})
	case WantsTheLast:
		b.Items = []Item{{scarce.name, 1 + r.IntN(2)}}
	}
	return b
}

// shelf is what the run sets up of one SKU.
type shelf struct {
	good
	units int
}

// shelves sets out the stock for the buyers: enough of most, three of one, and
// of the scarce one as many units as half of those who want it ask for.
func shelves(buyers []Buyer) []shelf {
	wanted := map[string]int{}
	for _, b := range buyers {
		for _, i := range b.Items {
			wanted[i.SKU] += i.Quantity
		}
	}
	var out []shelf
	for _, g := range plenty {
		// An approval that comes late holds again what an expired hold had.
		out = append(out, shelf{g, 2*wanted[g.name] + 2})
	}
	return append(out, shelf{few, fewUnits}, shelf{scarce, 1 + wanted[scarce.name]/2})
}
