package cardnumber_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/cardnumber"
)

func lines(parts ...string) []int {
	var s cardnumber.Scanner
	for _, p := range parts {
		if n, err := s.Write([]byte(p)); n != len(p) || err != nil {
			panic("a scanner takes everything")
		}
	}
	return s.Lines()
}

func TestScanner_NamesTheLinesThatCarryACard(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]int{
		"":                              nil,
		"a,b\n1,2\n":                    nil,
		"a\n4111111111111111":           {2},
		"a,\"4111 1111 1111 1111\"\r\n": {1},
		"4111-1111-1111-1111;x\n\n378282246310005\n":                                       {1, 3},
		"a\tXXXX XXXX XXXX 6623,************6623,411111******1111\n":                       nil,
		"4111,1111,1111,1111\n":                                                            nil, // numbers beside each other
		strings.Repeat("x", 5000) + " 4111111111111111 " + strings.Repeat("y", 50):         {1},
		strings.Repeat("x", 4090) + " 4111111111111111 " + strings.Repeat("y", 50):         {1},
		"4\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x00": {1},
	} {
		require.Equal(t, want, lines(text), "%q", text)
	}
	many := lines(strings.Repeat("4111111111111111,4111111111111111\n", 500))
	require.Len(t, many, 20)
	require.Equal(t, 20, many[19])
}

// TestScanner_LetsSettlementFilesPass: dates, commerce codes, ids of ours, order
// numbers, authorization codes, and amounts as large as they may be.
func TestScanner_LetsSettlementFilesPass(t *testing.T) {
	t.Parallel()
	var s cardnumber.Scanner
	write := func(format string, args ...any) {
		_, err := fmt.Fprintf(&s, format, args...)
		require.NoError(t, err)
	}
	write("date,commerce_code,buy_order,authorization_code,kind,amount,currency,fee,reference\n")
	for i := range 5_000 {
		write("2026-11-%02d,597055555532,01JCQZ5Y3N8W2K4T6V7X%06d,%04d,charge,%d,CLP,%d,\n", i%28+1, i, i%10_000, 50+i*7919, i)
		write("2026-11-%02dT16:02:11-03:00,597055555532,ORD-%06d,%06d,refund,999999999999,CLP,,pi_3Q%06dLkdIwHu7ix0%06d\n", i%28+1, i, i, i, i)
		write("2026-11-%02d,,%d,,charge,29970,CLP,,%d\n", i%28+1, 1_300_000_000+i, 98_765_432_100+i)
	}
	require.Empty(t, s.Lines())
}

func TestScanner_FindsTheSameHoweverItIsCut(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"4111111111111111", "4111 1111", " 1111 1111", "c", ",", "\n", "\"", "597055555532", "2026-11-20", "x", "-", strings.Repeat("z", 4000), strings.Repeat("7", 300)})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "pieces"), "")
		var cut []string
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, min(len(rest), 5000)).Draw(t, "bytes")
			cut, rest = append(cut, rest[:n]), rest[n:]
		}
		require.Equal(t, lines(text), lines(cut...))
	})
}

// FuzzScanner: a card in a field of its own is found, whatever stands around.
func FuzzScanner(f *testing.F) {
	f.Add("date,amount\n", "2026,1\n")
	f.Add("\"", "\"\"")
	f.Fuzz(func(t *testing.T, before, after string) {
		require.NotEmpty(t, lines(before+"\n4111111111111111\n"+after))
	})
}
