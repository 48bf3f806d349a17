package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/config"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/support"
	"justlogistics/internal/support/verbs"
	"justlogistics/internal/temporalclient"
	"justlogistics/workflows"
)

type supportCommand struct {
	Stuck   supportStuckCommand   `cmd:"" help:"List everything that needs a person: why, since when, and which verbs apply."`
	Retry   supportRetryCommand   `cmd:"" help:"Try a parked step again."`
	Skip    supportSkipCommand    `cmd:"" help:"Go on without a parked step."`
	Resolve supportResolveCommand `cmd:"" help:"State the outcome of a parked step."`
	Cancel  supportCancelCommand  `cmd:"" help:"Give a parked step up."`
	Restart supportRestartCommand `cmd:"" help:"Begin a run anew that is missing, terminated, failed or wedged."`
}

type supportStuckCommand struct {
	Tenant string `required:"" default:"demo" help:"Whose."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run is called by kong.
func (c supportStuckCommand) Run(ctx context.Context) error {
	var items []support.Item
	err := inTenant(ctx, c.Tenant, func(_ *config.Config, tx pgx.Tx) error {
		for after := ""; ; {
			page, err := support.Stuck(ctx, tx, c.Tenant, after, 200)
			if err != nil {
				return err
			}
			items = append(items, page...)
			if len(page) < 200 {
				return nil
			}
			after = page[len(page)-1].Position()
		}
	})
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(items)
	}
	if len(items) == 0 {
		fmt.Println("nothing needs a person")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SINCE\tORDER\tWORKFLOW\tWHY\tVERBS")
	for _, i := range items {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", i.Since.Format(time.RFC3339), deref(i.Number), deref(i.WorkflowID), i.Why, strings.Join(i.Verbs, ", "))
	}
	return w.Flush()
}

func deref(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// useFlags are common to the verbs.
type useFlags struct {
	WorkflowID string `arg:"" name:"workflow-id" help:"<kind>:<tenant>:<id>, as stuck prints it."`
	Reason     string `required:"" help:"Why; it is recorded."`
	Actor      string `required:"" env:"USER" help:"Who; it is recorded."`
	Step       string `help:"Which parked step, when several take the verb."`
	DryRun     bool   `name:"dry-run" help:"Tell what would happen and change nothing."`
}

func (f useFlags) apply(ctx context.Context, verb, outcome, reference string) error {
	_, tenantID, _, ok := workflows.ParseID(f.WorkflowID)
	if !ok {
		return fmt.Errorf("%q is no workflow id, which looks like checkout:demo:01J8ZQ4H5T", f.WorkflowID)
	}
	cfg, err := config.Load(ctx, config.Database, config.Temporal, config.Keys)
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Options{MaxConns: 2, MaxSystemConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	temporal, err := temporalclient.Dial(ctx, temporalclient.Options{Keyring: cfg.PayloadKeys, Address: cfg.TemporalAddress, Namespace: cfg.TemporalNamespace})
	if err != nil {
		return err
	}
	defer temporal.Close()
	done, err := verbs.Desk{DB: db, Temporal: temporal}.Apply(ctx, verbs.Use{Tenant: tenantID, WorkflowID: f.WorkflowID, Verb: verb, Actor: f.Actor, KeyID: "cli",
		Reason: f.Reason, Step: f.Step, Outcome: outcome, Reference: reference, DryRun: f.DryRun})
	var refused *problem.Error
	if errors.As(err, &refused) {
		return fmt.Errorf("refused: %w", err)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", done.Status, done.Result)
	return nil
}

type supportRetryCommand struct{ useFlags }

// Run is called by kong.
func (c supportRetryCommand) Run(ctx context.Context) error {
	return c.apply(ctx, workflows.VerbRetry, "", "")
}

type supportSkipCommand struct{ useFlags }

// Run is called by kong.
func (c supportSkipCommand) Run(ctx context.Context) error {
	return c.apply(ctx, workflows.VerbSkip, "", "")
}

type supportResolveCommand struct {
	useFlags
	Outcome   string `required:"" help:"approved or declined (payment), accept or refund (mismatch), refund (money that came back), succeeded or failed (refund), not_made (a refund that can't be traced)."`
	Reference string `help:"What proves it: the provider's reference, or the bank transfer's."`
}

// Run is called by kong.
func (c supportResolveCommand) Run(ctx context.Context) error {
	return c.apply(ctx, workflows.VerbResolve, c.Outcome, c.Reference)
}

type supportCancelCommand struct{ useFlags }

// Run is called by kong.
func (c supportCancelCommand) Run(ctx context.Context) error {
	return c.apply(ctx, workflows.VerbCancel, "", "")
}

type supportRestartCommand struct{ useFlags }

// Run is called by kong.
func (c supportRestartCommand) Run(ctx context.Context) error {
	return c.apply(ctx, verbs.Restart, "", "")
}
