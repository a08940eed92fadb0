package app

import (
	"fmt"
	"slices"
	"strings"

	"coracle.local/services/controller-manager/internal/clusterroles"
	"coracle.local/services/controller-manager/internal/daemonset"
	"coracle.local/services/controller-manager/internal/deployment"
	"coracle.local/services/controller-manager/internal/disruption"
	"coracle.local/services/controller-manager/internal/endpoints"
	"coracle.local/services/controller-manager/internal/garbage"
	"coracle.local/services/controller-manager/internal/inspect"
	"coracle.local/services/controller-manager/internal/jobs"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/namespaces"
	"coracle.local/services/controller-manager/internal/nodes"
	"coracle.local/services/controller-manager/internal/protection"
	"coracle.local/services/controller-manager/internal/replicas"
	"coracle.local/services/controller-manager/internal/statefulset"
)

// controller is one row of the table of controllers: upstream's name, its
// names of old, and how its loops are made. A reason says why it cannot run
// with a configuration.
type controller struct {
	name, alias string
	make        func(d loop.Deps, c *Config) (loops []loop.Loop, reason string)
}

func one(f func(loop.Deps) loop.Loop) func(loop.Deps, *Config) ([]loop.Loop, string) {
	return func(d loop.Deps, _ *Config) ([]loop.Loop, string) { return []loop.Loop{f(d)}, "" }
}

// table is every controller there is, in the order in which they are listed.
func table() []controller {
	return []controller{
		{"namespace-controller", "namespace", one(namespaces.Deletion)},
		{"serviceaccount-controller", "serviceaccount", one(namespaces.ServiceAccounts)},
		{"root-ca-certificate-publisher-controller", "root-ca-cert-publisher", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			if len(c.RootCA) == 0 {
				return nil, "no root certificate: set --root-ca-file"
			}
			return []loop.Loop{namespaces.RootCA(d, c.RootCA)}, ""
		}},
		{"garbage-collector-controller", "garbagecollector", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			if c.NoGarbageCollector {
				return nil, "--enable-garbage-collector is false"
			}
			return []loop.Loop{garbage.New(d, 20)}, ""
		}},
		{"deployment-controller", "deployment", one(deployment.New)},
		{"replicaset-controller", "replicaset", one(replicas.ReplicaSets)},
		{"replicationcontroller-controller", "replicationcontroller", one(replicas.ReplicationControllers)},
		{"statefulset-controller", "statefulset", one(statefulset.New)},
		{"daemonset-controller", "daemonset", one(daemonset.New)},
		{"job-controller", "job", func(d loop.Deps, _ *Config) ([]loop.Loop, string) { return jobs.New(d), "" }},
		{"cronjob-controller", "cronjob", one(jobs.CronJobs)},
		{"ttl-after-finished-controller", "ttl-after-finished", one(jobs.TTL)},
		{"disruption-controller", "disruption", func(d loop.Deps, _ *Config) ([]loop.Loop, string) { return disruption.New(d), "" }},
		{"clusterrole-aggregation-controller", "clusterrole-aggregation", one(clusterroles.New)},
		{"endpointslice-controller", "endpointslice", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{endpoints.Slices(d, c.EndpointSliceUpdatesBatchPeriod, c.MaxEndpointsPerSlice)}, ""
		}},
		{"endpoints-controller", "endpoint", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{endpoints.Legacy(d, c.EndpointUpdatesBatchPeriod)}, ""
		}},
		{"node-ipam-controller", "nodeipam", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			if !c.AllocateNodeCIDRs {
				return nil, "--allocate-node-cidrs is false"
			}
			return []loop.Loop{nodes.IPAM(d, ranges(c))}, ""
		}},
		{"node-lifecycle-controller", "nodelifecycle", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return nodes.Lifecycle(d, nodes.LifecycleConfig{
				MonitorGracePeriod: c.NodeMonitorGracePeriod, StartupGracePeriod: c.NodeStartupGracePeriod,
				EvictionRate: c.NodeEvictionRate, SecondaryEvictionRate: c.SecondaryNodeEvictionRate,
				LargeClusterSize: c.LargeClusterSizeThreshold, UnhealthyZoneThreshold: c.UnhealthyZoneThreshold,
			}), ""
		}},
		{"taint-eviction-controller", "", one(nodes.TaintEviction)},
		{"pod-garbage-collector-controller", "podgc", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return nodes.PodGC(d, c.TerminatedPodGCThreshold), ""
		}},
		{"persistentvolumeclaim-protection-controller", "pvc-protection", one(protection.Claims)},
		{"persistentvolume-protection-controller", "pv-protection", one(protection.Volumes)},
		{"volumeattributesclass-protection-controller", "", one(protection.AttributesClasses)},
	}
}

func ranges(c *Config) []nodes.Range {
	var out []nodes.Range
	for _, p := range c.ClusterCIDRs {
		r := nodes.Range{Cluster: p.Masked(), Mask: c.mask(p)}
		for _, s := range c.ServiceCIDRs {
			if s.Addr().Is4() == p.Addr().Is4() {
				r.Service = s.Masked()
			}
		}
		out = append(out, r)
	}
	return out
}

// elsewhere is upstream's controllers that are not here. They may be named,
// so that a command line written for upstream is taken.
var elsewhere = []string{
	"serviceaccount-token-controller", "endpointslice-mirroring-controller", "resourcequota-controller",
	"horizontal-pod-autoscaler-controller",
	"certificatesigningrequest-signing-controller", "certificatesigningrequest-approving-controller",
	"certificatesigningrequest-cleaner-controller", "podcertificaterequest-cleaner-controller", "ttl-controller",
	"bootstrap-signer-controller", "token-cleaner-controller", "device-taint-eviction-controller",
	"persistentvolume-binder-controller", "persistentvolume-attach-detach-controller", "persistentvolume-expander-controller",
	"podgroup-protection-controller", "kube-apiserver-serving-clustertrustbundle-publisher-controller",
	"ephemeral-volume-controller", "storageversion-garbage-collector-controller", "resourceclaim-controller",
	"resourcepoolstatusrequest-controller", "legacy-serviceaccount-token-cleaner-controller",
	"validatingadmissionpolicy-status-controller", "service-cidr-controller",
	"storage-version-migrator-controller", "selinux-warning-controller",
}

// enabled is upstream's rule: the first entry that names a controller decides,
// and else whether there is a star.
func enabled(c controller, asked []string) bool {
	for _, a := range asked {
		switch a {
		case c.name, c.alias:
			return true
		case "-" + c.name, "-" + c.alias:
			return false
		}
	}
	return slices.Contains(asked, "*")
}

func unknownControllers(asked []string) error {
	known := map[string]bool{"*": true}
	for _, c := range table() {
		known[c.name], known[c.alias] = true, true
	}
	for _, name := range elsewhere {
		known[name] = true
	}
	delete(known, "") // no alias
	for _, a := range asked {
		if !known[strings.TrimPrefix(a, "-")] {
			return fmt.Errorf("%q is not in the list of known controllers", a)
		}
	}
	return nil
}

// build makes the loops of the controllers that are asked for.
func build(d loop.Deps, c *Config) []inspect.Controller {
	var out []inspect.Controller
	for _, row := range table() {
		x := inspect.Controller{Name: row.name, Reason: "--controllers does not ask for it"}
		if enabled(row, c.Controllers) {
			x.Loops, x.Reason = row.make(d, c)
		}
		out = append(out, x)
	}
	return out
}

// unserved tells whether somebody asks for a controller that is not here.
func unserved(asked string) bool { return slices.Contains(elsewhere, asked) }
