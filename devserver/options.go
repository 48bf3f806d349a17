package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/alecthomas/kong"
	enumspb "go.temporal.io/api/enums/v1"
)

type options struct {
	IP       string `default:"127.0.0.1" env:"JL_DEVSERVER_IP" help:"Address that the frontend and the UI listen on."`
	Port     int    `default:"7233" env:"JL_DEVSERVER_PORT" help:"Port of the gRPC frontend; 0 takes a free one."`
	UIPort   int    `name:"ui-port" default:"8233" env:"JL_DEVSERVER_UI_PORT" help:"Port of the web UI; 0 runs without it."`
	HTTPPort int    `name:"http-port" default:"0" env:"JL_DEVSERVER_HTTP_PORT" help:"Port of Temporal's HTTP API; 0 runs without it."`

	DB                 string `name:"db" env:"JL_DEVSERVER_DB" placeholder:"FILE" help:"SQLite file; the server version is added to its name (temporal.db becomes temporal-1.32.1.db). Without it everything is kept in memory."`
	Postgres           string `env:"JL_DEVSERVER_POSTGRES" placeholder:"URL" help:"PostgreSQL database for workflows, instead of SQLite."`
	PostgresVisibility string `name:"postgres-visibility" env:"JL_DEVSERVER_POSTGRES_VISIBILITY" placeholder:"URL" help:"PostgreSQL database for visibility (lists and searches); another one than --postgres."`
	Shards             int    `default:"4" env:"JL_DEVSERVER_SHARDS" help:"History shards of a new PostgreSQL database; can't be changed later. SQLite has one."`
	SchemaOnly         bool   `name:"schema-only" help:"Set up or upgrade the schema in PostgreSQL (or the SQLite file) and exit."`

	Namespace       string            `default:"default" env:"JL_DEVSERVER_NAMESPACE" help:"Namespace to create; closed workflows are kept in it for 7 days."`
	SearchAttribute map[string]string `name:"search-attribute" env:"JL_DEVSERVER_SEARCH_ATTRIBUTES" placeholder:"NAME=TYPE" help:"Search attribute of the namespace, for example JLTenant=Keyword; repeatable. In the environment: separated by semicolons."`
	VisibilityRPS   int               `name:"visibility-rps" default:"10" env:"JL_DEVSERVER_VISIBILITY_RPS" help:"Visibility requests per second for the namespace, as limited as in production."`
	CodecEndpoint   string            `name:"codec-endpoint" env:"JL_DEVSERVER_CODEC_ENDPOINT" placeholder:"URL" help:"Codec server with which the UI, in the browser, decodes payloads."`
	LogLevel        slog.Level        `name:"log-level" default:"warn" env:"JL_DEVSERVER_LOG_LEVEL" help:"Lowest level logged: debug, info, warn or error."`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// Validate is called by kong after parsing.
func (o *options) Validate() error {
	if net.ParseIP(o.IP) == nil {
		return fmt.Errorf("--ip %q is not an IP address", o.IP)
	}
	if (o.Postgres == "") != (o.PostgresVisibility == "") {
		return errors.New("--postgres and --postgres-visibility go together")
	}
	if o.Postgres != "" && o.DB != "" {
		return errors.New("--db and --postgres exclude each other")
	}
	if o.SchemaOnly && o.Postgres == "" && o.DB == "" {
		return errors.New("--schema-only needs --postgres or --db")
	}
	if o.Shards < 1 {
		return errors.New("--shards must be 1 or more")
	}
	if o.VisibilityRPS < 1 {
		return errors.New("--visibility-rps must be 1 or more")
	}
	_, err := o.searchAttributes()
	return err
}

func (o *options) searchAttributes() (map[string]enumspb.IndexedValueType, error) {
	attributes := make(map[string]enumspb.IndexedValueType, len(o.SearchAttribute))
	for name, typeName := range o.SearchAttribute {
		kind, err := enumspb.IndexedValueTypeFromString(typeName)
		if err != nil || kind == enumspb.INDEXED_VALUE_TYPE_UNSPECIFIED {
			return nil, fmt.Errorf("--search-attribute %s=%s: the type is one of Bool, Datetime, Double, Int, Keyword, KeywordList, Text", name, typeName)
		}
		attributes[name] = kind
	}
	return attributes, nil
}
