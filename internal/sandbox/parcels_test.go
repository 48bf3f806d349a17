package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// carry books a parcel straight at the desk of a carrier.
func (b *bundle) carry(carrier, reference string) parcel {
	b.t.Helper()
	var x parcel
	desk := &parcelDesk{b.server, carrier}
	require.NoError(b.t, b.server.store.update(func(t *tx) {
		x = desk.book(t, parcel{Account: "demo", Reference: reference, Tracking: desk.parcelNumber(t, "7", 11), From: "Providencia", To: "Concepción"})
	}))
	return x
}

func (b *bundle) parcelLabels() []ledgerLabel {
	b.t.Helper()
	var out struct {
		Labels []ledgerLabel `json:"labels"`
	}
	require.NoError(b.t, json.Unmarshal(b.own(http.MethodGet, "/ledger", "").raw, &out))
	return out.Labels
}

// awaitStatus lets the clock go until a parcel has a status.
func (b *bundle) awaitStatus(tracking string, want parcelStatus, step time.Duration) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		for _, l := range b.parcelLabels() {
			if l.Tracking == tracking && l.Status == want {
				return true
			}
		}
		b.clock.advance(step)
		return false
	}, 10*time.Second, 20*time.Millisecond, "status %s", want)
}

func TestParcels_MoveByThemselvesUntilTheyAreHome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	x := b.carry(chilexpressName, "R1")
	require.Equal(t, parcelAnnounced, b.parcelLabels()[0].Status)
	b.awaitStatus(x.Tracking, parcelDelivered, 10*time.Second)
	require.Equal(t, 409, b.own(http.MethodPost, "/carriers/"+x.Tracking+"/lost", "").status, "it is over")
}

func TestParcels_AreTriedTwiceAtTheDoorAndGoBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, 200, b.own(http.MethodPut, "/config/chilexpress", `{"fail_rate":1}`).status)
	x := b.carry(chilexpressName, "R1")
	b.awaitStatus(x.Tracking, parcelReturned, 10*time.Second)
	require.NoError(t, b.server.store.view(func(tx *tx) {
		x = tx.parcelsBy(chilexpressName, "tracking", x.Tracking)[0]
	}))
	var seen []string
	for _, m := range x.Moves {
		seen = append(seen, string(m.Status))
	}
	require.Equal(t, "announced handed_over in_transit out_for_delivery delivery_failed out_for_delivery delivery_failed returned_to_sender", strings.Join(seen, " "))
}

func TestParcels_AreLostAtTheRateAsked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(http.MethodPut, "/config/chilexpress", `{"lost_rate":1}`)
	x := b.carry(chilexpressName, "R1")
	b.awaitStatus(x.Tracking, parcelLost, 10*time.Second)
}

func TestParcels_MoveByHandAndNoLongerByTheOldPlan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.own(http.MethodPut, "/config/chilexpress", `{"moves_ms":{"handed_over":60000,"out_for_delivery":0,"in_transit":0}}`)
	x := b.carry(chilexpressName, "R1")
	require.Equal(t, 200, b.own(http.MethodPost, "/carriers/"+x.Tracking+"/in_transit", "").status)
	b.clock.advance(2 * time.Minute)
	require.NoError(t, b.server.moveDue())
	require.Equal(t, parcelInTransit, b.parcelLabels()[0].Status)
	require.Equal(t, 400, b.own(http.MethodPost, "/carriers/"+x.Tracking+"/eaten", "").status)
	require.Equal(t, 404, b.own(http.MethodPost, "/carriers/123/delivered", "").status)
	require.Equal(t, 400, b.own(http.MethodPut, "/config/chilexpress", `{"moves_ms":{"eaten":1}}`).status)
	require.Equal(t, 400, b.own(http.MethodPut, "/config/chilexpress", `{"lost_rate":2}`).status)
}

func TestCarrierPlaces_HaveACodeOfTheirOwnEach(t *testing.T) {
	t.Parallel()
	for _, letters := range []int{3, 4} {
		seen := map[string]string{}
		all := carrierPlaces(letters, map[string]string{"Providencia": strings.Repeat("P", letters)})
		require.Len(t, all, 346)
		for _, p := range all {
			require.Len(t, p.code, letters)
			require.Empty(t, seen[p.code], "%s and %s", p.official, seen[p.code])
			seen[p.code] = p.official
		}
	}
}
