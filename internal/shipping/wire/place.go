package wire

import (
	"context"
	"sync"
	"time"

	"justlogistics/internal/chile"
)

// Comuna finds the comuna that an address or a carrier means, whatever the case,
// the accents and the usual spelling. False when it names none, or one of another
// region: San Pedro is not San Pedro de la Paz.
func Comuna(name, region string) (chile.Comuna, bool) {
	c, err := chile.ValidatePlace(name, region)
	return c, err == nil
}

// Table is a carrier's own list, by key, kept for a day: its comunas change less
// often than that, and they are asked for with every quote. The zero value is
// ready.
type Table[V any] struct {
	mu   sync.Mutex
	kept map[string]kept[V]
}

type kept[V any] struct {
	value V
	until time.Time
}

const keptFor = 24 * time.Hour

// Get returns the value of key, from fetch when it is not kept. What fails is not
// kept. Two callers at the same moment may both fetch.
func (t *Table[V]) Get(ctx context.Context, now time.Time, key string, fetch func(context.Context) (V, error)) (V, error) {
	t.mu.Lock()
	k, found := t.kept[key]
	t.mu.Unlock()
	if found && now.Before(k.until) {
		return k.value, nil
	}
	v, err := fetch(ctx)
	if err != nil {
		return v, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil {
		t.kept = map[string]kept[V]{}
	}
	t.kept[key] = kept[V]{v, now.Add(keptFor)}
	return v, nil
}
