package sandbox

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// parcel is a booking at a carrier and the life of its parcel. The carriers tell of
// it each in its own words.
type parcel struct {
	Sequence uint64 `json:"sequence"`
	Carrier  string `json:"carrier"`
	Account  string `json:"account"` // the tenant's
	// Reference is the merchant's; Order what people call it; Tracking the
	// carrier's number, empty until it is given; Issue the carrier's id beside it.
	Reference string       `json:"reference"`
	Order     string       `json:"order"`
	Tracking  string       `json:"tracking"`
	Issue     string       `json:"issue"`
	Status    parcelStatus `json:"status"`
	Voided    bool         `json:"voided"`
	Failures  int          `json:"failures"`
	Moves     []parcelMove `json:"moves"` // the oldest first
	CreatedAt time.Time    `json:"created_at"`

	From    string `json:"from"` // comunas, as the state names them
	To      string `json:"to"`
	Region  string `json:"region"` // where it goes
	Service string `json:"service"`
	Point   string `json:"point"` // id of the branch that it goes to
	Format  string `json:"format"`
	Grams   int    `json:"grams"`
	Price   int64  `json:"price"`
}

// parcelMove is what happened to a parcel, and where. Text and Code, when set, are
// told in the place of the carrier's usual words.
type parcelMove struct {
	Status parcelStatus `json:"status"`
	At     time.Time    `json:"at"`
	Where  string       `json:"where"`
	Text   string       `json:"text,omitempty"`
	Code   string       `json:"code,omitempty"`
}

type parcelStatus string

const (
	parcelAnnounced parcelStatus = "announced"
	parcelHanded    parcelStatus = "handed_over"
	parcelInTransit parcelStatus = "in_transit"
	parcelOut       parcelStatus = "out_for_delivery"
	parcelDelivered parcelStatus = "delivered"
	parcelFailed    parcelStatus = "delivery_failed"
	parcelReturned  parcelStatus = "returned_to_sender"
	parcelLost      parcelStatus = "lost"
)

// parcelMoves are the statuses that a parcel can be moved to.
var parcelMoves = []parcelStatus{parcelHanded, parcelInTransit, parcelOut, parcelDelivered, parcelFailed, parcelReturned, parcelLost}

// over: nothing happens to the parcel any more.
func (x *parcel) over() bool {
	return x.Voided || x.Status == parcelDelivered || x.Status == parcelReturned || x.Status == parcelLost
}

// ledgerLabel is a label that a carrier has made: a booking that it took.
type ledgerLabel struct {
	Carrier   string       `json:"carrier"`
	Reference string       `json:"reference"`
	Tracking  string       `json:"tracking"`
	Status    parcelStatus `json:"status"`
	Voided    bool         `json:"voided"`
	Account   string       `json:"account"`
	CreatedAt time.Time    `json:"created_at"`
}

func (x *parcel) label() ledgerLabel {
	return ledgerLabel{x.Carrier, x.Reference, x.Tracking, x.Status, x.Voided, x.Account, x.CreatedAt}
}

// carrierConfig is what PUT /config/{carrier} sets; what is absent is the default.
type carrierConfig struct {
	// MovesMS is how long it takes from one status to the named next one; 0: never
	// by itself. out_for_delivery after delivery_failed is the second try.
	MovesMS map[parcelStatus]int `json:"moves_ms"`
	// FailRate of tries at the door that find nobody, LostRate of parcels that are
	// never seen again, from 0 to 1. Which ones, follows from their numbers.
	FailRate float64 `json:"fail_rate"`
	LostRate float64 `json:"lost_rate"`
	// IssueMS is how long a number takes, of a carrier that gives it later (1500).
	IssueMS *int `json:"issue_ms"`
	// ZeroQuotes: one of the offers costs nothing, as happens.
	ZeroQuotes bool `json:"zero_quotes"`
}

// movesMS are the defaults: a parcel is home two minutes after it was booked, so
// that a demonstration has an end.
var movesMS = map[parcelStatus]int{
	parcelHanded: 30_000, parcelInTransit: 15_000, parcelOut: 45_000, parcelDelivered: 30_000,
	parcelFailed: 30_000, parcelReturned: 45_000, parcelLost: 60_000,
}

// parcelDesk is what the stand-ins of all carriers have in common.
type parcelDesk struct {
	s       *Server
	carrier string
}

func (d *parcelDesk) name() string { return d.carrier }

func (*parcelDesk) buckets() []string { return nil }

func (*parcelDesk) start(context.Context, *sync.WaitGroup) error { return nil }

func (d *parcelDesk) settings(t *tx) carrierConfig { return carrierSettings(t, d.carrier) }

