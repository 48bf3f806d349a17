// Command justlogistics is the whole product in one binary: the API, the
// workers, what an operator needs in a shell, and `dev`, which runs it all on
// one machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Dev      devCommand      `cmd:"" help:"Run everything on this machine: PostgreSQL, Temporal, the sandbox, the API and the worker."`
	API      apiCommand      `cmd:"" name:"api" help:"Serve the HTTP API."`
	Worker   workerCommand   `cmd:"" help:"Run workflows and activities."`
	Migrate  migrateCommand  `cmd:"" help:"Bring the database schema and Temporal's search attributes up to date, or look at them."`
	Support  supportCommand  `cmd:"" help:"See what needs a person, and act on it."`
	Tenant   tenantCommand   `cmd:"" help:"Create tenants, issue and revoke their API keys, set their providers' credentials."`
	Audit    auditCommand    `cmd:"" help:"Check every invariant over the whole database, and against the sandbox's ledger when there is one."`
	Simulate simulateCommand `cmd:"" help:"Drive real orders through a running stack and compare what its buyers did with what the API says."`
	Route    routeCommand    `cmd:"" help:"Find the shortest picker route of a published routing instance, and say how long it is."`
	Sandbox  sandboxCommand  `cmd:"" hidden:"" help:"Play the providers. dev starts it by itself."`

	Healthcheck healthcheckCommand `cmd:"" hidden:"" help:"Ask an address whether it is well; for containers."`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)

	var all commands
	parsed := kong.Parse(&all,
		kong.Name("justlogistics"),
		kong.Description("Checkout, payment, stock and shipping for shops. Without DATABASE_URL and TEMPORAL_ADDRESS, commands use the dev that runs in the current folder."),
		kong.ShortUsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Vars{"version": version()},
	)
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "justlogistics:", err)
		os.Exit(1)
	}
}

// version is the commit that this binary was built from, as far as it is known.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			v += " " + setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			v += " (modified)"
		}
	}
	return v
}
