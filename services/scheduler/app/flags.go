package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

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
	elect, profiling   bool
	election           Election
}

// Add declares the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "how to reach the API server")
	fs.StringVar(&f.config, "config", "", "a KubeSchedulerConfiguration, of which the kubeconfig, the leader election and the first profile's name are read")
	fs.StringVar(&f.address, "bind-address", "0.0.0.0", "where gRPC, health and metrics are served")
	fs.IntVar(&f.port, "secure-port", 10259, "the port of --bind-address; 0 serves nothing")
	f.files.AddFlags(fs)
	fs.BoolVar(&f.profiling, "profiling", true, "serve /debug/pprof/ to those who may call")
	fs.BoolVar(&f.elect, "leader-elect", true, "work only while holding a Lease, so that several schedulers can run")
	fs.StringVar(&f.election.Name, "leader-elect-resource-name", "kube-scheduler", "the Lease's name")
	fs.StringVar(&f.election.Namespace, "leader-elect-resource-namespace", "kube-system", "the Lease's namespace")
	fs.DurationVar(&f.election.LeaseDuration, "leader-elect-lease-duration", 0, "how long a silent leader stays leader (default 15s)")
	fs.DurationVar(&f.election.RenewDeadline, "leader-elect-renew-deadline", 0, "how long a leader tries to renew before it gives up (default 10s)")
	fs.DurationVar(&f.election.RetryPeriod, "leader-elect-retry-period", 0, "how often candidates try (default 2s)")
}

// Config makes a Config of the flags once they are parsed, and opens the port.
func (f *Flags) Config(log *zap.Logger) (Config, error) {
	cfg := Config{Log: log, Kubeconfig: f.kubeconfig, Profiling: f.profiling}
	if err := f.readFile(log, &cfg); err != nil {
		return cfg, err
	}
	if f.elect {
		host, err := os.Hostname()
		if err != nil {
			return cfg, fmt.Errorf("the host name: %w", err)
		}
		f.election.Identity = host + "_" + uuid.NewString()
		cfg.Election = &f.election
	}
	if f.port == 0 {
		return cfg, nil
	}
	f.files.Kubeconfig = cfg.Kubeconfig
	var err error
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
		f.elect = *c.LeaderElection.LeaderElect
	}
	if len(c.Profiles) > 0 {
		cfg.SchedulerName = c.Profiles[0].SchedulerName
	}
	return nil
}