func carrierSettings(t *tx, carrier string) carrierConfig {
	stored, _ := get[carrierConfig](t, bucketConfig, carrier)
	moves := map[parcelStatus]int{}
	for status, ms := range movesMS {
		if set, is := stored.MovesMS[status]; is {
			ms = set
		}
		moves[status] = ms
	}
	stored.MovesMS = moves
	if stored.IssueMS == nil {
		usual := 1500
		stored.IssueMS = &usual
	}
	return stored
}

func (d *parcelDesk) configure(t *tx, raw []byte) (any, error) {
	var c carrierConfig
	if err := decodeOwn(raw, &c); err != nil {
		return nil, err
	}
	for status, ms := range c.MovesMS {
		if !slices.Contains(parcelMoves, status) || ms < 0 {
			return nil, invalidInput{fmt.Sprintf("moves_ms has the statuses %v, each with milliseconds that are not negative", parcelMoves)}
		}
	}
	if c.FailRate < 0 || c.FailRate > 1 || c.LostRate < 0 || c.LostRate > 1 || c.IssueMS != nil && *c.IssueMS < 0 {
		return nil, invalidInput{"a rate is from 0 to 1, and a time is not negative"}
	}
	put(t, bucketConfig, d.carrier, c)
	return d.settings(t), nil
}

func (d *parcelDesk) configuration(t *tx, _ url.Values) (any, error) { return d.settings(t), nil }

// book takes a parcel: it is announced, and in the ledger. One without a number
// does not move before number gives it one.
func (d *parcelDesk) book(t *tx, x parcel) parcel {
	x.Sequence = t.next(bucketParcels)
	x.Carrier, x.CreatedAt, x.Status = d.carrier, d.s.now(), parcelAnnounced
	x.Moves = []parcelMove{{Status: parcelAnnounced, At: x.CreatedAt, Where: x.From}}
	t.index(x, "account", x.Account)
	t.index(x, "reference", x.Account+"/"+x.Reference)
	if x.Issue != "" {
		t.index(x, "issue", x.Account+"/"+x.Issue)
	}
	if x.Tracking != "" {
		d.number(t, &x, x.Tracking)
	}
	t.keep(x)
	return x
}

// number gives a parcel its tracking number, from when on it moves.
func (d *parcelDesk) number(t *tx, x *parcel, tracking string) {
	x.Tracking = tracking
	t.index(*x, "tracking", tracking)
	t.plan(*x, d.s.now())
}

// index makes a parcel findable by a name that several may have.
func (t *tx) index(x parcel, kind, name string) {
	key := x.Carrier + "/" + kind + "/" + name
	all, _ := get[[]uint64](t, bucketParcelIndex, key)
	put(t, bucketParcelIndex, key, append(all, x.Sequence))
}

func (t *tx) keep(x parcel) { put(t, bucketParcels, ordered(x.Sequence), x) }

// parcelsBy finds the parcels of a carrier by a name of theirs, the oldest first.
func (t *tx) parcelsBy(carrier, kind, name string) []parcel {
	var found []parcel
	all, _ := get[[]uint64](t, bucketParcelIndex, carrier+"/"+kind+"/"+name)
	for _, n := range all {
		if x, is := get[parcel](t, bucketParcels, ordered(n)); is {
			found = append(found, x)
		}
	}
	return found
}

// byTracking finds an account's parcel by its number.
func (d *parcelDesk) byTracking(t *tx, account, tracking string) (parcel, bool) {
	for _, x := range t.parcelsBy(d.carrier, "tracking", tracking) {
		if x.Account == account {
			return x, true
		}
	}
	return parcel{}, false
}

// parcelNumber draws a number that no parcel of the carrier has.
func (d *parcelDesk) parcelNumber(t *tx, prefix string, length int) string {
	for {
		n := prefix + randomText(length-len(prefix), digits)
		if len(t.parcelsBy(d.carrier, "tracking", n)) == 0 && n[0] != '0' {
			return n
		}
	}
}

// plan puts a parcel's next move of its own on the list.
func (t *tx) plan(x parcel, from time.Time) {
	next := x.next(carrierSettings(t, x.Carrier))
	if next == "" {
		return
	}
	wait := carrierSettings(t, x.Carrier).MovesMS[next]
	if wait == 0 {
		return
	}
	at := from.Add(time.Duration(wait) * time.Millisecond)
	put(t, bucketParcelsDue, ordered(uint64(at.UnixMilli()))+ordered(x.Sequence), plannedMove{x.Sequence, next, len(x.Moves)})
}

// plannedMove is void when the parcel has moved otherwise meanwhile.
type plannedMove struct {
	Parcel uint64       `json:"parcel"`
	To     parcelStatus `json:"to"`
	Moves  int          `json:"moves"`
}

