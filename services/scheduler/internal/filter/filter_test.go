package filter_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	. "coracle.local/services/scheduler/internal/harness"
)

// verdict runs one filter over a node with some pods on it.
func verdict(t *testing.T, name string, p *corev1.Pod, node *corev1.Node, on ...*corev1.Pod) *filter.Verdict {
	t.Helper()
	h := New(t)
	s := cluster.NewState(h, h)
	s.SetNode(node)
	for _, other := range on {
		s.Assume(cluster.NewPod(other), node.Name)
	}
	for _, f := range filter.All() {
		if f.Name() != name {
			continue
		}
		ready := f.Prepare(cluster.NewPod(p), &s.View)
		switch {
		case ready.All != nil:
			return ready.All
		case ready.Node != nil:
			return ready.Node.Node(s.Nodes[0])
		case ready.Topology != nil:
			var spots cluster.Spots
			ready.Topology.Register(&spots)
			return ready.Topology.Place(spots.At(0, make([]int64, spots.Width())))
		}
		return nil
	}
	t.Fatalf("no filter %s", name)
	return nil
}

func selector(pairs ...string) PodOption {
	return func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			p.Spec.NodeSelector[pairs[i]] = pairs[i+1]
		}
	}
}

func named(op corev1.NodeSelectorOperator, names ...string) PodOption {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: op, Values: names},
				{Key: metav1.ObjectNameField, Operator: op, Values: []string{"n"}}}}}}}}
	}
}

func hostPort(ip string, port int32) PodOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: port, HostPort: port, HostIP: ip}}
	}
}

func initContainers(p *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = []corev1.Container{
		{Name: "sidecar", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: List("cpu", "1")}},
		{Name: "init", Resources: corev1.ResourceRequirements{Requests: List("cpu", "2500m")}},
	}
	p.Spec.Overhead = List("cpu", "600m")
}

