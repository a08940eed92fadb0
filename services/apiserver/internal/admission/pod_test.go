package admission

import (
	"context"
	"reflect"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/authtest"
)

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta("orange", "p"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestLimitRanger(t *testing.T) {
	limits := &corev1.LimitRange{ObjectMeta: meta("orange", "l"), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Min: list("cpu", "50m"), Max: list("cpu", "1", "memory", "1Gi"), Default: list("cpu", "500m", "memory", "512Mi"), DefaultRequest: list("cpu", "100m"), MaxLimitRequestRatio: list("cpu", "5")},
		{Type: corev1.LimitTypePod, Max: list("cpu", "1500m")},
		{Type: corev1.LimitTypePersistentVolumeClaim, Min: list("storage", "1Gi"), Max: list("storage", "2Gi")},
	}}}
	with := func(requests, upper corev1.ResourceList) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: upper}
		})
	}
	claim := func(size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: meta("orange", "c"), Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage", size)}}}
	}
	tests := []struct {
		name       string
		request    *Attributes
		refusal    string
		annotation string
	}{
		{name: "defaults", request: create(pod()), annotation: "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"},
		{name: "too little", request: create(with(list("cpu", "10m"), nil)), refusal: "minimum cpu usage per Container is 50m, but request is 10m"},
		{name: "too much", request: create(with(nil, list("cpu", "2"))), refusal: "maximum cpu usage per Container is 1, but limit is 2"},
		{name: "too great a ratio", request: create(with(list("cpu", "100m"), list("cpu", "600m"))), refusal: "cpu max limit to request ratio per Container is 5, but provided ratio is 6.000000"},
		{name: "all containers together", request: create(pod(func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
		})), refusal: "maximum cpu usage per Pod is 1500m, but limit is 2"},
		{name: "an update", request: update(with(nil, list("cpu", "2")), pod())},
		{name: "another namespace", request: create(&corev1.Pod{ObjectMeta: meta("blue", "p"), Spec: with(nil, list("cpu", "2")).Spec})},
		{name: "claim", request: create(claim("1Gi"))},
		{name: "claim too small", request: create(claim("1Mi")), refusal: "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"},
		{name: "claim too big", request: create(claim("3Gi")), refusal: `persistentvolumeclaims "c" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &limitRanger{lookup{reader: authtest.New(limits)}}
			expect(t, p.Admit(context.Background(), test.request), "")
			expect(t, p.Validate(context.Background(), test.request), test.refusal)
			if got := test.request.Object.GetAnnotations()[limitRangerAnnotation]; test.annotation != "" && got != test.annotation {
				t.Errorf("annotation %q", got)
			}
		})
	}
}

func TestServiceAccount(t *testing.T) {
	strict := &corev1.ServiceAccount{ObjectMeta: meta("orange", "strict"), Secrets: []corev1.ObjectReference{{Name: "mine"}}}
	strict.Annotations = map[string]string{enforceMountable: "true"}
	cluster := authtest.New(
		&corev1.ServiceAccount{ObjectMeta: meta("orange", "default"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}},
		&corev1.ServiceAccount{ObjectMeta: meta("orange", "quiet"), AutomountServiceAccountToken: ptr.To(false)},
		strict,
	)
	account := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.ServiceAccountName = name }
	}
	secret := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}}
		}
	}
	mirrored := func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }
	tests := []struct {
		name    string
		pod     *corev1.Pod
		refusal string
		token   bool
		pull    int
	}{
		{name: "default", pod: pod(), token: true, pull: 1},
		{name: "own pull secret", pod: pod(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}} }), token: true, pull: 2},
		{name: "account without token", pod: pod(account("quiet"))},
		{name: "pod without token", pod: pod(func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = ptr.To(false) }), pull: 1},
		{name: "pod with token", pod: pod(account("quiet"), func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = ptr.To(true) }), token: true},
		{name: "something mounted there", pod: pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: tokenMountPath}}
		}), pull: 1},
		{name: "no such account", pod: pod(account("none")), refusal: `pods "p" is forbidden: error looking up service account orange/none: serviceaccount "none" not found`},
		{name: "listed secret", pod: pod(account("strict"), secret("mine")), token: true},
		{name: "unlisted secret", pod: pod(account("strict"), secret("other")), refusal: `volume with secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{name: "mirror", pod: pod(mirrored)},
		{name: "mirror with an account", pod: pod(mirrored, account("default")), refusal: "a mirror pod may not reference service accounts"},
		{name: "mirror with a secret", pod: pod(mirrored, secret("mine")), refusal: "a mirror pod may not reference secrets"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newServiceAccount(Config{Reader: cluster, Clock: clocktesting.NewFakeClock(start)})
			p.suffix = func() string { return "abcde" }
			a := create(test.pod)
			expect(t, p.Admit(context.Background(), a), test.refusal)
			if test.refusal != "" {
				return
			}
			expect(t, p.Validate(context.Background(), a), "")
			has := len(test.pod.Spec.Volumes) > 0 && test.pod.Spec.Volumes[len(test.pod.Spec.Volumes)-1].Name == "kube-api-access-abcde"
			if has != test.token || len(test.pod.Spec.ImagePullSecrets) != test.pull {
				t.Errorf("token %v, pull secrets %v", has, test.pod.Spec.ImagePullSecrets)
			}
			if test.token && !reflect.DeepEqual(test.pod.Spec.Containers[0].VolumeMounts, []corev1.VolumeMount{{Name: "kube-api-access-abcde", ReadOnly: true, MountPath: tokenMountPath}}) {
				t.Errorf("mounts %v", test.pod.Spec.Containers[0].VolumeMounts)
			}
		})
	}
}

