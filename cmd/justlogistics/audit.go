package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"justlogistics/internal/audit"
	"justlogistics/internal/config"
	"justlogistics/internal/postgres"
)

type auditCommand struct {
	JSON     bool          `name:"json" help:"Print the report as JSON."`
	Patience time.Duration `default:"10s" help:"How long a difference from the providers' ledger may take to vanish before it counts."`
}

// Run is called by kong. A violation is an error, so that scripts see it in the
// exit status.
func (c auditCommand) Run(ctx context.Context) error {
	cfg, err := config.Load(ctx, config.Database)
	if err != nil {
		return err
	}
	report, err := runAudit(ctx, cfg, c.Patience)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(report)
	} else {
		err = report.WriteText(os.Stdout)
	}
	if err == nil && !report.OK() {
		err = fmt.Errorf("audit: %d violations", report.Violations)
	}
	return err
}

func runAudit(ctx context.Context, cfg *config.Config, patience time.Duration) (audit.Report, error) {
	db, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
	if err != nil {
		return audit.Report{}, err
	}
	defer db.Close()
	o := audit.Options{SandboxURL: cfg.SandboxURL, Patience: patience}
	if cfg.Dev != nil {
		o.UpSince = audit.UpSince(cfg.Dev.PIDs)
	}
	return audit.Run(ctx, db, o)
}

func printJSON(v any) error {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(v)
}
