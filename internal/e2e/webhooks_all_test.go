package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/id"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// paidUnheard is a checkout whose buyer has paid and whose provider's
// notifications were all lost: the test has them.
func paidUnheard(t *testing.T, p provider) (*stacktest.Shop, stacktest.Checkout, []stacktest.Letter) {
	t.Helper()
	s := p.open(t)
	s.Sandbox.Faults(p.name, map[string]any{"drop_webhooks": true})
	c := s.Checkout(p.name)
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	var letters []stacktest.Letter
	s.Eventually(func() (string, bool) {
		letters = s.Sandbox.Letters(p.name)
		return fmt.Sprint(len(letters), " notifications"), len(letters) > 0
	})
	return s, c, letters
}

// about keeps the letters that name a payment, in the address or the body.
func about(letters []stacktest.Letter, c stacktest.Checkout) []stacktest.Letter {
	return slices.DeleteFunc(slices.Clone(letters), func(l stacktest.Letter) bool {
		return !strings.Contains(l.URL+l.Body, c.Payment.ID)
	})
}

func TestWebhooks_AGenuineOneIsTakenAndApplied(t *testing.T) {
	t.Parallel()
	each(t, signs, func(t *testing.T, p provider) {
		s, c, letters := paidUnheard(t, p)
		letters = about(letters, c)
		require.NotEmpty(t, letters)
		for _, l := range letters {
			require.True(t, strings.HasPrefix(l.URL, s.APIURL+"/webhooks/"+s.Tenant+"/"+p.name), l.URL)
			a := s.Sandbox.Post(l)
			require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		}
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
		noNewsWaits(t, s)
		require.Positive(t, stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1 AND signed AND status = 'applied'`, s.Tenant))
	})
}

// noNewsWaits waits until every stored event is applied, or ignored with a reason.
func noNewsWaits(t *testing.T, s *stacktest.Shop) {
	t.Helper()
	s.Eventually(func() (string, bool) {
		n := stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1 AND status = 'pending'`, s.Tenant)
		return fmt.Sprint(n, " pending"), n == 0
	})
}

// otherByte changes one byte of a text at i, to another of its kind.
func otherByte(text string, i int) string {
	b := []byte(text)
	switch c := b[i]; {
	case c == '9' || c == 'z' || c == 'Z':
		b[i]--
	case c >= '0' && c < '9', c >= 'a' && c < 'z', c >= 'A' && c < 'Z':
		b[i]++
	default:
		b[i] = 'x'
	}
	return string(b)
}

// forgeries are copies of a letter with one byte changed, each in another part
// of what its provider signs, the signature included.
func forgeries(t *testing.T, p provider, l stacktest.Letter) map[string]stacktest.Letter {
	t.Helper()
	out := map[string]stacktest.Letter{}
	header := func(name string, at func(value string) int) {
		f := l.Clone()
		value := f.Header.Get(name)
		f.Header.Set(name, otherByte(value, at(value)))
		out[fmt.Sprint("header ", name, " at ", at(value))] = f
	}
	body := func(at int) {
		f := l.Clone()
		f.Body = otherByte(f.Body, at)
		out[fmt.Sprint("body at ", at)] = f
	}
	end := func(v string) int { return len(v) - 3 }
	stamp := func(v string) int { return strings.IndexByte(v, '=') + 8 }
	switch p.name {
	case "stripe":
		header("Stripe-Signature", end)
		header("Stripe-Signature", stamp)
	case "khipu":
		header("X-Khipu-Signature", func(v string) int { return len(v) - 5 })
		header("X-Khipu-Signature", stamp)
	case "mercadopago":
		header("X-Signature", end)
		header("X-Signature", stamp)
		header("X-Request-Id", end)
		f := l.Clone()
		address, err := url.Parse(f.URL)
		require.NoError(t, err)
		query := address.Query()
		named := query.Get("data.id")
		query.Set("data.id", otherByte(named, len(named)-1))
		address.RawQuery = query.Encode()
		f.URL = address.String()
		out["data.id"] = f
		return out // nothing of the body is signed
	}
	body(strings.LastIndexAny(l.Body, "0123456789"))
	body(len(l.Body) / 2)
	body(len(l.Body) - 1)
	without := l.Clone()
	without.Header.Del("Stripe-Signature")
	without.Header.Del("X-Khipu-Signature")
	out["unsigned"] = without
	return out
}

