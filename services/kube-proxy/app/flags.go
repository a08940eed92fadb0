package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"coracle.local/libs/flags"
	"coracle.local/libs/serve"
)

// Main is the program of that name with these arguments: flags, Config, Run; or,
// with --cleanup, Clean.
func Main(ctx context.Context, log *zap.Logger, name string, args []string) error {
	var f Flags
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	if f.cleanup {
		return Clean(ctx)
	}
	cfg, err := f.Config(log)
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Flags are the command line, in upstream's names.
type Flags struct {
	cfg              Config
	network, address string
	files            serve.TLSFiles
	cleanup          bool
}

// Add declares the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	c := &f.cfg
	fs.StringVar(&c.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	fs.StringVar(&c.Node, "hostname-override", "", "this node's name (default: the host name)")
	fs.StringVar(&f.network, "cluster-cidr", "", "the network of pods; traffic from elsewhere is masqueraded")
	fs.StringVar(&f.address, "healthz-bind-address", "0.0.0.0:10249", "where gRPC, health and metrics are served")
	f.files.AddFlags(fs)
	fs.BoolVar(&c.MasqueradeAll, "masquerade-all", false, "masquerade all traffic to cluster addresses")
	fs.BoolVar(&f.cleanup, "cleanup", false, "remove all rules and end")
}

// Config makes a Config of the flags once they are parsed, and opens the port.
func (f *Flags) Config(log *zap.Logger) (Config, error) {
	cfg := f.cfg
	cfg.Log = log
	var err error
	if cfg.Node == "" {
		if cfg.Node, err = os.Hostname(); err != nil {
			return cfg, fmt.Errorf("the host name: %w: set --hostname-override", err)
		}
	}
	if f.network != "" {
		if cfg.PodNetwork, err = netip.ParsePrefix(f.network); err != nil {
			return cfg, fmt.Errorf("--cluster-cidr: %w", err)
		}
	}
	f.files.Kubeconfig = cfg.Kubeconfig
	if cfg.TLS, err = f.files.Config("kube-proxy"); err != nil {
		return cfg, err
	}
	if cfg.Listener, err = net.Listen("tcp", f.address); err != nil {
		return cfg, fmt.Errorf("--healthz-bind-address: %w", err)
	}
	return cfg, nil
}
