package quota

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

type amounts = map[corev1.ResourceName]string

func list(a amounts) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, x := range a {
		out[name] = resource.MustParse(x)
	}
	return out
}

func pod(requests, limits amounts) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}
	return p
}

func changed[T any](o T, change func(T)) T {
	change(o)
	return o
}

func gpus(requests ...resourcev1.DeviceRequest) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}}}
}

func exactly(class string, mode resourcev1.DeviceAllocationMode, n int64) resourcev1.DeviceRequest {
	return resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: mode, Count: n}}
}

func TestUsage(t *testing.T) {
	claim := func(class, size string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class}}
		c.Spec.Resources.Requests = list(amounts{"storage": size})
		return c
	}
	service := func(kind corev1.ServiceType, allocates *bool, ports ...int32) *corev1.Service {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Type: kind, AllocateLoadBalancerNodePorts: allocates}}
		for _, p := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{NodePort: p})
		}
		return s
	}
	const exact, all = resourcev1.DeviceAllocationModeExactCount, resourcev1.DeviceAllocationModeAll
	extended := func() []*resourcev1.DeviceClass {
		return []*resourcev1.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu")}}}
	}
	tests := []struct {
		name     string
		resource schema.GroupResource
		object   Object
		world    World
		want     string
	}{
		{name: "pod", object: pod(amounts{"cpu": "1"}, amounts{"memory": "1Gi"}), want: "count/pods=1,cpu=1,limits.memory=1Gi,pods=1,requests.cpu=1"},
		{
			name: "pod with more", object: pod(amounts{"example.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi", "kubernetes.io/x": "1"}, nil),
			want: "count/pods=1,ephemeral-storage=1Gi,hugepages-2Mi=4Mi,pods=1,requests.ephemeral-storage=1Gi,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi",
		},
		{name: "pod that ended", object: changed(pod(amounts{"cpu": "1"}, nil), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), want: "count/pods=1"},
		{
			name: "pod that should be gone", want: "count/pods=1",
			object: changed(pod(amounts{"cpu": "1"}, nil), func(p *corev1.Pod) {
				p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(now.Add(-time.Minute))), ptr.To[int64](30)
			}),
		},
		{
			name: "pod as a whole", want: "count/pods=1,cpu=3,pods=1,requests.cpu=3",
			object: changed(pod(amounts{"cpu": "1"}, nil), func(p *corev1.Pod) {
				p.Spec.Resources = &corev1.ResourceRequirements{Requests: list(amounts{"cpu": "3"})}
			}),
		},
		{name: "service", object: service("ClusterIP", nil, 0), want: "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0"},
		{name: "node ports", object: service("NodePort", nil, 0, 0), want: "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"},
		{name: "load balancer", object: service("LoadBalancer", nil, 0), want: "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"},
		{name: "load balancer that allocates none", object: service("LoadBalancer", ptr.To(false), 0, 30000), want: "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"},
		{
			name: "claim", object: claim("gold", "1500m"),
			want: "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2",
		},
		{
			name: "claim that has more than it asks for", want: "count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=3Gi",
			object: changed(claim("", "1Gi"), func(c *corev1.PersistentVolumeClaim) { c.Status.AllocatedResources = list(amounts{"storage": "3Gi"}) }),
		},
		{name: "devices", object: gpus(exactly("gpu", exact, 2), exactly("gpu", exact, 1)), want: "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,requests.deviceclass.resource.kubernetes.io/gpu=3"},
		{name: "all devices", object: gpus(exactly("gpu", all, 0)), want: "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=32,requests.deviceclass.resource.kubernetes.io/gpu=32"},
		{
			name: "the most of several", want: "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,requests.deviceclass.resource.kubernetes.io/gpu=3",
			object: gpus(resourcev1.DeviceRequest{FirstAvailable: []resourcev1.DeviceSubRequest{
				{DeviceClassName: "gpu", AllocationMode: exact, Count: 3}, {DeviceClassName: "gpu", AllocationMode: exact, Count: 1},
			}}),
		},
		{
			name: "devices that pods may ask for as resources", object: gpus(exactly("gpu", exact, 2)), world: World{DeviceClasses: extended},
			want: "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=2,requests.deviceclass.resource.kubernetes.io/gpu=2,requests.example.com/gpu=2",
		},
		{
			name: "devices that a pod has paid for", want: "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=2,requests.deviceclass.resource.kubernetes.io/gpu=2",
			object: changed(gpus(exactly("gpu", exact, 2)), func(c *resourcev1.ResourceClaim) {
				c.Annotations = map[string]string{generated: "true"}
				c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p", Controller: ptr.To(true)}}
			}),
			world: World{DeviceClasses: extended, Pod: func(string, string) *corev1.Pod {
				return changed(pod(amounts{"example.com/gpu": "2"}, nil), func(p *corev1.Pod) { p.UID = "p" })
			}},
		},
		{name: "an old kind", resource: schema.GroupResource{Resource: "secrets"}, object: &corev1.Secret{}, want: "count/secrets=1,secrets=1"},
		{name: "a kind", resource: schema.GroupResource{Group: "stable.example.com", Resource: "crontabs"}, object: &metav1.PartialObjectMetadata{}, want: "count/crontabs.stable.example.com=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := test.resource
			switch test.object.(type) {
			case *corev1.Pod:
				r.Resource = "pods"
			case *corev1.Service:
				r.Resource = "services"
			case *corev1.PersistentVolumeClaim:
				r.Resource = "persistentvolumeclaims"
			case *resourcev1.ResourceClaim:
				r = deviceClaims.Resource
			}
			test.world.Now = now
			e := For(r)
			usage := e.Usage(test.object, test.world)
			if got := Format(usage); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			// What is charged under a name must be recognized by it, or it
			// would never be given back.
			for _, name := range Names(usage) {
				if test.world.DeviceClasses == nil && isExtendedRequest(name) && r == deviceClaims.Resource {
					continue // nobody knows the class
				}
				if !slices.Contains(e.Names([]corev1.ResourceName{name}, test.world), name) {
					t.Errorf("%s is charged and not known", name)
				}
			}
		})
	}
}

