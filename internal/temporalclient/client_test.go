package temporalclient_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"

	"justlogistics/internal/secretbox"
	"justlogistics/internal/temporalclient"
)

func ring(t *testing.T) *secretbox.Keyring {
	t.Helper()
	k, err := secretbox.ParseKeyring("k1:" + secretbox.GenerateKey())
	require.NoError(t, err)
	return k
}

func TestClientOptions_EncryptPayloadsAndFailures(t *testing.T) {
	t.Parallel()
	opts, err := temporalclient.ClientOptions(temporalclient.Options{Keyring: ring(t)})
	require.NoError(t, err)
	const secret = "ana@example.cl lives in Providencia"
	payload, err := opts.DataConverter.ToPayload(secret)
	require.NoError(t, err)
	raw, err := protojson.Marshal(payload)
	require.NoError(t, err)
	require.NotContains(t, string(payload.GetData()), "ana@example.cl")
	require.NotContains(t, string(raw), "ana@example.cl")
	var back string
	require.NoError(t, opts.DataConverter.FromPayload(payload, &back))
	require.Equal(t, secret, back)

	failure := opts.FailureConverter.ErrorToFailure(errors.New(secret))
	raw, err = protojson.Marshal(failure)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "Providencia")
	require.ErrorContains(t, opts.FailureConverter.FailureToError(failure), secret)

	require.IsType(t, &client.GrpcCompressionNone{}, opts.ConnectionOptions.GrpcCompression, "ciphertext is not packed")

	other, err := temporalclient.ClientOptions(temporalclient.Options{Keyring: ring(t)})
	require.NoError(t, err)
	require.Error(t, other.DataConverter.FromPayload(payload, &back), "another ring's")
}

func TestClientOptions_TakeTheirSettingsFromTheEnvironment(t *testing.T) {
	t.Setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
	t.Setenv("TEMPORAL_NAMESPACE", "shop")
	t.Setenv("TEMPORAL_CONFIG_FILE", "")
	opts, err := temporalclient.ClientOptions(temporalclient.Options{Keyring: ring(t)})
	require.NoError(t, err)
	require.Equal(t, "temporal.example:7233", opts.HostPort)
	require.Equal(t, "shop", opts.Namespace)
	opts, err = temporalclient.ClientOptions(temporalclient.Options{Keyring: ring(t), Address: "127.0.0.1:1", Namespace: "other"})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", opts.HostPort)
	require.Equal(t, "other", opts.Namespace)
}

func TestDial_NeedsNoServerUntilItIsUsed(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c, err := temporalclient.Dial(t.Context(), temporalclient.Options{Keyring: ring(t), Address: "127.0.0.1:1", Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.CheckHealth(t.Context(), &client.CheckHealthRequest{})
	require.Error(t, err)
}

func TestSearchAttributes_AreRegisteredWithTheTypesThatAreWritten(t *testing.T) {
	t.Parallel()
	names := temporalclient.SearchAttributes()
	for _, key := range []interface {
		GetName() string
		GetValueType() enumspb.IndexedValueType
	}{temporalclient.TenantID, temporalclient.OrderState, temporalclient.Channel, temporalclient.Number, temporalclient.Attention, temporalclient.AttentionReason} {
		require.Equal(t, key.GetValueType().String(), names[key.GetName()], key.GetName())
		delete(names, key.GetName())
	}
	require.Empty(t, names)
}
