// Package resourceclaims makes the ResourceClaims that pods ask for by
// templates, and takes back what ended pods held.
package resourceclaims

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
)

const (
	name      = "resourceclaim-controller"
	component = "resource_claim"
	// byClaim is the index of pods by the claims they use, byOwner of claims by
	// the UID of the pod they were made for, byTemplate of pods by templates.
	byClaim    = "resourceclaim"
	byOwner    = "resourceclaim-owner"
	byTemplate = "resourceclaim-template"
)

type controller struct {
	pods, claims, templates cluster.Cache
}

// New is resourceclaim-controller: one loop makes claims for pods, the other
// cleans claims up.
func New(d loop.Deps) []loop.Loop {
	c := &controller{
		pods: cluster.Of[*corev1.Pod](d.API), claims: cluster.Of[*resourcev1.ResourceClaim](d.API),
		templates: cluster.Of[*resourcev1.ResourceClaimTemplate](d.API),
	}
	c.pods.Index(byClaim, claimIndex)
	c.pods.Index(byTemplate, templateIndex)
	c.claims.Index(byOwner, ownerIndex)
	return []loop.Loop{
		loop.New(d, loop.Spec[loop.Key, podState]{
			Name: name, Part: "pods", Component: component,
			Sources: []loop.Source[loop.Key]{
				{Cache: c.pods, Keys: func(_, after kinds.Object) []loop.Key {
					if p, ok := after.(*corev1.Pod); !ok || !uses(p) || p.DeletionTimestamp != nil {
						return nil
					}
					return owner.Self(nil, after)
				}},
				{Cache: c.claims, Keys: c.podsOfClaim},
				{Cache: c.templates, Keys: c.podsOfTemplate},
			},
			Observe: c.observePod, Compute: computePod,
		}),
		loop.New(d, loop.Spec[loop.Key, claimState]{
			Name: name, Part: "claims", Component: component,
			Sources: []loop.Source[loop.Key]{
				{Cache: c.claims, Keys: func(before, after kinds.Object) []loop.Key {
					if after == nil {
						return nil
					}
					return owner.Self(before, after)
				}},
				{Cache: c.pods, Keys: claimsOfPod},
			},
			Observe: c.observeClaim, Compute: computeClaim,
		}),
	}
}

// uses tells whether a pod has anything to do with claims.
func uses(p *corev1.Pod) bool {
	return len(p.Spec.ResourceClaims) > 0 || p.Status.ExtendedResourceClaimStatus != nil
}

// done tells whether a pod will never need its claims again.
func done(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded || p.DeletionTimestamp != nil && p.Spec.NodeName == ""
}

// claimName is the claim behind an entry of a pod: generated ones stand in the
// status. known is false while nobody made it; an empty name is none needed.
func claimName(p *corev1.Pod, r *corev1.PodResourceClaim) (name string, generated, known bool) {
	if r.ResourceClaimName != nil {
		return *r.ResourceClaimName, false, true
	}
	for _, s := range p.Status.ResourceClaimStatuses {
		if s.Name == r.Name {
			if s.ResourceClaimName == nil {
				return "", true, true
			}
			return *s.ResourceClaimName, true, true
		}
	}
	return "", true, false
}

func claimNames(p *corev1.Pod) []string {
	var out []string
	for i := range p.Spec.ResourceClaims {
		if name, _, known := claimName(p, &p.Spec.ResourceClaims[i]); known && name != "" {
			out = append(out, name)
		}
	}
	if s := p.Status.ExtendedResourceClaimStatus; s != nil && s.ResourceClaimName != "" {
		out = append(out, s.ResourceClaimName)
	}
	return out
}

func claimIndex(v any) ([]string, error) {
	p, ok := v.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var out []string
	for _, name := range claimNames(p) {
		out = append(out, p.Namespace+"/"+name)
	}
	return out, nil
}

func templateIndex(v any) ([]string, error) {
	p, ok := v.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var out []string
	for _, r := range p.Spec.ResourceClaims {
		if r.ResourceClaimTemplateName != nil {
			out = append(out, p.Namespace+"/"+*r.ResourceClaimTemplateName)
		}
	}
	return out, nil
}