func TestFilters(t *testing.T) {
	zone := corev1.LabelTopologyZone
	tests := []struct {
		name, filter string
		pod          *corev1.Pod
		node         *corev1.Node
		on           []*corev1.Pod
		reasons      []string
		unresolvable bool
	}{
		{"another node is named", filter.NodeName, NewPod("p", On("m")), NewNode("n"), nil, []string{"node(s) didn't match the requested node name"}, true},
		{"this node is named", filter.NodeName, NewPod("p", On("n")), NewNode("n"), nil, nil, false},
		{"cordoned", filter.NodeUnschedulable, NewPod("p"), NewNode("n", Cordoned()), nil, []string{"node(s) were unschedulable"}, true},
		{"cordoned and tolerated", filter.NodeUnschedulable, NewPod("p", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}}
		}), NewNode("n", Cordoned()), nil, nil, false},
		{"tainted", filter.TaintToleration, NewPod("p"), NewNode("n", Taint("a", corev1.TaintEffectNoExecute)), nil, []string{"node(s) had untolerated taint(s)"}, true},
		{"a taint that only prefers", filter.TaintToleration, NewPod("p"), NewNode("n", Taint("a", corev1.TaintEffectPreferNoSchedule)), nil, nil, false},
		{"selector", filter.NodeAffinity, NewPod("p", selector(zone, "a")), NewNode("n", Label(zone, "b")), nil, []string{"node(s) didn't match Pod's node affinity/selector"}, true},
		{"selector matches", filter.NodeAffinity, NewPod("p", selector(zone, "a")), NewNode("n", Label(zone, "a")), nil, nil, false},
		{"names that exclude each other", filter.NodeAffinity, NewPod("p", named(corev1.NodeSelectorOpIn, "m")), NewNode("n"), nil, []string{"pod affinity terms conflict"}, true},
		{"port in use", filter.NodePorts, NewPod("p", hostPort("", 80)), NewNode("n"), []*corev1.Pod{NewPod("q", hostPort("127.0.0.1", 80))}, []string{"node(s) didn't have free ports for the requested pod ports"}, false},
		{"port in use on another address", filter.NodePorts, NewPod("p", hostPort("10.0.0.1", 80)), NewNode("n"), []*corev1.Pod{NewPod("q", hostPort("127.0.0.1", 80))}, nil, false},
		{"several things are short", filter.NodeResourcesFit, NewPod("p", Requests("cpu", "3", "memory", "7Gi", "ephemeral-storage", "1Gi")), NewNode("n", Capacity("pods", "1")),
			[]*corev1.Pod{NewPod("q", Requests("cpu", "2", "memory", "2Gi"))}, []string{"Too many pods", "Insufficient cpu", "Insufficient memory"}, false},
		{"more than the node has", filter.NodeResourcesFit, NewPod("p", Requests("cpu", "5")), NewNode("n"), nil, []string{"Insufficient cpu"}, true},
		{"zero of what the node lacks", filter.NodeResourcesFit, NewPod("p", Requests("example.com/gpu", "0")), NewNode("n"), nil, nil, false},
		{"huge pages", filter.NodeResourcesFit, NewPod("p", Requests("hugepages-2Mi", "4Mi")), NewNode("n", Capacity("hugepages-2Mi", "2Mi")), nil, []string{"Insufficient hugepages-2Mi"}, true},
		{"init containers, sidecars and overhead count", filter.NodeResourcesFit, NewPod("p", initContainers), NewNode("n"), nil, []string{"Insufficient cpu"}, true},
		{"zone label is missing", filter.PodTopologySpread, NewPod("p", Spread(1, zone, corev1.DoNotSchedule, "a", "b")), NewNode("n"), nil, []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true},
		{"nobody to be near", filter.InterPodAffinity, NewPod("p", Near(corev1.LabelHostname, "app", "db")), NewNode("n"), nil, []string{"node(s) didn't match pod affinity rules"}, true},
		{"the first of its group", filter.InterPodAffinity, NewPod("p", Labels("app", "db"), Near(corev1.LabelHostname, "app", "db")), NewNode("n"), nil, nil, false},
		{"somebody to be away from", filter.InterPodAffinity, NewPod("p", Away(corev1.LabelHostname, "app", "db")), NewNode("n"), []*corev1.Pod{NewPod("q", Labels("app", "db"))}, []string{"node(s) didn't match pod anti-affinity rules"}, false},
		{"somebody who wants to be away", filter.InterPodAffinity, NewPod("p", Labels("app", "db")), NewNode("n"), []*corev1.Pod{NewPod("q", Away(corev1.LabelHostname, "app", "db"))}, []string{"node(s) didn't satisfy existing pods anti-affinity rules"}, false},
		{"the same in another namespace", filter.InterPodAffinity, NewPod("p", Labels("app", "db"), In("other")), NewNode("n"), []*corev1.Pod{NewPod("q", Away(corev1.LabelHostname, "app", "db"))}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := verdict(t, tt.filter, tt.pod, tt.node, tt.on...)
			if v == nil {
				v = &filter.Verdict{}
			}
			if !slices.Equal(v.Reasons, tt.reasons) || v.Unresolvable != tt.unresolvable {
				t.Errorf("verdict is %+v", v)
			}
		})
	}
}

func TestReadWriteOncePod(t *testing.T) {
	h := New(t)
	h.SetClaim(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}}})
	s := cluster.NewState(h, h)
	s.SetNode(NewNode("n1"))
	s.SetNode(NewNode("n2"))
	user := cluster.NewPod(NewPod("user", Claim("data")))
	s.Assume(user, "n1")
	for _, f := range filter.All() {
		if f.Name() != filter.VolumeRestrictions {
			continue
		}
		check := f.Prepare(cluster.NewPod(NewPod("p", Claim("data"))), &s.View).Node
		for _, n := range s.Nodes {
			if v := check.Node(n); v == nil || v.Unresolvable {
				t.Errorf("%s: verdict is %+v", n.Name(), v)
			}
		}
		// Preemption may take the user from its node, and only there.
		if v := check.Node(s.Nodes[0].Without(user)); v != nil {
			t.Errorf("without the user: verdict is %+v", v)
		}
	}
}
