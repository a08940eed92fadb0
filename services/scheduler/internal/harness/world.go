package harness

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/storage"
)

// Create adds a pod.
func (h *Harness) Create(p *corev1.Pod) {
	if _, ok := h.pods[key(p)]; ok {
		h.Fatalf("pod %s exists", key(p))
	}
	h.store(p)
}

// Change updates a pod.
func (h *Harness) Change(name string, change func(*corev1.Pod)) {
	p, ok := h.pods[name]
	if !ok {
		h.Fatalf("no pod %s", name)
	}
	next := p.DeepCopy()
	change(next)
	h.store(next)
}

func (h *Harness) store(p *corev1.Pod) {
	h.version++
	p.ResourceVersion = strconv.Itoa(h.version)
	h.pods[key(p)] = p
	h.Engine.PodSeen(p)
}

// Delete removes a pod at once.
func (h *Harness) Delete(name string) {
	p, ok := h.pods[name]
	if !ok {
		h.Fatalf("no pod %s", name)
	}
	delete(h.pods, name)
	h.Engine.PodGone(p)
}

// AddNode adds or updates nodes.
func (h *Harness) AddNode(nodes ...*corev1.Node) {
	for _, n := range nodes {
		h.Engine.NodeSeen(n)
	}
}

// Bind is engine.Binder.
func (h *Harness) Bind(p *corev1.Pod, node string, done func(error)) {
	h.Asked = append(h.Asked, Binding{Pod: key(p), Node: node, uid: p.UID, done: done})
	h.answer(func() { done(h.bind(p, node)) })
}

func (h *Harness) bind(p *corev1.Pod, node string) error {
	if h.Refuse != nil {
		if err := h.Refuse(p, node); err != nil {
			return err
		}
	}
	have, ok := h.pods[key(p)]
	switch {
	case !ok || have.UID != p.UID:
		return apierrors.NewNotFound(corev1.Resource("pods"), p.Name)
	case have.Spec.NodeName != "":
		return apierrors.NewConflict(corev1.Resource("pods/binding"), p.Name,
			fmt.Errorf("pod %s is already assigned to node %q", p.Name, have.Spec.NodeName))
	}
	next := have.DeepCopy()
	next.Spec.NodeName = node
	h.store(next)
	return nil
}

// WriteStatus is engine.StatusWriter.
func (h *Harness) WriteStatus(p *corev1.Pod, change engine.StatusChange) {
	h.Statuses = append(h.Statuses, change)
	h.answer(func() {
		have, ok := h.pods[key(p)]
		if !ok || have.UID != p.UID {
			return
		}
		next := have.DeepCopy()
		if change.Condition != nil {
			set(&next.Status, *change.Condition)
		}
		if change.Nominated != nil {
			next.Status.NominatedNodeName = *change.Nominated
		}
		h.store(next)
	})
}

func set(s *corev1.PodStatus, c corev1.PodCondition) {
	for i := range s.Conditions {
		if s.Conditions[i].Type == c.Type {
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// Evict is engine.Evictor: the victims begin to terminate.
func (h *Harness) Evict(victims []*corev1.Pod, _ *corev1.Pod, _ string, done func(error)) {
	h.answer(func() {
		for _, v := range victims {
			have, ok := h.pods[key(v)]
			if !ok || have.UID != v.UID {
				continue
			}
			next := have.DeepCopy()
			now := metav1.NewTime(h.Clock.Now())
			next.DeletionTimestamp = &now
			set(&next.Status, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: corev1.PodReasonPreemptionByScheduler,
			})
			h.store(next)
		}
		done(nil)
	})
}

// Finish ends all pods that terminate.
func (h *Harness) Finish() {
	for _, name := range h.Pods() {
		if h.pods[name].DeletionTimestamp != nil {
			h.Delete(name)
		}
	}
}

// BindVolumes is engine.VolumeBinder: volumes are bound and provisioned at once,
// and the controller's part is done too.
func (h *Harness) BindVolumes(_ *corev1.Pod, node string, plan storage.Plan, done func(error)) {
	h.answer(func() {
		done(nil)
		for _, b := range plan.Bindings {
			h.finishClaim(b.Claim, b.Volume.Name)
		}
		for _, claim := range plan.Provision {
			h.finishClaim(claim, "made-for-"+node)
		}
	})
}

func (h *Harness) finishClaim(claim *corev1.PersistentVolumeClaim, volume string) {
	next := claim.DeepCopy()
	next.Spec.VolumeName = volume
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, storage.AnnotationBindCompleted, "yes")
	next.Status.Phase = corev1.ClaimBound
	if h.volumes[volume] == nil {
		h.volumes[volume] = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: volume}}
	}
	h.SetClaim(next)
}

// SetClaim adds or updates a claim.
func (h *Harness) SetClaim(c *corev1.PersistentVolumeClaim) {
	h.claims[c.Namespace+"/"+c.Name] = c
	h.Engine.StorageSeen(cluster.ClaimChanged, c.Namespace, c.Name)
}

// SetVolume adds or updates a volume.
func (h *Harness) SetVolume(v *corev1.PersistentVolume) {
	h.volumes[v.Name] = v
	h.Engine.StorageSeen(cluster.VolumeChanged, "", v.Name)
}

// SetClass adds or updates a storage class.
func (h *Harness) SetClass(c *storagev1.StorageClass) {
	h.classes[c.Name] = c
	h.Engine.StorageSeen(cluster.ClassChanged, "", c.Name)
}

// SetBudgets replaces the disruption budgets.
func (h *Harness) SetBudgets(b ...*policyv1.PodDisruptionBudget) { h.budgets = b }

// SetSiblings makes the pods that carry a label siblings of each other.
func (h *Harness) SetSiblings(label string) { h.siblings[label] = true }

// Budgets is engine.Budgets.
func (h *Harness) Budgets() []*policyv1.PodDisruptionBudget { return h.budgets }

// Siblings is cluster.Workloads.
func (h *Harness) Siblings(p *corev1.Pod) labels.Selector {
	for label := range h.siblings {
		if value, ok := p.Labels[label]; ok {
			return labels.SelectorFromSet(labels.Set{label: value})
		}
	}
	return labels.Everything()
}

// Claim is cluster.Volumes.
func (h *Harness) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return h.claims[namespace+"/"+name]
}

// Volume is cluster.Volumes.
func (h *Harness) Volume(name string) *corev1.PersistentVolume { return h.volumes[name] }

// VolumesOf is cluster.Volumes.
func (h *Harness) VolumesOf(class string) []*corev1.PersistentVolume {
	var list []*corev1.PersistentVolume
	for _, v := range h.volumes {
		if storage.ClassOfVolume(v) == class {
			list = append(list, v)
		}
	}
	return list
}

// Class is cluster.Volumes.
func (h *Harness) Class(name string) *storagev1.StorageClass { return h.classes[name] }
