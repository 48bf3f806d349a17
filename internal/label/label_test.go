package label

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/gs1"
)

var update = flag.Bool("update", false, "write testdata/*.zpl anew")

var (
	today  = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	expiry = time.Date(2027, 7, 4, 0, 0, 0, 0, time.UTC)
	at203  = Print{DPI: 203, Copies: 1}
	at300  = Print{DPI: 300, Copies: 2, Language: English}
)

var (
	bin    = Bin{Code: "A-03-12-2", Warehouse: "Bodega Quilicura"}
	lot    = Lot{SKU: "LECHE-1L", Name: "Leche entera sin lactosa 1 litro, caja de doce", Lot: "L7-2026", Expiry: expiry, GTIN: "7801234567894"}
	pick   = Pick{Order: "JL-100234", Position: 3, Of: 12, SKU: "POL-S-ROJO", Name: "Polera roja S", Bin: "A-03-12-2", Quantity: 4}
	parcel = Parcel{
		Shipment: "shp_01J9ZK5M3X8Q2T7V4W6Y0ABCDE", Order: "JL-100234", Grams: 1250, Warehouse: "Bodega Quilicura",
		Recipient: "María Núñez", Address: []string{"Av. Providencia 1234, depto. 56", "Ñuñoa", "Región Metropolitana"},
	}
)

func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

// samples are the labels of testdata, with what their barcodes must hold.
var samples = map[string]struct {
	zpl   func() (string, error)
	codes []string
}{
	"bin":        {func() (string, error) { return bin.ZPL(at203) }, []string{"Code 128 A-03-12-2", "QR A-03-12-2"}},
	"bin_up_300": {func() (string, error) { return with(bin, func(b *Bin) { b.Arrow = Up }).ZPL(at300) }, []string{"Code 128 A-03-12-2", "QR A-03-12-2"}},
	"bin_down":   {func() (string, error) { return with(bin, func(b *Bin) { b.Arrow = Down }).ZPL(at203) }, []string{"Code 128 A-03-12-2", "QR A-03-12-2"}},
	"lot":        {func() (string, error) { return lot.ZPL(at203, today) }, []string{"Code 128 ]C1010780123456789417270704" + "10L7-2026"}},
	"lot_300":    {func() (string, error) { return lot.ZPL(at300, today) }, []string{"Code 128 ]C1010780123456789417270704" + "10L7-2026"}},
	"lot_long": {func() (string, error) {
		return with(lot, func(o *Lot) { o.Lot = "AB_CD_EF_GH_IJ_KL_MN" }).ZPL(at203, today)
	}, []string{"DataMatrix ]d2010780123456789417270704" + "10AB_CD_EF_GH_IJ_KL_MN"}},
	"lot_without_gtin": {func() (string, error) {
		return with(lot, func(o *Lot) { o.GTIN = "" }).ZPL(at203, today)
	}, []string{"Code 128 LECHE-1L|L7-2026"}},
	"lot_that_gs1_refuses": {func() (string, error) {
		return with(lot, func(o *Lot) { o.Lot = "Año 7" }).ZPL(at203, today)
	}, []string{"QR LECHE-1L|Año 7"}},
	"lot_only_sku": {func() (string, error) { return Lot{SKU: "POL-S-ROJO"}.ZPL(at203, today) }, []string{"Code 128 POL-S-ROJO"}},
	"pick":         {func() (string, error) { return pick.ZPL(at203) }, []string{"Code 128 JL-100234"}},
	"pick_300":     {func() (string, error) { return pick.ZPL(at300) }, []string{"Code 128 JL-100234"}},
	"parcel": {func() (string, error) { return parcel.ZPL(at203) },
		[]string{"QR shp_01J9ZK5M3X8Q2T7V4W6Y0ABCDE", "Code 128 shp_01J9ZK5M3X8Q2T7V4W6Y0ABCDE"}},
	"parcel_300": {func() (string, error) { return parcel.ZPL(at300) },
		[]string{"QR shp_01J9ZK5M3X8Q2T7V4W6Y0ABCDE", "Code 128 shp_01J9ZK5M3X8Q2T7V4W6Y0ABCDE"}},
}

func TestLabels_AreAsInTestdata(t *testing.T) {
	t.Parallel()
	for name, sample := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zpl, err := sample.zpl()
			require.NoError(t, err)
			file := filepath.Join("testdata", name+".zpl")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(zpl), 0o644))
			}
			golden, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(golden), zpl)
		})
	}
}

