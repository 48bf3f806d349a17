package sandbox

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// emit stores an event and, if the account listens for its type, a delivery,
// in the transaction of what caused it. r is the API call behind it, nil when
// there was none.
func (p *stripe) emit(t *tx, account, kind string, object map[string]any, r *request) {
	raw, err := json.Marshal(object)
	if err != nil {
		t.fail(fmt.Errorf("event %s: %w", kind, err))
		return
	}
	x := stripeEvent{ID: "evt_1" + randomText(23, alphanumeric), Account: account, Type: kind, Created: p.s.now().Unix(), Object: raw}
	if r != nil {
		x.RequestID, x.IdempotencyKey = r.id, r.header.Get("Idempotency-Key")
	}
	hook := p.webhook(t, account)
	if hook.WebhookURL != "" && slices.Contains(hook.Events, kind) {
		x.Pending = 1
		p.courier.post(t, delivery{Event: x.ID, CreatedAt: time.Now().UTC()})
	}
	put(t, bucketEvents, x.ID, x)
	p.index(t, "event", account, x.ID)
}

// signStripe is the value of Stripe-Signature: t=<unix>,v1=<hex HMAC-SHA256 of
// "t.body"> with the whole whsec_ text as key (docs.stripe.com/webhooks).
func signStripe(secret string, at time.Time, body []byte) string {
	unix := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(unix + "."))
	mac.Write(body)
	return "t=" + unix + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// giveUpAfter is how long Stripe tries in live mode.
const giveUpAfter = 72 * time.Hour

// delivery is an event on its way. It stays on disk until the merchant answers
// 2xx, so that a restart goes on with it.
type delivery struct {
	Event     string    `json:"event"`
	CreatedAt time.Time `json:"created_at"`
	NextAt    time.Time `json:"next_at"`
	Attempts  int       `json:"attempts"`
	Drawn     bool      `json:"drawn"` // the faults have had their say
}

// courier sends deliveries: several at once, each signed anew at each try.
type courier struct {
	p      *stripe
	client *http.Client
	wake   chan struct{}

	mu    sync.Mutex
	queue dueQueue
}

const couriers = 16

func newCourier(p *stripe) *courier {
	return &courier{
		p:    p,
		wake: make(chan struct{}, 1),
		client: &http.Client{
			Timeout:       20 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: couriers, IdleConnTimeout: 30 * time.Second},
		},
	}
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

// post stores a delivery; it is sent once the transaction is durable.
func (c *courier) post(t *tx, d delivery) {
	if d.NextAt.IsZero() {
		d.NextAt = d.CreatedAt
	}
	key := ordered(t.next(bucketDeliveries))
	put(t, bucketDeliveries, key, d)
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
	err := c.p.s.store.view(func(t *tx) {
		each(t, bucketDeliveries, "", func(key string, d delivery) bool {
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
				c.p.s.log.Error("webhook state", "error", err)
				c.enqueue(due{next.key, time.Now().Add(c.p.s.opts.WebhookBackoff)})
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
	var event stripeEvent
	var hook stripeAccountConfig
	found := false
	err := c.p.s.store.view(func(t *tx) {
		if d, found = get[delivery](t, bucketDeliveries, key); !found {
			return
		}
		event, _ = get[stripeEvent](t, bucketEvents, d.Event)
		hook = c.p.webhook(t, event.Account)
	})
	if err != nil || !found {
		return err
	}
	if !d.Drawn {
		d.Drawn = true
		n := c.p.s.faults[stripeName].drawNotice()
		switch {
		case n.drop:
			return c.settle(key, d, "dropped")
		case n.duplicate || n.delay > 0:
			d.NextAt = time.Now().UTC().Add(n.delay)
			err := c.p.s.store.update(func(t *tx) {
				put(t, bucketDeliveries, key, d)
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
	if err := c.send(ctx, hook, event); err == nil {
		return c.settle(key, d, "delivered")
	} else if ctx.Err() != nil {
		return nil // closing: it is on disk and goes on at the next start
	} else {
		c.p.s.log.Info("webhook not delivered", "event", event.ID, "type", event.Type, "attempt", d.Attempts+1, "error", err)
	}
	if time.Since(d.CreatedAt) > giveUpAfter {
		return c.settle(key, d, "given_up")
	}
	wait := c.p.s.opts.WebhookBackoffLimit
	if d.Attempts < 30 {
		wait = min(wait, c.p.s.opts.WebhookBackoff<<d.Attempts)
	}
	d.Attempts++
	d.NextAt = time.Now().UTC().Add(wait)
	if err := c.p.s.store.update(func(t *tx) {
		put(t, bucketDeliveries, key, d)
		t.next("deliveries_failed_attempts")
	}); err != nil {
		return err
	}
	c.enqueue(due{key, d.NextAt})
	return nil
}

// settle takes a delivery off the list and counts how it ended.
func (c *courier) settle(key string, d delivery, end string) error {
	return c.p.s.store.update(func(t *tx) {
		t.remove(bucketDeliveries, key)
		t.next("deliveries_" + end)
		if event, found := get[stripeEvent](t, bucketEvents, d.Event); found && event.Pending > 0 {
			event.Pending = 0
			put(t, bucketEvents, event.ID, event)
		}
	})
}

// send posts an event; anything but 2xx is an error, a redirect too.
func (c *courier) send(ctx context.Context, hook stripeAccountConfig, event stripeEvent) error {
	if hook.WebhookURL == "" {
		return errors.New("no webhook endpoint is configured any more")
	}
	body, err := json.MarshalIndent(viewEvent(event), "", "  ")
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	request.Header.Set("Accept", "*/*; q=0.5, application/xml")
	request.Header.Set("Stripe-Signature", signStripe(hook.WebhookSecret, c.p.s.now(), body))
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

// serve adds what a test asks about notifications.
func (c *courier) serve(mux *http.ServeMux) {
	mux.HandleFunc("GET /deliveries/{provider}", func(w http.ResponseWriter, r *http.Request) {
		counts := map[string]uint64{"pending": 0, "delivered": 0, "dropped": 0, "given_up": 0, "failed_attempts": 0}
		if name := r.PathValue("provider"); name != stripeName {
			if c.p.s.providers[name] == nil {
				c.p.s.problem(w, http.StatusNotFound, "unknown_provider", "no such provider: "+name)
				return
			}
			c.p.s.writeJSON(w, http.StatusOK, counts)
			return
		}
		err := c.p.s.store.view(func(t *tx) {
			for name := range counts {
				counts[name], _ = get[uint64](t, bucketCounters, "deliveries_"+name)
			}
			counts["pending"] = uint64(t.bucket(bucketDeliveries).Stats().KeyN)
		})
		if err != nil {
			c.p.s.fail(w, err)
			return
		}
		c.p.s.writeJSON(w, http.StatusOK, counts)
	})
	mux.HandleFunc("POST /events/"+stripeName+"/{event}/resend", func(w http.ResponseWriter, r *http.Request) {
		found := false
		err := c.p.s.store.update(func(t *tx) {
			if _, found = get[stripeEvent](t, bucketEvents, r.PathValue("event")); found {
				c.post(t, delivery{Event: r.PathValue("event"), CreatedAt: time.Now().UTC(), Drawn: true})
			}
		})
		switch {
		case err != nil:
			c.p.s.fail(w, err)
		case !found:
			c.p.s.problem(w, http.StatusNotFound, "not_found", "no such event")
		default:
			c.p.s.writeJSON(w, http.StatusAccepted, map[string]string{"event": r.PathValue("event")})
		}
	})
}
