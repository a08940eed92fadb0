package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

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
	cfg, err := f.Config(fs, log)
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Flags are the command line, in upstream's names where upstream has the
// setting.
type Flags struct {
	cfg                       Config
	config                    string
	address                   string
	port                      int
	files                     serve.TLSFiles
	hostnameOverride, podCIDR string
	nodeIPs, clusterDNS       []string
	taints                    []string
	systemReserved            map[string]string
	kubeReserved              map[string]string
	register                  bool
	cniBinDirs                []string
	resolvConf                string
}

// Add declares the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	c := &f.cfg
	fs.StringVar(&c.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	fs.StringVar(&f.config, "config", "", "a KubeletConfiguration; of it is read what has a flag here, and flags win")
	fs.StringVar(&f.hostnameOverride, "hostname-override", "", "the node's name (default: the host's)")
	fs.StringSliceVar(&f.nodeIPs, "node-ip", nil, "the node's addresses, at most one of each IP family (default: that of the interface with the default route)")
	fs.StringToStringVar(&c.NodeLabels, "node-labels", nil, "labels of the node")
	fs.StringSliceVar(&f.taints, "register-with-taints", nil, "taints a new node gets, as key=value:effect")
	fs.BoolVar(&f.register, "register-node", true, "make the node where there is none")
	fs.StringVar(&c.ProviderID, "provider-id", "", "what a cloud calls the machine")
	fs.IntVar(&c.MaxPods, "max-pods", defaultMaxPods, "how many pods the node takes")
	fs.StringVar(&f.podCIDR, "pod-cidr", "", "the pods' addresses while the node has none of its own")
	fs.StringToStringVar(&f.systemReserved, "system-reserved", nil, "what pods may not use, such as cpu=100m,memory=1Gi")
	fs.StringToStringVar(&f.kubeReserved, "kube-reserved", nil, "as --system-reserved")
	fs.StringVar(&c.EvictionHard, "eviction-hard", "", "below what the node reports pressure (default memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%)")
	fs.StringVar(&c.RootDir, "root-dir", defaultRoot, "where pods' files are; the engine must see it at the same path")
	fs.StringSliceVar(&f.clusterDNS, "cluster-dns", nil, "the addresses pods ask for names")
	fs.StringVar(&c.ClusterDomain, "cluster-domain", defaultDomain, "the end of all names of the cluster")
	fs.StringVar(&f.resolvConf, "resolv-conf", defaultResolv, "the resolver configuration pods inherit; empty for none")
	fs.BoolVar(&c.PodCgroups, "cgroups-per-qos", false, "put pods below the cgroup /kubepods, sorted by their class")
	fs.StringVar(&c.PodLogsDir, "pod-logs-dir", "", "where links to containers' logs are made; empty for nowhere")

	fs.StringVar(&f.address, "address", "0.0.0.0", "where gRPC and HTTP are served")
	fs.IntVar(&f.port, "port", 10250, "the port of --address; 0 serves nothing")
	f.files.AddFlags(fs)

	fs.StringVar(&c.Runtime, "container-runtime", Docker, Docker+", or "+Hollow+": pods run without containers")
	fs.StringVar(&c.DockerEndpoint, "docker-endpoint", "", "the Docker Engine (default: $DOCKER_HOST, or the local socket)")
	fs.StringSliceVar(&f.cniBinDirs, "cni-bin-dir", []string{defaultCNIBin}, "where the network plugins are")
	fs.StringVar(&c.CNIConfDir, "cni-conf-dir", "", "where a network configuration of somebody else's may be, which then is used")
	fs.StringVar(&c.MountNamespace, "mount-namespace", "", "where the engine looks paths up, such as /proc/1/ns/mnt (default: where the kubelet does)")
}

// Config makes a Config of the flags once they are parsed, and opens the port.
func (f *Flags) Config(fs *pflag.FlagSet, log *zap.Logger) (Config, error) {
	f.cfg.Log = log
	if f.config != "" {
		if err := f.readFile(fs, log); err != nil {
			return f.cfg, err
		}
	}
	c := &f.cfg
	c.NodeName, c.NoRegister, c.CNIBinDirs = strings.ToLower(strings.TrimSpace(f.hostnameOverride)), !f.register, f.cniBinDirs
	c.ResolvConf = f.resolvConf
	if c.ResolvConf == "" {
		c.ResolvConf = noResolvConf
	}
	var err error
	if c.NodeIPs, err = addresses("--node-ip", f.nodeIPs); err != nil {
		return *c, err
	}
	if c.ClusterDNS, err = addresses("--cluster-dns", f.clusterDNS); err != nil {
		return *c, err
	}
	if c.Taints, err = parseTaints(f.taints); err != nil {
		return *c, err
	}
	if c.Reserved, err = reserved(f.systemReserved, f.kubeReserved); err != nil {
		return *c, err
	}
	if f.podCIDR != "" {
		if c.PodCIDR, err = netip.ParsePrefix(f.podCIDR); err != nil {
			return *c, fmt.Errorf("--pod-cidr: %w", err)
		}
	}
	return *c, f.listen()
}

// listen opens the port, with the certificate and the authority of the flags.
func (f *Flags) listen() error {
	if f.port == 0 {
		return nil
	}
	name := f.cfg.NodeName
	if name == "" {
		var err error
		if name, err = hostname(); err != nil {
			return err
		}
	}
	f.files.Kubeconfig = f.cfg.Kubeconfig
	var err error
	if f.cfg.TLS, err = f.files.Config(name); err != nil {
		return err
	}
	if f.cfg.Listener, err = net.Listen("tcp", net.JoinHostPort(f.address, strconv.Itoa(f.port))); err != nil {
		return fmt.Errorf("--address and --port: %w", err)
	}
	return nil
}

// addresses reads IP addresses; unspecified ones mean what the default does.
func addresses(flag string, list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		ip, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if !ip.IsUnspecified() {
			out = append(out, ip.Unmap())
		}
	}
	return out, nil
}

// parseTaints reads taints of the form key=value:effect or key:effect.
func parseTaints(list []string) ([]corev1.Taint, error) {
	var out []corev1.Taint
	for _, s := range list {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		left, effect, ok := strings.Cut(s, ":")
		key, value, _ := strings.Cut(left, "=")
		switch corev1.TaintEffect(effect) {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			ok = false
		}
		if !ok || key == "" {
			return nil, fmt.Errorf("--register-with-taints: %q is not of the form key=value:effect", s)
		}
		out = append(out, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return out, nil
}

// reserved adds up reservations.
func reserved(lists ...map[string]string) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for _, list := range lists {
		for name, amount := range list {
			q, err := resource.ParseQuantity(amount)
			if err != nil {
				return nil, fmt.Errorf("reserved %s=%s: %w", name, amount, err)
			}
			sum := out[corev1.ResourceName(name)]
			sum.Add(q)
			out[corev1.ResourceName(name)] = sum
		}
	}
	return out, nil
}

// readFile reads --config; what is set by a flag stays.
func (f *Flags) readFile(fs *pflag.FlagSet, log *zap.Logger) error {
	data, err := os.ReadFile(f.config)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	settings, err := fileSettings(data)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	for _, s := range settings {
		if fs.Changed(s.flag) {
			continue
		}
		if err := fs.Set(s.flag, s.value); err != nil {
			return fmt.Errorf("--config: %s: %w", s.flag, err)
		}
	}
	log.Warn("only settings that have a flag are read from the configuration", zap.String("file", f.config))
	return nil
}
