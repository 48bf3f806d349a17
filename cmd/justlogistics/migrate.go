package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"

	"justlogistics/internal/config"
	"justlogistics/internal/postgres"
	"justlogistics/internal/temporalclient"
)

type migrateCommand struct {
	Up     migrateUpCommand     `cmd:"" help:"Run all migrations that have not run, and register Temporal's search attributes."`
	Down   migrateDownCommand   `cmd:"" help:"Take the newest migration back. It can lose data."`
	Status migrateStatusCommand `cmd:"" help:"List the migrations and the search attributes, and what is missing."`
}

type migrateUpCommand struct {
	AppPassword string `name:"app-password" env:"JL_APP_PASSWORD" help:"Let the role jl_app log in with this password: 16 or more letters, digits, - or _."`
}

// Run is called by kong. Without TEMPORAL_ADDRESS only the database is migrated.
func (c migrateUpCommand) Run(ctx context.Context) error {
	cfg, err := config.Load(ctx, config.Owner)
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, cfg.OwnerURL); err != nil {
		return err
	}
	fmt.Println("database: up to date")
	if c.AppPassword != "" {
		if err := postgres.EnableLogin(ctx, cfg.OwnerURL, c.AppPassword); err != nil {
			return err
		}
		fmt.Println("database: jl_app may log in")
	}
	if cfg.TemporalAddress == "" {
		fmt.Println("Temporal: left alone, TEMPORAL_ADDRESS is not set")
		return nil
	}
	missing, err := missingSearchAttributes(ctx, cfg, true)
	if err != nil {
		return err
	}
	fmt.Printf("Temporal: up to date, %d search attributes added\n", len(missing))
	return nil
}

type migrateDownCommand struct{}

// Run is called by kong.
func (migrateDownCommand) Run(ctx context.Context) error {
	cfg, err := config.Load(ctx, config.Owner)
	if err != nil {
		return err
	}
	if err := postgres.MigrateDown(ctx, cfg.OwnerURL); err != nil {
		return err
	}
	return migrateStatusCommand{}.Run(ctx)
}

type migrateStatusCommand struct{}

// Run is called by kong.
func (migrateStatusCommand) Run(ctx context.Context) error {
	cfg, err := config.Load(ctx, config.Owner)
	if err != nil {
		return err
	}
	migrations, err := postgres.Migrations(ctx, cfg.OwnerURL)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range migrations {
		state := "missing"
		if m.Applied {
			state = "done"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, m.File, state)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if cfg.TemporalAddress == "" {
		return nil
	}
	missing, err := missingSearchAttributes(ctx, cfg, false)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		fmt.Println("search attributes: all there")
	}
	for name, kind := range missing {
		fmt.Printf("search attribute missing: %s (%s)\n", name, kind)
	}
	return nil
}

// missingSearchAttributes compares Temporal's namespace with what the program
// writes, and adds what is missing when told to. An attribute of that name but
// another type is an error: Temporal can't change it.
func missingSearchAttributes(ctx context.Context, cfg *config.Config, add bool) (missing map[string]enumspb.IndexedValueType, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	opts, err := temporalclient.ClientOptions(temporalclient.Options{Address: cfg.TemporalAddress, Namespace: cfg.TemporalNamespace, Keyring: cfg.PayloadKeys})
	if err != nil {
		return nil, err
	}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("connect to Temporal at %s: %w", opts.HostPort, err)
	}
	defer c.Close()

	there, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: opts.Namespace})
	if err != nil {
		return nil, fmt.Errorf("list Temporal's search attributes: %w", err)
	}
	missing = map[string]enumspb.IndexedValueType{}
	var wrong []error
	for name, typeName := range temporalclient.SearchAttributes() {
		kind, err := enumspb.IndexedValueTypeFromString(typeName)
		if err != nil {
			return nil, fmt.Errorf("search attribute %s: %w", name, err)
		}
		switch has, ok := there.CustomAttributes[name]; {
		case !ok:
			missing[name] = kind
		case has != kind:
			wrong = append(wrong, fmt.Errorf("search attribute %s is %s in Temporal and has to be %s: remove it there first", name, has, kind))
		}
	}
	if err := errors.Join(wrong...); err != nil || !add || len(missing) == 0 {
		return missing, err
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: opts.Namespace, SearchAttributes: missing})
	if err != nil {
		return nil, fmt.Errorf("add Temporal's search attributes: %w", err)
	}
	return missing, nil
}
