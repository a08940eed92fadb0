package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/client"
)

const (
	podsPath        = "/api/v1/namespaces/default/pods"
	deploymentsPath = "/apis/apps/v1/namespaces/default/deployments"
	budgetsPath     = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
)

const deploymentBody = `{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"x"}},
	"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"nginx"}]}}}}`

func TestScaleOverREST(t *testing.T) {
	_, _, w := withMaps(t)
	made := as[appsv1.Deployment](w.post(deploymentsPath, deploymentBody))
	scale := as[autoscalingv1.Scale](w.get(deploymentsPath+"/d/scale", asJSON))
	if scale.Kind != "Scale" || scale.APIVersion != "autoscaling/v1" || scale.UID != made.UID || scale.Spec.Replicas != 2 || scale.Status.Selector != "app=x" {
		t.Errorf("scale %+v", scale)
	}
	scale.Spec.Replicas = 3
	body, err := json.Marshal(scale)
	if err != nil {
		t.Fatal(err)
	}
	if got := as[autoscalingv1.Scale](w.put(deploymentsPath+"/d/scale", string(body))); got.Spec.Replicas != 3 {
		t.Errorf("put %+v", got)
	}
	w.put(deploymentsPath+"/d/scale", string(body)).refuses(http.StatusConflict, metav1.StatusReasonConflict,
		`Operation cannot be fulfilled on deployments.apps "d": the object has been modified; please apply your changes to the latest version and try again`)
	if got := as[autoscalingv1.Scale](w.patch(deploymentsPath+"/d/scale", merge, `{"spec":{"replicas":4}}`)); got.Spec.Replicas != 4 {
		t.Errorf("patched %+v", got)
	}
	w.put(deploymentsPath+"/d/scale", `{"metadata":{"name":"d"},"spec":{"replicas":-1}}`).refuses(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
		`Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`)
	after := as[appsv1.Deployment](w.get(deploymentsPath+"/d", asJSON))
	if *after.Spec.Replicas != 4 || after.Generation != made.Generation+2 {
		t.Errorf("%d replicas at generation %d", *after.Spec.Replicas, after.Generation)
	}
}

func TestStatusChangesNothingElse(t *testing.T) {
	_, _, w := withMaps(t)
	w.post(deploymentsPath, deploymentBody).is(http.StatusCreated)
	both := `{"metadata":{"labels":{"a":"b"}},"spec":{"replicas":9},"status":{"replicas":7}}`
	got := as[appsv1.Deployment](w.patch(deploymentsPath+"/d/status", merge, both))
	if got.Status.Replicas != 7 || *got.Spec.Replicas != 2 || got.Generation != 1 {
		t.Errorf("by status: %d of %d replicas at generation %d", got.Status.Replicas, *got.Spec.Replicas, got.Generation)
	}
	got = as[appsv1.Deployment](w.patch(deploymentsPath+"/d", merge, `{"spec":{"replicas":5},"status":{"replicas":1}}`))
	if got.Status.Replicas != 7 || *got.Spec.Replicas != 5 || got.Generation != 2 {
		t.Errorf("by the object: %d of %d replicas at generation %d", got.Status.Replicas, *got.Spec.Replicas, got.Generation)
	}
	if got = as[appsv1.Deployment](w.get(deploymentsPath+"/d/status", asJSON)); got.Status.Replicas != 7 {
		t.Errorf("status %+v", got.Status)
	}
}

func podBody(name string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"nginx"}]}}`, name)
}

func TestBindingOverREST(t *testing.T) {
	c, _, w := withMaps(t)
	account(t, c)
	w.post(podsPath, podBody("p")).is(http.StatusCreated)
	w.post(podsPath, podBody("q")).is(http.StatusCreated)
	binding := `{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}`
	as[metav1.Status](w.post(podsPath+"/p/binding?dryRun=All", binding).is(http.StatusCreated))
	if done := as[metav1.Status](w.post(podsPath+"/p/binding", binding).is(http.StatusCreated)); done.Status != metav1.StatusSuccess {
		t.Errorf("answered %+v", done)
	}
	w.post("/api/v1/namespaces/default/bindings", `{"metadata":{"name":"q"},"target":{"name":"n2"}}`).is(http.StatusCreated)
	for name, node := range map[string]string{"p": "n1", "q": "n2"} {
		pod := as[corev1.Pod](w.get(podsPath+"/"+name, asJSON))
		if pod.Spec.NodeName != node || pod.Status.Conditions[0].Type != corev1.PodScheduled || pod.Status.Conditions[0].Status != corev1.ConditionTrue {
			t.Errorf("%s is on %q with %+v", name, pod.Spec.NodeName, pod.Status.Conditions)
		}
	}
	w.post(podsPath+"/p/binding", binding).refuses(http.StatusConflict, metav1.StatusReasonConflict,
		`Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"`)
	if list := as[corev1.PodList](w.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", asJSON)); len(list.Items) != 1 || list.Items[0].Name != "p" {
		t.Errorf("%d pods are on n1", len(list.Items))
	}
}

