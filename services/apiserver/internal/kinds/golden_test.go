package kinds

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// record names a server of upstream, without admission plugins, that the
// answers are taken from again:
//
//	go test ./internal/kinds -run TestGolden -record https://HOST:PORT -token TOKEN
var (
	record = flag.String("record", "", "upstream's server to record the answers of")
	token  = flag.String("token", "", "bearer token for it")
)

// suite is a file of testdata: one object, and what becomes of it if some of
// its fields are set to something else.
type suite struct {
	Object map[string]any `json:"object"`
	Cases  []testCase     `json:"cases"`
}

// testCase creates the object with Set, and then writes it with Update, through
// the subresource Sub if there is one. The keys of both are paths such as
// spec/containers/0/image; a null deletes.
type testCase struct {
	Name   string         `json:"name"`
	Set    map[string]any `json:"set,omitempty"`
	Update map[string]any `json:"update,omitempty"`
	Sub    string         `json:"sub,omitempty"`
}

// answer is what upstream said to a case. Of two writes it is the second's.
type answer struct {
	Name     string         `json:"name"`
	Message  string         `json:"message,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
	Object   map[string]any `json:"object,omitempty"`
	Cells    []any          `json:"cells,omitempty"`
}

// uid stands for whatever UID an object has got.
const uid = "00000000-0000-0000-0000-000000000000"

var anyUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// golden is what upstream said to a suite.
type golden struct {
	Columns []metav1.TableColumnDefinition `json:"columns,omitempty"`
	Answers []answer                       `json:"answers"`
}

// TestGolden compares every kind's behaviour with what upstream's server has
// answered to the same writes.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	strategies := Strategies()
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
			replay(t, strategies, &s, &g)
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

func replay(t *testing.T, strategies map[*kinds.Kind]*strategy.Erased, s *suite, g *golden) {
	k := kindOf(t, s.Object)
	if len(g.Answers) != len(s.Cases) {
		t.Fatalf("%d cases and %d answers: record them again", len(s.Cases), len(g.Answers))
	}
	for i, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			want := g.Answers[i]
			got := answerOf(t, k, strategies[k], s.Object, c, &want)
			if k.Kind == "CustomResourceDefinition" && unordered(got.Message) == unordered(want.Message) {
				got.Message = want.Message // upstream goes through a schema in the order of a map
				slices.Sort(got.Warnings)
				slices.Sort(want.Warnings)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("upstream's answer (-) is not ours (+):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(g.Columns, strategies[k].Columns); diff != "" {
		t.Errorf("upstream's columns (-) are not ours (+):\n%s", diff)
	}
}

// unordered is a message whose errors are in one order.
func unordered(message string) string {
	parts := strings.Split(strings.NewReplacer("[spec", ", spec", "]", "").Replace(message), ", ")
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}

func kindOf(t *testing.T, object map[string]any) *kinds.Kind {
	t.Helper()
	gvk := schema.FromAPIVersionAndKind(object["apiVersion"].(string), object["kind"].(string))
	k := kinds.ByKind(gvk)
	if k == nil {
		t.Fatalf("no kind %s", gvk)
	}
	return k
}

// answerOf runs a case as the registry does, without admission and storage.
func answerOf(t *testing.T, k *kinds.Kind, s *strategy.Erased, object map[string]any, c testCase, want *answer) answer {
	t.Helper()
	got := answer{Name: c.Name}
	obj := decode(t, k, with(object, c.Set))
	obj.SetUID(uid)
	obj.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	obj.SetGeneration(0)
	call(s.Default, obj)
	if s.PrepareWarnings != nil {
		got.Warnings = s.PrepareWarnings(obj)
	}
	call(s.PrepareCreate, obj)
	if s.Author != nil {
		s.Author(obj, &user.DefaultInfo{Name: "admin", UID: "admin", Groups: []string{"system:masters", "system:authenticated"}})
	}
	if c.Update == nil {
		allocated(obj, want.Object)
	}
	errs := refused(obj, nil)
	if len(errs) == 0 {
		if !s.MetadataLast {
			errs = validation.ValidateObjectMetaAccessor(obj, k.Namespaced, nameRule(s), field.NewPath("metadata"))
		}
		if s.ValidateCreate != nil {
			errs = append(errs, s.ValidateCreate(obj)...)
		}
		if len(errs) == 0 {
			errs = validation.ValidateObjectMetaAccessor(obj, k.Namespaced, check.PathSegment, field.NewPath("metadata"))
		}
	}
	if len(errs) == 0 && s.Warnings != nil {
		got.Warnings = append(got.Warnings, s.Warnings(obj, nil)...)
	}
	if len(errs) == 0 && c.Update != nil {
		old := obj
		if s.Reread != nil {
			s.Reread(old)
		}
		obj = decode(t, k, with(encode(t, old), c.Update))
		errs, got.Warnings = update(s, obj, old, c.Sub)
	}
	if len(errs) > 0 {
		got.Message = apierrors.NewInvalid(stored(k).GroupVersionKind().GroupKind(), obj.GetName(), errs).Error()
		return got
	}
	read := readBack(t, k, obj)
	call(s.Default, read)
	got.Object = stable(encode(t, read))
	got.Cells = cellsOf(t, s, obj)
	return got
}

// refused is what the registry's allocator asks before anything is validated.
func refused(obj, old kinds.Object) field.ErrorList {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return nil
	}
	before, _ := old.(*corev1.Service)
	return core.Families{}.Refuse(svc, before)
}

func stored(k *kinds.Kind) *kinds.Kind {
	if k.StoredAs != nil {
		return k.StoredAs
	}
	return k
}

func update(s *strategy.Erased, obj, old kinds.Object, sub string) (field.ErrorList, []string) {
	call(s.Default, obj)
	prepare, validate, warnings := s.PrepareUpdate, s.ValidateUpdate, s.Warnings
	switch sub {
	case "":
	case "status":
		prepare, validate, warnings = s.Status.PrepareUpdate, s.Status.ValidateUpdate, s.Status.Warnings
	default:
		prepare, validate, warnings = s.Subresources[sub].PrepareUpdate, s.Subresources[sub].ValidateUpdate, s.Subresources[sub].Warnings
	}
	obj.SetGeneration(old.GetGeneration())
	if prepare != nil {
		prepare(obj, old)
	}
	if errs := refused(obj, old); len(errs) > 0 && sub == "" {
		return errs, nil
	}
	obj.SetResourceVersion("1")
	old.SetResourceVersion("1")
	errs := validation.ValidateObjectMetaAccessor(obj, old.GetNamespace() != "", check.PathSegment, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))...)
	if validate != nil {
		errs = append(errs, validate(obj, old)...)
	}
	obj.SetResourceVersion("")
	if warnings == nil || len(errs) > 0 {
		return errs, nil
	}
	return errs, warnings(obj, old)
}

func call(f func(kinds.Object), obj kinds.Object) {
	if f != nil {
		f(obj)
	}
}

func nameRule(s *strategy.Erased) validation.ValidateNameFunc {
	if s.NameRule != nil {
		return s.NameRule
	}
	return validation.NameIsDNSSubdomain
}

func decode(t *testing.T, k *kinds.Kind, object map[string]any) kinds.Object {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	obj := k.New()
	if err := json.Unmarshal(data, obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// readBack is an object as it is when it was stored and read again. Upstream
// fills in defaults then, too.
func readBack(t *testing.T, k *kinds.Kind, obj kinds.Object) kinds.Object {
	t.Helper()
	data := make([]byte, obj.Size())
	if _, err := obj.MarshalToSizedBuffer(data); err != nil {
		t.Fatal(err)
	}
	read := k.New()
	if err := read.(interface{ Unmarshal(data []byte) error }).Unmarshal(data); err != nil {
		t.Fatal(err)
	}
	read.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
	return read
}

func encode(t *testing.T, obj kinds.Object) map[string]any {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// with is a copy of the object with some fields set.
func with(object map[string]any, set map[string]any) map[string]any {
	data, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	var changed any
	if err := json.Unmarshal(data, &changed); err != nil {
		panic(err)
	}
	for path, value := range set {
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
		if err != nil {
			panic(fmt.Sprintf("%q is no index", key))
		}
		if i == len(list) {
			return append(list, setAt(nil, path[1:], value))
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
		for _, key := range []string{"uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink"} {
			delete(meta, key)
		}
	}
	return withoutTimes(object).(map[string]any)
}

func withoutTimes(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			switch key {
			case "lastTransitionTime", "lastUpdateTime", "lastPhaseTransitionTime", "timeAdded", "startTime", "creationTimestamp":
				delete(v, key)
				continue
			}
			v[key] = withoutTimes(v[key])
			if m, ok := v[key].(map[string]any); ok && len(m) == 0 && key == "status" {
				delete(v, key)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutTimes(v[i])
		}
	}
	return value
}

// allocated gives a Service the addresses and ports that upstream has
// allocated: here that is not the kind's business.
func allocated(obj kinds.Object, theirs map[string]any) {
	spec, ok := theirs["spec"].(map[string]any)
	if !ok || kinds.ForObject(obj).Kind != "Service" {
		return
	}
	ours := reflect.ValueOf(obj).Elem().FieldByName("Spec").Addr().Interface()
	part := map[string]any{}
	for _, key := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort", "ports"} {
		if spec[key] != nil {
			part[key] = spec[key]
		}
	}
	data, err := json.Marshal(part)
	if err != nil {
		panic(err)
	}
	if err := json.Unmarshal(data, ours); err != nil {
		panic(err)
	}
}

func cellsOf(t *testing.T, s *strategy.Erased, obj kinds.Object) []any {
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

// timeless are the cells without those that tell the time.
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
