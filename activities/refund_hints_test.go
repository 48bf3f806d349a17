package activities_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/activities"
	"justlogistics/internal/payment"
	"justlogistics/internal/shoptest"
)

// nameless is a provider that can be asked for a refund only by the name that it
// gave it.
type nameless struct {
	*provider
	known map[string]payment.RefundAnswer
	asked []string
	// away is what the next question comes to.
	away error
}

func (g *nameless) Gateway(ctx context.Context, tenant string, name payment.Name) (payment.Gateway, error) {
	if _, err := g.provider.Gateway(ctx, tenant, name); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *nameless) LookupRefund(_ context.Context, in payment.RefundIntent) (payment.LookedRefund, error) {
	g.asked = append(g.asked, in.Reference)
	if err := g.away; err != nil {
		g.away = nil
		return payment.UntriedRefund, err
	}
	if in.Reference == "" {
		return payment.AskedRefund(payment.RefundAnswer{Outcome: payment.OutcomeUnknown, Code: payment.CodeRefundUntraced}), nil
	}
	a, ok := g.known[in.Reference]
	if !ok {
		return payment.UntriedRefund, &payment.Failure{Gateway: payment.Flow, Class: payment.ClassInvalid, Code: "no such token"}
	}
	return payment.AskedRefund(a), nil
}

// lostRefund is a refund of 1,000 whose answer was lost.
func lostRefund(t *testing.T, known map[string]payment.RefundAnswer) (b *bundle, g *nameless, part activities.RefundRef) {
	t.Helper()
	b = ordered(t, tokenApproved)
	g = &nameless{provider: b.g, known: known}
	b.payments.Gateways = g
	_, v := b.asked(t, goodwill(1_000))
	b.g.after = func() (payment.Outcome, error) { return payment.OutcomeUnknown, nil }
	answer, err := b.payments.RefundPayment(t.Context(), partOf(v, 0))
	require.NoError(t, err)
	require.Equal(t, payment.OutcomeUnknown, answer.Outcome)
	return b, g, partOf(v, 0)
}

// hint is news of the refund that anybody may have sent.
func (b *bundle) hint(t *testing.T, part activities.RefundRef, reference string) {
	t.Helper()
	b.Do(t, func(tx pgx.Tx) error {
		return payment.TraceRefund(t.Context(), tx, shoptest.Tenant, part.RefundID, reference, false)
	})
}

func (b *bundle) reference(t *testing.T, part activities.RefundRef) string {
	t.Helper()
	return shoptest.Value[string](t, b.Shop, `SELECT reference FROM refunds WHERE id = $1`, part.RefundID)
}

func TestRefundPayment_AForgedNameDoesNotBlockTheGenuineOne(t *testing.T) {
	t.Parallel()
	done := payment.RefundAnswer{Outcome: payment.OutcomeApproved, Reference: "genuine", Amount: 1_000}
	forged := map[string]payment.RefundAnswer{
		"of another amount":               {Outcome: payment.OutcomeUnknown, Reference: "forged", Amount: 500, Code: "another_amount"},
		"refused, of another amount":      {Outcome: payment.OutcomeDeclined, Reference: "forged", Amount: 500, Code: "rejected"},
		"that the provider can't tell of": {Outcome: payment.OutcomeUnknown, Reference: "forged", Amount: 1_000, Code: "unknown_status"},
		"that there is none of":           {},
	}
	for name, a := range forged {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := map[string]payment.RefundAnswer{"genuine": done}
			if a.Outcome != "" {
				known["forged"] = a
			}
			b, g, part := lostRefund(t, known)
			b.hint(t, part, "forged")
			answer, err := b.payments.RefundPayment(t.Context(), part)
			require.NoError(t, err)
			require.Equal(t, payment.CodeRefundUntraced, answer.Code)
			require.Empty(t, answer.Reference, "a name that is not proven is not recorded")
			require.Equal(t, []string{"forged", ""}, g.asked)
			require.NoError(t, b.payments.PutRefund(t.Context(), part, "unknown", answer, 60))
			require.Empty(t, b.reference(t, part))

			b.hint(t, part, "genuine")
			answer, err = b.payments.RefundPayment(t.Context(), part)
			require.NoError(t, err)
			require.Equal(t, done, answer)
			require.Equal(t, []string{"forged", "", "genuine"}, g.asked)
			b.hint(t, part, "forged")
			require.Equal(t, "genuine", b.reference(t, part))
			answer, err = b.payments.LookupRefund(t.Context(), part)
			require.NoError(t, err)
			require.Equal(t, done, answer)
			require.Len(t, b.g.refunds, 1, "it was sent once")
		})
	}
}

func TestRefundPayment_AForgedNameAfterTheGenuineOneIsPassedOver(t *testing.T) {
	t.Parallel()
	pending := payment.RefundAnswer{Outcome: payment.OutcomePending, Reference: "genuine", Amount: 1_000}
	b, g, part := lostRefund(t, map[string]payment.RefundAnswer{"genuine": pending})
	b.hint(t, part, "genuine")
	b.hint(t, part, "forged")
	g.away = &payment.Failure{Gateway: payment.Flow, Class: payment.ClassUnavailable}
	_, err := b.payments.RefundPayment(t.Context(), part)
	require.Equal(t, activities.TypeUnavailable, activities.ErrorType(err))
	answer, err := b.payments.RefundPayment(t.Context(), part)
	require.NoError(t, err)
	require.Equal(t, pending, answer)
	require.Equal(t, []string{"forged", "forged", "genuine"}, g.asked, "a provider that is away has refuted nothing")
	require.Equal(t, "genuine", b.reference(t, part))
}
