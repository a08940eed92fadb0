package e2e

import (
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// TestNamespaceThatEnds has nobody to end it, so that each step is seen.
func TestNamespaceThatEnds(t *testing.T) {
	_, _, w := withMaps(t)
	const path = "/api/v1/namespaces/orange"
	made := as[corev1.Namespace](w.post("/api/v1/namespaces", `{"metadata":{"name":"orange"}}`))
	if made.Labels[corev1.LabelMetadataName] != "orange" || made.Spec.Finalizers[0] != corev1.FinalizerKubernetes || made.Status.Phase != corev1.NamespaceActive {
		t.Errorf("made %+v", made)
	}
	w.post(path+"/configmaps", `{"metadata":{"name":"in"}}`).is(http.StatusCreated)
	going := as[corev1.Namespace](w.send(http.MethodDelete, path, "", nil))
	if going.Status.Phase != corev1.NamespaceTerminating || going.DeletionTimestamp == nil {
		t.Errorf("going %+v", going)
	}
	var refused metav1.Status
	w.post(path+"/configmaps", `{"metadata":{"name":"late"}}`).is(http.StatusForbidden).into(&refused)
	if refused.Message != `configmaps "late" is forbidden: unable to create new content in namespace orange because it is being terminated` ||
		len(refused.Details.Causes) != 1 || refused.Details.Causes[0].Type != corev1.NamespaceTerminatingCause {
		t.Errorf("refused with %+v", refused)
	}
	w.patch(path+"/configmaps/in", merge, `{"data":{"k":"v"}}`).is(http.StatusOK)
	w.send(http.MethodDelete, path+"/configmaps/in", "", nil).is(http.StatusOK)

	w.put(path+"/finalize", `{"metadata":{"name":"orange"},"spec":{"finalizers":[]}}`).is(http.StatusOK)
	w.get(path, asJSON).refuses(http.StatusNotFound, metav1.StatusReasonNotFound, `namespaces "orange" not found`)
	w.post(path+"/configmaps", `{"metadata":{"name":"later"}}`).refuses(http.StatusNotFound, metav1.StatusReasonNotFound, `namespaces "orange" not found`)
}

func TestNamespacesThatStay(t *testing.T) {
	_, _, w := withMaps(t)
	for _, name := range []string{"default", "kube-system", "kube-public"} {
		w.send(http.MethodDelete, "/api/v1/namespaces/"+name, "", nil).
			refuses(http.StatusForbidden, metav1.StatusReasonForbidden, `namespaces "`+name+`" is forbidden: this namespace may not be deleted`)
	}
}

// TestNamespaceTakesItsContentAlong leaves the work to the controllers.
func TestNamespaceTakesItsContentAlong(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Nodes: 1})
	w := newWeb(t, c.Config)
	const path = "/api/v1/namespaces/orange"
	w.post("/api/v1/namespaces", `{"metadata":{"name":"orange"}}`).is(http.StatusCreated)
	awaitAccount(t, c, "orange")
	w.post(path+"/configmaps", `{"metadata":{"name":"held","finalizers":["example.com/hold"]}}`).is(http.StatusCreated)
	w.post(path+"/pods", podBody("p")).is(http.StatusCreated)
	w.post("/apis/apps/v1/namespaces/orange/deployments", deploymentBody).is(http.StatusCreated)
	w.send(http.MethodDelete, path, "", nil).is(http.StatusOK)
	fixture.Eventually(t, 2*time.Minute, "said: what is left", func() bool {
		for _, c := range as[corev1.Namespace](w.get(path, asJSON)).Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Status == corev1.ConditionTrue {
				return c.Message == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
			}
		}
		return false
	})
	w.patch(path+"/configmaps/held", merge, `{"metadata":{"finalizers":null}}`).is(http.StatusOK)
	fixture.Eventually(t, 2*time.Minute, "gone: the namespace", func() bool { return w.get(path, asJSON).code == http.StatusNotFound })
	for _, kind := range []string{"configmaps", "pods", "serviceaccounts", "events"} {
		list := as[metav1.PartialObjectMetadataList](w.get("/api/v1/namespaces/orange/"+kind, asList))
		if len(list.Items) != 0 {
			t.Errorf("%d %s are left", len(list.Items), kind)
		}
	}
}
