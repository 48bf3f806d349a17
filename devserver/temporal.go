package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	temporallog "go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

const (
	// namespaceRefresh is how often each service reads the namespaces again,
	// hence how long a new search attribute can be unknown to one of them.
	namespaceRefresh = 500 * time.Millisecond
	// stopPatience bounds an orderly stop.
	stopPatience = 8 * time.Second
)

// startTemporal returns when all four services run in this process.
func startTemporal(opts options, p ports, s *store, log temporallog.Logger) (temporal.Server, error) {
	server, err := temporal.NewServer(
		temporal.WithConfig(serverConfig(opts, p, s)),
		temporal.ForServices(temporal.DefaultServices),
		// Membership by gossip needs seconds after a restart; the four
		// services of one process are known beforehand.
		temporal.WithStaticHosts(map[primitives.ServiceName]static.Hosts{
			primitives.FrontendService: static.SingleLocalHost(p.frontendAddress()),
			primitives.HistoryService:  static.SingleLocalHost(loopback(p.history)),
			primitives.MatchingService: static.SingleLocalHost(loopback(p.matching)),
			primitives.WorkerService:   static.SingleLocalHost(loopback(p.worker)),
		}),
		temporal.WithLogger(log),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper {
			return authorization.NewNoopClaimMapper()
		}),
		temporal.WithDynamicConfigClient(dynamicConfig(opts, s)),
	)
	if err != nil {
		return nil, fmt.Errorf("configure Temporal: %w", err)
	}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("start Temporal: %w", err)
	}
	return server, nil
}

// stopTemporal gives up after stopPatience: what is cut off then is retried by
// clients and workers, as after a crash.
func stopTemporal(server temporal.Server) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := server.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: stop Temporal: %v\n", program, err)
		}
	}()
	select {
	case <-stopped:
	case <-time.After(stopPatience):
		fmt.Fprintf(os.Stderr, "%s: Temporal was still busy after %s; left without waiting longer\n", program, stopPatience)
	}
}

func serverConfig(opts options, p ports, s *store) *config.Config {
	internal := func(port int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: port, BindOnLocalHost: true}}
	}
	c := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     "main",
			VisibilityStore:  "visibility",
			NumHistoryShards: int32(s.shards),
			DataStores: map[string]config.DataStore{
				"main":       {SQL: &s.main},
				"visibility": {SQL: &s.visibility},
			},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {
					Enabled:                true,
					InitialFailoverVersion: 1,
					RPCAddress:             p.frontendAddress(),
				},
			},
		},
		Services: map[string]config.Service{
			"frontend": {RPC: config.RPC{GRPCPort: p.frontend, BindOnIP: opts.IP, HTTPPort: p.http}},
			"history":  internal(p.history),
			"matching": internal(p.matching),
			"worker":   internal(p.worker),
		},
		PublicClient: config.PublicClient{HostPort: p.frontendAddress()},
	}
	c.Global.Membership.MaxJoinDuration = 30 * time.Second
	c.Global.Membership.BroadcastAddress = p.dialIP()
	c.DCRedirectionPolicy.Policy = "noop"
	c.Archival.History.State = "disabled"
	c.Archival.Visibility.State = "disabled"
	c.NamespaceDefaults.Archival.History.State = "disabled"
	c.NamespaceDefaults.Archival.Visibility.State = "disabled"
	return c
}

// dynamicConfig is what production sets, so that development meets the same
// behaviour and the same limits, plus what one process on SQLite needs.
func dynamicConfig(opts options, s *store) dynamicconfig.Client {
	const unhindered = 100_000
	settings := dynamicconfig.StaticClient{
		// Fairness between tenants. It is off by default, and then fairness
		// keys are accepted without any effect.
		dynamicconfig.MatchingEnableFairness.Key(): true,
		dynamicconfig.MatchingUseNewMatcher.Key():  true,

		// 255 is what the columns of every database hold.
		dynamicconfig.MaxIDLengthLimit.Key():                             255,
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): opts.VisibilityRPS,

		// On by default in this version; named because the product is built
		// on updates, update-with-start and versioned workers.
		dynamicconfig.FrontendEnableUpdateWorkflowExecution.Key():              true,
		dynamicconfig.FrontendEnableUpdateWorkflowExecutionAsyncAccepted.Key(): true,
		dynamicconfig.EnableDeploymentVersions.Key():                           true,
		dynamicconfig.FrontendEnableWorkerVersioningWorkflowAPIs.Key():         true,

		// One process serves everybody here: limits meant for one instance of
		// many would be reached by a test before the machine is busy.
		dynamicconfig.FrontendRPS.Key():                        unhindered,
		dynamicconfig.FrontendMaxNamespaceRPSPerInstance.Key(): unhindered,
		dynamicconfig.MatchingRPS.Key():                        unhindered,
		dynamicconfig.HistoryRPS.Key():                         unhindered,
		dynamicconfig.FrontendPersistenceMaxQPS.Key():          unhindered,
		dynamicconfig.MatchingPersistenceMaxQPS.Key():          unhindered,
		dynamicconfig.HistoryPersistenceMaxQPS.Key():           unhindered,
		dynamicconfig.WorkerPersistenceMaxQPS.Key():            unhindered,

		dynamicconfig.NamespaceCacheRefreshInterval.Key(): namespaceRefresh,

		// The server would ask its maker's site for newer versions.
		dynamicconfig.EnableServerVersionCheck.Key(): false,
	}
	if s.inSQLite {
		// A single partition keeps order and rate limits exact, and spares
		// the one writer that SQLite allows.
		settings[dynamicconfig.MatchingNumTaskqueueReadPartitions.Key()] = 1
		settings[dynamicconfig.MatchingNumTaskqueueWritePartitions.Key()] = 1
		settings[dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key()] = true
	}
	return settings
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
