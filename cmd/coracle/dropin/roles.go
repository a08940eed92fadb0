package dropin

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.uber.org/zap"

	"coracle.local/libs/flags"
	manager "coracle.local/services/controller-manager/app"
	scheduler "coracle.local/services/scheduler/app"
)

// role is a program of upstream's that this executable can be.
type role func(ctx context.Context, log *zap.Logger, args []string) error

var roles = map[string]role{
	"kube-apiserver":          runAPIServer,
	"kube-controller-manager": runManager,
	"kube-scheduler":          runScheduler,
	"etcd":                    runEtcd,
}

// Named tells whether this executable was called by one of upstream's names, and
// gives that program's name.
func Named(argv0 string) (string, bool) {
	name := filepath.Base(argv0)
	_, ok := roles[name]
	return name, ok
}

// Run is the program of that name, until ctx ends.
func Run(ctx context.Context, name string, args []string) error {
	log, err := zap.NewProduction()
	if err != nil {
		return err
	}
	return roles[name](ctx, log.Named(name), args)
}

func runManager(ctx context.Context, log *zap.Logger, args []string) error {
	var f manager.Flags
	fs := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, err := f.Config(log)
	if err != nil {
		return err
	}
	return manager.Run(ctx, cfg)
}

func runScheduler(ctx context.Context, log *zap.Logger, args []string) error {
	var f scheduler.Flags
	fs := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, err := f.Config(log)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, cfg)
}

// runEtcd is etcd itself, which handles signals and exits by itself. A member
// that is alone elects itself at once with short ticks, where the default makes
// it wait for a second.
func runEtcd(_ context.Context, _ *zap.Logger, args []string) error {
	etcdmain.Main(append([]string{"etcd"}, withTicks(args)...))
	return nil
}

var ticks = []string{"--heartbeat-interval=10", "--election-timeout=100"}

func withTicks(args []string) []string {
	if alone(args) {
		return slices.Concat(ticks, args)
	}
	return args
}

// alone tells whether the arguments are those of a single member whose ticks
// nobody has chosen.
func alone(args []string) bool {
	for _, a := range args {
		switch name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "="); name {
		case "heartbeat-interval", "election-timeout", "config-file", "discovery", "discovery-srv",
			"initial-cluster", "gateway", "grpc-proxy", "version", "help", "h":
			return false
		}
	}
	for _, name := range []string{"HEARTBEAT_INTERVAL", "ELECTION_TIMEOUT", "INITIAL_CLUSTER"} {
		if _, set := os.LookupEnv("ETCD_" + name); set {
			return false
		}
	}
	return true
}
