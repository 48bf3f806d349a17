package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/feed"
	"justlogistics/internal/secretbox"
)

const (
	// lease is how long a claimed delivery is its worker's: above the longest call.
	lease = "60 seconds"
	// together is how many calls one endpoint gets at a time, of all workers; one
	// that has failed troubled times in a row gets a single one.
	together = 4
	troubled = 3
	// claimedEndpoints bounds one claim.
	claimedEndpoints = 64
	// logged is how many attempts a delivery remembers.
	logged = 20
)

// waits are the pauses after each failed try; after the last there is none more.
var waits = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// wait is the pause after that many failures, up to a tenth longer so that what
// failed together does not come back together; over says that there is none.
func wait(failures int) (d time.Duration, over bool) {
	if failures > len(waits) {
		return 0, true
	}
	d = waits[max(failures, 1)-1]
	return d + rand.N(d/10+1), false
}

// Claimed is a delivery that its holder may try until its lease ends.
type Claimed struct {
	Tenant, EndpointID, EventID string
	URL                         string
	Test                        bool
	Event                       feed.Event
	claim                       int // names this claim among those of the delivery
	secrets                     []sealed
}

type sealed struct {
	keyID string
	box   []byte
}

// TestType is the type of a test, which is no event.
const TestType = "endpoint.test"

const (
	allowed  = `CASE WHEN e.streak >= $2 THEN 1 ELSE $3 END`
	underWay = `(SELECT count(*) FROM event_deliveries d WHERE d.tenant = e.tenant AND d.endpoint_id = e.id AND d.status = 'pending' AND d.leased_until > now())`
)

