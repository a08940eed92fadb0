package query

import (
	"errors"
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
)

func values(t *testing.T, query string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func selectable(k *kinds.Kind) []string {
	if k.Kind == "Pod" {
		return []string{"spec.nodeName", "status.phase"}
	}
	return nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The messages are upstream's, as its API server answered.
func TestForListRefusals(t *testing.T) {
	tests := []struct{ query, want string }{
		{"limit=abc", `strconv.ParseInt: parsing "abc": invalid syntax`},
		{"timeoutSeconds=abc", `strconv.ParseInt: parsing "abc": invalid syntax`},
		{"labelSelector=,,=", `found ',', expected: !, identifier, or 'end of string'`},
		{"labelSelector=a+b", `unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt`},
		{"fieldSelector=a", `invalid selector: 'a'; can't understand 'a'`},
		{"fieldSelector=spec.foo%3D1", `"spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"resourceVersionMatch=Exact", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided`},
		{"resourceVersionMatch=Foo&resourceVersion=1", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""`},
		{"resourceVersion=0&resourceVersionMatch=Exact", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"`},
		{"sendInitialEvents=true", `ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list`},
		{"watch=1&sendInitialEvents=true", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan`},
	}
	k := kinds.For[*corev1.ConfigMap]()
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			_, err := ForList(values(t, tt.query), k, selectable, "", false)
			if text(err) != tt.want {
				t.Errorf("got  %s\nwant %s", text(err), tt.want)
			}
		})
	}
}

func TestForList(t *testing.T) {
	pod, node := kinds.For[*corev1.Pod](), kinds.For[*corev1.Node]()
	tests := []struct {
		name, query string
		kind        *kinds.Kind
		object      string
		force       bool
		fields      string
		err         string
	}{
		{"nothing", "", pod, "", false, "", ""},
		{"known field", "fieldSelector=status.phase%3DRunning", pod, "", false, "status.phase=Running", ""},
		{"older name", "fieldSelector=spec.host%3Da", pod, "", false, "spec.nodeName=a", ""},
		{"unknown field", "fieldSelector=spec.x%3Da", pod, "", false, "", "field label not supported: spec.x"},
		{"name of a node", "fieldSelector=metadata.name%3Da", node, "", false, "metadata.name=a", ""},
		{"path names an object", "", pod, "p", true, "metadata.name=p", ""},
		{"path and selector disagree", "fieldSelector=metadata.name%3Dq", pod, "p", true, "", "fieldSelector metadata.name doesn't match requested name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ForList(values(t, tt.query), tt.kind, selectable, tt.object, tt.force)
			if text(err) != tt.err {
				t.Fatalf("error %q, want %q", text(err), tt.err)
			}
			if err != nil {
				return
			}
			got := ""
			if l.Fields != nil {
				got = l.Fields.String()
			}
			if got != tt.fields || l.Watch != tt.force {
				t.Errorf("fields %q, watch %v", got, l.Watch)
			}
		})
	}
}

func TestWatchFromNothingBeginsWithTheState(t *testing.T) {
	l, err := ForList(values(t, "watch=1"), kinds.For[*corev1.Pod](), selectable, "", false)
	if err != nil || l.SendInitialEvents == nil || !*l.SendInitialEvents {
		t.Errorf("sendInitialEvents %v, %v", l.SendInitialEvents, err)
	}
}

func TestWriteOptions(t *testing.T) {
	long := "fieldManager=" + repeat("a", 129)
	tests := []struct {
		name, query string
		read        func(url.Values) error
		want        string
	}{
		{"dry run", "dryRun=All&fieldManager=me", create, ""},
		{"unknown dry run", "dryRun=Foo", create, `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Foo"]: supported values: "All"`},
		{"unknown validation", "fieldValidation=Foo", create, `CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Foo": supported values: "", "Ignore", "Strict", "Warn"`},
		{"long manager", long, create, `CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes`},
		{"apply without manager", "", patch(types.ApplyYAMLPatchType), `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`},
		{"force without apply", "force=1", patch(types.MergePatchType), `PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch`},
		{"unknown propagation", "propagationPolicy=Foo", remove, `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil"`},
		{"grace", "gracePeriodSeconds=x", remove, `strconv.ParseInt: parsing "x": invalid syntax`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.read(values(t, tt.query)); text(err) != tt.want {
				t.Errorf("got  %s\nwant %s", text(err), tt.want)
			}
		})
	}
}

func repeat(s string, n int) (out string) {
	for range n {
		out += s
	}
	return out
}

func create(v url.Values) error { _, err := ForCreate(v); return err }

func patch(t types.PatchType) func(url.Values) error {
	return func(v url.Values) error { _, err := ForPatch(v, t); return err }
}

func remove(v url.Values) error {
	o, err := ForDelete(v)
	if err != nil {
		return err
	}
	return CheckDelete(o)
}

func TestForLog(t *testing.T) {
	o, err := ForLog(values(t, "container=c&follow=true&tailLines=3&timestamps=1&sinceTime=2026-01-02T03:04:05Z"), "p")
	if err != nil || o.Container != "c" || !o.Follow || !o.Timestamps || o.Previous || *o.TailLines != 3 || o.SinceTime.Year() != 2026 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := ForLog(values(t, "tailLines=abc"), "p"); !apierrors.IsBadRequest(err) {
		t.Errorf("a wrong number: %v", err)
	}
	_, err = ForLog(values(t, "tailLines=-1&limitBytes=0&sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z"), "p")
	var invalid *apierrors.StatusError
	if !errors.As(err, &invalid) || !apierrors.IsInvalid(err) || len(invalid.ErrStatus.Details.Causes) != 3 {
		t.Errorf("wrong values: %v", err)
	}
}

func TestForTable(t *testing.T) {
	if got, err := ForTable(values(t, "")); got != metav1.IncludeMetadata || err != nil {
		t.Errorf("default: %v, %v", got, err)
	}
	_, err := ForTable(values(t, "includeObject=Foo"))
	if want := "Unable to convert to Table as requested: includeObject: Invalid value: \"Foo\": must be 'Metadata', 'Object', 'None', or empty"; text(err) != want {
		t.Errorf("got  %s\nwant %s", text(err), want)
	}
}

func TestForGet(t *testing.T) {
	if v, err := ForGet(values(t, "resourceVersion=7")); v != "7" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := ForGet(values(t, "export=1")); !apierrors.IsBadRequest(err) {
		t.Errorf("export: %v", err)
	}
}

func TestPorts(t *testing.T) {
	o, err := ForPortForward(values(t, "ports=80,81&ports=443"))
	if err != nil || len(o.Ports) != 3 || o.Ports[2] != 443 {
		t.Errorf("%v, %v", o, err)
	}
}
