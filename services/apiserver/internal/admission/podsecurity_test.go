package admission

import (
	"context"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/authtest"
)

func namespace(name string, labels ...string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: meta("", name)}
	n.Labels = map[string]string{}
	for i := 0; i < len(labels); i += 2 {
		n.Labels["pod-security.kubernetes.io/"+labels[i]] = labels[i+1]
	}
	return n
}

func TestPodSecurity(t *testing.T) {
	in := func(name string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := pod(change...)
		p.Namespace = name
		return p
	}
	privileged := func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	}
	cluster := authtest.New(
		namespace("open"), namespace("baseline", "enforce", "baseline"), namespace("strict", "enforce", "restricted", "enforce-version", "v1.30"),
		namespace("warned", "warn", "baseline"), in("open", privileged),
	)
	deployment := &appsv1.Deployment{ObjectMeta: meta("warned", "d"), Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: in("", privileged).Spec}}}
	tests := []struct {
		name     string
		request  *Attributes
		refusal  string
		warnings []string
	}{
		{name: "no policy", request: create(in("open", privileged))},
		{name: "within the baseline", request: create(in("baseline"))},
		{name: "beyond the baseline", request: create(in("baseline", privileged)), refusal: `pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`},
		{name: "restricted", request: create(in("strict")), refusal: `violates PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)`},
		{name: "an update of nothing that matters", request: update(in("baseline", privileged), in("baseline", privileged))},
		{name: "an update of the image", request: update(in("baseline", privileged, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "new" }), in("baseline", privileged)), refusal: "violates PodSecurity"},
		{name: "status", request: update(in("baseline", privileged), in("baseline")).sub("status")},
		{name: "a warning", request: create(in("warned", privileged)), warnings: []string{`would violate PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`}},
		{name: "a warning of a template", request: create(deployment), warnings: []string{`would violate PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`}},
		{name: "no such namespace", request: create(in("nowhere")), refusal: `failed to lookup namespace "nowhere"`},
		{name: "labels", request: create(namespace("new", "enforce", "baseline"))},
		{name: "wrong labels", request: create(namespace("new", "enforce", "basic")), refusal: `Namespace "new" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "basic": must be one of privileged, baseline, restricted`},
		{name: "wrong labels that were there", request: update(namespace("new", "enforce", "basic"), namespace("new", "enforce", "basic"))},
		{name: "a tightened policy", request: update(namespace("open", "enforce", "baseline"), namespace("open")), warnings: []string{
			`existing pods in namespace "open" violate the new PodSecurity enforce level "baseline:latest"`, "p: privileged",
		}},
		{name: "a relaxed policy", request: update(namespace("open"), namespace("open", "enforce", "baseline"))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPodSecurity(Config{Reader: cluster, Clock: clock.RealClock{}})
			warnings := test.request.warnings()
			expect(t, p.Validate(context.Background(), test.request), test.refusal)
			if !reflect.DeepEqual(*warnings, test.warnings) {
				t.Errorf("warnings %q", *warnings)
			}
		})
	}
}

func TestPodSecurityCountsAlikePods(t *testing.T) {
	cluster := authtest.New()
	for _, name := range []string{"a", "b", "c"} {
		p := pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true })
		p.Name = name
		cluster.Put(p)
	}
	p := newPodSecurity(Config{Reader: cluster, Clock: clock.RealClock{}})
	a := update(namespace("orange", "enforce", "baseline"), namespace("orange"))
	warnings := a.warnings()
	expect(t, p.Validate(context.Background(), a), "")
	if got := strings.Join(*warnings, "\n"); !strings.Contains(got, "a (and 2 other pods): host namespaces") {
		t.Errorf("warnings %s", got)
	}
}
