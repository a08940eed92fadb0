package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"coracle.local/libs/election"
	"coracle.local/libs/flags"
	"coracle.local/libs/pki"
	"coracle.local/libs/serve"
	"coracle.local/services/controller-manager/internal/quotas"
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
	cfg                     Config
	address                 string
	port                    int
	files                   serve.TLSFiles
	election                election.Flags
	rootCA, accountKey      string
	clusterCIDR, serviceIPs string
	collect                 bool
	workers                 map[string]*int
	signing                 signingFlags
}

// syncs is upstream's flags for how many keys a controller works on at once.
var syncs = map[string]string{
	"deployment": "deployment-controller", "replicaset": "replicaset-controller", "rc": "replicationcontroller-controller",
	"statefulset": "statefulset-controller", "daemonset": "daemonset-controller", "job": "job-controller",
	"cron-job": "cronjob-controller", "ttl-after-finished": "ttl-after-finished-controller",
	"endpoint": "endpoints-controller", "service-endpoint": "endpointslice-controller",
	"serviceaccount-token": "serviceaccount-token-controller",
	"namespace":            "namespace-controller", "gc": "garbage-collector-controller",
	"resource-quota": "resourcequota-controller",
}

// Add declares the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	c := &f.cfg
	fs.StringVar(&c.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	fs.StringSliceVar(&c.Controllers, "controllers", []string{"*"}, "the controllers to run: names, '-name' for not, '*' for all that are on by default")
	fs.StringVar(&f.address, "bind-address", "0.0.0.0", "where gRPC, health and metrics are served")
	fs.IntVar(&f.port, "secure-port", 10257, "the port of --bind-address; 0 serves nothing")
	f.files.AddFlags(fs)
	f.signing.add(fs)
	fs.StringVar(&f.rootCA, "root-ca-file", "", "the certificates published in every namespace (default: the kubeconfig's authority)")
	fs.StringVar(&f.accountKey, "service-account-private-key-file", "", "the key that signs the tokens kept in Secrets")
	fs.DurationVar(&c.LegacyTokenCleanUpPeriod, "legacy-service-account-token-clean-up-period", 0, "how long such tokens stay unused before they go, if they were made by themselves (default 8760h0m0s)")
	_ = fs.String("cluster-name", "kubernetes", "taken for upstream's sake")
	fs.BoolVar(&c.AllocateNodeCIDRs, "allocate-node-cidrs", false, "give every node a part of --cluster-cidr for its pods")
	fs.StringVar(&f.clusterCIDR, "cluster-cidr", "", "the address range of pods, or one of each family")
	fs.StringVar(&f.serviceIPs, "service-cluster-ip-range", "", "the address range of Services, kept out of --cluster-cidr")
	fs.IntVar(&c.MaskV4, "node-cidr-mask-size", 24, "the bits of a node's part of --cluster-cidr")
	fs.IntVar(&c.MaskV4, "node-cidr-mask-size-ipv4", 24, "the same as --node-cidr-mask-size")
	fs.IntVar(&c.MaskV6, "node-cidr-mask-size-ipv6", 64, "the same for IPv6")
	fs.DurationVar(&c.NodeMonitorGracePeriod, "node-monitor-grace-period", 0, "how long a node may be silent (default 40s)")
	fs.DurationVar(&c.NodeStartupGracePeriod, "node-startup-grace-period", 0, "how long a node may take to report first (default 1m0s)")
	fs.Float64Var(&c.NodeEvictionRate, "node-eviction-rate", 0.1, "how many nodes of a zone may lose their pods per second")
	fs.Float64Var(&c.SecondaryNodeEvictionRate, "secondary-node-eviction-rate", 0.01, "the same in a large zone that is unhealthy")
	fs.IntVar(&c.LargeClusterSizeThreshold, "large-cluster-size-threshold", 50, "from how many nodes on a zone is large")
	fs.Float64Var(&c.UnhealthyZoneThreshold, "unhealthy-zone-threshold", 0.55, "which part of nodes not ready makes a zone unhealthy")
	fs.IntVar(&c.TerminatedPodGCThreshold, "terminated-pod-gc-threshold", 12500, "how many ended pods may stay; negative is no limit")
	fs.DurationVar(&c.ResourceQuotaSyncPeriod, "resource-quota-sync-period", quotas.Resync, "how often quotas are recounted even if nothing was seen to change")
	fs.Int32Var(&c.MaxEndpointsPerSlice, "max-endpoints-per-slice", 100, "how many endpoints an EndpointSlice may have")
	fs.DurationVar(&c.EndpointUpdatesBatchPeriod, "endpoint-updates-batch-period", 0, "how long changes of pods are gathered for Endpoints")
	fs.DurationVar(&c.EndpointSliceUpdatesBatchPeriod, "endpointslice-updates-batch-period", 0, "how long changes of pods are gathered for EndpointSlices")
	fs.IntVar(&c.MirroringMaxEndpointsPerSubset, "mirroring-max-endpoints-per-subset", 1000, "how many addresses of a subset of Endpoints are mirrored")
	fs.DurationVar(&c.MirroringUpdatesBatchPeriod, "mirroring-endpointslice-updates-batch-period", 0, "how long changes of mirrored EndpointSlices are gathered")
	fs.DurationVar(&c.ClaimSyncPeriod, "pvclaimbinder-sync-period", 15*time.Second, "how often claims that are not bound are told of again")
	fs.BoolVar(&f.collect, "enable-garbage-collector", true, "delete what has lost its owners")
	f.workers = map[string]*int{}
	for flag, name := range syncs {
		f.workers[name] = fs.Int("concurrent-"+flag+"-syncs", 0, "how many keys "+name+" works on at once")
	}
	const mirroring = "endpointslice-mirroring-controller"
	f.workers[mirroring] = fs.Int("mirroring-concurrent-service-endpoint-syncs", 0, "how many keys "+mirroring+" works on at once")
	f.election.Add(fs, "kube-controller-manager", "managers")
}

