// Package config is the one place where the program's settings come from: the
// environment, or the `justlogistics dev` that runs in the current folder.
package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"

	"justlogistics/internal/devfolder"
	"justlogistics/internal/secretbox"
)

// Config holds every setting. A field that a command does not need may be empty.
type Config struct {
	DatabaseURL       string // DATABASE_URL: as the program's role, which owns nothing
	OwnerURL          string // JL_DATABASE_OWNER_URL: as the schema's owner, for migrations
	TemporalAddress   string // TEMPORAL_ADDRESS: host:port; TLS and API key by the SDK's own TEMPORAL_* variables
	TemporalNamespace string // TEMPORAL_NAMESPACE
	APIHost           string // JL_API_HOST: the address that the API listens on, all when empty
	APIPort           int    // JL_API_PORT
	MetricsAddr       string // JL_METRICS_ADDR: host:port of /metrics and, in the worker, /readyz; not served when empty
	PublicURL         string // PUBLIC_URL: what providers and buyers reach us at, without a slash at the end
	TemporalUIURL     string // JL_TEMPORAL_UI_URL
	SandboxURL        string // JL_SANDBOX_URL: set only where providers are played
	SMTPURL           string // SMTP_URL: the mail server, smtp://user:password@host:587 or smtps://; no mail is sent when empty
	MailFrom          string // MAIL_FROM: the sender of tenants that have none of their own
	CodecOrigin       string // JL_CODEC_ORIGIN: the Temporal UI that may have payloads decoded
	LogLevel          slog.Level
	WorkerBuildID     string // WORKER_BUILD_ID: turns worker versioning on
	// JL_TRACKING_LEAST and JL_TRACKING_LONGEST: how long a carrier is left alone about a
	// parcel, after news and at most.
	TrackingLeast, TrackingLongest time.Duration

	PayloadKeys    *secretbox.Keyring // JL_PAYLOAD_KEYS
	CredentialKeys *secretbox.Keyring // JL_CREDENTIAL_KEYS

	// Dev is the running dev that the settings came from; nil when they came from
	// the environment.
	Dev *devfolder.Info
}

// MetricsOnAPI as JL_METRICS_ADDR serves /metrics on the API's own address, for
// development: in production it is not for the outside.
const MetricsOnAPI = "api"

// Need is something that a command can't work without.
type Need int

// What a command may need.
const (
	Database Need = iota
	Owner
	Temporal
	Keys
	PublicURL
)

// environment mirrors the variables.
type environment struct {
	DatabaseURL       string        `env:"DATABASE_URL"`
	OwnerURL          string        `env:"JL_DATABASE_OWNER_URL"`
	TemporalAddress   string        `env:"TEMPORAL_ADDRESS"`
	TemporalNamespace string        `env:"TEMPORAL_NAMESPACE"`
	APIHost           string        `env:"JL_API_HOST"`
	APIPort           int           `env:"JL_API_PORT, default=8080"`
	MetricsAddr       string        `env:"JL_METRICS_ADDR"`
	PublicURL         string        `env:"PUBLIC_URL"`
	TemporalUIURL     string        `env:"JL_TEMPORAL_UI_URL"`
	SMTPURL           string        `env:"SMTP_URL"`
	MailFrom          string        `env:"MAIL_FROM"`
	SandboxURL        string        `env:"JL_SANDBOX_URL"`
	CodecOrigin       string        `env:"JL_CODEC_ORIGIN"`
	LogLevel          slog.Level    `env:"JL_LOG_LEVEL, default=info"`
	WorkerBuildID     string        `env:"WORKER_BUILD_ID"`
	TrackingLeast     time.Duration `env:"JL_TRACKING_LEAST, default=10m"`
	TrackingLongest   time.Duration `env:"JL_TRACKING_LONGEST, default=6h"`
	PayloadKeys       string        `env:"JL_PAYLOAD_KEYS"`
	CredentialKeys    string        `env:"JL_CREDENTIAL_KEYS"`
}

// Load reads the settings and checks that everything needed is there. When
// neither a database nor TEMPORAL_ADDRESS is set, what is missing comes from the
// running dev of this folder. All that is wrong is told at once, by the names
// of the variables and without the values of secrets.
func Load(ctx context.Context, needs ...Need) (*Config, error) {
	return load(ctx, envconfig.OsLookuper(), devfolder.Running, needs)
}