// Claim takes up to n deliveries that are due, each endpoint in its turn and none
// more than a few at a time, so that one which hangs holds up only itself. tx is
// the system's. A claim that is never recorded lapses.
func Claim(ctx context.Context, tx pgx.Tx, n int) ([]Claimed, error) {
	rows, err := tx.Query(ctx, `
	WITH turn AS (
	  SELECT e.tenant, e.id, e.claimed_at, `+allowed+` - `+underWay+` AS free
	    FROM event_endpoints e
	   WHERE `+underWay+` < `+allowed+` AND e.status <> 'disabled' AND coalesce(e.resting_until, '-infinity') <= now()
	     AND EXISTS (SELECT FROM event_deliveries d WHERE d.tenant = e.tenant AND d.endpoint_id = e.id AND d.status = 'pending' AND d.next_try_at <= now())
	   ORDER BY e.claimed_at NULLS FIRST LIMIT $4 FOR UPDATE OF e SKIP LOCKED
	), due AS (
	  SELECT t.tenant, t.id, d.event_id FROM turn t, LATERAL (
	    SELECT d.event_id, d.next_try_at FROM event_deliveries d WHERE d.tenant = t.tenant AND d.endpoint_id = t.id AND d.status = 'pending' AND d.next_try_at <= now()
	     ORDER BY d.next_try_at, d.event_id LIMIT t.free) d
	   ORDER BY t.claimed_at NULLS FIRST, d.next_try_at LIMIT $1
	), touched AS (
	  UPDATE event_endpoints e SET claimed_at = clock_timestamp() FROM (SELECT DISTINCT tenant, id FROM due) t WHERE e.tenant = t.tenant AND e.id = t.id
	), taken AS (
	  UPDATE event_deliveries d SET claims = claims + 1, next_try_at = now() + interval '`+lease+`', leased_until = now() + interval '`+lease+`'
	    FROM due WHERE d.tenant = due.tenant AND d.endpoint_id = due.id AND d.event_id = due.event_id AND d.status = 'pending' AND d.next_try_at <= now()
	  RETURNING d.tenant, d.endpoint_id, d.event_id, d.position, d.claims, d.created_at
	)
	SELECT t.tenant, t.endpoint_id, t.event_id, t.claims, e.url, e.key_id, e.box, coalesce(e.old_key_id, ''), CASE WHEN e.old_until > now() THEN e.old_box END,
	       t.position IS NULL, coalesce(p.type, '`+TestType+`'), coalesce(p.created_at, t.created_at), coalesce(p.data, '{}')
	  FROM taken t JOIN event_endpoints e ON e.tenant = t.tenant AND e.id = t.endpoint_id LEFT JOIN public_events p ON p.tenant = t.tenant AND p.position = t.position`,
		n, troubled, together, claimedEndpoints)
	if err != nil {
		return nil, fmt.Errorf("claim deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Claimed, error) {
		var c Claimed
		now, old := sealed{}, sealed{}
		err := row.Scan(&c.Tenant, &c.EndpointID, &c.EventID, &c.claim, &c.URL, &now.keyID, &now.box, &old.keyID, &old.box, &c.Test, &c.Event.Type, &c.Event.Timestamp, &c.Event.Data)
		c.Event.ID, c.secrets = c.EventID, []sealed{now}
		if old.box != nil {
			c.secrets = append(c.secrets, old)
		}
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim deliveries: %w", err)
	}
	return list, nil
}

func (c Claimed) open(ring *secretbox.Keyring) ([]string, error) {
	var out []string
	for _, s := range c.secrets {
		clear, err := ring.Open(s.keyID, s.box, aad(c.Tenant, c.EndpointID))
		if err != nil {
			return nil, fmt.Errorf("secret of endpoint %s: %w", c.EndpointID, err)
		}
		out = append(out, string(clear))
	}
	return out, nil
}

// Result is how a try ended.
type Result struct {
	Status int // of the answer; 0 when there was none
	// Problem is why there was no answer: one of the codes below.
	Problem string
	Took    time.Duration
	// RetryAfter is what a 429 or 503 asked for.
	RetryAfter time.Duration
}

// Why there was no answer.
const (
	NoAnswer   = "timeout"
	NoName     = "name_not_resolved"
	NoTLS      = "tls_failed"
	NotAllowed = "address_not_allowed"
	NotReached = "not_reached"
	BrokenOff  = "broken_off"
)

// OK reports whether the endpoint took it.
func (r Result) OK() bool { return r.Status >= 200 && r.Status < 300 }

// Attempt is a try as it is remembered.
type Attempt struct {
	At      time.Time `json:"at"`
	Status  *int      `json:"status"` // of the answer; null when there was none
	Problem *string   `json:"problem"`
	TookMS  int64     `json:"took_ms"`
}

// Record writes how a try ended, in the tenant's transaction. A success counts
// whoever tells it; a failure only when nobody else has taken the delivery
// meanwhile.
func Record(ctx context.Context, tx pgx.Tx, c Claimed, r Result) error {
	tried, err := json.Marshal([]Attempt{r.attempt(time.Now().Add(-r.Took).UTC())})
	if err != nil {
		return fmt.Errorf("attempt of %s: %w", c.EventID, err)
	}
	// The endpoint first, as everybody does who locks both.
	var endpoint string
	err = tx.QueryRow(ctx, `SELECT id FROM event_endpoints WHERE tenant = $1 AND id = $2 FOR UPDATE`, c.Tenant, c.EndpointID).Scan(&endpoint)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // deleted meanwhile, with all that was to be told to it
	}
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", c.EndpointID, err)
	}
	const mine = ` WHERE tenant = $1 AND endpoint_id = $2 AND event_id = $3 AND status = 'pending'`
	const remember = `attempts = CASE WHEN jsonb_array_length(attempts) >= $5 THEN attempts - 0 ELSE attempts END || $4::jsonb, leased_until = NULL`
	if r.OK() {
		b := &pgx.Batch{}
		b.Queue(`UPDATE event_deliveries SET status = 'delivered', ended_at = now(), next_try_at = NULL, `+remember+mine, c.Tenant, c.EndpointID, c.EventID, tried, logged)
		b.Queue(`UPDATE event_endpoints SET status = CASE WHEN status = 'failing' THEN 'active' ELSE status END, failing_since = NULL, streak = 0, resting_until = NULL, last_success_at = now() WHERE tenant = $1 AND id = $2`, c.Tenant, c.EndpointID)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("delivery of %s: %w", c.EventID, err)
		}
		return nil
	}
	var tries int
	err = tx.QueryRow(ctx, `UPDATE event_deliveries SET tries = tries + 1, `+remember+mine+` AND claims = $6 RETURNING tries`, c.Tenant, c.EndpointID, c.EventID, tried, logged, c.claim).Scan(&tries)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delivery of %s: %w", c.EventID, err)
	}
	return next(ctx, tx, c, r, tries)
}

