// Command justlogistics-devserver runs a complete Temporal server and its web
// UI in one process, for development and tests. Workflows are kept in a SQLite
// file, in memory, or in PostgreSQL. It is a module of its own so that nobody
// who builds the product compiles a Temporal server.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"go.temporal.io/server/common/headers"
)

const program = "justlogistics-devserver"

const (
	// collectAt is how much garbage, in percent of what is alive, is let lie before it is
	// collected, unless GOGC says otherwise: a server under load spent a twelfth of its time
	// on that with Go's 100, and half as much with this.
	collectAt = 300
	// memory is where collecting becomes eager again, unless GOMEMLIMIT says otherwise.
	memory = 1 << 30
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	var opts options
	kong.Parse(&opts,
		kong.Name(program),
		kong.Description("Temporal server and web UI in one process, for development and tests. Not for production."),
		kong.Vars{"version": fmt.Sprintf("%s (Temporal server %s)", program, headers.ServerVersion)},
	)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A second signal ends the process at once: the default handling returns
	// as soon as the first one was seen.
	context.AfterFunc(ctx, stop)

	if err := run(ctx, opts); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", program, strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

// run serves until ctx ends. It returns nil after an orderly stop.
func run(ctx context.Context, opts options) error {
	log := newServerLog(opts.LogLevel)
	ports, err := claimPorts(opts)
	if err != nil {
		return err
	}
	db, err := opts.openStore(ctx, log)
	if err != nil {
		return err
	}
	defer db.close()
	if opts.SchemaOnly {
		fmt.Println("schema ready")
		return nil
	}

	server, err := startTemporal(opts, ports, db, log)
	if err != nil {
		return err
	}
	err = serve(ctx, opts, ports, log.SLog())
	log.quieten()
	stopTemporal(server)
	return err
}

// serve announces readiness once clients can work, and waits for ctx to end.
func serve(ctx context.Context, opts options, ports ports, log *slog.Logger) error {
	if err := prepareNamespace(ctx, opts, ports, log); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ready := "ready frontend=" + ports.frontendAddress()
	if ports.ui != 0 {
		ui := startUI(opts, ports)
		defer ui.Stop()
		if err := awaitUI(ctx, ports); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		ready += " ui=" + ports.uiURL()
	}
	fmt.Println(ready)
	<-ctx.Done()
	return nil
}
