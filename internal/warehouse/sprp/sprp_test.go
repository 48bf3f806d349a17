package sprp

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// small is a warehouse of three aisles with four cells, from the top: the depot
// is under the first. Its lengths by hand are in the tests.
const small = `NAME : small
TYPE : Single_picker_routing
COMMENT : by hand
LAYOUT : single-block
NUM_AISLES : 3
NUM_CELLS : 4
DEPOT_AISLE : 0
DEPOT_LOCATION : bottom
DISTANCE_AISLE_TO_AISLE : 3
DISTANCE_CELL_TO_CELL : 1
DISTANCE_TOP_TO_CELL : 1
DISTANCE_BOTTOM_TO_CELL : 1.5
DISTANCE_TOP_OR_BOTTOM_TO_DEPOT : 0.5
ARTICLE_SECTION
NUM_ARTICLES : 3
ID 0
ID 7
ID 9
SKU_SECTION
NUM_SKUS : 3
ID 7 AISLE 0 CELL 0 QUANTITY 1 LEFT_RIGHT_HAND_SIDE left
ID 0 AISLE 2 CELL 3 QUANTITY 2 LEFT_RIGHT_HAND_SIDE right
ID 9 AISLE 1 CELL 1 QUANTITY 4 LEFT_RIGHT_HAND_SIDE left
ORDER_SECTION
NUM_ARTICLES : 2
ID 0 QUANTITY 1
ID 7 QUANTITY 1
EOF`

func parse(t require.TestingT, text string) *Instance {
	in, err := Parse(strings.NewReader(text))
	require.NoError(t, err)
	return in
}

func TestParse_ReadsAnInstance(t *testing.T) {
	t.Parallel()
	want := &Instance{
		Name: "small", Blocks: 1, Aisles: 3, Cells: 4,
		AisleToAisle: 3000, CellToCell: 1000, TopToCell: 1000, BottomToCell: 1500, ToDepot: 500,
		Locations: []Location{{7, 0, 0, 1}, {0, 2, 3, 2}, {9, 1, 1, 4}},
		Order:     []Line{{0, 1}, {7, 1}},
	}
	require.Equal(t, want, parse(t, small))
	// White space and the end of line are free, and so is the encoding of text.
	other := strings.NewReplacer("\n", "\r\n\r\n", " : ", ":", "by hand", "He\xdfler").Replace(small) + "\n\n"
	require.Equal(t, want, parse(t, other))
}

func TestParse_SaysInWhichLineSomethingIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, want string }{
		{"LAYOUT : single-block", "LAYOUT : three-block", `line 4: LAYOUT: "three-block" is none of single-block, two-block`},
		{"TYPE : Single_picker_routing", "TYPE : TSP", `line 2: TYPE: "TSP" is none of Single_picker_routing, `},
		{"NUM_AISLES : 3", "NUM_AISLES : many", `line 5: NUM_AISLES: "many" is not a whole number`},
		{"NUM_AISLES : 3", "NUM_AISLES : 0", "line 5: NUM_AISLES: 0 is not from 1 to"},
		{"NUM_CELLS : 4", "NUM_CELLS 4", `line 6: "NUM_CELLS 4" is not a key, a colon and a value`},
		{"NUM_CELLS : 4", "NUM_SHELVES : 4", `line 6: "NUM_SHELVES" is no key of the format`},
		{"NUM_CELLS : 4\n", "", "line 13: NUM_CELLS is missing before ARTICLE_SECTION"},
		{"NUM_CELLS : 4", "NUM_AISLES : 4", "line 6: NUM_AISLES is there twice"},
		{"DEPOT_AISLE : 0", "DEPOT_AISLE : 3", "line 14: the depot is at aisle 3 of 3; the first is 0"},
		{"TO_AISLE : 3", "TO_AISLE : 0", "line 9: DISTANCE_AISLE_TO_AISLE: 0 is too little"},
		{"TO_AISLE : 3", "TO_AISLE : NaN", "line 9: DISTANCE_AISLE_TO_AISLE: NaN is too little"},
		{"BOTTOM_TO_CELL : 1.5", "BOTTOM_TO_CELL : 1.5005", "line 12: DISTANCE_BOTTOM_TO_CELL: 1.5005 has more than three decimals"},
		{"NUM_ARTICLES : 3", "NUM_SKUS : 3", `line 15: "NUM_SKUS : 3" where NUM_ARTICLES should follow`},
		{"NUM_ARTICLES : 3", "NUM_ARTICLES : -1", "line 15: NUM_ARTICLES: -1 is not from 0 to"},
		{"NUM_ARTICLES : 3", "NUM_ARTICLES : 4", `line 19: row 4 of 4: "SKU_SECTION" is not ID, each with its value`},
		{"ID 7\n", "ID 0\n", "line 17: article 0 is there twice"},
		{"SKU_SECTION", "SHELF_SECTION", `line 19: "SHELF_SECTION" where SKU_SECTION should follow`},
		{"ID 7 AISLE 0", "ID 8 AISLE 0", "line 21: article 8 is not in ARTICLE_SECTION"},
		{"AISLE 2", "AISLE 3", "line 22: aisle 3 of 3; the first is 0"},
		{"CELL 3", "CELL 4", "line 22: cell 4 of 4; the first is 0"},
		{"QUANTITY 2", "QUANTITY 0", "line 22: nothing of article 0 lies there"},
		{"SIDE right", "SIDE up", `line 22: row 2 of 3: LEFT_RIGHT_HAND_SIDE: "up" is none of left, right`},
		{"CELL 3", "SHELF 3", `line 22: row 2 of 3: "SHELF" where CELL should follow`},
		{"ID 7 QUANTITY 1\n", "ID 7 QUANTITY 2\n", "line 27: 2 units of article 7 are ordered, 1 are stored"},
		{"ID 7 QUANTITY 1\n", "ID 0 QUANTITY 1\n", "line 27: article 0 is ordered twice"},
		{"ID 7 QUANTITY 1\n", "ID 5 QUANTITY 1\n", "line 27: article 5 is not in ARTICLE_SECTION"},
		{"ID 7 QUANTITY 1\n", "ID 7 QUANTITY 0\n", "line 27: nothing of article 7 is ordered"},
		{"ID 7 QUANTITY 1\n", "ID 7 QUANTITY 99999999999999999999\n", "line 27: row 2 of 2: QUANTITY"},
		{"ID 7 QUANTITY 1\nEOF", "ID 7 QUANTITY 1", "line 27: the file ends where EOF should follow"},
		{"ID 7 QUANTITY 1\nEOF", "", "line 26: the file ends where row 2 of 2 should follow"},
		{"EOF", "EOF\nmore", "line 29: something follows EOF"},
		{small, "", "line 0: the file ends where ARTICLE_SECTION should follow"},
		{"by hand", strings.Repeat("x", 100_000), "line 3: longer than any line of the format"},
	} {
		require.Contains(t, small, c.old)
		_, err := Parse(strings.NewReader(strings.Replace(small, c.old, c.new, 1)))
		var syntax *SyntaxError
		require.ErrorAs(t, err, &syntax, c.want)
		require.ErrorContains(t, err, c.want)
	}
}

func TestParse_PassesOnWhatTheReaderSays(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is on fire")
	for _, text := range []string{small[:13], small} {
		_, err := Parse(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
	}
}

func TestSolve_CountsCellsFromTheTopAndTheWayToTheDepot(t *testing.T) {
	t.Parallel()
	// Article 7 is 4.5 up the depot's own aisle of 5.5, article 0 is 1.5 up an
	// aisle 6 away; the depot is 0.5 below. So up one, down the other.
	for name, c := range map[string]struct{ old, new, length, snake string }{
		"the depot is at the bottom": {"", "", "24", "24"},
		// From above: 1 down and back, over the top and 4 down and back.
		"the depot is at the top":      {"DEPOT_LOCATION : bottom", "DEPOT_LOCATION : top", "23", "24"},
		"the depot is on the far side": {"DEPOT_AISLE : 0", "DEPOT_AISLE : 2", "24", "24"},
		"nothing is ordered":           {"NUM_ARTICLES : 2\nID 0 QUANTITY 1\nID 7 QUANTITY 1\n", "NUM_ARTICLES : 0\n", "0", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := parse(t, strings.Replace(small, c.old, c.new, 1)).Solve()
			require.NoError(t, err)
			require.Equal(t, c.length, Units(s.Length))
			require.Equal(t, c.snake, Units(s.SShape))
			require.True(t, s.Proven)
		})
	}
}

