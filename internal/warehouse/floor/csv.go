package floor

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// BinColumns are the columns of a file of bins, as WriteCSV writes them.
var BinColumns = []string{"code", "zone", "kind", "x_mm", "y_mm", "z_mm", "node", "max_units", "max_weight_grams", "max_volume_mm3", "lot_rule"}

// ReadCSV reads bins from a file and hands each that is right to take, in the
// order of the file and before it reads the next.
//
// The first line names the columns, in any order and only those that are
// needed; the separator is a comma or a semicolon, as the first line has it. A
// byte order mark, lines that end in CR LF and empty lines do no harm. A cell
// that is empty says what a BinInput says with the field left out.
//
// What is wrong comes as one problem.Error that names the lines, up to a hundred
// faults. From the first fault on, nothing is handed to take any more; what it
// got before is worth nothing then, so a caller calls ReadCSV in a transaction.
// An error of take or of the reader ends the reading and is returned as it is.
func (p *Plan) ReadCSV(r io.Reader, take func(Bin) error) error {
	c, err := openCSV(r)
	if err != nil {
		return err
	}
	var f faults
	columns, err := readHeader(c, &f)
	if err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	in, count := p.newIntake(), 0
	for !f.full() {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if err := noteSyntax(&f, err); err != nil {
				return err
			}
			continue
		}
		at, input, ok := readRow(c, &f, columns, cells)
		if !ok {
			continue
		}
		if count++; count > mostBins {
			f.add(at, "too_many", "a warehouse has at most %d bins", mostBins)
			break
		}
		bin, ok := in.take(&f, at, input)
		if !ok || len(f.fields) > 0 {
			continue
		}
		if err := take(bin); err != nil {
			return err
		}
	}
	f.more = f.full()
	return f.err()
}

// openCSV skips a byte order mark and looks at the first line for the separator.
func openCSV(r io.Reader) (*csv.Reader, error) {
	buffered := bufio.NewReader(r)
	mark := []byte("\ufeff")
	start, err := buffered.Peek(buffered.Size())
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the bins: %w", err)
	}
	if bytes.HasPrefix(start, mark) {
		if _, err := buffered.Discard(len(mark)); err != nil {
			return nil, fmt.Errorf("read the bins: %w", err)
		}
	}
	c := csv.NewReader(buffered)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	first, _, _ := bytes.Cut(bytes.TrimLeft(bytes.TrimPrefix(start, mark), "\r\n"), []byte("\n"))
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		c.Comma = ';'
	}
	return c, nil
}

func readHeader(c *csv.Reader, f *faults) ([]string, error) {
	cells, err := c.Read()
	if errors.Is(err, io.EOF) {
		f.add("line 1", "required", "the file is empty; its first line names the columns")
		return nil, nil
	}
	if err != nil {
		return nil, noteSyntax(f, err)
	}
	columns := make([]string, 0, len(cells))
	for i, cell := range cells {
		name := strings.ToLower(strings.TrimSpace(cell))
		switch {
		case !slices.Contains(BinColumns, name):
			f.add(lineOf(c, i), "unknown_column", "there is no column %q; the columns are %s", clip(name), strings.Join(BinColumns, ", "))
		case slices.Contains(columns, name):
			f.add(lineOf(c, i), "duplicate", "there are two columns %s", name)
		}
		columns = append(columns, name)
	}
	if len(f.fields) == 0 && !slices.Contains(columns, "code") {
		f.add(lineOf(c, 0), "required", "there is no column code")
	}
	return columns, nil
}

// noteSyntax turns a line that is no CSV into a fault; other errors are the
// reader's.
func noteSyntax(f *faults, err error) error {
	var syntax *csv.ParseError
	if !errors.As(err, &syntax) {
		return fmt.Errorf("read the bins: %w", err)
	}
	f.add(fmt.Sprintf("line %d", syntax.Line), "not_csv", "%v", syntax.Err)
	return nil
}

func lineOf(c *csv.Reader, cell int) string {
	line, _ := c.FieldPos(cell)
	return fmt.Sprintf("line %d", line)
}

// readRow turns the cells of a line into a bin. A line that is empty but for
// separators, as spreadsheets leave them, is none.
func readRow(c *csv.Reader, f *faults, columns, cells []string) (at string, b BinInput, ok bool) {
	blank := true
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
		blank = blank && cells[i] == ""
	}
	if blank {
		return "", b, false
	}
	at = lineOf(c, 0)
	if len(cells) != len(columns) {
		f.add(at, "wrong_width", "it has %d cells, and the first line %d", len(cells), len(columns))
		return at, b, false
	}
	before := len(f.fields)
	for i, cell := range cells {
		if cell == "" {
			continue
		}
		field := at + "." + columns[i]
		if !utf8.ValidString(cell) {
			f.add(field, "not_utf8", "save the file as UTF-8")
			continue
		}
		switch columns[i] {
		case "code":
			b.Code = cell
		case "zone":
			b.Zone = cell
		case "kind":
			b.Kind = BinKind(cell)
		case "node":
			b.Node = cell
		case "lot_rule":
			b.LotRule = LotRule(cell)
		case "x_mm":
			b.XMM = wholeOrNil(f, field, cell)
		case "y_mm":
			b.YMM = wholeOrNil(f, field, cell)
		case "z_mm":
			b.ZMM = wholeOrNil(f, field, cell)
		case "max_units":
			b.MaxUnits = whole(f, field, cell)
		case "max_weight_grams":
			b.MaxWeightGrams = whole(f, field, cell)
		case "max_volume_mm3":
			b.MaxVolumeMM3 = whole(f, field, cell)
		}
	}
	return at, b, len(f.fields) == before
}

func whole(f *faults, field, cell string) int64 {
	n, err := strconv.ParseInt(cell, 10, 64)
	if err != nil {
		f.add(field, "not_a_number", "want a whole number without separators, not %q", clip(cell))
	}
	return n
}

func wholeOrNil(f *faults, field, cell string) *int64 {
	n := whole(f, field, cell)
	return &n
}

// WriteCSV writes bins in the form that ReadCSV reads.
func WriteCSV(w io.Writer, bins []Bin) error {
	c := csv.NewWriter(w)
	if err := c.Write(BinColumns); err != nil {
		return fmt.Errorf("write the bins: %w", err)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, b := range bins {
		err := c.Write([]string{
			b.Code, b.Zone, string(b.Kind), number(b.XMM), number(b.YMM), number(b.ZMM), b.Stop.Node,
			number(b.MaxUnits), number(b.MaxWeightGrams), number(b.MaxVolumeMM3), string(b.LotRule),
		})
		if err != nil {
			return fmt.Errorf("write the bins: %w", err)
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("write the bins: %w", err)
	}
	return nil
}
