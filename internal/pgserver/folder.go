package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"justlogistics/internal/childproc"
)

const (
	passwordFile = "superuser.password"
	locationFile = "location"
	clusterName  = "cluster"
)

// account is the system user that the server runs as. PostgreSQL refuses to run
// as root, so root starts it as the user that the distribution made for it.
type account struct {
	uid, gid int
	other    bool // not the user of this process
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return account{}, errors.New("PostgreSQL does not run as root and this system has no user named postgres: create one (useradd --system postgres) or run as another user")
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user id of postgres: %w", err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("group id of postgres: %w", err)
	}
	return account{uid: uid, gid: gid, other: true}, nil
}

// command prepares a PostgreSQL program to run as the account, in dir, without
// the caller's PG* and locale variables.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	if a.other {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}}
	}
	return cmd
}

// canEnter tells whether the account may work inside dir, by doing it.
func (a account) canEnter(ctx context.Context, dir string, bin binaries) bool {
	return a.command(ctx, dir, bin.path("postgres"), "--version").Run() == nil
}

func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// folder says where one server keeps its things: base belongs to the caller and
// holds the password, cluster is PostgreSQL's own and may lie elsewhere.
type folder struct {
	base    string
	cluster string
}

// openFolder makes or finds the folders of dataDir. The cluster lies inside it
// where the account may go there; under a home with mode 0700 it may not, and
// then the cluster lies in a folder of the account's own, named by a hash of
// dataDir, and a file in dataDir says where.
func openFolder(ctx context.Context, dataDir string, who account, bin binaries, log *slog.Logger) (folder, error) {
	base, err := filepath.Abs(dataDir)
	if err != nil {
		return folder{}, fmt.Errorf("data folder %s: %w", dataDir, err)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return folder{}, fmt.Errorf("make PostgreSQL's data folder: %w", err)
	}
	if err := checkWritable(base); err != nil {
		return folder{}, err
	}

	note := filepath.Join(base, locationFile)
	told, err := os.ReadFile(note)
	if err == nil {
		return folder{base: base, cluster: strings.TrimSpace(string(told))}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return folder{}, fmt.Errorf("where is PostgreSQL's data folder: %w", err)
	}
	if who.canEnter(ctx, base, bin) {
		return folder{base: base, cluster: filepath.Join(base, clusterName)}, nil
	}

	outside, err := outsideFolder(ctx, base, who, bin)
	if err != nil {
		return folder{}, err
	}
	f := folder{base: base, cluster: filepath.Join(outside, clusterName)}
	// Data in that place without a note in dataDir are those of a folder of the
	// same name that was removed: whoever removed it wants to start anew.
	if err := endPredecessor(ctx, f.cluster, log); err != nil {
		return folder{}, err
	}
	if err := os.RemoveAll(f.cluster); err != nil {
		return folder{}, fmt.Errorf("remove the data of a former %s: %w", base, err)
	}
	if err := os.WriteFile(note, []byte(f.cluster+"\n"), 0o644); err != nil {
		return folder{}, fmt.Errorf("note where PostgreSQL's data lie: %w", err)
	}
	log.Info("the system user postgres may not enter the data folder; its data lie elsewhere", "folder", base, "data", f.cluster)
	return f, nil
}

// outsideFolder makes the folder that belongs to base in a place that the account may enter.
func outsideFolder(ctx context.Context, base string, who account, bin binaries) (string, error) {
	sum := sha256.Sum256([]byte(base))
	name := "justlogistics-" + hex.EncodeToString(sum[:8])
	var refused []error
	for _, parent := range []string{"/var/lib/postgresql", "/var/tmp"} {
		dir := filepath.Join(parent, name)
		info, err := os.Lstat(dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			if err := os.Mkdir(dir, 0o700); err != nil {
				refused = append(refused, err)
				continue
			}
		case err != nil:
			refused = append(refused, err)
			continue
		default:
			// Anyone may make folders in /var/tmp: never use one that is not ours.
			if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(stat.Uid) != who.uid {
				refused = append(refused, fmt.Errorf("%s exists and does not belong to the user of PostgreSQL", dir))
				continue
			}
		}
		if err := who.give(dir); err != nil {
			refused = append(refused, err)
			continue
		}
		if who.canEnter(ctx, dir, bin) {
			return dir, nil
		}
		refused = append(refused, fmt.Errorf("the user of PostgreSQL may not enter %s", dir))
	}
	return "", fmt.Errorf("no place for PostgreSQL's data, whose user may not enter %s either: %w", base, errors.Join(refused...))
}

func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("PostgreSQL's data folder %s is not writable: %w", dir, err)
	}
	_, werr := f.WriteString("x")
	return errors.Join(werr, f.Close(), os.Remove(f.Name()))
}

// exists tells whether the cluster was initialised completely.
func (f folder) exists() (bool, error) {
	_, err := os.Stat(filepath.Join(f.cluster, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("PostgreSQL's data folder: %w", err)
	}
	return true, nil
}

// existingMajor is the version of PostgreSQL that made the cluster below dataDir, 0 when there is none yet.
func existingMajor(dataDir string) int {
	cluster := filepath.Join(dataDir, clusterName)
	if told, err := os.ReadFile(filepath.Join(dataDir, locationFile)); err == nil {
		cluster = strings.TrimSpace(string(told))
	}
	text, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return major
}

// password reads the superuser's password.
func (f folder) password() (string, error) {
	path := filepath.Join(f.base, passwordFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s is missing, without it the data in %s can't be opened: put it back, or remove both folders to start anew", path, f.cluster)
	}
	if err != nil {
		return "", fmt.Errorf("password of PostgreSQL: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// initialise makes the cluster. An attempt that was cut short leaves nothing that
// looks like a cluster: it is made under another name and renamed when complete.
func (f folder) initialise(ctx context.Context, who account, bin binaries, unsafe bool) error {
	secret := make([]byte, 24)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("make a password: %w", err)
	}
	password := hex.EncodeToString(secret)
	if err := writePrivate(filepath.Join(f.base, passwordFile), password); err != nil {
		return fmt.Errorf("keep the password of PostgreSQL: %w", err)
	}

	fresh := f.cluster + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove an unfinished data folder: %w", err)
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("make PostgreSQL's data folder: %w", err)
	}
	if err := who.give(fresh); err != nil {
		return fmt.Errorf("give the data folder to the user of PostgreSQL: %w", err)
	}
	pwfile := fresh + ".password"
	if err := writePrivate(pwfile, password); err != nil {
		return fmt.Errorf("hand the password to initdb: %w", err)
	}
	defer os.Remove(pwfile)
	if err := who.give(pwfile); err != nil {
		return fmt.Errorf("hand the password to initdb: %w", err)
	}

	args := []string{
		"--pgdata", fresh, "--username", superuser, "--pwfile", pwfile,
		"--auth-host", "scram-sha-256", "--auth-local", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions",
	}
	if unsafe {
		args = append(args, "--no-sync")
	}
	var out bytes.Buffer
	cmd := who.command(ctx, fresh, bin.path("initdb"), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	process, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	if err := process.Wait(); err != nil {
		return errors.Join(fmt.Errorf("initdb in %s: %w\n%s", fresh, err, lastLines(out.String(), 15)), os.RemoveAll(fresh))
	}
	if err := os.Rename(fresh, f.cluster); err != nil {
		return fmt.Errorf("put PostgreSQL's data folder in place: %w", err)
	}
	return nil
}

// writePrivate replaces path with a file that only its owner may read.
func writePrivate(path, text string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, werr := file.WriteString(text + "\n")
	return errors.Join(werr, file.Sync(), file.Close())
}
