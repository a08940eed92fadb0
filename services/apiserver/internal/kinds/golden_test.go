package kinds

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/golden"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// suite is a file of testdata: one object, and what becomes of it if some of
// its fields are set to something else.
type suite struct {
	Object map[string]any `json:"object"`
	Cases  []golden.Case  `json:"cases"`
}

// TestGolden compares every kind's behaviour with what upstream's server has
// answered to the same writes.
func TestGolden(t *testing.T) {
	strategies := Strategies()
	golden.Test(t, recordSuite, func(t *testing.T, s *suite, g *golden.Answers) { replay(t, strategies, s, g) })
}

func replay(t *testing.T, strategies map[*kinds.Kind]*strategy.Erased, s *suite, g *golden.Answers) {
	k := kindOf(t, s.Object)
	if len(g.Answers) != len(s.Cases) {
		t.Fatalf("%d cases and %d answers: record them again", len(s.Cases), len(g.Answers))
	}
	for i, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			want := g.Answers[i]
			got := answerOf(t, k, strategies[k], s.Object, c, &want)
			if k.Kind == "CustomResourceDefinition" && golden.Unordered(got.Message) == golden.Unordered(want.Message) {
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
func answerOf(t *testing.T, k *kinds.Kind, s *strategy.Erased, object map[string]any, c golden.Case, want *golden.Answer) golden.Answer {
	t.Helper()
	got := golden.Answer{Name: c.Name}
	obj := decode(t, k, golden.With(object, c.Set))
	obj.SetUID(golden.UID)
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
		obj = decode(t, k, golden.With(encode(t, old), c.Update))
		errs, got.Warnings = update(s, obj, old, c.Sub)
	}
	if len(errs) > 0 {
		got.Message = apierrors.NewInvalid(stored(k).GroupVersionKind().GroupKind(), obj.GetName(), errs).Error()
		return got
	}
	read := readBack(t, k, obj)
	call(s.Default, read)
	got.Object = stable(encode(t, read))
	got.Cells = golden.Cells(t, s, obj)
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

// stable is an object without what differs from one run to the next.
func stable(object map[string]any) map[string]any {
	return withoutTimes(golden.Stable(object)).(map[string]any)
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