func TestLabels_TheirBarcodesHoldWhatTheyShould(t *testing.T) {
	t.Parallel()
	for name, sample := range samples {
		zpl, err := sample.zpl()
		require.NoError(t, err)
		label := read(t, zpl)
		var got []string
		for _, c := range label.codes {
			got = append(got, c.symbology+" "+c.scan)
			require.True(t, c.x >= 0 && c.y >= 0 && c.x+c.width <= label.width && c.y+c.high <= label.height, "%s: %v is on the label", name, c)
		}
		require.Equal(t, sample.codes, got, name)
	}
}

func TestLabels_NothingIsPrintedOverSomethingElse(t *testing.T) {
	t.Parallel()
	crowded := strings.Repeat("Wm8 ", 6) // 24 wide characters
	labels := map[string]func(Print) (string, error){
		"bin":    Bin{Code: "PASILLO-12-ESTANTE-04-W", Warehouse: crowded, Arrow: Up}.ZPL,
		"pick":   Pick{Order: strings.Repeat("WM-12", 10), Position: 888, Of: 999, SKU: strings.Repeat("W", 64), Name: crowded + crowded, Bin: crowded, Quantity: 123456}.ZPL,
		"parcel": Parcel{Shipment: strings.Repeat("M", 40), Order: crowded, Grams: 123456, Warehouse: crowded + crowded, Recipient: crowded + crowded, Address: []string{crowded, crowded, crowded, crowded, crowded + crowded}}.ZPL,
		"lot": func(p Print) (string, error) {
			return Lot{SKU: strings.Repeat("W", 64), Name: strings.Repeat(crowded, 6), Lot: "ABCDEFGHIJKLMNOPQRST", Expiry: expiry}.ZPL(p, today)
		},
	}
	for name, sample := range samples {
		labels["sample "+name] = func(Print) (string, error) { return sample.zpl() }
	}
	for name, write := range labels {
		for _, p := range []Print{at203, at300} {
			zpl, err := write(p)
			require.NoError(t, err, name)
			label := read(t, zpl)
			for i, a := range label.places {
				require.True(t, a.x >= 0 && a.y >= 0 && a.x+a.width <= label.width && a.y+a.height <= label.height, "%s: %v is on the label of %d x %d", name, a, label.width, label.height)
				for _, b := range label.places[:i] {
					require.False(t, a.overlaps(b), "%s: %v and %v", name, a, b)
				}
			}
		}
	}
}

func TestLot_ItsBarcodeIsReadBack(t *testing.T) {
	t.Parallel()
	zpl, err := lot.ZPL(at203, today)
	require.NoError(t, err)
	scanned, err := gs1.Parse(read(t, zpl).codes[0].scan, today)
	require.NoError(t, err)
	require.True(t, gs1.SameGTIN(lot.GTIN, scanned.GTIN))
	require.Equal(t, lot.Lot, scanned.Lot())
	require.Equal(t, lot.Expiry, scanned.Expiry())

	sku, number, ok := ReadLotCode(LotCode("POL-S", "A|7"))
	require.True(t, ok)
	require.Equal(t, []string{"POL-S", "A|7"}, []string{sku, number})
	_, _, ok = ReadLotCode(LotCode("POL-S", ""))
	require.False(t, ok)
}

func TestLabels_ShowWhatAPersonReads(t *testing.T) {
	t.Parallel()
	texts := func(zpl string, err error) []string {
		require.NoError(t, err)
		return read(t, zpl).texts
	}
	require.Equal(t, []string{"A-03-12-2", "Bodega Quilicura"}, texts(bin.ZPL(at203)))
	require.Equal(t, []string{
		"LECHE-1L", "Leche entera sin lactosa 1 litro, caja de doce", "Lote", "L7-2026", "Vence", "04-07-2027",
		"(01)07801234567894(17)270704(10)L7-2026",
	}, texts(lot.ZPL(at203, today)))
	require.Equal(t, []string{"Order", "JL-100234", "3 of 12", "POL-S-ROJO", "Polera roja S", "Bin", "A-03-12-2", "Quantity", "4"}, texts(pick.ZPL(at300)))
	require.Equal(t, []string{
		"Desde", "Bodega Quilicura", "Para", "María Núñez", "Av. Providencia 1234, depto. 56", "Ñuñoa", "Región Metropolitana",
		"Pedido", "JL-100234", "Peso", "1,25 kg", "Envío", "shp_01J9ZK5M3X8Q2T7V4W6Y0ABCDE",
	}, texts(parcel.ZPL(at203)))
}

func TestParcel_WithoutRecipientNamesNobody(t *testing.T) {
	t.Parallel()
	zpl, err := Parcel{Shipment: "S1", Order: "O1", Grams: 500, Warehouse: "W"}.ZPL(at203)
	require.NoError(t, err)
	require.Equal(t, []string{"Desde", "W", "Pedido", "O1", "Peso", "0,5 kg", "Envío", "S1"}, read(t, zpl).texts)
}

