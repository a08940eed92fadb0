// Package golden is for tests that compare behaviour with what upstream's server
// has answered to the same writes, and for recording those answers:
//
//	go test ./internal/kinds ./internal/custom -run TestGolden -record https://HOST:PORT -token TOKEN
//
// asks a server of upstream's, without admission plugins, again.
package golden

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// Case creates the object of its suite with Set, and then writes it with Update,
// through the subresource Sub if there is one. The keys of both are paths such as
// spec/containers/0/image; a null deletes, the text "null" sets null.
type Case struct {
	Name    string         `json:"name"`
	Set     map[string]any `json:"set,omitempty"`
	Update  map[string]any `json:"update,omitempty"`
	Sub     string         `json:"sub,omitempty"`
	Version string         `json:"version,omitempty"` // of the requests, if not the first
}

// Answer is what upstream said to a case. Of two writes it is the second's.
type Answer struct {
	Name     string         `json:"name"`
	Message  string         `json:"message,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
	Object   map[string]any `json:"object,omitempty"`
	Cells    []any          `json:"cells,omitempty"`
}

// Answers is what upstream said to a suite.
type Answers struct {
	Columns []metav1.TableColumnDefinition `json:"columns,omitempty"`
	Answers []Answer                       `json:"answers"`
}

// UID stands for whatever UID an object has got.
const UID = "00000000-0000-0000-0000-000000000000"

var anyUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// Test goes through the suites in the folder testdata, each of which has its
// answers beside it, and records these first if that is asked for.
func Test[S any](t *testing.T, record func(*testing.T, *Upstream, *S) *Answers, replay func(*testing.T, *S, *Answers)) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.yaml") {
			continue
		}
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			suite, answers := Load[S](t, file), name+".golden.yaml"
			if *server != "" {
				save(t, answers, record(t, &Upstream{t}, suite))
			}
			replay(t, suite, Load[Answers](t, answers))
		})
	}
}

// Load reads a file of testdata.
func Load[T any](t *testing.T, file string) *T {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	into := new(T)
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return into
}

func save(t *testing.T, file string, value any) {
	t.Helper()
	data, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Unordered is a message whose errors are in one order: upstream goes through a
// schema in the order of a map.
func Unordered(message string) string {
	parts := strings.Split(strings.NewReplacer("[", ", ", "]", "").Replace(message), ", ")
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// Stable is an object without what differs from one run to the next.
func Stable(object map[string]any) map[string]any {
	if meta, ok := object["metadata"].(map[string]any); ok {
		for _, key := range []string{"uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink"} {
			delete(meta, key)
		}
	}
	return object
}

// Cells are those of an object, as JSON has them, without what tells the time.
func Cells(t *testing.T, s *strategy.Erased, obj kinds.Object) []any {
	t.Helper()
	data, err := json.Marshal(s.Cells(obj))
	if err != nil {
		t.Fatal(err)
	}
	var cells []any
	if err := json.Unmarshal(data, &cells); err != nil {
		t.Fatal(err)
	}
	return timeless(s.Columns, cells)
}

func timeless(columns []metav1.TableColumnDefinition, cells []any) []any {
	// Upstream fills a column too many for IPAddress.
	cells = cells[:min(len(cells), len(columns))]
	for i := range cells {
		switch columns[i].Name {
		case "Age", "Created At", "Last Seen", "First Seen", "Duration", "TimeAdded", "Last Schedule", "Restarts":
			if text, ok := cells[i].(string); ok && ago.MatchString(text) {
				cells[i] = ago.ReplaceAllString(text, "0s")
			}
		}
	}
	return cells
}

// ago is how long ago something was, or when.
var ago = regexp.MustCompile(`([0-9]+(y|d|h|m|s))+|[0-9T:-]+Z`)