func TestServiceAccountWaitsForTheDefaultAccount(t *testing.T) {
	cluster := authtest.New()
	fake := clocktesting.NewFakeClock(start)
	p := newServiceAccount(Config{Reader: cluster, Clock: fake})
	done := make(chan error)
	go func() { done <- p.Admit(context.Background(), create(pod())) }()
	for fake.Waiters() == 0 {
		runtime.Gosched()
	}
	cluster.Put(&corev1.ServiceAccount{ObjectMeta: meta("orange", "default")})
	fake.Step(defaultAccountPause)
	expect(t, <-done, "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	other := pod()
	other.Namespace = "blue"
	expect(t, p.Admit(ctx, create(other)), `serviceaccount "default" not found`)
}

func TestPriority(t *testing.T) {
	never := corev1.PreemptNever
	high := &schedulingv1.PriorityClass{ObjectMeta: meta("", "high"), Value: 1000, PreemptionPolicy: &never}
	usual := &schedulingv1.PriorityClass{ObjectMeta: meta("", "usual"), Value: 7, GlobalDefault: true}
	named := func(name string, value *int32) *corev1.Pod {
		return pod(func(p *corev1.Pod) { p.Spec.PriorityClassName, p.Spec.Priority = name, value })
	}
	tests := []struct {
		name     string
		classes  []*schedulingv1.PriorityClass
		request  *Attributes
		refusal  string
		class    string
		priority int32
		policy   corev1.PreemptionPolicy
	}{
		{name: "no classes", request: create(pod()), policy: corev1.PreemptLowerPriority},
		{name: "the default class", classes: []*schedulingv1.PriorityClass{high, usual}, request: create(pod()), class: "usual", priority: 7},
		{name: "a class", classes: []*schedulingv1.PriorityClass{high, usual}, request: create(named("high", nil)), class: "high", priority: 1000, policy: never},
		{name: "no such class", request: create(named("none", nil)), refusal: `pods "p" is forbidden: no PriorityClass with name none was found`},
		{name: "the same number", classes: []*schedulingv1.PriorityClass{high}, request: create(named("high", ptr.To[int32](1000))), class: "high", priority: 1000, policy: never},
		{name: "another number", classes: []*schedulingv1.PriorityClass{high}, request: create(named("high", ptr.To[int32](5))), refusal: "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name"},
		{name: "an update keeps it", request: update(pod(), named("", ptr.To[int32](9))), priority: 9},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cluster := authtest.New()
			for _, class := range test.classes {
				cluster.Put(class)
			}
			p := &priority{lookup{reader: cluster}}
			expect(t, p.Admit(context.Background(), test.request), test.refusal)
			if test.refusal != "" {
				return
			}
			got := test.request.Object.(*corev1.Pod).Spec
			if got.PriorityClassName != test.class || *got.Priority != test.priority || ptr.Deref(got.PreemptionPolicy, "") != test.policy {
				t.Errorf("class %q, priority %d, policy %v", got.PriorityClassName, *got.Priority, got.PreemptionPolicy)
			}
		})
	}
	t.Run("one default", func(t *testing.T) {
		p := &priority{lookup{reader: authtest.New(usual)}}
		second := &schedulingv1.PriorityClass{ObjectMeta: meta("", "second"), GlobalDefault: true}
		expect(t, p.Validate(context.Background(), create(second)), "PriorityClass usual is already marked as default. Only one default can exist")
		expect(t, p.Validate(context.Background(), update(usual, usual)), "")
	})
}

func TestDefaultTolerations(t *testing.T) {
	p := newDefaultTolerations(Config{UnreachableTolerationSeconds: ptr.To[int64](5)})
	o := pod(func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}}
	})
	expect(t, p.Admit(context.Background(), create(o)), "")
	if len(o.Spec.Tolerations) != 2 || o.Spec.Tolerations[1].Key != corev1.TaintNodeUnreachable || *o.Spec.Tolerations[1].TolerationSeconds != 5 {
		t.Errorf("tolerations %v", o.Spec.Tolerations)
	}
	everything := pod(func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} })
	expect(t, p.Admit(context.Background(), create(everything)), "")
	if len(everything.Spec.Tolerations) != 1 {
		t.Errorf("tolerations %v", everything.Spec.Tolerations)
	}
}

func TestTaintNodes(t *testing.T) {
	node := &corev1.Node{ObjectMeta: meta("", "n")}
	for range 2 {
		expect(t, taintNodes{}.Admit(context.Background(), create(node)), "")
	}
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0] != (corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}) {
		t.Errorf("taints %v", node.Spec.Taints)
	}
}

