package picksheet

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/label"
	"justlogistics/internal/paper/papertest"
)

var keep = flag.String("keep", "", "folder into which TestWrite_ShowsEveryLine puts its PDFs, for looking at them")

func santiago(t require.TestingT) *time.Location {
	zone, err := time.LoadLocation("America/Santiago")
	require.NoError(t, err)
	return zone
}

func listOf(t require.TestingT, lines int) List {
	names := []string{"Polera roja S", "Zapatillas de trekking impermeables niño talla 32", "Té verde (orgánico) 100 g", "Colchón de resortes ensacados dos plazas con tratamiento antiácaros y funda desmontable de algodón"}
	list := List{
		Number: "PL-2026-000417", Warehouse: "Bodega Ñuñoa", Kind: "Ola de las 14:00", WalkMM: 412_400, SShapeMM: 655_900,
		PrintedAt: time.Date(2026, 11, 30, 2, 15, 0, 0, time.UTC), Zone: santiago(t),
	}
	for i := range lines {
		line := Line{
			Bin: fmt.Sprintf("A-%02d-%02d-%d", i/40+1, i/4%10+1, i%4+1), SKU: fmt.Sprintf("SKU-%05d", i), Name: names[i%len(names)],
			Quantity: i%12 + 1, Order: fmt.Sprintf("JL-%06d", 100_000+i), Box: fmt.Sprintf("C%d", i%8+1),
		}
		if i%3 == 0 {
			line.Lot, line.Expiry = fmt.Sprintf("L%04d", i), time.Date(2027, 7, 4, 0, 0, 0, 0, time.UTC)
		}
		list.Lines = append(list.Lines, line)
	}
	return list
}

func pdfOf(t require.TestingT, list List) []byte {
	var pdf bytes.Buffer
	require.NoError(t, Write(&pdf, list))
	return pdf.Bytes()
}

func TestWrite_ShowsEveryLine(t *testing.T) {
	t.Parallel()
	for lines, pageCount := range map[int]int{0: 1, 1: 1, 25: 1, 26: 2, 53: 2, 54: 3, 500: 18} {
		t.Run(fmt.Sprint(lines), func(t *testing.T) {
			t.Parallel()
			list := listOf(t, lines)
			pdf := pdfOf(t, list)
			if *keep != "" {
				require.NoError(t, os.WriteFile(fmt.Sprintf("%s/%d.pdf", *keep, lines), pdf, 0o644))
			}
			pages := papertest.Read(t, pdf)
			require.Len(t, pages, pageCount)
			var positions []string
			for i, p := range pages {
				require.Contains(t, p.Texts, fmt.Sprintf("Página %d de %d", i+1, pageCount))
				require.Contains(t, p.Texts, "Impreso el 29-11-2026 23:15 -03")
				require.Contains(t, p.All(), "PL-2026-000417")
				require.Contains(t, p.Texts, "Ubicación", "every page has the table's head")
				for j, text := range p.Texts {
					if strings.HasPrefix(text, "A-") {
						positions = append(positions, p.Texts[j-1]+" "+text+" "+p.Texts[j+1])
					}
				}
			}
			var want []string
			for i, line := range list.Lines {
				want = append(want, fmt.Sprintf("%d %s %s", i+1, line.Bin, line.SKU))
			}
			require.Equal(t, want, positions, "the walking order, without a gap")
			require.Equal(t, lines == 0, strings.Contains(pages[0].All(), "La lista no tiene líneas"))
			require.Equal(t, "PL-2026-000417", pages[0].Code128(t, 9, 28))
		})
	}
}

func TestWrite_ShowsWhatAPickerNeeds(t *testing.T) {
	t.Parallel()
	list := listOf(t, 1)
	require.Equal(t, []string{
		"Lista de picking", "PL-2026-000417", "Bodega Ñuñoa", "Ola de las 14:00",
		"Líneas: 1, unidades: 1   |   Recorrido: 412 m   |   Ahorro contra recorrido en S: 244 m",
		"Impreso el 29-11-2026 23:15 -03", "PL-2026-000417",
		"N°", "Ubicación", "SKU", "Producto", "Lote", "Vence", "Cant.", "Pedido / caja",
		"1", "A-01-01-1", "SKU-00000", "Polera roja S", "L0000", "04-07-2027", "1", "JL-100000 / C1",
		"Impreso el 29-11-2026 23:15 -03", "Página 1 de 1",
	}, papertest.Read(t, pdfOf(t, list))[0].Texts)

	list.Language, list.WalkMM = label.English, 0
	list.Lines[0].Box = ""
	texts := papertest.Read(t, pdfOf(t, list))[0].Texts
	require.Contains(t, texts, "Lines: 1, units: 1", "a way that nobody measured isn't printed")
	require.Contains(t, texts, "Printed at 29-11-2026 23:15 -03")
	require.Contains(t, texts, "JL-100000")
	require.Contains(t, texts, "Page 1 of 1")
}

