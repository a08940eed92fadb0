package endpoints

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func mirrorBench(t *testing.T, perSubset int, objects ...kinds.Object) *workbench.Bench {
	s := service(http())
	s.Spec.Selector = nil
	b := workbench.New(t, append(objects, s)...)
	return b.Add(Mirroring(b.Deps(), 0, perSubset))
}

func written(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	e := &corev1.Endpoints{ObjectMeta: workbench.Meta("web"), Subsets: subsets}
	e.UID = "endpoints"
	e.Labels = map[string]string{"team": "a"}
	e.Annotations = map[string]string{"note": "x", corev1.LastAppliedConfigAnnotation: "{}"}
	return e
}

func subset(port int32, ready, notReady string) corev1.EndpointSubset {
	s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: fmt.Sprintf("p%d", port), Port: port, Protocol: corev1.ProtocolTCP}}}
	for _, ip := range strings.Fields(ready) {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
	}
	for _, ip := range strings.Fields(notReady) {
		s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return s
}

func mirrorText(b *workbench.Bench) string {
	var out []string
	for _, s := range workbench.All[*discoveryv1.EndpointSlice](b, "default") {
		text := string(s.AddressType)
		var ports []string
		for _, p := range s.Ports {
			ports = append(ports, fmt.Sprintf(" %s=%d", *p.Name, *p.Port))
		}
		slices.Sort(ports)
		text += strings.Join(ports, "")
		for _, e := range s.Endpoints {
			text += " " + e.Addresses[0]
			if !*e.Conditions.Ready {
				text += "!"
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestMirrorsWhatPeopleWrite(t *testing.T) {
	for name, c := range map[string]struct {
		subsets []corev1.EndpointSubset
		want    string
		event   string
	}{
		"addresses":             {[]corev1.EndpointSubset{subset(80, "10.0.0.1", "10.0.0.2")}, "IPv4 p80=80 10.0.0.1 10.0.0.2!", ""},
		"both families":         {[]corev1.EndpointSubset{subset(80, "10.0.0.1 fd00::1", "")}, "IPv4 p80=80 10.0.0.1; IPv6 p80=80 fd00::1", ""},
		"the same addresses":    {[]corev1.EndpointSubset{subset(80, "10.0.0.1", ""), subset(81, "10.0.0.1", "")}, "IPv4 p80=80 p81=81 10.0.0.1", ""},
		"not ready wins":        {[]corev1.EndpointSubset{subset(80, "10.0.0.1", ""), subset(80, "", "10.0.0.1")}, "IPv4 p80=80 10.0.0.1!", ""},
		"no ports":              {[]corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}}}}, "IPv4 10.0.0.1", ""},
		"what is no address":    {[]corev1.EndpointSubset{subset(80, "10.0.0.1 x", "")}, "IPv4 p80=80 10.0.0.1", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"},
		"more than is mirrored": {[]corev1.EndpointSubset{subset(80, "10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.4")}, "IPv4 p80=80 10.0.0.1 10.0.0.2", "A max of 2 addresses can be mirrored to EndpointSlices per Endpoints subset. 2 addresses were skipped"},
		"nothing":               {nil, "", ""},
	} {
		b := mirrorBench(t, 2, written(c.subsets...))
		b.Settle()
		if got := mirrorText(b); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
		event := ""
		for _, e := range b.API.Events() {
			event = e.Message
		}
		if event != c.event {
			t.Errorf("%s: event %q", name, event)
		}
		b.API.Calls()
		b.Advance(time.Minute)
		if calls := b.API.Calls(); len(calls) > 0 {
			t.Errorf("%s: at rest: %v", name, calls)
		}
	}
}

func TestMirrorsMetadata(t *testing.T) {
	b := mirrorBench(t, 1000, written(subset(80, "10.0.0.1", "")))
	b.Settle()
	s := workbench.All[*discoveryv1.EndpointSlice](b, "default")[0]
	if s.Labels["team"] != "a" || s.Labels[discoveryv1.LabelManagedBy] != mirroredBy || s.Labels[discoveryv1.LabelServiceName] != "web" ||
		len(s.Annotations) != 1 || s.Annotations["note"] != "x" || !strings.HasPrefix(s.Name, "web-") {
		t.Fatalf("metadata %+v", s.ObjectMeta)
	}
	if ref := metav1.GetControllerOf(s); ref == nil || ref.Kind != "Endpoints" || ref.UID != "endpoints" {
		t.Fatalf("owner %v", ref)
	}
	workbench.Change(b, "default", "web", func(e *corev1.Endpoints) { e.Labels["team"] = "b" })
	b.Settle()
	if s := workbench.All[*discoveryv1.EndpointSlice](b, "default"); len(s) != 1 || s[0].Labels["team"] != "b" {
		t.Fatalf("slices %v", s)
	}
}

func TestRecyclesSlices(t *testing.T) {
	b := mirrorBench(t, 1000, written(subset(80, "10.0.0.1", "")))
	b.Settle()
	name := workbench.All[*discoveryv1.EndpointSlice](b, "default")[0].Name
	workbench.Change(b, "default", "web", func(e *corev1.Endpoints) { e.Subsets = []corev1.EndpointSubset{subset(81, "10.0.0.2", "")} })
	b.Settle()
	if got := mirrorText(b); got != "IPv4 p81=81 10.0.0.2" || workbench.All[*discoveryv1.EndpointSlice](b, "default")[0].Name != name {
		t.Fatalf("slices %q", got)
	}
}

func TestEndsMirroring(t *testing.T) {
	for name, end := range map[string]func(*workbench.Bench){
		"Endpoints gone": func(b *workbench.Bench) { workbench.Delete[*corev1.Endpoints](b, "default", "web") },
		"Service gone":   func(b *workbench.Bench) { workbench.Delete[*corev1.Service](b, "default", "web") },
		"a selector": func(b *workbench.Bench) {
			workbench.Change(b, "default", "web", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"a": "b"} })
		},
		"a label": func(b *workbench.Bench) {
			workbench.Change(b, "default", "web", func(e *corev1.Endpoints) { e.Labels[discoveryv1.LabelSkipMirror] = "true" })
		},
	} {
		b := mirrorBench(t, 1000, written(subset(80, "10.0.0.1", "")))
		b.Settle()
		if got := mirrorText(b); got == "" {
			t.Fatalf("%s: nothing was mirrored", name)
		}
		end(b)
		b.Settle()
		if got := mirrorText(b); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
