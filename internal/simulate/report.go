package simulate

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"justlogistics/internal/audit"
)

// Report is how a run went.
type Report struct {
	Run      string   `json:"run"`
	Seed     uint64   `json:"seed"`
	Orders   int      `json:"orders"`
	Rate     float64  `json:"rate"`
	Faults   Faults   `json:"faults"`
	Gateways []string `json:"gateways"`
	To       string   `json:"to"`
	Seconds  float64  `json:"seconds"`

	Outcomes []Outcome `json:"outcomes"`
	// Latency of POST /v1/checkouts, each answer counted.
	Latency Latency        `json:"latency"`
	Answers map[string]int `json:"answers"`
	// FaultsSeen is how often each kind of fault occurred.
	FaultsSeen map[string]int `json:"faults_seen"`
	// Never lists kinds that never occurred.
	Never Never `json:"never_occurred"`
	// PaidTwice counts buyers of whom providers took money twice.
	PaidTwice int `json:"charged_twice_and_refunded"`
	// InDoubt counts refunds whose provider cannot be asked what became of them.
	InDoubt     int          `json:"refunds_in_doubt"`
	Differences []Difference `json:"differences"`
	// Books is how ours compared with the providers' at the end.
	Books []Books `json:"books"`
	// Work is the shift in the run's own warehouses, of a run that goes as far as
	// picked or further.
	Work *Work `json:"work,omitempty"`

	Audit *audit.Report `json:"audit"`
	// NoAudit says why there is none; AuditFailed that it was tried.
	NoAudit     string `json:"no_audit,omitempty"`
	AuditFailed bool   `json:"audit_failed,omitempty"`
}

// Outcome is what became of one kind of buyer.
type Outcome struct {
	Kind   Kind `json:"kind"`
	Buyers int  `json:"buyers"`
	// Ends counts their checkouts by status, and refusals by code.
	Ends map[string]int `json:"ends"`
}

// Latency in milliseconds.
type Latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Never is what a run did not show.
type Never struct {
	Buyers []Kind   `json:"buyers"`
	Faults []string `json:"faults"`
}

// OK reports whether the run found nothing wrong.
func (r Report) OK() bool {
	return len(r.Differences) == 0 && !r.AuditFailed && (r.Audit == nil || r.Audit.OK())
}

func (r *run) report(e evidence, faults map[string]int) Report {
	out := Report{Run: r.id, Seed: r.Seed, Orders: r.Orders, Rate: r.Rate, Faults: r.Faults, Gateways: r.Gateways, To: r.To,
		Latency: latency(r.shop.latencies), Answers: r.shop.answers, FaultsSeen: faults, Differences: e.differences(), Books: e.books,
		Never: Never{Buyers: []Kind{}, Faults: []string{}}}
	if out.Differences == nil {
		out.Differences = []Difference{}
	}
	occurred := map[Kind]bool{}
	ends := map[Kind]*Outcome{}
	for _, rec := range r.records {
		o := ends[rec.Buyer.Kind]
		if o == nil {
			o = &Outcome{Kind: rec.Buyer.Kind, Ends: map[string]int{}}
			ends[rec.Buyer.Kind] = o
		}
		o.Buyers++
		o.Ends[rec.end()]++
		occurred[rec.Buyer.Kind] = occurred[rec.Buyer.Kind] || rec.Occurred
		out.InDoubt += len(rec.Doubted)
		for _, asked := range rec.Refunds {
			if asked.InDoubt {
				out.InDoubt++
			}
		}
		if e.chargedTwice(rec) {
			out.PaidTwice++
		}
	}
	for _, k := range Kinds(r.Gateways) {
		if o := ends[k]; o != nil {
			out.Outcomes = append(out.Outcomes, *o)
		}
		if !occurred[k] {
			out.Never.Buyers = append(out.Never.Buyers, k)
		}
	}
	if r.Faults != NoFaults {
		for _, kind := range FaultKinds() {
			if faults[kind] <= 0 {
				out.Never.Faults = append(out.Never.Faults, kind)
			}
		}
	}
	return out
}