// Config makes a Config of the flags once they are parsed, and opens the port.
func (f *Flags) Config(log *zap.Logger) (Config, error) {
	cfg := f.cfg
	cfg.Log = log
	cfg.NoGarbageCollector = !f.collect
	// On the command line zero is none; in a Config it is the default.
	if cfg.TerminatedPodGCThreshold == 0 {
		cfg.TerminatedPodGCThreshold = -1
	}
	for _, rate := range []*float64{&cfg.NodeEvictionRate, &cfg.SecondaryNodeEvictionRate} {
		if *rate == 0 {
			*rate = -1
		}
	}
	cfg.Workers = map[string]int{}
	for name, n := range f.workers {
		cfg.Workers[name] = *n
	}
	var err error
	if cfg.ClusterCIDRs, err = prefixes("cluster-cidr", f.clusterCIDR); err != nil {
		return cfg, err
	}
	if cfg.ServiceCIDRs, err = prefixes("service-cluster-ip-range", f.serviceIPs); err != nil {
		return cfg, err
	}
	if cfg.RootCA, err = f.root(); err != nil {
		return cfg, err
	}
	if f.accountKey != "" {
		pem, err := os.ReadFile(f.accountKey)
		if err != nil {
			return cfg, fmt.Errorf("--service-account-private-key-file: %w", err)
		}
		if cfg.ServiceAccountKey, err = pki.ParseKey(pem); err != nil {
			return cfg, fmt.Errorf("--service-account-private-key-file: %w", err)
		}
	}
	cfg.SigningDuration = f.signing.duration
	if cfg.Signers, err = f.signing.authorities(); err != nil {
		return cfg, err
	}
	for _, name := range cfg.Controllers {
		if unserved(name) {
			log.Warn("controller is not part of this manager and does not run", zap.String("controller", name))
		}
	}
	if cfg.Election, err = f.election.Config(); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil || f.port == 0 {
		return cfg, err
	}
	f.files.Kubeconfig = cfg.Kubeconfig
	if cfg.TLS, err = f.files.Config("kube-controller-manager"); err != nil {
		return cfg, err
	}
	if cfg.Listener, err = net.Listen("tcp", net.JoinHostPort(f.address, strconv.Itoa(f.port))); err != nil {
		return cfg, fmt.Errorf("--bind-address and --secure-port: %w", err)
	}
	return cfg, nil
}

// root is the certificates to publish.
func (f *Flags) root() ([]byte, error) {
	if f.rootCA != "" {
		pem, err := os.ReadFile(f.rootCA)
		if err != nil {
			return nil, fmt.Errorf("--root-ca-file: %w", err)
		}
		return pem, nil
	}
	if f.cfg.Kubeconfig == "" {
		return nil, nil
	}
	k, err := pki.ReadKubeconfig(f.cfg.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the authority of --kubeconfig: %w", err)
	}
	return k.CA, nil
}

func prefixes(flag, text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		out = append(out, p)
	}
	return out, nil
}
