// Package sprp reads and solves instances of the single picker routing problem
// in the text format of Heßler and Irnich (2022), in which the instances of
// github.com/katrinhessler/SPRP-SS are published. It is how the routes of
// package route are compared with published optima.
//
// An instance counts in a unit of its own, and cell 0 is the one nearest to the
// top cross aisle. Lengths here are thousandths of the unit, so that a file
// that counts in metres has millimetres.
package sprp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Unit is one unit of a file's lengths.
const Unit = 1000

// Instance is a warehouse, what lies in it, and an order.
type Instance struct {
	Name       string
	Blocks     int // 1 or 2
	Aisles     int
	Cells      int // of an aisle
	DepotAisle int
	DepotTop   bool
	// Distances in thousandths of the unit.
	AisleToAisle, CellToCell, TopToCell, BottomToCell, ToDepot int64
	Locations                                                  []Location
	Order                                                      []Line
}

// Location is a cell with units of an article.
type Location struct {
	Article  int `json:"article"`
	Aisle    int `json:"aisle"`
	Cell     int `json:"cell"`
	Quantity int `json:"quantity"` // units that lie there
}

// Line is how many units of an article are ordered.
type Line struct{ Article, Quantity int }

// SyntaxError is what is wrong with a file, and where.
type SyntaxError struct {
	Line int // from 1
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Bounds of what is read, far beyond the published instances.
const (
	mostAisles = 10_000
	mostCells  = 100_000
	mostUnits  = 1_000_000 // quantities, and distances in units
)

// Parse reads an instance. What is wrong with it is a SyntaxError; other errors
// are those of the reader.
func Parse(r io.Reader) (*Instance, error) {
	p := &parser{lines: bufio.NewScanner(r), in: &Instance{}, articles: map[int]bool{}, stored: map[int]int{}}
	for _, part := range []func() error{p.header, p.readArticles, p.readLocations, p.readOrder, p.end} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return p.in, nil
}

type parser struct {
	lines    *bufio.Scanner
	number   int
	in       *Instance
	articles map[int]bool
	stored   map[int]int // units of each article
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{Line: p.number, Text: fmt.Sprintf(format, args...)}
}

// next is the next line that is not empty.
func (p *parser) next(awaited string) (string, error) {
	for p.lines.Scan() {
		p.number++
		if line := strings.TrimSpace(p.lines.Text()); line != "" {
			return line, nil
		}
	}
	switch err := p.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		p.number++
		return "", p.fail("longer than any line of the format")
	case err != nil:
		return "", fmt.Errorf("read an instance: %w", err)
	}
	return "", p.fail("the file ends where %s should follow", awaited)
}

const articleSection = "ARTICLE_SECTION"

// header reads what comes before the sections, in any order.
func (p *parser) header() error {
	fields := p.fields()
	missing := make([]string, 0, len(fields))
	for key := range fields {
		missing = append(missing, key)
	}
	for {
		line, err := p.next(articleSection)
		if err != nil {
			return err
		}
		if line == articleSection {
			break
		}
		key, value, found := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		read, known := fields[key]
		switch at := slices.Index(missing, key); {
		case !found:
			return p.fail("%q is not a key, a colon and a value", line)
		case !known:
			return p.fail("%q is no key of the format", key)
		case at < 0:
			return p.fail("%s is there twice", key)
		default:
			missing = slices.Delete(missing, at, at+1)
		}
		if err := read(value); err != nil {
			return p.fail("%s: %v", key, err)
		}
	}
	slices.Sort(missing)
	for _, key := range missing {
		if key != "NAME" && key != "COMMENT" {
			return p.fail("%s is missing before %s", strings.Join(missing, ", "), articleSection)
		}
	}
	if p.in.DepotAisle >= p.in.Aisles {
		return p.fail("the depot is at aisle %d of %d; the first is 0", p.in.DepotAisle, p.in.Aisles)
	}
	return nil
}

// fields is how the value of each key is read.
func (p *parser) fields() map[string]func(string) error {
	in := p.in
	return map[string]func(string) error{
		"NAME":    func(v string) error { in.Name = v; return nil },
		"COMMENT": func(string) error { return nil },
		"TYPE": func(v string) error {
			_, err := oneOf(v, "Single_picker_routing", "Single_picker_routing_with_scattered_storage")
			return err
		},
		"LAYOUT": func(v string) error {
			i, err := oneOf(v, "single-block", "two-block")
			in.Blocks = i + 1
			return err
		},
		"DEPOT_LOCATION": func(v string) error {
			i, err := oneOf(v, "bottom", "top")
			in.DepotTop = i == 1
			return err
		},
		"NUM_AISLES":                      whole(&in.Aisles, 1, mostAisles),
		"NUM_CELLS":                       whole(&in.Cells, 1, mostCells),
		"DEPOT_AISLE":                     whole(&in.DepotAisle, 0, mostAisles),
		"DISTANCE_AISLE_TO_AISLE":         distance(&in.AisleToAisle, 1),
		"DISTANCE_CELL_TO_CELL":           distance(&in.CellToCell, 1),
		"DISTANCE_TOP_TO_CELL":            distance(&in.TopToCell, 1),
		"DISTANCE_BOTTOM_TO_CELL":         distance(&in.BottomToCell, 1),
		"DISTANCE_TOP_OR_BOTTOM_TO_DEPOT": distance(&in.ToDepot, 0),
	}
}

