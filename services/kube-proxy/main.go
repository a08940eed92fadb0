// Command kube-proxy leads traffic to Services to their pods, on one node, with
// iptables.
package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"coracle.local/libs/flags"
	"coracle.local/libs/serve"
	"coracle.local/services/kube-proxy/app"
)

func main() {
	log, err := zap.NewProduction()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-proxy:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log.Named("kube-proxy"), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kube-proxy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *zap.Logger, args []string) error {
	cfg := app.Config{Log: log}
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	fs.StringVar(&cfg.Node, "hostname-override", "", "this node's name (default: the host name)")
	network := fs.String("cluster-cidr", "", "the network of pods; traffic from elsewhere is masqueraded")
	address := fs.String("healthz-bind-address", "0.0.0.0:10249", "where gRPC, health and metrics are served")
	var files serve.TLSFiles
	files.AddFlags(fs)
	fs.BoolVar(&cfg.MasqueradeAll, "masquerade-all", false, "masquerade all traffic to cluster addresses")
	cleanup := fs.Bool("cleanup", false, "remove all rules and end")
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	if *cleanup {
		return app.Clean(ctx)
	}
	if cfg.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("the host name: %w: set --hostname-override", err)
		}
		cfg.Node = host
	}
	if *network != "" {
		var err error
		if cfg.PodNetwork, err = netip.ParsePrefix(*network); err != nil {
			return fmt.Errorf("--cluster-cidr: %w", err)
		}
	}
	var err error
	files.Kubeconfig = cfg.Kubeconfig
	if cfg.TLS, err = files.Config("kube-proxy"); err != nil {
		return err
	}
	if cfg.Listener, err = net.Listen("tcp", *address); err != nil {
		return fmt.Errorf("--healthz-bind-address: %w", err)
	}
	return app.Run(ctx, cfg)
}
