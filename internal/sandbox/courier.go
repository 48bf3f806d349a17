package sandbox

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// giveUpAfter is how long a notification is tried (Stripe in live mode; others
// say two days or nothing).
const giveUpAfter = 72 * time.Hour

// delivery is a notification on its way. It stays on disk until the merchant
// answers 2xx, so that a restart goes on with it.
type delivery struct {
	// Event is the provider's key of what the notification is about.
	Event     string    `json:"event"`
	CreatedAt time.Time `json:"created_at"`
	NextAt    time.Time `json:"next_at"`
	Attempts  int       `json:"attempts"`
	Drawn     bool      `json:"drawn"` // the faults have had their say
}

// correspondent is a provider that notifies.
type correspondent interface {
	name() string
	// letter is the request that brings a notification, made and signed anew at
	// each try from what the state says by then.
	letter(t *tx, d delivery) (*http.Request, error)
	// delivered is told when a notification has arrived, was dropped or given up.
	delivered(t *tx, d delivery)
	// known reports whether Event is one of its own, for sending it again.
	known(t *tx, event string) bool
}

// courier sends a provider's deliveries: several at once, each signed anew at
// each try, through the provider's faults (dropped, twice, late).
type courier struct {
	s      *Server
	from   correspondent
	client *http.Client
	wake   chan struct{}

	mu    sync.Mutex
	queue dueQueue
}

const couriers = 16

func newCourier(s *Server, from correspondent) *courier {
	c := &courier{
		s:    s,
		from: from,
		wake: make(chan struct{}, 1),
		client: &http.Client{
			Timeout:       20 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: couriers, IdleConnTimeout: 30 * time.Second},
		},
	}
	s.couriers[from.name()] = c
	return c
}

// due is a delivery in memory; its key orders those of the same moment.
type due struct {
	key string
	at  time.Time
}

type dueQueue []due

func (q dueQueue) Len() int      { return len(q) }
func (q dueQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q dueQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].key < q[j].key
	}
	return q[i].at.Before(q[j].at)
}
func (q *dueQueue) Push(x any) { *q = append(*q, x.(due)) }
func (q *dueQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// bucket holds what is on its way; Open makes it for every provider.
func (c *courier) bucket() string { return deliveriesOf(c.from.name()) }

func deliveriesOf(provider string) string { return provider + "_deliveries" }

// postedOf holds the events of which a provider has ever told, in their order.
func postedOf(provider string) string { return provider + "_posted" }

// counter names how often a provider's deliveries ended in a way.
func (c *courier) counter(end string) string { return "deliveries_" + c.from.name() + "_" + end }

// post stores a delivery; it is sent once the transaction is durable.
func (c *courier) post(t *tx, d delivery) {
	if d.NextAt.IsZero() {
		d.NextAt = d.CreatedAt
	}
	key := ordered(t.next(c.bucket()))
	put(t, c.bucket(), key, d)
	if !d.Drawn {
		posted := postedOf(c.from.name())
		put(t, posted, ordered(t.next(posted)), d.Event)
	}
	t.then(func() { c.enqueue(due{key, d.NextAt}) })
}

func (c *courier) enqueue(d due) {
	c.mu.Lock()
	heap.Push(&c.queue, d)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *courier) start(ctx context.Context, running *sync.WaitGroup) error {
	err := c.s.store.view(func(t *tx) {
		each(t, c.bucket(), "", func(key string, d delivery) bool {
			heap.Push(&c.queue, due{key, d.NextAt})
			return true
		})
	})
	if err != nil {
		return err
	}
	running.Add(1)
	go func() {
		defer running.Done()
		c.run(ctx)
	}()
	return nil
}

// run hands out what is due, in order of time.
func (c *courier) run(ctx context.Context) {
	free := make(chan struct{}, couriers)
	var under sync.WaitGroup
	defer c.client.CloseIdleConnections()
	defer under.Wait()
	for {
		next, wait := c.take()
		if next.key == "" {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-c.wake:
			case <-timer.C:
			}
			timer.Stop()
			if ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		under.Go(func() {
			defer func() { <-free }()
			if err := c.deliver(ctx, next.key); err != nil && ctx.Err() == nil {
				c.s.log.Error("webhook state", "error", err)
				c.enqueue(due{next.key, time.Now().Add(c.s.opts.WebhookBackoff)})
			}
		})
	}
}

// take pops a delivery that is due; otherwise it says how long to wait.
func (c *courier) take() (due, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return due{}, time.Hour
	}
	if wait := time.Until(c.queue[0].at); wait > 0 {
		return due{}, wait
	}
	return heap.Pop(&c.queue).(due), 0
}

