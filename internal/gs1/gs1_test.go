package gs1

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func day(year int, month time.Month, d int) time.Time {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
}

// The first is the specifications' own example of a GTIN with a lot; the SSCC and
// the GTIN of the second group are those of https://www.gs1.org/services/check-digit-calculator
// and https://www.gs1.org/standards/barcodes/ean-upc.
func TestParse_ReadsElementStrings(t *testing.T) {
	t.Parallel()
	whole := []Element{
		{AI: "01", Value: "09501101530003"},
		{AI: "17", Value: "140704", Date: day(2014, 7, 4)},
		{AI: "10", Value: "AB-123"},
	}
	for name, c := range map[string]struct {
		scan string
		want []Element
	}{
		"GS1-128":                         {"]C1010950110153000317140704" + "10AB-123", whole},
		"GS1 DataMatrix":                  {"]d2010950110153000317140704" + "10AB-123", whole},
		"GS1 QR":                          {"]Q3010950110153000317140704" + "10AB-123", whole},
		"GS1 DataBar":                     {"]e0010950110153000317140704" + "10AB-123", whole},
		"no identifier":                   {"010950110153000317140704" + "10AB-123", whole},
		"line end of a scanner":           {"010950110153000317140704" + "10AB-123\r\n", whole},
		"FNC1 in the first place":         {"\x1d010950110153000317140704" + "10AB-123", whole},
		"FNC1 where none is needed":       {"]C10109501101530003\x1d17140704\x1d10AB-123\x1d", whole},
		"human-readable":                  {"(01)09501101530003(17)140704(10)AB-123", whole},
		"human-readable, spaced":          {"(01) 09501101530003 (17) 140704 (10) AB-123", whole},
		"lot, then serial":                {"]d20109501101530003" + "10AB-123\x1d21S/1", []Element{whole[0], whole[2], {AI: "21", Value: "S/1"}}},
		"FNC1 alone tells that it is GS1": {"10AB-123\x1d21S/1", []Element{whole[2], {AI: "21", Value: "S/1"}}},
		"SSCC":                            {"00376104250021234569", []Element{{AI: "00", Value: "376104250021234569"}}},
		"content and count":               {"0206291041500213" + "3724\x1d10X", []Element{{AI: "02", Value: "06291041500213"}, {AI: "37", Value: "24"}, {AI: "10", Value: "X"}}},
		"brackets within a lot":           {"(10)A(b)C", []Element{{AI: "10", Value: "A(b)C"}}},
		"the same twice":                  {"]C10109501101530003" + "0109501101530003", []Element{whole[0], whole[0]}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(c.scan, now)
			require.NoError(t, err)
			require.Equal(t, Elements, got.Form)
			require.Equal(t, c.want, got.Elements)
		})
	}
}

func TestParse_HandsOutWhatAWarehouseAsksFor(t *testing.T) {
	t.Parallel()
	code, err := Parse("]C1010950110153000317280200"+"10AB-123\x1d21S1\x1d37012", now)
	require.NoError(t, err)
	require.Equal(t, "09501101530003", code.GTIN)
	require.Equal(t, "AB-123", code.Lot())
	require.Equal(t, "S1", code.Serial())
	require.Equal(t, day(2028, 2, 29), code.Expiry())
	count, ok := code.Count()
	require.True(t, ok)
	require.Equal(t, 12, count)
	require.Equal(t, "010950110153000317280200"+"10AB-123\x1d21S1\x1d37012", code.Text)

	code, err = Parse("B-01-02", now)
	require.NoError(t, err)
	require.Empty(t, code.Lot()+code.Serial()+code.GTIN)
	require.Zero(t, code.Expiry())
	_, ok = code.Count()
	require.False(t, ok)
}

func TestParse_RecognizesBareGTINs(t *testing.T) {
	t.Parallel()
	for scan, want := range map[string]string{
		"96385074":          "00000096385074", // EAN-8
		"036000291452":      "00036000291452", // UPC-A
		"6291041500213":     "06291041500213", // EAN-13
		"]E06291041500213":  "06291041500213",
		"]E496385074":       "00000096385074",
		"]I109501101530003": "09501101530003", // ITF-14
		"7801234567894\n":   "07801234567894",
	} {
		code, err := Parse(scan, now)
		require.NoError(t, err, scan)
		require.Equal(t, Item, code.Form, scan)
		require.Equal(t, want, code.GTIN, scan)
		require.Empty(t, code.Elements)
	}
}