// next is what happens to a parcel by itself; empty: nothing more. Two tries at the
// door, then it goes back.
func (x *parcel) next(c carrierConfig) parcelStatus {
	switch {
	case x.over():
		return ""
	case x.Status == parcelAnnounced:
		return parcelHanded
	case x.Status == parcelHanded:
		return parcelInTransit
	case x.Status == parcelInTransit && x.chance("lost", c.LostRate):
		return parcelLost
	case x.Status == parcelInTransit:
		return parcelOut
	case x.Status == parcelOut && x.chance(fmt.Sprint("failed", x.Failures), c.FailRate):
		return parcelFailed
	case x.Status == parcelOut:
		return parcelDelivered
	case x.Status == parcelFailed && x.Failures < 2:
		return parcelOut
	}
	return parcelReturned
}

// chance is true for the share rate of parcels, always the same for one.
func (x *parcel) chance(what string, rate float64) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(what + x.Tracking)) // never fails
	return float64(h.Sum32()%10_000) < rate*10_000
}

var errParcelOver = errors.New("the parcel's journey is over")

// move lets something happen to a parcel.
func (t *tx) move(x parcel, m parcelMove) (parcel, error) {
	if x.over() {
		return x, fmt.Errorf("%w: %s is %s", errParcelOver, x.Tracking, x.Status)
	}
	if m.Status == parcelFailed {
		x.Failures++
	}
	if m.Where == "" {
		m.Where = x.To
		if m.Status == parcelHanded || m.Status == parcelReturned {
			m.Where = x.From
		}
	}
	x.Status = m.Status
	x.Moves = append(x.Moves, m)
	t.keep(x)
	t.plan(x, m.At)
	return x, nil
}

// cancel voids a parcel that nobody has taken over; false when it is too late.
func (t *tx) cancel(x parcel) bool {
	if x.Voided || x.Status != parcelAnnounced {
		return false
	}
	x.Voided = true
	t.keep(x)
	return true
}

// moveParcels is the clockwork of all carriers.
func (s *Server) moveParcels(ctx context.Context) {
	s.running.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := s.moveDue(); err != nil {
				s.log.Error("move parcels", "error", err)
			}
		}
	})
}

func (s *Server) moveDue() error {
	now := s.now()
	limit := ordered(uint64(now.UnixMilli()) + 1)
	due := map[string]plannedMove{}
	err := s.store.view(func(t *tx) {
		each(t, bucketParcelsDue, "", func(key string, d plannedMove) bool {
			if key >= limit || len(due) == 200 {
				return false
			}
			due[key] = d
			return true
		})
	})
	if err != nil || len(due) == 0 {
		return err
	}
	return s.store.update(func(t *tx) {
		for _, key := range sortedKeys(due) {
			d := due[key]
			t.remove(bucketParcelsDue, key)
			x, found := get[parcel](t, bucketParcels, ordered(d.Parcel))
			if !found || x.over() || len(x.Moves) != d.Moves {
				continue
			}
			if _, err := t.move(x, parcelMove{Status: d.To, At: now}); err != nil {
				t.fail(err)
			}
		}
	})
}

// serveParcels adds POST /carriers/{tracking}/{status}, by which a test or a person
// lets something happen to a parcel; ?text=, ?code= and ?where= are told in the place
// of the carrier's usual words.
func (s *Server) serveParcels() {
	s.mux.HandleFunc("POST /carriers/{tracking}/{status}", func(w http.ResponseWriter, r *http.Request) {
		tracking, status := r.PathValue("tracking"), parcelStatus(r.PathValue("status"))
		if !slices.Contains(parcelMoves, status) {
			s.refused(w, invalidInput{fmt.Sprintf("a parcel can be %v", parcelMoves)})
			return
		}
		query := r.URL.Query()
		var label ledgerLabel
		var refusal error
		err := s.store.update(func(t *tx) {
			refusal = fmt.Errorf("parcel %s: %w", tracking, errNotFound)
			for _, carrier := range sortedKeys(s.carriers) {
				for _, x := range t.parcelsBy(carrier, "tracking", tracking) {
					move := parcelMove{Status: status, At: s.now(), Where: query.Get("where"), Text: query.Get("text"), Code: query.Get("code")}
					x, refusal = t.move(x, move)
					label = x.label()
					return
				}
			}
		})
		if err = errors.Join(err, refusal); err != nil {
			s.refused(w, err)
			return
		}
		s.writeJSON(w, http.StatusOK, label)
	})
}

// cost is what a parcel costs in pesos: by the weight or the size, whichever is more,
// and dearer out of the region.
func cost(grams, volumetricGrams int, sameRegion bool) int64 {
	price := int64(2990) + int64(max(grams, volumetricGrams)+999)/1000*450
	if !sameRegion {
		price += 1800
	}
	return price
}

// firstOr is a, or b where a is empty.
func firstOr(a, b string) string {
	if strings.TrimSpace(a) == "" {
		return b
	}
	return a
}
