package endpoints

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/workbench"
)

func service(ports ...corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{ObjectMeta: workbench.Meta("web"), Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, ClusterIP: "10.96.0.9", Ports: ports,
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
	}}
	s.Labels = map[string]string{"team": "a"}
	return s
}

func http() corev1.ServicePort {
	return corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}
}

func pod(name, ip string, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p := &corev1.Pod{
		ObjectMeta: workbench.Meta(name), Spec: corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
		},
	}
	p.Labels = map[string]string{"app": "web"}
	return p
}

func node() *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}} }

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, append(objects, node())...)
	d := b.Deps()
	return b.Add(Slices(d, 0, 100), Legacy(d, 0))
}

func slicesText(b *workbench.Bench) string {
	var out []string
	for _, s := range workbench.All[*discoveryv1.EndpointSlice](b, "default") {
		for _, p := range s.Ports {
			out = append(out, fmt.Sprintf("%s=%d", *p.Name, *p.Port))
		}
		for _, e := range s.Endpoints {
			state := "down"
			if *e.Conditions.Ready {
				state = "up"
			}
			if *e.Conditions.Terminating {
				state = "ending"
			}
			out = append(out, e.TargetRef.Name+":"+state)
		}
	}
	return strings.Join(out, " ")
}

func legacyText(b *workbench.Bench) string {
	var out []string
	for _, e := range workbench.All[*corev1.Endpoints](b, "default") {
		for _, s := range e.Subsets {
			for _, p := range s.Ports {
				out = append(out, fmt.Sprintf("%s=%d", p.Name, p.Port))
			}
			for _, a := range s.Addresses {
				out = append(out, a.TargetRef.Name+":up")
			}
			for _, a := range s.NotReadyAddresses {
				out = append(out, a.TargetRef.Name+":down")
			}
		}
	}
	return strings.Join(out, " ")
}

func TestFollowsPods(t *testing.T) {
	b := bench(t, service(http()), pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", false))
	b.Settle()
	if got := legacyText(b); got != "http=8080 a:up b:down" {
		t.Fatalf("endpoints %q", got)
	}
	s := workbench.All[*discoveryv1.EndpointSlice](b, "default")
	if len(s) != 1 || !strings.Contains(slicesText(b), "a:up") || !strings.Contains(slicesText(b), "b:down") {
		t.Fatalf("slices %q", slicesText(b))
	}
	if s[0].Labels[discoveryv1.LabelServiceName] != "web" || s[0].Labels[discoveryv1.LabelManagedBy] != managedBy || !strings.HasPrefix(s[0].Name, "web-") {
		t.Fatalf("slice %s has labels %v", s[0].Name, s[0].Labels)
	}
	if ref := metav1.GetControllerOf(s[0]); ref == nil || ref.Kind != "Service" {
		t.Fatalf("owner %v", ref)
	}
	e := workbench.Get[*corev1.Endpoints](b, "default", "web")
	if e.Labels["team"] != "a" || e.Labels[managedByLabel] != managedByValue {
		t.Fatalf("labels %v", e.Labels)
	}
	b.SetReady(pod("b", "10.0.0.2", true), true)
	workbench.Delete[*corev1.Pod](b, "default", "a")
	b.Settle()
	if got := slicesText(b); !strings.Contains(got, "a:ending") || !strings.Contains(got, "b:up") {
		t.Fatalf("slices %q", got)
	}
	if got := legacyText(b); got != "http=8080 b:up" {
		t.Fatalf("endpoints %q", got)
	}
	if f := b.Failing(); len(f) > 0 {
		t.Fatalf("failing: %v", f)
	}
}

func TestDoesNotWriteWhatIsThere(t *testing.T) {
	b := bench(t, service(http()), pod("a", "10.0.0.1", true))
	b.Advance(10 * time.Second)
	b.API.Calls()
	workbench.Change(b, "default", "a", func(p *corev1.Pod) { p.Annotations = map[string]string{"x": "y"} })
	workbench.Change(b, "default", "web", func(s *corev1.Service) { s.Annotations = map[string]string{"x": "y"} })
	b.Advance(10 * time.Second)
	if calls := b.API.Calls(); len(calls) != 0 {
		t.Fatalf("calls %v", calls)
	}
}

func TestPortsByNameMakeSubsets(t *testing.T) {
	named := corev1.ServicePort{Name: "metrics", Port: 9, TargetPort: intstr.FromString("m"), Protocol: corev1.ProtocolTCP}
	a, c := pod("a", "10.0.0.1", true), pod("c", "10.0.0.3", true)
	a.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "m", ContainerPort: 1000, Protocol: corev1.ProtocolTCP}}}}
	c.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "m", ContainerPort: 2000, Protocol: corev1.ProtocolTCP}}}}
	b := bench(t, service(http(), named), a, c)
	b.Settle()
	if got := legacyText(b); got != "http=8080 a:up c:up metrics=1000 a:up metrics=2000 c:up" {
		t.Fatalf("endpoints %q", got)
	}
	if n := len(workbench.All[*discoveryv1.EndpointSlice](b, "default")); n != 2 {
		t.Fatalf("%d slices", n)
	}
}

