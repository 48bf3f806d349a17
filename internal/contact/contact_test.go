package contact_test

import (
	"regexp"
	"strings"
	"testing"

	"justlogistics/internal/contact"

	"github.com/stretchr/testify/require"
)

func TestNormalizeEmail_GivesOneFormPerMailbox(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"ana@example.cl":                  "ana@example.cl",
		"  Ana.Rojas@Example.CL\n":        "ana.rojas@example.cl",
		"ana+tienda@mail.example.cl":      "ana+tienda@mail.example.cl",
		"o'higgins@example.cl":            "o'higgins@example.cl",
		"ana@ñandú.cl":                    "ana@xn--and-6ma2c.cl",
		"ana@XN--AND-6MA2C.cl":            "ana@xn--and-6ma2c.cl",
		strings.Repeat("a", 64) + "@e.cl": strings.Repeat("a", 64) + "@e.cl",
	} {
		got, err := contact.NormalizeEmail(written)
		require.NoError(t, err, written)
		require.Equal(t, want, got)
	}
}

func TestNormalizeEmail_RefusesWhatNoBuyerHas(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("d", 60)
	for _, s := range []string{
		"", " ", "ana", "ana@", "@example.cl", "ana@example", "ana@@example.cl", "a b@example.cl", `"a b"@example.cl`, `"ana"@example.cl`,
		"Ana <ana@example.cl>", "<ana@example.cl>", "ana@example.cl, eva@example.cl", "ana@example.cl (Ana)", "ana@[127.0.0.1]",
		"ana@127.0.0.1", "ana@example.cl.", "ana@.cl", "ana@example..cl", "ana@-example.cl", "ana@exa_mple.cl", ".ana@example.cl",
		"ana.@example.cl", "an..a@example.cl", "ana@example.cl\r\nBcc: eva@example.cl", "ana\x00@example.cl", "ñandú@example.cl",
		strings.Repeat("a", 65) + "@example.cl",
		"ana@" + strings.Join([]string{label, label, label, label, "example.cl"}, "."),
		strings.Repeat("a", 1<<20) + "@example.cl",
	} {
		_, err := contact.NormalizeEmail(s)
		require.ErrorIs(t, err, contact.ErrEmail, "%.80q", s)
	}
}

func TestNormalizePhone_GivesE164(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"+56961234567":       "+56961234567",
		"961234567":          "+56961234567",
		"+56 9 6123 4567":    "+56961234567",
		" (9) 6123-4567 ":    "+56961234567",
		"0056961234567":      "+56961234567",
		"56961234567":        "+56961234567",
		"22 345 6789":        "+56223456789",
		"+54 9 11 2345-6789": "+5491123456789",
		"+1 202-456-1111":    "+12024561111",
	} {
		got, err := contact.NormalizePhone(written, "CL")
		require.NoError(t, err, written)
		require.Equal(t, want, got)
	}
	got, err := contact.NormalizePhone("11 2345-6789", "AR")
	require.NoError(t, err)
	require.Equal(t, "+541123456789", got)
}

func TestNormalizePhone_RefusesWhatNobodyCanCall(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "+", "123", "+56", "+569612345678901", "+999123456789", "1-800-FLOWERS", "ana@example.cl", "+56 9 6123 456", strings.Repeat("9", 1<<16)} {
		_, err := contact.NormalizePhone(s, "CL")
		require.ErrorIs(t, err, contact.ErrPhone, "%.40q", s)
	}
}

func TestErrors_NeverRepeatWhatWasGiven(t *testing.T) {
	t.Parallel()
	_, err := contact.NormalizeEmail("ana.rojas@example")
	require.NotContains(t, err.Error(), "ana")
	_, err = contact.NormalizePhone("+5696123", "CL")
	require.NotContains(t, err.Error(), "6123")
}

func FuzzNormalizeEmail_IsAFixedPoint(f *testing.F) {
	for _, s := range []string{"ana@example.cl", "A@ÑANDÚ.cl", "a@xn--.cl", `"q"@e.cl`, "a@İ.cl", "a@ß.de", "a@٠.cl"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^[\x21-\x7e]{1,64}@[a-z0-9.-]+\.[a-z0-9-]+$`)
	f.Fuzz(func(t *testing.T, s string) {
		once, err := contact.NormalizeEmail(s)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(once), 254)
		require.Regexp(t, form, once)
		require.Equal(t, strings.ToLower(once), once)
		twice, err := contact.NormalizeEmail(once)
		require.NoError(t, err)
		require.Equal(t, once, twice)
	})
}

func FuzzNormalizePhone_IsAFixedPoint(f *testing.F) {
	for _, s := range []string{"+56961234567", "961234567", "tel:+56-9", "+56961234567;ext=5", "٩٦١٢٣٤٥٦٧", "+870 773 111 632"} {
		f.Add(s, "CL")
	}
	f.Add("11 2345-6789", "AR")
	form := regexp.MustCompile(`^\+[1-9][0-9]{3,16}$`)
	f.Fuzz(func(t *testing.T, s, region string) {
		once, err := contact.NormalizePhone(s, region)
		if err != nil {
			return
		}
		require.Regexp(t, form, once)
		twice, err := contact.NormalizePhone(once, region)
		require.NoError(t, err)
		require.Equal(t, once, twice)
	})
}
