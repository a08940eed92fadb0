// Package node decides what a kubelet may do: it sees what the pods bound to
// its node need, and no more.
package node

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
)

// Authorizer decides requests of kubelets. It is an auth.Observer of pods
// and persistent volumes.
type Authorizer struct {
	relations relations
	// rules are for the resources that all nodes may use alike.
	rules *rbac.RuleSet
}

var (
	_ authorizer.UnconditionalAuthorizer = (*Authorizer)(nil)
	_ authorizer.RuleResolver            = (*Authorizer)(nil)
	_ auth.Observer                      = (*Authorizer)(nil)
)

// New returns an authorizer that knows no pod yet. Rules are what all nodes
// may do (bootstrap.NodeRules).
func New(reader auth.Reader, rules []rbacv1.PolicyRule) *Authorizer {
	return &Authorizer{
		relations: relations{reader: reader, volumes: newVolumes(), nodes: map[string]map[podKey]*pod{}, where: map[podKey]string{}},
		rules:     rbac.Compile(rules),
	}
}

// Watches names the kinds the authorizer keeps indexes of.
func (a *Authorizer) Watches() []*kinds.Kind {
	return []*kinds.Kind{kinds.For[*corev1.Pod](), kinds.For[*corev1.PersistentVolume]()}
}

// Observe takes a change into an index.
func (a *Authorizer) Observe(c auth.Change) {
	if c.Kind.Kind == "Pod" {
		a.relations.observe(c)
		return
	}
	a.relations.volumes.observe(c)
}

// RulesFor says that a kubelet's rights cannot be listed.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, ok := auth.NodeName(u); ok {
		return nil, nil, true, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, nil, false, nil
}

// answer is a decision with its reason. The zero answer has no opinion.
type answer struct {
	allowed bool
	reason  string
}

func allow() answer { return answer{allowed: true} }

func no(format string, args ...any) answer {
	if len(args) == 0 {
		return answer{reason: format}
	}
	return answer{reason: fmt.Sprintf(format, args...)}
}

// Authorize allows a kubelet what it needs and has no opinion about the rest,
// nor about anybody else.
func (a *Authorizer) Authorize(_ context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	name, ok := auth.NodeName(attributes.GetUser())
	if !ok {
		return authorizer.DecisionNoOpinion, "", nil
	}
	var result answer
	if name == "" {
		result = no("unknown node for user %q", attributes.GetUser().GetName())
	} else {
		result = a.decide(name, attributes)
	}
	if result.allowed {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, result.reason, nil
}

func (a *Authorizer) decide(node string, r authorizer.Attributes) answer {
	if r.IsResourceRequest() {
		if decide := a.decider(r.GetAPIGroup(), r.GetResource()); decide != nil {
			return decide(node, r)
		}
	}
	return answer{allowed: a.rules.Allows(r)}
}

func (a *Authorizer) decider(group, resource string) func(string, authorizer.Attributes) answer {
	switch group {
	case "":
		switch resource {
		case "secrets":
			return a.readNamespaced(a.relations.secret)
		case "configmaps":
			return a.readNamespaced(a.relations.configMap)
		case "persistentvolumeclaims":
			return a.volumeClaim
		case "persistentvolumes":
			return a.get(a.relations.volume)
		case "serviceaccounts":
			return a.serviceAccount
		case "nodes":
			return nodeObject
		case "pods":
			return a.pod
		}
	case "resource.k8s.io":
		switch resource {
		case "resourceclaims":
			return a.get(a.relations.resourceClaim)
		case "resourceslices":
			return a.resourceSlice
		}
	case "storage.k8s.io":
		switch resource {
		case "volumeattachments":
			return a.get(a.relations.volumeAttachment)
		case "csinodes":
			return csiNode
		}
	case "coordination.k8s.io":
		if resource == "leases" {
			return lease
		}
	case "certificates.k8s.io":
		if resource == "podcertificaterequests" {
			return a.podCertificateRequest
		}
	}
	return nil
}

// related tells whether an object has to do with a pod of the node.
type related func(node, namespace, name string) bool

func relation(node string, r authorizer.Attributes, has related) answer {
	if r.GetName() == "" {
		return no("No Object name found")
	}
	if !has(node, r.GetNamespace(), r.GetName()) {
		return no("no relationship found between node '%s' and this object", node)
	}
	return allow()
}

// get allows reading one related object.
func (a *Authorizer) get(has related) func(string, authorizer.Attributes) answer {
	return func(node string, r authorizer.Attributes) answer {
		switch {
		case r.GetVerb() != "get":
			return no("can only get individual resources of this type")
		case r.GetSubresource() != "":
			return no("cannot get subresource")
		}
		return relation(node, r, has)
	}
}

// readNamespaced allows reading and watching one related object.
func (a *Authorizer) readNamespaced(has related) func(string, authorizer.Attributes) answer {
	return func(node string, r authorizer.Attributes) answer {
		switch v := r.GetVerb(); {
		case v != "get" && v != "list" && v != "watch":
			return no("can only read resources of this type")
		case r.GetSubresource() != "":
			return no("cannot read subresource")
		case r.GetNamespace() == "":
			return no("can only read namespaced object of this type")
		}
		return relation(node, r, has)
	}
}

// selects tells whether a list or watch is restricted to a field's value.
func selects(r authorizer.Attributes, field, value string) bool {
	requirements, _ := r.GetFieldSelector()
	for _, q := range requirements {
		if q.Field == field && q.Operator == selection.Equals && q.Value == value {
			return true
		}
	}
	return false
}
