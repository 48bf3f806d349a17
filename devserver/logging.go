package main

import (
	"context"
	"log/slog"
	"os"

	"go.temporal.io/server/common/log/tag"
)

// serverLog carries the server's log lines to slog: one format for the whole
// process, without the stack trace that the server's own logger adds to every
// error.
type serverLog struct {
	slog  *slog.Logger
	level *slog.LevelVar
}

func newServerLog(level slog.Level) *serverLog {
	l := &serverLog{level: new(slog.LevelVar)}
	l.level.Set(level)
	l.slog = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l.level}))
	return l
}

// quieten leaves only what ends the process: while the services stop one after
// another, their complaints about each other say nothing.
func (l *serverLog) quieten() { l.level.Set(slog.LevelError + 1) }

func (l *serverLog) Debug(msg string, tags ...tag.Tag)  { l.log(slog.LevelDebug, msg, tags) }
func (l *serverLog) Info(msg string, tags ...tag.Tag)   { l.log(slog.LevelInfo, msg, tags) }
func (l *serverLog) Warn(msg string, tags ...tag.Tag)   { l.log(slog.LevelWarn, msg, tags) }
func (l *serverLog) Error(msg string, tags ...tag.Tag)  { l.log(slog.LevelError, msg, tags) }
func (l *serverLog) DPanic(msg string, tags ...tag.Tag) { l.log(slog.LevelError, msg, tags) }

func (l *serverLog) Panic(msg string, tags ...tag.Tag) {
	l.log(slog.LevelError+1, msg, tags)
	panic(msg)
}

// Fatal ends the process, as callers in the server rely on.
func (l *serverLog) Fatal(msg string, tags ...tag.Tag) {
	l.log(slog.LevelError+1, msg, tags)
	os.Exit(1)
}

// SLog is what the server's SDK clients ask for.
func (l *serverLog) SLog() *slog.Logger { return l.slog }

func (l *serverLog) log(level slog.Level, msg string, tags []tag.Tag) {
	ctx := context.Background()
	if !l.slog.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, len(tags))
	for i, t := range tags {
		attrs[i] = slog.Any(t.Key(), t.Value())
	}
	l.slog.LogAttrs(ctx, level, msg, attrs...)
}
