package volumes

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// claimState is a claim and what decides about it.
type claimState struct {
	Claim *corev1.PersistentVolumeClaim
	// Volumes is all of them, for a claim that names none; Named is the one
	// it names, nil if that is not there.
	Volumes []*corev1.PersistentVolume
	Named   *corev1.PersistentVolume
	Classes []*storagev1.StorageClass
	// Waiting is the pods that use the claim and have no node.
	Waiting []string
	Resync  time.Duration
}

func (b *binder) observeClaim(k loop.Key, _ time.Time) (claimState, bool) {
	c, ok := cluster.Get[*corev1.PersistentVolumeClaim](b.claims, k.Namespace, k.Name)
	if !ok {
		return claimState{}, false
	}
	s := claimState{Claim: c, Resync: b.resync}
	if c.Spec.VolumeName != "" {
		s.Named, _ = cluster.Get[*corev1.PersistentVolume](b.volumes, "", c.Spec.VolumeName)
		return s, true
	}
	s.Volumes = cluster.List[*corev1.PersistentVolume](b.volumes, "")
	s.Classes = cluster.List[*storagev1.StorageClass](b.classes, "")
	for _, p := range cluster.By[*corev1.Pod](b.pods, byClaim, k.String()) {
		ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
		if !ended && p.Spec.NodeName == "" {
			s.Waiting = append(s.Waiting, p.Name)
		}
	}
	return s, true
}

func computeClaim(s claimState, _ time.Time) plan.Plan {
	switch {
	case metav1.HasAnnotation(s.Claim.ObjectMeta, helpers.AnnBindCompleted):
		return boundClaim(s)
	case s.Claim.Spec.VolumeName != "":
		return namedClaim(s)
	}
	return unboundClaim(s)
}

// unboundClaim looks for a volume, and else has one made.
func unboundClaim(s claimState) plan.Plan {
	delay, err := s.delays()
	if err != nil {
		return plan.Plan{Err: err}
	}
	v, err := match(s.Claim, s.Volumes, delay)
	if err != nil {
		return plan.Plan{Err: fmt.Errorf("error finding PV for claim %q: %w", s.key(), err)}
	}
	if v != nil {
		return bind(v, s.Claim)
	}
	if class := s.defaultClass(); class != "" && !hasClass(s.Claim) {
		c := s.Claim.DeepCopy()
		c.Spec.StorageClassName = &class
		return plan.Plan{Do: []plan.Action{plan.Update{Object: c}}}
	}
	p := plan.Plan{After: s.Resync}
	switch {
	case delay && !helpers.IsDelayBindingProvisioning(s.Claim):
		reason, message := waitForFirstConsumer, "waiting for first consumer to be created before binding"
		switch len(s.Waiting) {
		case 0:
		case 1:
			reason, message = waitForPodScheduled, fmt.Sprintf("waiting for pod %s to be scheduled", s.Waiting[0])
		default:
			reason, message = waitForPodScheduled, fmt.Sprintf("waiting for pods %s to be scheduled", strings.Join(s.Waiting, ","))
		}
		p.Add(event(s.Claim, corev1.EventTypeNormal, reason, message))
	case helpers.GetPersistentVolumeClaimClass(s.Claim) != "":
		return s.provision()
	default:
		p.Add(event(s.Claim, corev1.EventTypeNormal, failedBinding, "no persistent volumes available for this claim and no storage class is set"))
	}
	p.Add(claimPhase(s.Claim, corev1.ClaimPending)...)
	return p
}

func (s claimState) key() string { return s.Claim.Namespace + "/" + s.Claim.Name }

