package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/support"
)

const supportPage = 1000

// checkSupportList is invariant 6: whatever is past its time is on the list
// that support reads, made by the same function that answers support.
func checkSupportList(ctx context.Context, tx pgx.Tx) (Check, error) {
	c := Check{Invariant: 6, Name: "support.lists_what_is_late", Rule: "whatever is past its time, parked or without its run is on the support list"}
	rows, err := tx.Query(ctx, pastDue)
	if err != nil {
		return c, fmt.Errorf("audit: %s: %w", c.Name, err)
	}
	type late struct {
		Tenant, Kind, ID string
		Names            []*string
		Why              string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[late])
	if err != nil {
		return c, fmt.Errorf("audit: %s: %w", c.Name, err)
	}
	c.Rows = len(all)
	listed := map[string]map[string]bool{} // tenant, then name
	for _, l := range all {
		if listed[l.Tenant] == nil {
			if listed[l.Tenant], err = namesOnList(ctx, tx, l.Tenant); err != nil {
				return c, err
			}
		}
		found := false
		for _, name := range l.Names {
			found = found || name != nil && *name != "" && listed[l.Tenant][*name]
		}
		if !found {
			c.Violations = append(c.Violations, Violation{Tenant: l.Tenant, Subject: l.ID, Data: map[string]any{"kind": l.Kind},
				Words: fmt.Sprintf("%s %s, and is not on the support list", l.Kind, l.Why), Repair: "the list's statement leaves it out: that is a fault of the program"})
		}
	}
	return c, nil
}

// namesOnList are the ids under which a tenant's support list shows things.
func namesOnList(ctx context.Context, tx pgx.Tx, tenant string) (map[string]bool, error) {
	names := map[string]bool{}
	for after := ""; ; {
		page, err := support.Stuck(ctx, tx, tenant, after, supportPage)
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		for _, item := range page {
			names[item.Subject] = true
			if item.WorkflowID != nil {
				names[*item.WorkflowID] = true
			}
		}
		if len(page) < supportPage {
			return names, nil
		}
		after = page[len(page)-1].Position()
	}
}
