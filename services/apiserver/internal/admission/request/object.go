package request

import (
	"fmt"
	"maps"
	"reflect"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/strategy"
)

// subjectAs is the object that the request is about: that which is written or,
// of a connection, its options.
func (r *Request) subjectAs(k *kinds.Kind) (runtime.Object, error) {
	if r.Operation == admission.Connect {
		if r.Options == nil {
			return nil, nil
		}
		return Named(r.Options, r.subject), nil
	}
	return r.show(r.Object, k)
}

// show is an object of the request as an equivalent kind, with that kind's name
// on it. The object itself is left alone.
func (r *Request) show(o kinds.Object, k *kinds.Kind) (runtime.Object, error) {
	switch {
	case o == nil:
		return nil, nil
	case r.Subresource == "scale":
		s, err := r.scaling()
		if err != nil {
			return nil, err
		}
		return scaleOf(s, o)
	case !r.subject.Empty():
		return Named(o, r.subject), nil
	}
	o, err := r.env.convert(o, r.Kind, k)
	if err != nil {
		return nil, fmt.Errorf("show %s as %v: %w", r.Kind, k.GroupVersion(), err)
	}
	return Named(o, k.GroupVersionKind()), nil
}

// Named is a shallow copy of an object, with its kind on it. Custom resources
// become what upstream's packages know them as.
func Named(o runtime.Object, gvk schema.GroupVersionKind) runtime.Object {
	if c, ok := o.(*custom.Object); ok {
		u := &unstructured.Unstructured{Object: maps.Clone(c.Object)}
		if u.Object == nil {
			u.Object = map[string]any{}
		}
		u.SetGroupVersionKind(gvk)
		return u
	}
	copied := reflect.New(reflect.TypeOf(o).Elem())
	copied.Elem().Set(reflect.ValueOf(o).Elem())
	out := copied.Interface().(runtime.Object)
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out
}

func (r *Request) scaling() (*strategy.Scale[kinds.Object], error) {
	if s := r.env.Strategy(r.Kind); s != nil && s.Scale != nil {
		return s.Scale, nil
	}
	return nil, fmt.Errorf("%s have no scale", r.Kind)
}

func scaleOf(s *strategy.Scale[kinds.Object], o kinds.Object) (runtime.Object, error) {
	selector, err := s.Selector(o)
	if err != nil {
		return nil, err
	}
	out := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: s.Replicas(o)},
		Status: autoscalingv1.ScaleStatus{Replicas: s.StatusReplicas(o), Selector: selector},
	}
	out.SetGroupVersionKind(scaleKind)
	return out, nil
}

// Decode reads JSON into a new object of a view's kind.
func (v *View) Decode(data []byte) (runtime.Object, error) {
	if _, ok := v.Object().(*unstructured.Unstructured); ok {
		u := &unstructured.Unstructured{}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &u.Object); err != nil {
			return nil, err
		}
		return u, v.keeps(u)
	}
	out := reflect.New(reflect.TypeOf(v.Object()).Elem()).Interface().(runtime.Object)
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, out); err != nil {
		return nil, err
	}
	if have := out.GetObjectKind().GroupVersionKind(); have != v.Kind {
		return nil, fmt.Errorf("%v was made a %v", v.Kind, have)
	}
	return out, nil
}

// keeps holds a custom resource to its kind.
func (v *View) keeps(u *unstructured.Unstructured) error {
	var errs field.ErrorList
	if u.GetKind() != v.Kind.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), u.GetKind(), "must be "+v.Kind.Kind))
	}
	if version := v.Kind.GroupVersion().String(); u.GetAPIVersion() != version {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), u.GetAPIVersion(), "must be "+version))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(u.GroupVersionKind().GroupKind(), u.GetName(), errs)
}

// Replace makes a new object of a view's kind, which is taken over, the one that
// is to be written, with its defaults. Views that were made before are stale.
func (r *Request) Replace(v *View, next runtime.Object) error {
	clear(r.views)
	switch {
	case r.Operation == admission.Connect:
		return assign(r.Options, next)
	case r.Subresource == "scale":
		return r.rescale(next)
	case !r.subject.Empty():
		return assign(r.Object, next)
	}
	o, err := written(v.as, next)
	if err != nil {
		return err
	}
	if o, err = r.env.convert(o, v.as, r.Kind); err != nil {
		return err
	}
	if s := r.env.Strategy(r.Kind); s != nil && s.Default != nil {
		s.Default(o)
	}
	r.Object = o
	return nil
}

// assign makes dst what src is, but for its kind: who gave the order holds on to
// it.
func assign(dst, src runtime.Object) error {
	src, err := typed(src, dst)
	if err != nil {
		return err
	}
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src).Elem())
	dst.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return nil
}

// typed is an object as a struct of the type of another one.
func typed(o, like runtime.Object) (runtime.Object, error) {
	if reflect.TypeOf(o) == reflect.TypeOf(like) {
		return o, nil
	}
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("a %T was made a %T", like, o)
	}
	out := reflect.New(reflect.TypeOf(like).Elem()).Interface().(runtime.Object)
	return out, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out)
}

func (r *Request) rescale(next runtime.Object) error {
	next, err := typed(next, &autoscalingv1.Scale{})
	if err != nil {
		return err
	}
	s, err := r.scaling()
	if err != nil {
		return err
	}
	s.SetReplicas(r.Object, next.(*autoscalingv1.Scale).Spec.Replicas)
	return nil
}

// written is an object of upstream's packages as the registry knows it.
func written(k *kinds.Kind, next runtime.Object) (kinds.Object, error) {
	u, ok := next.(*unstructured.Unstructured)
	if !ok {
		o, ok := next.(kinds.Object)
		if !ok {
			return nil, apierrors.NewInternalError(fmt.Errorf("a %s was made a %T", k.Kind, next))
		}
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return o, nil
	}
	o := k.New()
	if c, ok := o.(*custom.Object); ok {
		c.Object = u.Object
		if _, err := custom.Of(k).Settle(k, c, false); err != nil {
			return nil, err
		}
		c.SetGroupVersionKind(schema.GroupVersionKind{})
		return c, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return o, nil
}