func TestWebhooks_OneByteChangedIs401AndStoresNothing(t *testing.T) {
	t.Parallel()
	each(t, signs, func(t *testing.T, p provider) {
		s, c, letters := paidUnheard(t, p)
		calls := s.Sandbox.Calls(p.name)
		for _, l := range about(letters, c) {
			for what, f := range forgeries(t, p, l) {
				a := s.Sandbox.Post(f)
				require.Equal(t, http.StatusUnauthorized, a.Status, "%s: %s", what, a.Body)
				require.Equal(t, "bad_signature", a.Code(), what)
			}
		}
		require.Zero(t, stored(t, s))
		require.Equal(t, calls, s.Sandbox.Calls(p.name), "nobody was asked because of it")
		require.Equal(t, "awaiting_payment", s.Get(c.ID).Status)
		require.Equal(t, 200, s.Sandbox.Post(about(letters, c)[0]).Status, "and as it came it is taken")
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
	})
}

// The signature of another tenant's account proves nothing here.
func TestWebhooks_AnotherTenantsIs401(t *testing.T) {
	t.Parallel()
	each(t, signs, func(t *testing.T, p provider) {
		mine, c, letters := paidUnheard(t, p)
		theirs := stacktest.Shared(t).Shop(t)
		for _, l := range about(letters, c) {
			l.URL = strings.Replace(l.URL, "/"+mine.Tenant+"/", "/"+theirs.Tenant+"/", 1)
			require.Equal(t, http.StatusUnauthorized, theirs.Sandbox.Post(l).Status)
		}
		require.Zero(t, stored(t, theirs))
		require.Zero(t, stored(t, mine))
	})
}

func TestWebhooks_AnOldOneIsRefusedWhereTheProviderDocumentsATolerance(t *testing.T) {
	t.Parallel()
	p := providers[slices.IndexFunc(providers, func(p provider) bool { return p.name == "stripe" })]
	s, c, letters := paidUnheard(t, p)
	for _, l := range about(letters, c) {
		for _, age := range []time.Duration{301 * time.Second, time.Hour} {
			l.Header.Set("Stripe-Signature", stripeSignature(s.WebhookSecret(), time.Now().Add(-age), []byte(l.Body)))
			a := s.Sandbox.Post(l)
			require.Equal(t, http.StatusUnauthorized, a.Status, "%s", a.Body)
			require.Equal(t, "stale_signature", a.Code())
		}
	}
	require.Zero(t, stored(t, s))
	l := about(letters, c)[0]
	l.Header.Set("Stripe-Signature", stripeSignature(s.WebhookSecret(), time.Now().Add(-280*time.Second), []byte(l.Body)))
	require.Equal(t, http.StatusOK, s.Sandbox.Post(l).Status)
}