func TestWrite_TheSameListMakesTheSameBytes(t *testing.T) {
	t.Parallel()
	first := pdfOf(t, listOf(t, 60))
	require.Equal(t, first, pdfOf(t, listOf(t, 60)))
	later := listOf(t, 60)
	later.PrintedAt = later.PrintedAt.Add(time.Minute)
	require.NotEqual(t, first, pdfOf(t, later))
}

func TestWrite_LongTextsAreBrokenAndNotLost(t *testing.T) {
	t.Parallel()
	list := listOf(t, 1)
	list.Lines[0].SKU = "CAMISETA-TERMICA-MANGA-LARGA-HOMBRE-XXL-AZUL-MARINO-INVIERNO.027" // 64, the most there is
	list.Lines[0].Bin = "ALTILLO-PASILLO-12-ESTANTE-4-NIVEL-3"
	list.Lines[0].Name = strings.Repeat("Colchón de resortes ", 30)
	texts := papertest.Read(t, pdfOf(t, list))[0].All()
	joined := strings.ReplaceAll(texts, "\n", "")
	require.Contains(t, joined, list.Lines[0].SKU)
	require.Contains(t, joined, list.Lines[0].Bin)
	require.Contains(t, texts, "…", "what is cut says so")
}

func TestWrite_UnknownCharactersAreReplaced(t *testing.T) {
	t.Parallel()
	list := listOf(t, 1)
	list.Warehouse = "\xff(茶) \\ n\u0303 € {nb}\x00\n|"
	texts := papertest.Read(t, pdfOf(t, list))[0].Texts
	require.Contains(t, texts, `?(?) \ ñ € {nb}  |`)
}

func TestWrite_RefusesWhatItCantPrint(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*List){
		`pick list: number "": it must have 1 to 25 characters`:                           func(l *List) { l.Number = "" },
		`pick list: number "AAAAAAAAAAAAAAAAAAAAAAAAAA": it must have 1 to 25 characters`: func(l *List) { l.Number = strings.Repeat("A", 26) },
		`pick list: number "Ñ1": a barcode has only ASCII`:                                func(l *List) { l.Number = "Ñ1" },
		`pick list PL-2026-000417: it needs the warehouse's time zone`:                    func(l *List) { l.Zone = nil },
		`pick list PL-2026-000417: it needs the moment of printing`:                       func(l *List) { l.PrintedAt = time.Time{} },
		`pick list PL-2026-000417: it is written in es or en, not "fr"`:                   func(l *List) { l.Language = "fr" },
	} {
		list := listOf(t, 1)
		change(&list)
		var pdf bytes.Buffer
		require.EqualError(t, Write(&pdf, list), want)
		require.Zero(t, pdf.Len())
	}
}

func TestWrite_AnyTextMakesAWholeFile(t *testing.T) {
	t.Parallel()
	zone := santiago(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[()\\A-Za-z0-9 ñÁ茶-]{0,200}`))
		list := List{
			Number: rapid.StringMatching(`[!-~]{1,25}`).Draw(t, "number"), Warehouse: text.Draw(t, "warehouse"), Kind: text.Draw(t, "kind"), Zone: zone, PrintedAt: time.Unix(0, 0),
			Lines: []Line{{Bin: text.Draw(t, "bin"), SKU: text.Draw(t, "sku"), Name: text.Draw(t, "name"), Lot: text.Draw(t, "lot"), Order: text.Draw(t, "order")}},
		}
		texts := papertest.Read(t, pdfOf(t, list))[0].Texts
		require.Contains(t, texts, "Página 1 de 1")
		require.Contains(t, texts, list.Number)
	})
}

func TestTable_FillsThePage(t *testing.T) {
	t.Parallel()
	require.InDelta(t, tableWidth, (&sheet{}).table().Width()+tickWidth, 1e-9)
}
