package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDryRun makes every kind of write, none of which may leave a trace.
func TestDryRun(t *testing.T) {
	_, m, w := withMaps(t)
	here := configMap("here", nil)
	here.Data = map[string]string{"k": "v"}
	before, err := m.Create(context.Background(), here)
	if err != nil {
		t.Fatal(err)
	}
	made := as[corev1.ConfigMap](w.post(mapsPath+"?dryRun=All", `{"metadata":{"name":"new"}}`).is(http.StatusCreated))
	if made.UID == "" || made.CreationTimestamp.IsZero() || made.ResourceVersion != "" {
		t.Errorf("made %+v", made.ObjectMeta)
	}
	if got := as[corev1.ConfigMap](w.put(mapsPath+"/here?dryRun=All", `{"metadata":{"name":"here"},"data":{"k":"w"}}`)); got.Data["k"] != "w" {
		t.Errorf("put %v", got.Data)
	}
	if got := as[corev1.ConfigMap](w.patch(mapsPath+"/here?dryRun=All", merge, `{"data":{"k":"x"}}`)); got.Data["k"] != "x" {
		t.Errorf("patched %v", got.Data)
	}
	applied := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"here"},"data":{"l":"y"}}`
	if got := as[corev1.ConfigMap](w.patch(mapsPath+"/here?dryRun=All&fieldManager=m", apply, applied)); got.Data["l"] != "y" {
		t.Errorf("applied %v", got.Data)
	}
	w.send(http.MethodDelete, mapsPath+"/here?dryRun=All", "", nil).is(http.StatusOK)
	w.send(http.MethodDelete, mapsPath+"?dryRun=All", "", nil).is(http.StatusOK)
	w.post(mapsPath+"?dryRun=All", `{"metadata":{"name":"here"}}`).refuses(http.StatusConflict, metav1.StatusReasonAlreadyExists, `configmaps "here" already exists`)

	after, err := m.Get(context.Background(), "default", "here")
	if err != nil || after.ResourceVersion != before.ResourceVersion || after.Data["k"] != "v" {
		t.Errorf("afterwards %+v (%v)", after, err)
	}
	w.get(mapsPath+"/new", asJSON).is(http.StatusNotFound)
}

// TestFieldValidation sends fields that are unknown and fields that are there
// twice.
func TestFieldValidation(t *testing.T) {
	_, m, w := withMaps(t)
	create(t, m, "here", nil)
	const wrong = `{"metadata":{"name":"x","name":"here"},"dataa":{"k":"v"}}`
	const twice, unknown = `duplicate field "metadata.name"`, `unknown field "dataa"`
	for _, row := range []struct {
		name, query string
		warned      bool
		code        int
	}{
		{"by default", "", true, http.StatusOK},
		{"warned of", "?fieldValidation=Warn", true, http.StatusOK},
		{"ignored", "?fieldValidation=Ignore", false, http.StatusOK},
		{"strict", "?fieldValidation=Strict", false, http.StatusBadRequest},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := (&web{t, w.client, w.server}).put(mapsPath+"/here"+row.query, wrong).is(row.code)
			warnings := strings.Join(a.header.Values("Warning"), " ")
			for _, text := range []string{twice, unknown} {
				if has := strings.Contains(warnings, `299 - "`+strings.ReplaceAll(text, `"`, `\"`)+`"`); has != row.warned {
					t.Errorf("warnings %s", warnings)
				}
				if row.code == http.StatusBadRequest && !strings.Contains(string(a.body), strings.ReplaceAll(text, `"`, `\"`)) {
					t.Errorf("refused with %s", a.body)
				}
			}
		})
	}
}

// TestManagedFields follows who owns what, over all the ways to write.
func TestManagedFields(t *testing.T) {
	_, _, w := withMaps(t)
	w.post(mapsPath+"?fieldManager=maker", `{"metadata":{"name":"m"},"data":{"a":"1"}}`).is(http.StatusCreated)
	w.patch(mapsPath+"/m?fieldManager=patcher", merge, `{"data":{"b":"2"}}`).is(http.StatusOK)
	w.patch(mapsPath+"/m?fieldManager=applier", apply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"c":"3"}}`).is(http.StatusOK)
	owned := func() map[string]string {
		t.Helper()
		out := map[string]string{}
		for _, e := range as[corev1.ConfigMap](w.get(mapsPath+"/m", asJSON)).ManagedFields {
			if e.APIVersion != "v1" || e.FieldsType != "FieldsV1" || e.Time.IsZero() {
				t.Errorf("entry %+v", e)
			}
			out[e.Manager+" "+string(e.Operation)] = string(e.FieldsV1.Raw)
		}
		return out
	}
	want := map[string]string{
		"maker Update":   `{"f:data":{".":{},"f:a":{}}}`,
		"patcher Update": `{"f:data":{"f:b":{}}}`,
		"applier Apply":  `{"f:data":{"f:c":{}}}`,
	}
	for who, fields := range owned() {
		if want[who] != fields {
			t.Errorf("%s owns %s, want %s", who, fields, want[who])
		}
		delete(want, who)
	}
	if len(want) > 0 {
		t.Errorf("nothing is owned by %v", want)
	}
	w.patch(mapsPath+"/m?fieldManager=other", apply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"c":"4"}}`).
		refuses(http.StatusConflict, metav1.StatusReasonConflict, `Apply failed with 1 conflict: conflict with "applier": .data.c`)
	w.put(mapsPath+"/m?fieldManager=putter", `{"metadata":{"name":"m"},"data":{"d":"5"}}`).is(http.StatusOK)
	if got := owned(); len(got) != 2 || got["putter Update"] != `{"f:data":{"f:d":{}}}` {
		t.Errorf("after a PUT: %v", got)
	}
	// What is set by default belongs to who left it out.
	made := as[corev1.Service](w.post("/api/v1/namespaces/default/services?fieldManager=maker", `{"metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}}`))
	if fields := string(made.ManagedFields[0].FieldsV1.Raw); !strings.Contains(fields, `"f:sessionAffinity":{}`) || strings.Contains(fields, "clusterIP") {
		t.Errorf("of a Service the maker owns %s", fields)
	}
}
