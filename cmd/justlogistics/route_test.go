package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// twoPicks has its first article in the depot's aisle, 3 from the front, and its
// second one 1 from the front of the aisle beside it.
const twoPicks = `NAME : two picks
TYPE : Single_picker_routing
LAYOUT : single-block
NUM_AISLES : 4
NUM_CELLS : 10
DEPOT_AISLE : 1
DEPOT_LOCATION : bottom
DISTANCE_AISLE_TO_AISLE : 3
DISTANCE_CELL_TO_CELL : 1
DISTANCE_TOP_TO_CELL : 1
DISTANCE_BOTTOM_TO_CELL : 1
DISTANCE_TOP_OR_BOTTOM_TO_DEPOT : 0.5
ARTICLE_SECTION
NUM_ARTICLES : 2
ID 0
ID 1
SKU_SECTION
NUM_SKUS : 2
ID 0 AISLE 1 CELL 7 QUANTITY 1 LEFT_RIGHT_HAND_SIDE left
ID 1 AISLE 2 CELL 9 QUANTITY 5 LEFT_RIGHT_HAND_SIDE right
ORDER_SECTION
NUM_ARTICLES : 2
ID 0 QUANTITY 1
ID 1 QUANTITY 2
EOF
`

// runRoute runs the command with arguments and a standard input.
func runRoute(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var c struct {
		Route routeCommand `cmd:""`
	}
	parser, err := kong.New(&c)
	require.NoError(t, err)
	if _, err := parser.Parse(append([]string{"route"}, args...)); err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = c.Route.run(strings.NewReader(stdin), &out)
	return out.String(), err
}

func TestRoute_PrintsTheLengthAndThenTheWay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "two.txt")
	require.NoError(t, os.WriteFile(file, []byte(twoPicks), 0o600))
	out, err := runRoute(t, "", file)
	require.NoError(t, err)
	length, rest, _ := strings.Cut(out, "\n")
	require.Equal(t, "15", length)
	require.Contains(t, rest, "S-shape: 29, 48.3 % saved\n2 picks:\n")
	require.Contains(t, rest, "aisle 2, cell 9: 2 of article 1\n")
	require.Contains(t, rest, "no route is shorter")

	piped, err := runRoute(t, twoPicks, "-")
	require.NoError(t, err)
	require.Equal(t, out, piped)
}

func TestRoute_PrintsJSON(t *testing.T) {
	t.Parallel()
	out, err := runRoute(t, twoPicks, "-", "--json", "--blocks=2")
	require.NoError(t, err)
	require.Contains(t, out, `"length": 15,`)
	require.Contains(t, out, `"blocks": 2,`)
	require.Contains(t, out, `"proven_shortest": true,`)
	require.Contains(t, out, `"aisle": 1,`)
}

func TestRoute_SaysWhatIsWrongWithAFile(t *testing.T) {
	t.Parallel()
	_, err := runRoute(t, strings.Replace(twoPicks, "CELL 9", "CELL 10", 1), "-")
	require.EqualError(t, err, "-: line 20: cell 10 of 10; the first is 0")
	_, err = runRoute(t, "", filepath.Join(t.TempDir(), "none.txt"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = runRoute(t, twoPicks, "-", "--blocks=3")
	require.ErrorContains(t, err, "--blocks must be one of")
}