// deliver makes one try. Its error is one of the state: the delivery is then
// tried again as it stands.
func (c *courier) deliver(ctx context.Context, key string) error {
	var d delivery
	var request *http.Request
	var failed error
	found := false
	err := c.s.store.view(func(t *tx) {
		if d, found = get[delivery](t, c.bucket(), key); found {
			request, failed = c.from.letter(t, d)
		}
	})
	if err != nil || !found {
		return err
	}
	if !d.Drawn {
		d.Drawn = true
		n := c.s.faults[c.from.name()].drawNotice()
		switch {
		case n.drop:
			return c.settle(key, d, "dropped")
		case n.duplicate || n.delay > 0:
			d.NextAt = time.Now().UTC().Add(n.delay)
			err := c.s.store.update(func(t *tx) {
				put(t, c.bucket(), key, d)
				if n.duplicate {
					c.post(t, delivery{Event: d.Event, CreatedAt: d.CreatedAt, Drawn: true})
				}
			})
			if err != nil {
				return err
			}
			if n.delay > 0 {
				c.enqueue(due{key, d.NextAt})
				return nil
			}
		}
	}
	if failed == nil {
		failed = c.send(request.WithContext(ctx))
	}
	switch {
	case failed == nil:
		return c.settle(key, d, "delivered")
	case ctx.Err() != nil:
		return nil // closing: it is on disk and goes on at the next start
	}
	c.s.log.Info("notification not delivered", "provider", c.from.name(), "event", d.Event, "attempt", d.Attempts+1, "error", failed)
	if time.Since(d.CreatedAt) > giveUpAfter {
		return c.settle(key, d, "given_up")
	}
	wait := c.s.opts.WebhookBackoffLimit
	if d.Attempts < 30 {
		wait = min(wait, c.s.opts.WebhookBackoff<<d.Attempts)
	}
	d.Attempts++
	d.NextAt = time.Now().UTC().Add(wait)
	if err := c.s.store.update(func(t *tx) {
		put(t, c.bucket(), key, d)
		t.next(c.counter("failed_attempts"))
	}); err != nil {
		return err
	}
	c.enqueue(due{key, d.NextAt})
	return nil
}

// settle takes a delivery off the list and counts how it ended.
func (c *courier) settle(key string, d delivery, end string) error {
	return c.s.store.update(func(t *tx) {
		t.remove(c.bucket(), key)
		t.next(c.counter(end))
		c.from.delivered(t, d)
	})
}

// send makes the request; anything but 2xx is an error, a redirect too.
func (c *courier) send(request *http.Request) error {
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, bodyLimit))
	err = errors.Join(err, response.Body.Close())
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", response.Status)
	}
	return err
}

// letterView is a notification that a test delivers itself, or forges.
type letterView struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// view writes the request of an event anew, signed as of now, without sending
// it.
func (c *courier) view(t *tx, event string) (letterView, error) {
	request, err := c.from.letter(t, delivery{Event: event, CreatedAt: time.Now().UTC()})
	if err != nil {
		return letterView{}, err
	}
	body, err := io.ReadAll(request.Body)
	return letterView{request.Method, request.URL.String(), request.Header, string(body)}, err
}

// serveDeliveries adds what a test asks about notifications: how many wait,
// arrived, were dropped; of which events a provider has told, and the request
// that tells of one; and POST /events/{provider}/{event}/resend, which sends one
// once more.
func (s *Server) serveDeliveries() {
	s.mux.HandleFunc("GET /deliveries/{provider}", func(w http.ResponseWriter, r *http.Request) {
		counts := map[string]uint64{"pending": 0, "delivered": 0, "dropped": 0, "given_up": 0, "failed_attempts": 0}
		name := r.PathValue("provider")
		if s.providers[name] == nil {
			s.problem(w, http.StatusNotFound, "unknown_provider", "no such provider: "+name)
			return
		}
		if c := s.couriers[name]; c != nil {
			err := s.store.view(func(t *tx) {
				for end := range counts {
					counts[end], _ = get[uint64](t, bucketCounters, c.counter(end))
				}
				counts["pending"] = uint64(t.bucket(c.bucket()).Stats().KeyN)
			})
			if err != nil {
				s.fail(w, err)
				return
			}
		}
		s.writeJSON(w, http.StatusOK, counts)
	})
	s.mux.HandleFunc("GET /events/{provider}", func(w http.ResponseWriter, r *http.Request) {
		c := s.couriers[r.PathValue("provider")]
		if c == nil {
			s.problem(w, http.StatusNotFound, "no_notifications", "no such provider, or it notifies nobody")
			return
		}
		events := []string{}
		err := s.store.view(func(t *tx) {
			each(t, postedOf(c.from.name()), "", func(_ string, event string) bool {
				events = append(events, event)
				return true
			})
		})
		if err != nil {
			s.fail(w, err)
			return
		}
		s.writeJSON(w, http.StatusOK, map[string]any{"events": events})
	})
	s.mux.HandleFunc("GET /events/{provider}/{event}", func(w http.ResponseWriter, r *http.Request) {
		var letter letterView
		refusal := fmt.Errorf("event %s: %w", r.PathValue("event"), errNotFound)
		err := s.store.view(func(t *tx) {
			if c := s.couriers[r.PathValue("provider")]; c != nil && c.from.known(t, r.PathValue("event")) {
				letter, refusal = c.view(t, r.PathValue("event"))
			}
		})
		if err = errors.Join(err, refusal); err != nil {
			s.refused(w, err)
			return
		}
		s.writeJSON(w, http.StatusOK, letter)
	})
	s.mux.HandleFunc("POST /events/{provider}/{event}/resend", func(w http.ResponseWriter, r *http.Request) {
		found := false
		var err error
		if c := s.couriers[r.PathValue("provider")]; c != nil {
			err = s.store.update(func(t *tx) {
				if found = c.from.known(t, r.PathValue("event")); found {
					c.post(t, delivery{Event: r.PathValue("event"), CreatedAt: time.Now().UTC(), Drawn: true})
				}
			})
		}
		switch {
		case err != nil:
			s.fail(w, err)
		case !found:
			s.problem(w, http.StatusNotFound, "not_found", "no such event")
		default:
			s.writeJSON(w, http.StatusAccepted, map[string]string{"event": r.PathValue("event")})
		}
	})
}
