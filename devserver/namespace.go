package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	readyTimeout = 60 * time.Second
	readyPoll    = 50 * time.Millisecond
)

// prepareNamespace returns when clients can work: the namespace answers, has
// its retention, and every search attribute can be searched for.
func prepareNamespace(ctx context.Context, opts options, p ports, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	c, err := client.NewLazyClient(client.Options{
		HostPort:  p.frontendAddress(),
		Namespace: opts.Namespace,
		Logger:    log,
	})
	if err != nil {
		return fmt.Errorf("connect to Temporal: %w", err)
	}
	defer c.Close()

	var described *workflowservice.DescribeNamespaceResponse
	err = untilDone(ctx, func() (err error) {
		described, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: opts.Namespace})
		return err
	})
	if err != nil {
		return fmt.Errorf("namespace %q: %w", opts.Namespace, err)
	}
	if described.Config.WorkflowExecutionRetentionTtl.AsDuration() != namespaceRetention {
		err := untilDone(ctx, func() error {
			_, err := c.WorkflowService().UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
				Namespace: opts.Namespace,
				Config:    &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(namespaceRetention)},
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("set retention of namespace %q: %w", opts.Namespace, err)
		}
	}
	return prepareSearchAttributes(ctx, opts, c)
}

// prepareSearchAttributes adds what an existing namespace doesn't have yet. An
// attribute of another type is an error: Temporal can't change it.
func prepareSearchAttributes(ctx context.Context, opts options, c client.Client) error {
	wanted, err := opts.searchAttributes()
	if err != nil {
		return err
	}
	existing, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: opts.Namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := make(map[string]enumspb.IndexedValueType)
	for name, kind := range wanted {
		switch has, ok := existing.CustomAttributes[name]; {
		case !ok:
			missing[name] = kind
		case has != kind:
			return fmt.Errorf("search attribute %s is %s in namespace %q and can't become %s: use another name, or start with a new database", name, has, opts.Namespace, kind)
		}
	}
	if len(missing) > 0 {
		err := untilDone(ctx, func() error {
			_, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
				Namespace:        opts.Namespace,
				SearchAttributes: missing,
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("add search attributes: %w", err)
		}
		// The check below asks the frontend only. History and matching read
		// the namespace on a clock of their own.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * namespaceRefresh):
		}
	}

	var conditions []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		conditions = append(conditions, fmt.Sprintf("`%s` IS NOT NULL", name))
	}
	err = untilDone(ctx, func() error {
		_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: opts.Namespace,
			Query:     strings.Join(conditions, " AND "),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("search by attributes: %w", err)
	}
	return nil
}

// untilDone repeats call until it succeeds or ctx ends, and then returns why
// the last call failed.
func untilDone(ctx context.Context, call func() error) error {
	retry := time.NewTicker(readyPoll)
	defer retry.Stop()
	for {
		err := call()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-retry.C:
		}
	}
}
