// Package devfolder is the folder in which `justlogistics dev` keeps all it has:
// who holds it, what runs, and its secrets. The other commands read it to find
// the dev that runs.
package devfolder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Name of the folder in a project's own folder, and EnvVar to point elsewhere.
const (
	Name   = ".dev"
	EnvVar = "JL_DATA_DIR"
)

const (
	infoFile    = "dev.json"
	secretsFile = "secrets.json"
	lockFile    = "lock"
)

// Info is dev.json: what a script needs to use the running dev. It exists only
// while a checkout can be made.
type Info struct {
	APIURL            string         `json:"api_url"` // without /v1
	APIKey            string         `json:"api_key"` // every scope
	Tenant            string         `json:"tenant"`
	TemporalAddress   string         `json:"temporal_address"`
	TemporalNamespace string         `json:"temporal_namespace"`
	TemporalUIURL     string         `json:"temporal_ui_url"`
	SandboxURL        string         `json:"sandbox_url"`
	MailURL           string         `json:"mail_url"`     // the page of the mails that were caught
	DatabaseURL       string         `json:"database_url"` // as the program's role
	WorkerURL         string         `json:"worker_url"`   // its /readyz and /metrics
	PIDs              map[string]int `json:"pids"`
}

// Secrets is secrets.json: what must outlive a restart and nobody may read.
type Secrets struct {
	PayloadKeys    string `json:"payload_keys"`    // as JL_PAYLOAD_KEYS
	CredentialKeys string `json:"credential_keys"` // as JL_CREDENTIAL_KEYS
	AppPassword    string `json:"app_password"`    // of the program's database role
	APIKey         string `json:"api_key"`         // of the demo tenant, empty before the first start
	OwnerURL       string `json:"owner_url"`       // the database as its owner, for migrations
}

// HeldError tells that another process holds the folder.
type HeldError struct {
	Dir string
	PID int // 0 when it can't be told
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another justlogistics dev runs in %s: stop it first, or use another --data-dir", e.Dir)
	}
	return fmt.Sprintf("another justlogistics dev (process %d) runs in %s: stop it first, or use another --data-dir", e.PID, e.Dir)
}

// Lock makes the folder where needed and holds it until release is called or the
// process ends. A folder that is held gives a *HeldError.
func Lock(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the data folder %s is not writable: %w", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	// Commands that look for a running dev hold the lock for an instant.
	for try := 0; try < 10 && errors.Is(err, syscall.EWOULDBLOCK); try++ {
		time.Sleep(20 * time.Millisecond)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(&HeldError{Dir: dir, PID: holder(path)}, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if err := errors.Join(f.Truncate(0), write(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("the data folder %s is not writable: %w", dir, err), f.Close())
	}
	return f.Close, nil
}

func write(f *os.File, text string) error {
	_, err := f.WriteString(text)
	return err
}

func holder(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// held tells whether a dev runs in dir now: after a kill -9 its files stay, its
// lock does not.
func held(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// ErrNotRunning tells that no dev runs here.
var ErrNotRunning = errors.New("no justlogistics dev is running in this folder or above it")

// Running returns what the dev of the current folder, or of the nearest folder
// above it that has one, tells about itself; JL_DATA_DIR names another place.
// Without a dev that is ready the error wraps ErrNotRunning.
func Running() (Info, Secrets, error) {
	dir, err := find()
	if err != nil {
		return Info{}, Secrets{}, err
	}
	var info Info
	if err := readJSON(filepath.Join(dir, infoFile), &info); errors.Is(err, fs.ErrNotExist) {
		return Info{}, Secrets{}, fmt.Errorf("%w: the one in %s is still starting", ErrNotRunning, dir)
	} else if err != nil {
		return Info{}, Secrets{}, fmt.Errorf("what runs in %s: %w", dir, err)
	}
	secrets, err := ReadSecrets(dir)
	if err != nil {
		return Info{}, Secrets{}, err
	}
	return info, secrets, nil
}

func find() (string, error) {
	if dir := os.Getenv(EnvVar); dir != "" {
		if !held(dir) {
			return "", fmt.Errorf("%w: %s is %s", ErrNotRunning, EnvVar, dir)
		}
		return dir, nil
	}
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("look for a running dev: %w", err)
	}
	for {
		if dir := filepath.Join(at, Name); held(dir) {
			return dir, nil
		}
		above := filepath.Dir(at)
		if above == at {
			return "", ErrNotRunning
		}
		at = above
	}
}

// WriteInfo replaces dev.json in one step, so that a reader sees a whole one.
func WriteInfo(dir string, info Info) error { return writeJSON(filepath.Join(dir, infoFile), info) }

// RemoveInfo removes dev.json; one that is not there is no error.
func RemoveInfo(dir string) error {
	if err := os.Remove(filepath.Join(dir, infoFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", infoFile, err)
	}
	return nil
}

// ReadSecrets returns the folder's secrets, empty ones before the first start.
func ReadSecrets(dir string) (Secrets, error) {
	var s Secrets
	if err := readJSON(filepath.Join(dir, secretsFile), &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Secrets{}, fmt.Errorf("secrets of dev: %w", err)
	}
	return s, nil
}

// WriteSecrets replaces the folder's secrets in one step.
func WriteSecrets(dir string, s Secrets) error { return writeJSON(filepath.Join(dir, secretsFile), s) }

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON writes beside the file and renames, both on disk before it returns:
// losing a key to a power cut would lose all that was encrypted with it.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// CreateTemp makes the file with mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(write(f, string(text)+"\n"), f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
