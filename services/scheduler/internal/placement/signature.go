package placement

import (
	"encoding/binary"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/score"
	"coracle.local/services/scheduler/internal/spread"
)

// Signature spells everything that filters and scorers read of a pod. Pods
// with equal signatures are of one class. False means that the pod is one of a
// kind: it has volumes of its own, or names its node.
//
// Labels count only if somebody looks at them. Otherwise the pods of a
// StatefulSet, each of which carries its own name as a label, would be as many
// classes.
func Signature(p *cluster.Pod, s *cluster.State) (string, bool) {
	spec := &p.Object.Spec
	if spec.NodeName != "" || p.Invalid != nil || ownVolumes(spec) || pinned(spec) {
		return "", false
	}
	w := &writer{buffer: make([]byte, 0, 512)}
	w.text(p.Object.Namespace)
	w.labels(p, s)
	w.resources(p.Requests)
	w.resources(p.Scored)
	w.number(int64(len(p.HostPorts)))
	for _, hp := range p.HostPorts {
		w.text(hp.IP)
		w.text(string(hp.Protocol))
		w.number(int64(hp.Port))
	}
	w.sorted(spec.NodeSelector)
	w.number(int64(len(spec.Tolerations)))
	for i := range spec.Tolerations {
		w.message(&spec.Tolerations[i])
	}
	if spec.Affinity != nil {
		w.message(spec.Affinity)
	}
	w.number(int64(len(spec.TopologySpreadConstraints)))
	for i := range spec.TopologySpreadConstraints {
		w.message(&spec.TopologySpreadConstraints[i])
	}
	if len(spec.TopologySpreadConstraints) == 0 {
		for _, c := range spread.Default(p.Object, s.Workloads) {
			w.text(c.Selector.String())
		}
	}
	for _, image := range score.ImagesOf(p.Object) {
		w.text(image)
	}
	if w.failed {
		return "", false
	}
	return string(w.buffer), true
}

// ownVolumes tells whether the pod has volumes that filters look at.
func ownVolumes(spec *corev1.PodSpec) bool {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil || v.GCEPersistentDisk != nil ||
			v.AWSElasticBlockStore != nil || v.ISCSI != nil || v.RBD != nil {
			return true
		}
	}
	return false
}

// pinned tells whether the pod's affinity names nodes, as a DaemonSet's pods do.
func pinned(spec *corev1.PodSpec) bool {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return false
	}
	required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	return required != nil && slices.ContainsFunc(required.NodeSelectorTerms, func(t corev1.NodeSelectorTerm) bool {
		return len(t.MatchFields) > 0
	})
}

type writer struct {
	buffer []byte
	failed bool
}

func (w *writer) number(n int64) {
	w.buffer = binary.AppendVarint(w.buffer, n)
}

func (w *writer) text(s string) {
	w.number(int64(len(s)))
	w.buffer = append(w.buffer, s...)
}

func (w *writer) sorted(m map[string]string) {
	w.number(int64(len(m)))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		w.text(key)
		w.text(m[key])
	}
}

// labels writes those labels that the pod's own rules or other pods' affinity
// terms look at.
func (w *writer) labels(p *cluster.Pod, s *cluster.State) {
	own := map[string]bool{}
	see := func(key string) { own[key] = true }
	p.EachKey(see)
	for i := range p.Object.Spec.TopologySpreadConstraints {
		c := &p.Object.Spec.TopologySpreadConstraints[i]
		for _, key := range c.MatchLabelKeys {
			see(key)
		}
		eachSelectorKey(c.LabelSelector, see)
	}
	seen := map[string]string{}
	for key, value := range p.Object.Labels {
		if own[key] || s.LooksAt(key) {
			seen[key] = value
		}
	}
	w.sorted(seen)
}

func eachSelectorKey(s *metav1.LabelSelector, f func(string)) {
	if s == nil {
		return
	}
	for key := range s.MatchLabels {
		f(key)
	}
	for i := range s.MatchExpressions {
		f(s.MatchExpressions[i].Key)
	}
}

func (w *writer) resources(r cluster.Resources) {
	w.number(r.MilliCPU)
	w.number(r.Memory)
	w.number(r.EphemeralStorage)
	w.number(int64(len(r.Scalar)))
	for _, name := range slices.Sorted(maps.Keys(r.Scalar)) {
		w.text(string(name))
		w.number(r.Scalar[name])
	}
}

// message writes a part of the API as protobuf, whose maps are sorted.
func (w *writer) message(m interface{ Marshal() ([]byte, error) }) {
	b, err := m.Marshal()
	if err != nil {
		w.failed = true
		return
	}
	w.text(string(b))
}
