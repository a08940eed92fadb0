package cluster

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Assume puts a pod on a node before the API server has heard of it.
func (s *State) Assume(p *Pod, node string) {
	s.forget(p.UID())
	s.place(p, node, true)
}

// Forget undoes Assume. It does nothing to a pod that was seen bound.
func (s *State) Forget(uid types.UID) (Event, bool) {
	at, ok := s.pods[uid]
	if !ok || !at.assumed {
		return Event{}, false
	}
	s.forget(uid)
	return Event{Kind: PodGone, OldPod: at.pod}, true
}

// SetPod records a pod that is bound to a node, and tells what that changed;
// nothing, if it confirms what was assumed or no other pod can notice.
func (s *State) SetPod(object *corev1.Pod) (Event, bool) {
	at, known := s.pods[object.UID]
	if !known {
		p := NewPod(object)
		s.place(p, object.Spec.NodeName, false)
		return Event{Kind: PodAssigned, Pod: p}, true
	}
	if at.node != object.Spec.NodeName {
		// Somebody else bound the pod, to another node than was assumed.
		old := at.pod
		s.forget(object.UID)
		p := NewPod(object)
		s.place(p, object.Spec.NodeName, false)
		return Event{Kind: PodChanged, OldPod: old, Pod: p}, true
	}
	at.assumed = false
	if sameForOthers(at.pod.Object, object) {
		s.refresh(at, object)
		return Event{}, false
	}
	old := at.pod
	s.forget(object.UID)
	p := NewPod(object)
	s.place(p, object.Spec.NodeName, false)
	return Event{Kind: PodChanged, OldPod: old, Pod: p}, true
}

// refresh swaps the object and keeps what was computed from it.
func (s *State) refresh(at *placed, object *corev1.Pod) {
	next := *at.pod
	next.Object = object
	if slot, ok := s.slots[at.node]; ok {
		s.Nodes[slot] = s.Nodes[slot].replacing(at.pod, &next)
	} else {
		list := s.stray[at.node]
		if i := slices.Index(list, at.pod); i >= 0 {
			list = slices.Clone(list)
			list[i] = &next
			s.stray[at.node] = list
		}
	}
	at.pod = &next
}

// RemovePod forgets a pod that is gone.
func (s *State) RemovePod(uid types.UID) (Event, bool) {
	at, ok := s.pods[uid]
	if !ok {
		return Event{}, false
	}
	s.forget(uid)
	return Event{Kind: PodGone, OldPod: at.pod}, true
}

func (s *State) place(p *Pod, node string, assumed bool) {
	s.pods[p.UID()] = &placed{pod: p, node: node, assumed: assumed}
	s.countKeys(p, 1)
	s.countClaims(p, 1)
	if slot, ok := s.slots[node]; ok {
		s.Nodes[slot] = s.Nodes[slot].With(p)
		s.record(Change{Slot: slot, Pod: p, Delta: 1})
		return
	}
	s.stray[node] = append(slices.Clip(s.stray[node]), p)
}

func (s *State) forget(uid types.UID) {
	at, ok := s.pods[uid]
	if !ok {
		return
	}
	delete(s.pods, uid)
	s.countKeys(at.pod, -1)
	s.countClaims(at.pod, -1)
	if slot, ok := s.slots[at.node]; ok {
		s.Nodes[slot] = s.Nodes[slot].Without(at.pod)
		s.record(Change{Slot: slot, Pod: at.pod, Delta: -1})
		return
	}
	list := slices.DeleteFunc(slices.Clone(s.stray[at.node]), func(p *Pod) bool { return p == at.pod })
	if len(list) == 0 {
		delete(s.stray, at.node)
		return
	}
	s.stray[at.node] = list
}

func (s *State) countClaims(p *Pod, delta int) {
	for _, name := range ClaimsOf(p.Object) {
		key := p.Object.Namespace + "/" + name
		if s.Claims[key] += delta; s.Claims[key] <= 0 {
			delete(s.Claims, key)
		}
	}
}

// ClaimsOf names the persistent volume claims of a pod, those of ephemeral
// volumes included.
func ClaimsOf(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, pod.Name+"-"+v.Name)
		}
	}
	return names
}
