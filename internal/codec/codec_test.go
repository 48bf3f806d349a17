package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"justlogistics/internal/codec"
	"justlogistics/internal/secretbox"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"
)

func ring(t require.TestingT, s string) *secretbox.Keyring {
	k, err := secretbox.ParseKeyring(s)
	require.NoError(t, err)
	return k
}

func oneKey(t require.TestingT) *secretbox.Keyring { return ring(t, "k1:"+secretbox.GenerateKey()) }

type input struct {
	CheckoutID string
	Note       string
}

func TestCodec_ReturnsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	c := codec.New(oneKey(t))
	rapid.Check(t, func(t *rapid.T) {
		var payloads []*commonpb.Payload
		for range rapid.IntRange(0, 4).Draw(t, "count") {
			payloads = append(payloads, &commonpb.Payload{
				Metadata: rapid.MapOf(rapid.StringMatching(`[a-z]{1,8}`), rapid.SliceOf(rapid.Byte())).Draw(t, "metadata"),
				Data:     bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data"), rapid.IntRange(1, 100).Draw(t, "times")),
			})
		}
		encoded, err := c.Encode(payloads)
		require.NoError(t, err)
		decoded, err := c.Decode(encoded)
		require.NoError(t, err)
		require.Len(t, decoded, len(payloads))
		for i := range payloads {
			require.True(t, proto.Equal(payloads[i], decoded[i]))
		}
	})
}

func TestDataConverter_HidesTheValueAndShowsOnlyTheKindOfIt(t *testing.T) {
	t.Parallel()
	dc := codec.DataConverter(oneKey(t))
	for name, note := range map[string]string{"short": "ana@example.cl", "long enough to be compressed": strings.Repeat("ana@example.cl ", 500)} {
		in := input{CheckoutID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Note: note}
		p, err := dc.ToPayload(in)
		require.NoError(t, err)
		wire, err := proto.Marshal(p)
		require.NoError(t, err)
		for _, secret := range []string{"ana@example.cl", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "CheckoutID"} {
			require.NotContains(t, string(wire), secret, name)
		}
		require.Equal(t, "binary/encrypted", string(p.Metadata["encoding"]))
		require.Equal(t, "k1", string(p.Metadata["encryption-key-id"]))
		require.Equal(t, "json/plain", string(p.Metadata["encryption-original-encoding"]))

		var out input
		require.NoError(t, dc.FromPayload(p, &out))
		require.Equal(t, in, out)
	}
}

func TestDataConverter_CarriesEveryKindOfValue(t *testing.T) {
	t.Parallel()
	dc := codec.DataConverter(oneKey(t))
	message := &commonpb.WorkflowType{Name: "Checkout"}
	payloads, err := dc.ToPayloads(nil, []byte{1, 2, 3}, message, "text", 42, input{Note: "ñ"})
	require.NoError(t, err)
	var (
		none    *input
		data    []byte
		decoded = &commonpb.WorkflowType{}
		text    string
		number  int
		in      input
	)
	require.NoError(t, dc.FromPayloads(payloads, &none, &data, decoded, &text, &number, &in))
	require.Nil(t, none)
	require.Equal(t, []byte{1, 2, 3}, data)
	require.True(t, proto.Equal(message, decoded))
	require.Equal(t, "text", text)
	require.Equal(t, 42, number)
	require.Equal(t, input{Note: "ñ"}, in)
}

func TestCodec_CompressesWhatGetsSmallerAndOnlyThat(t *testing.T) {
	t.Parallel()
	c := codec.New(oneKey(t))
	repetitive := &commonpb.Payload{Data: bytes.Repeat([]byte("reserve "), 2000)}
	random := &commonpb.Payload{Data: []byte(secretbox.GenerateKey() + secretbox.GenerateKey())}
	for len(random.Data) < 4096 {
		random.Data = append(random.Data, secretboxNoise(t)...)
	}
	encoded, err := c.Encode([]*commonpb.Payload{repetitive, random, {Data: []byte("small")}})
	require.NoError(t, err)
	require.Less(t, len(encoded[0].Data), 500)
	require.Equal(t, "zlib", string(encoded[0].Metadata["encryption-compression"]))
	require.NotContains(t, encoded[1].Metadata, "encryption-compression")
	require.NotContains(t, encoded[2].Metadata, "encryption-compression")
}

// secretboxNoise is a sealed box: bytes that no compressor makes smaller.
func secretboxNoise(t *testing.T) []byte {
	_, box, err := oneKey(t).Seal(make([]byte, 1024), nil)
	require.NoError(t, err)
	return box
}

