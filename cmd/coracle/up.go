package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"coracle.local/cmd/coracle/cluster"
)

func upCommand() *cobra.Command {
	began := time.Now()
	var cfg cluster.Config
	var address, level string
	var docker bool
	node := cluster.DockerNode{}
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster in this process until it is interrupted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Log, err = logger(level); err != nil {
				return err
			}
			defer func() { _ = cfg.Log.Sync() }()
			if cfg.Address, err = netip.ParseAddr(address); err != nil {
				return fmt.Errorf("--bind-address: %w", err)
			}
			if docker {
				cfg.Docker = &node
				if !cmd.Flags().Changed("nodes") {
					cfg.Nodes = 0
				}
				if !cmd.Flags().Changed("bind-address") {
					// Pods must reach the API server.
					cfg.Address = netip.IPv4Unspecified()
				}
			}
			cfg.FixedPorts = cfg.SecurePort != 0
			cfg.OnReady = func(c *cluster.Cluster) {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "ready in %s: export KUBECONFIG=%s\n", time.Since(began).Round(time.Millisecond), c.Kubeconfig)
			}
			return cluster.Run(cmd.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.DataDir, "data-dir", "", "keep the cluster here, and come back to it (default: a temporary folder)")
	f.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "write the administrator's kubeconfig here (default: into the data folder)")
	f.IntVar(&cfg.SecurePort, "secure-port", 6443, "REST port of the API server; 0 picks one")
	f.IntVar(&cfg.GRPCPort, "grpc-port", 6444, "gRPC port of the API server; 0 picks one")
	f.StringVar(&address, "bind-address", "127.0.0.1", "where the API server and the components listen")
	f.IntVar(&cfg.Nodes, "nodes", 1, "hollow nodes: pods on them run without containers")
	f.BoolVar(&docker, "docker", false, "make this machine's Docker Engine a node (needs root)")
	f.StringVar(&node.Endpoint, "docker-endpoint", "", "the Docker Engine (default: $DOCKER_HOST, or the local socket)")
	f.StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return c
}

func logger(level string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	cfg := zap.NewDevelopmentConfig()
	cfg.Level = zap.NewAtomicLevelAt(l)
	cfg.DisableStacktrace = true
	return cfg.Build()
}
