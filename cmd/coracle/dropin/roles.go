package dropin

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.uber.org/zap"

	manager "coracle.local/services/controller-manager/app"
	scheduler "coracle.local/services/scheduler/app"
)

// Role is a program of upstream's that this executable can be.
type Role func(ctx context.Context, log *zap.Logger, name string, args []string) error

var roles = map[string]Role{
	"kube-apiserver":          runAPIServer,
	"kube-controller-manager": manager.Main,
	"kube-scheduler":          scheduler.Main,
	"etcd":                    runEtcd,
}

// Named gives the program of upstream's that this executable was called as, if
// it was.
func Named(argv0 string) (name string, role Role, ok bool) {
	name = filepath.Base(argv0)
	role, ok = roles[name]
	return name, role, ok
}

// runEtcd is etcd itself, which handles signals and exits by itself. A member
// that is alone elects itself at once with short ticks, where the default makes
// it wait for a second.
func runEtcd(_ context.Context, _ *zap.Logger, _ string, args []string) error {
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
