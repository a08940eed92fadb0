package clients

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// TestSampleAPIServer has upstream's sample of an aggregated API server behind
// ours: it reads the cluster's authentication, asks back who may, and its
// objects are made, listed, watched and deleted through us.
func TestSampleAPIServer(t *testing.T) {
	sample := program(t, "sample-apiserver")
	ip, err := utilnet.ChooseHostInterface()
	if err != nil {
		t.Skipf("this host has no address beside loopback: %v", err)
	}
	c := fixture.Start(t, cluster.Config{})
	port := fixture.FreePort(t)
	start(t, sample, "--kubeconfig="+c.Kubeconfig, "--authentication-kubeconfig="+c.Kubeconfig, "--authorization-kubeconfig="+c.Kubeconfig,
		"--etcd-servers="+c.Etcd, fmt.Sprintf("--secure-port=%d", port), "--cert-dir="+filepath.Join(t.TempDir(), "certs"))
	aggregate(t, c, ip, port)

	clients := dynamic.NewForConfigOrDie(c.Config)
	registrations := clients.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	fixture.Eventually(t, time.Minute, "available: v1alpha1.wardle.example.com", func() bool {
		o, err := registrations.Get(t.Context(), "v1alpha1.wardle.example.com", metav1.GetOptions{})
		if err != nil {
			return false
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		return len(conditions) == 1 && conditions[0].(map[string]any)["reason"] == "Passed"
	})
	flunders := clients.Resource(schema.GroupVersionResource{Group: "wardle.example.com", Version: "v1alpha1", Resource: "flunders"}).Namespace("default")
	useFlunders(t, flunders)
	discovered(t, c)
	kubectlFlunders(t, c)
}

// aggregate makes the Service of the sample server, at this host's address, and
// its APIServices.
func aggregate(t *testing.T, c *fixture.Cluster, ip net.IP, port int) {
	t.Helper()
	ctx := t.Context()
	_, err := c.Clients.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Clients.DiscoveryV1().EndpointSlices("default").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "api", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip.String()}}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To(int32(port))}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	registrations := dynamic.NewForConfigOrDie(c.Config).Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": version + ".wardle.example.com"},
			"spec": map[string]any{
				"group": "wardle.example.com", "version": version, "insecureSkipTLSVerify": true,
				"groupPriorityMinimum": int64(1000), "versionPriority": int64(15),
				"service": map[string]any{"namespace": "default", "name": "api"},
			},
		}}
		if _, err := registrations.Create(ctx, o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func flunder(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"sample-label": "true"}},
	}}
}

func useFlunders(t *testing.T, flunders dynamic.ResourceInterface) {
	t.Helper()
	ctx := t.Context()
	if _, err := flunders.Create(ctx, flunder("first"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := flunders.List(ctx, metav1.ListOptions{LabelSelector: "sample-label=true"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	w, err := flunders.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := flunders.Create(ctx, flunder("second"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := flunders.Delete(ctx, "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ADDED second", "DELETED first"} {
		select {
		case e := <-w.ResultChan():
			if got := string(e.Type) + " " + e.Object.(*unstructured.Unstructured).GetName(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %s", want)
		}
	}
}

func discovered(t *testing.T, c *fixture.Cluster) {
	t.Helper()
	fixture.Eventually(t, 15*time.Second, "in discovery with its resources", func() bool {
		groups, lists, err := c.Clients.Discovery().ServerGroupsAndResources()
		if err != nil {
			return false
		}
		preferred, flunders := "", false
		for _, g := range groups {
			if g.Name == "wardle.example.com" {
				preferred = g.PreferredVersion.Version
			}
		}
		for _, l := range lists {
			for _, r := range l.APIResources {
				flunders = flunders || l.GroupVersion == "wardle.example.com/v1alpha1" && r.Name == "flunders"
			}
		}
		return preferred == "v1beta1" && flunders
	})
	paths, err := c.Clients.Discovery().OpenAPIV3().Paths()
	if err != nil || paths["apis/wardle.example.com/v1alpha1"] == nil {
		t.Errorf("OpenAPI version 3: %v, %v", paths["apis/wardle.example.com/v1alpha1"], err)
	} else if raw, err := paths["apis/wardle.example.com/v1alpha1"].Schema("application/json"); err != nil || !strings.Contains(string(raw), "Flunder") {
		t.Errorf("%.200s, %v", raw, err)
	}
	document, err := c.Clients.Discovery().OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range document.Definitions.AdditionalProperties {
		if strings.HasSuffix(d.Name, "wardle.v1alpha1.Flunder") || strings.HasSuffix(d.Name, "wardle/v1alpha1.Flunder") {
			return
		}
	}
	t.Error("OpenAPI version 2 lacks the Flunder")
}

// kubectlFlunders uses upstream's kubectl, if it is built.
func kubectlFlunders(t *testing.T, c *fixture.Cluster) {
	t.Run("kubectl", func(t *testing.T) {
		kubectl := upstream(t, "kubectl")
		if out := run(t, []string{"KUBECONFIG=" + c.Kubeconfig}, kubectl, "get", "flunders", "-o", "name"); out != "flunder.wardle.example.com/second\n" {
			t.Errorf("%q", out)
		}
		run(t, []string{"KUBECONFIG=" + c.Kubeconfig}, kubectl, "explain", "flunders.spec")
	})
}
