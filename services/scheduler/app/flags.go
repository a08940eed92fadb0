package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/election"
	"coracle.local/libs/flags"
	"coracle.local/libs/serve"
)

// Main is the program of that name with these arguments: flags, Config, Run.
func Main(ctx context.Context, log *zap.Logger, name string, args []string) error {
	var f Flags
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, err := f.Config(log)
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Flags are the command line, in upstream's names.
type Flags struct {
	kubeconfig, config string
	address            string
	port               int
	files              serve.TLSFiles
	profiling          bool
	election           election.Flags
}

// Add declares the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "how to reach the API server")
	fs.StringVar(&f.config, "config", "", "a KubeSchedulerConfiguration, of which the kubeconfig, the leader election and the first profile's name are read")
	fs.StringVar(&f.address, "bind-address", "0.0.0.0", "where gRPC, health and metrics are served")
	fs.IntVar(&f.port, "secure-port", 10259, "the port of --bind-address; 0 serves nothing")
	f.files.AddFlags(fs)
	fs.BoolVar(&f.profiling, "profiling", true, "serve /debug/pprof/ to those who may call")
	f.election.Add(fs, "kube-scheduler", "schedulers")
}

// Config makes a Config of the flags once they are parsed, and opens the port.
func (f *Flags) Config(log *zap.Logger) (Config, error) {
	cfg := Config{Log: log, Kubeconfig: f.kubeconfig, Profiling: f.profiling}
	if err := f.readFile(log, &cfg); err != nil {
		return cfg, err
	}
	var err error
	if cfg.Election, err = f.election.Config(); err != nil || f.port == 0 {
		return cfg, err
	}
	f.files.Kubeconfig = cfg.Kubeconfig
	if cfg.TLS, err = f.files.Config("kube-scheduler"); err != nil {
		return cfg, err
	}
	if cfg.Listener, err = net.Listen("tcp", net.JoinHostPort(f.address, strconv.Itoa(f.port))); err != nil {
		return cfg, fmt.Errorf("--bind-address and --secure-port: %w", err)
	}
	return cfg, nil
}

// configuration is the part of a KubeSchedulerConfiguration that applies here.
type configuration struct {
	ClientConnection struct {
		Kubeconfig string `json:"kubeconfig"`
	} `json:"clientConnection"`
	LeaderElection struct {
		LeaderElect *bool `json:"leaderElect"`
	} `json:"leaderElection"`
	Profiles []struct {
		SchedulerName string `json:"schedulerName"`
	} `json:"profiles"`
}

// readFile reads --config. As with upstream, the file wins over flags that say
// the same.
func (f *Flags) readFile(log *zap.Logger, cfg *Config) error {
	if f.config == "" {
		return nil
	}
	data, err := os.ReadFile(f.config)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var c configuration
	if err := yaml.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	log.Warn("only the kubeconfig, the leader election and the first profile's name are read from the configuration",
		zap.String("file", f.config))
	if c.ClientConnection.Kubeconfig != "" {
		cfg.Kubeconfig = c.ClientConnection.Kubeconfig
	}
	if c.LeaderElection.LeaderElect != nil {
		f.election.Elect = *c.LeaderElection.LeaderElect
	}
	if len(c.Profiles) > 0 {
		cfg.SchedulerName = c.Profiles[0].SchedulerName
	}
	return nil
}
