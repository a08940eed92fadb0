package resourceclaims

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// computePod makes what is missing, writes the names into the pod's status, and
// reserves claims for a pod that was placed without the scheduler.
func computePod(s podState, _ time.Time) plan.Plan {
	made := map[string]string{} // entry -> claim
	var create plan.Parallel
	var entries []string
	for i := range s.Pod.Spec.ResourceClaims {
		r := &s.Pod.Spec.ResourceClaims[i]
		claim, missing, err := s.claimFor(r)
		switch {
		case err != nil:
			return plan.Plan{
				Do:  []plan.Action{failure(s.Pod, r, err.Error())},
				Err: fmt.Errorf("pod %s/%s, PodResourceClaim %s: %w", s.Pod.Namespace, s.Pod.Name, r.Name, err),
			}
		case missing != nil:
			create.Parts = append(create.Parts, plan.Create{Object: missing, Say: plan.Say{About: s.Pod, Failed: plan.Note{
				Reason: "FailedResourceClaimCreation", Format: fmt.Sprintf("PodResourceClaim %s: create ResourceClaim %s: %%v", r.Name, missing.Name),
			}}})
			entries = append(entries, r.Name)
		case claim != "":
			made[r.Name] = claim
		}
	}
	if len(create.Parts) == 0 {
		return s.publish(made)
	}
	return plan.Plan{Do: []plan.Action{create}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		for i, r := range out.Results[0].Each {
			if r.Object != nil {
				made[entries[i]] = r.Object.GetName()
			}
		}
		return s.publish(made)
	}}
}

func failure(p *corev1.Pod, r *corev1.PodResourceClaim, message string) plan.Action {
	return plan.Event{
		About: p, Type: corev1.EventTypeWarning, Reason: "FailedResourceClaimCreation",
		Message: fmt.Sprintf("PodResourceClaim %s: %s", r.Name, message),
	}
}

// claimFor is the claim of an entry that the status does not name yet, or the
// one to make for it. Neither means that there is nothing to do.
func (s podState) claimFor(r *corev1.PodResourceClaim) (name string, missing *resourcev1.ResourceClaim, err error) {
	name, generated, known := claimName(s.Pod, r)
	if known {
		have := s.Named[name]
		if name == "" || !generated || have != nil && metav1.IsControlledBy(have, s.Pod) {
			return "", nil, nil
		}
	}
	if r.ResourceClaimTemplateName == nil {
		return "", nil, nil
	}
	if have := s.Made[r.Name]; have != nil {
		return have.Name, nil, nil
	}
	template := s.Templates[*r.ResourceClaimTemplateName]
	if template == nil {
		missing := apierrors.NewNotFound(resourcev1.Resource("resourceclaimtemplate"), *r.ResourceClaimTemplateName)
		return "", nil, fmt.Errorf("resource claim template %q: %w", *r.ResourceClaimTemplateName, missing)
	}
	return "", fromTemplate(s.Pod, r.Name, template), nil
}

// maxBase leaves room for a hyphen and five random characters in a name.
const maxBase = 57

func fromTemplate(p *corev1.Pod, entry string, t *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	annotations := maps.Clone(t.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = entry
	base := p.Name + "-" + entry + "-"
	if n := len(base); n > maxBase {
		base = p.Name[:len(p.Name)*maxBase/n] + "-" + entry[:len(entry)*maxBase/n]
	}
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, GenerateName: base, Annotations: annotations, Labels: t.Spec.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, Controller: ptr.To(true)}},
		},
		Spec: t.Spec.Spec,
	}
}

// publish writes the names of generated claims, and then reserves.
func (s podState) publish(made map[string]string) plan.Plan {
	if len(made) == 0 {
		return s.reserve()
	}
	type entry struct {
		Name              string `json:"name"`
		ResourceClaimName string `json:"resourceClaimName"`
	}
	var entries []entry
	for _, name := range slices.Sorted(maps.Keys(made)) {
		entries = append(entries, entry{name, made[name]})
	}
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.Pod.UID}, "status": map[string]any{"resourceClaimStatuses": entries},
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return plan.Plan{Do: []plan.Action{plan.Patch{
		Kind: kinds.For[*corev1.Pod](), Namespace: s.Pod.Namespace, Name: s.Pod.Name, Subresource: "status",
		Type: types.StrategicMergePatchType, Data: data, MayMiss: true,
	}}}
}

// reserve holds allocated claims for a pod that has a node.
func (s podState) reserve() plan.Plan {
	var p plan.Plan
	if s.Pod.Spec.NodeName == "" {
		return p
	}
	for i := range s.Pod.Spec.ResourceClaims {
		name, generated, known := claimName(s.Pod, &s.Pod.Spec.ResourceClaims[i])
		c := s.Named[name]
		if !known || c == nil || c.Status.Allocation == nil || len(c.Status.ReservedFor) >= resourcev1.ResourceClaimReservedForMaxSize {
			continue
		}
		if generated && !metav1.IsControlledBy(c, s.Pod) {
			p.Err = fmt.Errorf("ResourceClaim %s/%s was not created for Pod %s/%s (Pod is not owner)", c.Namespace, c.Name, s.Pod.Namespace, s.Pod.Name)
			return p
		}
		if slices.ContainsFunc(c.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == s.Pod.UID }) {
			continue
		}
		c = c.DeepCopy()
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: s.Pod.Name, UID: s.Pod.UID})
		p.Add(plan.UpdateStatus(c))
	}
	return p
}
