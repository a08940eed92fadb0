// Package app is the controller manager as others start it: a Config and Run.
package app

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"coracle.local/libs/client"
	"coracle.local/libs/election"
	"coracle.local/libs/trace"
	"coracle.local/services/controller-manager/internal/certificates"
)

// Config is everything a controller manager needs. Zero values take upstream's
// defaults; what has none must be set.
type Config struct {
	Log *zap.Logger
	// Conn is a connection to the API server; nil makes one from Kubeconfig.
	Conn       *client.Conn
	Kubeconfig string
	// REST is how the API server is reached by REST, which happens once there
	// are custom resources or aggregated ones. Nil takes Kubeconfig; without
	// that those are left alone.
	REST func() (*rest.Config, error)
	// Listener is the port for gRPC, health and metrics; Run owns it. Nil serves
	// nothing.
	Listener net.Listener
	// TLS of the port.
	TLS *tls.Config
	// Allow decides who may call; nil allows the group system:masters.
	Allow func(user.Info) bool
	// Tracer records the pods that controllers create. Nil makes one that
	// reports to the API server if Conn is nil too, and else none.
	Tracer *trace.Tracer
	// Election, if set, has several managers agree on who of them works.
	Election *election.Config
	// Clock is the real one by default.
	Clock clock.WithTicker

	// Controllers says which run, as --controllers: names, "-name" for not,
	// and "*" for all that are on by default. Empty is "*".
	Controllers []string
	// Workers overrides how many keys a controller works on at once, by name.
	Workers map[string]int
	// RootCA, in PEM, is published in every namespace; without it nothing is.
	RootCA []byte
	// Signers is the authorities that sign certificates, by the names of the
	// signers (see AllSigners); requests to others wait. SigningDuration is how
	// long certificates are valid at most.
	Signers         map[string]Authority
	SigningDuration time.Duration
	// ServiceAccountKey signs the tokens in Secrets of the type
	// kubernetes.io/service-account-token; without it these stay empty.
	ServiceAccountKey crypto.Signer
	// LegacyTokenCleanUpPeriod is how long tokens in Secrets that were made by
	// themselves stay unused before they go.
	LegacyTokenCleanUpPeriod time.Duration

	// AllocateNodeCIDRs has nodes get their pods' address ranges from
	// ClusterCIDRs: one of a family, parts of MaskV4 and MaskV6 bits.
	AllocateNodeCIDRs bool
	ClusterCIDRs      []netip.Prefix
	MaskV4, MaskV6    int
	// ServiceCIDRs are kept out of ClusterCIDRs.
	ServiceCIDRs []netip.Prefix

	// NodeMonitorGracePeriod is how long a node may be silent, and
	// NodeStartupGracePeriod one that never reported.
	NodeMonitorGracePeriod, NodeStartupGracePeriod time.Duration
	// NodeEvictionRate is how many nodes of a zone are tainted per second,
	// SecondaryNodeEvictionRate how many in a large zone that is unhealthy.
	// Negative is none.
	NodeEvictionRate, SecondaryNodeEvictionRate float64
	LargeClusterSizeThreshold                   int
	UnhealthyZoneThreshold                      float64
	// TerminatedPodGCThreshold is how many ended pods may stay; negative is no
	// limit.
	TerminatedPodGCThreshold int
	// ResourceQuotaSyncPeriod is how often quotas are recounted even if nothing
	// was seen to change; zero is upstream's 5 minutes.
	ResourceQuotaSyncPeriod time.Duration
	// MaxEndpointsPerSlice bounds an EndpointSlice.
	MaxEndpointsPerSlice int32
	// MirroringMaxEndpointsPerSubset bounds an EndpointSlice that mirrors
	// Endpoints, MirroringUpdatesBatchPeriod gathers changes of those.
	MirroringMaxEndpointsPerSubset int
	MirroringUpdatesBatchPeriod    time.Duration
	// EndpointUpdatesBatchPeriod and EndpointSliceUpdatesBatchPeriod gather
	// changes of pods.
	EndpointUpdatesBatchPeriod, EndpointSliceUpdatesBatchPeriod time.Duration
	// ClaimSyncPeriod is how often claims that are not bound are told of again.
	ClaimSyncPeriod time.Duration
	// NoGarbageCollector is --enable-garbage-collector=false.
	NoGarbageCollector bool
}

// Authority is what a signer signs with.
type Authority = certificates.Authority

// AllSigners gives every signer of Kubernetes the same authority.
func AllSigners(a Authority) map[string]Authority {
	out := map[string]Authority{}
	for _, name := range certificates.Signers() {
		out[name] = a
	}
	return out
}

// Validate says what is missing or cannot be.
func (c *Config) Validate() error {
	switch {
	case c.Log == nil:
		return errors.New("the controller manager needs a logger")
	case c.Conn == nil && c.Kubeconfig == "":
		return errors.New("the controller manager needs a way to the API server: set --kubeconfig")
	case c.Election != nil && c.Election.Identity == "":
		return errors.New("the controller manager needs an identity to stand for election")
	case c.AllocateNodeCIDRs && len(c.ClusterCIDRs) == 0:
		return errors.New("Controller: Must specify --cluster-cidr if --allocate-node-cidrs is set")
	}
	for i, p := range c.ClusterCIDRs {
		if mask := c.mask(p); p.Bits() > mask {
			return fmt.Errorf("--cluster-cidr %s is smaller than a node's part of it, which is of %d bits", p, mask)
		}
		if i > 0 && p.Addr().Is4() == c.ClusterCIDRs[0].Addr().Is4() || i > 1 {
			return errors.New("--cluster-cidr has two ranges of one family")
		}
	}
	return unknownControllers(c.Controllers)
}

func (c *Config) mask(p netip.Prefix) int {
	switch {
	case p.Addr().Is4() && c.MaskV4 > 0:
		return c.MaskV4
	case p.Addr().Is4():
		return 24
	case c.MaskV6 > 0:
		return c.MaskV6
	}
	return 64
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func (c *Config) complete() {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if file := c.Kubeconfig; c.REST == nil && file != "" {
		c.REST = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", file) }
	}
	if len(c.Controllers) == 0 {
		c.Controllers = []string{"*"}
	}
	orElse(&c.NodeMonitorGracePeriod, 40*time.Second)
	orElse(&c.NodeStartupGracePeriod, time.Minute)
	orElse(&c.NodeEvictionRate, 0.1)
	orElse(&c.SecondaryNodeEvictionRate, 0.01)
	orElse(&c.LargeClusterSizeThreshold, 50)
	orElse(&c.UnhealthyZoneThreshold, 0.55)
	orElse(&c.TerminatedPodGCThreshold, 12500)
	orElse(&c.MaxEndpointsPerSlice, 100)
	orElse(&c.MirroringMaxEndpointsPerSubset, 1000)
	orElse(&c.LegacyTokenCleanUpPeriod, 365*24*time.Hour)
	orElse(&c.ClaimSyncPeriod, 15*time.Second)
	orElse(&c.SigningDuration, 365*24*time.Hour)
	c.Election = c.Election.WithDefaults("kube-controller-manager")
}
