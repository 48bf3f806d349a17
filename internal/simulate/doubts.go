package simulate

import (
	"context"
	"sync"
	"time"
)

// doubt is a buyer's second thought: it comes when the parcel is at the packer's, who
// goes on when the buyer has spoken. So orders are stopped at every step before the
// door, which chance alone seldom does.
type doubt struct {
	atPacker, spoken chan struct{}
	once             sync.Once
}

// How long a buyer waits for its parcel to come to a packer, and a packer for the
// buyer.
const (
	longestDoubt = 30 * time.Second
	longestMind  = 15 * time.Second
)

func (r *run) toTheDoor() bool { return r.shift != nil && r.shift.out != nil }

// doubts has a buyer wait until its order is at a packer's, in a run that goes to the
// door. What it returns is called when the buyer has spoken.
func (v *visit) doubts(ctx context.Context, orderID string) (spoken func()) {
	if !v.run.toTheDoor() || v.buyer().N%4 == 0 {
		return func() {}
	}
	s := v.run.shift
	d := &doubt{atPacker: make(chan struct{}), spoken: make(chan struct{})}
	s.mu.Lock()
	s.out.doubts[orderID] = d
	s.mu.Unlock()
	timer := time.NewTimer(longestDoubt)
	defer timer.Stop()
	select {
	case <-d.atPacker:
	case <-timer.C:
	case <-ctx.Done():
	}
	return sync.OnceFunc(func() { close(d.spoken) })
}

// minds waits for the buyer of a shipment that has doubts; false when there is none.
func (b *bench) minds(ctx context.Context, x shipment) bool {
	if x.Status != b.mindsAt {
		return false
	}
	b.shift.mu.Lock()
	d := b.shift.out.doubts[x.OrderID]
	b.shift.mu.Unlock()
	if d == nil || b.minded {
		return false
	}
	b.minded = true
	d.once.Do(func() { close(d.atPacker) })
	timer := time.NewTimer(longestMind)
	defer timer.Stop()
	select {
	case <-d.spoken:
		b.shift.did("buyers_minded_while_" + x.Status)
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// isDisputed waits until the API knows of a dispute, or for a while: banks' messages
// get lost.
func (v *visit) isDisputed(ctx context.Context, orderID string) {
	ctx, cancel := context.WithTimeout(ctx, longestMind/2)
	defer cancel()
	for rest(ctx, 100*time.Millisecond) == nil {
		var o order
		if v.shop.get(ctx, "/v1/orders/"+orderID, &o) != nil {
			return
		}
		if paid, ok := o.applied(); ok && paid.Status == "disputed" {
			return
		}
	}
}
