// Package oracle holds us against upstream's own server, over one etcd.
package oracle

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/tests/fixture"
	"coracle.local/tests/refusals"
	"coracle.local/tests/samples"
)

// TestUpstreamAndWeReadEachOther stores an object of every kind by our server
// and, under other names, by upstream's, and lists all of them by both.
func TestUpstreamAndWeReadEachOther(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	store(t, c)
	theirs, err := dynamic.NewForConfig(startUpstream(t, c))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	storeByUpstream(t, theirs)

	total := 0
	for _, k := range kinds.All() {
		if !k.Stored() {
			continue
		}
		t.Run(k.Group+"/"+k.Version+"/"+k.Plural, func(t *testing.T) {
			total += compare(t, k, ours, theirs)
		})
	}
	if total < 150 {
		t.Errorf("only %d objects were compared", total)
	}
	t.Logf("%d objects of all kinds are equal on both servers", total)
}

// TestUpstreamRefusesAlike holds upstream to the list of refusals that our tests
// hold us to: it is right, and stays right.
func TestUpstreamRefusesAlike(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	ctx := context.Background()
	for _, o := range []kinds.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "there"}, Data: map[string]string{"k": "v"}},
	} {
		if _, err := client.Dynamic(c.Conn, kinds.ForObject(o)).Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	theirs := startUpstream(t, c)
	web, err := rest.HTTPClientFor(theirs)
	if err != nil {
		t.Fatal(err)
	}
	all, err := refusals.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if err := r.Check(ctx, web, theirs.Host); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
}

func store(t *testing.T, c *fixture.Cluster) {
	t.Helper()
	ctx := context.Background()
	if err := samples.Prepare(ctx, c.Conn); err != nil {
		t.Fatal(err)
	}
	objects, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		k := kinds.ForObject(o)
		if _, err := client.Dynamic(c.Conn, k).Create(ctx, o); err != nil {
			t.Errorf("store %s: %v", k, err)
		}
	}
}

// rename makes another object of a sample, for upstream to store. Most kinds whose
// names have a meaning are not copied.
func rename(o kinds.Object) (ok bool) {
	switch o := o.(type) {
	case *apiextensionsv1.CustomResourceDefinition:
		// Upstream stores it as JSON of a version that is no longer served.
		o.Name = "theirs.example.com"
		o.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "theirs", Singular: "their", Kind: "Their", ListKind: "TheirList"}
		o.Spec.Versions[0].AdditionalPrinterColumns = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Size", Type: "string", JSONPath: ".spec.size"}}
		o.Spec.Versions[0].Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
		return true
	case *apiregistrationv1.APIService, *networkingv1.IPAddress, *networkingv1.ServiceCIDR, *storagev1.CSIDriver, *corev1.Namespace:
		return false
	}
	o.SetName("upstream-" + o.GetName())
	return true
}

func storeByUpstream(t *testing.T, theirs dynamic.Interface) {
	t.Helper()
	objects, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		k := kinds.ForObject(o)
		if !rename(o) {
			continue
		}
		o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal(b, &u.Object); err != nil {
			t.Fatal(err)
		}
		delete(u.Object, "status")
		r := theirs.Resource(k.GroupVersionResource())
		var target dynamic.ResourceInterface = r
		if k.Namespaced {
			target = r.Namespace(o.GetNamespace())
		}
		if _, err := target.Create(context.Background(), u, metav1.CreateOptions{}); err != nil {
			t.Errorf("upstream stores %s: %v", k, err)
		}
	}
}

// compare lists a kind by both servers and returns how many objects were equal.
func compare(t *testing.T, k *kinds.Kind, ours, theirs dynamic.Interface) int {
	t.Helper()
	var diff string
	var count int
	// Both servers go on writing leases and the like, so a difference must last.
	for try := 0; try < 20; try++ {
		a, err := list(k, ours)
		if err != nil {
			t.Fatalf("we list: %v", err)
		}
		b, err := list(k, theirs)
		if err != nil {
			t.Fatalf("upstream lists: %v", err)
		}
		if diff, count = cmp.Diff(b, a), len(a); diff == "" {
			return count
		}
		time.Sleep(250 * time.Millisecond)
	}
	t.Errorf("-upstream +ours\n%s", diff)
	return 0
}

func list(k *kinds.Kind, d dynamic.Interface) (map[string]any, error) {
	l, err := d.Resource(k.GroupVersionResource()).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, o := range l.Items {
		out[o.GetNamespace()+"/"+o.GetName()] = o.Object
	}
	return out, nil
}
