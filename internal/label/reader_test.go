package label

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// printed is what a printer makes of a label: our own reading of the commands,
// written from the manual and not from the builder.
type printed struct {
	width, height, copies int // dots
	commands              []string
	texts                 []string
	codes                 []code
	places                []place // of texts and barcodes
}

// place is where something is printed, in dots.
type place struct {
	what                string
	x, y, width, height int
}

func (p place) overlaps(q place) bool {
	return p.x < q.x+q.width && q.x < p.x+p.width && p.y < q.y+q.height && q.y < p.y+p.height
}

// code is a barcode with what a scanner would send, GS as ASCII 29 and FNC1 in
// the first place as the symbology identifier.
type code struct {
	symbology   string
	x, y        int // dots
	width, high int // dots; those of DataMatrix are not computed
	scan        string
}

// command is a prefix, two characters of name (^A has one and a font's name),
// and parameters up to the next prefix.
var command = regexp.MustCompile(`[\^~]([A-Z]{2}|A0)([^\^~]*)`)

// read takes a label apart like a printer: every ^ and ~ begins a command,
// wherever it stands.
func read(t require.TestingT, zpl string) printed {
	var out printed
	var x, y, bar int
	var as, parameters string
	hexadecimal := false
	rest := command.ReplaceAllString(zpl, "")
	require.Empty(t, rest, "outside of commands")
	for _, c := range command.FindAllStringSubmatch(zpl, -1) {
		name, with := c[1], strings.TrimSuffix(c[2], "\n")
		out.commands = append(out.commands, name)
		switch name {
		case "PW":
			out.width = number(t, with)
		case "LL":
			out.height = number(t, with)
		case "PQ":
			out.copies = number(t, with)
		case "FO":
			_, err := fmt.Sscanf(with, "%d,%d", &x, &y)
			require.NoError(t, err)
		case "BY":
			bar = number(t, with)
		case "A0", "BC", "BQ", "BX":
			as, parameters = name, with
		case "FH":
			require.Equal(t, "_", with)
			hexadecimal = true
		case "FD":
			require.True(t, hexadecimal, "every field is escaped")
			data := unescaped(t, with)
			if as == "A0" {
				var high, wide int
				_, err := fmt.Sscanf(parameters, "N,%d,%d", &high, &wide)
				require.NoError(t, err)
				out.texts = append(out.texts, data)
				out.places = append(out.places, place{data, x, y, int(widthOf(data, float64(wide))), high})
			} else {
				c := scanned(t, as, parameters, bar, x, y, data)
				out.codes = append(out.codes, c)
				out.places = append(out.places, place{c.symbology, x, y, c.width, c.high})
			}
		case "FS":
			as, hexadecimal = "", false
		}
	}
	return out
}

func scanned(t require.TestingT, as, parameters string, bar, x, y int, data string) code {
	p := strings.Split(parameters, ",")
	switch as {
	case "BC":
		require.Equal(t, []string{"N", p[1], "N", "N", "N", "N"}, p)
		text, symbols := decode128(t, data)
		return code{symbology: "Code 128", x: x, y: y, width: bar * (11*symbols + 13), high: number(t, p[1]), scan: text}
	case "BQ":
		require.Regexp(t, `^[ML]A,`, data)
		require.Equal(t, []string{"N", "2"}, p[:2])
		// The version that bytes at this level need, ISO/IEC 18004 table 7.
		version := 1
		for _, bytes := range map[byte][]int{'M': {14, 26, 42, 62, 84, 106, 122, 152, 180}, 'L': {17, 32, 53, 78, 106, 134, 154, 192, 230}}[data[0]] {
			if len(data)-3 > bytes {
				version++
			}
		}
		side := number(t, p[2]) * (17 + 4*version)
		return code{symbology: "QR", x: x, y: y, width: side, high: side, scan: data[3:]}
	default:
		require.Equal(t, []string{"N", p[1], "200", "", "", "", "_"}, p)
		return code{symbology: "DataMatrix", x: x, y: y, scan: decodeMatrix(t, data)}
	}
}

// decode128 reads ^BC in mode N: invocation codes and characters.
func decode128(t require.TestingT, data string) (text string, symbols int) {
	var b strings.Builder
	set := byte(0)
	symbols = 1 // the check symbol
	for i := 0; i < len(data); symbols++ {
		if data[i] != '>' {
			if set == 'C' {
				require.Regexp(t, `^[0-9]{2}`, data[i:], "set C has pairs of digits")
				b.WriteString(data[i : i+2])
				i += 2
				continue
			}
			require.Equal(t, byte('B'), set, "no start symbol")
			b.WriteByte(data[i])
			i++
			continue
		}
		require.Less(t, i+1, len(data))
		switch data[i+1] {
		case ':':
			require.Zero(t, i)
			set = 'B'
		case ';':
			require.Zero(t, i)
			set = 'C'
		case '6':
			require.Equal(t, byte('C'), set)
			set = 'B'
		case '5':
			require.Equal(t, byte('B'), set)
			set = 'C'
		case '8':
			if b.Len() == 0 {
				b.WriteString("]C1")
			} else {
				b.WriteByte(0x1d)
			}
		case '0':
			b.WriteByte('>')
		case '<':
			b.WriteByte('^')
		case '=':
			b.WriteByte('~')
		default:
			require.Fail(t, "unknown invocation code", data[i:i+2])
		}
		i += 2
	}
	return b.String(), symbols
}

// decodeMatrix reads ^BX with the underscore as escape character.
func decodeMatrix(t require.TestingT, data string) string {
	require.True(t, strings.HasPrefix(data, "_1"), "a GS1 symbol")
	data = strings.NewReplacer("__", "_", "_1", "\x1d").Replace(data)
	return "]d2" + data[1:]
}

func unescaped(t require.TestingT, data string) string {
	var b strings.Builder
	for i := 0; i < len(data); i++ {
		if data[i] != '_' {
			b.WriteByte(data[i])
			continue
		}
		require.Less(t, i+2, len(data))
		v, err := strconv.ParseUint(data[i+1:i+3], 16, 8)
		require.NoError(t, err)
		b.WriteByte(byte(v))
		i += 2
	}
	return b.String()
}

func number(t require.TestingT, s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

func TestReader_SeesAnInjectedCommand(t *testing.T) {
	t.Parallel()
	got := read(t, "^XA\n^FO1,2^A0N,3,3^FH_^FDa^XZ^XA~JR^FS\n^XZ\n")
	require.Equal(t, []string{"XA", "FO", "A0", "FH", "FD", "XZ", "XA", "JR", "FS", "XZ"}, got.commands)
}
