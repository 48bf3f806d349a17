package config

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"testing"

	"github.com/sethvargo/go-envconfig"
	"github.com/stretchr/testify/require"

	"justlogistics/internal/devfolder"
)

var someKeys = "k1:" + base64.StdEncoding.EncodeToString(make([]byte, 32))

func noDev() (devfolder.Info, devfolder.Secrets, error) {
	return devfolder.Info{}, devfolder.Secrets{}, devfolder.ErrNotRunning
}

func aDev() (devfolder.Info, devfolder.Secrets, error) {
	return devfolder.Info{
			APIURL: "http://127.0.0.1:8080", TemporalAddress: "127.0.0.1:7233", TemporalNamespace: "default",
			DatabaseURL: "postgres://jl_app:x@127.0.0.1:5555/justlogistics", SandboxURL: "http://127.0.0.1:8090",
		}, devfolder.Secrets{
			PayloadKeys: someKeys, CredentialKeys: someKeys, OwnerURL: "postgres://postgres:x@127.0.0.1:5555/justlogistics",
		}, nil
}

func TestLoad_TheEnvironmentIsRead(t *testing.T) {
	t.Parallel()
	c, err := load(t.Context(), envconfig.MapLookuper(map[string]string{
		"DATABASE_URL": "postgres://a:b@db/jl", "TEMPORAL_ADDRESS": "temporal:7233", "PUBLIC_URL": "https://shop.example/",
		"JL_PAYLOAD_KEYS": someKeys, "JL_CREDENTIAL_KEYS": someKeys, "JL_LOG_LEVEL": "debug",
	}), aDev, []Need{Database, Owner, Temporal, Keys, PublicURL})
	require.NoError(t, err)
	require.Nil(t, c.Dev)
	require.Equal(t, "https://shop.example", c.PublicURL)
	require.Equal(t, 8080, c.APIPort)
	require.Equal(t, "default", c.TemporalNamespace)
	require.Equal(t, slog.LevelDebug, c.LogLevel)
	require.Equal(t, c.DatabaseURL, c.OwnerURL)
	require.Empty(t, c.SandboxURL)
}

func TestLoad_WithoutAnEnvironmentTheRunningDevIsUsed(t *testing.T) {
	t.Parallel()
	c, err := load(t.Context(), envconfig.MapLookuper(nil), aDev, []Need{Database, Owner, Temporal, Keys, PublicURL})
	require.NoError(t, err)
	require.NotNil(t, c.Dev)
	require.Equal(t, "127.0.0.1:7233", c.TemporalAddress)
	require.Contains(t, c.OwnerURL, "postgres:x@")
	require.NotNil(t, c.PayloadKeys)
}

func TestLoad_WithoutBothItSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := load(t.Context(), envconfig.MapLookuper(nil), noDev, []Need{Database, Temporal})
	require.ErrorIs(t, err, devfolder.ErrNotRunning)
	require.ErrorContains(t, err, "make run")
	require.ErrorContains(t, err, "DATABASE_URL, TEMPORAL_ADDRESS")
}

func TestLoad_ADatabaseAloneIsNeverJoinedWithTheDevsTemporal(t *testing.T) {
	t.Parallel()
	_, err := load(t.Context(), envconfig.MapLookuper(map[string]string{"DATABASE_URL": "postgres://a:b@db/jl"}), aDev, []Need{Database, Temporal})
	require.EqualError(t, err, "not set: TEMPORAL_ADDRESS")
}

func TestLoad_AnOwnersDatabaseAloneIsNotJoinedEither(t *testing.T) {
	t.Parallel()
	c, err := load(t.Context(), envconfig.MapLookuper(map[string]string{"JL_DATABASE_OWNER_URL": "postgres://a:b@db/jl"}), aDev, []Need{Owner})
	require.NoError(t, err)
	require.Empty(t, c.TemporalAddress)
	require.Equal(t, "postgres://a:b@db/jl", c.OwnerURL)
}

func TestLoad_ABrokenDevIsToldAsItIs(t *testing.T) {
	t.Parallel()
	_, err := load(t.Context(), envconfig.MapLookuper(nil), func() (devfolder.Info, devfolder.Secrets, error) {
		return devfolder.Info{}, devfolder.Secrets{}, fmt.Errorf("dev.json is unreadable")
	}, []Need{Database})
	require.EqualError(t, err, "dev.json is unreadable")
}

func TestLoad_EverythingWrongIsNamedAtOnceAndNoSecretIsShown(t *testing.T) {
	t.Parallel()
	_, err := load(t.Context(), envconfig.MapLookuper(map[string]string{
		"DATABASE_URL": "mysql://root:hunter2@db/jl", "TEMPORAL_ADDRESS": "temporal", "PUBLIC_URL": "shop.example",
		"JL_PAYLOAD_KEYS": "k1:hunter2", "JL_API_PORT": "70000",
	}), noDev, []Need{Database, Keys})
	for _, name := range []string{"DATABASE_URL", "TEMPORAL_ADDRESS", "PUBLIC_URL", "JL_PAYLOAD_KEYS", "JL_API_PORT", "JL_CREDENTIAL_KEYS"} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "hunter2")
}
