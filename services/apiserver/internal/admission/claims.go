package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth"
)

// claimRights guards devices: administrators' access to them is for namespaces
// that are labelled so, who is given a device is for schedulers to say, and what
// is said of it for its driver.
type claimRights struct {
	lookup     lookup
	authorizer authorizer.UnconditionalAuthorizer
}

// Permit implements Permitter.
func (p *claimRights) Permit(ctx context.Context, a *Attributes) field.ErrorList {
	switch o := a.Object.(type) {
	case *resourcev1.ResourceClaim:
		old, _ := a.Old.(*resourcev1.ResourceClaim)
		switch {
		case a.Operation == Create:
			return p.requests(ctx, a.Namespace, o.Spec.Devices.Requests)
		case a.Subresource == "status" && old != nil:
			return p.status(ctx, a, &o.Status, &old.Status)
		}
	case *resourcev1.ResourceClaimTemplate:
		if a.Operation == Create {
			return p.requests(ctx, a.Namespace, o.Spec.Spec.Devices.Requests)
		}
	}
	return nil
}

// requests checks what a new claim asks for; it never changes.
func (p *claimRights) requests(ctx context.Context, namespace string, requests []resourcev1.DeviceRequest) field.ErrorList {
	i := slices.IndexFunc(requests, func(r resourcev1.DeviceRequest) bool {
		return r.Exactly != nil && ptr.Deref(r.Exactly.AdminAccess, false)
	})
	if i < 0 {
		return nil
	}
	return p.administered(ctx, namespace, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
}

// administered refuses access to devices that others use, unless the namespace
// is one for that.
func (p *claimRights) administered(ctx context.Context, namespace string, path *field.Path) field.ErrorList {
	ns, err := find[*corev1.Namespace](ctx, p.lookup, "", namespace)
	switch {
	case err != nil:
		return field.ErrorList{field.InternalError(path, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	case ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] != "true":
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
	}
	return nil
}

func (p *claimRights) status(ctx context.Context, a *Attributes, now, before *resourcev1.ResourceClaimStatus) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	if i := administrated(now.Allocation); i >= 0 && administrated(before.Allocation) < 0 {
		errs = p.administered(ctx, a.Namespace, path.Child("allocation", "devices", "results").Index(i).Child("adminAccess"))
	}
	if !equality.Semantic.DeepEqual(now.Allocation, before.Allocation) || !equality.Semantic.DeepEqual(now.ReservedFor, before.ReservedFor) {
		if err := p.allowed(ctx, a, resourcev1.SubresourceBinding, a.verb(), "", ""); err != nil {
			errs = append(errs, field.Forbidden(path.Child("allocation"), fmt.Sprintf(
				`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, a.verb(), err)))
		}
	}
	if now.Allocation == nil {
		return errs
	}
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + a.verb()}
	if onNode(a.User, nodeOf(now.Allocation)) {
		verbs = []string{resourcev1.VerbPrefixAssociatedNode + a.verb(), verbs[0]}
	}
	for _, driver := range changedDrivers(now.Devices, before.Devices) {
		if err := p.driver(ctx, a, verbs, driver); err != nil {
			errs = append(errs, field.Forbidden(path.Child("devices"), fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, err)))
		}
	}
	return errs
}

// administrated is the first result with administrators' access, -1 if none has.
func administrated(a *resourcev1.AllocationResult) int {
	if a == nil {
		return -1
	}
	return slices.IndexFunc(a.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
		return ptr.Deref(r.AdminAccess, false)
	})
}

// driver asks for any of the verbs; the first refusal is told.
func (p *claimRights) driver(ctx context.Context, a *Attributes, verbs []string, driver string) error {
	var first error
	for _, verb := range verbs {
		err := p.allowed(ctx, a, resourcev1.SubresourceDriver, verb, a.Namespace, driver)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (p *claimRights) allowed(ctx context.Context, a *Attributes, subresource, verb, namespace, name string) error {
	asked := authorizer.AttributesRecord{
		User: a.User, Verb: verb, Namespace: namespace, Name: name, APIGroup: a.Kind.Group, APIVersion: a.Kind.Version,
		Resource: a.Kind.Plural, Subresource: subresource, ResourceRequest: true,
	}
	decision, reason, err := p.authorizer.Authorize(ctx, asked)
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return auth.Forbidden(asked, reason)
}

// nodeOf is the one node that an allocation is for, if it is for one.
func nodeOf(a *resourcev1.AllocationResult) string {
	if a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := a.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return ""
	}
	f := term.MatchFields[0]
	if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// onNode tells whether a user is the account of a pod on the node.
func onNode(u user.Info, node string) bool {
	if node == "" || u == nil {
		return false
	}
	_, _, err := serviceaccount.SplitUsername(u.GetName())
	nodes := u.GetExtra()[serviceaccount.NodeNameKey]
	return err == nil && len(nodes) == 1 && nodes[0] == node && len(apivalidation.NameIsDNSSubdomain(node, false)) == 0
}

// changedDrivers are the drivers of devices of which other things are said than
// before, sorted.
func changedDrivers(now, before []resourcev1.AllocatedDeviceStatus) []string {
	type key struct{ driver, pool, device, share string }
	of := func(d *resourcev1.AllocatedDeviceStatus) key {
		return key{d.Driver, d.Pool, d.Device, ptr.Deref(d.ShareID, "")}
	}
	had := map[key]*resourcev1.AllocatedDeviceStatus{}
	for i := range before {
		had[of(&before[i])] = &before[i]
	}
	drivers := map[string]bool{}
	for i := range now {
		k := of(&now[i])
		if old := had[k]; old == nil || !equality.Semantic.DeepEqual(*old, now[i]) {
			drivers[k.driver] = true
		}
		delete(had, k)
	}
	for k := range had {
		drivers[k.driver] = true
	}
	return slices.Sorted(maps.Keys(drivers))
}
