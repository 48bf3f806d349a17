package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// Ports that dev listens on, all on 127.0.0.1.
type Ports struct {
	API        int
	Temporal   int
	TemporalUI int
	Sandbox    int
	Mail       int // SMTP; 0 takes a free one
	Postgres   int // 0 takes a free one
}

// portUse is a port with what a person must know to change it.
type portUse struct {
	port     int
	use      string
	flag     string
	variable string
}

func (p Ports) uses() []portUse {
	return []portUse{
		{p.API, "the API", "--api-port", "JL_API_PORT"},
		{p.Temporal, "Temporal", "--temporal-port", "JL_TEMPORAL_PORT"},
		{p.TemporalUI, "Temporal's UI", "--temporal-ui-port", "JL_TEMPORAL_UI_PORT"},
		{p.Sandbox, "the sandbox", "--sandbox-port", "JL_SANDBOX_PORT"},
		{p.Mail, "mail", "--mail-port", "JL_MAIL_PORT"},
		{p.Postgres, "PostgreSQL", "--postgres-port", "JL_POSTGRES_PORT"},
	}
}

// settling is how long the children of a dev that was killed a moment ago may
// still hold their ports.
const settling = 3 * time.Second

// probe checks that every port can be had, and names each one that can't.
func (p Ports) probe(ctx context.Context) error {
	owner := map[int]portUse{}
	var wrong []error
	for _, u := range p.uses() {
		if u.port == 0 && (u.variable == "JL_POSTGRES_PORT" || u.variable == "JL_MAIL_PORT") {
			continue
		}
		if u.port < 1 || u.port > 65535 {
			wrong = append(wrong, fmt.Errorf("%d for %s is no port (%s or %s)", u.port, u.use, u.flag, u.variable))
			continue
		}
		if other, ok := owner[u.port]; ok {
			wrong = append(wrong, fmt.Errorf("port %d is given to both %s and %s: change %s or %s", u.port, other.use, u.use, other.flag, u.flag))
		}
		owner[u.port] = u
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}

	deadline, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var taken []error
		for _, u := range p.uses() {
			if u.port == 0 {
				continue
			}
			switch err := tryListen(u.port); {
			case errors.Is(err, syscall.EADDRINUSE):
				taken = append(taken, fmt.Errorf("port %d for %s is taken: stop what listens there, or choose another with %s or %s", u.port, u.use, u.flag, u.variable))
			case err != nil:
				return fmt.Errorf("port %d for %s (%s or %s): %w", u.port, u.use, u.flag, u.variable, err)
			}
		}
		if len(taken) == 0 {
			return nil
		}
		select {
		case <-deadline.Done():
			return errors.Join(taken...)
		case <-tick.C:
		}
	}
}

func tryListen(port int) error {
	l, err := net.Listen("tcp", local(port))
	if err != nil {
		return err
	}
	return l.Close()
}

// freePort finds a port that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", local(0))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return strconv.Atoi(port)
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
