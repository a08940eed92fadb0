package environ_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/downward"
	"coracle.local/services/kubelet/internal/environ"
)

type objects struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

func (o objects) ConfigMap(_ context.Context, ns, name string) (*corev1.ConfigMap, error) {
	if cm, ok := o.configMaps[ns+"/"+name]; ok {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (o objects) Secret(_ context.Context, ns, name string) (*corev1.Secret, error) {
	if s, ok := o.secrets[ns+"/"+name]; ok {
		return s, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func maker() *environ.Maker {
	service := func(ns, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	return &environ.Maker{
		Objects: objects{
			configMaps: map[string]*corev1.ConfigMap{"ns/cm": {Data: map[string]string{"b": "2", "a": "1"}}},
			secrets:    map[string]*corev1.Secret{"ns/s": {Data: map[string][]byte{"pw": []byte("geheim")}}},
		},
		Services: func(context.Context, string) ([]*corev1.Service, error) {
			return []*corev1.Service{
				service("default", "kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443}),
				service("ns", "my-db", "10.96.0.9", corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}),
				service("ns", "headless", "None", corev1.ServicePort{Port: 1}),
				service("other", "far", "10.96.0.8", corev1.ServicePort{Port: 1}),
			}, nil
		},
		Node: func() downward.Node {
			return downward.Node{HostIPs: []string{"192.168.0.1"}, Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}}
		},
		File: func(_ *corev1.Pod, volume, path string) ([]byte, error) {
			if volume != "v" || path != "env" {
				return nil, errors.New("no such file")
			}
			return []byte("# comment\nA='one' # x\nB='two\nlines'\nC= 'no'\n"), nil
		},
	}
}

func vars(t *testing.T, pod *corev1.Pod) map[string]string {
	t.Helper()
	list, err := maker().Vars(t.Context(), pod, &pod.Spec.Containers[0], []string{"10.0.0.7", "fd00::7"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range list {
		if _, twice := out[kv.Key]; twice {
			t.Errorf("%s occurs twice", kv.Key)
		}
		out[kv.Key] = kv.Value
	}
	return out
}

func pod(c corev1.Container) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web", UID: "u",
			Labels: map[string]string{"app": "web", "tier": `a"b`}, Annotations: map[string]string{"x.io/Key": "v"},
		},
		Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa", Containers: []corev1.Container{c}},
	}
}

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func TestVars(t *testing.T) {
	optional := true
	got := vars(t, pod(corev1.Container{
		Name: "app",
		Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}, Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")},
		},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: &optional}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
		},
		Env: []corev1.EnvVar{
			{Name: "P_a", Value: "over"},
			{Name: "REF", Value: "$(P_a)-$(pw)-$(KUBERNETES_SERVICE_HOST)-$(NONE)-$$(P_a)-$"},
			{Name: "NAME", ValueFrom: field("metadata.name")},
			{Name: "UID", ValueFrom: field("metadata.uid")},
			{Name: "LABELS", ValueFrom: field("metadata.labels")},
			{Name: "LABEL", ValueFrom: field("metadata.labels['app']")},
			{Name: "ANNOTATION", ValueFrom: field("metadata.annotations['x.io/Key']")},
			{Name: "NODE", ValueFrom: field("spec.nodeName")},
			{Name: "SA", ValueFrom: field("spec.serviceAccountName")},
			{Name: "IP", ValueFrom: field("status.podIP")},
			{Name: "IPS", ValueFrom: field("status.podIPs")},
			{Name: "HOST", ValueFrom: field("status.hostIP")},
			{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "REQ", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.cpu", Divisor: resource.MustParse("1m")}}},
			{Name: "KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "b"}}},
			{Name: "LEFTOUT", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "none", Optional: &optional}}},
			{Name: "FILE", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "env", Key: "B"}}},
		},
	}))
	for name, want := range map[string]string{
		"P_a": "over", "P_b": "2", "pw": "geheim", "REF": "over-geheim-10.96.0.1-$(NONE)-$(P_a)-$",
		"NAME": "web", "UID": "u", "LABELS": "app=\"web\"\ntier=\"a\\\"b\"", "LABEL": "web", "ANNOTATION": "v", "NODE": "n1", "SA": "sa",
		"IP": "10.0.0.7", "IPS": "10.0.0.7,fd00::7", "HOST": "192.168.0.1", "MEM": "64", "CPU": "4", "REQ": "250", "KEY": "2", "FILE": "two\nlines",
		"KUBERNETES_SERVICE_PORT_HTTPS": "443", "KUBERNETES_PORT": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
		"MY_DB_SERVICE_HOST": "10.96.0.9", "MY_DB_PORT_53_UDP": "udp://10.96.0.9:53", "MY_DB_PORT_53_UDP_PROTO": "udp",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"LEFTOUT", "FAR_SERVICE_HOST", "HEADLESS_SERVICE_HOST"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is set to %q", name, v)
		}
	}
}

func TestServiceLinksMayBeOff(t *testing.T) {
	off := false
	p := pod(corev1.Container{Name: "app"})
	p.Spec.EnableServiceLinks = &off
	got := vars(t, p)
	if got["KUBERNETES_SERVICE_HOST"] == "" || got["MY_DB_SERVICE_HOST"] != "" {
		t.Errorf("got %v", got)
	}
}

func TestMissingSources(t *testing.T) {
	ref := corev1.LocalObjectReference{Name: "none"}
	for _, test := range []struct {
		name string
		c    corev1.Container
		want string
	}{
		{"configmap", corev1.Container{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref}}}}, `configmap "none" not found`},
		{"secret", corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref, Key: "k"}}}}}, `secret "none" not found`},
		{"key", corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}}}}, "couldn't find key k in ConfigMap ns/cm"},
		{"field", corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: field("spec.x")}}}, "unsupported fieldPath: spec.x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pod(test.c)
			_, err := maker().Vars(t.Context(), p, &p.Spec.Containers[0], nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "$(A)", "$(A", "$()", "a$(B)c$$(A)", "$(A)$(A)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := environ.Expand(s, func(string) (string, bool) { return "", false })
		if want := strings.ReplaceAll(s, "$$", "$"); !strings.Contains(s, "(") && got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	})
}