// next decides what follows a failure.
func next(ctx context.Context, tx pgx.Tx, c Claimed, r Result, tries int) error {
	if r.Status == http.StatusGone {
		if _, err := tx.Exec(ctx, `UPDATE event_endpoints SET streak = streak + 1 WHERE tenant = $1 AND id = $2`, c.Tenant, c.EndpointID); err != nil {
			return fmt.Errorf("endpoint %s: %w", c.EndpointID, err)
		}
		return disable(ctx, tx, c.Tenant, c.EndpointID, Gone)
	}
	after, over := wait(tries)
	over = over || c.Test
	b := &pgx.Batch{}
	b.Queue(`UPDATE event_endpoints SET streak = streak + 1, resting_until = CASE WHEN $3::interval > interval '0' THEN now() + $3::interval ELSE resting_until END,
	     failing_since = CASE WHEN $4 AND status = 'active' THEN now() ELSE failing_since END, status = CASE WHEN $4 AND status = 'active' THEN 'failing' ELSE status END WHERE tenant = $1 AND id = $2`,
		c.Tenant, c.EndpointID, r.RetryAfter, over && !c.Test)
	if over {
		b.Queue(`UPDATE event_deliveries SET status = 'given_up', ended_at = now(), next_try_at = NULL WHERE tenant = $1 AND endpoint_id = $2 AND event_id = $3`, c.Tenant, c.EndpointID, c.EventID)
	} else {
		b.Queue(`UPDATE event_deliveries SET next_try_at = now() + $4::interval WHERE tenant = $1 AND endpoint_id = $2 AND event_id = $3`, c.Tenant, c.EndpointID, c.EventID, max(after, r.RetryAfter))
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("delivery of %s: %w", c.EventID, err)
	}
	return nil
}

func (r Result) attempt(at time.Time) Attempt {
	a := Attempt{At: at, TookMS: r.Took.Milliseconds()}
	if r.Status != 0 {
		a.Status = &r.Status
	}
	if r.Problem != "" {
		a.Problem = &r.Problem
	}
	return a
}

// Release gives a claim back that was not tried to its end by no fault of the
// endpoint's: it is tried again after a pause, and not counted.
func Release(ctx context.Context, tx pgx.Tx, c Claimed, pause time.Duration) error {
	_, err := tx.Exec(ctx, `UPDATE event_deliveries SET leased_until = NULL, next_try_at = now() + $5::interval WHERE tenant = $1 AND endpoint_id = $2 AND event_id = $3 AND status = 'pending' AND claims = $4`,
		c.Tenant, c.EndpointID, c.EventID, c.claim, pause)
	if err != nil {
		return fmt.Errorf("give back the delivery of %s: %w", c.EventID, err)
	}
	return nil
}

// Delivery is what was or is to be told to an endpoint.
type Delivery struct {
	EventID   string     `json:"event_id"`
	Type      string     `json:"type"`
	Status    string     `json:"status"`
	NextTryAt *time.Time `json:"next_try_at"`
	Attempts  []Attempt  `json:"attempts"` // the last ones, oldest first
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// Deliveries reads up to n of an endpoint's deliveries, by their event's id,
// newest first, those before the event with the id before; an empty one begins
// with the newest. status limits them unless it is empty.
func Deliveries(ctx context.Context, tx pgx.Tx, tenant, endpointID, status, before string, n int) ([]Delivery, error) {
	rows, err := tx.Query(ctx, `SELECT d.event_id, coalesce(p.type, '`+TestType+`'), d.status, CASE WHEN coalesce(d.leased_until, '-infinity') <= now() THEN greatest(d.next_try_at, e.resting_until) END, d.attempts, d.created_at, d.ended_at
	   FROM event_deliveries d JOIN event_endpoints e ON e.tenant = d.tenant AND e.id = d.endpoint_id LEFT JOIN public_events p ON p.tenant = d.tenant AND p.position = d.position
	  WHERE d.tenant = $1 AND d.endpoint_id = $2 AND ($3 = '' OR d.status = $3) AND ($4 = '' OR d.event_id < $4) ORDER BY d.event_id DESC LIMIT $5`, tenant, endpointID, status, before, n)
	if err != nil {
		return nil, fmt.Errorf("deliveries of endpoint %s: %w", endpointID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Delivery])
	if err != nil {
		return nil, fmt.Errorf("deliveries of endpoint %s: %w", endpointID, err)
	}
	return list, nil
}

// Forget removes up to n deliveries that ended more than 30 days ago, and reports
// how many. tx is the system's.
func Forget(ctx context.Context, tx pgx.Tx, n int) (int, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM event_deliveries WHERE ctid = ANY(ARRAY(SELECT ctid FROM event_deliveries WHERE ended_at < now() - interval '30 days' LIMIT $1 FOR UPDATE SKIP LOCKED))`, n)
	if err != nil {
		return 0, fmt.Errorf("old deliveries: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
