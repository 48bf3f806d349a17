package devfolder_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"justlogistics/internal/devfolder"
)

// These tests change the process's environment and folder, so none is parallel.

func hold(t *testing.T, dir string) {
	t.Helper()
	release, err := devfolder.Lock(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, release()) })
}

func TestLock_ASecondOneIsRefusedAndNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	release, err := devfolder.Lock(dir)
	require.NoError(t, err)
	_, err = devfolder.Lock(dir)
	var held *devfolder.HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, os.Getpid(), held.PID)

	require.NoError(t, release())
	hold(t, dir)
}

func TestRunning_IsFoundFromAFolderBelow(t *testing.T) {
	t.Setenv(devfolder.EnvVar, "")
	project := t.TempDir()
	dir := filepath.Join(project, devfolder.Name)
	hold(t, dir)
	require.NoError(t, devfolder.WriteInfo(dir, devfolder.Info{APIURL: "http://127.0.0.1:1"}))
	require.NoError(t, devfolder.WriteSecrets(dir, devfolder.Secrets{OwnerURL: "postgres://o"}))
	below := filepath.Join(project, "docs", "decisions")
	require.NoError(t, os.MkdirAll(below, 0o755))
	t.Chdir(below)

	info, secrets, err := devfolder.Running()
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:1", info.APIURL)
	require.Equal(t, "postgres://o", secrets.OwnerURL)
	for _, name := range []string{"dev.json", "secrets.json"} {
		stat, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), stat.Mode().Perm(), name)
	}
}

func TestRunning_FilesOfAKilledDevDoNotCount(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(devfolder.EnvVar, dir)
	require.NoError(t, devfolder.WriteInfo(dir, devfolder.Info{}))
	_, _, err := devfolder.Running()
	require.ErrorIs(t, err, devfolder.ErrNotRunning)
}

func TestRunning_ADevThatStillStartsIsNamedSo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(devfolder.EnvVar, dir)
	hold(t, dir)
	_, _, err := devfolder.Running()
	require.ErrorIs(t, err, devfolder.ErrNotRunning)
	require.ErrorContains(t, err, "still starting")
}
