package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ports are what one run listens on. The internal ones are free ports of
// 127.0.0.1: only this process talks to them.
type ports struct {
	ip                        string
	frontend, ui, http        int
	history, matching, worker int
}

// claimPorts finds out beforehand whether everything can listen, because the
// Temporal server and its UI end the process with a stack of log lines when a
// port is taken.
func claimPorts(opts options) (ports, error) {
	p := ports{ip: opts.IP, frontend: opts.Port, ui: opts.UIPort, http: opts.HTTPPort}
	for _, port := range []struct {
		number int
		flag   string
	}{{p.frontend, "--port"}, {p.ui, "--ui-port"}, {p.http, "--http-port"}} {
		if port.number == 0 {
			continue
		}
		if err := probePort(opts.IP, port.number, port.flag); err != nil {
			return ports{}, err
		}
	}

	// The listeners stay open until all ports are known, or the same port
	// could be handed out twice.
	free := []*int{&p.history, &p.matching, &p.worker}
	if p.frontend == 0 {
		free = append(free, &p.frontend)
	}
	for _, target := range free {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", "0"))
		if err != nil {
			return ports{}, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		*target = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

func probePort(ip string, port int, flag string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d of %s is taken: stop what listens there, or choose another with %s", port, ip, flag)
	case err != nil:
		return fmt.Errorf("can't listen on port %d of %s (%s): %w", port, ip, flag, err)
	}
	return l.Close()
}

// dialIP is where a local client reaches what listens on ip.
func (p ports) dialIP() string {
	if parsed := net.ParseIP(p.ip); parsed.IsUnspecified() {
		return "127.0.0.1"
	}
	return p.ip
}

func (p ports) frontendAddress() string {
	return net.JoinHostPort(p.dialIP(), strconv.Itoa(p.frontend))
}

func (p ports) uiURL() string {
	return "http://" + net.JoinHostPort(p.dialIP(), strconv.Itoa(p.ui))
}