func TestScopes(t *testing.T) {
	near := &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
		{PodAffinityTerm: corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}}},
	}}}
	deadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](0) }
	class := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.PriorityClassName = name } }
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeAttributesClassName: ptr.To("fast")}}
	claim.Status.CurrentVolumeAttributesClassName = ptr.To("slow")
	in, notIn, exists, not := corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn, corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist
	tests := []struct {
		scope  corev1.ResourceQuotaScope
		op     corev1.ScopeSelectorOperator
		values []string
		object Object
		want   bool
	}{
		{"BestEffort", exists, nil, pod(nil, nil), true},
		{"BestEffort", exists, nil, pod(amounts{"cpu": "0"}, nil), true},
		{"BestEffort", exists, nil, pod(nil, amounts{"memory": "1"}), false},
		{"NotBestEffort", exists, nil, pod(amounts{"cpu": "1"}, nil), true},
		{"Terminating", exists, nil, pod(nil, nil), false},
		{"Terminating", exists, nil, changed(pod(nil, nil), deadline), true},
		{"NotTerminating", exists, nil, changed(pod(nil, nil), deadline), false},
		{"PriorityClass", exists, nil, pod(nil, nil), false},
		{"PriorityClass", exists, nil, changed(pod(nil, nil), class("high")), true},
		{"PriorityClass", in, []string{"high", "low"}, changed(pod(nil, nil), class("high")), true},
		{"PriorityClass", notIn, []string{"high"}, changed(pod(nil, nil), class("high")), false},
		{"PriorityClass", notIn, []string{"high"}, pod(nil, nil), true},
		{"PriorityClass", not, nil, pod(nil, nil), true},
		{"CrossNamespacePodAffinity", exists, nil, pod(nil, nil), false},
		{"CrossNamespacePodAffinity", exists, nil, changed(pod(nil, nil), func(p *corev1.Pod) { p.Spec.Affinity = near }), true},
		{"VolumeAttributesClass", in, []string{"fast"}, claim, true},
		{"VolumeAttributesClass", in, []string{"slow"}, claim, true},
		{"VolumeAttributesClass", in, []string{"other"}, claim, false},
		{"VolumeAttributesClass", not, nil, &corev1.PersistentVolumeClaim{}, true},
		{"Terminating", exists, nil, claim, false},
		{"BestEffort", exists, nil, &corev1.Service{}, false},
	}
	for _, test := range tests {
		e := pods
		switch test.object.(type) {
		case *corev1.PersistentVolumeClaim:
			e = volumeClaims
		case *corev1.Service:
			e = services
		}
		r := Requirement{ScopeName: test.scope, Operator: test.op, Values: test.values}
		if got := len(e.Meets([]Requirement{r}, test.object)) == 1; got != test.want {
			t.Errorf("%s %s %q: %v", test.scope, test.op, test.values, got)
		}
	}
}

func TestUncounted(t *testing.T) {
	for _, r := range []schema.GroupResource{{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}, {Resource: "bindings"}, {Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}} {
		if For(r) != nil {
			t.Errorf("%s is counted", r)
		}
	}
}
