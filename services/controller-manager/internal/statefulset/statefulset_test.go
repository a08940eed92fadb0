package statefulset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/workbench"
)

func set(n int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: workbench.Meta("db"), Spec: appsv1.StatefulSetSpec{
		Replicas: &n, Selector: workbench.Select("db"), Template: workbench.Template("db"), ServiceName: "db",
		UpdateStrategy:       appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
		RevisionHistoryLimit: ptr.To[int32](2),
	}}
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(New(b.Deps()))
}

func show(b *workbench.Bench) string {
	var out []string
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		out = append(out, strings.TrimPrefix(p.Name, "db-")+"="+p.Spec.Containers[0].Image)
	}
	return strings.Join(out, " ")
}

func get(b *workbench.Bench) *appsv1.StatefulSet {
	return workbench.Get[*appsv1.StatefulSet](b, "default", "db")
}

func change(b *workbench.Bench, f func(*appsv1.StatefulSet)) { workbench.Change(b, "default", "db", f) }

func setImage(b *workbench.Bench, image string) {
	change(b, func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = image })
}

func TestOneAfterTheOther(t *testing.T) {
	run := map[string]bool{}
	b := bench(t, set(3)).Kubelet(func(p *corev1.Pod) bool { return run[p.Name] }, "n")
	for i, want := range []string{"0=db", "0=db 1=db", "0=db 1=db 2=db"} {
		b.Settle()
		if got := show(b); got != want {
			t.Fatalf("pods %q, want %q", got, want)
		}
		run[fmt.Sprintf("db-%d", i)] = true
	}
	b.Settle()
	s := get(b).Status
	if s.Replicas != 3 || s.ReadyReplicas != 3 || s.AvailableReplicas != 3 || s.CurrentReplicas != 3 || s.UpdatedReplicas != 3 || s.CurrentRevision != s.UpdateRevision || s.CurrentRevision == "" {
		t.Fatalf("status %+v", s)
	}
	p := workbench.Get[*corev1.Pod](b, "default", "db-1")
	if p.Spec.Hostname != "db-1" || p.Spec.Subdomain != "db" || p.Labels[appsv1.StatefulSetPodNameLabel] != "db-1" || p.Labels[appsv1.PodIndexLabel] != "1" || podRevision(p) != s.CurrentRevision {
		t.Fatalf("pod %+v", p)
	}
	if e := b.API.Events()[0]; e.Reason != "SuccessfulCreate" || e.Message != "Create Pod db-0 in StatefulSet db successful" {
		t.Fatalf("event %+v", e)
	}
	change(b, func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
	b.Settle()
	if got := show(b); got != "0=db" {
		t.Fatalf("pods %q", got)
	}
	if f := b.Failing(); len(f) > 0 {
		t.Fatalf("failing: %v", f)
	}
}

func TestParallel(t *testing.T) {
	s := set(4)
	s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	b := bench(t, s)
	b.Settle()
	if got := show(b); got != "0=db 1=db 2=db 3=db" {
		t.Fatalf("pods %q", got)
	}
	change(b, func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
	b.Settle()
	if got := show(b); got != "0=db" {
		t.Fatalf("pods %q", got)
	}
}

func TestRollsFromTheTop(t *testing.T) {
	b := bench(t, set(3)).Kubelet(nil, "n")
	b.Settle()
	least := 3
	b.Also(func() bool {
		ready := pods.Count(workbench.All[*corev1.Pod](b, "default"), func(p *corev1.Pod) bool { return pods.Ready(p) && pods.Active(p) })
		least = min(least, int(ready))
		return false
	})
	setImage(b, "db:2")
	b.Settle()
	if got := show(b); got != "0=db:2 1=db:2 2=db:2" || least != 2 {
		t.Fatalf("pods %q, at least %d ready", got, least)
	}
	s := get(b).Status
	if s.CurrentRevision != s.UpdateRevision || s.CurrentReplicas != 3 {
		t.Fatalf("status %+v", s)
	}
	if n := len(workbench.All[*appsv1.ControllerRevision](b, "default")); n != 2 {
		t.Fatalf("%d revisions", n)
	}
	setImage(b, "db") // undo: the first revision becomes the newest
	b.Settle()
	revisions := workbench.All[*appsv1.ControllerRevision](b, "default")
	if got := show(b); got != "0=db 1=db 2=db" || len(revisions) != 2 {
		t.Fatalf("pods %q, %d revisions", got, len(revisions))
	}
	newest := int64(0)
	for _, r := range revisions {
		newest = max(newest, r.Revision)
	}
	if newest != 3 {
		t.Fatalf("newest revision %d", newest)
	}
}

func TestPartition(t *testing.T) {
	s := set(3)
	s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
	b := bench(t, s).Kubelet(nil, "n")
	b.Settle()
	setImage(b, "db:2")
	b.Settle()
	if got := show(b); got != "0=db 1=db 2=db:2" {
		t.Fatalf("pods %q", got)
	}
	workbench.Delete[*corev1.Pod](b, "default", "db-0")
	b.Settle()
	if got := show(b); got != "0=db 1=db 2=db:2" {
		t.Fatalf("pods %q: below the partition a pod keeps its revision", got)
	}
	if s := get(b).Status; s.UpdatedReplicas != 1 || s.CurrentReplicas != 2 || s.CurrentRevision == s.UpdateRevision {
		t.Fatalf("status %+v", s)
	}
	change(b, func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](0) })
	b.Settle()
	if got := show(b); got != "0=db:2 1=db:2 2=db:2" {
		t.Fatalf("pods %q", got)
	}
}

