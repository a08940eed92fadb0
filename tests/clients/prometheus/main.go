// Command prometheus prints what Prometheus's own discovery of Kubernetes finds: a
// line of JSON for each group of targets, until it is stopped.
//
//	prometheus KUBECONFIG ROLE
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: prometheus KUBECONFIG ROLE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := discover(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "prometheus:", err)
		os.Exit(1)
	}
}

func discover(ctx context.Context, kubeconfig, role string) error {
	cfg := &kubernetes.SDConfig{Role: kubernetes.Role(role), KubeConfig: kubeconfig}
	registry := client.NewRegistry()
	metrics := cfg.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
	if err := metrics.Register(); err != nil {
		return err
	}
	found, err := kubernetes.New(slog.New(slog.NewTextHandler(os.Stderr, nil)), metrics, cfg)
	if err != nil {
		return err
	}
	groups := make(chan []*targetgroup.Group)
	go found.Run(ctx, groups)
	out := json.NewEncoder(os.Stdout)
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch := <-groups:
			for _, g := range batch {
				if err := out.Encode(g); err != nil {
					return err
				}
			}
		}
	}
}