func TestCodec_ReadsOldPayloadsAfterARotation(t *testing.T) {
	t.Parallel()
	oldKey, newKey := "2025:"+secretbox.GenerateKey(), "2026:"+secretbox.GenerateKey()
	p, err := codec.DataConverter(ring(t, oldKey)).ToPayload("before")
	require.NoError(t, err)

	rotated := codec.DataConverter(ring(t, newKey+","+oldKey))
	var text string
	require.NoError(t, rotated.FromPayload(p, &text))
	require.Equal(t, "before", text)
	p, err = rotated.ToPayload("after")
	require.NoError(t, err)
	require.Equal(t, "2026", string(p.Metadata["encryption-key-id"]))
}

func TestCodec_NamesTheKeyItLacks(t *testing.T) {
	t.Parallel()
	p, err := codec.DataConverter(ring(t, "2025:"+secretbox.GenerateKey())).ToPayload("text")
	require.NoError(t, err)
	var text string
	err = codec.DataConverter(ring(t, "2026:"+secretbox.GenerateKey())).FromPayload(p, &text)
	require.ErrorIs(t, err, secretbox.ErrUnknownKey)
	require.NotErrorIs(t, err, codec.ErrCorrupt)
	require.ErrorContains(t, err, `"2025"`)
}

// A worker that was given the wrong keys must not end running checkouts.
func TestDataConverter_MissingKeyFailsTheTaskAndNotTheWorkflow(t *testing.T) {
	t.Parallel()
	keyID, wrong := "2026:"+secretbox.GenerateKey(), "2025:"+secretbox.GenerateKey()
	input, err := codec.DataConverter(ring(t, keyID)).ToPayloads("demo")
	require.NoError(t, err)
	checkout := func(ctx workflow.Context, tenant string) error {
		if tenant != "demo" {
			return fmt.Errorf("decoded %q", tenant)
		}
		return workflow.Sleep(ctx, time.Minute)
	}
	replay := func(keys string) error {
		replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: codec.DataConverter(ring(t, keys))})
		require.NoError(t, err)
		replayer.RegisterWorkflowWithOptions(checkout, workflow.RegisterOptions{Name: "Checkout"})
		return replayer.ReplayWorkflowHistory(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)), startedHistory(input))
	}
	require.NoError(t, replay(wrong+","+keyID))
	// Were it an error, the replay would find a failed workflow where the timer stands.
	require.ErrorContains(t, replay(wrong), "unknown key id")
}

// startedHistory is a run of Checkout that began and now waits for a timer.
func startedHistory(input *commonpb.Payloads) *historypb.History {
	queue := &taskqueuepb.TaskQueue{Name: "checkout"}
	return &historypb.History{Events: []*historypb.HistoryEvent{
		{EventId: 1, EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
				WorkflowType: &commonpb.WorkflowType{Name: "Checkout"}, TaskQueue: queue, Input: input, OriginalExecutionRunId: "run",
			}}},
		{EventId: 2, EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, Attributes: &historypb.HistoryEvent_WorkflowTaskScheduledEventAttributes{
			WorkflowTaskScheduledEventAttributes: &historypb.WorkflowTaskScheduledEventAttributes{TaskQueue: queue}}},
		{EventId: 3, EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, Attributes: &historypb.HistoryEvent_WorkflowTaskStartedEventAttributes{
			WorkflowTaskStartedEventAttributes: &historypb.WorkflowTaskStartedEventAttributes{ScheduledEventId: 2}}},
		{EventId: 4, EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, Attributes: &historypb.HistoryEvent_WorkflowTaskCompletedEventAttributes{
			WorkflowTaskCompletedEventAttributes: &historypb.WorkflowTaskCompletedEventAttributes{ScheduledEventId: 2, StartedEventId: 3}}},
		{EventId: 5, EventType: enumspb.EVENT_TYPE_TIMER_STARTED, Attributes: &historypb.HistoryEvent_TimerStartedEventAttributes{
			TimerStartedEventAttributes: &historypb.TimerStartedEventAttributes{
				TimerId: "5", StartToFireTimeout: durationpb.New(time.Minute), WorkflowTaskCompletedEventId: 4,
			}}},
	}}
}