func oneOf(v string, allowed ...string) (int, error) {
	i := slices.Index(allowed, v)
	if i < 0 {
		return 0, fmt.Errorf("%q is none of %s", v, strings.Join(allowed, ", "))
	}
	return i, nil
}

func whole(into *int, least, most int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", v)
		}
		if n < least || n > most {
			return fmt.Errorf("%d is not from %d to %d", n, least, most)
		}
		*into = n
		return nil
	}
}

// distance reads units with up to three decimals.
func distance(into *int64, least int64) func(string) error {
	return func(v string) error {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		scaled := math.Round(f * Unit)
		switch {
		case !(f >= 0 && f <= mostUnits) || scaled < float64(least):
			return fmt.Errorf("%s is too little or too much for a distance", v)
		case math.Abs(scaled-f*Unit) > 1e-6*max(1, scaled):
			return fmt.Errorf("%s has more than three decimals", v)
		}
		*into = int64(scaled)
		return nil
	}
}

// readArticles reads the section of which only the identities matter.
func (p *parser) readArticles() error {
	return p.rows("NUM_ARTICLES", []string{"ID"}, func(v []int) error {
		if p.articles[v[0]] {
			return p.fail("article %d is there twice", v[0])
		}
		p.articles[v[0]] = true
		return nil
	})
}

func (p *parser) readLocations() error {
	if err := p.literal("SKU_SECTION"); err != nil {
		return err
	}
	return p.rows("NUM_SKUS", []string{"ID", "AISLE", "CELL", "QUANTITY", "LEFT_RIGHT_HAND_SIDE"}, func(v []int) error {
		l := Location{Article: v[0], Aisle: v[1], Cell: v[2], Quantity: v[3]}
		switch {
		case !p.articles[l.Article]:
			return p.fail("article %d is not in %s", l.Article, articleSection)
		case l.Aisle >= p.in.Aisles:
			return p.fail("aisle %d of %d; the first is 0", l.Aisle, p.in.Aisles)
		case l.Cell >= p.in.Cells:
			return p.fail("cell %d of %d; the first is 0", l.Cell, p.in.Cells)
		case l.Quantity == 0:
			return p.fail("nothing of article %d lies there", l.Article)
		}
		p.in.Locations = append(p.in.Locations, l)
		p.stored[l.Article] += l.Quantity
		return nil
	})
}

func (p *parser) readOrder() error {
	if err := p.literal("ORDER_SECTION"); err != nil {
		return err
	}
	ordered := map[int]bool{}
	return p.rows("NUM_ARTICLES", []string{"ID", "QUANTITY"}, func(v []int) error {
		l := Line{Article: v[0], Quantity: v[1]}
		switch {
		case !p.articles[l.Article]:
			return p.fail("article %d is not in %s", l.Article, articleSection)
		case ordered[l.Article]:
			return p.fail("article %d is ordered twice", l.Article)
		case l.Quantity == 0:
			return p.fail("nothing of article %d is ordered", l.Article)
		case l.Quantity > p.stored[l.Article]:
			return p.fail("%d units of article %d are ordered, %d are stored", l.Quantity, l.Article, p.stored[l.Article])
		}
		ordered[l.Article] = true
		p.in.Order = append(p.in.Order, l)
		return nil
	})
}

func (p *parser) literal(word string) error {
	line, err := p.next(word)
	if err != nil {
		return err
	}
	if line != word {
		return p.fail("%q where %s should follow", line, word)
	}
	return nil
}

// rows reads how many rows a section has, and the rows: names with numbers.
func (p *parser) rows(counter string, names []string, add func([]int) error) error {
	line, err := p.next(counter)
	if err != nil {
		return err
	}
	key, value, _ := strings.Cut(line, ":")
	if strings.TrimSpace(key) != counter {
		return p.fail("%q where %s should follow", line, counter)
	}
	var count int
	if err := whole(&count, 0, mostUnits)(strings.TrimSpace(value)); err != nil {
		return p.fail("%s: %v", counter, err)
	}
	for i := range count {
		line, err := p.next(fmt.Sprintf("row %d of %d", i+1, count))
		if err != nil {
			return err
		}
		row, err := numbers(line, names)
		if err != nil {
			return p.fail("row %d of %d: %v", i+1, count, err)
		}
		if err := add(row); err != nil {
			return err
		}
	}
	return nil
}

// numbers reads a row such as "ID 3 QUANTITY 1". The side of the aisle, which
// costs no way, becomes 0.
func numbers(line string, names []string) ([]int, error) {
	words := strings.Fields(line)
	if len(words) != 2*len(names) {
		return nil, fmt.Errorf("%q is not %s, each with its value", line, strings.Join(names, ", "))
	}
	out := make([]int, len(names))
	for i, name := range names {
		if words[2*i] != name {
			return nil, fmt.Errorf("%q where %s should follow", words[2*i], name)
		}
		read := whole(&out[i], 0, mostUnits)
		if name == "LEFT_RIGHT_HAND_SIDE" {
			read = func(v string) error { _, err := oneOf(v, "left", "right"); return err }
		}
		if err := read(words[2*i+1]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

// end reads the last line.
func (p *parser) end() error {
	if err := p.literal("EOF"); err != nil {
		return err
	}
	for p.lines.Scan() {
		p.number++
		if strings.TrimSpace(p.lines.Text()) != "" {
			return p.fail("something follows EOF")
		}
	}
	if err := p.lines.Err(); err != nil {
		return fmt.Errorf("read an instance: %w", err)
	}
	return nil
}
