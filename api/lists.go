package api

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"justlogistics/internal/problem"
)

// list is a page of things, newest first.
type list[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

const (
	usualLimit = 50
	mostLimit  = 200
)

// paging reads limit and cursor. The cursor is opaque to callers; inside it is
// the position after which the page begins.
func paging(r *request, f *problem.Fields) (limit int, after string) {
	limit = usualLimit
	if v := r.Query("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > mostLimit {
			f.Add("limit", "out_of_range", "1 to %d", mostLimit)
		}
		limit = n
	}
	if v := r.Query("cursor"); v != "" {
		raw, err := base64.RawURLEncoding.DecodeString(v)
		position, found := strings.CutPrefix(string(raw), "1:")
		if err != nil || !found || position == "" || len(position) > 300 {
			f.Add("cursor", "invalid", "use next_cursor as it was given")
		}
		after = position
	}
	return limit, after
}

func cursor(position string) *string {
	s := base64.RawURLEncoding.EncodeToString([]byte("1:" + position))
	return &s
}

// paged cuts a list that was read with one entry more than the limit.
func paged[T any](all []T, limit int, position func(T) string) list[T] {
	if all == nil {
		all = []T{}
	}
	if len(all) <= limit {
		return list[T]{Data: all}
	}
	all = all[:limit]
	return list[T]{Data: all, NextCursor: cursor(position(all[limit-1]))}
}

// moment reads a query parameter that is a time or a day (UTC).
func moment(r *request, f *problem.Fields, name string) *time.Time {
	v := r.Query(name)
	if v == "" {
		return nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, v); err == nil {
			t = t.UTC()
			return &t
		}
	}
	f.Add(name, "invalid", "want a time like 2026-09-18T12:00:00Z, or a day")
	return nil
}