func TestCodec_NoticesEveryChange(t *testing.T) {
	t.Parallel()
	c := codec.New(ring(t, "k1:"+secretbox.GenerateKey()+",k2:"+secretbox.GenerateKey()))
	encoded, err := c.Encode([]*commonpb.Payload{{
		Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: bytes.Repeat([]byte(`"text"`), 200),
	}})
	require.NoError(t, err)
	for name, change := range map[string]func(*commonpb.Payload){
		"one bit":              func(p *commonpb.Payload) { p.Data[20] ^= 1 },
		"cut off":              func(p *commonpb.Payload) { p.Data = p.Data[:len(p.Data)-1] },
		"no data":              func(p *commonpb.Payload) { p.Data = nil },
		"another key":          func(p *commonpb.Payload) { p.Metadata["encryption-key-id"] = []byte("k2") },
		"no key":               func(p *commonpb.Payload) { delete(p.Metadata, "encryption-key-id") },
		"another kind":         func(p *commonpb.Payload) { p.Metadata["encryption-original-encoding"] = []byte("binary/plain") },
		"no kind":              func(p *commonpb.Payload) { delete(p.Metadata, "encryption-original-encoding") },
		"compression left out": func(p *commonpb.Payload) { delete(p.Metadata, "encryption-compression") },
		"kind and key id shifted": func(p *commonpb.Payload) {
			p.Metadata["encryption-key-id"], p.Metadata["encryption-original-encoding"] = []byte("k1"), []byte("json/plainzlib")
			delete(p.Metadata, "encryption-compression")
		},
	} {
		changed := proto.Clone(encoded[0]).(*commonpb.Payload)
		change(changed)
		_, err := c.Decode([]*commonpb.Payload{changed})
		require.ErrorIs(t, err, codec.ErrCorrupt, name)
	}
}

func TestCodec_PassesThroughWhatItDidNotEncrypt(t *testing.T) {
	t.Parallel()
	plain := &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"by hand"`)}
	decoded, err := codec.New(oneKey(t)).Decode([]*commonpb.Payload{plain, {}})
	require.NoError(t, err)
	require.True(t, proto.Equal(plain, decoded[0]))
	require.True(t, proto.Equal(&commonpb.Payload{}, decoded[1]))
}

func TestCodec_LeavesItsArgumentsAlone(t *testing.T) {
	t.Parallel()
	c := codec.New(oneKey(t))
	given := []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte("1")}}
	before := proto.Clone(given[0])
	encoded, err := c.Encode(given)
	require.NoError(t, err)
	require.True(t, proto.Equal(before, given[0]))
	before = proto.Clone(encoded[0])
	_, err = c.Decode(encoded)
	require.NoError(t, err)
	require.True(t, proto.Equal(before, encoded[0]))
}

func TestCodec_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	dc := codec.DataConverter(oneKey(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				text := strings.Repeat(fmt.Sprint(i, n, " "), 300)
				p, err := dc.ToPayload(text)
				if err != nil {
					t.Error(err)
					return
				}
				var out string
				if err := dc.FromPayload(p, &out); err != nil || out != text {
					t.Errorf("got %.20q, error %v", out, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestFailureConverter_HidesMessagesAndStackTraces(t *testing.T) {
	t.Parallel()
	dc := codec.DataConverter(oneKey(t))
	fc := codec.FailureConverter(dc)
	cause := errors.New("card 4051 8856 0044 6623 refused")
	failure := fc.ErrorToFailure(temporal.NewApplicationErrorWithCause("Ana Rojas can not pay", "Declined", cause, input{Note: "ana@example.cl"}))
	wire, err := proto.Marshal(failure)
	require.NoError(t, err)
	for _, secret := range []string{"Ana", "4051", "ana@example.cl"} {
		require.NotContains(t, string(wire), secret)
	}

	back := fc.FailureToError(failure)
	var application *temporal.ApplicationError
	require.ErrorAs(t, back, &application)
	require.Equal(t, "Declined", application.Type())
	require.ErrorContains(t, back, "Ana Rojas can not pay")
	require.ErrorContains(t, errors.Unwrap(back), "4051")
	var details input
	require.NoError(t, application.Details(&details))
	require.Equal(t, "ana@example.cl", details.Note)
}

func FuzzDecode_NeverPanics(f *testing.F) {
	c := codec.New(ring(f, "k1:"+secretbox.GenerateKey()))
	f.Add("binary/encrypted", "k1", "zlib", []byte("not a box"))
	f.Fuzz(func(t *testing.T, encoding, keyID, compression string, data []byte) {
		_, err := c.Decode([]*commonpb.Payload{{
			Metadata: map[string][]byte{
				converter.MetadataEncoding: []byte(encoding), "encryption-key-id": []byte(keyID), "encryption-compression": []byte(compression),
			},
			Data: data,
		}})
		require.Equal(t, encoding == "binary/encrypted", err != nil)
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	dc := codec.DataConverter(oneKey(b))
	in := input{CheckoutID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Note: "demo"}
	b.ReportAllocs()
	for b.Loop() {
		p, err := dc.ToPayload(in)
		if err != nil {
			b.Fatal(err)
		}
		var out input
		if err := dc.FromPayload(p, &out); err != nil {
			b.Fatal(err)
		}
	}
}
