package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"justlogistics/internal/demo"
	"justlogistics/internal/dev"
	"justlogistics/internal/temporalclient"
)

type devCommand struct {
	DataDir        string `name:"data-dir" default:".dev" env:"JL_DATA_DIR" help:"Folder for all data, logs and keys."`
	APIPort        int    `name:"api-port" default:"8080" env:"JL_API_PORT" help:"Port of the API."`
	TemporalPort   int    `name:"temporal-port" default:"7233" env:"JL_TEMPORAL_PORT" help:"Port of Temporal."`
	TemporalUIPort int    `name:"temporal-ui-port" default:"8233" env:"JL_TEMPORAL_UI_PORT" help:"Port of Temporal's web UI."`
	SandboxPort    int    `name:"sandbox-port" default:"8090" env:"JL_SANDBOX_PORT" help:"Port of the providers' sandbox."`
	MailPort       int    `name:"mail-port" default:"0" env:"JL_MAIL_PORT" help:"Port on which mail is caught by SMTP; 0 takes a free one."`
	PostgresPort   int    `name:"postgres-port" default:"0" env:"JL_POSTGRES_PORT" help:"Port of PostgreSQL; 0 takes a free one."`
	PublicURL      string `name:"public-url" env:"PUBLIC_URL" help:"Address that providers and buyers are given, for a tunnel; the API's own by default."`
	Verbose        bool   `short:"v" help:"Show what the children print, not only in their logs."`
}

// Run is called by kong.
func (c devCommand) Run(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return dev.Run(ctx, dev.Options{
		DataDir: c.DataDir,
		Ports: dev.Ports{
			API: c.APIPort, Temporal: c.TemporalPort, TemporalUI: c.TemporalUIPort,
			Sandbox: c.SandboxPort, Mail: c.MailPort, Postgres: c.PostgresPort,
		},
		Program:          program,
		TemporalProgram:  filepath.Join(filepath.Dir(program), "justlogistics-devserver"),
		SearchAttributes: temporalclient.SearchAttributes(),
		Seed:             demo.Seed,
		PublicURL:        c.PublicURL,
		Verbose:          c.Verbose,
		Out:              os.Stdout,
	})
}
