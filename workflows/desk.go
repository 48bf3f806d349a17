package workflows

import (
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"justlogistics/activities"
	"justlogistics/internal/temporalclient"
)

// Verbs of support. Restart is not among them: it is for runs that are gone
// and is carried out by the API.
const (
	VerbRetry   = "retry"
	VerbSkip    = "skip"
	VerbResolve = "resolve"
	VerbCancel  = "cancel"
)

// OutcomeNotMade is what `resolve` states of a refund whose answer was lost
// (payment.CodeRefundUntraced) and that is not in the provider's panel. The
// refund is then made anew.
const OutcomeNotMade = "not_made"

// Error types of the support update.
const (
	TypeVerbNotApplicable = "verb_not_applicable"
)

// Case is a step that waits for a person.
type Case struct {
	Step    string
	Subject string // default: the workflow's subject
	Reason  string // a code, also the search attribute
	Message string // plain words: what it waits for
	Tried   string
	Verbs   []string
	// standing: no step waits inside for the verb; a loop takes it up.
	standing bool
}

// decision is a verb that a person used on a case.
type decision struct {
	SupportRequest
	result string
	done   bool
}

// desk is the one way in which workflows wait for people: the case is in the
// run's details, in its search attributes and on the support list; a validated
// update decides it. Whatever else the workflow waits for goes on.
type desk struct {
	tenant, workflowID, subject string
	cases                       []Case
	decided                     []*decision
	// bell is rung when a decision comes, for workflows with a loop of their own.
	bell    func()
	details string
}

func newDesk(ctx workflow.Context, tenant, subject string) (*desk, error) {
	d := &desk{tenant: tenant, workflowID: workflow.GetInfo(ctx).WorkflowExecution.ID, subject: subject}
	return d, workflow.SetUpdateHandlerWithOptions(ctx, UpdateSupport, d.handle, workflow.UpdateHandlerOptions{
		Description: "a person's decision on a parked step: retry, skip, resolve or cancel",
		Validator:   d.validate,
	})
}

func (d *desk) find(req SupportRequest) (Case, bool) {
	for _, c := range d.cases {
		if (req.Step == "" || req.Step == c.Step) && slices.Contains(c.Verbs, req.Verb) {
			return c, true
		}
	}
	return Case{}, false
}

func (d *desk) validate(_ workflow.Context, req SupportRequest) error {
	if _, ok := d.find(req); !ok {
		return temporal.NewApplicationError("this verb does not apply here; those that do: "+strings.Join(d.verbs(), ", "), TypeVerbNotApplicable, d.verbs())
	}
	return nil
}

