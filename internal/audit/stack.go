package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of process times that Linux shows to programs,
// the same on every machine (USER_HZ, proc(5)).
const ticksPerSecond = 100

// UpSince is when the last of these processes of this machine was started; zero
// when one of them is gone, or when the system does not tell. It is what
// Options.UpSince wants to know of a running dev.
func UpSince(pids map[string]int) time.Time {
	if len(pids) == 0 {
		return time.Time{}
	}
	uptime, err := secondsUp()
	if err != nil {
		return time.Time{}
	}
	boot := time.Now().Add(-uptime)
	var last time.Time
	for _, pid := range pids {
		after, err := startedAfterBoot(pid)
		if err != nil {
			return time.Time{}
		}
		if at := boot.Add(after); at.After(last) {
			last = at
		}
	}
	return last.UTC()
}

func secondsUp() (time.Duration, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	return time.Duration(seconds * float64(time.Second)), err
}

// startedAfterBoot reads field 22 of /proc/<pid>/stat. The second field is the
// program's name in parentheses and may hold anything, so counting begins
// behind it.
func startedAfterBoot(pid int) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d: %d fields of its state", pid, len(fields))
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	return time.Duration(ticks) * time.Second / ticksPerSecond, err
}
