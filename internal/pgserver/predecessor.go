package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endPredecessor waits until no process works on the cluster any more. After a
// kill -9 of the parent its server is still shutting down, and after a kill -9
// of the server its backends are still leaving; a server that stays (its parent
// ended without a trace of us) is asked to stop.
func endPredecessor(ctx context.Context, cluster string, log *slog.Logger) error {
	if _, err := os.Stat(cluster); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	cluster, err := filepath.EvalSymlinks(cluster)
	if err != nil {
		return fmt.Errorf("PostgreSQL's data folder: %w", err)
	}
	steps := []struct {
		after  time.Duration
		signal syscall.Signal
	}{
		{5 * time.Second, syscall.SIGINT},
		{15 * time.Second, syscall.SIGQUIT},
		{20 * time.Second, syscall.SIGKILL},
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		pids := processesIn(cluster)
		if len(pids) == 0 {
			break
		}
		if waited := time.Since(began); len(steps) > 0 && waited > steps[0].after {
			log.Warn("a former PostgreSQL still works on the data folder: stopping it", "pids", pids, "signal", steps[0].signal.String())
			for _, pid := range pids {
				if err := syscall.Kill(pid, steps[0].signal); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("stop the former PostgreSQL, process %d, on %s: %w", pid, cluster, err)
				}
			}
			steps = steps[1:]
		} else if waited > 30*time.Second {
			return fmt.Errorf("the former PostgreSQL on %s does not end: processes %v", cluster, pids)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the former PostgreSQL on %s: %w", cluster, ctx.Err())
		case <-tick.C:
		}
	}
	// PostgreSQL removes a stale lock file by itself, except when an unrelated
	// process of the same user has got the old number by now.
	if err := os.Remove(filepath.Join(cluster, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the lock file of the former PostgreSQL: %w", err)
	}
	return nil
}

// processesIn lists the PostgreSQL processes whose working folder is dir; the
// server and all its backends work in their data folder.
func processesIn(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if err != nil || cwd != dir {
			continue
		}
		// A person's shell may stand in the folder too.
		program, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		if err == nil && strings.TrimSpace(string(program)) == "postgres" {
			pids = append(pids, pid)
		}
	}
	return pids
}
