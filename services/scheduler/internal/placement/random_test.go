package placement_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/harness"
	"coracle.local/services/scheduler/internal/placement"
)

// apps is cluster.Workloads and cluster.Volumes: pods with the same app label
// are siblings, and there is no storage.
type apps struct{}

func (apps) Siblings(p *corev1.Pod) labels.Selector {
	if p.Labels["sibling"] == "" {
		return labels.Everything()
	}
	return labels.SelectorFromSet(labels.Set{"app": p.Labels["app"]})
}

func (apps) Claim(string, string) *corev1.PersistentVolumeClaim { return nil }
func (apps) Volume(string) *corev1.PersistentVolume             { return nil }
func (apps) VolumesOf(string) []*corev1.PersistentVolume        { return nil }
func (apps) Class(string) *storagev1.StorageClass               { return nil }

// templates are pods that exercise every kind of rule.
func templates() []func(name string) *corev1.Pod {
	zone, host := corev1.LabelTopologyZone, corev1.LabelHostname
	build := func(options ...harness.PodOption) func(string) *corev1.Pod {
		return func(name string) *corev1.Pod { return harness.NewPod(name, options...) }
	}
	prefer := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{
			NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: 7, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: zone, Operator: corev1.NodeSelectorOpIn, Values: []string{"z1", "z2"}},
				}}},
			}},
			PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
				{Weight: 30, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: zone, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}}},
			}},
			PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
				{Weight: 60, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: host, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "b"}}}},
			}},
		}
	}
	port := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	}
	tolerant := func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
		p.Spec.NodeSelector = map[string]string{zone: "z1"}
	}
	return []func(string) *corev1.Pod{
		build(harness.Labels("app", "a"), harness.Requests("cpu", "300m", "memory", "200Mi")),
		build(harness.Labels("app", "b", "sibling", "yes"), harness.Requests("cpu", "100m", "memory", "900Mi")),
		build(harness.Labels("app", "c"), harness.Spread(1, zone, corev1.DoNotSchedule, "app", "c"), harness.Spread(1, host, corev1.ScheduleAnyway, "app", "c"), harness.Requests("cpu", "50m")),
		build(harness.Labels("app", "d"), harness.Away(host, "app", "d"), harness.Requests("cpu", "10m")),
		build(harness.Labels("app", "e"), harness.Near(zone, "app", "e"), harness.Away("rack", "app", "a")),
		build(harness.Labels("app", "a"), harness.Away(zone, "app", "f")),
		build(harness.Labels("app", "f"), prefer, harness.Requests("cpu", "200m", "example.com/gpu", "1")),
		build(harness.Labels("app", "g"), port),
		build(harness.Labels("app", "h", "sibling", "yes"), tolerant, harness.Spread(2, "rack", corev1.ScheduleAnyway, "app", "h")),
	}
}

func randomNode(r *rand.Rand, i int) *corev1.Node {
	n := harness.NewNode(fmt.Sprintf("n%02d", i), harness.Capacity("pods", "6", "example.com/gpu", "2", "cpu", fmt.Sprint(1+r.IntN(4))))
	if r.IntN(8) > 0 {
		n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("z%d", r.IntN(3))
	}
	if r.IntN(3) > 0 {
		n.Labels["rack"] = fmt.Sprintf("r%d", r.IntN(6))
	}
	switch r.IntN(8) {
	case 0:
		harness.Taint("dedicated", corev1.TaintEffectNoSchedule)(n)
	case 1:
		harness.Taint("slow", corev1.TaintEffectPreferNoSchedule)(n)
	case 2:
		harness.Cordoned()(n)
	}
	if r.IntN(3) == 0 {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"image:latest"}, SizeBytes: int64(r.IntN(900)) << 20}}
	}
	return n
}

