package deployment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/replicas"
	"coracle.local/services/controller-manager/internal/workbench"
)

func deploy(n int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{ObjectMeta: workbench.Meta("web"), Spec: appsv1.DeploymentSpec{
		Replicas: &n, Selector: workbench.Select("web"), Template: workbench.Template("web"),
		RevisionHistoryLimit: ptr.To[int32](10), ProgressDeadlineSeconds: ptr.To[int32](600),
		Strategy: appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
		},
	}}
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	d := b.Deps()
	return b.Add(New(d), replicas.ReplicaSets(d))
}

func setImage(b *workbench.Bench, image string) {
	workbench.Change(b, "default", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

func get(b *workbench.Bench) *appsv1.Deployment {
	return workbench.Get[*appsv1.Deployment](b, "default", "web")
}

func images(b *workbench.Bench) string {
	n := map[string]int{}
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		n[p.Spec.Containers[0].Image]++
	}
	return fmt.Sprint(n)
}

func reason(b *workbench.Bench, t appsv1.DeploymentConditionType) string {
	if c := condition(&get(b).Status, t); c != nil {
		return c.Reason
	}
	return ""
}

func TestRollsOutAndBack(t *testing.T) {
	b := bench(t, deploy(3, "25%", "25%")).Kubelet(nil, "n1", "n2")
	b.Settle()
	if got := images(b); got != "map[web:3]" {
		t.Fatalf("pods %s", got)
	}
	if r := reason(b, appsv1.DeploymentProgressing); r != "NewReplicaSetAvailable" {
		t.Fatalf("progressing because of %q", r)
	}
	first := workbench.All[*appsv1.ReplicaSet](b, "default")[0]
	if h := first.Labels["pod-template-hash"]; first.Name != "web-"+h || first.Spec.Selector.MatchLabels["pod-template-hash"] != h {
		t.Fatalf("set %s has the hash %q", first.Name, h)
	}
	setImage(b, "web:2")
	b.Settle()
	if got := images(b); got != "map[web:2:3]" {
		t.Fatalf("pods %s", got)
	}
	if d := get(b); d.Annotations[revisionAnnotation] != "2" || d.Status.UpdatedReplicas != 3 || d.Status.UnavailableReplicas != 0 {
		t.Fatalf("annotations %v, status %+v", d.Annotations, d.Status)
	}
	setImage(b, "web") // what kubectl rollout undo does
	b.Settle()
	if got := images(b); got != "map[web:3]" {
		t.Fatalf("pods %s", got)
	}
	back := workbench.Get[*appsv1.ReplicaSet](b, "default", first.Name)
	if back.Annotations[revisionAnnotation] != "3" || back.Annotations[revisionHistoryAnnotation] != "1" {
		t.Fatalf("annotations %v", back.Annotations)
	}
	var scaled []string
	for _, e := range b.API.Events() {
		if e.Reason == "ScalingReplicaSet" {
			scaled = append(scaled, strings.ReplaceAll(e.Message, first.Name, "FIRST"))
		}
	}
	if scaled[0] != "Scaled up replica set FIRST from 0 to 3" {
		t.Fatalf("events %q", scaled)
	}
	if f := b.Failing(); len(f) > 0 {
		t.Fatalf("failing: %v", f)
	}
}

// The bounds hold at every step of a rollout, whatever they are.
func TestRollingUpdateKeepsItsBounds(t *testing.T) {
	for _, c := range []struct {
		n                  int32
		surge, unavailable string
		most, least        int
	}{
		{4, "1", "0", 5, 4},
		{4, "0", "1", 4, 3},
		{10, "25%", "25%", 13, 8},
		{1, "25%", "25%", 2, 1},
		{5, "100%", "0", 10, 5},
		{2, "0", "1%", 2, 1},
		{7, "3", "2", 10, 5},
	} {
		t.Run(fmt.Sprintf("%d+%s-%s", c.n, c.surge, c.unavailable), func(t *testing.T) {
			b := bench(t, deploy(c.n, c.surge, c.unavailable)).Kubelet(nil, "n1", "n2")
			b.Settle()
			b.Also(func() bool {
				live, ready := 0, 0
				for _, p := range workbench.All[*corev1.Pod](b, "default") {
					if pods.Active(p) {
						live++
					}
					if pods.Active(p) && pods.Ready(p) {
						ready++
					}
				}
				if live > c.most || ready < c.least {
					t.Fatalf("%d pods of which %d are ready, bounds %d and %d", live, ready, c.most, c.least)
				}
				return false
			})
			setImage(b, "web:2")
			b.Settle()
			if got, want := images(b), fmt.Sprintf("map[web:2:%d]", c.n); got != want {
				t.Fatalf("pods %s, want %s", got, want)
			}
		})
	}
}

func TestRecreateWaitsForTheOldPods(t *testing.T) {
	d := deploy(3, "0", "0")
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	b := bench(t, d).Kubelet(nil, "n1")
	b.Settle()
	b.Also(func() bool {
		if got := images(b); strings.Contains(got, "web:3") && strings.Contains(got, "web:2") {
			t.Fatalf("old and new pods at the same time: %s", got)
		}
		return false
	})
	setImage(b, "web:2")
	b.Settle()
	if got := images(b); got != "map[web:2:3]" {
		t.Fatalf("pods %s", got)
	}
}

func TestProgressDeadline(t *testing.T) {
	run := true
	b := bench(t, deploy(2, "1", "0")).Kubelet(func(*corev1.Pod) bool { return run }, "n1")
	b.Settle()
	run = false
	setImage(b, "broken")
	b.Advance(10 * time.Minute)
	if r := reason(b, appsv1.DeploymentProgressing); r != "ReplicaSetUpdated" {
		t.Fatalf("progressing because of %q", r)
	}
	b.Advance(2 * time.Second)
	if r := reason(b, appsv1.DeploymentProgressing); r != "ProgressDeadlineExceeded" {
		t.Fatalf("progressing because of %q", r)
	}
	if got := images(b); got != "map[broken:1 web:2]" {
		t.Fatalf("pods %s", got)
	}
	run = true
	b.Settle()
	setImage(b, "web")
	b.Settle()
	if r := reason(b, appsv1.DeploymentProgressing); r != "NewReplicaSetAvailable" {
		t.Fatalf("progressing because of %q", r)
	}
}

func TestPaused(t *testing.T) {
	b := bench(t, deploy(2, "1", "0")).Kubelet(nil, "n1")
	b.Settle()
	workbench.Change(b, "default", "web", func(d *appsv1.Deployment) { d.Spec.Paused = true; d.Spec.Replicas = ptr.To[int32](4) })
	setImage(b, "web:2")
	b.Settle()
	if got := images(b); got != "map[web:4]" {
		t.Fatalf("a paused Deployment scales and does not roll out, but has %s", got)
	}
	if r := reason(b, appsv1.DeploymentProgressing); r != "DeploymentPaused" {
		t.Fatalf("progressing because of %q", r)
	}
	workbench.Change(b, "default", "web", func(d *appsv1.Deployment) { d.Spec.Paused = false })
	b.Settle()
	if got := images(b); got != "map[web:2:4]" {
		t.Fatalf("pods %s", got)
	}
}

func TestScalesInProportion(t *testing.T) {
	run := true
	b := bench(t, deploy(10, "3", "2")).Kubelet(func(*corev1.Pod) bool { return run }, "n1")
	b.Settle()
	run = false
	setImage(b, "web:2")
	b.Settle()
	if got := images(b); got != "map[web:8 web:2:5]" {
		t.Fatalf("pods %s", got)
	}
	workbench.Change(b, "default", "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](15) })
	b.Settle()
	// The example of upstream's documentation.
	if got := images(b); got != "map[web:11 web:2:7]" {
		t.Fatalf("pods %s", got)
	}
}

func TestHistoryIsLimited(t *testing.T) {
	d := deploy(1, "1", "0")
	d.Spec.RevisionHistoryLimit = ptr.To[int32](2)
	b := bench(t, d).Kubelet(nil, "n1")
	for i := range 6 {
		b.Settle()
		setImage(b, fmt.Sprintf("web:%d", i))
	}
	b.Settle()
	var left []string
	for _, rs := range workbench.All[*appsv1.ReplicaSet](b, "default") {
		left = append(left, rs.Spec.Template.Spec.Containers[0].Image)
	}
	if len(left) != 3 {
		t.Fatalf("sets left: %v", left)
	}
}

func TestHashCollision(t *testing.T) {
	d := deploy(1, "1", "0")
	other := &appsv1.ReplicaSet{ObjectMeta: workbench.Meta(setName(d)), Spec: appsv1.ReplicaSetSpec{
		Replicas: ptr.To[int32](0), Selector: workbench.Select("else"), Template: workbench.Template("else"),
	}}
	b := bench(t, d, other).Kubelet(nil, "n1")
	b.Advance(time.Minute)
	if n := get(b).Status.CollisionCount; n == nil || *n != 1 {
		t.Fatalf("collision count %v", n)
	}
	if got := images(b); got != "map[web:1]" {
		t.Fatalf("pods %s", got)
	}
}

func TestReportsWhatCannotBeCreated(t *testing.T) {
	b := bench(t, deploy(1, "1", "0"))
	b.API.Fail = func(verb string, k *kinds.Kind, _, name string) error {
		if verb == "create" && k.Plural == "replicasets" {
			return apierrors.NewForbidden(k.GroupResource(), name, fmt.Errorf("no"))
		}
		return nil
	}
	b.Settle()
	b.API.Fail = nil
	c := condition(&get(b).Status, appsv1.DeploymentProgressing)
	name := setName(get(b))
	want := fmt.Sprintf("Failed to create new replica set %q: replicasets.apps %q is forbidden: no", name, name)
	if c == nil || c.Status != corev1.ConditionFalse || c.Reason != "ReplicaSetCreateError" || c.Message != want {
		t.Fatalf("condition %+v", c)
	}
}

func TestAnnotationsAreCopied(t *testing.T) {
	d := deploy(1, "1", "0")
	d.Annotations = map[string]string{"team": "a", corev1.LastAppliedConfigAnnotation: "{}"}
	b := bench(t, d).Kubelet(nil, "n1")
	b.Settle()
	workbench.Change(b, "default", "web", func(d *appsv1.Deployment) { d.Annotations["kubernetes.io/change-cause"] = "because" })
	b.Settle()
	a := workbench.All[*appsv1.ReplicaSet](b, "default")[0].Annotations
	if a["team"] != "a" || a["kubernetes.io/change-cause"] != "because" || a[corev1.LastAppliedConfigAnnotation] != "" || a[revisionAnnotation] != "1" {
		t.Fatalf("annotations %v", a)
	}
	if metav1.GetControllerOf(workbench.All[*corev1.Pod](b, "default")[0]).Kind != "ReplicaSet" {
		t.Fatal("pods belong to the ReplicaSet")
	}
}
