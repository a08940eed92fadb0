package daemonset

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"coracle.local/services/controller-manager/internal/pods"
)

// fit tells which nodes a DaemonSet's pods go to. It is made once for all
// nodes, as parsing the affinity costs more than matching it.
type fit struct {
	node        string
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
}

func newFit(d *appsv1.DaemonSet) fit {
	s := d.Spec.Template.Spec
	return fit{node: s.NodeName, tolerations: tolerations(&s), affinity: nodeaffinity.NewRequiredNodeAffinity(s.NodeSelector, s.Affinity)}
}

// on tells whether a pod should be started on a node, and whether one that
// runs there should stay.
func (f fit) on(n *corev1.Node) (run, stay bool) {
	if f.node != "" && f.node != n.Name {
		return false, false
	}
	// An affinity that cannot be read matches as far as it can be.
	if ok, err := f.affinity.Match(n); err != nil || !ok {
		return false, false
	}
	_, refuses := helpers.FindMatchingUntoleratedTaint(klog.Logger{}, n.Spec.Taints, f.tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute || t.Effect == corev1.TaintEffectNoSchedule
	}, false)
	if !refuses {
		return true, true
	}
	_, evicts := helpers.FindMatchingUntoleratedTaint(klog.Logger{}, n.Spec.Taints, f.tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute
	}, false)
	return false, !evicts
}

// tolerations is the template's and those that let daemons stay on nodes in
// trouble.
func tolerations(s *corev1.PodSpec) []corev1.Toleration {
	out := slices.Clone(s.Tolerations)
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		for i := range out {
			if out[i].MatchToleration(&t) {
				out[i] = t
				return
			}
		}
		out = append(out, t)
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if s.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return out
}

// newPod is the pod for a node. The scheduler places it: its affinity is to
// this one node.
func (r *round) newPod(node string) *corev1.Pod {
	p := pods.FromTemplate(&r.Self.Spec.Template, r.Self)
	p.Spec.Tolerations = tolerations(&p.Spec)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = r.hash
	if g, ok := generation(r.Self); ok {
		p.Labels["pod-template-generation"] = g
	}
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	if p.Spec.Affinity.NodeAffinity == nil {
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	return p
}

// generation is the template's generation in an annotation of old.
func generation(d *appsv1.DaemonSet) (string, bool) {
	g, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]
	if _, err := strconv.ParseInt(g, 10, 64); !ok || err != nil {
		return "", false
	}
	return g, true
}

// target is the node that a pod is on or is meant for; empty if for none.
func target(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}
