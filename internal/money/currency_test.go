package money_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"justlogistics/internal/money"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseCurrency_KnowsTheExponentOfIts4217Codes(t *testing.T) {
	t.Parallel()
	for code, exponent := range map[string]int{
		"CLP": 0, "JPY": 0, "PYG": 0, "KRW": 0, "USD": 2, "EUR": 2, "ARS": 2, "PEN": 2, "BRL": 2, "MXN": 2, "COP": 2,
		"UYU": 2, "GBP": 2, "KWD": 3, "BHD": 3, "CLF": 4,
	} {
		c, err := money.ParseCurrency(code)
		require.NoError(t, err)
		require.Equal(t, money.Currency(code), c)
		require.Equal(t, exponent, c.Exponent(), code)
		c, err = money.ParseCurrency(strings.ToLower(code))
		require.NoError(t, err)
		require.Equal(t, money.Currency(code), c)
	}
}

func TestParseCurrency_RefusesWhatIsNoCurrency(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "CL", "CLPX", "XXX", "$", "PESO", "ſgd", " CLP", "CLP ", "BTC"} {
		_, err := money.ParseCurrency(s)
		require.ErrorIs(t, err, money.ErrUnknownCurrency, "%q", s)
	}
}

func TestFormat_WritesAmountsAsChileReadsThem(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		amount   int64
		currency money.Currency
	}{
		"$12.990":                     {12990, money.CLP},
		"$0":                          {0, money.CLP},
		"$999":                        {999, money.CLP},
		"$1.000":                      {1000, money.CLP},
		"$1.234.567":                  {1234567, money.CLP},
		"-$500":                       {-500, money.CLP},
		"-$9.223.372.036.854.775.808": {math.MinInt64, money.CLP},
		"US$12,34":                    {1234, money.USD},
		"US$0,05":                     {5, money.USD},
		"-US$0,05":                    {-5, money.USD},
		"US$1.234.567,89":             {123456789, money.USD},
		"€10,00":                      {1000, money.EUR},
		"UF 38.123,4567":              {381234567, "CLF"},
		"KWD 1,234":                   {1234, "KWD"},
		"S/ 1,50":                     {150, "PEN"},
	} {
		require.Equal(t, want, money.Format(c.amount, c.currency))
	}
}

func TestFormat_LosesNoDigit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64().Draw(t, "amount")
		c := money.Currency(rapid.SampledFrom([]string{"CLP", "USD", "KWD", "CLF"}).Draw(t, "currency"))
		digits := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, money.Format(amount, c))
		want := strings.TrimPrefix(fmt.Sprint(amount), "-")
		require.Equal(t, want, strings.TrimLeft(digits[:len(digits)-len(want)], "0")+digits[len(digits)-len(want):])
	})
}
