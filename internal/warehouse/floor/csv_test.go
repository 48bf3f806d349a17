package floor_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/problem"
	"justlogistics/internal/warehouse/floor"
)

func read(p *floor.Plan, file string) ([]floor.Bin, error) {
	var bins []floor.Bin
	err := p.ReadCSV(strings.NewReader(file), func(b floor.Bin) error {
		bins = append(bins, b)
		return nil
	})
	return bins, err
}

func TestReadCSV_TakesColumnsInAnyOrderAsSpreadsheetsWriteThem(t *testing.T) {
	t.Parallel()
	p := parse(t, twoBlocks)
	want, err := p.Accept([]floor.BinInput{
		{Code: "A-01-B", Zone: "Ropa", MaxUnits: 40},
		{Code: "jaula", Zone: "Operación", Kind: floor.Quarantine, XMM: mm(5600), YMM: mm(3000), LotRule: floor.OneSKU},
	})
	require.NoError(t, err)
	for name, file := range map[string]string{
		"plain":                   "code,zone,kind,x_mm,y_mm,max_units,lot_rule\nA-01-B,Ropa,,,,40,\njaula,Operación,quarantine,5600,3000,,one_sku\n",
		"a spreadsheet's":         "\ufeffZone;Code;max_units;kind;lot_rule;y_mm;X_MM\r\nRopa; A-01-B ;40;;;;\r\n;;;;;;\r\n\r\nOperación;jaula;;quarantine;one_sku;3000;5600\r\n",
		"quoted, without an end":  "\"code\",\"zone\",\"kind\",\"x_mm\",\"y_mm\",\"max_units\",\"lot_rule\"\n\"A-01-B\",\"Ropa\",\"pick\",,,\"40\",mixed\njaula,Operación,quarantine,5600,3000,0,one_sku",
		"with empty lines before": "\n\r\ncode;zone;max_units;kind;x_mm;y_mm;lot_rule\nA-01-B;Ropa;40;;;;\njaula;Operación;;quarantine;5600;3000;one_sku",
	} {
		bins, err := read(p, file)
		require.NoError(t, err, name)
		require.Equal(t, want, bins, name)
	}
}

func TestReadCSV_NamesEveryFaultWithItsLine(t *testing.T) {
	t.Parallel()
	bins, err := read(parse(t, twoBlocks), "code,zone,kind,x_mm,y_mm,max_units\n"+
		"A-01-A,,,,,\n"+
		"A-99-A,,,,,\n"+
		"A-01-A,,,,,\n"+
		"jaula,Patio,cage,5600,3000,-1\n"+
		"\n"+
		"x,,,1.5,\"3000\",1.000\n"+
		"y,,\n"+
		"z\"z,,,,,\n"+
		"lejos,,,99000,3000,\n"+
		"Operaci\xf3n,,,5600,3000,\n")
	require.Equal(t, []string{
		"line 3.code unreachable", "line 4.code duplicate", "line 5.zone unknown_zone", "line 5.kind invalid", "line 5.max_units out_of_range",
		"line 7.x_mm not_a_number", "line 7.max_units not_a_number", "line 8 wrong_width", "line 9 not_csv", "line 10.x_mm unreachable", "line 11.code not_utf8",
	}, faultsOf(t, err))
	require.ErrorContains(t, err, "listed already, at line 2")
	require.Len(t, bins, 1, "none after the first fault")
}

func TestReadCSV_RefusesAFileWithoutTheRightColumns(t *testing.T) {
	t.Parallel()
	p := parse(t, graph)
	for file, want := range map[string]string{
		"":                         "line 1 required",
		"\ufeff\n":                 "line 1 required",
		"zone,node\nSala,mesa\n":   "line 1 required",
		"code,bin\nx,y\n":          "line 1 unknown_column",
		"code,node,code\nx,mesa,x": "line 1 duplicate",
		"\"code\nx,mesa":           "line 2 not_csv",
		"code\tnode\nx\tmesa\n":    "line 1 unknown_column",
	} {
		_, err := read(p, file)
		require.Equal(t, []string{want}, faultsOf(t, err), "%q", file)
	}
	bins, err := read(p, "code,node\n")
	require.NoError(t, err)
	require.Empty(t, bins)
}

func TestReadCSV_ListsAtMostAHundredFaultsAndReadsNoFurther(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("code,node\n")
	for i := range 10_000 {
		fmt.Fprintf(&file, "bin-%d,nowhere\n", i)
	}
	r := strings.NewReader(file.String())
	faults := faultsOf(t, parse(t, graph).ReadCSV(r, nil))
	require.Len(t, faults, 101)
	require.Equal(t, "line 101.node unreachable", faults[99])
	require.Equal(t, "(more) too_many", faults[100])
	require.Positive(t, r.Len(), "the rest was not read")
}

func TestReadCSV_HandsOverBinsWhileItReads(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	got := make(chan string)
	done := make(chan error, 1)
	go func() {
		done <- parse(t, graph).ReadCSV(r, func(b floor.Bin) error { got <- b.Code; return nil })
	}()
	go func() {
		_, _ = fmt.Fprint(w, "code,node\n")
		for i := range 5000 {
			_, _ = fmt.Fprintf(w, "bin-%d,mesa\n", i)
		}
		_ = w.CloseWithError(errors.New("the line went dead"))
	}()
	for i := range 5000 {
		require.Equal(t, fmt.Sprintf("bin-%d", i), <-got)
	}
	require.ErrorContains(t, <-done, "the line went dead")
}

func TestReadCSV_ReturnsTheErrorsOfOthersAsTheyAre(t *testing.T) {
	t.Parallel()
	p, full := parse(t, graph), errors.New("disk full")
	require.ErrorIs(t, p.ReadCSV(strings.NewReader("code,node\na,mesa\nb,mesa\n"), func(floor.Bin) error { return full }), full)
	require.ErrorIs(t, p.ReadCSV(iotest.ErrReader(full), nil), full)
	require.ErrorIs(t, p.ReadCSV(io.MultiReader(strings.NewReader("code,node\n"), iotest.ErrReader(full)), nil), full)
}

func TestWriteCSV_TellsWhenItCanNot(t *testing.T) {
	t.Parallel()
	require.Error(t, floor.WriteCSV(brokenWriter{}, parse(t, twoBlocks).Bins()))
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzReadCSV_WhatIsAcceptedComesBackTheSame(f *testing.F) {
	for _, seed := range []string{
		"code,zone,kind,x_mm,y_mm,z_mm,node,max_units,max_weight_grams,max_volume_mm3,lot_rule\nA-01-B,Ropa,pick,800,1500,0,,1,2,3,one_lot\n",
		"\ufeffcode;node\r\nx;mesa\r\n", "code\nA-01-A\nB-02-C\n", "code,x_mm,y_mm\nq,5600,-3\n", "code\n\"", "a,b;c\n", "code\n\xff\n",
	} {
		f.Add([]byte(seed))
	}
	plans := []*floor.Plan{parse(f, twoBlocks), parse(f, graph)}
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, p := range plans {
			bins, err := read(p, string(file))
			if err != nil {
				refusal, ok := problem.As(err)
				require.True(t, ok, "%v", err)
				require.LessOrEqual(t, len(refusal.Fields), 101)
				continue
			}
			requireAccepted(t, p, bins)
			var written bytes.Buffer
			require.NoError(t, floor.WriteCSV(&written, bins))
			again, err := read(p, written.String())
			require.NoError(t, err)
			require.Equal(t, bins, again)
		}
	})
}
