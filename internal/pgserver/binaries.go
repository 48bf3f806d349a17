package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// oldestMajor is the oldest PostgreSQL that the migrations and queries run on.
const oldestMajor = 14

// binaries is one installed PostgreSQL server.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// findBinaries returns the newest PostgreSQL server of this machine, or the one
// of major version wanted when that is not 0. Without any it installs the
// distribution's own where it may, and otherwise says what to install.
func findBinaries(ctx context.Context, wanted int, log *slog.Logger) (binaries, error) {
	found := installed(ctx)
	if len(found) == 0 {
		if err := install(ctx, log); err != nil {
			return binaries{}, err
		}
		if found = installed(ctx); len(found) == 0 {
			return binaries{}, errors.New("the package postgresql was installed, but no initdb and postgres of version 14 or later are in PATH or /usr/lib/postgresql")
		}
	}
	best := binaries{}
	for _, b := range found {
		if b.major == wanted {
			return b, nil
		}
		if b.major > best.major {
			best = b
		}
	}
	if wanted != 0 {
		return binaries{}, fmt.Errorf("the data folder was made by PostgreSQL %d, and only %d is installed (%s): install postgresql-%d, or remove the data folder to start with an empty one", wanted, best.major, best.dir, wanted)
	}
	return best, nil
}

// installed lists the usable servers of this machine.
func installed(ctx context.Context) []binaries {
	var dirs []string
	for _, name := range []string{"postgres", "initdb"} {
		if path, err := exec.LookPath(name); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				dirs = append(dirs, filepath.Dir(real))
			}
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"} {
		if more, err := filepath.Glob(pattern); err == nil {
			dirs = append(dirs, more...)
		}
	}

	var found []binaries
	seen := map[string]bool{}
	for _, dir := range dirs {
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
		if err != nil {
			continue
		}
		if major := majorVersion(string(out)); major >= oldestMajor {
			found = append(found, binaries{dir: dir, major: major})
		}
	}
	return found
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// majorVersion reads what `postgres --version` prints, as in
// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"; 0 when it is something else.
func majorVersion(printed string) int {
	match := versionPattern.FindStringSubmatch(printed)
	if match == nil {
		return 0
	}
	major, err := strconv.Atoi(match[1])
	if err != nil {
		return 0
	}
	return major
}

// install installs the distribution's PostgreSQL. It is safe to run from several
// processes at once: apt-get waits for the others.
func install(ctx context.Context, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return errors.New("PostgreSQL 14 or later is needed and was not found: install it (Debian and Ubuntu: sudo apt-get install postgresql postgresql-contrib)")
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("PostgreSQL 14 or later is needed and was not found: install it, server and contrib modules, with this system's package tool")
	}
	if err := refuseMainCluster("/etc/postgresql-common/createcluster.conf"); err != nil {
		return fmt.Errorf("before installing PostgreSQL: %w", err)
	}
	log.Info("PostgreSQL was not found: installing it from the distribution, this takes a minute")
	for _, args := range [][]string{
		{"update"},
		{"install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "postgresql", "postgresql-contrib"},
	} {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, lastLines(string(out), 15))
		}
	}
	return nil
}

var mainClusterPattern = regexp.MustCompile(`(?m)^\s*#?\s*create_main_cluster\s*=.*$`)

// refuseMainCluster tells the distribution's packages not to start a cluster of
// their own on port 5432, which they do on installation otherwise.
func refuseMainCluster(file string) error {
	const setting = "create_main_cluster = false"
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read PostgreSQL's cluster defaults: %w", err)
	}
	text := string(old)
	if mainClusterPattern.MatchString(text) {
		text = mainClusterPattern.ReplaceAllString(text, setting)
	} else {
		text += setting + "\n"
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write PostgreSQL's cluster defaults: %w", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write PostgreSQL's cluster defaults: %w", err)
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
