package replicas

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func set(n int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: workbench.Meta("web"),
		Spec:       appsv1.ReplicaSetSpec{Replicas: &n, Selector: workbench.Select("web"), Template: workbench.Template("web")},
	}
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(ReplicaSets(b.Deps()))
}

func TestScalesUpAndDown(t *testing.T) {
	b := bench(t, set(3)).Kubelet(nil, "n1", "n2")
	b.Settle()
	if got := len(workbench.All[*corev1.Pod](b, "default")); got != 3 {
		t.Fatalf("%d pods, want 3", got)
	}
	rs := workbench.Get[*appsv1.ReplicaSet](b, "default", "web")
	want := appsv1.ReplicaSetStatus{Replicas: 3, FullyLabeledReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3, ObservedGeneration: 1, TerminatingReplicas: ptr.To[int32](0)}
	if fmt.Sprint(rs.Status.Replicas, rs.Status.ReadyReplicas, rs.Status.AvailableReplicas, rs.Status.FullyLabeledReplicas, rs.Status.ObservedGeneration) !=
		fmt.Sprint(want.Replicas, want.ReadyReplicas, want.AvailableReplicas, want.FullyLabeledReplicas, want.ObservedGeneration) {
		t.Fatalf("status %+v", rs.Status)
	}
	pod := workbench.All[*corev1.Pod](b, "default")[0]
	if ref := metav1.GetControllerOf(pod); ref == nil || ref.Name != "web" || ref.Kind != "ReplicaSet" || !*ref.BlockOwnerDeletion {
		t.Fatalf("owner %v", ref)
	}
	if e := b.API.Events()[0]; e.Reason != "SuccessfulCreate" || e.About != "ReplicaSet default/web" || e.Component != "replicaset-controller" {
		t.Fatalf("event %+v", e)
	}
	workbench.Change(b, "default", "web", func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](1) })
	b.Settle()
	if got := len(workbench.All[*corev1.Pod](b, "default")); got != 1 {
		t.Fatalf("%d pods, want 1", got)
	}
}

func TestNeverActsOnAStaleCache(t *testing.T) {
	b := bench(t, set(5))
	pod := kinds.For[*corev1.Pod]()
	b.API.Hold(pod, true)
	b.Settle()
	for range 5 {
		workbench.Change(b, "default", "web", func(rs *appsv1.ReplicaSet) { rs.Labels = map[string]string{"again": rs.ResourceVersion} })
		b.Settle()
		b.Clock.Step(time.Second)
	}
	if got := len(workbench.All[*corev1.Pod](b, "default")); got != 5 {
		t.Fatalf("%d pods were created while the cache showed none, want 5", got)
	}
	b.API.Hold(pod, false)
	b.Advance(time.Minute)
	if got := len(workbench.All[*corev1.Pod](b, "default")); got != 5 {
		t.Fatalf("%d pods, want 5", got)
	}
}

func TestSlowStartStopsAtTheFirstRefusal(t *testing.T) {
	b := bench(t, set(100))
	quota := 5
	b.API.Fail = func(verb string, k *kinds.Kind, _, _ string) error {
		if verb != "create" || k.Plural != "pods" {
			return nil
		}
		if quota == 0 {
			return apierrors.NewForbidden(k.GroupResource(), "web-", fmt.Errorf("exceeded quota"))
		}
		quota--
		return nil
	}
	defer func() { b.API.Fail = nil }()
	b.API.Calls()
	b.Settle()
	creates := 0
	for _, c := range b.API.Calls() {
		if c == "create pods default/" {
			creates++
		}
	}
	// 1, 2, 4: the third batch meets the quota. The pods and the status that
	// were written wake the controller a few times more, for one try each.
	if creates > 12 {
		t.Fatalf("%d creations were tried against a quota of 5", creates)
	}
	rs := workbench.Get[*appsv1.ReplicaSet](b, "default", "web")
	if len(rs.Status.Conditions) != 1 || rs.Status.Conditions[0].Reason != "FailedCreate" ||
		rs.Status.Conditions[0].Message != `pods "web-" is forbidden: exceeded quota` {
		t.Fatalf("conditions %+v", rs.Status.Conditions)
	}
	b.API.Fail = nil
	b.Advance(time.Hour)
	if got := len(workbench.All[*corev1.Pod](b, "default")); got != 100 {
		t.Fatalf("%d pods, want 100", got)
	}
	if rs := workbench.Get[*appsv1.ReplicaSet](b, "default", "web"); len(rs.Status.Conditions) != 0 {
		t.Fatalf("conditions %+v", rs.Status.Conditions)
	}
}

