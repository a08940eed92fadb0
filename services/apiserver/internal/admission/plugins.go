package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth/authz/rbac"
)

// Config is what the plugins are made of.
type Config struct {
	Reader     Reader
	Live       Live // optional; without it the Reader alone counts
	Authorizer authorizer.UnconditionalAuthorizer
	// Escalation guards writes of roles and bindings. It is no plugin of
	// upstream's and cannot be turned off; nil leaves it out.
	Escalation *rbac.Escalation
	// Enable and Disable are the names of --enable-admission-plugins and
	// --disable-admission-plugins.
	Enable, Disable []string
	// The seconds of DefaultTolerationSeconds; nil is upstream's 300.
	NotReadyTolerationSeconds, UnreachableTolerationSeconds *int64
	Clock                                                   clock.Clock // optional
}

// plugin is a row of the table of plugins.
type plugin struct {
	name      string
	byDefault bool
	// make returns a Mutator, a Validator or both. Nil means that upstream
	// has this plugin and we do not.
	make func(Config) any
}

const (
	on  = true
	off = false
)

// plugins are in upstream's order, in which they run.
func plugins() []plugin {
	return []plugin{
		{"AlwaysAdmit", off, func(Config) any { return struct{}{} }},
		{"NamespaceAutoProvision", off, nil},
		{"NamespaceLifecycle", on, func(c Config) any { return newNamespaceLifecycle(c) }},
		{"NamespaceExists", off, nil},
		{"LimitPodHardAntiAffinityTopology", off, nil},
		{"LimitRanger", on, func(c Config) any { return &limitRanger{c.lookup()} }},
		{"ServiceAccount", on, func(c Config) any { return newServiceAccount(c) }},
		{"NodeRestriction", off, func(c Config) any { return &nodeRestriction{c.lookup(), c.Authorizer} }},
		{"TaintNodesByCondition", on, func(Config) any { return taintNodes{} }},
		{"AlwaysPullImages", off, func(Config) any { return alwaysPullImages{} }},
		{"ImagePolicyWebhook", off, nil},
		{"PodSecurity", on, func(c Config) any { return &podSecurity{lookup: c.lookup(), clock: c.Clock} }},
		{"PodNodeSelector", off, nil},
		{"Priority", on, func(c Config) any { return &priority{c.lookup()} }},
		{"DefaultTolerationSeconds", on, func(c Config) any { return newDefaultTolerations(c) }},
		{"PodTolerationRestriction", off, nil},
		{"EventRateLimit", off, nil},
		{"ExtendedResourceToleration", off, nil},
		{"DefaultStorageClass", on, func(c Config) any { return &defaultStorageClass{c.Reader} }},
		{"StorageObjectInUseProtection", on, func(Config) any { return storageProtection{} }},
		{"PodGroupProtection", on, nil},
		{"OwnerReferencesPermissionEnforcement", off, nil},
		{"PersistentVolumeClaimResize", on, func(c Config) any { return &claimResize{c.lookup()} }},
		{"RuntimeClass", on, func(c Config) any { return &runtimeClass{c.lookup()} }},
		{"CertificateApproval", on, func(c Config) any { return &certificateApproval{c.Authorizer} }},
		{"CertificateSigning", on, func(c Config) any { return &certificateSigning{c.Authorizer} }},
		{"ClusterTrustBundleAttest", on, func(c Config) any { return &trustBundleAttest{c.Authorizer} }},
		{"CertificateSubjectRestriction", on, func(Config) any { return subjectRestriction{} }},
		{"DefaultIngressClass", on, func(c Config) any { return &defaultIngressClass{c.Reader} }},
		{"DenyServiceExternalIPs", off, func(Config) any { return denyExternalIPs{} }},
		{"PodTopologyLabels", on, func(c Config) any { return &topologyLabels{c.lookup()} }},
		{"NodeDeclaredFeatureValidator", on, nil},
		{"PodResizeValidator", on, func(c Config) any { return &podResize{c.lookup()} }},
		{"MutatingAdmissionPolicy", on, nil},
		{"MutatingAdmissionWebhook", on, nil},
		{"ValidatingAdmissionPolicy", on, nil},
		{"ValidatingAdmissionWebhook", on, nil},
		{"ResourceQuota", on, nil},
		{"AlwaysDeny", off, func(Config) any { return alwaysDeny{} }},
	}
}

// New returns the chain of the plugins that are on. Unavailable are names of
// Enable that upstream knows and we do not have.
func New(c Config) (chain *Chain, unavailable []string, err error) {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	table := plugins()
	if err := checkNames(table, c.Enable, c.Disable); err != nil {
		return nil, nil, err
	}
	chain = &Chain{}
	if c.Escalation != nil {
		chain.Validators = append(chain.Validators, escalation{c.Escalation})
	}
	for _, p := range table {
		asked := slices.Contains(c.Enable, p.name)
		switch {
		case p.make == nil && asked:
			unavailable = append(unavailable, p.name)
			continue
		case p.make == nil || slices.Contains(c.Disable, p.name) || (!p.byDefault && !asked):
			continue
		}
		made := p.make(c)
		if m, ok := made.(Mutator); ok {
			chain.Mutators = append(chain.Mutators, m)
		}
		if v, ok := made.(Validator); ok {
			chain.Validators = append(chain.Validators, v)
		}
	}
	return chain, unavailable, nil
}

func checkNames(table []plugin, enable, disable []string) error {
	known := map[string]bool{}
	for _, p := range table {
		known[p.name] = true
	}
	var both []string
	for _, name := range enable {
		if !known[name] {
			return fmt.Errorf("enable-admission-plugins plugin %q is unknown", name)
		}
		if slices.Contains(disable, name) {
			both = append(both, name)
		}
	}
	for _, name := range disable {
		if !known[name] {
			return fmt.Errorf("disable-admission-plugins plugin %q is unknown", name)
		}
	}
	if len(both) > 0 {
		return fmt.Errorf("[%s] in enable-admission-plugins and disable-admission-plugins overlapped", strings.Join(both, " "))
	}
	return nil
}

func (c Config) lookup() lookup { return lookup{c.Reader, c.Live} }

// wait sleeps, unless the request ends first.
func wait(ctx context.Context, c clock.Clock, d time.Duration) error {
	timer := c.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}

// escalation runs the check of roles and bindings as a validator.
type escalation struct{ check *rbac.Escalation }

func (e escalation) Validate(ctx context.Context, a *Attributes) error {
	if a.Object == nil || a.Subresource != "" || (a.Operation != Create && a.Operation != Update) {
		return nil
	}
	return e.check.Check(ctx, a.User, a.Namespace, a.Object, a.Old)
}

type alwaysDeny struct{}

func (alwaysDeny) Validate(_ context.Context, a *Attributes) error {
	return forbidden(a, errors.New("admission control is denying all modifications"))
}
