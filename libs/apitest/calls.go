package apitest

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/kinds"
)

// begin notes a call and refuses it where the test says so.
func (a *API) begin(verb string, k *kinds.Kind, namespace, name string) error {
	a.mu.Lock()
	a.calls = append(a.calls, fmt.Sprintf("%s %s %s", verb, k.Plural, cache.ObjectName{Namespace: namespace, Name: name}))
	a.mu.Unlock()
	if a.Fail != nil {
		a.refusal.Lock()
		defer a.refusal.Unlock()
		return a.Fail(verb, k, namespace, name)
	}
	return nil
}

// Calls returns what was asked since the last time, as "verb plural ns/name".
func (a *API) Calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.calls
	a.calls = nil
	return out
}

func (a *API) find(k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if o := a.objects[k][cache.ObjectName{Namespace: namespace, Name: name}]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

// Get reads one object.
func (a *API) Get(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if err := a.begin("get", k, namespace, name); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	o, err := a.find(k, namespace, name)
	if err != nil {
		return nil, err
	}
	return clone(o), nil
}

// List reads the objects of a kind in a namespace; empty is everywhere.
func (a *API) List(_ context.Context, k *kinds.Kind, namespace string) ([]kinds.Object, error) {
	if err := a.begin("list", k, namespace, ""); err != nil {
		return nil, err
	}
	return a.all(k, namespace), nil
}

// Revision is the resource version that a list has now.
func (a *API) Revision(context.Context, *kinds.Kind) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strconv.FormatInt(a.revision, 10), nil
}

// Create stores a new object, without status.
func (a *API) Create(_ context.Context, o kinds.Object) (kinds.Object, error) {
	k := a.kindOf(o)
	if err := a.begin("create", k, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	o = clone(o)
	if !k.Stored() && kinds.ByResource(k.GroupVersionResource()) == k {
		if a.Review != nil {
			a.Review(o)
		}
		return o, nil
	}
	if o.GetName() == "" {
		o.SetName(o.GetGenerateName() + strconv.FormatInt(a.revision+1, 36))
	}
	if a.objects[k][key(o)] != nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), o.GetName())
	}
	if err := a.admits(k, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	o.SetUID(types.UID(fmt.Sprintf("uid-%d", a.revision+1)))
	o.SetCreationTimestamp(metav1.NewTime(a.Clock.Now()))
	if Spec(o) != nil {
		o.SetGeneration(1)
	}
	// A kubelet makes its Node with a status.
	if _, node := o.(*corev1.Node); k.HasSubresource("status") && !node {
		reset(o, k.New(), "Status")
	}
	if p, ok := o.(*corev1.Pod); ok {
		p.Status.Phase = corev1.PodPending
	}
	a.put(nil, o)
	return clone(o), nil
}

// admits refuses what a terminating namespace does.
func (a *API) admits(k *kinds.Kind, namespace, name string) error {
	ns := a.objects[kinds.For[*corev1.Namespace]()][cache.ObjectName{Name: namespace}]
	if ns == nil || ns.GetDeletionTimestamp() == nil {
		return nil
	}
	err := apierrors.NewForbidden(k.GroupResource(), name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", namespace), Field: "metadata.namespace",
	})
	return err
}

// reset copies fields of from to o.
func reset(o, from kinds.Object, fields ...string) {
	for _, f := range fields {
		to := reflect.ValueOf(o).Elem().FieldByName(f)
		if to.IsValid() {
			to.Set(reflect.ValueOf(clone(from)).Elem().FieldByName(f))
		}
	}
}

// Spec is an object's spec, nil if its kind has none.
func Spec(o kinds.Object) any {
	spec := reflect.ValueOf(o).Elem().FieldByName("Spec")
	if !spec.IsValid() {
		return nil
	}
	return spec.Interface()
}