func load(ctx context.Context, vars envconfig.Lookuper, running func() (devfolder.Info, devfolder.Secrets, error), needs []Need) (*Config, error) {
	var env environment
	if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: &env, Lookuper: vars}); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	c := &Config{
		DatabaseURL:       env.DatabaseURL,
		OwnerURL:          env.OwnerURL,
		TemporalAddress:   env.TemporalAddress,
		TemporalNamespace: env.TemporalNamespace,
		APIHost:           env.APIHost,
		APIPort:           env.APIPort,
		MetricsAddr:       env.MetricsAddr,
		PublicURL:         env.PublicURL,
		TemporalUIURL:     env.TemporalUIURL,
		SandboxURL:        env.SandboxURL,
		SMTPURL:           env.SMTPURL,
		MailFrom:          env.MailFrom,
		CodecOrigin:       env.CodecOrigin,
		LogLevel:          env.LogLevel,
		WorkerBuildID:     env.WorkerBuildID,
		TrackingLeast:     env.TrackingLeast,
		TrackingLongest:   env.TrackingLongest,
	}

	// Never half of each: a database of production with the Temporal of a laptop.
	var noDev error
	if c.DatabaseURL == "" && c.OwnerURL == "" && c.TemporalAddress == "" {
		info, secrets, err := running()
		switch {
		case err == nil:
			c.takeFrom(info)
			fill(&c.OwnerURL, secrets.OwnerURL)
			fill(&env.PayloadKeys, secrets.PayloadKeys)
			fill(&env.CredentialKeys, secrets.CredentialKeys)
		case errors.Is(err, devfolder.ErrNotRunning):
			noDev = err
		default:
			return nil, err
		}
	}
	fill(&c.TemporalNamespace, "default")
	// One role for everything is enough where nobody made two.
	fill(&c.OwnerURL, c.DatabaseURL)

	var wrong []error
	wrong = append(wrong, c.check()...)
	var err error
	if c.PayloadKeys, err = keyring("JL_PAYLOAD_KEYS", env.PayloadKeys); err != nil {
		wrong = append(wrong, err)
	}
	if c.CredentialKeys, err = keyring("JL_CREDENTIAL_KEYS", env.CredentialKeys); err != nil {
		wrong = append(wrong, err)
	}
	if missing := c.missing(needs, env); len(missing) > 0 {
		err := fmt.Errorf("not set: %s", strings.Join(missing, ", "))
		if noDev != nil {
			err = fmt.Errorf("%w (start it with `make run`, or set %s)", noDev, strings.Join(missing, ", "))
		}
		wrong = append(wrong, err)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) takeFrom(info devfolder.Info) {
	c.Dev = &info
	c.DatabaseURL = info.DatabaseURL
	c.TemporalAddress = info.TemporalAddress
	fill(&c.TemporalNamespace, info.TemporalNamespace)
	fill(&c.PublicURL, info.APIURL)
	fill(&c.TemporalUIURL, info.TemporalUIURL)
	fill(&c.SandboxURL, info.SandboxURL)
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func keyring(name, value string) (*secretbox.Keyring, error) {
	if value == "" {
		return nil, nil
	}
	ring, err := secretbox.ParseKeyring(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return ring, nil
}

// check finds values that can't be meant, and brings URLs into one form.
func (c *Config) check() []error {
	var wrong []error
	if c.APIPort < 1 || c.APIPort > 65535 {
		wrong = append(wrong, fmt.Errorf("JL_API_PORT: %d is no port", c.APIPort))
	}
	if c.TrackingLeast <= 0 || c.TrackingLongest < c.TrackingLeast {
		wrong = append(wrong, errors.New("JL_TRACKING_LEAST: more than nothing, and at most JL_TRACKING_LONGEST"))
	}
	for name, value := range map[string]string{"TEMPORAL_ADDRESS": c.TemporalAddress, "JL_METRICS_ADDR": c.MetricsAddr} {
		if value == "" || name == "JL_METRICS_ADDR" && value == MetricsOnAPI {
			continue
		}
		if _, _, err := net.SplitHostPort(value); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: want host:port: %w", name, err))
		}
	}
	for name, field := range map[string]*string{
		"PUBLIC_URL": &c.PublicURL, "JL_TEMPORAL_UI_URL": &c.TemporalUIURL,
		"JL_SANDBOX_URL": &c.SandboxURL, "JL_CODEC_ORIGIN": &c.CodecOrigin,
	} {
		*field = strings.TrimRight(*field, "/")
		if *field == "" {
			continue
		}
		u, err := url.Parse(*field)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			wrong = append(wrong, fmt.Errorf("%s: want a URL like https://shop.example", name))
		}
	}
	for name, value := range map[string]string{"DATABASE_URL": c.DatabaseURL, "JL_DATABASE_OWNER_URL": c.OwnerURL} {
		if value == "" {
			continue
		}
		// The parser's own message would show the password.
		u, err := url.Parse(value)
		if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
			wrong = append(wrong, fmt.Errorf("%s: want postgres://user:password@host:port/database", name))
		}
	}
	return wrong
}

func (c *Config) missing(needs []Need, env environment) []string {
	var names []string
	for _, need := range needs {
		switch need {
		case Database:
			names = appendIf(names, c.DatabaseURL == "", "DATABASE_URL")
		case Owner:
			names = appendIf(names, c.OwnerURL == "", "JL_DATABASE_OWNER_URL")
		case Temporal:
			names = appendIf(names, c.TemporalAddress == "", "TEMPORAL_ADDRESS")
		case Keys:
			names = appendIf(names, env.PayloadKeys == "", "JL_PAYLOAD_KEYS")
			names = appendIf(names, env.CredentialKeys == "", "JL_CREDENTIAL_KEYS")
		case PublicURL:
			names = appendIf(names, c.PublicURL == "", "PUBLIC_URL")
		}
	}
	return names
}

func appendIf(names []string, missing bool, name string) []string {
	if missing {
		return append(names, name)
	}
	return names
}
