package dev

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/devfolder"
)

func freePorts(t *testing.T) Ports {
	t.Helper()
	var p Ports
	for _, port := range []*int{&p.API, &p.Temporal, &p.TemporalUI, &p.Sandbox} {
		var err error
		*port, err = freePort()
		require.NoError(t, err)
	}
	return p
}

func TestRun_ASecondDevOnTheFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, err := devfolder.Lock(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, release()) })
	require.NoError(t, devfolder.WriteInfo(dir, devfolder.Info{}))

	err = Run(t.Context(), Options{DataDir: dir, Ports: freePorts(t), Out: io.Discard})
	var held *devfolder.HeldError
	require.ErrorAs(t, err, &held)
	require.ErrorContains(t, err, "process "+strconv.Itoa(os.Getpid()))
	require.FileExists(t, filepath.Join(dir, "dev.json"), "the running dev's file is left alone")
}

func TestRun_ATakenPortIsNamedWithItsFlagAndVariable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", local(0))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	ports := freePorts(t)
	ports.TemporalUI = l.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	require.NoError(t, devfolder.WriteInfo(dir, devfolder.Info{}))

	err = Run(t.Context(), Options{DataDir: dir, Ports: ports, Out: io.Discard})
	require.EqualError(t, err, "port "+strconv.Itoa(ports.TemporalUI)+" for Temporal's UI is taken: stop what listens there, or choose another with --temporal-ui-port or JL_TEMPORAL_UI_PORT")
	require.NoFileExists(t, filepath.Join(dir, "dev.json"), "a former dev's file is removed")
}

func TestRun_OnePortForTwoIsRefused(t *testing.T) {
	t.Parallel()
	ports := freePorts(t)
	ports.Sandbox = ports.API
	err := Run(t.Context(), Options{DataDir: t.TempDir(), Ports: ports, Out: io.Discard})
	require.ErrorContains(t, err, "is given to both the API and the sandbox: change --api-port or --sandbox-port")
}

func TestRun_AFolderThatCantBeMadeIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	err := Run(t.Context(), Options{DataDir: filepath.Join(file, ".dev"), Ports: freePorts(t), Out: io.Discard})
	require.ErrorContains(t, err, "make the data folder")
	require.ErrorContains(t, err, file)
}

func TestEnvironment_LeavesOutWhatLeadsElsewhere(t *testing.T) {
	t.Setenv("TEMPORAL_API_KEY", "cloud")
	t.Setenv("DATABASE_URL", "postgres://production")
	t.Setenv("JL_LOG_LEVEL", "debug")
	env := environment(map[string]string{"TEMPORAL_ADDRESS": "127.0.0.1:7233"})
	require.NotContains(t, env, "TEMPORAL_API_KEY=cloud")
	require.NotContains(t, env, "DATABASE_URL=postgres://production")
	require.Contains(t, env, "JL_LOG_LEVEL=debug")
	require.Contains(t, env, "TEMPORAL_ADDRESS=127.0.0.1:7233")
}