func TestParse_LeavesTheRestPlain(t *testing.T) {
	t.Parallel()
	for _, scan := range []string{
		"", "A-01-02-3", "6291041500214", "12345", "ñandú", "01J9ZK5M3X8Q2T7V4W6Y0ABCDE",
		"0109501101530004",    // the check digit is wrong, so it is no GTIN in an element string
		"]C00109501101530003", // the scanner says: Code 128, not GS1-128
		"(1)23", "10AB-123", "]", "]C", "POL|L-77",
	} {
		code, err := Parse(scan, now)
		require.NoError(t, err, scan)
		require.Equal(t, Plain, code.Form, scan)
		require.Empty(t, code.GTIN, scan)
	}
}

func TestParse_RefusesAndNamesTheAI(t *testing.T) {
	t.Parallel()
	for scan, want := range map[string]string{
		"]C1":                                "it is empty",
		"]C1\x1d":                            "it is empty",
		"]C10109501101530004":                "AI 01: the check digit of 09501101530004 is wrong",
		"]C1010950110153":                    `AI 01: "0950110153" has 10 characters, must have 14`,
		"]C101095011015300AB":                `AI 01: "095011015300AB" must be digits`,
		"]C1010950\x1d1101530003":            `AI 01: "0950" has 4 characters, must have 14`,
		"]C10109501101530003" + "3103000123": "AI 3103 is not known here",
		"0109501101530003" + "3103000123":    "AI 3103 is not known here",
		"(01)09501101530003(3103)000123":     "AI 3103 is not known here",
		"]C124012":                           "AI 240 is not known here",
		"]C199X":                             "AI 99 is not known here",
		"]C131":                              `AI "31" is not known here`,
		"]C1(01)":                            `AI "(0" is not known here`,
		"]C11":                               `AI "1" is not known here`,
		"(100)A":                             "AI 100 is not known here",
		"(10)A(99)B":                         "AI 99 is not known here",
		"(10)":                               `AI 10: "" has 0 characters, must have 1 to 20`,
		"]C110":                              `AI 10: "" has 0 characters, must have 1 to 20`,
		"]C110A\x1d\x1d21B":                  `AI "\x1d2" is not known here`,
		"]C110" + strings.Repeat("A", 21):    `AI 10: "AAAAAAAAAAAAAAAAAAAAA" has 21 characters, must have 1 to 20`,
		"]C110A B":                           `AI 10: "A B" has a character that GS1 doesn't allow, ' '`,
		"]C110A~B":                           `AI 10: "A~B" has a character that GS1 doesn't allow, '~'`,
		"]C110AB\x1d10AC":                    `AI 10 has two values, "AB" and "AC"`,
		"]C117261301":                        "AI 17: 261301 is no date (YYMMDD)",
		"]C117260230":                        "AI 17: 260230 is no date (YYMMDD)",
		"]C117260001":                        "AI 17: 260001 is no date (YYMMDD)",
		"]C137123456789":                     `AI 37: "123456789" has 9 characters, must have 1 to 8`,
		"]C137-1":                            `AI 37: "-1" must be digits`,
		"]C100376104250021234568":            "AI 00: the check digit of 376104250021234568 is wrong",
	} {
		code, err := Parse(scan, now)
		require.EqualError(t, err, "read GS1 code: "+want, "%q", scan)
		require.Equal(t, Plain, code.Form)
		require.Equal(t, strings.TrimPrefix(scan, "]C1"), code.Text, "the text is there to be looked up")
	}
}

func TestParse_TheCenturyFollowsTheYearOfReading(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		year   int
		yymmdd string
		want   time.Time
	}{
		{2026, "760101", day(2076, 1, 1)}, // 50 ahead
		{2026, "770101", day(1977, 1, 1)}, // 51 ahead: the century before
		{2026, "000101", day(2000, 1, 1)},
		{2060, "110101", day(2011, 1, 1)}, // 49 behind
		{2060, "100101", day(2110, 1, 1)}, // 50 behind: the century after
		{2060, "990101", day(2099, 1, 1)},
		{1999, "010131", day(2001, 1, 31)},
		{2026, "280200", day(2028, 2, 29)},
		{2026, "270200", day(2027, 2, 28)},
		{2026, "261200", day(2026, 12, 31)},
	} {
		code, err := Parse("]C117"+c.yymmdd, day(c.year, 6, 1))
		require.NoError(t, err)
		require.Equal(t, c.want, code.Expiry(), "%s read in %d", c.yymmdd, c.year)
	}
}