// TestRepairedClassesEqualNewOnes changes a cluster at random and compares the
// classes that were repaired with ones that are made from nothing.
func TestRepairedClassesEqualNewOnes(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { compare(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func compare(t *testing.T, r *rand.Rand) {
	s := cluster.NewState(apps{}, apps{})
	s.SetNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	for i := range 24 {
		s.SetNode(randomNode(r, i))
	}
	classes := placement.NewClasses(s)
	kinds := templates()
	var placed []*cluster.Pod
	for i := range 300 {
		p := cluster.NewPod(kinds[r.IntN(len(kinds))](fmt.Sprintf("p%03d", i)))
		c := classes.Of(p)
		got, want := c.Report(), placement.New(p, &s.View).Report()
		if !reflect.DeepEqual(got, want) {
			for k := range got {
				if !reflect.DeepEqual(got[k], want[k]) {
					t.Errorf("step %d, pod %v: repaired %+v, new %+v", i, p.Object.Labels, got[k], want[k])
				}
			}
			t.FailNow()
		}
		choice, ok := c.Choose(nil)
		checkBest(t, got, choice, ok)
		if ok {
			s.Assume(p, choice.Node)
			placed = append(placed, p)
		}
		disturb(r, s, &placed)
	}
	if classes.Repaired == 0 {
		t.Error("no class was ever repaired")
	}
}

func checkBest(t *testing.T, report []placement.NodeReport, choice placement.Choice, ok bool) {
	t.Helper()
	feasible, best := 0, int64(-1)
	for _, n := range report {
		if len(n.Verdicts) == 0 {
			feasible++
			best = max(best, n.Total)
		}
	}
	if ok != (feasible > 0) || (ok && (choice.Score != best || choice.Feasible != feasible)) {
		t.Fatalf("chose %+v (%v), of %d feasible nodes the best has %d", choice, ok, feasible, best)
	}
	if ok && report[choice.Slot].Total != best {
		t.Fatalf("%s has %d, the best %d", choice.Node, report[choice.Slot].Total, best)
	}
}

// disturb sometimes removes a pod, lets one terminate, or changes a node.
func disturb(r *rand.Rand, s *cluster.State, placed *[]*cluster.Pod) {
	switch r.IntN(12) {
	case 0, 1, 2:
		if list := *placed; len(list) > 0 {
			i := r.IntN(len(list))
			s.RemovePod(list[i].UID())
			*placed = append(list[:i:i], list[i+1:]...)
		}
	case 3:
		if list := *placed; len(list) > 0 {
			p := list[r.IntN(len(list))]
			_, node, _ := s.Lookup(p.UID())
			next := p.Object.DeepCopy()
			now := metav1.NewTime(harness.Start())
			next.DeletionTimestamp, next.Spec.NodeName = &now, node
			s.SetPod(next)
		}
	case 4:
		n := s.Nodes[r.IntN(len(s.Nodes))].Object.DeepCopy()
		n.Spec.Unschedulable = !n.Spec.Unschedulable
		s.SetNode(n)
	case 5:
		n := s.Nodes[r.IntN(len(s.Nodes))].Object.DeepCopy()
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"image:latest"}, SizeBytes: int64(r.IntN(900)) << 20}}
		s.SetNode(n)
	case 6:
		if r.IntN(4) == 0 {
			n := s.Nodes[r.IntN(len(s.Nodes))]
			s.RemoveNode(n.Name())
			s.SetNode(n.Object)
		}
	}
}

// TestTrialsLeaveNoTrace tries pods on nodes and compares the class afterwards
// with one that never did.
func TestTrialsLeaveNoTrace(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s := cluster.NewState(apps{}, apps{})
	for i := range 12 {
		s.SetNode(randomNode(r, i))
	}
	kinds := templates()
	for i, kind := range kinds {
		s.Assume(cluster.NewPod(kind(fmt.Sprint("old", i))), fmt.Sprintf("n%02d", r.IntN(12)))
	}
	for i, kind := range kinds {
		p := cluster.NewPod(kind(fmt.Sprint("new", i)))
		c := placement.New(p, &s.View)
		want := c.Report()
		for slot, n := range s.Nodes {
			trial := c.Try(slot)
			for _, old := range n.Pods {
				trial.Remove(old)
			}
			other := cluster.NewPod(kinds[r.IntN(len(kinds))](fmt.Sprint("other", i, slot)))
			trial.Add(other)
			got := trial.Verdict()
			fork := cluster.Fork(s.Snapshot())
			for _, old := range n.Pods {
				fork.RemovePod(old.UID())
			}
			fork.Assume(other, n.Name())
			fresh := placement.New(p, &fork.View)
			fresh.Choose(nil)
			if alike := fresh.VerdictAt(slot); !reflect.DeepEqual(got, alike) {
				t.Errorf("pod %v on %s: trial says %+v, the real thing %+v", p.Object.Labels, n.Name(), got, alike)
			}
			trial.Undo()
		}
		if got := c.Report(); !reflect.DeepEqual(got, want) {
			t.Errorf("pod %v: the class changed by trials", p.Object.Labels)
		}
	}
}
