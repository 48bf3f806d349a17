package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/audit"
	"justlogistics/internal/config"
	"justlogistics/internal/gateways"
	"justlogistics/internal/postgres"
	"justlogistics/internal/simulate"
)

type simulateCommand struct {
	Orders     int           `default:"50" help:"How many buyers come."`
	Rate       float64       `default:"5" help:"Checkouts per second."`
	Faults     string        `default:"none" enum:"none,light,heavy" help:"How the providers misbehave: ${enum}."`
	Gateways   []string      `default:"all" help:"Gateways that buyers choose from; all: every one of this build."`
	To         string        `default:"paid" enum:"paid,picked,delivered,returned" help:"How far orders are driven: paid; picked, with a shift in two warehouses of the run's own; delivered, where what was picked there is packed and brought to the door; returned, where some of that comes back."`
	ReturnRate float64       `name:"return-rate" default:"0.3" help:"With --to returned: how much of what came home whole comes back, 0 to 1."`
	Seed       uint64        `default:"1" help:"Decides which buyers come."`
	JSON       bool          `name:"json" help:"Print the whole report as JSON."`
	Timeout    time.Duration `default:"10m" help:"After this, what has not ended is a difference."`
	APIURL     string        `name:"api-url" help:"The API, without /v1; that of the running dev by default."`
	APIKey     string        `name:"api-key" env:"JL_API_KEY" help:"A key with scope admin; that of the running dev by default."`
	SandboxURL string        `name:"sandbox-url" help:"The sandbox; that of the running dev by default."`
	Warehouses []string      `default:"SCL-1,CCP-1" help:"Warehouses for the run's own stock; with --to picked and further it makes its own."`
}

// Run is called by kong. A difference or a violation is an error, so that
// scripts see it in the exit status.
func (c simulateCommand) Run(ctx context.Context) error {
	faults, err := simulate.ParseFaults(c.Faults)
	if err != nil {
		return err
	}
	o := simulate.Options{
		Orders: c.Orders, Rate: c.Rate, Faults: faults, Gateways: named(c.Gateways), To: c.To, ReturnRate: c.ReturnRate, Seed: c.Seed, Timeout: c.Timeout,
		APIURL: c.APIURL, APIKey: c.APIKey, SandboxURL: c.SandboxURL, Warehouses: c.Warehouses,
		Progress: func(words string) { fmt.Fprintln(os.Stderr, words) },
	}
	cfg, err := config.Load(ctx, config.Database)
	switch {
	case err != nil:
		o.NoAudit = "the database is not known: " + err.Error()
	default:
		c.fill(&o, cfg)
	}
	report, err := simulate.Run(ctx, o)
	if err != nil {
		return err
	}
	if c.JSON {
		err = report.WriteJSON(os.Stdout)
	} else {
		err = report.WriteText(os.Stdout)
	}
	if err == nil && !report.OK() {
		err = errors.New("simulate: the run found something wrong")
	}
	return err
}

// named spells out "all".
func named(chosen []string) []string {
	if !slices.Contains(chosen, "all") {
		return chosen
	}
	var all []string
	for _, name := range gateways.Adapters() {
		all = append(all, string(name))
	}
	return all
}

// fill takes from the running dev what was not given.
func (c simulateCommand) fill(o *simulate.Options, cfg *config.Config) {
	if o.SandboxURL == "" {
		o.SandboxURL = cfg.SandboxURL
	}
	if cfg.Dev != nil {
		if o.APIURL != "" && o.APIURL != cfg.Dev.APIURL {
			o.NoAudit = "the API at " + o.APIURL + " is not that of the dev here; name its database in DATABASE_URL"
			return
		}
		o.APIURL = cfg.Dev.APIURL
		if o.APIKey == "" {
			o.APIKey = cfg.Dev.APIKey
		}
	}
	o.Later = func(ctx context.Context, returnID string) error {
		now, err := config.Load(ctx, config.Database)
		if err != nil {
			return err
		}
		return letTimePass(ctx, now, returnID)
	}
	o.Audit = func(ctx context.Context) (audit.Report, error) {
		// Read again: the run may have outlived processes of the dev.
		now, err := config.Load(ctx, config.Database)
		if err != nil {
			return audit.Report{}, err
		}
		return runAudit(ctx, now, 15*time.Second)
	}
}

// letTimePass has a return be as old as one that nobody has sent in time: a run of minutes
// could not see it expire.
func letTimePass(ctx context.Context, cfg *config.Config, returnID string) error {
	db, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.AsSystem(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE returns SET version = version + 1, expires_at = now() - interval '1 second' WHERE id = $1 AND status IN ('approved','label_issued') AND expires_at > now()`, returnID)
		if err != nil {
			return fmt.Errorf("let the time of return %s pass: %w", returnID, err)
		}
		return nil
	})
}
