package simulate

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// stuck is a line of the support list.
type stuck struct {
	Kind       string   `json:"kind"`
	Of         string   `json:"of"`
	WorkflowID *string  `json:"workflow_id"`
	Subject    string   `json:"subject"`
	Reason     string   `json:"reason"`
	Why        string   `json:"why"`
	Verbs      []string `json:"verbs"`
}

// shipment is whose run a line is about; empty: it is no parked case of a shipment's.
func (c stuck) shipment() string { return c.runOf("fulfillment") }

// runOf is the subject of a parked case of a kind of run; empty: it is none.
func (c stuck) runOf(kind string) string {
	if c.Kind != "parked" || c.WorkflowID == nil {
		return ""
	}
	of, rest, _ := strings.Cut(*c.WorkflowID, ":")
	_, id, _ := strings.Cut(rest, ":")
	if of != kind {
		return ""
	}
	return id
}

// ourReference is how a case names a label that nobody knows enough of.
var ourReference = regexp.MustCompile(`our reference ([A-Z0-9]{16})`)

// cure has a support person cure what the run's shipments, or its returns, wait for, until
// that is over. of names the one that a case is about.
func (o *scanner) cure(ctx context.Context, over <-chan struct{}, of func(stuck) string) {
	tried := map[string]int{} // by run and reason
	seen := map[string]bool{}
	for {
		select {
		case <-over:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		cases, ok := o.shift.cases(ctx)
		if !ok {
			continue
		}
		for _, c := range cases {
			if of(c) == "" {
				continue
			}
			// Drivers look whether the order asks for a person: nobody decides at once.
			if key := *c.WorkflowID + " " + c.Reason; !seen[key] {
				seen[key] = true
				continue
			}
			o.cureOne(ctx, c, tried)
		}
	}
}

// cases are those of the run's shipments and returns.
func (s *shift) cases(ctx context.Context) (all []stuck, ok bool) {
	for cursor := ""; ; {
		var page struct {
			Data       []stuck `json:"data"`
			NextCursor *string `json:"next_cursor"`
		}
		if !s.read(ctx, "/v1/support/stuck?limit=100"+cursor, &page) {
			return nil, false
		}
		for _, c := range page.Data {
			s.mu.Lock()
			ours := s.record.consignments[c.shipment()] != nil || s.record.returns[c.returned()] != nil
			s.mu.Unlock()
			if ours {
				all = append(all, c)
			}
		}
		if page.NextCursor == nil {
			return all, true
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
}

// cureOne uses a verb, as a person would who has looked into the carrier's panel.
func (o *scanner) cureOne(ctx context.Context, c stuck, tried map[string]int) {
	key := *c.WorkflowID + " " + c.Reason
	n := tried[key]
	verb, body := "retry", map[string]any{"step": c.Of, "actor": o.person, "reason": "seen in the panel"}
	panel, err := o.shift.run.world.labels(ctx, o.shift.since)
	if err != nil {
		return // the panel is down: later
	}
	reference := ""
	if m := ourReference.FindStringSubmatch(c.Why); m != nil {
		reference = m[1]
	}
	at := slices.IndexFunc(panel, func(l label) bool { return l.Reference == reference && !l.Voided })
	switch c.Reason {
	case "no_carrier", "no_return_label":
		if n > 0 && o.chance(60) {
			verb = "cancel"
		}
	case "booking_unknown", "label_missing":
		verb, body["outcome"] = "resolve", "not_made"
		if at >= 0 {
			if panel[at].Tracking == "" {
				return // the carrier gives its number later
			}
			body["outcome"], body["reference"] = "booked", panel[at].Tracking
		} else if reference == "" {
			verb = "retry"
			delete(body, "outcome")
		}
	case "label_not_voided":
		verb, body["outcome"] = "resolve", "voided"
		if at >= 0 { // nobody has cancelled it, and the panel can't
			verb = "skip"
			delete(body, "outcome")
			o.shift.mu.Lock()
			o.shift.record.skipped[reference] = true
			o.shift.mu.Unlock()
		}
	case "parcel_lost", "returned_to_sender":
		verb, body["outcome"] = "resolve", "closed"
		// Money that can't go back is a matter of its own.
		if n == 0 && o.chance(60) {
			body["outcome"] = "refund"
			// Also when no answer comes: what was given back says whether it was done.
			o.shift.mu.Lock()
			o.shift.record.refunded[c.shipment()] = true
			o.shift.mu.Unlock()
		}
	case "return_lost":
		verb, body["outcome"] = "resolve", "lost"
	case "return_went_back", "unexpected_goods", "refunded_and_never_came":
		verb, body["outcome"], body["reference"] = "resolve", "closed", "agreed with the buyer"
	case "promise_at_risk", "promise_broken": // the rate of one day, paid in the evening
		verb = "skip"
		if o.chance(50) {
			verb, body["outcome"], body["reference"] = "resolve", "agreed", time.Now().UTC().AddDate(0, 0, 14).Format(time.DateOnly)
		}
	case "step_failed":
		o.shift.trouble("step_failed", "%s waits for a person: %s", *c.WorkflowID, c.Why)
	default:
		o.shift.trouble("unexpected_case", "%s waits for a person because of %s: %s", *c.WorkflowID, c.Reason, c.Why)
		return
	}
	tried[key]++
	if !slices.Contains(c.Verbs, verb) {
		o.shift.trouble("verb_missing", "%s (%s) can't be cured with %s but %v", *c.WorkflowID, c.Reason, verb, c.Verbs)
		return
	}
	a, err := o.shift.run.shop.as(o.person).insist(ctx, http.MethodPost, "/v1/support/workflows/"+url.PathEscape(*c.WorkflowID)+"/"+verb, o.key(), body)
	switch {
	case err != nil:
		o.shift.trouble("unanswered", "%s: %v", o.person, err)
	case a.status == http.StatusConflict, a.status == http.StatusNotFound: // it is over meanwhile
	case !a.ok():
		o.shift.trouble("unexpected_answer", "%s of %s (%s) by %s: %s", verb, *c.WorkflowID, c.Reason, o.person, a)
	default:
		o.shift.did("support_" + c.Reason)
	}
}