func ownerIndex(v any) ([]string, error) {
	c, ok := v.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, nil
	}
	if r := owningPod(c); r != nil {
		return []string{string(r.UID)}, nil
	}
	return nil, nil
}

// owningPod is the pod a claim was made for, nil if it was not.
func owningPod(c *resourcev1.ResourceClaim) *metav1.OwnerReference {
	if r := metav1.GetControllerOfNoCopy(c); r != nil && r.APIVersion == "v1" && r.Kind == "Pod" {
		return r
	}
	return nil
}

func (c *controller) podsOfClaim(before, after kinds.Object) []loop.Key {
	return c.podsBy(byClaim, owner.Self(before, after)[0])
}

func (c *controller) podsOfTemplate(before, after kinds.Object) []loop.Key {
	return c.podsBy(byTemplate, owner.Self(before, after)[0])
}

func (c *controller) podsBy(index string, k loop.Key) []loop.Key {
	var out []loop.Key
	for _, p := range cluster.By[*corev1.Pod](c.pods, index, k.String()) {
		if p.DeletionTimestamp == nil {
			out = append(out, owner.Self(nil, p)...)
		}
	}
	return out
}

// claimsOfPod is the claims of a pod that needs them no longer.
func claimsOfPod(before, after kinds.Object) []loop.Key {
	p, ok := after.(*corev1.Pod)
	if !ok {
		p, _ = before.(*corev1.Pod)
	}
	if p == nil || !uses(p) || after != nil && !done(p) {
		return nil
	}
	var out []loop.Key
	for _, name := range claimNames(p) {
		out = append(out, loop.Key{Namespace: p.Namespace, Name: name})
	}
	return out
}

// podState is a pod and what there is of its claims.
type podState struct {
	Pod *corev1.Pod
	// Named is the claims that the pod names, by name; Made those that were
	// made for it, by the entry they are for.
	Named, Made map[string]*resourcev1.ResourceClaim
	Templates   map[string]*resourcev1.ResourceClaimTemplate
}

func (c *controller) observePod(k loop.Key, _ time.Time) (podState, bool) {
	p, ok := cluster.Get[*corev1.Pod](c.pods, k.Namespace, k.Name)
	if !ok || p.DeletionTimestamp != nil || done(p) || !uses(p) {
		return podState{}, false
	}
	s := podState{p, map[string]*resourcev1.ResourceClaim{}, map[string]*resourcev1.ResourceClaim{}, map[string]*resourcev1.ResourceClaimTemplate{}}
	for _, name := range claimNames(p) {
		if claim, ok := cluster.Get[*resourcev1.ResourceClaim](c.claims, k.Namespace, name); ok {
			s.Named[name] = claim
		}
	}
	for _, claim := range cluster.By[*resourcev1.ResourceClaim](c.claims, byOwner, string(p.UID)) {
		s.Made[claim.Annotations[resourcev1.PodResourceClaimAnnotation]] = claim
	}
	for _, r := range p.Spec.ResourceClaims {
		if r.ResourceClaimTemplateName == nil {
			continue
		}
		if t, ok := cluster.Get[*resourcev1.ResourceClaimTemplate](c.templates, k.Namespace, *r.ResourceClaimTemplateName); ok {
			s.Templates[t.Name] = t
		}
	}
	return s, true
}

// claimState is a claim and the pods it knows of, nil where no cache has one.
type claimState struct {
	Claim *resourcev1.ResourceClaim
	Pods  map[string]*corev1.Pod
}

func (c *controller) observeClaim(k loop.Key, _ time.Time) (claimState, bool) {
	claim, ok := cluster.Get[*resourcev1.ResourceClaim](c.claims, k.Namespace, k.Name)
	if !ok {
		return claimState{}, false
	}
	s := claimState{claim, map[string]*corev1.Pod{}}
	note := func(name string) {
		if p, ok := cluster.Get[*corev1.Pod](c.pods, k.Namespace, name); ok {
			s.Pods[name] = p
		}
	}
	for _, r := range claim.Status.ReservedFor {
		note(r.Name)
	}
	if r := owningPod(claim); r != nil {
		note(r.Name)
	}
	return s, true
}
