package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPagesOverREST reads a list page by page: together the pages are the list as
// it was when the first was read.
func TestPagesOverREST(t *testing.T) {
	_, m, w := withMaps(t)
	for n := range 7 {
		create(t, m, fmt.Sprint("m", n), map[string]string{"paged": "yes"})
	}
	var names []string
	var version, token string
	for page := 0; page == 0 || token != ""; page++ {
		query := url.Values{"limit": {"3"}, "fieldSelector": {"metadata.namespace=default"}}
		if token != "" {
			query.Set("continue", token)
		}
		list := as[corev1.ConfigMapList](w.get(mapsPath+"?"+query.Encode(), asJSON))
		if page == 0 {
			version = list.ResourceVersion
			create(t, m, "m9", nil) // is not of this list
			if err := m.Delete(context.Background(), "default", "m6", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if list.ResourceVersion != version {
			t.Errorf("page %d at %s, the first at %s", page, list.ResourceVersion, version)
		}
		if list.RemainingItemCount != nil {
			t.Error("with a selector nobody knows what remains")
		}
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
		token = list.Continue
	}
	if got := strings.Join(names, " "); got != "m0 m1 m2 m3 m4 m5 m6" {
		t.Errorf("pages hold %s", got)
	}
	first := as[corev1.ConfigMapList](w.get(mapsPath+"?limit=2", asJSON))
	if first.RemainingItemCount == nil || *first.RemainingItemCount != 5 {
		t.Errorf("%v remain, want 5", first.RemainingItemCount)
	}
}

// TestTokenStaysInItsNamespace takes a token of one namespace to another one.
func TestTokenStaysInItsNamespace(t *testing.T) {
	c, m, w := withMaps(t)
	for _, name := range []string{"a", "b", "c"} {
		create(t, m, name, nil)
	}
	newWeb(t, c.Config).post("/api/v1/namespaces", `{"metadata":{"name":"zebra"}}`).is(http.StatusCreated)
	w.post("/api/v1/namespaces/zebra/configmaps", `{"metadata":{"name":"z"}}`).is(http.StatusCreated)
	token := as[corev1.ConfigMapList](w.get(mapsPath+"?limit=1", asJSON)).Continue
	list := as[corev1.ConfigMapList](w.get("/api/v1/namespaces/zebra/configmaps?continue="+token, asJSON))
	for _, item := range list.Items {
		if item.Namespace != "zebra" {
			t.Errorf("lists %s/%s", item.Namespace, item.Name)
		}
	}
}

// TestVersionsOfLists reads at resource versions.
func TestVersionsOfLists(t *testing.T) {
	_, m, w := withMaps(t)
	one := create(t, m, "one", nil)
	two := create(t, m, "two", nil)
	for _, row := range []struct {
		name, query string
		want        int
	}{
		{"as it is now", "", 2},
		{"whatever is at hand", "resourceVersion=0", 2},
		{"not older", "resourceVersion=" + one.ResourceVersion + "&resourceVersionMatch=NotOlderThan", 2},
		{"exactly then", "resourceVersion=" + one.ResourceVersion + "&resourceVersionMatch=Exact", 1},
		{"exactly now", "resourceVersion=" + two.ResourceVersion + "&resourceVersionMatch=Exact", 2},
		{"a page of then", "resourceVersion=" + one.ResourceVersion + "&limit=5", 1},
	} {
		list := as[corev1.ConfigMapList](w.get(mapsPath+"?"+row.query, asJSON))
		if len(list.Items) != row.want {
			t.Errorf("%s: %d objects, want %d", row.name, len(list.Items), row.want)
		}
		if strings.HasSuffix(row.query, "Exact") && !strings.Contains(row.query, "="+list.ResourceVersion+"&") {
			t.Errorf("%s: at %s", row.name, list.ResourceVersion)
		}
	}
}
