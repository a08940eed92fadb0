package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"coracle.local/tests/fixture"
)

const mapsPath = "/api/v1/namespaces/default/configmaps"

func withMaps(t *testing.T) (*fixture.Cluster, maps, *web) {
	t.Helper()
	c, m := bare(t)
	return c, m, newWeb(t, c.Config)
}

func TestTables(t *testing.T) {
	_, m, w := withMaps(t)
	one := configMap("one", map[string]string{"a": "b"})
	one.Data = map[string]string{"k": "v", "l": "w"}
	if _, err := m.Create(context.Background(), one); err != nil {
		t.Fatal(err)
	}
	create(t, m, "two", nil)
	selector := "?fieldSelector=metadata.name%21%3Dkube-root-ca.crt"
	for _, row := range []struct{ name, path, include, carries string }{
		{"metadata by default", mapsPath + selector, "", "PartialObjectMetadata"},
		{"metadata", mapsPath + selector, "&includeObject=Metadata", "PartialObjectMetadata"},
		{"whole objects", mapsPath + selector, "&includeObject=Object", "ConfigMap"},
		{"nothing", mapsPath + selector, "&includeObject=None", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			table := as[metav1.Table](w.get(row.path+row.include, asTable))
			if table.Kind != "Table" || table.APIVersion != "meta.k8s.io/v1" || table.ResourceVersion == "" {
				t.Errorf("%s %s at %q", table.APIVersion, table.Kind, table.ResourceVersion)
			}
			var heads []string
			for _, c := range table.ColumnDefinitions {
				heads = append(heads, c.Name)
			}
			if strings.Join(heads, " ") != "Name Data Age" || len(table.Rows) != 2 || table.Rows[0].Cells[0] != "one" || table.Rows[0].Cells[1] != 2.0 {
				t.Errorf("heads %v, rows %v", heads, table.Rows)
			}
			var carried metav1.PartialObjectMetadata
			if raw := table.Rows[0].Object.Raw; row.carries != "" {
				if err := json.Unmarshal(raw, &carried); err != nil {
					t.Fatal(err)
				}
			} else if raw != nil && string(raw) != "null" {
				t.Errorf("carries %s", raw)
			}
			if carried.Kind != row.carries || (row.carries != "" && (carried.Name != "one" || carried.Labels["a"] != "b")) {
				t.Errorf("carries %s %s %v", carried.Kind, carried.Name, carried.Labels)
			}
		})
	}
	single := as[metav1.Table](w.get(mapsPath+"/two", asTable))
	if len(single.Rows) != 1 || single.Rows[0].Cells[0] != "two" {
		t.Errorf("one object's rows: %v", single.Rows)
	}
	old := as[metav1.Table](w.get(mapsPath+"/two", strings.Replace(asTable, "v=v1", "v=v1beta1", 1)))
	if old.APIVersion != "meta.k8s.io/v1beta1" {
		t.Errorf("apiVersion %s", old.APIVersion)
	}
	w.get(mapsPath+"?includeObject=Foo", asTable).is(http.StatusBadRequest)
}

func TestMetadataAlone(t *testing.T) {
	c, m, w := withMaps(t)
	one := create(t, m, "one", map[string]string{"a": "b"})
	single := as[metav1.PartialObjectMetadata](w.get(mapsPath+"/one", asMetadata))
	if single.Kind != "PartialObjectMetadata" || single.UID != one.UID || single.Labels["a"] != "b" {
		t.Errorf("got %+v", single)
	}
	list := as[metav1.PartialObjectMetadataList](w.get(mapsPath+"?labelSelector=a%3Db", asList))
	if list.Kind != "PartialObjectMetadataList" || len(list.Items) != 1 || list.Items[0].UID != one.UID {
		t.Errorf("got %+v", list)
	}
	// The library asks for protobuf.
	client, err := metadata.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default").Get(context.Background(), "one", metav1.GetOptions{})
	if err != nil || got.UID != one.UID {
		t.Errorf("by the library: %v, %v", got, err)
	}
}

func TestEncodings(t *testing.T) {
	c, m, w := withMaps(t)
	one := configMap("one", nil)
	one.Data, one.BinaryData = map[string]string{"k": "v"}, map[string][]byte{"b": {0, 1, 255}}
	if _, err := m.Create(context.Background(), one); err != nil {
		t.Fatal(err)
	}
	t.Run("YAML", func(t *testing.T) {
		a := w.get(mapsPath+"/one", asYAML).is(http.StatusOK)
		var got corev1.ConfigMap
		if err := yaml.UnmarshalStrict(a.body, &got); err != nil || got.Data["k"] != "v" || a.header.Get("Content-Type") != asYAML {
			t.Errorf("%s: %s (%v)", a.header.Get("Content-Type"), a.body, err)
		}
		made := w.send(http.MethodPost, mapsPath, "metadata: {name: two}\ndata: {k: w}\n", map[string]string{"Content-Type": asYAML})
		if got := as[corev1.ConfigMap](made.is(http.StatusCreated)); got.Data["k"] != "w" {
			t.Errorf("made %v", got.Data)
		}
	})
	t.Run("protobuf", func(t *testing.T) {
		if a := w.get(mapsPath+"/one", asProtobuf).is(http.StatusOK); !strings.HasPrefix(string(a.body), "k8s\x00") || a.header.Get("Content-Type") != asProtobuf {
			t.Errorf("%s: %q", a.header.Get("Content-Type"), a.body)
		}
		cfg := rest.CopyConfig(c.Config)
		cfg.ContentType = asProtobuf
		clients, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		speaksProtobuf(t, clients)
	})
	t.Run("pretty", func(t *testing.T) {
		if a := w.get(mapsPath+"/one?pretty=true", asJSON).is(http.StatusOK); !strings.HasPrefix(string(a.body), "{\n  \"kind\": \"ConfigMap\"") {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("the client's preference", func(t *testing.T) {
		if a := w.get(mapsPath+"/one", "application/json;as=Foo;g=meta.k8s.io;v=v1,application/yaml").is(http.StatusOK); a.header.Get("Content-Type") != asYAML {
			t.Errorf("%s", a.header.Get("Content-Type"))
		}
	})
}

func speaksProtobuf(t *testing.T, clients kubernetes.Interface) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	api := clients.CoreV1().ConfigMaps("default")
	w, err := api.Watch(ctx, metav1.ListOptions{LabelSelector: "by=protobuf"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	m := configMap("three", map[string]string{"by": "protobuf"})
	m.BinaryData = map[string][]byte{"b": {0, 255}}
	made, err := api.Create(ctx, m, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen, ok := (<-w.ResultChan()).Object.(*corev1.ConfigMap)
	if !ok || seen.UID != made.UID || string(seen.BinaryData["b"]) != "\x00\xff" {
		t.Errorf("watched %+v", seen)
	}
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: "by=protobuf"})
	if err != nil || len(list.Items) != 1 || list.Items[0].UID != made.UID {
		t.Errorf("listed %+v (%v)", list, err)
	}
}
