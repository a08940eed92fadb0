package oracle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
	"coracle.local/tests/upstream"
)

type amounts map[corev1.ResourceName]string

func (a amounts) list() corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, x := range a {
		out[name] = resource.MustParse(x)
	}
	return out
}

func scoped(scope corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) *corev1.ScopeSelector {
	return &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: scope, Operator: op, Values: values}}}
}

// quotas are what the same requests are held against, each in a namespace of
// its own.
func quotas() []corev1.ResourceQuotaSpec {
	return []corev1.ResourceQuotaSpec{
		{Hard: amounts{"pods": "3", "count/pods": "4"}.list()},
		{Hard: amounts{"requests.cpu": "500m", "limits.memory": "1Gi", "requests.ephemeral-storage": "1Gi"}.list()},
		{Hard: amounts{"cpu": "300m"}.list()},
		{Hard: amounts{"limits.cpu": "1", "memory": "1Gi"}.list()},
		{Hard: amounts{"requests.example.com/gpu": "2", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "2Mi"}.list()},
		{Hard: amounts{"pods": "2"}.list(), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}},
		{Hard: amounts{"pods": "2", "requests.cpu": "1"}.list(), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}},
		{Hard: amounts{"pods": "1"}.list(), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}},
		{Hard: amounts{"pods": "1"}.list(), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating}},
		{Hard: amounts{"pods": "0"}.list(), ScopeSelector: scoped(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpIn, "system-cluster-critical")},
		{Hard: amounts{"pods": "0"}.list(), ScopeSelector: scoped(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpNotIn, "system-cluster-critical")},
		{Hard: amounts{"pods": "0"}.list(), ScopeSelector: scoped(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpDoesNotExist)},
		{Hard: amounts{"pods": "0"}.list(), ScopeSelector: scoped(corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ScopeSelectorOpExists)},
		{Hard: amounts{"services": "2", "services.nodeports": "2", "services.loadbalancers": "1", "count/services": "3"}.list()},
		{Hard: amounts{"persistentvolumeclaims": "2", "requests.storage": "10Gi", "gold.storageclass.storage.k8s.io/requests.storage": "3Gi", "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1"}.list()},
		{Hard: amounts{"persistentvolumeclaims": "0"}.list(), ScopeSelector: scoped(corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ScopeSelectorOpIn, "fast")},
		{Hard: amounts{"configmaps": "2", "count/configmaps": "2", "secrets": "1", "count/secrets": "0", "count/deployments.apps": "1", "replicationcontrollers": "0", "resourcequotas": "1"}.list()},
		{Hard: amounts{"count/resourceclaims.resource.k8s.io": "3", "gpu.deviceclass.resource.k8s.io/devices": "4"}.list()},
	}
}

// request is something to do in a namespace; what it makes depends on nothing
// that was made before.
type request struct {
	name string
	do   func(ctx context.Context, c kubernetes.Interface, ns string) error
}

func quotaPod(name string, change func(*corev1.Pod)) request {
	return request{"pod " + name, func(ctx context.Context, c kubernetes.Interface, ns string) error {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false), Containers: []corev1.Container{{Name: "c", Image: "i"}, {Name: "d", Image: "i"}},
		}}
		if change != nil {
			change(p)
		}
		_, err := c.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{})
		return err
	}}
}

func asking(requests, limits amounts) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for i := range p.Spec.Containers {
			p.Spec.Containers[i].Resources = corev1.ResourceRequirements{Requests: requests.list(), Limits: limits.list()}
		}
	}
}

func quotaService(name string, spec corev1.ServiceSpec) request {
	spec.Ports = []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "b", Port: 2}}
	return request{"service " + name, func(ctx context.Context, c kubernetes.Interface, ns string) error {
		_, err := c.CoreV1().Services(ns).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		return err
	}}
}

func quotaClaim(name, class, size string, attributes *string) request {
	return request{"claim " + name, func(ctx context.Context, c kubernetes.Interface, ns string) error {
		_, err := c.CoreV1().PersistentVolumeClaims(ns).Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeAttributesClassName: attributes,
				Resources: corev1.VolumeResourceRequirements{Requests: amounts{"storage": size}.list()},
			},
		}, metav1.CreateOptions{})
		return err
	}}
}

