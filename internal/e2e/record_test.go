package e2e_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"justlogistics/internal/stacktest"
)

const historiesDir = "../../workflows/testdata/histories"

// TestRecordHistories writes the histories that the replay tests of the package
// workflows read, of stories that have none yet: those of earlier builds stay as
// they are, because this build must be able to go on with them. `make histories`
// runs it; a test run never does.
func TestRecordHistories(t *testing.T) {
	if os.Getenv("JL_RECORD_HISTORIES") != "1" {
		t.Skip("records only for `make histories`")
	}
	keyring, err := os.ReadFile(filepath.Join(historiesDir, "keyring"))
	require.NoError(t, err)
	for _, story := range stories {
		old, err := filepath.Glob(filepath.Join(historiesDir, story.name+".*.json.gz"))
		require.NoError(t, err)
		if len(old) > 0 {
			continue
		}
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, story)
			for what, run := range story.tell(t, s) {
				record(t, s, story.name+"."+what, run, strings.TrimSpace(string(keyring)))
			}
		})
	}
}

func record(t *testing.T, s *stacktest.Shop, name, run, keyring string) {
	t.Helper()
	text, err := protojson.Marshal(s.Reencrypted(t, s.History(t, run), keyring))
	require.NoError(t, err)
	var file bytes.Buffer
	zip, err := gzip.NewWriterLevel(&file, gzip.BestCompression)
	require.NoError(t, err)
	_, err = zip.Write(text)
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	require.NoError(t, os.WriteFile(filepath.Join(historiesDir, name+".json.gz"), file.Bytes(), 0o644))
}
