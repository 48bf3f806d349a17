package sprp

import (
	"fmt"
	"strconv"
	"strings"

	"justlogistics/internal/warehouse/route"
)

// middle is how wide the cross aisle between two blocks is.
const middle = Unit

// Solution is a picker's walk for the order of an instance.
type Solution struct {
	// Length of the walk as published results count it: from the depot to the
	// depot, without reaching into shelves. In thousandths of the unit.
	Length int64
	// SShape is how long an S-shaped walk past the same locations is.
	SShape int64
	// Picks are the locations in the order of the walk. Quantity is how many
	// units are taken from each.
	Picks []Location
	// Proven: no walk is shorter. It is false when articles lie in more places
	// than are needed, and the choice among those was not searched completely.
	Proven bool
}

// Floor is the warehouse of the instance with its depot, front at the bottom.
// The only errors are a floor too large, and too small for its blocks.
func (in *Instance) Floor() (*route.Aisles, error) {
	if in.Cells < in.Blocks {
		return nil, fmt.Errorf("floor of %q: %d blocks need %d cells, not %d", in.Name, in.Blocks, in.Blocks, in.Cells)
	}
	a := &route.Aisles{Depot: route.Depot{X: int64(in.DepotAisle) * in.AisleToAisle}}
	for i := range in.Aisles {
		a.X = append(a.X, int64(i)*in.AisleToAisle)
	}
	a.Cross = []int64{0}
	if in.Blocks == 2 {
		front := in.Cells / 2
		a.Cross = append(a.Cross, in.BottomToCell+int64(front-1)*in.CellToCell+(in.CellToCell+middle)/2)
	}
	a.Cross = append(a.Cross, in.y(0)+in.TopToCell)
	if in.DepotTop {
		a.Depot.Cross = len(a.Cross) - 1
	}
	if err := a.Check(); err != nil {
		return nil, fmt.Errorf("floor of %q: %w", in.Name, err)
	}
	return a, nil
}

// y is where a cell is, from the bottom cross aisle; cell 0 is at the top.
func (in *Instance) y(cell int) int64 {
	fromBottom := in.Cells - 1 - cell
	y := in.BottomToCell + int64(fromBottom)*in.CellToCell
	if in.Blocks == 2 && fromBottom >= in.Cells/2 {
		y += middle
	}
	return y
}

// Solve finds a walk for the order. It is a shortest one whenever the order
// leaves no choice of locations, or little.
func (in *Instance) Solve() (Solution, error) {
	floor, err := in.Floor()
	if err != nil {
		return Solution{}, err
	}
	picks, proven := in.choose(floor)
	stops := in.stops(picks)
	tour, err := floor.Shortest(stops)
	if err != nil {
		return Solution{}, fmt.Errorf("find a route of %q: %w", in.Name, err)
	}
	snake, err := floor.SShape(stops)
	if err != nil {
		return Solution{}, fmt.Errorf("measure the S-shape of %q: %w", in.Name, err)
	}
	s := Solution{Length: tour.Length, SShape: snake.Length, Picks: make([]Location, 0, len(picks)), Proven: proven}
	if len(picks) > 0 {
		s.Length += 2 * in.ToDepot
		s.SShape += 2 * in.ToDepot
	}
	for _, i := range tour.Order {
		s.Picks = append(s.Picks, picks[i])
	}
	return s, nil
}

func (in *Instance) stops(picks []Location) []route.Stop {
	out := make([]route.Stop, len(picks))
	for i, l := range picks {
		out[i] = in.stop(l)
	}
	return out
}

func (in *Instance) stop(l Location) route.Stop { return route.Stop{Aisle: l.Aisle, Y: in.y(l.Cell)} }

// Units writes a length in the unit of the file.
func Units(length int64) string {
	sign := ""
	if length < 0 {
		sign, length = "-", -length
	}
	decimals := strings.TrimRight(fmt.Sprintf(".%03d", length%Unit), ".0")
	return sign + strconv.FormatInt(length/Unit, 10) + decimals
}