func deviceClaim(name string, requests ...resourcev1.DeviceRequest) request {
	return request{"device claim " + name, func(ctx context.Context, c kubernetes.Interface, ns string) error {
		o := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}}}
		_, err := c.ResourceV1().ResourceClaims(ns).Create(ctx, o, metav1.CreateOptions{})
		return err
	}}
}

func quotaRequests() []request {
	exact := func(n int64) resourcev1.DeviceRequest {
		return resourcev1.DeviceRequest{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}}
	}
	first := resourcev1.DeviceRequest{Name: "f", FirstAvailable: []resourcev1.DeviceSubRequest{
		{Name: "a", DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
		{Name: "b", DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 3},
	}}
	out := []request{
		quotaPod("plain", nil),
		quotaPod("cpu", asking(amounts{"cpu": "100m"}, nil)),
		quotaPod("memory", asking(amounts{"cpu": "100m", "memory": "100Mi"}, amounts{"memory": "300Mi", "cpu": "200m"})),
		quotaPod("much", asking(amounts{"cpu": "2"}, amounts{"memory": "3Gi", "cpu": "3"})),
		quotaPod("disk", asking(amounts{"cpu": "1m", "memory": "1Mi", "ephemeral-storage": "2Gi"}, amounts{"cpu": "1m", "memory": "1Mi"})),
		quotaPod("gpu", asking(amounts{"example.com/gpu": "2"}, amounts{"example.com/gpu": "2"})),
		quotaPod("pages", asking(amounts{"cpu": "1m", "hugepages-2Mi": "2Mi"}, amounts{"cpu": "1m", "hugepages-2Mi": "2Mi"})),
		quotaPod("whole", func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts{"cpu": "400m"}.list(), Limits: amounts{"cpu": "500m"}.list()}
		}),
		quotaPod("deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }),
		quotaPod("deadline2", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](60) }),
		quotaPod("critical", func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-cluster-critical" }),
		quotaPod("near", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Namespaces: []string{"default"},
			}}}}
		}),
		{"deadline given", func(ctx context.Context, c kubernetes.Interface, ns string) error {
			p, err := c.CoreV1().Pods(ns).Get(ctx, "plain", metav1.GetOptions{})
			if err != nil {
				return nil
			}
			p.Spec.ActiveDeadlineSeconds = ptr.To[int64](50)
			_, err = c.CoreV1().Pods(ns).Update(ctx, p, metav1.UpdateOptions{})
			return err
		}},
		quotaService("a", corev1.ServiceSpec{}),
		quotaService("b", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}),
		quotaService("c", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: ptr.To(false)}),
		quotaService("d", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}),
		{"type of a", func(ctx context.Context, c kubernetes.Interface, ns string) error {
			s, err := c.CoreV1().Services(ns).Get(ctx, "a", metav1.GetOptions{})
			if err != nil {
				return nil
			}
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
			_, err = c.CoreV1().Services(ns).Update(ctx, s, metav1.UpdateOptions{})
			return err
		}},
		quotaClaim("a", "gold", "2Gi", nil), quotaClaim("b", "gold", "1Gi", nil), quotaClaim("c", "silver", "8Gi", nil),
		quotaClaim("d", "silver", "1500m", nil), quotaClaim("e", "silver", "1Gi", ptr.To("fast")), quotaClaim("f", "silver", "1Gi", ptr.To("slow")),
		deviceClaim("a", exact(2)), deviceClaim("b", first), deviceClaim("c", resourcev1.DeviceRequest{Name: "all", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeAll}}),
		deviceClaim("d", exact(1)),
	}
	for i := range 3 {
		out = append(out,
			request{"configmap", func(ctx context.Context, c kubernetes.Interface, ns string) error {
				_, err := c.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i)}}, metav1.CreateOptions{})
				return err
			}},
			request{"secret", func(ctx context.Context, c kubernetes.Interface, ns string) error {
				_, err := c.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i)}}, metav1.CreateOptions{})
				return err
			}},
			request{"deployment", func(ctx context.Context, c kubernetes.Interface, ns string) error {
				labels := map[string]string{"a": "b"}
				_, err := c.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("d", i)}, Spec: appsv1.DeploymentSpec{
					Selector: &metav1.LabelSelector{MatchLabels: labels},
					Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
				}}, metav1.CreateOptions{})
				return err
			}},
			request{"quota", func(ctx context.Context, c kubernetes.Interface, ns string) error {
				_, err := c.CoreV1().ResourceQuotas(ns).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("q", i)}}, metav1.CreateOptions{})
				return err
			}})
	}
	return out
}

