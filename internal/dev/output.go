package dev

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	tailLines  = 20
	logKeeps   = 64 << 20 // bytes of one log file; the former one is kept beside it
	lineLength = 1 << 20  // a longer line is cut into several
)

// output takes what one service's processes print: it goes to the service's log
// file and, when wanted, with the service's name before it to the terminal. The
// last lines are kept to be shown when the service does not come up.
type output struct {
	name     string
	path     string
	terminal io.Writer // nil: the log file only

	mu      sync.Mutex
	file    *os.File
	size    int64
	failing bool
	partial []byte
	tail    []string
	ready   bool
}

func openOutput(dir, name string, terminal io.Writer) (*output, error) {
	o := &output{name: name, path: filepath.Join(dir, name+".log"), terminal: terminal}
	if err := o.open(); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *output) open() error {
	f, err := os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log of %s: %w", o.name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("log of %s: %w", o.name, err), f.Close())
	}
	o.file, o.size = f, info.Size()
	return nil
}

// Write never fails: a full disk must not make a child die of its log. What is
// lost is said once, where a person sees it.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.toFile(p); err != nil {
		if !o.failing {
			o.lines([]byte(fmt.Sprintf("log lines of %s are lost: %v\n", o.name, err)), true)
		}
		o.failing = true
	} else {
		o.failing = false
	}
	o.lines(p, false)
	return len(p), nil
}

func (o *output) toFile(p []byte) error {
	if o.size > logKeeps {
		if err := errors.Join(o.file.Close(), os.Rename(o.path, o.path+".1"), o.open()); err != nil {
			return err
		}
	}
	n, err := o.file.Write(p)
	o.size += int64(n)
	return err
}

func (o *output) lines(p []byte, always bool) {
	o.partial = append(o.partial, p...)
	for {
		end := bytes.IndexByte(o.partial, '\n')
		if end < 0 && len(o.partial) > lineLength {
			end = lineLength
		}
		if end < 0 {
			return
		}
		line := string(o.partial[:end])
		o.partial = o.partial[end:]
		if len(o.partial) > 0 && o.partial[0] == '\n' {
			o.partial = o.partial[1:]
		}
		o.line(line, always)
	}
}

func (o *output) line(line string, always bool) {
	o.tail = append(o.tail, line)
	o.tail = o.tail[max(0, len(o.tail)-tailLines):]
	if strings.HasPrefix(line, "ready ") {
		o.ready = true
	}
	switch {
	case o.terminal != nil:
		fmt.Fprintf(o.terminal, "%-8s | %s\n", o.name, line)
	case always:
		fmt.Fprintf(os.Stderr, "%-8s | %s\n", o.name, line)
	}
}

// saidReady tells whether the service printed a line that begins with "ready ".
func (o *output) saidReady() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ready
}

func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.tail) == 0 {
		return "(it printed nothing)"
	}
	return strings.Join(o.tail, "\n")
}

func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file.Close()
}
