package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/shipping"
	"justlogistics/internal/shipping/wire"
)

func TestText_ReadsNumbersInEveryForm(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct {
		whole, pesos int64
	}{
		`3990`: {3990, 3990}, `"3990"`: {3990, 3990}, `3990.0`: {3990, 3990}, `"2.2E8"`: {220000000, 220000000}, `220063587`: {220063587, 220063587},
		`3990.2`: {0, 3991}, `0`: {0, 0}, `"0.00"`: {0, 0}, `null`: {0, 0}, `""`: {0, 0}, `"$ 3.990"`: {0, 0}, `-5`: {0, 0}, `1e99`: {0, 0}, `{"a":1}`: {0, 0}, `true`: {0, 0},
	} {
		var text wire.Text
		require.NoError(t, json.Unmarshal([]byte(raw), &text), raw)
		whole, _ := text.Whole()
		pesos, priced := text.Pesos()
		require.Equal(t, want.whole, whole, raw)
		require.Equal(t, want.pesos, pesos, raw)
		require.Equal(t, want.pesos > 0, priced, raw)
	}
}

func TestKilos_AreExact(t *testing.T) {
	t.Parallel()
	for grams, want := range map[int]string{0: "0", 5: "0.005", 300: "0.3", 1000: "1", 1500: "1.5", 12345: "12.345"} {
		require.Equal(t, want, wire.Kilos(grams))
	}
	require.Equal(t, 31, wire.Centimetres(301))
	require.Equal(t, 30, wire.Centimetres(300))
	require.Equal(t, 1, wire.Centimetres(0))
}

func TestFormatOf_TellsLabelsByTheirFirstBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]shipping.Format{
		"%PDF-1.4\n":                shipping.PDF,
		"\xef\xbb\xbf\r\n%PDF-1.7":  shipping.PDF,
		"\xff\xd8\xff\xe0":          shipping.JPEG,
		"\x89PNG\r\n\x1a\n":         shipping.PNG,
		"^XA^FO1,1^XZ":              shipping.ZPL,
		"\n^XA":                     shipping.ZPL,
		"CT~~CD,~CC^~CT~\r\n^XA^XZ": shipping.ZPL,
		"~TA000~JSN^XA":             shipping.ZPL,
		"\nN\nq800\nP1\n":           shipping.EPL,
		"I8,A,001\n\nN\n":           shipping.EPL,
		"":                          "",
		"<html>":                    "",
		"Not a label\n":             "",
		`{"error":1}`:               "",
	} {
		got, known := wire.FormatOf([]byte(text))
		require.Equal(t, want, got, "%q", text)
		require.Equal(t, want != "", known)
	}
	l, known := wire.Label("data:application/pdf;base64," + base64.StdEncoding.EncodeToString([]byte("%PDF-1.4")))
	require.True(t, known)
	require.Equal(t, shipping.Label{Format: shipping.PDF, Data: []byte("%PDF-1.4")}, l)
	_, known = wire.Label("!!")
	require.False(t, known)
}

func TestMoment_ReadsBothWaysOfWritingADateInChilesTime(t *testing.T) {
	t.Parallel()
	// In summer Chile is three hours behind, in winter four.
	summer := time.Date(2026, 1, 15, 13, 30, 5, 0, time.UTC)
	for _, text := range []string{"2026-01-15T10:30:05", "2026-01-15 10:30:05", "15-01-2026T10:30:05", "15/01/2026 10:30:05", "2026-01-15T13:30:05Z", "2026-01-15T10:30:05-03:00"} {
		require.Equal(t, summer, wire.Moment(text), text)
	}
	require.Equal(t, time.Date(2026, 7, 15, 14, 30, 0, 0, time.UTC), wire.Moment("15-07-2026 10:30"))
	for _, text := range []string{"", "hoy", "0001-01-01T00:00:00", "2026-13-01"} {
		require.True(t, wire.Moment(text).IsZero(), text)
	}
	require.Equal(t, time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), wire.Day("15-01-2026 23:59"))
}

func TestOrdered_SortsByTimeAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.SliceOfN(rapid.IntRange(1, 5), 0, 12).Draw(t, "hours")
		var events []shipping.Event
		for i, h := range hours {
			events = append(events, shipping.Event{At: time.Unix(int64(h)*3600, 0), Code: string(rune('a' + i))})
		}
		for i, e := range wire.Ordered(events) {
			if i > 0 {
				before := events[i-1]
				require.False(t, e.At.Before(before.At))
				require.True(t, e.At.After(before.At) || e.Code > before.Code, "those of one moment stay as they came")
			}
		}
	})
}

func TestWords_LeaveOutWhoAndWhere(t *testing.T) {
	t.Parallel()
	b := shipping.Booking{
		To:       shipping.Place{Street: "Los Carrera", Number: "1234"},
		Receiver: shipping.Contact{Name: "Ana Belén Soto", Phone: "+56912345678", Email: "ana@example.cl", RUT: "11.111.111-1"},
	}
	got := wire.Words("Dirección LOS CARRERA 1234 de SOTO, Ana Belen (ana@example.cl, 11.111.111-1, +56912345678)\n no existe", b)
	for _, private := range []string{"CARRERA", "1234", "SOTO", "Belen", "@", "11.111", "5691"} {
		require.NotContains(t, got, private)
	}
	require.Contains(t, got, "no existe")
}

func TestComuna_MatchesByNameAndRegion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, region, want string }{
		{"PUERTO NATALES", "MA", "Natales"}, {"san pedro", "RM", "San Pedro"}, {"SAN PEDRO DE LA PAZ", "BI", "San Pedro de la Paz"}, {"AISEN", "XI", "Aysén"},
		{"San Pedro", "BI", ""}, {"Renaca", "VS", ""},
	} {
		got, known := wire.Comuna(c.name, c.region)
		require.Equal(t, c.want != "", known, c.name)
		require.Equal(t, c.want, got.Name)
	}
}

func FuzzFormatOf_NeverPanics(f *testing.F) {
	f.Add([]byte("^XA"))
	f.Add([]byte("~TA000^XA"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, known := wire.FormatOf(raw)
		l, label := wire.Label(base64.StdEncoding.EncodeToString(raw))
		require.Equal(t, known, label)
		if known {
			require.Equal(t, raw, l.Data)
		}
	})
}
