package audit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAudit_NamesEventsThatNobodyIsTold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		check, subject, breaks string
	}{
		{"events.are_published", "paid", `UPDATE events SET outbound = true, created_at = now() - interval '6 minutes' WHERE kind = 'order_paid' AND subject = '{paid}'; DELETE FROM public_events WHERE type = 'order.paid' AND subject = '{paid}'`},
		{"events.are_published", "", `DELETE FROM public_events WHERE position = 2`},
		{"events.are_published", "", `UPDATE feeds SET position = position + 1`},
		{"events.are_delivered_or_tried", "endpoint", `UPDATE event_deliveries SET next_try_at = now() - interval '6 minutes' WHERE status = 'pending'; UPDATE event_endpoints SET claimed_at = now() - interval '6 minutes'`},
		{"events.are_delivered_or_tried", "endpoint", `UPDATE event_endpoints SET status = 'disabled', disabled_reason = 'gone'`},
	} {
		t.Run(tc.check, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			whole := s.audit()
			require.True(t, whole.OK(), "%+v", whole.Checks)
			s.broken(tc.breaks)
			subject := shopID
			if tc.subject != "" {
				subject = s.ids[tc.subject]
			}
			requireNamed(t, s.audit(), tc.check, subject)
		})
	}
}

func TestAudit_DeliveriesMayWaitWhileTheStackIsDownOrTheEndpointRests(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.broken(`UPDATE event_deliveries SET next_try_at = now() - interval '6 minutes' WHERE status = 'pending'; UPDATE event_endpoints SET claimed_at = now() - interval '6 minutes';
	  UPDATE events SET outbound = true, created_at = now() - interval '6 minutes' WHERE kind = 'stock_held'`)
	r, err := Run(t.Context(), s.db, Options{Patience: time.Millisecond})
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Checks)
	s.broken(`UPDATE event_endpoints SET resting_until = now() + interval '1 hour'; UPDATE events SET outbound = false`)
	require.True(t, s.audit().OK())
	s.broken(`UPDATE event_endpoints SET resting_until = NULL, claimed_at = now()`)
	require.True(t, s.audit().OK(), "a slow endpoint has its turns")
}