func TestWebhooks_TwentyTimesTheSameHaveOneEffect(t *testing.T) {
	t.Parallel()
	each(t, signs, func(t *testing.T, p provider) {
		s, c, letters := paidUnheard(t, p)
		letters = about(letters, c)
		answers := make(chan int, 20*len(letters))
		for range 20 {
			for _, l := range letters {
				go func() { answers <- s.Sandbox.Post(l).Status }()
			}
		}
		for range cap(answers) {
			require.Equal(t, http.StatusOK, <-answers)
		}
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
		for _, l := range letters { // and again, long after
			require.Equal(t, http.StatusOK, s.Sandbox.Post(l).Status)
		}
		for _, event := range s.Sandbox.Notices(p.name) {
			s.Sandbox.ResendNotice(p.name, event)
		}
		noNewsWaits(t, s)
		requirePaid(t, s, c.ID)
		require.Equal(t, 28, s.Available(stacktest.Product))
		require.Zero(t, stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM (SELECT event_id FROM inbox WHERE tenant = $1 AND event_id <> '' GROUP BY event_id HAVING count(*) > 1) twice`, s.Tenant))
	})
}

// The provider tells of a payment while the answer to its creation is on its way.
func TestWebhooks_BeforeTheAttemptIsKnownIsAppliedWhenItIs(t *testing.T) {
	t.Parallel()
	each(t, signs, func(t *testing.T, p provider) {
		s := p.open(t)
		s.Sandbox.Next(p.name, p.begin, "hold_answer", 1)
		answered := later(t, s, "POST", "/v1/checkouts", stacktest.Basket(p.name))
		s.Sandbox.AwaitHeld(p.name, 1)
		paymentID := stacktest.Value[string](t, s.Stack, `SELECT id FROM payments WHERE tenant = $1`, s.Tenant)
		s.Sandbox.Buyer(paymentID, "approve", "return", "false")
		s.Eventually(func() (string, bool) { n := stored(t, s); return fmt.Sprint(n, " stored"), n > 0 })
		s.Sandbox.Release(p.name)
		a := <-answered
		require.Contains(t, []int{201, 202}, a.Status, "%s", a.Body)
		c := stacktest.Decode[stacktest.Checkout](t, a)
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
		noNewsWaits(t, s)
	})
}

// A signed event of a payment that the database does not have (yet: it was
// restored, or is read from a replica) is kept and applied once it has.
func TestWebhooks_OfAPaymentThatIsNotThereIsKeptAndAppliedWhenItIs(t *testing.T) {
	t.Parallel()
	each(t, signs, func(t *testing.T, p provider) {
		s, c, letters := paidUnheard(t, p)
		hidden, reference := id.New(), s.Reference(c.Payment.ID)
		s.Exec(t, `UPDATE payments SET id = $2, reference = 'hidden', capture_ref = '' WHERE id = $1`, c.Payment.ID, hidden)
		for _, l := range about(letters, c) {
			require.Equal(t, http.StatusOK, s.Sandbox.Post(l).Status)
		}
		require.Positive(t, stored(t, s))
		require.Equal(t, "awaiting_payment", s.Get(c.ID).Status)
		s.Exec(t, `UPDATE payments SET id = $1, reference = $3 WHERE id = $2`, c.Payment.ID, hidden, reference)
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
		noNewsWaits(t, s)
	})
}

// hint is an unsigned notification that names something.
func hint(s *stacktest.Shop, p provider, c stacktest.Checkout, token string) stacktest.Letter {
	l := stacktest.Letter{Method: http.MethodPost, URL: s.APIURL + "/webhooks/" + s.Tenant + "/" + p.name, Header: http.Header{}}
	if p.name == "flow" {
		l.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		l.Body = url.Values{"token": {token}}.Encode()
		return l
	}
	l.Header.Set("Content-Type", "application/json")
	l.URL += "?" + url.Values{"payment": {c.Payment.ID}, "topic": {"payment"}, "id": {token}}.Encode()
	l.Body = `{"resource":"` + token + `","topic":"payment"}`
	return l
}

func unsigned(p provider) bool { return p.name == "flow" || p.name == "mercadopago" }

func TestHints_ForgedChangeNothingAndCauseOneLookUpAMinute(t *testing.T) {
	t.Parallel()
	each(t, unsigned, func(t *testing.T, p provider) {
		s := p.open(t)
		c := s.Checkout(p.name)
		named := func(i int) string { return fmt.Sprint(70_000_000_000 + i) } // a payment of Mercado Pago's that is none of ours
		if p.name == "flow" {
			token := s.Reference(c.Payment.ID)
			named = func(int) string { return token }
		}
		before := s.Sandbox.Calls(p.name)
		require.Equal(t, http.StatusOK, s.Sandbox.Post(hint(s, p, c, named(0))).Status)
		s.Eventually(func() (string, bool) {
			n := s.Sandbox.Calls(p.name)
			return fmt.Sprint(n-before, " calls"), n > before
		})
		noNewsWaits(t, s) // the look-up is over
		once := s.Sandbox.Calls(p.name) - before
		require.LessOrEqual(t, once, 3, "the calls of one look-up")

		for i := range 6 {
			a := s.Sandbox.Post(hint(s, p, c, named(i)))
			require.Contains(t, []int{200, 429}, a.Status, "%s", a.Body)
		}
		// The inbox loop has had its turns at them: a checkout's whole life goes by.
		other := s.Checkout("transbank")
		s.Sandbox.Buyer(other.Payment.ID, "approve")
		requirePaid(t, s, other.ID)
		require.Equal(t, before+once, s.Sandbox.Calls(p.name), "one look-up for all of them")
		require.LessOrEqual(t, stacktest.Value[int](t, s.Stack, `SELECT count(*)::int FROM inbox WHERE tenant = $1 AND payment_id = $2`, s.Tenant, c.Payment.ID), 7)
		c = s.Get(c.ID)
		require.Equal(t, "awaiting_payment", c.Status)
		require.Equal(t, "pending", c.Payment.Status)
		requireUncharged(t, s, c)

		// The genuine payment is not kept waiting by them.
		s.Sandbox.Buyer(c.Payment.ID, "approve")
		s.AwaitStatus(c.ID, "paid")
		requirePaid(t, s, c.ID)
	})
}

func TestHints_ThatNameNothingOfOursStoreNothing(t *testing.T) {
	t.Parallel()
	each(t, unsigned, func(t *testing.T, p provider) {
		s := p.open(t)
		calls := s.Sandbox.Calls(p.name)
		for range 3 {
			token := strings.ToUpper(id.New())
			if p.name == "mercadopago" {
				token = "71234567890"
			}
			nobodys := stacktest.Checkout{Payment: &stacktest.Payment{ID: id.New()}}
			a := s.Sandbox.Post(hint(s, p, nobodys, token))
			require.Contains(t, []int{200, 429}, a.Status, "%s", a.Body)
		}
		require.Zero(t, stored(t, s))
		require.Equal(t, calls, s.Sandbox.Calls(p.name))
	})
}

// Mercado Pago's old kind of notification is sent beside the signed one.
func TestHints_MercadoPagosUnsignedCopiesAlonePayTheOrder(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	s.Sandbox.Configure("mercadopago", map[string]any{"ipn_copies": true, "webhook_url": s.APIURL + "/webhooks/{tenant}/mercadopago"})
	s.Sandbox.Faults("mercadopago", map[string]any{"drop_webhooks": true})
	c := s.Checkout("mercadopago")
	s.Sandbox.Buyer(c.Payment.ID, "approve", "return", "false")
	sent := 0
	for _, l := range about(s.Sandbox.Letters("mercadopago"), c) {
		if l.Header.Get("X-Signature") == "" {
			sent++
			require.Equal(t, http.StatusOK, s.Sandbox.Post(l).Status)
		}
	}
	require.Positive(t, sent)
	s.AwaitStatus(c.ID, "paid")
	requirePaid(t, s, c.ID)
}

func TestWebhooks_OfAGatewayThatSendsNoneAre404(t *testing.T) {
	t.Parallel()
	s := stacktest.Shared(t).Shop(t)
	for _, path := range []string{"/webhooks/" + s.Tenant + "/transbank", "/webhooks/" + s.Tenant + "/paypal", "/webhooks/nobody/stripe"} {
		a, err := s.Try(t.Context(), tenant.Storefront, "POST", path, map[string]any{})
		require.NoError(t, err)
		require.Equal(t, 404, a.Status, path)
	}
}
