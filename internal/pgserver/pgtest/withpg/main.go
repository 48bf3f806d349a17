// Command withpg runs a command beside a fresh PostgreSQL for tests, whose
// superuser URL the command finds in JL_TEST_DATABASE_URL:
//
//	go run ./internal/pgserver/pgtest/withpg -- go test ./...
//
// The server and its data are gone afterwards. The exit status is the command's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"justlogistics/internal/childproc"
	"justlogistics/internal/pgserver/pgtest"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpg -- command [argument ...]")
		os.Exit(2)
	}
	code, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	ctx, stopSignals := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	server, stop, err := pgtest.StartServer(ctx)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stop()) }()

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), pgtest.EnvURL+"="+server.SuperuserURL("postgres"))
	child, err := childproc.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return 1, err
	}
	select {
	case <-child.Done():
	case <-ctx.Done():
		if err := child.Stop(syscall.SIGINT, 10*time.Second); err != nil {
			return 1, err
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