func (s claimState) class() *storagev1.StorageClass {
	name := helpers.GetPersistentVolumeClaimClass(s.Claim)
	for _, c := range s.Classes {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// delays tells whether the scheduler chooses first.
func (s claimState) delays() (bool, error) {
	c := s.class()
	if c == nil {
		return false, nil
	}
	if c.VolumeBindingMode == nil {
		return false, fmt.Errorf("VolumeBindingMode not set for StorageClass %q", c.Name)
	}
	return *c.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer, nil
}

func hasClass(c *corev1.PersistentVolumeClaim) bool {
	_, annotated := c.Annotations[corev1.BetaStorageClassAnnotation]
	return annotated || c.Spec.StorageClassName != nil
}

// defaultClass is the newest of the classes marked as default.
func (s claimState) defaultClass() string {
	var found []*storagev1.StorageClass
	for _, c := range s.Classes {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" || c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.MinFunc(found, func(a, b *storagev1.StorageClass) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	}).Name
}

// match finds the volume with the fewest access modes beside those asked for,
// and of these the smallest.
func match(c *corev1.PersistentVolumeClaim, all []*corev1.PersistentVolume, delay bool) (*corev1.PersistentVolume, error) {
	byModes := map[int][]*corev1.PersistentVolume{}
	var counts []int
	for _, v := range all {
		if !helpers.CheckAccessModes(c, v) {
			continue
		}
		n := len(v.Spec.AccessModes)
		if byModes[n] == nil {
			counts = append(counts, n)
		}
		byModes[n] = append(byModes[n], v)
	}
	slices.Sort(counts)
	for _, n := range counts {
		v, err := helpers.FindMatchingVolume(c, byModes[n], nil, nil, delay, true)
		if v != nil || err != nil {
			return v, err
		}
	}
	return nil, nil
}

// namedClaim is about a claim that names the volume it wants.
func namedClaim(s claimState) plan.Plan {
	v := s.Named
	pending := plan.Plan{Do: claimPhase(s.Claim, corev1.ClaimPending), After: s.Resync}
	switch {
	case v == nil:
		return pending
	case v.Spec.ClaimRef == nil:
		if err := satisfies(v, s.Claim); err != nil {
			pending.Do = append([]plan.Action{event(s.Claim, corev1.EventTypeWarning, volumeMismatch, fmt.Sprintf("Cannot bind to requested volume %q: %s", v.Name, err))}, pending.Do...)
			return pending
		}
		return bind(v, s.Claim)
	case helpers.IsVolumeBoundToClaim(v, s.Claim):
		return bind(v, s.Claim)
	}
	taken := event(s.Claim, corev1.EventTypeWarning, failedBinding, fmt.Sprintf("volume %q already bound to a different claim.", v.Name))
	if metav1.HasAnnotation(s.Claim.ObjectMeta, helpers.AnnBoundByController) {
		return plan.Plan{Do: []plan.Action{taken}, Err: fmt.Errorf("invalid binding of claim %q to volume %q: volume already claimed by %q",
			s.key(), v.Name, v.Spec.ClaimRef.Namespace+"/"+v.Spec.ClaimRef.Name)}
	}
	pending.Do = append([]plan.Action{taken}, pending.Do...)
	return pending
}

// boundClaim is about a claim that was bound once.
func boundClaim(s claimState) plan.Plan {
	lost := func(reason, message string) plan.Plan {
		if s.Claim.Status.Phase == corev1.ClaimLost {
			return plan.Plan{}
		}
		return plan.Plan{Do: append(claimPhase(s.Claim, corev1.ClaimLost), event(s.Claim, corev1.EventTypeWarning, reason, message))}
	}
	v := s.Named
	switch {
	case s.Claim.Spec.VolumeName == "":
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case v == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID == s.Claim.UID:
		return bind(v, s.Claim)
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// satisfies tells why a volume does not do for a claim.
func satisfies(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) error {
	have, want := v.Spec.Capacity[corev1.ResourceStorage], c.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case v.DeletionTimestamp != nil:
		return fmt.Errorf("the volume is marked for deletion %q", v.Name)
	case have.Value() < want.Value():
		return errors.New("requested PV is too small")
	case helpers.GetPersistentVolumeClass(v) != helpers.GetPersistentVolumeClaimClass(c):
		return errors.New("storageClassName does not match")
	case ptr.Deref(v.Spec.VolumeAttributesClassName, "") != ptr.Deref(c.Spec.VolumeAttributesClassName, ""):
		return errors.New("volumeAttributesClassName does not match")
	case helpers.CheckVolumeModeMismatches(&c.Spec, &v.Spec):
		return errors.New("incompatible volumeMode")
	case !helpers.CheckAccessModes(c, v):
		return errors.New("incompatible accessMode")
	}
	return nil
}

// claimPhase writes the phase of a claim without a volume, if it has another.
func claimPhase(c *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase) []plan.Action {
	if c.Status.Phase == phase && c.Status.AccessModes == nil && c.Status.Capacity == nil && c.Status.CurrentVolumeAttributesClassName == nil {
		return nil
	}
	c = c.DeepCopy()
	c.Status.Phase = phase
	c.Status.AccessModes, c.Status.Capacity, c.Status.CurrentVolumeAttributesClassName = nil, nil, nil
	return []plan.Action{plan.UpdateStatus(c)}
}
