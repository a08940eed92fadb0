package differential

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
	"coracle.local/tests/samples"
)

//go:embed seeds.yaml
var seedFile string

// seed is a valid object that requests are made from.
type seed struct {
	kind   *kinds.Kind
	object map[string]any
}

// loadSeeds returns the objects of seeds.yaml and, of kinds that it has none of,
// the samples.
func loadSeeds() ([]seed, error) {
	var out []seed
	have := map[*kinds.Kind]bool{}
	for doc := range strings.SplitSeq(seedFile, "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			return nil, fmt.Errorf("seed: %w\n%s", err, doc)
		}
		k, err := kindOf(object)
		if err != nil {
			return nil, err
		}
		have[k] = true
		out = append(out, seed{kind: k, object: object})
	}
	objects, err := samples.All()
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		k := kinds.ForObject(o)
		if have[k] {
			continue
		}
		o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
		b, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := json.Unmarshal(b, &object); err != nil {
			return nil, err
		}
		delete(object, "status")
		delete(object["metadata"].(map[string]any), "creationTimestamp")
		out = append(out, seed{kind: k, object: object})
	}
	order := map[*kinds.Kind]int{}
	for i, k := range kinds.All() {
		order[k] = i
	}
	slices.SortStableFunc(out, func(a, b seed) int { return order[a.kind] - order[b.kind] })
	return out, nil
}

func kindOf(object map[string]any) (*kinds.Kind, error) {
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	k := kinds.ByKind(apischema.FromAPIVersionAndKind(apiVersion, kind))
	if k == nil {
		return nil, fmt.Errorf("no kind %s of %s", kind, apiVersion)
	}
	return k, nil
}

// named returns the seed as an object of a script's own: nothing that scripts
// have in common is written by two of them.
func (s seed) named(script string) seed {
	object := clone(s.object).(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		object["metadata"] = metadata
	}
	if s.kind.Namespaced {
		object = moved(object).(map[string]any)
		metadata = object["metadata"].(map[string]any)
		metadata["namespace"] = "${ns}"
	}
	name, _ := metadata["name"].(string)
	switch s.kind.Kind {
	case "APIService":
		version := "v1" + letters(script)
		metadata["name"] = version + "." + at(object, "spec", "group").(string)
		object["spec"].(map[string]any)["version"] = version
	case "CustomResourceDefinition":
		plural := "things" + letters(script)
		metadata["name"] = plural + ".example.com"
		names := at(object, "spec", "names").(map[string]any)
		names["plural"], names["singular"], names["kind"], names["listKind"] = plural, "thing"+letters(script), "Thing"+letters(script), "Thing"+letters(script)+"List"
	case "IPAddress":
		metadata["name"] = fmt.Sprintf("192.0.2.%d", 1+number(script)%250)
	case "ServiceCIDR":
		metadata["name"] = name + letters(script)
		object["spec"].(map[string]any)["cidrs"] = []any{fmt.Sprintf("10.%d.0.0/24", 100+number(script)%100)}
	case "ClusterTrustBundle":
		metadata["name"] = name + letters(script)
	default:
		if name != "" && !s.kind.Namespaced {
			metadata["name"] = name + "-" + letters(script)
		}
	}
	return seed{kind: s.kind, object: object}
}

// moved puts what names the samples' namespace into the script's own.
func moved(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = moved(e)
		}
	case []any:
		for i := range v {
			v[i] = moved(v[i])
		}
	case string:
		if v == "samples" {
			return "${ns}"
		}
	}
	return value
}

func (s seed) name() string {
	name, _ := at(s.object, "metadata", "name").(string)
	return name
}

// letters and number are short for the name of a script.
func letters(script string) string {
	n := number(script)
	var out []byte
	for range 5 {
		out = append(out, 'a'+byte(n%26))
		n /= 26
	}
	return string(out)
}

func number(script string) int {
	n := uint32(2166136261)
	for _, c := range []byte(script) {
		n = (n ^ uint32(c)) * 16777619
	}
	return int(n >> 4)
}

// collection is the path of the kind's objects; ${ns} stands for the namespace.
func collection(k *kinds.Kind) string {
	path := "/apis/" + k.Group + "/" + k.Version
	if k.Group == "" {
		path = "/api/" + k.Version
	}
	if k.Namespaced {
		path += "/namespaces/${ns}"
	}
	return path + "/" + k.Plural
}

// golden is a suite of the kinds' own tests.
type golden struct {
	name   string
	Object map[string]any `json:"object"`
	Cases  []struct {
		Name   string         `json:"name"`
		Set    map[string]any `json:"set"`
		Update map[string]any `json:"update"`
		Sub    string         `json:"sub"`
	} `json:"cases"`
}

// loadGolden reads the suites of a folder.
func loadGolden(folder string) ([]golden, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []golden
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.yaml") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		g := golden{name: strings.TrimSuffix(filepath.Base(file), ".yaml")}
		if err := yaml.Unmarshal(b, &g); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, g)
	}
	return out, nil
}
