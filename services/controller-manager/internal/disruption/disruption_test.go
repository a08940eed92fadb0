package disruption

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/deployment"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/replicas"
	"coracle.local/services/controller-manager/internal/workbench"
)

func budget(least, most string) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: workbench.Meta("pdb"), Spec: policyv1.PodDisruptionBudgetSpec{Selector: workbench.Select("web")}}
	if least != "" {
		b.Spec.MinAvailable = ptr.To(intstr.Parse(least))
	}
	if most != "" {
		b.Spec.MaxUnavailable = ptr.To(intstr.Parse(most))
	}
	return b
}

func deploy(n int32) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: workbench.Meta("web"), Spec: appsv1.DeploymentSpec{
		Replicas: &n, Selector: workbench.Select("web"),
		Template: workbench.Template("web"), Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
	}}
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	d := b.Deps()
	return b.Add(New(d)...).Add(deployment.New(d), replicas.ReplicaSets(d)).Kubelet(nil, "n")
}

func show(b *workbench.Bench) string {
	s := workbench.Get[*policyv1.PodDisruptionBudget](b, "default", "pdb").Status
	c := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
	return fmt.Sprintf("%d of %d healthy, %d desired, %d allowed, %s", s.CurrentHealthy, s.ExpectedPods, s.DesiredHealthy, s.DisruptionsAllowed, c.Reason)
}

func TestBudgets(t *testing.T) {
	for _, c := range []struct{ least, most, want string }{
		{"2", "", "4 of 4 healthy, 2 desired, 2 allowed, SufficientPods"},
		{"4", "", "4 of 4 healthy, 4 desired, 0 allowed, InsufficientPods"},
		{"30%", "", "4 of 4 healthy, 2 desired, 2 allowed, SufficientPods"},
		{"", "1", "4 of 4 healthy, 3 desired, 1 allowed, SufficientPods"},
		{"", "30%", "4 of 4 healthy, 2 desired, 2 allowed, SufficientPods"},
	} {
		b := bench(t, deploy(4), budget(c.least, c.most))
		b.Settle()
		if got := show(b); got != c.want {
			t.Errorf("at least %q, at most %q down: %s, want %s", c.least, c.most, got, c.want)
		}
		b.SetReady(workbench.All[*corev1.Pod](b, "default")[0], false)
		b.Settle()
		if s := workbench.Get[*policyv1.PodDisruptionBudget](b, "default", "pdb").Status; s.CurrentHealthy != 3 {
			t.Errorf("%d healthy", s.CurrentHealthy)
		}
	}
}

func TestWithoutPodsNothingIsAllowed(t *testing.T) {
	b := bench(t, budget("0", ""))
	b.Settle()
	if got := show(b); got != "0 of 0 healthy, 0 desired, 0 allowed, InsufficientPods" {
		t.Fatal(got)
	}
}

func TestPodsOfNobodyAndOfStrangers(t *testing.T) {
	lone := &corev1.Pod{ObjectMeta: workbench.Meta("lone")}
	lone.Labels = map[string]string{"app": "web"}
	b := bench(t, budget("", "1"), lone)
	b.Settle()
	if e := b.API.Events(); e[0].Reason != "UnmanagedPods" || e[0].Component != "controllermanager" {
		t.Fatalf("events %v", e)
	}
	lone.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "x", Controller: ptr.To(true)}}
	b = bench(t, budget("", "1"), lone)
	b.Settle()
	if got := show(b); got != "0 of 0 healthy, 0 desired, 0 allowed, SyncFailed" {
		t.Fatal(got)
	}
}

func TestEvictionsThatDoNotHappen(t *testing.T) {
	b := bench(t, deploy(3), budget("2", ""))
	b.Settle()
	name := workbench.All[*corev1.Pod](b, "default")[0].Name
	workbench.Change(b, "default", "pdb", func(p *policyv1.PodDisruptionBudget) {
		p.Status.DisruptedPods = map[string]metav1.Time{name: metav1.NewTime(b.Clock.Now()), "gone": metav1.NewTime(b.Clock.Now())}
		p.Status.DisruptionsAllowed = 0
	})
	b.Settle()
	s := workbench.Get[*policyv1.PodDisruptionBudget](b, "default", "pdb").Status
	if s.DisruptionsAllowed != 0 || len(s.DisruptedPods) != 1 {
		t.Fatalf("status %+v", s)
	}
	b.Advance(3 * time.Minute)
	if got := show(b); got != "3 of 3 healthy, 2 desired, 1 allowed, SufficientPods" {
		t.Fatal(got)
	}
}

func TestStaleConditionsAreTakenBack(t *testing.T) {
	b := bench(t, deploy(1))
	b.Settle()
	p := workbench.All[*corev1.Pod](b, "default")[0]
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
		Reason: "PreemptionByScheduler", LastTransitionTime: metav1.NewTime(b.Clock.Now()),
	})
	b.API.Seed(p)
	b.Advance(time.Minute)
	if c := pods.Condition(workbench.Get[*corev1.Pod](b, "default", p.Name), corev1.DisruptionTarget); c.Status != corev1.ConditionTrue {
		t.Fatalf("condition %+v", c)
	}
	b.Advance(2 * time.Minute)
	if c := pods.Condition(workbench.Get[*corev1.Pod](b, "default", p.Name), corev1.DisruptionTarget); c.Status != corev1.ConditionFalse {
		t.Fatalf("condition %+v", c)
	}
}
