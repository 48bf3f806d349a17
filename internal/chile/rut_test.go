package chile_test

import (
	"fmt"
	"strings"
	"testing"

	"justlogistics/internal/chile"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseRUT_AcceptsTheFormsPeopleWrite(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"12.345.678-5":   "12345678-5",
		"12345678-5":     "12345678-5",
		"123456785":      "12345678-5",
		" 11.111.111-1 ": "11111111-1",
		"60.803.000-K":   "60803000-K",
		"60803000-k":     "60803000-K",
		"012.345.678-5":  "",
		"01.000.005-k":   "1000005-K",
		"12.345.678–5":   "12345678-5",
		"1-9":            "1-9",
		"597.055-0":      "",
	} {
		r, err := chile.ParseRUT(written)
		if want == "" {
			require.Error(t, err, written)
			continue
		}
		require.NoError(t, err, written)
		require.Equal(t, want, r.String())
	}
}

func TestParseRUT_TellsATypingErrorFromNonsense(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"12.345.678-4", "11111111-K", "60803000-1"} {
		_, err := chile.ParseRUT(s)
		require.ErrorIs(t, err, chile.ErrRUTCheckDigit, s)
	}
	for _, s := range []string{"", "-", "abc", "1", "0-0", "00000000-0", "1.2.3-4", "12.345678-5", "1234.5678-5", "123456789012-3", "12345678-5x", "12 345 678-5", "12345678--5", "١٢٣٤٥٦٧٨-5"} {
		_, err := chile.ParseRUT(s)
		require.ErrorIs(t, err, chile.ErrRUTFormat, s)
	}
}

func TestParseRUT_NeverRepeatsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"12.345.678-4", "12345678-55"} {
		_, err := chile.ParseRUT(s)
		require.NotContains(t, err.Error(), s)
		require.NotContains(t, err.Error(), "12345678")
	}
}

func TestRUT_HasOneCheckDigitAndOneCanonicalForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.IntRange(1, 99_999_999).Draw(t, "number")
		var valid []chile.RUT
		for _, check := range "0123456789K" {
			r, err := chile.ParseRUT(fmt.Sprintf("%d-%c", number, check))
			if err == nil {
				valid = append(valid, r)
				continue
			}
			require.ErrorIs(t, err, chile.ErrRUTCheckDigit)
		}
		require.Len(t, valid, 1)
		r := valid[0]
		for _, form := range []string{r.String(), r.Formatted(), strings.ToLower(r.Formatted()), strings.ReplaceAll(r.String(), "-", "")} {
			again, err := chile.ParseRUT(form)
			require.NoError(t, err, form)
			require.Equal(t, r, again)
		}
	})
}

func TestRUT_NoticesTwoDigitsSwapped(t *testing.T) {
	t.Parallel()
	_, err := chile.ParseRUT("12345687-5")
	require.ErrorIs(t, err, chile.ErrRUTCheckDigit)
}

func TestFormatted_PutsDotsAtThousands(t *testing.T) {
	t.Parallel()
	for canonical, want := range map[chile.RUT]string{
		"12345678-5": "12.345.678-5", "1000005-K": "1.000.005-K", "100-7": "100-7", "1-9": "1-9", "123456-0": "123.456-0", "": "",
	} {
		require.Equal(t, want, canonical.Formatted())
	}
}

func FuzzParseRUT_CanonicalFormIsAFixedPoint(f *testing.F) {
	for _, s := range []string{"12.345.678-5", "60803000-k", "1-9", "..-", "12.345.678–5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := chile.ParseRUT(s)
		if err != nil {
			return
		}
		again, err := chile.ParseRUT(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
