// Package id makes the identifiers of everything the product stores: ULIDs,
// 26 characters of Crockford's base 32 (https://github.com/ulid/spec).
package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// New returns a fresh ULID in upper case. Ids made by one process sort in the
// order they were made; between processes they sort by millisecond. 64 bits of
// each are unpredictable even to someone who has seen its neighbours, because
// ids stand in URLs that buyers see.
//
// A retry gets another id, so a step that may run twice must be given its id
// from outside, and workflow code must not call New at all.
func New() string { return next.make(time.Now()) }

// For returns the ULID of what happened once at a moment: the same moment and the
// same names give the same id, so that a step that runs again finds what it has made.
// It is as easy to guess as its names are.
func For(at time.Time, names ...string) string {
	var u ulid.ULID
	// SetTime fails only past the year 10889.
	if err := u.SetTime(ulid.Timestamp(at)); err != nil {
		panic(err)
	}
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	copy(u[6:], sum[:])
	return u.String()
}

// Valid reports whether s is a ULID in the one form New produces. Lower case
// and the look-alike letters I, L, O and U are refused, so that equal ids are
// equal strings.
func Valid(s string) bool {
	if len(s) != ulid.EncodedSize || s[0] > '7' {
		return false
	}
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return true
}

// Time returns the moment, in UTC with millisecond precision, that s carries.
// It fails when s is not Valid.
func Time(s string) (time.Time, error) {
	if !Valid(s) {
		return time.Time{}, fmt.Errorf("id %q: want %d characters of upper-case Crockford base 32", clip(s), ulid.EncodedSize)
	}
	u, err := ulid.ParseStrict(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("id %q: %w", s, err)
	}
	return ulid.Time(u.Time()).UTC(), nil
}

func digit(c byte) bool {
	switch {
	case c >= '0' && c <= '9':
		return true
	case c == 'I' || c == 'L' || c == 'O' || c == 'U':
		return false
	}
	return c >= 'A' && c <= 'Z'
}

// clip keeps an attacker's megabyte out of an error message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// generator orders the ids of one process inside a millisecond by a 16-bit
// counter in front of the random bits. The usual monotonic ULID adds a small
// number to its predecessor instead, which makes the next id guessable.
type generator struct {
	mu      sync.Mutex
	ms      uint64
	counter uint16
}

var next generator

func (g *generator) make(now time.Time) string {
	// crypto/rand.Read never returns an error: it ends the program instead.
	var random [10]byte
	_, _ = rand.Read(random[:])

	g.mu.Lock()
	ms := ulid.Timestamp(now)
	switch {
	case ms > g.ms:
		g.ms = ms
		// The lower half leaves at least 32,768 steps before the counter is full.
		g.counter = binary.BigEndian.Uint16(random[:2]) >> 1
	case g.counter == 1<<16-1:
		// Full, or the clock went back: run ahead of it rather than repeat.
		g.ms++
		g.counter = 0
	default:
		g.counter++
	}
	ms, counter := g.ms, g.counter
	g.mu.Unlock()

	var u ulid.ULID
	// SetTime fails only past the year 10889.
	if err := u.SetTime(ms); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint16(u[6:8], counter)
	copy(u[8:], random[2:])
	return u.String()
}
