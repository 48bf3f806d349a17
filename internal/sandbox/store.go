package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The buckets of the state file. Values are JSON.
const (
	bucketPages       = "pages"          // public id -> []pageRef
	bucketReturns     = "returns"        // provider/key -> browserReturn
	bucketFaults      = "faults"         // provider -> faultSettings
	bucketConfig      = "config"         // provider[/account] -> configuration
	bucketCharges     = "ledger_charges" // sequence -> ledgerCharge
	bucketRefunds     = "ledger_refunds" // sequence -> ledgerRefund
	bucketLedgerIndex = "ledger_index"   // kind/gateway/reference -> sequence
	bucketCounters    = "counters"
	bucketParcels     = "parcels"       // sequence -> parcel
	bucketParcelIndex = "parcels_index" // carrier/kind/name -> []sequence
	bucketParcelsDue  = "parcels_due"   // moment/sequence -> sequence
)

// buckets are the sandbox's own; each provider adds its.
var buckets = []string{bucketPages, bucketReturns, bucketFaults, bucketConfig, bucketCharges, bucketRefunds, bucketLedgerIndex, bucketCounters,
	bucketParcels, bucketParcelIndex, bucketParcelsDue}

// store is the sandbox's state file. An update that returned is on disk: what
// the outside world was told survives kill -9.
type store struct {
	db      *bolt.DB
	tempDir string // removed at close when the state was a test's
}

const stateFile = "sandbox.db"

// openStore opens the state in dir, or in a temporary folder when dir is
// empty. A file that another process has open is an error within a second.
func openStore(dir string, noSync bool) (*store, error) {
	s := &store{}
	if dir == "" {
		temp, err := os.MkdirTemp("", "sandbox-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the sandbox's state: %w", err)
		}
		s.tempDir, dir = temp, temp
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the sandbox's folder: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoSync: noSync})
	if err != nil {
		err = fmt.Errorf("open the sandbox's state %s: %w", path, err)
		if errors.Is(err, bolterrors.ErrTimeout) {
			err = fmt.Errorf("%w: another process has it open", err)
		}
		return nil, errors.Join(err, s.discard())
	}
	s.db = db
	// Callers at the same moment share one fsync; a lone one waits this long.
	db.MaxBatchDelay = 2 * time.Millisecond
	if err := s.makeBuckets(buckets); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the sandbox's state %s: %w", path, err), s.close())
	}
	return s, nil
}

func (s *store) makeBuckets(names []string) error {
	return s.db.Update(func(b *bolt.Tx) error {
		for _, name := range names {
			if _, err := b.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *store) close() error {
	return errors.Join(s.db.Close(), s.discard())
}

func (s *store) discard() error {
	if s.tempDir == "" {
		return nil
	}
	return os.RemoveAll(s.tempDir)
}

// update runs fn in a write transaction and returns once it is durable. fn may
// run more than once (callers are grouped), so it must reset what it captures
// and leave other effects to tx.then. Write transactions run one at a time:
// what fn reads stays true until it is written.
func (s *store) update(fn func(*tx)) error {
	var hooks []func()
	err := s.db.Batch(func(b *bolt.Tx) error {
		t := &tx{bolt: b}
		fn(t)
		hooks = t.hooks
		return t.err
	})
	if err != nil {
		return err
	}
	for _, hook := range hooks {
		hook()
	}
	return nil
}

// view runs fn over one snapshot.
func (s *store) view(fn func(*tx)) error {
	return s.db.View(func(b *bolt.Tx) error {
		t := &tx{bolt: b}
		fn(t)
		return t.err
	})
}

// tx is one transaction. The first failure of a read or write stays in err and
// rolls the whole back, so that the code between reads like the business rule.
type tx struct {
	bolt  *bolt.Tx
	hooks []func()
	err   error
}

// then runs hook after the transaction is durable, and never if it fails.
func (t *tx) then(hook func()) { t.hooks = append(t.hooks, hook) }

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *tx) bucket(name string) *bolt.Bucket { return t.bolt.Bucket([]byte(name)) }

// next counts up name, from 1.
func (t *tx) next(name string) uint64 {
	n, _ := get[uint64](t, bucketCounters, name)
	n++
	put(t, bucketCounters, name, n)
	return n
}

func (t *tx) remove(bucket, key string) {
	if err := t.bucket(bucket).Delete([]byte(key)); err != nil {
		t.fail(fmt.Errorf("remove %s/%s: %w", bucket, key, err))
	}
}

// get reads a value; false when there is none (or it cannot be read, which
// fails the transaction).
func get[T any](t *tx, bucket, key string) (T, bool) {
	var v T
	raw := t.bucket(bucket).Get([]byte(key))
	if raw == nil {
		return v, false
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.fail(fmt.Errorf("read %s/%s: %w", bucket, key, err))
		return v, false
	}
	return v, true
}

func put(t *tx, bucket, key string, v any) {
	raw, err := json.Marshal(v)
	if err == nil {
		err = t.bucket(bucket).Put([]byte(key), raw)
	}
	if err != nil {
		t.fail(fmt.Errorf("write %s/%s: %w", bucket, key, err))
	}
}

// each walks a bucket from the first key that is not before prefix while keys
// have it; fn returns false to stop.
func each[T any](t *tx, bucket, prefix string, fn func(key string, v T) bool) {
	cursor := t.bucket(bucket).Cursor()
	for k, raw := cursor.Seek([]byte(prefix)); k != nil && hasPrefix(k, prefix); k, raw = cursor.Next() {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			t.fail(fmt.Errorf("read %s/%q: %w", bucket, k, err))
			return
		}
		if !fn(string(k), v) {
			return
		}
	}
}

// eachBack walks the keys with prefix from the last to the first.
func eachBack[T any](t *tx, bucket, prefix string, fn func(key string, v T) bool) {
	cursor := t.bucket(bucket).Cursor()
	step := cursor.Prev
	if beyond, _ := cursor.Seek(append([]byte(prefix), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)); beyond == nil {
		step = cursor.Last
	}
	k, raw := step()
	for ; k != nil && hasPrefix(k, prefix); k, raw = cursor.Prev() {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			t.fail(fmt.Errorf("read %s/%q: %w", bucket, k, err))
			return
		}
		if !fn(string(k), v) {
			return
		}
	}
}

func hasPrefix(key []byte, prefix string) bool {
	return len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix
}

// ordered renders n so that byte order is number order.
func ordered(n uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, n))
}