func (d *desk) verbs() []string {
	out := []string{}
	for _, c := range d.cases {
		for _, v := range c.Verbs {
			if !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

func (d *desk) handle(ctx workflow.Context, req SupportRequest) (SupportAnswer, error) {
	c, _ := d.find(req)
	req.Step = c.Step
	dec := &decision{SupportRequest: req}
	d.decided = append(d.decided, dec)
	if d.bell != nil {
		d.bell()
	}
	if err := workflow.Await(ctx, func() bool { return dec.done }); err != nil {
		return SupportAnswer{}, err
	}
	return SupportAnswer{Result: dec.result}, nil
}

// next takes the oldest decision that nobody has acted on.
func (d *desk) next() (*decision, bool) {
	if len(d.decided) == 0 {
		return nil, false
	}
	dec := d.decided[0]
	d.decided = d.decided[1:]
	return dec, true
}

// parked reports whether a step waits for a person.
func (d *desk) parked(step string) bool {
	return slices.ContainsFunc(d.cases, func(c Case) bool { return c.Step == step })
}

// park puts a case on the desk. A step that is parked already stays.
func (d *desk) park(ctx workflow.Context, c Case) error {
	c.standing = true
	return d.put(ctx, c)
}

func (d *desk) put(ctx workflow.Context, c Case) error {
	if d.parked(c.Step) {
		return nil
	}
	if c.Subject == "" {
		c.Subject = d.subject
	}
	d.cases = append(d.cases, c)
	d.show(ctx)
	if err := d.attributes(ctx); err != nil {
		return err
	}
	return d.write(ctx, "waits for a person: "+strings.ReplaceAll(c.Reason, "_", " "), supports.ParkStep, d.row(c))
}

// reword gives a parked case other words. They are written to the support list
// when they say another thing; the case keeps its place there.
func (d *desk) reword(ctx workflow.Context, c Case) error {
	i := slices.IndexFunc(d.cases, func(old Case) bool { return old.Step == c.Step })
	if i < 0 {
		return nil
	}
	told := d.cases[i].Message
	if c.Subject == "" {
		c.Subject = d.subject
	}
	c.standing = true
	d.cases[i] = c
	d.show(ctx)
	if told == c.Message {
		return nil
	}
	return d.write(ctx, "what a person is asked has changed", supports.ParkStep, d.row(c))
}

// resume puts a case back on the desk that an earlier history of the run has
// parked. It is on the support list, so nobody is told of it again.
func (d *desk) resume(c Case, told string) {
	c.Subject, c.Message, c.standing = d.subject, told, true
	d.cases = append(d.cases, c)
}

// told is what a parked case says, "" for none.
func (d *desk) told(step string) string {
	for _, c := range d.cases {
		if c.Step == step {
			return c.Message
		}
	}
	return ""
}

// unpark takes a case off the desk and says how it ended.
func (d *desk) unpark(ctx workflow.Context, step, resolution string) error {
	i := slices.IndexFunc(d.cases, func(c Case) bool { return c.Step == step })
	if i < 0 {
		return nil
	}
	c := d.cases[i]
	d.cases = slices.Delete(d.cases, i, i+1)
	// A second verb on the same step came too late, and is told so.
	d.decided = slices.DeleteFunc(d.decided, func(dec *decision) bool {
		if dec.Step == step {
			dec.result, dec.done = "nothing done: "+step+" was decided already", true
		}
		return dec.done
	})
	d.show(ctx)
	if err := d.attributes(ctx); err != nil {
		return err
	}
	return d.write(ctx, "decided: "+resolution, supports.UnparkStep, d.row(c), resolution)
}

// giveUp takes the cases off the desk that waited inside a step (wait) of which
// nothing is left, because the run was cancelled and goes on elsewhere.
func (d *desk) giveUp(ctx workflow.Context) error {
	for _, c := range slices.Clone(d.cases) {
		if !c.standing {
			if err := d.unpark(ctx, c.Step, "the run was cancelled in Temporal"); err != nil {
				return err
			}
		}
	}
	return nil
}

// wait parks a case and waits until a person has used a verb on it; the caller
// acts on the verb. It is for steps beside which nothing else goes on.
func (d *desk) wait(ctx workflow.Context, c Case) (SupportRequest, error) {
	req, _, err := d.waitUntil(ctx, c, func() bool { return false })
	return req, err
}

// waitUntil is wait for a step that may also go on by itself: once woken says
// so, it leaves the case parked and returns decided false.
func (d *desk) waitUntil(ctx workflow.Context, c Case, woken func() bool) (req SupportRequest, decided bool, err error) {
	if err := d.put(ctx, c); err != nil {
		return SupportRequest{}, false, err
	}
	var mine *decision
	err = workflow.Await(ctx, func() bool {
		i := slices.IndexFunc(d.decided, func(dec *decision) bool { return dec.Step == c.Step })
		if i >= 0 {
			mine = d.decided[i]
			d.decided = slices.Delete(d.decided, i, i+1)
		}
		return mine != nil || woken()
	})
	if err != nil || mine == nil {
		return SupportRequest{}, false, err
	}
	if err := d.unpark(ctx, c.Step, mine.Verb); err != nil {
		return SupportRequest{}, false, err
	}
	mine.result, mine.done = mine.Verb+" of "+c.Step+" is under way", true
	return mine.SupportRequest, true, nil
}

func (d *desk) row(c Case) activities.ParkedCase {
	return activities.ParkedCase{Tenant: d.tenant, WorkflowID: d.workflowID, Step: c.Step, Subject: c.Subject, Reason: c.Reason, Message: c.Message, Tried: c.Tried, Verbs: c.Verbs}
}

// write keeps trying, also when the run is cancelled: a case that is not on the
// list would wait in silence.
func (d *desk) write(ctx workflow.Context, summary string, activity any, args ...any) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	ctx = workflow.WithActivityOptions(ctx, databaseActivity(summary))
	return workflow.ExecuteActivity(ctx, activity, args...).Get(ctx, nil)
}

func (d *desk) attributes(ctx workflow.Context) error {
	reason := ""
	if len(d.cases) > 0 {
		reason = d.cases[0].Reason
	}
	return workflow.UpsertTypedSearchAttributes(ctx, temporalclient.Attention.ValueSet(len(d.cases) > 0), temporalclient.AttentionReason.ValueSet(reason))
}

// describe sets what a person who opens the run reads, with the parked cases
// below it.
func (d *desk) describe(ctx workflow.Context, details string) {
	d.details = details
	d.show(ctx)
}

func (d *desk) show(ctx workflow.Context) {
	s := d.details
	for _, c := range d.cases {
		s += "\n\n**Waits for a person** (" + c.Reason + "): " + c.Message + "\n\nTried: " + c.Tried + "\n\nVerbs: " + strings.Join(c.Verbs, ", ")
	}
	workflow.SetCurrentDetails(ctx, s)
}

// stand has exactly these cases wait, of the steps at which a subject can: what is new is
// parked, what is told otherwise is reworded, what is over is taken off. told are those
// that an earlier history of the run has parked.
func (d *desk) stand(ctx workflow.Context, subject string, steps []string, cases []Case, told []ToldCase) error {
	for _, c := range cases {
		if i := slices.IndexFunc(told, func(old ToldCase) bool { return old.Step == c.Step }); i >= 0 {
			old := c
			old.Message = told[i].Message
			d.cases = append(d.cases, old)
		}
		err := d.park(ctx, c)
		if err == nil {
			err = d.reword(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	for _, step := range steps {
		if slices.ContainsFunc(cases, func(c Case) bool { return c.Step == step }) {
			continue
		}
		if i := slices.IndexFunc(told, func(old ToldCase) bool { return old.Step == step }); i >= 0 {
			d.cases = append(d.cases, Case{Step: step, Subject: subject, Reason: told[i].Reason})
		}
		if err := d.unpark(ctx, step, "it is over"); err != nil {
			return err
		}
	}
	return nil
}

// all are the cases that wait, for the history that goes on with them.
func (d *desk) all() (out []ToldCase) {
	for _, c := range d.cases {
		out = append(out, ToldCase{Step: c.Step, Message: c.Message, Reason: c.Reason})
	}
	return out
}