func TestTopologyLabels(t *testing.T) {
	node := &corev1.Node{ObjectMeta: meta("", "n")}
	node.Labels = map[string]string{corev1.LabelTopologyZone: "z", "other": "x"}
	p := &topologyLabels{lookup{reader: authtest.New(node)}}
	binding := &corev1.Binding{ObjectMeta: meta("orange", "p"), Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	expect(t, p.Admit(context.Background(), of[*corev1.Pod](create(binding).sub("binding"))), "")
	if !reflect.DeepEqual(binding.Labels, map[string]string{corev1.LabelTopologyZone: "z"}) {
		t.Errorf("labels %v", binding.Labels)
	}
	static := pod(func(p *corev1.Pod) { p.Spec.NodeName = "n" })
	expect(t, p.Admit(context.Background(), create(static)), "")
	if static.Labels[corev1.LabelTopologyZone] != "z" {
		t.Errorf("labels %v", static.Labels)
	}
}

func TestPodResize(t *testing.T) {
	node := &corev1.Node{ObjectMeta: meta("", "n"), Status: corev1.NodeStatus{Allocatable: list("cpu", "1", "memory", "1Gi")}}
	p := &podResize{lookup{reader: authtest.New(node)}}
	sized := func(cpu string) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Spec.NodeName, p.Spec.Containers[0].Resources.Requests = "n", list("cpu", cpu)
		})
	}
	expect(t, p.Validate(context.Background(), update(sized("1"), sized("500m")).sub("resize")), "")
	expect(t, p.Validate(context.Background(), update(sized("2"), sized("500m")).sub("resize")),
		"node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000")
}

func TestAlwaysPullImages(t *testing.T) {
	o := pod(func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent })
	expect(t, alwaysPullImages{}.Validate(context.Background(), create(o)), `spec.containers[0].imagePullPolicy: Unsupported value: "IfNotPresent": supported values: "Always"`)
	expect(t, alwaysPullImages{}.Validate(context.Background(), update(o, o)), "")
	expect(t, alwaysPullImages{}.Admit(context.Background(), create(o)), "")
	expect(t, alwaysPullImages{}.Validate(context.Background(), create(o)), "")
}

func TestRuntimeClass(t *testing.T) {
	class := &nodev1.RuntimeClass{
		ObjectMeta: meta("", "kata"), Handler: "kata", Overhead: &nodev1.Overhead{PodFixed: list("cpu", "100m")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"kata": "yes"}, Tolerations: []corev1.Toleration{{Key: "kata", Operator: corev1.TolerationOpExists}}},
	}
	p := &runtimeClass{lookup{reader: authtest.New(class)}}
	with := func(name string, change ...func(*corev1.Pod)) *corev1.Pod {
		return pod(append(change, func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name })...)
	}
	tests := []struct {
		name    string
		pod     *corev1.Pod
		refusal string
	}{
		{name: "none", pod: pod()},
		{name: "a class", pod: with("kata")},
		{name: "no such class", pod: with("none"), refusal: `pod rejected: RuntimeClass "none" not found`},
		{name: "overhead alone", pod: pod(func(p *corev1.Pod) { p.Spec.Overhead = list("cpu", "1") }), refusal: "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"},
		{name: "another overhead", pod: with("kata", func(p *corev1.Pod) { p.Spec.Overhead = list("cpu", "1") }), refusal: "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"},
		{name: "another selector", pod: with("kata", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kata": "no"} }), refusal: "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := create(test.pod)
			err := p.Admit(context.Background(), a)
			if err == nil {
				err = p.Validate(context.Background(), a)
			}
			expect(t, err, test.refusal)
			if test.name == "a class" && (test.pod.Spec.NodeSelector["kata"] != "yes" || len(test.pod.Spec.Tolerations) != 1 || test.pod.Spec.Overhead.Cpu().MilliValue() != 100) {
				t.Errorf("pod %+v", test.pod.Spec)
			}
		})
	}
}

func TestMergeTolerations(t *testing.T) {
	exists := corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists}
	equal := corev1.Toleration{Key: "a", Operator: corev1.TolerationOpEqual, Value: "1"}
	all := corev1.Toleration{Operator: corev1.TolerationOpExists}
	other := corev1.Toleration{Key: "b", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](5)}
	longer := corev1.Toleration{Key: "b", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	tests := []struct {
		name                string
		first, second, want []corev1.Toleration
	}{
		{"nothing", nil, nil, nil},
		{"the wider stays", []corev1.Toleration{equal}, []corev1.Toleration{exists}, []corev1.Toleration{exists}},
		{"equal ones once", []corev1.Toleration{exists}, []corev1.Toleration{exists}, []corev1.Toleration{exists}},
		{"all", []corev1.Toleration{equal, longer}, []corev1.Toleration{all}, []corev1.Toleration{all}},
		{"the longer stays", []corev1.Toleration{other}, []corev1.Toleration{longer}, []corev1.Toleration{longer}},
		{"another key", []corev1.Toleration{exists}, []corev1.Toleration{other}, []corev1.Toleration{exists, other}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := mergeTolerations(test.first, test.second); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v", got)
			}
		})
	}
}
