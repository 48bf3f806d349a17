package stacktest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/proto"

	"justlogistics/internal/codec"
	"justlogistics/internal/secretbox"
	"justlogistics/workflows"
)

// WorkflowID of a subject of the shop.
func (s *Shop) WorkflowID(kind, subject string) string { return workflows.ID(kind, s.Tenant, subject) }

// CheckoutRun is the workflow id of a checkout.
func (s *Shop) CheckoutRun(checkoutID string) string {
	return s.WorkflowID(workflows.KindCheckout, checkoutID)
}

// Sweep has the safety net go round now and returns the workflow id of the round.
func (s *Shop) Sweep() (workflowID string) {
	s.t.Helper()
	schedule := s.Temporal.ScheduleClient().GetHandle(s.t.Context(), "sweeper")
	require.NoError(s.t, schedule.Trigger(s.t.Context(), client.ScheduleTriggerOptions{Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL}))
	s.Eventually(func() (string, bool) {
		d, err := schedule.Describe(s.t.Context())
		if err != nil {
			return err.Error(), false
		}
		if n := len(d.Info.RecentActions); n > 0 {
			workflowID = d.Info.RecentActions[n-1].StartWorkflowResult.WorkflowID
		}
		return "no round yet", workflowID != ""
	})
	return workflowID
}

// AwaitClosed waits until a workflow's newest run has completed.
func (s *Shop) AwaitClosed(workflowID string) {
	s.t.Helper()
	s.Eventually(func() (string, bool) {
		d, err := s.Temporal.DescribeWorkflowExecution(s.t.Context(), workflowID, "")
		if err != nil {
			return err.Error(), false
		}
		status := d.GetWorkflowExecutionInfo().GetStatus()
		return workflowID + " is " + status.String(), status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	})
}

// History reads a workflow's newest run, with payloads as they are stored.
func (s *Stack) History(t testing.TB, workflowID string) *historypb.History {
	t.Helper()
	h := &historypb.History{}
	events := s.Temporal.GetWorkflowHistory(t.Context(), workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(t, err)
		h.Events = append(h.Events, e)
	}
	return h
}

// Decrypted is a copy of a history with its payloads in clear.
func (s *Stack) Decrypted(t testing.TB, h *historypb.History) *historypb.History {
	t.Helper()
	keys, err := secretbox.ParseKeyring(s.PayloadKeys)
	require.NoError(t, err)
	clear, ok := proto.Clone(h).(*historypb.History)
	require.True(t, ok)
	c := codec.New(keys)
	err = proxy.VisitPayloads(t.Context(), clear, proxy.VisitPayloadsOptions{
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			return c.Decode(payloads)
		},
	})
	require.NoError(t, err)
	return clear
}

// Text is all that a history says, bytes included, for searching in it.
func Text(t testing.TB, h *historypb.History) string {
	t.Helper()
	var b strings.Builder
	for _, e := range h.Events {
		raw, err := proto.Marshal(e)
		require.NoError(t, err)
		b.Write(raw)
	}
	return b.String()
}

// Story lists a history's events, a line each, with their summaries in clear.
func (s *Stack) Story(t testing.TB, h *historypb.History) string {
	t.Helper()
	var b strings.Builder
	for _, e := range s.Decrypted(t, h).Events {
		fmt.Fprintf(&b, "%3d %s %s %s", e.EventId, e.EventTime.AsTime().Format("05.000"), strings.TrimPrefix(e.EventType.String(), "EVENT_TYPE_"), e.GetUserMetadata().GetSummary().GetData())
		switch {
		case e.GetActivityTaskScheduledEventAttributes() != nil:
			b.WriteString(" " + e.GetActivityTaskScheduledEventAttributes().ActivityType.Name)
		case e.GetWorkflowExecutionSignaledEventAttributes() != nil:
			fmt.Fprintf(&b, " %s", e.GetWorkflowExecutionSignaledEventAttributes().GetInput().GetPayloads())
		case e.GetMarkerRecordedEventAttributes() != nil:
			fmt.Fprintf(&b, " %.700s", e.GetMarkerRecordedEventAttributes().GetDetails()["data"])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Reencrypted is a copy of a history with its payloads under another keyring.
func (s *Stack) Reencrypted(t testing.TB, h *historypb.History, keyring string) *historypb.History {
	t.Helper()
	keys, err := secretbox.ParseKeyring(keyring)
	require.NoError(t, err)
	mine, err := secretbox.ParseKeyring(s.PayloadKeys)
	require.NoError(t, err)
	out, ok := proto.Clone(h).(*historypb.History)
	require.True(t, ok)
	from, to := codec.New(mine), codec.New(keys)
	err = proxy.VisitPayloads(t.Context(), out, proxy.VisitPayloadsOptions{
		// The server reads these: they are never encrypted.
		SkipSearchAttributes: true,
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			again := slices.Clone(payloads)
			for i, p := range payloads {
				clear, err := from.Decode([]*commonpb.Payload{p})
				if err != nil {
					return nil, err
				}
				if clear[0] == p { // it was not encrypted: a summary
					continue
				}
				sealed, err := to.Encode(clear)
				if err != nil {
					return nil, err
				}
				again[i] = sealed[0]
			}
			return again, nil
		},
	})
	require.NoError(t, err)
	return out
}

// Terminate ends a run as somebody does who presses a button in the UI. A run that the
// workers begin is waited for.
func (s *Shop) Terminate(run string) {
	s.t.Helper()
	s.reach(func() error {
		return s.Temporal.TerminateWorkflow(s.t.Context(), run, "", "somebody pressed a button")
	})
}

// Changed tells a run that its row has changed, once there is one.
func (s *Shop) Changed(run string) {
	s.t.Helper()
	s.reach(func() error {
		return s.Temporal.SignalWorkflow(s.t.Context(), run, "", workflows.SignalChanged, nil)
	})
}

// reach does something to a run, as soon as it has begun.
func (s *Shop) reach(do func() error) {
	s.t.Helper()
	s.Eventually(func() (string, bool) {
		err := do()
		var none *serviceerror.NotFound
		if errors.As(err, &none) {
			return err.Error(), false
		}
		require.NoError(s.t, err)
		return "", true
	})
}