func TestManyPodsMakeManySlicesAndTruncateEndpoints(t *testing.T) {
	objects := []kinds.Object{service(http())}
	for i := range 1050 {
		objects = append(objects, pod(fmt.Sprintf("p%04d", i), fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), true))
	}
	b := bench(t, objects...)
	b.Settle()
	if n := len(workbench.All[*discoveryv1.EndpointSlice](b, "default")); n != 11 {
		t.Fatalf("%d slices", n)
	}
	e := workbench.Get[*corev1.Endpoints](b, "default", "web")
	if n := len(e.Subsets[0].Addresses); n != capacity || e.Annotations[corev1.EndpointsOverCapacity] != truncated {
		t.Fatalf("%d addresses, annotations %v", n, e.Annotations)
	}
}

func TestHeadlessAndGone(t *testing.T) {
	s := service()
	s.Spec.ClusterIP = corev1.ClusterIPNone
	b := bench(t, s, pod("a", "10.0.0.1", true))
	b.Settle()
	e := workbench.Get[*corev1.Endpoints](b, "default", "web")
	if _, ok := e.Labels[corev1.IsHeadlessService]; !ok || len(e.Subsets) != 1 || len(e.Subsets[0].Ports) != 0 {
		t.Fatalf("labels %v, subsets %v", e.Labels, e.Subsets)
	}
	workbench.Delete[*corev1.Service](b, "default", "web")
	b.Settle()
	if _, ok := workbench.Find[*corev1.Endpoints](b, "default", "web"); ok {
		t.Fatal("the endpoints of a Service that is gone")
	}
}

func TestLeavesAloneWhatNeverHadAService(t *testing.T) {
	b := bench(t)
	b.API.Seed(&corev1.Endpoints{ObjectMeta: workbench.Meta("own")})
	b.Advance(time.Minute)
	workbench.Change(b, "default", "own", func(e *corev1.Endpoints) { e.Labels = map[string]string{"a": "b"} })
	b.Advance(time.Minute)
	workbench.Get[*corev1.Endpoints](b, "default", "own")
}

func TestLeftoversOfTheTimeBefore(t *testing.T) {
	started := make(chan struct{})
	l := &leftovers{synced: func() <-chan struct{} { return started }}
	old, own := &corev1.Endpoints{ObjectMeta: workbench.Meta("old")}, &corev1.Endpoints{ObjectMeta: workbench.Meta("own")}
	l.endpoints(nil, old)
	close(started)
	l.endpoints(nil, own)
	if !l.is(loop.Key{Namespace: "default", Name: "old"}, true) || l.is(loop.Key{Namespace: "default", Name: "own"}, true) {
		t.Fatalf("leftovers %v", l.keys)
	}
	l.is(loop.Key{Namespace: "default", Name: "old"}, false) // its Service came
	if l.is(loop.Key{Namespace: "default", Name: "old"}, true) {
		t.Fatal("a Service that comes and is not seen to go")
	}
}

func TestLeavesAloneWhatHasNoSelector(t *testing.T) {
	s := service(http())
	s.Spec.Selector = nil
	own := &corev1.Endpoints{ObjectMeta: workbench.Meta("web"), Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "1.2.3.4"}}}}}
	b := bench(t, s, own)
	b.Settle()
	if e := workbench.Get[*corev1.Endpoints](b, "default", "web"); len(e.Labels) != 0 {
		t.Fatalf("labels %v", e.Labels)
	}
	if n := len(workbench.All[*discoveryv1.EndpointSlice](b, "default")); n != 0 {
		t.Fatalf("%d slices", n)
	}
}

func TestPodsOfUnknownNodesWait(t *testing.T) {
	p := pod("a", "10.0.0.1", true)
	p.Spec.NodeName = "elsewhere"
	b := bench(t, service(http()), p)
	b.Settle()
	if got := slicesText(b); strings.Contains(got, "a:") {
		t.Fatalf("slices %q", got)
	}
	n := node()
	n.Name, n.UID = "elsewhere", types.UID("n2")
	b.API.Seed(n)
	b.Advance(time.Minute)
	if got := slicesText(b); !strings.Contains(got, "a:up") {
		t.Fatalf("slices %q", got)
	}
}
