package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
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
	// Dynamic are the plugins that objects of the API configure.
	Dynamic Dynamic
	// Enable and Disable are the names of --enable-admission-plugins and
	// --disable-admission-plugins.
	Enable, Disable []string
	// The seconds of DefaultTolerationSeconds; nil is upstream's 300.
	NotReadyTolerationSeconds, UnreachableTolerationSeconds *int64
	Clock                                                   clock.Clock // optional
	// Configuration is each plugin's own, by its name, as YAML or JSON.
	Configuration map[string][]byte
	// Kinds finds a kind that is served; nil knows those of the table.
	Kinds func(schema.GroupVersionKind) *kinds.Kind
	// ChargeQuota stores what ResourceQuota charges.
	ChargeQuota ChargeQuota
	// CreateNamespace makes the namespaces that NamespaceAutoProvision misses.
	CreateNamespace func(ctx context.Context, name string) error

	settings settings
}

// Dynamic are the plugins that live outside this package; one that is nil is
// left out.
type Dynamic struct {
	MutatingPolicies, MutatingWebhooks     Mutator
	ValidatingPolicies, ValidatingWebhooks Validator
	// Rights guards writes of policies, like Escalation those of roles.
	Rights Validator
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
		{"NamespaceAutoProvision", off, func(c Config) any { return &autoProvision{c.lookup(), c.CreateNamespace} }},
		{"NamespaceLifecycle", on, func(c Config) any { return newNamespaceLifecycle(c) }},
		{"NamespaceExists", off, func(c Config) any { return &namespaceExists{c.lookup()} }},
		{"LimitPodHardAntiAffinityTopology", off, func(Config) any { return antiAffinityTopology{} }},
		{"LimitRanger", on, func(c Config) any { return &limitRanger{c.lookup()} }},
		{"ServiceAccount", on, func(c Config) any { return newServiceAccount(c) }},
		{"NodeRestriction", off, func(c Config) any { return &nodeRestriction{c.lookup(), c.Authorizer} }},
		{"TaintNodesByCondition", on, func(Config) any { return taintNodes{} }},
		{"AlwaysPullImages", off, func(Config) any { return alwaysPullImages{} }},
		{"ImagePolicyWebhook", off, func(c Config) any { return newImagePolicy(c) }},
		{"PodSecurity", on, func(c Config) any { return newPodSecurity(c) }},
		{"PodNodeSelector", off, func(c Config) any { return &podNodeSelector{c.lookup(), c.settings.nodeSelectors} }},
		{"Priority", on, func(c Config) any { return &priority{c.lookup()} }},
		{"DefaultTolerationSeconds", on, func(c Config) any { return newDefaultTolerations(c) }},
		{"PodTolerationRestriction", off, func(c Config) any { return &tolerationRestriction{c.lookup(), c.settings.tolerations} }},
		{"EventRateLimit", off, func(c Config) any { return newEventRateLimit(c) }},
		{"ExtendedResourceToleration", off, func(Config) any { return extendedResourceToleration{} }},
		{"DefaultStorageClass", on, func(c Config) any { return &defaultStorageClass{c.Reader} }},
		{"StorageObjectInUseProtection", on, func(Config) any { return storageProtection{} }},
		// It guards a kind behind a gate that is off.
		{"PodGroupProtection", on, func(Config) any { return struct{}{} }},
		{"OwnerReferencesPermissionEnforcement", off, func(c Config) any { return newOwnerReferences(c) }},
		{"PersistentVolumeClaimResize", on, func(c Config) any { return &claimResize{c.lookup()} }},
		{"RuntimeClass", on, func(c Config) any { return &runtimeClass{c.lookup()} }},
		{"CertificateApproval", on, func(c Config) any { return &certificateApproval{c.Authorizer} }},
		{"CertificateSigning", on, func(c Config) any { return &certificateSigning{c.Authorizer} }},
		{"ClusterTrustBundleAttest", on, func(c Config) any { return &trustBundleAttest{c.Authorizer} }},
		{"CertificateSubjectRestriction", on, func(Config) any { return subjectRestriction{} }},
		{"DefaultIngressClass", on, func(c Config) any { return &defaultIngressClass{c.Reader} }},
		{"DenyServiceExternalIPs", off, func(Config) any { return denyExternalIPs{} }},
		{"PodTopologyLabels", on, func(c Config) any { return &topologyLabels{c.lookup()} }},
		{"NodeDeclaredFeatureValidator", on, func(c Config) any { return newDeclaredFeatures(c) }},
		{"PodResizeValidator", on, func(c Config) any { return &podResize{c.lookup()} }},
		{"MutatingAdmissionPolicy", on, func(c Config) any { return c.Dynamic.MutatingPolicies }},
		{"MutatingAdmissionWebhook", on, func(c Config) any { return c.Dynamic.MutatingWebhooks }},
		{"ValidatingAdmissionPolicy", on, func(c Config) any { return c.Dynamic.ValidatingPolicies }},
		{"ValidatingAdmissionWebhook", on, func(c Config) any { return c.Dynamic.ValidatingWebhooks }},
		{"ResourceQuota", on, func(c Config) any { return newResourceQuota(c) }},
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
	if c.settings, err = readSettings(c); err != nil {
		return nil, nil, err
	}
	chain = &Chain{
		Permitters: []Permitter{&claimRights{c.lookup(), c.Authorizer}},
		Validators: []Validator{&podCertificateSigning{c.Authorizer}},
	}
	if c.Escalation != nil {
		chain.Validators = append(chain.Validators, escalation{c.Escalation})
	}
	if c.Dynamic.Rights != nil {
		chain.Validators = append(chain.Validators, c.Dynamic.Rights)
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
