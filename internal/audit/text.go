package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// WriteText prints a report for people: a table of the checks, then each
// violation.
func (r Report) WriteText(w io.Writer) error {
	out := &sticky{w: w}
	fmt.Fprintf(out, "Audit of the database as it was at %s.\n", r.At.UTC().Format(time.RFC3339))
	if r.Ledger != nil {
		fmt.Fprintf(out, "Compared with the ledger of %s: %d charges, %d refunds, %d labels.\n", r.Ledger.URL, r.Ledger.Charges, r.Ledger.Refunds, r.Ledger.Labels)
	} else {
		fmt.Fprintln(out, "Not compared with any provider: there is no sandbox here.")
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "INVARIANT\tCHECK\tROWS\tVIOLATIONS")
	for _, c := range r.Checks {
		fmt.Fprintf(table, "%d\t%s\t%d\t%d\n", c.Invariant, c.Name, c.Rows, len(c.Violations))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range r.Checks {
		if len(c.Violations) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s (invariant %d): %s\n", c.Name, c.Invariant, c.Rule)
		for _, v := range c.Violations {
			tenant := v.Tenant
			if tenant == "" {
				tenant = "(no tenant)"
			}
			fmt.Fprintf(out, "  %s %s: %s\n", tenant, v.Subject, v.Words)
			if len(v.Data) > 0 {
				data, err := json.Marshal(v.Data)
				if err != nil {
					return fmt.Errorf("violation of %s: %w", c.Name, err)
				}
				fmt.Fprintf(out, "    %s\n", data)
			}
			if v.Repair != "" {
				fmt.Fprintf(out, "    repair: %s\n", v.Repair)
			}
		}
	}
	if r.OK() {
		fmt.Fprintln(out, "\nNo violation.")
	} else {
		fmt.Fprintf(out, "\n%d violations.\n", r.Violations)
	}
	return out.err
}

// sticky keeps the first error of a series of prints.
type sticky struct {
	w   io.Writer
	err error
}

func (c *sticky) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	var n int
	n, c.err = c.w.Write(p)
	return n, c.err
}