func (e evidence) chargedTwice(r *Record) bool {
	n := 0
	if r.checkout != nil {
		for _, p := range r.checkout.Payments {
			n += len(e.ledger.charges[p.ID])
		}
	}
	return n > 1
}

// end is what became of a buyer in a word.
func (r *Record) end() string {
	switch {
	case r.checkout != nil:
		return r.checkout.Status
	case r.Refused != "":
		return "refused:" + r.Refused
	}
	return "unanswered"
}

func latency(all []time.Duration) Latency {
	l := Latency{Count: len(all)}
	if len(all) == 0 {
		return l
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(q float64) float64 {
		// The nearest rank: the smallest value that a share q does not exceed.
		i := max(0, int(math.Ceil(q*float64(len(sorted))))-1)
		return float64(sorted[i].Microseconds()) / 1000
	}
	l.P50, l.P95, l.P99, l.Max = at(0.50), at(0.95), at(0.99), at(1)
	return l
}

// WriteText prints a report for people.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Run %s: %d buyers at %g a second, seed %d, faults %s, gateways %s; %.1f s.\n\n", r.Run, r.Orders, r.Rate, r.Seed, r.Faults, strings.Join(r.Gateways, ", "), r.Seconds)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BUYERS\tN\tWHAT BECAME OF THEM")
	for _, o := range r.Outcomes {
		fmt.Fprintf(table, "%s\t%d\t%s\n", o.Kind, o.Buyers, counts(o.Ends))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\nPOST /v1/checkouts: p50 %.0f ms, p95 %.0f ms, p99 %.0f ms, max %.0f ms (%d answers; %s)\n", r.Latency.P50, r.Latency.P95, r.Latency.P99, r.Latency.Max, r.Latency.Count, counts(r.Answers))
	fmt.Fprintf(&b, "Charged twice by providers, and given back: %d\n", r.PaidTwice)
	if r.InDoubt > 0 {
		fmt.Fprintf(&b, "Refunds that wait for a look at the provider's panel: %d\n", r.InDoubt)
	}
	if r.Faults != NoFaults {
		fmt.Fprintf(&b, "Faults that occurred: %s\n", counts(r.FaultsSeen))
	}
	if len(r.Never.Buyers) > 0 {
		fmt.Fprintf(&b, "Kinds of buyer that never occurred: %v\n", r.Never.Buyers)
	}
	if len(r.Never.Faults) > 0 {
		fmt.Fprintf(&b, "Kinds of fault that never occurred: %v\n", r.Never.Faults)
	}
	if r.Work != nil {
		r.Work.write(&b)
	}
	fmt.Fprintln(&b)
	for _, d := range r.Differences {
		who := "the shop"
		if d.Buyer != nil {
			who = fmt.Sprintf("buyer %d (%s)", *d.Buyer, d.Kind)
		}
		fmt.Fprintf(&b, "DIFFERENCE %s: %s: %s", d.Rule, who, d.Words)
		if d.Checkout != "" {
			fmt.Fprintf(&b, " [checkout %s]", d.Checkout)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "%d differences.\n", len(r.Differences))
	for _, books := range r.Books {
		for _, g := range books.Gateways {
			if len(g.Counts) > 0 {
				fmt.Fprintf(&b, "Books of %s, %s: %s (%s).\n", books.Date, g.Gateway, counts(g.Counts), g.Source)
			}
		}
	}
	switch {
	case r.Audit != nil && r.Audit.OK():
		rows := 0
		for _, c := range r.Audit.Checks {
			rows += c.Rows
		}
		fmt.Fprintf(&b, "Audit: no violation (%d checks, %d rows looked at).\n", len(r.Audit.Checks), rows)
	case r.Audit != nil:
		fmt.Fprintf(&b, "Audit: %d violations.\n\n", r.Audit.Violations)
		if err := r.Audit.WriteText(&b); err != nil {
			return err
		}
	default:
		fmt.Fprintf(&b, "Not audited: %s\n", r.NoAudit)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON prints all of a report.
func (r Report) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

func counts(n map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, n[name]))
	}
	return strings.Join(parts, ", ")
}
