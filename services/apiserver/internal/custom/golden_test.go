package custom

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/kinds/apiextensions"
	"coracle.local/services/apiserver/internal/strategy"
)

// record names a server of upstream that the answers are taken from again:
//
//	go test ./internal/custom -run TestGolden -record https://HOST:PORT -token TOKEN
var (
	record = flag.String("record", "", "upstream's server to record the answers of")
	token  = flag.String("token", "", "bearer token for it")
)

// suite is a file of testdata: a definition, an object of it, and what becomes
// of the object if some of its fields are set to something else.
type suite struct {
	Definition *apiextensionsv1.CustomResourceDefinition `json:"definition"`
	Object     map[string]any                            `json:"object"`
	Cases      []testCase                                `json:"cases"`
}

// testCase creates the object with Set, and then writes it with Update, through
// the subresource Sub if there is one. The keys of both are paths such as
// spec/items/0/name; a null deletes, the text "null" sets null.
type testCase struct {
	Name    string         `json:"name"`
	Set     map[string]any `json:"set,omitempty"`
	Update  map[string]any `json:"update,omitempty"`
	Sub     string         `json:"sub,omitempty"`
	Version string         `json:"version,omitempty"` // of the requests
}

// answer is what upstream said to a case. Of two writes it is the second's.
type answer struct {
	Name     string         `json:"name"`
	Message  string         `json:"message,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
	Object   map[string]any `json:"object,omitempty"`
	Cells    []any          `json:"cells,omitempty"`
}

type golden struct {
	Columns []metav1.TableColumnDefinition `json:"columns,omitempty"`
	Answers []answer                       `json:"answers"`
}

// TestGolden compares the behaviour of custom resources with what upstream's
// server has answered to the same writes.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.yaml") {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var s suite
			load(t, file, &s)
			goldenFile := strings.TrimSuffix(file, ".yaml") + ".golden.yaml"
			if *record != "" {
				save(t, goldenFile, recordSuite(t, &s))
			}
			var g golden
			load(t, goldenFile, &g)
			replay(t, &s, &g)
		})
	}
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
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

func compiledOf(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, o Options) *Definition {
	t.Helper()
	k := apiextensions.CustomResourceDefinition()
	k.Default(crd)
	k.PrepareCreate(crd)
	if errs := k.ValidateCreate(crd); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	crd.Status.AcceptedNames = crd.Spec.Names
	d, err := Compile(crd, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func kindOf(t *testing.T, d *Definition, version string) *kinds.Kind {
	t.Helper()
	for _, k := range d.Kinds() {
		if k.Version == version || version == "" {
			return k
		}
	}
	t.Fatalf("no version %s", version)
	return nil
}

func replay(t *testing.T, s *suite, g *golden) {
	d := compiledOf(t, s.Definition, Options{})
	if len(g.Answers) != len(s.Cases) {
		t.Fatalf("%d cases and %d answers: record them again", len(s.Cases), len(g.Answers))
	}
	for i, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, want := (&run{t, d, kindOf(t, d, c.Version)}).answer(s.Object, c), g.Answers[i]
			if got.Message != want.Message && unordered(got.Message) == unordered(want.Message) {
				got.Message = want.Message // upstream's order is that of a map
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("upstream's answer (-) is not ours (+):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(g.Columns, d.Strategy(kindOf(t, d, "")).Columns); diff != "" {
		t.Errorf("upstream's columns (-) are not ours (+):\n%s", diff)
	}
}

// unordered is a message whose errors are in one order.
func unordered(message string) string {
	parts := strings.Split(strings.NewReplacer("[", ", ", "]", "").Replace(message), ", ")
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

const uid = "00000000-0000-0000-0000-000000000000"

var anyUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// run does with a case what the registry does, without admission and storage.
type run struct {
	t *testing.T
	d *Definition
	k *kinds.Kind
}

func (r *run) answer(object map[string]any, c testCase) answer {
	s := r.d.Strategy(r.k)
	a := r.write(s, object, c)
	if s.Deprecation != "" && a.Message == "" {
		a.Warnings = append([]string{s.Deprecation}, a.Warnings...)
	}
	return a
}

func (r *run) write(s *strategy.Erased, object map[string]any, c testCase) answer {
	obj, texts, refused := r.decode(with(object, c.Set))
	if refused != "" {
		return answer{Name: c.Name, Message: refused}
	}
	obj.SetUID(uid)
	obj.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	obj.SetGeneration(0)
	s.Default(obj)
	s.PrepareCreate(obj)
	errs := validation.ValidateObjectMetaAccessor(obj, r.k.Namespaced, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, s.ValidateCreate(obj)...)
	if len(errs) > 0 {
		return answer{Name: c.Name, Message: r.invalid(obj, errs)}
	}
	texts = append(texts, s.Warnings(obj, nil)...)
	obj = r.store(obj)
	if c.Update != nil {
		old := obj
		if obj, texts, refused = r.decode(with(tree(r.t, old), c.Update)); refused != "" {
			return answer{Name: c.Name, Message: refused}
		}
		var more []string
		if errs, more = update(s, obj, old, c.Sub); len(errs) > 0 {
			return answer{Name: c.Name, Message: r.invalid(obj, errs)}
		}
		texts = append(texts, more...)
		obj = r.store(obj)
	}
	return answer{Name: c.Name, Warnings: texts, Object: stable(tree(r.t, obj)), Cells: r.cells(s, obj)}
}

func (r *run) decode(object map[string]any) (obj *Object, texts []string, refused string) {
	data, err := json.Marshal(object)
	if err != nil {
		r.t.Fatal(err)
	}
	obj, wrong, err := r.d.Decode(r.k, data, true)
	if err != nil {
		return nil, nil, r.k.Kind + " in version \"" + r.k.Version + "\" cannot be handled as a " + r.k.Kind + ": " + err.Error()
	}
	for _, w := range wrong {
		texts = append(texts, w.Error())
	}
	return obj, texts, ""
}

// store is an object as it is after it was stored and read again.
func (r *run) store(obj *Object) *Object {
	var stored kinds.Object = obj
	shared := r.d.Strategy(r.k).Shared
	if shared != nil {
		var err error
		if stored, err = shared.ToStored(obj); err != nil {
			r.t.Fatal(err)
		}
	}
	data, err := stored.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	read := r.k.New()
	if err := read.Unmarshal(data); err != nil {
		r.t.Fatal(err)
	}
	return read.(*Object)
}

func (r *run) invalid(obj *Object, errs field.ErrorList) string {
	return apierrors.NewInvalid(r.k.GroupVersionKind().GroupKind(), obj.GetName(), errs).Error()
}

func (r *run) cells(s *strategy.Erased, obj *Object) []any {
	data, err := json.Marshal(s.Cells(obj))
	if err != nil {
		r.t.Fatal(err)
	}
	var cells []any
	if err := json.Unmarshal(data, &cells); err != nil {
		r.t.Fatal(err)
	}
	return timeless(s.Columns, cells)
}

func timeless(columns []metav1.TableColumnDefinition, cells []any) []any {
	for i := range cells {
		if text, ok := cells[i].(string); ok && columns[i].Name == "Age" && strings.HasSuffix(text, "s") {
			cells[i] = "0s"
		}
	}
	return cells
}

func update(s *strategy.Erased, obj, old *Object, sub string) (field.ErrorList, []string) {
	s.Default(obj)
	prepare, validate, warn := s.PrepareUpdate, s.ValidateUpdate, s.Warnings
	if sub == "status" {
		prepare, validate, warn = s.Status.PrepareUpdate, s.Status.ValidateUpdate, s.Status.Warnings
	}
	prepare(obj, old)
	obj.SetResourceVersion("1")
	old.SetResourceVersion("1")
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	errs = append(errs, validate(obj, old)...)
	obj.SetResourceVersion("")
	if warn == nil || len(errs) > 0 {
		return errs, nil
	}
	return errs, warn(obj, old)
}

func tree(t *testing.T, obj *Object) map[string]any {
	t.Helper()
	data, err := obj.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// with is a copy of the object with some fields set.
func with(object, set map[string]any) map[string]any {
	data, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	var changed any
	if err := json.Unmarshal(data, &changed); err != nil {
		panic(err)
	}
	for path, value := range set {
		if value == "null" {
			value = json.RawMessage("null")
		}
		changed = setAt(changed, strings.Split(path, "/"), value)
	}
	return changed.(map[string]any)
}

func setAt(at any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	key := strings.ReplaceAll(path[0], "~1", "/")
	if list, ok := at.([]any); ok {
		i, err := strconv.Atoi(key)
		if err != nil || i > len(list) {
			panic("no index: " + key)
		}
		if i == len(list) {
			return append(list, setAt(nil, path[1:], value))
		}
		if value == nil && len(path) == 1 {
			return slices.Delete(list, i, i+1)
		}
		list[i] = setAt(list[i], path[1:], value)
		return list
	}
	m, _ := at.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	if value == nil && len(path) == 1 {
		delete(m, key)
		return m
	}
	m[key] = setAt(m[key], path[1:], value)
	return m
}

// stable is an object without what differs from one run to the next.
func stable(object map[string]any) map[string]any {
	if meta, ok := object["metadata"].(map[string]any); ok {
		for _, key := range []string{"uid", "creationTimestamp", "resourceVersion", "managedFields"} {
			delete(meta, key)
		}
	}
	return object
}