func TestSolve_PutsACrossAisleOfOneUnitBetweenTwoBlocks(t *testing.T) {
	t.Parallel()
	in := parse(t, strings.Replace(small, "single-block", "two-block", 1))
	floor, err := in.Floor()
	require.NoError(t, err)
	// Cells 3 and 2 at 1.5 and 2.5, the cross aisle, cells 1 and 0 at 4.5 and 5.5.
	require.Equal(t, []int64{0, 3500, 6500}, floor.Cross)
	s, err := in.Solve()
	require.NoError(t, err)
	// 5.5 up and 2 back to the middle, 6 across, 3.5 down and 6 home.
	require.Equal(t, "24", Units(s.Length))
	require.Len(t, s.Picks, 2)

	in.Cells = 1
	_, err = in.Solve()
	require.ErrorContains(t, err, "2 blocks need 2 cells")
}

func TestSolve_RefusesAFloorThatIsTooLarge(t *testing.T) {
	t.Parallel()
	_, err := parse(t, strings.Replace(small, "TO_AISLE : 3", "TO_AISLE : 999999", 1)).Solve()
	require.ErrorContains(t, err, "from the origin")
}

func TestUnits_WritesNoMoreDecimalsThanThereAre(t *testing.T) {
	t.Parallel()
	for length, want := range map[int64]string{0: "0", 1000: "1", 10_000: "10", 1500: "1.5", 50: "0.05", 1: "0.001", -2500: "-2.5"} {
		require.Equal(t, want, Units(length))
	}
}

// scattered draws an instance whose articles lie in several places.
func scattered(r *rand.Rand, articles, places int) *Instance {
	in := &Instance{
		Blocks: 1 + r.IntN(2), Aisles: 2 + r.IntN(6), Cells: 2 + r.IntN(10),
		AisleToAisle: 3000, CellToCell: 1000, TopToCell: 1000, BottomToCell: 1000, DepotTop: r.IntN(2) == 0,
	}
	in.DepotAisle = r.IntN(in.Aisles)
	for article := range articles {
		stored := 0
		for range 1 + r.IntN(places) {
			l := Location{article, r.IntN(in.Aisles), r.IntN(in.Cells), 1 + r.IntN(3)}
			in.Locations = append(in.Locations, l)
			stored += l.Quantity
		}
		in.Order = append(in.Order, Line{article, 1 + r.IntN(stored)})
	}
	return in
}

// bestChoice tries every subset of the locations.
func bestChoice(t require.TestingT, in *Instance) int64 {
	floor, err := in.Floor()
	require.NoError(t, err)
	best := int64(-1)
	for subset := range 1 << len(in.Locations) {
		var picks []Location
		units := map[int]int{}
		for i, l := range in.Locations {
			if subset&(1<<i) != 0 {
				picks = append(picks, l)
				units[l.Article] += l.Quantity
			}
		}
		if slices.ContainsFunc(in.Order, func(l Line) bool { return units[l.Article] < l.Quantity }) {
			continue
		}
		if length := floor.Length(in.stops(picks)); best < 0 || length < best {
			best = length
		}
	}
	return best
}

// requireGiven demands that the picks give what was ordered, out of what is there.
func requireGiven(t require.TestingT, in *Instance, picks []Location) {
	units := map[int]int{}
	for _, p := range picks {
		units[p.Article] += p.Quantity
		require.Positive(t, p.Quantity)
		require.True(t, slices.ContainsFunc(in.Locations, func(l Location) bool {
			return l.Article == p.Article && l.Aisle == p.Aisle && l.Cell == p.Cell && l.Quantity >= p.Quantity
		}))
	}
	for _, l := range in.Order {
		require.Equal(t, l.Quantity, units[l.Article])
	}
}

