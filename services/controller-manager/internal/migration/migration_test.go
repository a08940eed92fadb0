package migration

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func migration(name, group, resource string) *storagemigrationv1.StorageVersionMigration {
	return &storagemigrationv1.StorageVersionMigration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: group, Resource: resource}},
	}
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(New(b.Deps()))
}

func text(b *workbench.Bench, name string) string {
	var out []string
	for _, c := range workbench.Get[*storagemigrationv1.StorageVersionMigration](b, "", name).Status.Conditions {
		out = append(out, c.Type+"="+string(c.Status)+" "+c.Reason+": "+c.Message)
	}
	return strings.Join(out, "; ")
}

const done = "Running=False MigrationCompleted: Migration completed; Succeeded=True StorageVersionMigrationSucceeded: Migration completed"

func TestRewritesAllObjects(t *testing.T) {
	b := bench(t, &corev1.ConfigMap{ObjectMeta: workbench.Meta("a")}, &corev1.ConfigMap{ObjectMeta: workbench.Meta("b")}, migration("m", "", "configmaps"))
	b.Advance(time.Minute)
	if got := text(b, "m"); got != done {
		t.Fatalf("conditions %s", got)
	}
	calls := b.API.Calls()
	for _, want := range []string{"patch configmaps default/a", "patch configmaps default/b"} {
		if !slices.Contains(calls, want) {
			t.Errorf("no %q in %v", want, calls)
		}
	}
	b.Advance(time.Minute)
	if calls := b.API.Calls(); len(calls) > 0 {
		t.Fatalf("at rest: %v", calls)
	}
}

func TestOneAtATime(t *testing.T) {
	b := bench(t, &corev1.ConfigMap{ObjectMeta: workbench.Meta("a")}, migration("m", "", "configmaps"), migration("n", "", "configmaps"))
	b.API.Fail = func(verb string, k *kinds.Kind, _, _ string) error {
		if verb == "patch" && k.Plural == "configmaps" {
			return apierrors.NewTooManyRequests("slow down", 1)
		}
		return nil
	}
	b.Advance(time.Second)
	if got := text(b, "m"); got != "Running=True MigrationRunning: The migration is running, 1/1 objects not yet migrated; transient error: slow down" {
		t.Fatalf("conditions %s", got)
	}
	if got := text(b, "n"); got != "" {
		t.Fatalf("two run: %s", got)
	}
	b.API.Fail = nil
	b.Advance(time.Hour)
	if text(b, "m") != done || text(b, "n") != done {
		t.Fatalf("conditions %s; %s", text(b, "m"), text(b, "n"))
	}
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		m    *storagemigrationv1.StorageVersionMigration
		err  error
		want string
	}{
		"what nobody serves": {migration("m", "example.com", "things"), nil, "resource does not exist in discovery"},
		"what cannot be written": {
			migration("m", "", "componentstatuses"), nil, `resource "/v1, Resource=componentstatuses" does not support discovery operations: [update patch list]`,
		},
		"a refusal": {
			migration("m", "", "configmaps"), apierrors.NewForbidden(corev1.Resource("configmaps"), "a", nil),
			`1/1 not yet migrated. migration encountered unhandled error: configmaps "a" is forbidden: <nil>`,
		},
	} {
		b := bench(t, &corev1.ConfigMap{ObjectMeta: workbench.Meta("a")}, c.m)
		b.API.Fail = func(verb string, _ *kinds.Kind, _, _ string) error {
			if verb == "patch" {
				return c.err
			}
			return nil
		}
		b.Advance(2 * time.Minute)
		if got := text(b, "m"); !strings.HasSuffix(got, "Failed=True StorageVersionMigrationFailed: "+c.want) {
			t.Errorf("%s: conditions %s", name, got)
		}
	}
}

func TestCustomResourcesForgetOldVersions(t *testing.T) {
	k := workbench.Custom("Thing", "things", true)
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1", Storage: true}, {Name: "v1beta1"},
		}},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{StoredVersions: []string{"v1beta1", "v1"}},
	}
	b := bench(t, d, migration("m", "example.com", "things"))
	b.API.Extend(k)
	o := k.New()
	o.SetNamespace("default")
	o.SetName("x")
	b.API.Seed(o)
	b.Advance(time.Minute)
	if got := text(b, "m"); got != done {
		t.Fatalf("conditions %s", got)
	}
	d = workbench.Get[*apiextensionsv1.CustomResourceDefinition](b, "", d.Name)
	if len(d.Status.StoredVersions) != 1 || d.Status.StoredVersions[0] != "v1" || condition(d).Reason != "MigrationSucceeded" {
		t.Fatalf("status %+v", d.Status)
	}
	if !slices.Contains(b.API.Calls(), "patch things default/x") {
		t.Fatal("the custom resource was not rewritten")
	}
}
