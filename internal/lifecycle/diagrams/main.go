// Command diagrams writes docs/state-machines.md from the table of moves.
package main

import (
	"fmt"
	"os"
	"strings"

	"justlogistics/internal/lifecycle"
)

const head = `# State machines

Drawn by ` + "`make generate`" + ` from the one table of moves, ` + "`internal/lifecycle/moves.go`" + `. The database holds a copy of the same
table (written by ` + "`justlogistics migrate up`" + `) and refuses every other move, whoever tries it.
`

var about = map[lifecycle.Machine]string{
	lifecycle.Checkout: "`paid` is never undone; `cancelled` never becomes paid (its late approval is refunded). `expired` and `payment_failed` become `paid` when a late approval finds stock.",
	lifecycle.Payment: "One machine per attempt. An approval is forward from every unpaid state. `unknown` means that the money may have moved and nobody has said so: only the gateway's own answer, or a person, leads out. " +
		"News that does not lead forward changes nothing and stays in the timeline.",
	lifecycle.Order:       "Begins when the money is there. A counter sale whose units leave at once begins as `completed`.",
	lifecycle.Refund:      "One machine per refund. `succeeded` can still become `failed` (a card network says so days later): the amount then counts as not given back.",
	lifecycle.Reservation: "A hold, of a checkout or of its own. `short` has lost units to a count and keeps the rest. A paid order's is `confirmed` again when they were found, or were taken off and paid back; with nothing left it is `released` and the order cancelled.",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: diagrams FILE")
		os.Exit(2)
	}
	var b strings.Builder
	b.WriteString(head)
	for _, m := range lifecycle.Machines() {
		name := string(m)
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```mermaid\n%s```\n", strings.ToUpper(name[:1])+name[1:], about[m], lifecycle.Diagram(m))
	}
	if err := os.WriteFile(os.Args[1], []byte(b.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
