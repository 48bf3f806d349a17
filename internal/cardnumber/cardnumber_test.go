package cardnumber_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/cardnumber"
)

// published are test numbers of Transbank
// (https://www.transbankdevelopers.cl/documentacion/como_empezar#tarjetas-de-prueba),
// Stripe (https://docs.stripe.com/testing), Mercado Pago
// (https://www.mercadopago.cl/developers/es/docs/checkout-pro/additional-content/your-integrations/test/cards)
// and PayPal's list for Maestro.
var published = []string{
	"4051885600446623", "5186059559590568", "370000000002032", "4051884239937763", "4051886000056590",
	"4242424242424242", "5555555555554444", "2223003122003222", "5200828282828210", "378282246310005", "371449635398431", "6011111111111117",
	"6011000990139424", "3056930009020004", "36227206271667", "3566002020360505", "6200000000000005", "6205500000000000004",
	"4222222222222", "5416752602582580", "5031755734530604", "6304000000000000", "6759649826438453", "30569309025904", "38520000023237",
}

func TestIs_KnowsThePublishedTestCards(t *testing.T) {
	t.Parallel()
	for _, n := range published {
		assert.True(t, cardnumber.Is(n), n)
	}
}

func TestIs_RefusesOtherNumbers(t *testing.T) {
	t.Parallel()
	for _, n := range []string{
		"", "4242424242424241", "424242424242424", "42424242424242424242424242", "1234567812345670", "0000000000000000", "9999999999999995",
		"7801234567896", "56961234567", "597055555532", "4242 4242 4242 4242",
	} {
		require.False(t, len(n) > 0 && strings.Trim(n, "0123456789") == "" && cardnumber.Is(n), n)
	}
}

func TestIn_FindsThemAmidText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"4242424242424242", "4242 4242 4242 4242", "4242-4242-4242-4242", "pagar con 4242424242424242, por favor", "card:4242424242424242.",
		"card4242424242424242", "4242424242424242exp1226", "3782 822463 10005", "12 4242 4242 4242 4242 12/26", "4242\u00a04242\u00a04242\u00a04242",
		"4242\u20134242\u20134242\u20134242", "4-2-4-2-4-2-4-2-4-2-4-2-4-2-4-2", "RUT 11.111.111-1 4242424242424242", "(4242424242424242)", "\"4242424242424242\"",
		"4242424242424242 4242424242424241", "%B4242424242424242^ROJAS/ANA^2612",
	} {
		require.True(t, cardnumber.In(text), text)
	}
}

func TestIn_LetsOtherNumbersPass(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "12990", "+56961234567", "+56 9 6123 4567", "11.111.111-1", "2026-09-18T12:00:00Z", "01JCQZ5Y3N8W2K4T6V7X9ABCDE", "597055555532",
		"4242424242424241", "424242424242424242424242", "c4242424242424242f", "4242.4242.4242.4242", "4242  4242  4242  4242", "+4242424242424242",
		"b1946ac92492d2347c6235b4d2611184", "6f1c2b1e-0000-4000-8000-000000000000", "Av. Providencia 1234, depto 501", "7801234567896",
	} {
		require.False(t, cardnumber.In(text), text)
	}
}

// card draws a number of one of the brands.
func card(t *rapid.T) string {
	shape := rapid.SampledFrom([]struct {
		prefix string
		length int
	}{{"4", 13}, {"4", 16}, {"4", 19}, {"51", 16}, {"55", 16}, {"2221", 16}, {"2720", 16}, {"34", 15}, {"37", 15}, {"300", 14}, {"305", 16}, {"36", 14}, {"38", 14},
		{"6011", 16}, {"65", 19}, {"62", 16}, {"62", 19}, {"3528", 16}, {"3589", 16}, {"50", 16}, {"56", 13}, {"58", 19}, {"6304", 18}, {"6759", 16}}).Draw(t, "brand")
	digits := []byte(shape.prefix)
	for len(digits) < shape.length-1 {
		digits = append(digits, byte('0'+rapid.IntRange(0, 9).Draw(t, "digit")))
	}
	for last := range 10 {
		n := string(append(digits, byte('0'+last)))
		if sum(n)%10 == 0 {
			return n
		}
	}
	panic("one of ten fits")
}

// sum is Luhn's, written apart from the product's.
func sum(n string) (s int) {
	for i, c := range n {
		d := int(c - '0')
		if (len(n)-i)%2 == 0 {
			d *= 2
		}
		s += d/10 + d%10
	}
	return s
}

func TestIn_FindsEveryCardHoweverItIsGrouped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := card(t)
		if !cardnumber.Is(n) {
			t.Fatalf("%s is not taken for a card", n)
		}
		var b strings.Builder
		for i := range len(n) {
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "apart") == 0 {
				b.WriteString(rapid.SampledFrom([]string{" ", "-"}).Draw(t, "separator"))
			}
			b.WriteByte(n[i])
		}
		text := rapid.SampledFrom([]string{"", "card ", "nota: ", "(", "x", "12 "}).Draw(t, "before") + b.String() + rapid.SampledFrom([]string{"", " 12/26", ".", ")", "; gracias"}).Draw(t, "after")
		if !cardnumber.In(text) {
			t.Fatalf("%q is let pass", text)
		}
		at := rapid.IntRange(0, len(n)-1).Draw(t, "changed")
		wrong := n[:at] + string('0'+(n[at]-'0'+1)%10) + n[at+1:]
		if cardnumber.Is(wrong) {
			t.Fatalf("%s has a wrong check digit", wrong)
		}
	})
}

func TestGTIN_KnowsItsCheckDigit(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"4006381333931", "7801234567894", "00012345600012", "10614141000415"} {
		require.True(t, cardnumber.GTIN(n), n)
	}
	for _, n := range []string{"4006381333930", "4242424242424242", "400638133393", "40063813339a1", ""} {
		require.False(t, cardnumber.GTIN(n), n)
	}
}

func FuzzIn_NeverBreaksAndAgreesWithIs(f *testing.F) {
	for _, n := range published {
		f.Add(n)
		f.Add("a " + n + " b")
	}
	f.Add("4242 4242-4242\u00a04242")
	f.Fuzz(func(t *testing.T, text string) {
		found := cardnumber.In(text)
		if strings.Trim(text, "0123456789") == "" && len(text) < 20 && found != cardnumber.Is(text) {
			t.Fatalf("%q: in a text %v, alone %v", text, found, cardnumber.Is(text))
		}
	})
}

func BenchmarkIn_AMebibyteOfDigits(b *testing.B) {
	for name, text := range map[string]string{"spaced": strings.Repeat("4 ", 1<<19), "solid": strings.Repeat("4", 1<<20), "groups": strings.Repeat("4-1 ", 1<<18)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(1 << 20)
			for b.Loop() {
				cardnumber.In(text)
			}
		})
	}
}