func TestSolve_ChoosesTheBestOfFewLocations(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 2))
	for range 150 {
		in := scattered(r, 1+r.IntN(4), 3)
		s, err := in.Solve()
		require.NoError(t, err)
		require.True(t, s.Proven)
		require.Equal(t, bestChoice(t, in), s.Length, "%+v", in)
		requireGiven(t, in, s.Picks)
	}
}

func TestSolve_SaysWhenNotAllChoicesWereTried(t *testing.T) {
	t.Parallel()
	in := scattered(rand.New(rand.NewPCG(3, 3)), 20, 25)
	s, err := in.Solve()
	require.NoError(t, err)
	require.False(t, s.Proven)
	requireGiven(t, in, s.Picks)
	again, err := in.Solve()
	require.NoError(t, err)
	require.Equal(t, s, again)
}

// text writes an instance as a file.
func text(in *Instance) string {
	var b strings.Builder
	fmt.Fprintf(&b, "TYPE : Single_picker_routing\nLAYOUT : %s\nNUM_AISLES : %d\nNUM_CELLS : %d\nDEPOT_AISLE : %d\nDEPOT_LOCATION : %s\n",
		[]string{"single-block", "two-block"}[in.Blocks-1], in.Aisles, in.Cells, in.DepotAisle, map[bool]string{true: "top", false: "bottom"}[in.DepotTop])
	fmt.Fprintf(&b, "DISTANCE_AISLE_TO_AISLE : %s\nDISTANCE_CELL_TO_CELL : %s\nDISTANCE_TOP_TO_CELL : %s\nDISTANCE_BOTTOM_TO_CELL : %s\nDISTANCE_TOP_OR_BOTTOM_TO_DEPOT : %s\n",
		Units(in.AisleToAisle), Units(in.CellToCell), Units(in.TopToCell), Units(in.BottomToCell), Units(in.ToDepot))
	fmt.Fprintf(&b, "ARTICLE_SECTION\nNUM_ARTICLES : %d\n", len(in.Order))
	for _, l := range in.Order {
		fmt.Fprintf(&b, "ID %d\n", l.Article)
	}
	fmt.Fprintf(&b, "SKU_SECTION\nNUM_SKUS : %d\n", len(in.Locations))
	for _, l := range in.Locations {
		fmt.Fprintf(&b, "ID %d AISLE %d CELL %d QUANTITY %d LEFT_RIGHT_HAND_SIDE left\n", l.Article, l.Aisle, l.Cell, l.Quantity)
	}
	fmt.Fprintf(&b, "ORDER_SECTION\nNUM_ARTICLES : %d\n", len(in.Order))
	for _, l := range in.Order {
		fmt.Fprintf(&b, "ID %d QUANTITY %d\n", l.Article, l.Quantity)
	}
	return b.String() + "EOF"
}

func TestParse_ReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := scattered(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), rapid.IntRange(1, 20).Draw(t, "articles"), 5)
		in.ToDepot = rapid.Int64Range(0, 5000).Draw(t, "to depot")
		in.CellToCell = rapid.Int64Range(1, 999_999_999).Draw(t, "cell to cell")
		require.Equal(t, in, parse(t, text(in)))
	})
}

func FuzzParse(f *testing.F) {
	f.Add(small)
	f.Add(strings.Replace(small, "single-block", "two-block", 1))
	f.Add(text(scattered(rand.New(rand.NewPCG(1, 1)), 3, 2)))
	f.Add("NAME : x\nARTICLE_SECTION")
	f.Fuzz(func(t *testing.T, file string) {
		in, err := Parse(strings.NewReader(file))
		if err != nil {
			var syntax *SyntaxError
			require.ErrorAs(t, err, &syntax)
			return
		}
		if in.Aisles > 100 || len(in.Locations) > 12 {
			return
		}
		s, err := in.Solve()
		if err != nil {
			return // a floor too large
		}
		requireGiven(t, in, s.Picks)
		require.LessOrEqual(t, s.Length, s.SShape)
	})
}
