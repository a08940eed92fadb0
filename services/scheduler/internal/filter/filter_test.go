package filter_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/harness"
)

// verdict runs one filter over a node with some pods on it.
func verdict(t *testing.T, name string, p *corev1.Pod, node *corev1.Node, on ...*corev1.Pod) *filter.Verdict {
	t.Helper()
	h := harness.New(t)
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

func selector(pairs ...string) harness.PodOption {
	return func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			p.Spec.NodeSelector[pairs[i]] = pairs[i+1]
		}
	}
}

func named(op corev1.NodeSelectorOperator, names ...string) harness.PodOption {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: op, Values: names},
				{Key: metav1.ObjectNameField, Operator: op, Values: []string{"n"}},
			}}},
		}}}
	}
}

func hostPort(ip string, port int32) harness.PodOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: port, HostPort: port, HostIP: ip}}
	}
}

func initContainers(p *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = []corev1.Container{
		{Name: "sidecar", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: harness.List("cpu", "1")}},
		{Name: "init", Resources: corev1.ResourceRequirements{Requests: harness.List("cpu", "2500m")}},
	}
	p.Spec.Overhead = harness.List("cpu", "600m")
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
		{"another node is named", filter.NodeName, harness.NewPod("p", harness.On("m")), harness.NewNode("n"), nil, []string{"node(s) didn't match the requested node name"}, true},
		{"this node is named", filter.NodeName, harness.NewPod("p", harness.On("n")), harness.NewNode("n"), nil, nil, false},
		{"cordoned", filter.NodeUnschedulable, harness.NewPod("p"), harness.NewNode("n", harness.Cordoned()), nil, []string{"node(s) were unschedulable"}, true},
		{"cordoned and tolerated", filter.NodeUnschedulable, harness.NewPod("p", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}}
		}), harness.NewNode("n", harness.Cordoned()), nil, nil, false},
		{"tainted", filter.TaintToleration, harness.NewPod("p"), harness.NewNode("n", harness.Taint("a", corev1.TaintEffectNoExecute)), nil, []string{"node(s) had untolerated taint(s)"}, true},
		{"a taint that only prefers", filter.TaintToleration, harness.NewPod("p"), harness.NewNode("n", harness.Taint("a", corev1.TaintEffectPreferNoSchedule)), nil, nil, false},
		{"selector", filter.NodeAffinity, harness.NewPod("p", selector(zone, "a")), harness.NewNode("n", harness.Label(zone, "b")), nil, []string{"node(s) didn't match Pod's node affinity/selector"}, true},
		{"selector matches", filter.NodeAffinity, harness.NewPod("p", selector(zone, "a")), harness.NewNode("n", harness.Label(zone, "a")), nil, nil, false},
		{"names that exclude each other", filter.NodeAffinity, harness.NewPod("p", named(corev1.NodeSelectorOpIn, "m")), harness.NewNode("n"), nil, []string{"pod affinity terms conflict"}, true},
		{"port in use", filter.NodePorts, harness.NewPod("p", hostPort("", 80)), harness.NewNode("n"), []*corev1.Pod{harness.NewPod("q", hostPort("127.0.0.1", 80))}, []string{"node(s) didn't have free ports for the requested pod ports"}, false},
		{"port in use on another address", filter.NodePorts, harness.NewPod("p", hostPort("10.0.0.1", 80)), harness.NewNode("n"), []*corev1.Pod{harness.NewPod("q", hostPort("127.0.0.1", 80))}, nil, false},
		{
			"several things are short", filter.NodeResourcesFit, harness.NewPod("p", harness.Requests("cpu", "3", "memory", "7Gi", "ephemeral-storage", "1Gi")), harness.NewNode("n", harness.Capacity("pods", "1")),
			[]*corev1.Pod{harness.NewPod("q", harness.Requests("cpu", "2", "memory", "2Gi"))},
			[]string{"Too many pods", "Insufficient cpu", "Insufficient memory"},
			false,
		},
		{"more than the node has", filter.NodeResourcesFit, harness.NewPod("p", harness.Requests("cpu", "5")), harness.NewNode("n"), nil, []string{"Insufficient cpu"}, true},
		{"zero of what the node lacks", filter.NodeResourcesFit, harness.NewPod("p", harness.Requests("example.com/gpu", "0")), harness.NewNode("n"), nil, nil, false},
		{"huge pages", filter.NodeResourcesFit, harness.NewPod("p", harness.Requests("hugepages-2Mi", "4Mi")), harness.NewNode("n", harness.Capacity("hugepages-2Mi", "2Mi")), nil, []string{"Insufficient hugepages-2Mi"}, true},
		{"init containers, sidecars and overhead count", filter.NodeResourcesFit, harness.NewPod("p", initContainers), harness.NewNode("n"), nil, []string{"Insufficient cpu"}, true},
		{"zone label is missing", filter.PodTopologySpread, harness.NewPod("p", harness.Spread(1, zone, corev1.DoNotSchedule, "a", "b")), harness.NewNode("n"), nil, []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true},
		{"nobody to be near", filter.InterPodAffinity, harness.NewPod("p", harness.Near(corev1.LabelHostname, "app", "db")), harness.NewNode("n"), nil, []string{"node(s) didn't match pod affinity rules"}, true},
		{"the first of its group", filter.InterPodAffinity, harness.NewPod("p", harness.Labels("app", "db"), harness.Near(corev1.LabelHostname, "app", "db")), harness.NewNode("n"), nil, nil, false},
		{"somebody to be away from", filter.InterPodAffinity, harness.NewPod("p", harness.Away(corev1.LabelHostname, "app", "db")), harness.NewNode("n"), []*corev1.Pod{harness.NewPod("q", harness.Labels("app", "db"))}, []string{"node(s) didn't match pod anti-affinity rules"}, false},
		{"somebody who wants to be away", filter.InterPodAffinity, harness.NewPod("p", harness.Labels("app", "db")), harness.NewNode("n"), []*corev1.Pod{harness.NewPod("q", harness.Away(corev1.LabelHostname, "app", "db"))}, []string{"node(s) didn't satisfy existing pods anti-affinity rules"}, false},
		{"the same in another namespace", filter.InterPodAffinity, harness.NewPod("p", harness.Labels("app", "db"), harness.In("other")), harness.NewNode("n"), []*corev1.Pod{harness.NewPod("q", harness.Away(corev1.LabelHostname, "app", "db"))}, nil, false},
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
	h := harness.New(t)
	h.SetClaim(&corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data"},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}},
	})
	s := cluster.NewState(h, h)
	s.SetNode(harness.NewNode("n1"))
	s.SetNode(harness.NewNode("n2"))
	user := cluster.NewPod(harness.NewPod("user", harness.Claim("data")))
	s.Assume(user, "n1")
	for _, f := range filter.All() {
		if f.Name() != filter.VolumeRestrictions {
			continue
		}
		check := f.Prepare(cluster.NewPod(harness.NewPod("p", harness.Claim("data"))), &s.View).Node
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