// TestEvictionOverREST evicts pods that a budget guards, as far as it allows.
func TestEvictionOverREST(t *testing.T) {
	c, _, w := withMaps(t)
	account(t, c)
	for _, name := range []string{"p", "q"} {
		w.post(podsPath, podBody(name)).is(http.StatusCreated)
		w.post(podsPath+"/"+name+"/binding", fmt.Sprintf(`{"metadata":{"name":%q},"target":{"name":"n1"}}`, name)).is(http.StatusCreated)
		w.patch(podsPath+"/"+name+"/status", merge, `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`).is(http.StatusOK)
	}
	w.post(budgetsPath, `{"metadata":{"name":"b"},"spec":{"maxUnavailable":1,"selector":{"matchLabels":{"app":"x"}}}}`).is(http.StatusCreated)
	allow := func(n int) {
		t.Helper()
		w.patch(budgetsPath+"/b/status", merge, fmt.Sprintf(`{"status":{"observedGeneration":1,"disruptionsAllowed":%d,"currentHealthy":2,"desiredHealthy":2,"expectedPods":2}}`, n)).is(http.StatusOK)
	}
	evict := func(name string) *answer {
		t.Helper()
		return w.post(podsPath+"/"+name+"/eviction", fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, name))
	}
	refused := func(cause string) {
		t.Helper()
		var s metav1.Status
		evict("p").is(http.StatusTooManyRequests).into(&s)
		if s.Reason != metav1.StatusReasonTooManyRequests || s.Message != "Cannot evict pod as it would violate the pod's disruption budget." ||
			len(s.Details.Causes) != 1 || s.Details.Causes[0].Type != policyv1.DisruptionBudgetCause || s.Details.Causes[0].Message != cause {
			t.Errorf("refused with %+v", s)
		}
	}
	refused("The disruption budget b is still being processed by the server.")
	allow(0)
	refused("The disruption budget b needs 2 healthy pods and has 2 currently")
	allow(1)
	w.post(podsPath+"/p/eviction?dryRun=All", `{"metadata":{"name":"p"}}`).is(http.StatusCreated)
	evict("p").is(http.StatusCreated)
	pod := as[corev1.Pod](w.get(podsPath+"/p", asJSON))
	if pod.DeletionTimestamp == nil || pod.Status.Conditions[len(pod.Status.Conditions)-1].Reason != "EvictionByEvictionAPI" {
		t.Errorf("evicted: %v, %+v", pod.DeletionTimestamp, pod.Status.Conditions)
	}
	budget := as[policyv1.PodDisruptionBudget](w.get(budgetsPath+"/b", asJSON))
	if _, noted := budget.Status.DisruptedPods["p"]; !noted || budget.Status.DisruptionsAllowed != 0 {
		t.Errorf("the budget says %+v", budget.Status)
	}
	// Without a budget nothing forbids it.
	w.send(http.MethodDelete, budgetsPath+"/b", "", nil).is(http.StatusOK)
	evict("q").is(http.StatusCreated)
}

func TestEphemeralContainers(t *testing.T) {
	c, _, w := withMaps(t)
	account(t, c)
	w.post(podsPath, podBody("p")).is(http.StatusCreated)
	debugger := `{"spec":{"ephemeralContainers":[{"name":"debug","image":"busybox"}]}}`
	w.patch(podsPath+"/p", merge, debugger).is(http.StatusUnprocessableEntity)
	got := as[corev1.Pod](w.patch(podsPath+"/p/ephemeralcontainers", merge, debugger))
	if len(got.Spec.EphemeralContainers) != 1 || got.Spec.EphemeralContainers[0].TerminationMessagePath != corev1.TerminationMessagePathDefault {
		t.Errorf("ephemeral containers %+v", got.Spec.EphemeralContainers)
	}
}

// TestDeleteCollectionOverREST deletes what is selected and nothing else.
func TestDeleteCollectionOverREST(t *testing.T) {
	_, m, w := withMaps(t)
	create(t, m, "red", map[string]string{"color": "red"})
	create(t, m, "blue", map[string]string{"color": "blue"})
	gone := as[corev1.ConfigMapList](w.send(http.MethodDelete, mapsPath+"?labelSelector=color%3Dred", "", nil))
	if gone.Kind != "ConfigMapList" || len(gone.Items) != 1 || gone.Items[0].Name != "red" {
		t.Errorf("answered %s of %d", gone.Kind, len(gone.Items))
	}
	left, _, err := m.List(context.Background(), client.ListOptions{Namespace: "default", LabelSelector: "color"})
	if err != nil || len(left) != 1 || left[0].Name != "blue" {
		t.Errorf("left are %v (%v)", left, err)
	}
}
