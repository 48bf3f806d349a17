package e2e_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/returns"
	"justlogistics/internal/stacktest"
	"justlogistics/internal/tenant"
)

// faulty asks for the same as backAsked, and it is the shop's fault.
func faulty(t *testing.T, s *stacktest.Shop, o stacktest.Order, units int) (path, run string) {
	t.Helper()
	return backAsked(t, s, o, units, map[string]any{"lines": []any{map[string]any{"line_id": o.Lines[0].LineID, "quantity": units, "reason": "defective"}}})
}

// returnByCarrier: a label is bought with the approval, the carrier brings the parcel, and
// all of the money goes back.
func returnByCarrier(t *testing.T, s *stacktest.Shop) map[string]string {
	o := atHome(t, s)
	path, run := faulty(t, s, o, 1)
	r := awaitReturn(t, s, path, returns.LabelIssued)
	require.Zero(t, r.Label.Fee, "the shop pays")
	made := labelsOf(s, false)
	require.Len(t, made, 1)
	require.Equal(t, r.Parcels[0].Tracking, made[0].Tracking)
	a := s.Call(tenant.Storefront, "GET", path+"/labels.pdf", nil)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	a, err := s.Visit(t.Context(), r.Label.Path)
	require.NoError(t, err)
	require.Equal(t, 200, a.Status)
	require.True(t, bytes.HasPrefix(a.Body, []byte("%PDF-")), "the buyer prints it")

	s.Sandbox.Parcel(r.Parcels[0].Tracking, "in_transit")
	awaitReturn(t, s, path, returns.InTransit)
	a, err = s.Visit(t.Context(), r.Label.Path)
	require.NoError(t, err)
	require.Equal(t, 404, a.Status, "it has been used")
	s.Sandbox.Parcel(r.Parcels[0].Tracking, "delivered")
	s.Eventually(func() (string, bool) {
		now := awaitReturn(t, s, path, returns.InTransit)
		return fmt.Sprint(now.Parcels), now.ArrivedAt != nil
	})
	bench(t, s, path+"/receive", map[string]any{"lines": line(o, 1, nil)})
	bench(t, s, path+"/inspect", map[string]any{"units": line(o, 1, map[string]any{"grade": "C", "disposition": "scrap"})})
	out := awaitReturn(t, s, path, returns.Closed)
	require.Equal(t, out.Units[0].Paid, out.Refunded)
	s.AwaitClosed(run)
	require.Len(t, labelsOf(s, false), 1)
	nothingStuck(s)
	return map[string]string{"return": run}
}

// returnLabelUnused: a buyer asks for a label, pays for it by the rules, and never sends
// the parcel: it is cancelled at the carrier.
func returnLabelUnused(t *testing.T, s *stacktest.Shop) map[string]string {
	o := atHome(t, s)
	path, run := backAsked(t, s, o, 1, nil)
	a := s.Call(tenant.Storefront, "POST", path+"/label", map[string]any{"carrier": "correos"})
	require.Contains(t, []int{200, 202}, a.Status, "%s", a.Body)
	r := awaitReturn(t, s, path, returns.LabelIssued)
	require.Positive(t, r.Label.Fee, "the buyer pays the way back")
	s.Do(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE returns SET version = version + 1, reminded = 2, expires_at = now() - interval '1 hour', due_at = now() + interval '1 hour' WHERE tenant = $1`, s.Tenant)
		return err
	})
	awaitReturn(t, s, path, returns.Expired)
	s.AwaitClosed(run)
	voided := labelsOf(s, true)
	require.Len(t, voided, 1)
	require.Equal(t, "correos", voided[0].Carrier)
	require.Empty(t, labelsOf(s, false))
	require.Empty(t, s.Sandbox.Ledger().Refunds)
	nothingStuck(s)
	return map[string]string{"return": run}
}

// returnLost: nobody makes a label at first, then the answer to one is lost, and then the
// carrier loses the parcel: the buyer has the money.
func returnLost(t *testing.T, s *stacktest.Shop) map[string]string {
	o := atHome(t, s)
	for _, carrier := range carriersOut {
		s.Sandbox.Faults(carrier, map[string]any{"outage": true})
	}
	path, run := faulty(t, s, o, 2)
	parked(s, run, "no_return_label")
	for _, carrier := range carriersOut {
		s.Sandbox.Faults(carrier, map[string]any{})
	}
	s.Do(func(tx pgx.Tx) error { // by one that can be asked what became of a label
		_, err := tx.Exec(t.Context(), `UPDATE returns SET label_asked_carrier = 'chilexpress' WHERE tenant = $1`, s.Tenant)
		return err
	})
	s.Sandbox.Next("chilexpress", "create_order", "cut_after", 1)
	use(t, s, run, "retry", nil)
	r := awaitReturn(t, s, path, returns.LabelIssued)
	require.Len(t, labelsOf(s, false), 1, "one label, although an answer was lost")
	s.Sandbox.Parcel(r.Parcels[0].Tracking, "in_transit")
	awaitReturn(t, s, path, returns.InTransit)
	s.Sandbox.Parcel(r.Parcels[0].Tracking, "lost")
	parked(s, run, "return_lost")
	require.Equal(t, 422, s.Use(run, "resolve", map[string]any{"outcome": "delivered"}).Status)
	use(t, s, run, "resolve", map[string]any{"outcome": "lost"})
	out := awaitReturn(t, s, path, returns.Closed)
	require.GreaterOrEqual(t, out.Refunded, out.Units[0].Paid+out.Units[1].Paid, "with the freight, if that is all of the order")
	s.AwaitClosed(run)
	nothingStuck(s)
	return map[string]string{"return": run}
}
