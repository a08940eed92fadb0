package custom

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/golden"
	"coracle.local/services/apiserver/internal/kinds/apiextensions"
	"coracle.local/services/apiserver/internal/strategy"
)

// suite is a file of testdata: a definition, an object of it, and what becomes
// of the object if some of its fields are set to something else.
type suite struct {
	Definition *apiextensionsv1.CustomResourceDefinition `json:"definition"`
	Object     map[string]any                            `json:"object"`
	Cases      []golden.Case                             `json:"cases"`
}

// TestGolden compares the behaviour of custom resources with what upstream's
// server has answered to the same writes.
func TestGolden(t *testing.T) { golden.Test(t, recordSuite, replay) }

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

func replay(t *testing.T, s *suite, g *golden.Answers) {
	d := compiledOf(t, s.Definition, Options{})
	if len(g.Answers) != len(s.Cases) {
		t.Fatalf("%d cases and %d answers: record them again", len(s.Cases), len(g.Answers))
	}
	for i, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, want := (&run{t, d, kindOf(t, d, c.Version)}).answer(s.Object, c), g.Answers[i]
			if got.Message != want.Message && golden.Unordered(got.Message) == golden.Unordered(want.Message) {
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

// run does with a case what the registry does, without admission and storage.
type run struct {
	t *testing.T
	d *Definition
	k *kinds.Kind
}

func (r *run) answer(object map[string]any, c golden.Case) golden.Answer {
	s := r.d.Strategy(r.k)
	a := r.write(s, object, c)
	if s.Deprecation != "" && a.Message == "" {
		a.Warnings = append([]string{s.Deprecation}, a.Warnings...)
	}
	return a
}

func (r *run) write(s *strategy.Erased, object map[string]any, c golden.Case) golden.Answer {
	obj, texts, refused := r.decode(golden.With(object, c.Set))
	if refused != "" {
		return golden.Answer{Name: c.Name, Message: refused}
	}
	obj.SetUID(golden.UID)
	obj.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	obj.SetGeneration(0)
	s.Default(obj)
	s.PrepareCreate(obj)
	errs := validation.ValidateObjectMetaAccessor(obj, r.k.Namespaced, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, s.ValidateCreate(obj)...)
	if len(errs) > 0 {
		return golden.Answer{Name: c.Name, Message: r.invalid(obj, errs)}
	}
	texts = append(texts, s.Warnings(obj, nil)...)
	obj = r.store(obj)
	if c.Update != nil {
		old := obj
		if obj, texts, refused = r.decode(golden.With(tree(r.t, old), c.Update)); refused != "" {
			return golden.Answer{Name: c.Name, Message: refused}
		}
		var more []string
		if errs, more = update(s, obj, old, c.Sub); len(errs) > 0 {
			return golden.Answer{Name: c.Name, Message: r.invalid(obj, errs)}
		}
		texts = append(texts, more...)
		obj = r.store(obj)
	}
	return golden.Answer{Name: c.Name, Warnings: texts, Object: golden.Stable(tree(r.t, obj)), Cells: golden.Cells(r.t, s, obj)}
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
