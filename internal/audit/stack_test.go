package audit

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUpSince_IsTheYoungestProcessesStart(t *testing.T) {
	t.Parallel()
	at := UpSince(map[string]int{"init": 1, "me": os.Getpid()})
	require.WithinDuration(t, time.Now(), at, 10*time.Minute)
	require.True(t, at.Before(time.Now().Add(time.Second)))
	require.True(t, UpSince(map[string]int{"init": 1}).Before(at))
}

func TestUpSince_IsUnknownWhenAProcessIsGone(t *testing.T) {
	t.Parallel()
	require.Zero(t, UpSince(map[string]int{"me": os.Getpid(), "gone": 1 << 30}))
	require.Zero(t, UpSince(nil))
}
