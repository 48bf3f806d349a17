package main

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/server/common/config"
	temporallog "go.temporal.io/server/common/log"
	"go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	clusterName = "active"
	// namespaceRetention is how long closed workflows can still be looked at.
	namespaceRetention = 7 * 24 * time.Hour
)

// store is where Temporal keeps its data: the schema is there, and no other
// dev server uses it until close.
type store struct {
	main, visibility config.SQL
	shards           int
	inSQLite         bool
	close            func()
}

func (o *options) openStore(ctx context.Context, log temporallog.Logger) (*store, error) {
	var (
		s   *store
		err error
	)
	switch {
	case o.Postgres != "":
		s, err = openPostgres(ctx, o.Postgres, o.PostgresVisibility, o.Shards, log)
	case o.DB != "":
		s, err = openSQLiteFile(ctx, o.DB)
	default:
		s = openSQLiteMemory()
	}
	if err != nil {
		return nil, err
	}
	if err := s.createNamespace(o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// createNamespace writes the namespace with its search attributes before the
// server is up, so that no service ever caches it without them. An existing
// namespace is left alone; prepareNamespace brings it up to date.
func (s *store) createNamespace(o *options) error {
	attributes, err := o.searchAttributes()
	if err != nil {
		return err
	}
	namespace, err := sqlite.NewNamespaceConfig(clusterName, o.Namespace, false, attributes)
	if err != nil {
		return fmt.Errorf("namespace %q: %w", o.Namespace, err)
	}
	namespace.Detail.Config.Retention = durationpb.New(namespaceRetention)
	// The helper lives in the SQLite package but writes through whichever
	// store the configuration names.
	if err := sqlite.CreateNamespaces(&s.main, namespace); err != nil {
		return fmt.Errorf("create namespace %q: %w", o.Namespace, err)
	}
	return nil
}