func TestAdoptsAndReleases(t *testing.T) {
	stray := &corev1.Pod{ObjectMeta: workbench.Meta("stray"), Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	stray.Labels = map[string]string{"app": "web"}
	b := bench(t, set(1), stray)
	b.Settle()
	if got := workbench.All[*corev1.Pod](b, "default"); len(got) != 1 || metav1.GetControllerOf(got[0]) == nil {
		t.Fatalf("the stray pod was not adopted: %v", got)
	}
	workbench.Change(b, "default", "stray", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} })
	b.Settle()
	got := workbench.All[*corev1.Pod](b, "default")
	if len(got) != 2 {
		t.Fatalf("%d pods, want the released one and a new one", len(got))
	}
	if p := workbench.Get[*corev1.Pod](b, "default", "stray"); len(p.OwnerReferences) != 0 {
		t.Fatalf("the stray pod was not released: %v", p.OwnerReferences)
	}
}

func TestDoesNotAdoptForAnOwnerThatIsGone(t *testing.T) {
	b := bench(t, set(0))
	b.Settle()
	b.API.Hold(kinds.For[*appsv1.ReplicaSet](), true)
	workbench.Delete[*appsv1.ReplicaSet](b, "default", "web")
	stray := &corev1.Pod{ObjectMeta: workbench.Meta("stray")}
	stray.Labels = map[string]string{"app": "web"}
	b.API.Seed(stray)
	b.Settle()
	if p := workbench.Get[*corev1.Pod](b, "default", "stray"); len(p.OwnerReferences) != 0 {
		t.Fatalf("adopted for a ReplicaSet that is gone: %v", p.OwnerReferences)
	}
}

func TestAvailableAfterMinReadySeconds(t *testing.T) {
	rs := set(2)
	rs.Spec.MinReadySeconds = 30
	b := bench(t, rs).Kubelet(nil, "n1")
	b.Settle()
	if s := workbench.Get[*appsv1.ReplicaSet](b, "default", "web").Status; s.ReadyReplicas != 2 || s.AvailableReplicas != 0 {
		t.Fatalf("status %+v", s)
	}
	b.Advance(30 * time.Second)
	if s := workbench.Get[*appsv1.ReplicaSet](b, "default", "web").Status; s.AvailableReplicas != 2 {
		t.Fatalf("status %+v", s)
	}
}

func TestReplicationController(t *testing.T) {
	tpl := workbench.Template("web")
	rc := &corev1.ReplicationController{
		ObjectMeta: workbench.Meta("web"),
		Spec:       corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](2), Selector: map[string]string{"app": "web"}, Template: &tpl},
	}
	b := workbench.New(t, rc)
	b.Add(ReplicationControllers(b.Deps())).Kubelet(nil, "n1")
	b.Settle()
	if s := workbench.Get[*corev1.ReplicationController](b, "default", "web").Status; s.Replicas != 2 || s.AvailableReplicas != 2 || s.ObservedGeneration != 1 {
		t.Fatalf("status %+v", s)
	}
}

func TestNamespaceEnding(t *testing.T) {
	now := metav1.NewTime(workbench.Epoch)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", DeletionTimestamp: &now}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}
	b := bench(t, ns, set(3))
	b.Advance(time.Minute)
	if e := b.API.Events(); len(e) != 0 {
		t.Fatalf("events about what cannot be created: %v", e)
	}
	if f := b.Failing(); len(f) != 0 {
		t.Fatalf("failing: %v", f)
	}
}

func TestDeletesTheLeastUsefulFirst(t *testing.T) {
	b := bench(t, set(4)).Kubelet(func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }, "n1")
	b.Settle()
	all := workbench.All[*corev1.Pod](b, "default")
	for i, p := range all[:3] {
		p.Spec.NodeName = []string{"n1", "n1", "n2"}[i]
		b.SetReady(p, true)
	}
	workbench.Change(b, "default", all[2].Name, func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"} })
	workbench.Change(b, "default", "web", func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](2) })
	b.Settle()
	var left []string
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		left = append(left, p.Name)
	}
	if want := []string{all[0].Name, all[1].Name}; !slices.Equal(left, want) {
		t.Fatalf("left %v, want %v: first the one without a node, then the cheap one", left, want)
	}
}
