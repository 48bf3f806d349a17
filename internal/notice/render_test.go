package notice_test

import (
	"net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"justlogistics/internal/notice"
	"justlogistics/internal/tenant"
)

var languages = []string{"es", "en"}

func full(kind notice.Kind) notice.Facts {
	f := notice.Facts{Shop: "Tienda Sur", Name: "Ana", Number: "SUR-000123"}
	switch kind {
	case notice.OrderPaid:
		f.Lines = []notice.FactLine{{Quantity: 2, Name: "Polera roja", Total: "$25.980"}}
		f.Shipping, f.Total = "$3.990", "$29.970"
	case notice.PartiallyRefunded, notice.Refunded:
		f.Amount = "$12.990"
	case notice.Delayed:
		f.By = "lunes 7 de diciembre"
	case notice.BackOrdered:
		f.By, f.Lines = "lunes 7 de diciembre", []notice.FactLine{{Quantity: 1, Name: "Polera roja"}}
	case notice.Shipped:
		f.Carrier, f.Tracking, f.Link, f.By, f.Lines = "Starken", []string{"960012", "960013"}, "https://starken.example/960012?a=1&b=2", "lunes 7 de diciembre", []notice.FactLine{{Quantity: 2, Name: "Polera roja"}}
	case notice.ReadyForPickup:
		f.Carrier, f.Tracking, f.Point, f.By = "Starken", []string{"960012"}, "Agencia Providencia, Av. Providencia 1234", "lunes 7 de diciembre"
	case notice.ReturnApproved, notice.ReturnReminder:
		f.Point, f.By = "Bodega Central, Av. Uno 1, Renca", "lunes 7 de diciembre"
	case notice.ReturnLabel:
		f.Carrier, f.Tracking, f.Link, f.By, f.Amount = "Starken", []string{"960012"}, "https://shop.example/return-label/sur/abc", "lunes 7 de diciembre", "$3.990"
	case notice.ReturnRejected:
		f.Why = "pasaron los diez días"
	case notice.ReturnClosed:
		f.Amount, f.Why, f.Missing = "$12.990", "Falta la caja: $1.000 menos.", 2
	case notice.OutForDelivery, notice.DeliveryFailed:
		f.Carrier, f.Tracking, f.Link = "Starken", []string{"960012"}, "https://starken.example/960012?a=1&b=2"
	}
	if strings.HasPrefix(string(kind), "return_") {
		f.Return = f.Number + "-R1"
	}
	return f
}

func TestRender_SaysAllThatIsKnownInEachKindAndLanguage(t *testing.T) {
	t.Parallel()
	for _, name := range tenant.NoticeKinds {
		kind := notice.Kind(name)
		said := map[string]string{}
		for _, language := range languages {
			f := full(kind)
			m, err := notice.Render(kind, language, f)
			require.NoError(t, err, name)
			require.Contains(t, m.Subject, f.Number, name)
			for form, text := range map[string]string{"text": m.Text, "html": strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(m.HTML)} {
				at := name + " " + language + " " + form + ":\n" + text
				require.NotContains(t, text, "{{", at)
				require.NotContains(t, text, "<no value>", at)
				require.NotContains(t, text, "%!", at)
				for _, fact := range append([]string{f.Shop, f.Name, f.Number, f.Carrier, f.Link, f.Shipping, f.Total, f.Amount, f.Point, f.By, f.Return, f.Why}, f.Tracking...) {
					require.Contains(t, text, fact, at)
				}
				for _, l := range f.Lines {
					require.Contains(t, text, l.Name, at)
					require.Contains(t, text, l.Total, at)
				}
			}
			require.Greater(t, strings.Count(m.HTML, "<p>"), 2, "hello, what happened, what comes next: %s %s", name, language)
			require.Contains(t, m.Short, f.Number)
			require.Contains(t, m.Short, f.Shop)
			require.Less(t, len([]rune(m.Short)), 320, "%s %s: two or three segments", name, language)
			require.NotContains(t, m.Short, "\n")
			said[language] = m.Text
		}
		require.NotEqual(t, said["es"], said["en"], name)
	}
}

func TestRender_LeavesOutWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, name := range tenant.NoticeKinds {
		for _, language := range languages {
			m, err := notice.Render(notice.Kind(name), language, notice.Facts{Shop: "Tienda Sur", Number: "SUR-000123", Return: "SUR-000123-R1", Amount: "$1", Total: "$1"})
			require.NoError(t, err)
			for _, text := range []string{m.Subject, m.Text, m.Short} {
				for _, hole := range []string{"  .", " ,", " .", ": .", "el .", "on .", " : ", "[]"} {
					require.NotContains(t, text, hole, "%s %s: %s", name, language, text)
				}
			}
		}
	}
	_, err := notice.Render(notice.Shipped, "fr", notice.Facts{})
	require.Error(t, err)
	_, err = notice.Render("unheard_of", "es", notice.Facts{})
	require.Error(t, err)
}

func TestRender_NothingFromOutsideBecomesMarkup(t *testing.T) {
	t.Parallel()
	const evil = `<script>alert(1)</script>"><img src=x onerror=y>`
	for _, name := range tenant.NoticeKinds {
		for _, language := range languages {
			f := full(notice.Kind(name))
			f.Shop, f.Name, f.Number, f.Carrier, f.Point, f.By, f.Amount, f.Return, f.Why = evil, evil, evil, evil, evil, evil, evil, evil, evil
			f.Tracking, f.Link, f.Lines = []string{evil}, "javascript:alert(1)", []notice.FactLine{{1, evil, evil}}
			m, err := notice.Render(notice.Kind(name), language, f)
			require.NoError(t, err)
			require.NotContains(t, m.HTML, "<script", name)
			require.NotContains(t, m.HTML, "<img", name)
			require.NotContains(t, m.HTML, `href="javascript`, name)
		}
	}
}

func TestCompose_NoTextAddsAHeader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a\r\nBcc: eve@evil.example", "a\nX-Evil: 1\n\nbody", "\u2028Bcc: eve@evil.example", "ñ\r\n ñ\r\nTo: eve@evil.example"}))
		source, err := notice.Source(text.Draw(rt, "name"), "ana@example.cl", text.Draw(rt, "subject"))
		if err != nil {
			return // a name that no header can carry is refused
		}
		m, err := mail.ReadMessage(strings.NewReader(source))
		require.NoError(rt, err)
		for name := range m.Header {
			require.Contains(rt, []string{"Date", "Mime-Version", "Message-Id", "Auto-Submitted", "Subject", "From", "To", "User-Agent", "X-Mailer", "Content-Type"}, name)
		}
		require.Len(rt, m.Header["To"], 1)
		to, err := m.Header.AddressList("To")
		require.NoError(rt, err)
		require.Equal(rt, []*mail.Address{{Address: "ana@example.cl"}}, to)
	})
	for _, to := range []string{"ana@example.cl\r\nBcc: eve@evil.example", "ana@example.cl, eve@evil.example", "", "ana"} {
		_, err := notice.Source("Tienda", to, "x")
		require.EqualError(t, err, "bad_address")
	}
}