func TestKilograms_WritesWhatTheScaleSaid(t *testing.T) {
	t.Parallel()
	for grams, want := range map[int]string{1: "0,001 kg", 300: "0,3 kg", 1250: "1,25 kg", 12000: "12 kg", 10: "0,01 kg"} {
		require.Equal(t, want, kilograms(grams, ","))
	}
}

func TestLabels_RefuseWhatIsNoLabel(t *testing.T) {
	t.Parallel()
	refused := func(want string, zpl string, err error) {
		t.Helper()
		require.Empty(t, zpl)
		require.EqualError(t, err, want)
	}
	zpl, err := Bin{Code: " \n"}.ZPL(at203)
	refused("bin label: code is missing", zpl, err)
	zpl, err = bin.ZPL(Print{DPI: 200, Copies: 1})
	refused("bin label: a printer has 203 or 300 dpi, not 200", zpl, err)
	zpl, err = bin.ZPL(Print{DPI: 203})
	refused("bin label: 1 to 999 copies are printed at once, not 0", zpl, err)
	zpl, err = bin.ZPL(Print{DPI: 203, Copies: 1, Language: "fr"})
	refused(`bin label: labels are written in es or en, not "fr"`, zpl, err)
	zpl, err = with(bin, func(b *Bin) { b.Arrow = "left" }).ZPL(at203)
	refused(`bin label: an arrow points up or down, not "left"`, zpl, err)
	zpl, err = with(lot, func(o *Lot) { o.GTIN = "7801234567895" }).ZPL(at203, today)
	refused(`lot label: "7801234567895" is no GTIN: its check digit or length is wrong`, zpl, err)
	zpl, err = with(lot, func(o *Lot) { o.SKU = "A|B" }).ZPL(at203, today)
	refused(`lot label: SKU "A|B" has a |, which ends the SKU in the barcode`, zpl, err)
	zpl, err = with(lot, func(o *Lot) { o.Expiry = expiry.AddDate(60, 0, 0) }).ZPL(at203, today)
	refused("lot label: write GS1 code: AI 17: 2087-07-04 would be read as 1987-07-04", zpl, err)
	zpl, err = with(pick, func(k *Pick) { k.Position = 13 }).ZPL(at203)
	refused("pick label: position 13 of 12", zpl, err)
	zpl, err = with(pick, func(k *Pick) { k.Quantity = 0 }).ZPL(at203)
	refused("pick label: quantity 0", zpl, err)
	zpl, err = with(parcel, func(c *Parcel) { c.Grams = 0 }).ZPL(at203)
	refused("parcel label: weight 0 g", zpl, err)
	zpl, err = with(parcel, func(c *Parcel) { c.Address = make([]string, 6) }).ZPL(at203)
	refused("parcel label: an address has up to 5 lines, not 6", zpl, err)
	_, err = with(bin, func(b *Bin) { b.Code = strings.Repeat("x", 300) }).ZPL(at203)
	require.ErrorContains(t, err, "it is empty or too long for")
}

// allowed are the commands that the labels consist of. None of them changes the
// printer.
var allowed = strings.Fields("XA CI PW LL LH FO A0 FH FD FS GB GF BY BC BQ BX PQ XZ")

func requireHarmless(t require.TestingT, zpl string) {
	label := read(t, zpl)
	require.NotContains(t, zpl, "~")
	require.True(t, utf8.ValidString(zpl))
	for i, c := range label.commands {
		require.Contains(t, allowed, c)
		if c == "FD" {
			require.Equal(t, "FS", label.commands[i+1], "nothing between ^FD and ^FS is a command")
		}
		require.Equal(t, i == 0, c == "XA")
		require.Equal(t, i == len(label.commands)-1, c == "XZ")
	}
}

func TestLabels_ANameIsNeverACommand(t *testing.T) {
	t.Parallel()
	const evil = "^XZ^XA~JR^FS_5EXZ\x10"
	zpl, err := Lot{SKU: "A^XZ~JR_1", Name: evil, Lot: evil}.ZPL(at203, today)
	require.NoError(t, err)
	requireHarmless(t, zpl)
	require.Contains(t, read(t, zpl).texts, "^XZ^XA~JR^FS_5EXZ", "it stays what it was")
	require.Equal(t, "A^XZ~JR_1|"+evil, read(t, zpl).codes[0].scan)
}