func TestSameGTIN_IgnoresLeadingZeros(t *testing.T) {
	t.Parallel()
	require.True(t, SameGTIN("6291041500213", "06291041500213"))
	require.True(t, SameGTIN("036000291452", "0036000291452"))
	require.True(t, SameGTIN("96385074", "00000096385074"))
	require.False(t, SameGTIN("6291041500213", "7801234567894"))
	require.False(t, SameGTIN("6291041500214", "6291041500214"), "a wrong check digit")
	require.False(t, SameGTIN("", ""))
	require.False(t, SameGTIN("629104150021x", "629104150021x"))
}

func TestEncode_EndsValuesOfVariableLengthWithFNC1(t *testing.T) {
	t.Parallel()
	elements := []Element{
		{AI: "01", Value: "09501101530003"}, On("17", day(2027, 7, 4)),
		{AI: "10", Value: "AB-123"}, {AI: "37", Value: "12"},
	}
	payload, err := Encode(elements, now)
	require.NoError(t, err)
	require.Equal(t, "010950110153000317270704"+"10AB-123\x1d3712", payload)
	require.Equal(t, "(01)09501101530003(17)270704(10)AB-123(37)12", HumanReadable(elements))
}

func TestEncode_RefusesWhatWouldBeReadOtherwise(t *testing.T) {
	t.Parallel()
	for want, elements := range map[string][]Element{
		"no element":                                                     nil,
		`AI "1" is not known here`:                                       {{AI: "1", Value: "A"}},
		`AI "101" is not known here`:                                     {{AI: "101", Value: "A"}},
		"AI 17: 2090-01-01 would be read as 1990-01-01":                  {On("17", day(2090, 1, 1))},
		"AI 01: the check digit of 09501101530004 is wrong":              {{AI: "01", Value: "09501101530004"}},
		`AI 10 has two values, "A" and "B"`:                              {{AI: "10", Value: "A"}, {AI: "10", Value: "B"}},
		`AI 10: "a\x1db" has a character that GS1 doesn't allow, '\x1d'`: {{AI: "10", Value: "a\x1db"}},
	} {
		_, err := Encode(elements, now)
		require.EqualError(t, err, "write GS1 code: "+want)
	}
}

// anyElements draws what Encode must take: every AI at most once.
func anyElements() *rapid.Generator[[]Element] {
	const set82 = `!"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz`
	of := func(t *rapid.T, characters string, least, most int) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte(characters)), least, most).Draw(t, "value"))
	}
	return rapid.Custom(func(t *rapid.T) []Element {
		var elements []Element
		for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(formats), 1, len(formats), func(f format) string { return f.ai }).Draw(t, "formats") {
			switch f.kind {
			case text:
				elements = append(elements, Element{AI: f.ai, Value: of(t, set82, f.least, f.most)})
			case date:
				elements = append(elements, On(f.ai, day(1977, 1, 1).AddDate(0, 0, rapid.IntRange(0, 100*365).Draw(t, "day"))))
			case number:
				elements = append(elements, Element{AI: f.ai, Value: of(t, "0123456789", f.least, f.most)})
			case key:
				value := of(t, "0123456789", f.least-1, f.least-1)
				for check := '0'; check <= '9'; check++ {
					if checkDigitRight(value + string(check)) {
						elements = append(elements, Element{AI: f.ai, Value: value + string(check)})
					}
				}
			}
		}
		return elements
	})
}

func TestEncode_IsReadBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		elements := anyElements().Draw(t, "elements")
		payload, err := Encode(elements, now)
		require.NoError(t, err)
		code, err := Parse("]C1"+payload, now)
		require.NoError(t, err)
		require.Equal(t, elements, code.Elements)
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "]C1", "]d2010950110153000317140704" + "10AB-123\x1d37012", "(01)09501101530003(10)AB", "6291041500213",
		"00376104250021234569", "\x1d\x1d", "]Q3(", "(99)", "]C117261301", "ñ\xff", "]C131",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, scan string) {
		code, err := Parse(scan, now)
		if err != nil || code.Form != Elements {
			require.Empty(t, code.Elements)
			return
		}
		payload, err := Encode(code.Elements, now)
		require.NoError(t, err)
		again, err := Parse("]d2"+payload, now)
		require.NoError(t, err)
		require.Equal(t, code.Elements, again.Elements)
	})
}
