package pgserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMajorVersion_ReadsWhatDistributionsPrint(t *testing.T) {
	t.Parallel()
	for printed, major := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 17.2\n":                           17,
		"postgres (PostgreSQL) 18beta1\n":                        18,
		"pg_ctl: no\n":                                           0,
	} {
		require.Equal(t, major, majorVersion(printed), printed)
	}
}

func TestRefuseMainCluster_KeepsTheOtherSettings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before, after string }{
		"no file":     {"", "create_main_cluster = false\n"},
		"commented":   {"a = 1\n#create_main_cluster = true\nb = 2\n", "a = 1\ncreate_main_cluster = false\nb = 2\n"},
		"set to true": {"create_main_cluster = true\n", "create_main_cluster = false\n"},
		"other only":  {"a = 1\n", "a = 1\ncreate_main_cluster = false\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "postgresql-common", "createcluster.conf")
			if test.before != "" {
				require.NoError(t, os.Mkdir(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(test.before), 0o644))
			}
			require.NoError(t, refuseMainCluster(file))
			after, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, test.after, string(after))
		})
	}
}