func TestLabels_WhateverTheyAreGivenIsData(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringOfN(rapid.SampledFrom([]rune("^~_\\&>;:<=0123456789ABCxyz ñ|\x1d\n")), 0, 40, -1),
		rapid.StringMatching(`[A-Z0-9^~_-]{1,24}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		print := Print{DPI: rapid.SampledFrom([]int{203, 300}).Draw(t, "dpi"), Copies: 1}
		s := rapid.SliceOfN(text, 9, 9).Draw(t, "texts")
		for _, write := range []func() (string, error){
			func() (string, error) { return Bin{Code: s[0], Warehouse: s[1], Arrow: Up}.ZPL(print) },
			func() (string, error) {
				return Lot{SKU: s[0], Name: s[1], Lot: s[2], GTIN: rapid.SampledFrom([]string{"", "7801234567894"}).Draw(t, "gtin"), Expiry: expiry}.ZPL(print, today)
			},
			func() (string, error) {
				return Pick{Order: s[0], Position: 1, Of: 1, SKU: s[1], Name: s[2], Bin: s[3], Quantity: 1}.ZPL(print)
			},
			func() (string, error) {
				return Parcel{Shipment: s[0], Order: s[1], Grams: 1, Warehouse: s[2], Recipient: s[3], Address: s[4:]}.ZPL(print)
			},
		} {
			zpl, err := write()
			if err != nil {
				require.Empty(t, zpl)
				continue
			}
			requireHarmless(t, zpl)
			for _, c := range read(t, zpl).codes {
				require.True(t, strings.Contains(c.scan, s[0]) || strings.HasPrefix(c.scan, "]"), "%q holds %q", c.scan, s[0])
			}
		}
	})
}

func FuzzEscaped(f *testing.F) {
	for _, seed := range []string{"", "^XZ", "~JR", "_5E", "a\x00b\x7f", "ñ\xff", ">8"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		got := escaped(data)
		require.False(t, strings.ContainsAny(got, "^~\n\r"))
		require.Equal(t, data, unescaped(t, got))
	})
}

func FuzzCode128(f *testing.F) {
	for _, seed := range []string{"A", "12", "123", "1234", "A1234", "A12345B", "A123456B", "A1234567", "\x1d0112345\x1d21A", ">^~", "ñ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		symbols, ok := code128(data)
		if !ok {
			return
		}
		got, n := decode128(t, strings.Join(symbols, ""))
		if data[0] == fnc1 { // the first is the sign of GS1
			data = "]C1" + data[1:]
		}
		require.Equal(t, data, got)
		require.Equal(t, len(symbols)+1, n)
	})
}

// Zebra's own example of a GTIN, a serial and a lot:
// https://supportcommunity.zebra.com/articles/en_US/KM_Solution/Creating-GS1-Barcodes-with-Zebra-Printers-for-Data-Matrix-and-Code-128-using-ZPL
func TestCode128_ChoosesTheSetsAsZebraDoes(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"\x1d011234567890123421123456\x1d10ABC123": ">;>8011234567890123421123456>810>6ABC123",
		"A-03":     ">:A-03",
		"123456":   ">;123456",
		"12345":    ">;1234>65",
		"A12345":   ">:A1>52345",
		"A123456B": ">:A>5123456>6B",
		"A1234B":   ">:A1234B",
		"12":       ">;12",
		"2>1":      ">:2>01",
	} {
		symbols, ok := code128(data)
		require.True(t, ok)
		require.Equal(t, want, strings.Join(symbols, ""), "%q", data)
	}
	_, ok := code128("niño")
	require.False(t, ok)
}

func TestText_IsCutToTheLabel(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("Colchón de resortes ", 20)
	l := New(100, 50, 203)
	l.Text(Area{0, 0, 50, 4}, long)
	l.Lines(Area{0, 10, 50, 10}, 2, long)
	l.Fit(Area{0, 30, 50, 10}, long)
	l.Fit(Area{0, 40, 50, 10}, "A-01")
	zpl, err := l.ZPL()
	require.NoError(t, err)
	texts := read(t, zpl).texts
	require.Len(t, texts, 5)
	for _, i := range []int{0, 2, 3} {
		require.True(t, strings.HasSuffix(texts[i], clipMark), texts[i])
	}
	require.False(t, strings.HasSuffix(texts[1], clipMark), "the first of two lines ends between words")
	require.Equal(t, "A-01", texts[4])
	require.LessOrEqual(t, widthOf(texts[0], 4), 50.0)
}

func TestText_InvisibleCharactersAreNotPrinted(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a b c?d", printable("\u202ea\r\n\tb \x00c\xffd\u200b"))
	require.Empty(t, printable("\x00\n"))
}
