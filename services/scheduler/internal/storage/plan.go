package storage

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"coracle.local/services/scheduler/internal/cluster"
)

// Reasons why a node is out of the question.
const (
	ReasonNodeConflict = "node(s) didn't match PersistentVolume's node affinity"
	ReasonBindConflict = "node(s) didn't find available persistent volumes to bind"
	ReasonNoVolume     = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
)

// Plan is what must happen to a pod's claims before it can run on a node.
type Plan struct {
	Bindings []Binding
	// Provision are claims whose volume has yet to be made.
	Provision []*corev1.PersistentVolumeClaim
}

// Binding gives a free volume to a claim.
type Binding struct {
	Claim  *corev1.PersistentVolumeClaim
	Volume *corev1.PersistentVolume
}

// Empty plans need no work.
func (p Plan) Empty() bool { return len(p.Bindings) == 0 && len(p.Provision) == 0 }

// On makes a plan for a node, or gives the reasons why there is none. taken
// tells which volumes are promised to others.
func (c *Claims) On(node *corev1.Node, volumes cluster.Volumes, taken func(volume string) bool) (Plan, []string) {
	var reasons []string
	onNode, exist := boundFit(c.Bound, node, volumes)
	if !onNode {
		reasons = append(reasons, ReasonNodeConflict)
	}
	plan, ok := planWaiting(c.Waiting, node, volumes, taken)
	if !ok {
		reasons = append(reasons, ReasonBindConflict)
	}
	if !exist {
		reasons = append(reasons, ReasonNoVolume)
	}
	return plan, reasons
}

func boundFit(claims []*corev1.PersistentVolumeClaim, node *corev1.Node, volumes cluster.Volumes) (onNode, exist bool) {
	for _, claim := range claims {
		v := volumes.Volume(claim.Spec.VolumeName)
		if v == nil {
			return true, false
		}
		if !reaches(v, node) {
			return false, true
		}
	}
	return true, true
}

// reaches tells whether a volume can be used on a node.
func reaches(v *corev1.PersistentVolume, node *corev1.Node) bool {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return true
	}
	selector, err := nodeaffinity.NewNodeSelector(v.Spec.NodeAffinity.Required)
	return err == nil && selector.Match(node)
}

func planWaiting(claims []*corev1.PersistentVolumeClaim, node *corev1.Node, volumes cluster.Volumes, taken func(string) bool) (Plan, bool) {
	var plan Plan
	var search []*corev1.PersistentVolumeClaim
	for _, claim := range claims {
		selected, ok := claim.Annotations[AnnotationSelectedNode]
		switch {
		case !ok:
			search = append(search, claim)
		case selected != node.Name:
			return Plan{}, false
		default:
			plan.Provision = append(plan.Provision, claim)
		}
	}
	// The smallest claims choose first, so that they leave the large volumes.
	slices.SortStableFunc(search, func(a, b *corev1.PersistentVolumeClaim) int { return size(a).Cmp(*size(b)) })
	chosen := map[string]bool{}
	for _, claim := range search {
		v := smallest(claim, node, volumes, func(name string) bool { return chosen[name] || taken(name) })
		if v == nil {
			plan.Provision = append(plan.Provision, claim)
			continue
		}
		chosen[v.Name] = true
		plan.Bindings = append(plan.Bindings, Binding{Claim: claim, Volume: v})
	}
	for _, claim := range plan.Provision {
		if !provisionable(claim, node, volumes) {
			return Plan{}, false
		}
	}
	return plan, true
}

// smallest finds the volume that somebody reserved for the claim, or else the
// smallest free one that serves it.
func smallest(claim *corev1.PersistentVolumeClaim, node *corev1.Node, volumes cluster.Volumes, taken func(string) bool) *corev1.PersistentVolume {
	selector, err := metav1.LabelSelectorAsSelector(claim.Spec.Selector)
	if err != nil {
		return nil
	}
	if claim.Spec.Selector == nil {
		selector = labels.Everything()
	}
	var best *corev1.PersistentVolume
	for _, v := range volumes.VolumesOf(classOf(claim)) {
		if taken(v.Name) || !serves(v, claim) {
			continue
		}
		if v.Spec.ClaimRef != nil {
			if !reservedFor(v, claim) {
				continue
			}
			if !reaches(v, node) {
				return nil
			}
			return v
		}
		if v.Status.Phase != corev1.VolumeAvailable || !selector.Matches(labels.Set(v.Labels)) || !modes(v, claim) || !reaches(v, node) {
			continue
		}
		if best == nil || cmp.Or(capacity(v).Cmp(*capacity(best)), cmp.Compare(v.Name, best.Name)) < 0 {
			best = v
		}
	}
	return best
}

// serves compares what never changes: capacity, mode and attributes class.
func serves(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	if v.DeletionTimestamp != nil || capacity(v).Cmp(*size(claim)) < 0 {
		return false
	}
	return deref(v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) == deref(claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) &&
		deref(v.Spec.VolumeAttributesClassName, "") == deref(claim.Spec.VolumeAttributesClassName, "")
}

func modes(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	for _, want := range claim.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, want) {
			return false
		}
	}
	return true
}

func reservedFor(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == "" || ref.UID == claim.UID)
}

// provisionable tells whether a volume for the claim can be made for the node.
func provisionable(claim *corev1.PersistentVolumeClaim, node *corev1.Node, volumes cluster.Volumes) bool {
	class := volumes.Class(classOf(claim))
	if class == nil || class.Provisioner == "" || class.Provisioner == noProvisioner {
		return false
	}
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	for _, term := range class.AllowedTopologies {
		if len(term.MatchLabelExpressions) > 0 && termMatches(term, node) {
			return true
		}
	}
	return false
}

func termMatches(term corev1.TopologySelectorTerm, node *corev1.Node) bool {
	for _, e := range term.MatchLabelExpressions {
		value, ok := node.Labels[e.Key]
		if !ok || !slices.Contains(e.Values, value) {
			return false
		}
	}
	return true
}