// TestQuotasRefuseAlike holds the same requests against the same quotas on both
// servers. Ours recounts for both, and upstream's controller finds nothing to
// correct.
func TestQuotasRefuseAlike(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"resourcequota-controller"}})
	upstream, err := kubernetes.NewForConfig(startUpstream(t, c))
	if err != nil {
		t.Fatal(err)
	}
	refused, different := 0, 0
	requests := quotaRequests()
	for i, spec := range quotas() {
		ours, theirs := fmt.Sprintf("ours-%d", i), fmt.Sprintf("theirs-%d", i)
		limit(t, c.Clients, ours, spec)
		limit(t, c.Clients, theirs, spec)
		for _, r := range requests {
			mine, yours := words(r.do(context.Background(), c.Clients, ours), ours), words(r.do(context.Background(), upstream, theirs), theirs)
			if strings.Contains(yours, "quota") {
				refused++
			}
			if mine != yours {
				different++
				t.Errorf("quota %d, %s\nours   %s\ntheirs %s", i, r.name, mine, yours)
			}
		}
	}
	t.Logf("%d requests, %d refused by quotas, %d differences", len(quotas())*len(requests), refused, different)
	if refused < 100 {
		t.Errorf("only %d requests were refused", refused)
	}
	recounted(t, c)
}

func limit(t *testing.T, c kubernetes.Interface, ns string, spec corev1.ResourceQuotaSpec) {
	t.Helper()
	ctx := context.Background()
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ResourceQuotas(ns).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota"}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "counted", func() bool {
		q, err := c.CoreV1().ResourceQuotas(ns).Get(ctx, "quota", metav1.GetOptions{})
		return err == nil && len(q.Status.Used) == len(spec.Hard)
	})
	time.Sleep(200 * time.Millisecond) // until upstream's server has seen it, too
}

func words(err error, ns string) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), ns, "NS")
}

// recounted lets upstream's controller look at what ours has counted.
func recounted(t *testing.T, c *fixture.Cluster) {
	bin := filepath.Join(filepath.Dir(upstream.Server(t)), "kube-controller-manager")
	if _, err := os.Stat(bin); err != nil {
		t.Log("upstream's controller manager is not built: its count is not compared")
		return
	}
	ctx := context.Background()
	time.Sleep(3 * time.Second) // until ours is done
	before, err := c.Clients.CoreV1().ResourceQuotas("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--kubeconfig="+c.Kubeconfig, "--controllers=resourcequota-controller", "--leader-elect=false", "--secure-port=0", "-v=4")
	log, err := os.Create(filepath.Join(t.TempDir(), "kube-controller-manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		_ = log.Close()
	}()
	fixture.Eventually(t, time.Minute, "recounted by upstream's controller", func() bool {
		data, err := os.ReadFile(log.Name())
		return err == nil && strings.Count(string(data), "Finished syncing resource quota") >= len(before.Items)
	})
	after, err := c.Clients.CoreV1().ResourceQuotas("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range before.Items {
		if !equality.Semantic.DeepEqual(before.Items[i].Status, after.Items[i].Status) {
			t.Errorf("%s/%s: ours counts %v, upstream's %v", before.Items[i].Namespace, before.Items[i].Name, before.Items[i].Status.Used, after.Items[i].Status.Used)
		}
	}
}
