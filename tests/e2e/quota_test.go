package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/tests/fixture"
)

// limit makes a quota and waits until the controller has counted for it.
func limit(t *testing.T, c *fixture.Cluster, namespace string, hard corev1.ResourceList) {
	t.Helper()
	ctx := context.Background()
	quotas := c.Clients.CoreV1().ResourceQuotas(namespace)
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	if _, err := quotas.Create(ctx, q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "counted", func() bool {
		q, err := quotas.Get(ctx, "q", metav1.GetOptions{})
		return err == nil && len(q.Status.Used) == len(hard)
	})
}

func usedIs(t *testing.T, c *fixture.Cluster, namespace string, name corev1.ResourceName, want string) {
	t.Helper()
	last := ""
	fixture.Eventually(t, 10*time.Second, "used as expected", func() bool {
		q, err := c.Clients.CoreV1().ResourceQuotas(namespace).Get(context.Background(), "q", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		x := q.Status.Used[name]
		if x.String() != last {
			last = x.String()
			t.Logf("%s used: %s", name, last)
		}
		return last == want
	})
}

func namespaceFor(t *testing.T, c *fixture.Cluster, name string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.Clients.CoreV1().Namespaces().Create(context.Background(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "given a default account", func() bool {
		_, err := c.Clients.CoreV1().ServiceAccounts(name).Get(context.Background(), "default", metav1.GetOptions{})
		return err == nil
	})
}

func TestQuota(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Nodes: 0})
	t.Run("a hundred at once are let in up to the limit", func(t *testing.T) { quotaIsExact(t, c) })
	t.Run("what goes is given back", func(t *testing.T) { quotaIsGivenBack(t, c) })
	t.Run("a dry run is judged and not charged", func(t *testing.T) { quotaOfDryRuns(t, c) })
	t.Run("Services and claims, by kind and by size", func(t *testing.T) { quotaOfServicesAndClaims(t, c) })
	t.Run("custom resources", func(t *testing.T) { quotaOfCustomResources(t, c) })
}

func quotaIsExact(t *testing.T, c *fixture.Cluster) {
	namespaceFor(t, c, "exact")
	limit(t, c, "exact", corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")})
	var in, out atomic.Int32
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			p := pod(fmt.Sprintf("p%d", i))
			_, err := c.Clients.CoreV1().Pods("exact").Create(context.Background(), atNamespace(p, "exact"), metav1.CreateOptions{})
			switch {
			case err == nil:
				in.Add(1)
			case apierrors.IsForbidden(err) && strings.HasSuffix(err.Error(), "is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10"):
				out.Add(1)
			default:
				t.Errorf("pod %d: %v", i, err)
			}
		})
	}
	group.Wait()
	list, err := c.Clients.CoreV1().Pods("exact").List(context.Background(), metav1.ListOptions{})
	if err != nil || in.Load() != 10 || out.Load() != 90 || len(list.Items) != 10 {
		t.Errorf("%d in, %d out, %d there (%v)", in.Load(), out.Load(), len(list.Items), err)
	}
	usedIs(t, c, "exact", corev1.ResourcePods, "10")
}

func atNamespace(p *corev1.Pod, namespace string) *corev1.Pod {
	p.Namespace = namespace
	return p
}

func quotaIsGivenBack(t *testing.T, c *fixture.Cluster) {
	ctx := context.Background()
	namespaceFor(t, c, "back")
	maps := c.Clients.CoreV1().ConfigMaps("back")
	before, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there := len(before.Items) // the root certificate's
	limit(t, c, "back", corev1.ResourceList{"count/configmaps": resource.MustParse(fmt.Sprint(there + 1))})
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-"}}
	made, err := maps.Create(ctx, m, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("one too many: %v", err)
	}
	if err := maps.Delete(ctx, made.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	usedIs(t, c, "back", "count/configmaps", fmt.Sprint(there))
	if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		t.Errorf("after one went: %v", err)
	}
}

func quotaOfDryRuns(t *testing.T, c *fixture.Cluster) {
	ctx := context.Background()
	namespaceFor(t, c, "dry")
	limit(t, c, "dry", corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("1")})
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	for range 3 {
		if _, err := c.Clients.CoreV1().Secrets("dry").Create(ctx, s, dry); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Clients.CoreV1().Secrets("dry").Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Clients.CoreV1().Secrets("dry").Create(ctx, s, dry); !apierrors.IsForbidden(err) {
		t.Errorf("a dry run over the limit: %v", err)
	}
}

func quotaOfServicesAndClaims(t *testing.T, c *fixture.Cluster) {
	ctx := context.Background()
	namespaceFor(t, c, "kinds")
	limit(t, c, "kinds", corev1.ResourceList{
		corev1.ResourceServicesNodePorts: resource.MustParse("1"), corev1.ResourceRequestsStorage: resource.MustParse("10Gi"),
		"gold.storageclass.storage.k8s.io/requests.storage": resource.MustParse("5Gi"),
	})
	services := c.Clients.CoreV1().Services("kinds")
	s, err := services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "b", Port: 2}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.Type = corev1.ServiceTypeNodePort
	if _, err := services.Update(ctx, s, metav1.UpdateOptions{}); err == nil ||
		!strings.Contains(err.Error(), "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1") {
		t.Errorf("two node ports: %v", err)
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To("gold"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("6Gi")}},
	}}
	claims := c.Clients.CoreV1().PersistentVolumeClaims("kinds")
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{}); err == nil ||
		!strings.Contains(err.Error(), "requested: gold.storageclass.storage.k8s.io/requests.storage=6Gi, used: gold.storageclass.storage.k8s.io/requests.storage=0, limited: gold.storageclass.storage.k8s.io/requests.storage=5Gi") {
		t.Errorf("more gold than there is: %v", err)
	}
	claim.Spec.StorageClassName = ptr.To("silver")
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		t.Errorf("silver: %v", err)
	}
	usedIs(t, c, "kinds", corev1.ResourceRequestsStorage, "6Gi")
}

func quotaOfCustomResources(t *testing.T, c *fixture.Cluster) {
	ctx := context.Background()
	namespaceFor(t, c, "custom")
	_, err := client.For[*apiextensionsv1.CustomResourceDefinition](c.Conn).Create(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "crontabs.stable.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "stable.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "crontabs", Singular: "crontab", Kind: "CronTab", ListKind: "CronTabList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	limit(t, c, "custom", corev1.ResourceList{"count/crontabs.stable.example.com": resource.MustParse("1")})
	dyn, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	tabs := dyn.Resource(schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "crontabs"}).Namespace("custom")
	tab := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": map[string]any{"name": name}}}
	}
	if _, err := tabs.Create(ctx, tab("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tabs.Create(ctx, tab("b"), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "exceeded quota: q, requested: count/crontabs.stable.example.com=1") {
		t.Errorf("one too many: %v", err)
	}
	if err := tabs.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	usedIs(t, c, "custom", "count/crontabs.stable.example.com", "0")
}
