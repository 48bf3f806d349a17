package stacktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/proxy"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"justlogistics/internal/codec"
	"justlogistics/internal/secretbox"
)

// private is what the buyers of the tests say of themselves, and how the
// credentials of their shops begin: none of it may be in a history, a log, an
// event or whatever else a workflow writes.
var private = []string{
	"@example.cl", "Ana Rojas", "961234567", "11111111-1", "11.111.111", "Av. Providencia", TestCard,
	TransbankKey, "TEST-sandbox-", "mpsec_sandbox_", "sandbox-key-", "sandbox-secret-", "sk_test_sandbox_", "whsec_sandbox_",
}

// spilled are the secrets that were made while the tests ran: keys of the API,
// tokens of cards.
var spilled struct {
	mu  sync.Mutex
	all []string
}

// secret has a text looked for in histories and logs.
func secret(text string) {
	spilled.mu.Lock()
	defer spilled.mu.Unlock()
	spilled.all = append(spilled.all, text)
}

// secrets is everything that must not be found anywhere, in lower case.
func secrets() [][]byte {
	spilled.mu.Lock()
	defer spilled.mu.Unlock()
	var out [][]byte
	for _, s := range slices.Concat(private, spilled.all) {
		out = append(out, bytes.ToLower([]byte(s)))
	}
	return out
}

// leaks tells which of the secrets a text has, each with what stands around it.
func leaks(where string, text []byte) (found []string) {
	text = bytes.ToLower(text)
	for _, s := range secrets() {
		if i := bytes.Index(text, s); i >= 0 {
			found = append(found, fmt.Sprintf("%s: %q in %q", where, s, text[max(0, i-120):min(len(text), i+len(s)+60)]))
		}
	}
	return found
}

// mostLeaks is how many are told at once.
const mostLeaks = 20

// Leaks looks for personal data and secrets in the histories of all runs, in
// what the stack's parts have printed, and in the rows that workflows write.
func (s *Stack) Leaks(ctx context.Context) error {
	histories, err := s.leaksInHistories(ctx)
	if err != nil {
		return err
	}
	rows, err := s.leaksInRows(ctx)
	if err != nil {
		return err
	}
	found := slices.Concat(s.logs.leaks(), rows, histories)
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("personal data or secrets in %d places:\n%s", len(found), strings.Join(found[:min(len(found), mostLeaks)], "\n"))
}

func (l *logs) leaks() (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range l.files {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			return append(found, fmt.Sprintf("log of %s: %v", name, err))
		}
		found = append(found, leaks("log of "+name, text)...)
	}
	return found
}

// writtenByRuns are tables without personal data; holds have the buyer's e-mail,
// for the limits.
var writtenByRuns = []string{
	"events", "parked", "run_problems", "support_actions", "status_moves", "inbox", "payments", "captures", "refunds", "disputes", "stock_movements",
	"gateway_circuits", "reconciliations", "provider_transactions", "reconciliation_items",
}

func (s *Stack) leaksInRows(ctx context.Context) (found []string, err error) {
	for _, table := range writtenByRuns {
		rows, err := s.Super.Query(ctx, "SELECT t::text FROM "+table+" t")
		if err != nil {
			return nil, err
		}
		var text bytes.Buffer
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				return nil, err
			}
			text.WriteString(row)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		found = append(found, leaks("table "+table, text.Bytes())...)
	}
	return found, nil
}

// leaksInHistories reads every run, as it is stored and in clear.
func (s *Stack) leaksInHistories(ctx context.Context) ([]string, error) {
	keys, err := secretbox.ParseKeyring(s.PayloadKeys)
	if err != nil {
		return nil, err
	}
	clear := codec.New(keys)
	runs, err := s.runs(ctx)
	if err != nil {
		return nil, err
	}
	turns := make(chan *workflowpb.WorkflowExecutionInfo)
	var mu sync.Mutex
	var found []string
	var failed error
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for run := range turns {
				in, err := s.leaksInRun(ctx, clear, run)
				mu.Lock()
				found, failed = append(found, in...), errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for _, run := range runs {
		turns <- run
	}
	close(turns)
	readers.Wait()
	return found, failed
}

// runs lists all runs of the namespace, as far as they are visible yet.
func (s *Stack) runs(ctx context.Context) (all []*workflowpb.WorkflowExecutionInfo, err error) {
	request := &workflowservice.ListWorkflowExecutionsRequest{Namespace: s.Namespace, PageSize: 500}
	for {
		page, err := s.Temporal.ListWorkflow(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		all = append(all, page.Executions...)
		if request.NextPageToken = page.NextPageToken; len(page.NextPageToken) == 0 {
			return all, nil
		}
	}
}

func (s *Stack) leaksInRun(ctx context.Context, c converter.PayloadCodec, run *workflowpb.WorkflowExecutionInfo) (found []string, err error) {
	var text bytes.Buffer
	add := func(m proto.Message) error {
		raw, err := proto.Marshal(m)
		text.Write(raw)
		return err
	}
	err = add(run) // search attributes and the memo
	events := s.Temporal.GetWorkflowHistory(ctx, run.Execution.WorkflowId, run.Execution.RunId, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for err == nil && events.HasNext() {
		e, next := events.Next()
		if next != nil {
			return nil, fmt.Errorf("history of %s: %w", run.Execution.WorkflowId, next)
		}
		err = errors.Join(add(e), proxy.VisitPayloads(ctx, e, proxy.VisitPayloadsOptions{
			Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
				return c.Decode(payloads)
			},
		}), add(e))
	}
	return leaks("history of "+run.Execution.WorkflowId, text.Bytes()), err
}

// leaksIn bounds how long a stack is searched.
const leaksIn = time.Minute
