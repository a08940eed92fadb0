package app

import (
	"coracle.local/services/controller-manager/internal/accounts"
	"coracle.local/services/controller-manager/internal/bootstrap"
	"coracle.local/services/controller-manager/internal/certificates"
	"coracle.local/services/controller-manager/internal/clusterroles"
	"coracle.local/services/controller-manager/internal/daemonset"
	"coracle.local/services/controller-manager/internal/deployment"
	"coracle.local/services/controller-manager/internal/disruption"
	"coracle.local/services/controller-manager/internal/endpoints"
	"coracle.local/services/controller-manager/internal/garbage"
	"coracle.local/services/controller-manager/internal/inspect"
	"coracle.local/services/controller-manager/internal/jobs"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/migration"
	"coracle.local/services/controller-manager/internal/namespaces"
	"coracle.local/services/controller-manager/internal/nodes"
	"coracle.local/services/controller-manager/internal/protection"
	"coracle.local/services/controller-manager/internal/quotas"
	"coracle.local/services/controller-manager/internal/replicas"
	"coracle.local/services/controller-manager/internal/resourceclaims"
	"coracle.local/services/controller-manager/internal/servicecidrs"
	"coracle.local/services/controller-manager/internal/statefulset"
	"coracle.local/services/controller-manager/internal/volumes"
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
		{"serviceaccount-token-controller", "serviceaccount-token", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			if c.ServiceAccountKey == nil {
				return nil, "no key to sign with: set --service-account-private-key-file"
			}
			signer, err := accounts.NewSigner(c.ServiceAccountKey)
			if err != nil {
				return nil, err.Error()
			}
			return accounts.Tokens(d, signer, c.RootCA), ""
		}},
		{"legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{accounts.Unused(d, c.LegacyTokenCleanUpPeriod)}, ""
		}},
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
		{"certificatesigningrequest-signing-controller", "csrsigning", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			if len(c.Signers) == 0 {
				return nil, "no authority to sign with: set --cluster-signing-cert-file and --cluster-signing-key-file"
			}
			return certificates.Signing(d, c.Signers, c.SigningDuration), ""
		}},
		{"certificatesigningrequest-approving-controller", "csrapproving", one(certificates.Approving)},
		{"certificatesigningrequest-cleaner-controller", "csrcleaner", one(certificates.Cleaner)},
		{"podcertificaterequest-cleaner-controller", "", one(certificates.PodCleaner)},
		{"kube-apiserver-serving-clustertrustbundle-publisher-controller", "", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			if len(c.RootCA) == 0 {
				return nil, "no root certificate: set --root-ca-file"
			}
			return []loop.Loop{certificates.Publisher(d, c.RootCA)}, ""
		}},
		{"clusterrole-aggregation-controller", "clusterrole-aggregation", one(clusterroles.New)},
		{"resourcequota-controller", "resourcequota", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{quotas.New(d, c.ResourceQuotaSyncPeriod)}, ""
		}},
		{"service-cidr-controller", "", one(servicecidrs.New)},
		{"endpointslice-controller", "endpointslice", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{endpoints.Slices(d, c.EndpointSliceUpdatesBatchPeriod, c.MaxEndpointsPerSlice)}, ""
		}},
		{"endpoints-controller", "endpoint", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{endpoints.Legacy(d, c.EndpointUpdatesBatchPeriod)}, ""
		}},
		{"endpointslice-mirroring-controller", "endpointslicemirroring", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return []loop.Loop{endpoints.Mirroring(d, c.MirroringUpdatesBatchPeriod, c.MirroringMaxEndpointsPerSubset)}, ""
		}},
		{"ttl-controller", "ttl", one(nodes.TTL)},
		{"bootstrap-signer-controller", "bootstrapsigner", one(bootstrap.Signer)},
		{"token-cleaner-controller", "tokencleaner", one(bootstrap.Cleaner)},
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
		{"persistentvolume-binder-controller", "persistentvolume-binder", func(d loop.Deps, c *Config) ([]loop.Loop, string) {
			return volumes.Binder(d, c.ClaimSyncPeriod), ""
		}},
		{"resourceclaim-controller", "resource-claim-controller", func(d loop.Deps, _ *Config) ([]loop.Loop, string) { return resourceclaims.New(d), "" }},
		{"ephemeral-volume-controller", "ephemeral-volume", one(volumes.Ephemeral)},
		{"storage-version-migrator-controller", "svm", one(migration.New)},
		{"persistentvolumeclaim-protection-controller", "pvc-protection", func(d loop.Deps, _ *Config) ([]loop.Loop, string) {
			return []loop.Loop{protection.Claims(d), protection.Unused(d)}, ""
		}},
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
