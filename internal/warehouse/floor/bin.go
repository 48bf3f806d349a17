package floor

import (
	"fmt"
	"regexp"
	"strconv"
)

// BinKind tells what a bin is for.
type BinKind string

// The kinds of bins.
const (
	Pick       BinKind = "pick"
	Reserve    BinKind = "reserve"
	Receiving  BinKind = "receiving"
	Packing    BinKind = "packing"
	Quarantine BinKind = "quarantine"
	Damaged    BinKind = "damaged"
	InTransit  BinKind = "in_transit"
)

// BinKinds are all of them, in the order of a legend.
var BinKinds = []BinKind{Pick, Reserve, Receiving, Packing, Quarantine, Damaged, InTransit}

// LotRule tells what may lie together in a bin.
type LotRule string

// The rules; an empty one means Mixed.
const (
	Mixed  LotRule = "mixed"   // anything
	OneLot LotRule = "one_lot" // any SKUs, of each only one lot at a time
	OneSKU LotRule = "one_sku" // one SKU at a time, of any lots
)

func (r LotRule) orMixed() LotRule {
	if r == "" {
		return Mixed
	}
	return r
}

// Capacity is what a bin may hold at most; zero is no limit.
type Capacity struct {
	MaxUnits       int64 `json:"max_units,omitempty"`
	MaxWeightGrams int64 `json:"max_weight_grams,omitempty"`
	MaxVolumeMM3   int64 `json:"max_volume_mm3,omitempty"`
}

// Bin is a place for goods that has passed the checks of its plan.
type Bin struct {
	Code string  `json:"code"`
	Zone string  `json:"zone,omitempty"`
	Kind BinKind `json:"kind"`

	// Aisle, Rack and Level are what a code like A-01-B says. Where a code says
	// nothing of the kind, the aisle is the one that the bin lies at.
	Aisle string `json:"aisle,omitempty"`
	Rack  int    `json:"rack,omitempty"`
	Level string `json:"level,omitempty"`

	XMM int64 `json:"x_mm"` // of its middle
	YMM int64 `json:"y_mm"`
	ZMM int64 `json:"z_mm"` // of its bottom

	Capacity
	LotRule LotRule `json:"lot_rule"`
	Stop    Stop    `json:"stop"`
}

// Stop is where one stands to reach a bin: a point on the centre line of an
// aisle, counted from zero on the left; or a node, and then nothing else.
type Stop struct {
	Aisle int    `json:"aisle"`
	YMM   int64  `json:"y_mm"`
	Node  string `json:"node,omitempty"`
}

// BinInput is a bin as its owner describes it. Only the code is required, and
// what it takes to find the bin: coordinates, a node, or a code whose rack the
// plan knows.
type BinInput struct {
	Code string  `json:"code"`
	Zone string  `json:"zone,omitempty"`
	Kind BinKind `json:"kind,omitempty"` // empty is Pick
	XMM  *int64  `json:"x_mm,omitempty"`
	YMM  *int64  `json:"y_mm,omitempty"`
	ZMM  *int64  `json:"z_mm,omitempty"`
	Node string  `json:"node,omitempty"`
	// Not embedded, since a request is compared with its fields one by one.
	MaxUnits       int64   `json:"max_units,omitempty"`
	MaxWeightGrams int64   `json:"max_weight_grams,omitempty"`
	MaxVolumeMM3   int64   `json:"max_volume_mm3,omitempty"`
	LotRule        LotRule `json:"lot_rule,omitempty"`
}

// Input is what would make the same bin again, to try it against another plan.
func (b Bin) Input() BinInput {
	x, y, z := b.XMM, b.YMM, b.ZMM
	return BinInput{
		Code: b.Code, Zone: b.Zone, Kind: b.Kind, XMM: &x, YMM: &y, ZMM: &z, Node: b.Stop.Node,
		MaxUnits: b.MaxUnits, MaxWeightGrams: b.MaxWeightGrams, MaxVolumeMM3: b.MaxVolumeMM3, LotRule: b.LotRule,
	}
}

// Spot is what a code of the usual scheme says.
type Spot struct {
	Aisle string
	Rack  int
	Level string
}

var spotForm = regexp.MustCompile(`^([A-Za-z0-9._]{1,8})-([0-9]{1,4})-([A-Z]|[1-9][0-9]?)$`)

// ParseCode reads a code like A-01-B: aisle A, rack 1, level B. Levels may be
// numbers too. Codes of another scheme are not wrong, they only say nothing.
func ParseCode(code string) (Spot, bool) {
	m := spotForm.FindStringSubmatch(code)
	if m == nil {
		return Spot{}, false
	}
	rack, err := strconv.Atoi(m[2])
	if err != nil || rack == 0 {
		return Spot{}, false
	}
	return Spot{Aisle: m[1], Rack: rack, Level: m[3]}, true
}

// levelNumber counts from 1 at the floor.
func (s Spot) levelNumber() int {
	if n, err := strconv.Atoi(s.Level); err == nil {
		return n
	}
	return int(s.Level[0]-'A') + 1
}

// WalkKey returns the key that sorts bins by its bytes into an order in which
// one can walk past all of them: aisle by aisle from the left, up one and down
// the next, the lower level first; on a graph, node by node in the plan's
// order. It is the order of a list that nobody has routed, and no short way.
func (p *Plan) WalkKey() func(Bin) string {
	if p.Kind == ByGraph {
		index := p.nodeIndex()
		return func(b Bin) string { return fmt.Sprintf("%04d-%06d-%s", index[b.Stop.Node], b.ZMM, b.Code) }
	}
	front, back := p.CrossAisles.YMM[0], p.CrossAisles.YMM[len(p.CrossAisles.YMM)-1]
	return func(b Bin) string {
		along := b.Stop.YMM - front
		if b.Stop.Aisle%2 == 1 {
			along = back - b.Stop.YMM
		}
		return fmt.Sprintf("%04d-%08d-%06d-%s", b.Stop.Aisle, along, b.ZMM, b.Code)
	}
}
