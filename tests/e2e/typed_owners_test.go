package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/client"
)

// TestWritesOverGRPCOwnFields writes over gRPC, and applies over REST what is
// then somebody else's.
func TestWritesOverGRPCOwnFields(t *testing.T) {
	c, _, w := withMaps(t)
	ctx := context.Background()
	m := client.For[*corev1.ConfigMap](c.Conn)
	made, err := m.Create(ctx, configMap("owned", map[string]string{"by": "grpc"}))
	if err != nil {
		t.Fatal(err)
	}
	owners := func() string {
		var out []string
		for _, f := range as[corev1.ConfigMap](w.get(mapsPath+"/owned", asJSON)).ManagedFields {
			out = append(out, f.Manager+" "+string(f.Operation)+" "+string(f.FieldsV1.Raw))
		}
		slices.Sort(out) // else by when they wrote, which may be the same second
		return strings.Join(out, "\n")
	}
	if got, want := owners(), `kubernetes-admin Update {"f:metadata":{"f:labels":{".":{},"f:by":{}}}}`; got != want {
		t.Errorf("created: %s\nwant %s", got, want)
	}
	w.patch(mapsPath+"/owned?fieldManager=applier", apply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"owned","labels":{"by":"rest"}}}`).
		refuses(http.StatusConflict, metav1.StatusReasonConflict, `Apply failed with 1 conflict: conflict with "kubernetes-admin" using v1: .metadata.labels.by`)

	// What the fields' list is missing is no wish to lose it.
	made.ManagedFields = nil
	made.Data = map[string]string{"k": "v"}
	if _, err := m.As("writer").Update(ctx, made); err != nil {
		t.Fatal(err)
	}
	if _, err := m.As("patcher").Patch(ctx, "default", "owned", types.MergePatchType, []byte(`{"data":{"p":"q"}}`), ""); err != nil {
		t.Fatal(err)
	}
	want := `kubernetes-admin Update {"f:metadata":{"f:labels":{".":{},"f:by":{}}}}
patcher Update {"f:data":{"f:p":{}}}
writer Update {"f:data":{".":{},"f:k":{}}}`
	if got := owners(); got != want {
		t.Errorf("changed: %s\nwant %s", got, want)
	}
}