func TestMaxUnavailableAndOnDelete(t *testing.T) {
	s := set(4)
	two := intstr.FromInt32(2)
	s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](0), MaxUnavailable: &two}
	run := true
	b := bench(t, s).Kubelet(func(*corev1.Pod) bool { return run }, "n")
	b.Settle()
	run = false
	setImage(b, "db:2")
	b.Settle()
	if got := show(b); got != "0=db 1=db 2=db:2" {
		t.Fatalf("pods %q: two at a time, made again in order", got)
	}
	run = true
	b.Settle()
	if got := show(b); got != "0=db:2 1=db:2 2=db:2 3=db:2" {
		t.Fatalf("pods %q", got)
	}
	change(b, func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	})
	setImage(b, "db:3")
	b.Settle()
	workbench.Delete[*corev1.Pod](b, "default", "db-1")
	b.Settle()
	if got := show(b); got != "0=db:2 1=db:3 2=db:2 3=db:2" {
		t.Fatalf("pods %q", got)
	}
}

func TestClaimsAndTheirRetention(t *testing.T) {
	s := set(2)
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
	}
	b := bench(t, s).Kubelet(nil, "n")
	b.Settle()
	claim := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "data-db-1")
	if claim.Labels["app"] != "db" || len(claim.OwnerReferences) != 0 {
		t.Fatalf("claim %+v", claim)
	}
	p := workbench.Get[*corev1.Pod](b, "default", "db-1")
	if v := p.Spec.Volumes[0]; v.Name != "data" || v.PersistentVolumeClaim.ClaimName != "data-db-1" {
		t.Fatalf("volumes %+v", p.Spec.Volumes)
	}
	change(b, func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
	b.Settle()
	claim = workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "data-db-1")
	if len(claim.OwnerReferences) != 1 || claim.OwnerReferences[0].Kind != "Pod" || claim.OwnerReferences[0].UID != p.UID {
		t.Fatalf("owners %+v: the pod that was scaled away takes its claim along", claim.OwnerReferences)
	}
	change(b, func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](2) })
	b.Settle()
	if got := show(b); got != "0=db" {
		t.Fatalf("pods %q: the claim of the old pod has to go first", got)
	}
	workbench.Delete[*corev1.PersistentVolumeClaim](b, "default", "data-db-1")
	b.Settle()
	if got := show(b); got != "0=db 1=db" {
		t.Fatalf("pods %q", got)
	}
}

func TestFailedPodsAreReplacedAndStartOrdinals(t *testing.T) {
	s := set(2)
	s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	b := bench(t, s).Kubelet(nil, "n")
	b.Settle()
	if got := show(b); got != "5=db 6=db" {
		t.Fatalf("pods %q", got)
	}
	old := workbench.Get[*corev1.Pod](b, "default", "db-5")
	b.Finish(old, corev1.PodFailed)
	b.Settle()
	if p := workbench.Get[*corev1.Pod](b, "default", "db-5"); p.UID == old.UID || !pods.Ready(p) {
		t.Fatalf("pod %+v", p.Status)
	}
}

func TestMinReadySecondsHoldTheNextBack(t *testing.T) {
	s := set(2)
	s.Spec.MinReadySeconds = 30
	b := bench(t, s).Kubelet(nil, "n")
	b.Advance(29 * time.Second)
	if got := show(b); got != "0=db" {
		t.Fatalf("pods %q", got)
	}
	b.Advance(2 * time.Second)
	if got := show(b); got != "0=db 1=db" {
		t.Fatalf("pods %q", got)
	}
}
