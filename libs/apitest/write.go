package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
)

// Update writes an object, or one subresource of it if that is not empty.
func (a *API) Update(_ context.Context, o kinds.Object, subresource string) (kinds.Object, error) {
	k := a.kindOf(o)
	if err := a.begin("update"+slash(subresource), k, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.update(k, clone(o), subresource)
}

func slash(s string) string {
	if s == "" {
		return ""
	}
	return "/" + s
}

func (a *API) update(k *kinds.Kind, o kinds.Object, subresource string) (kinds.Object, error) {
	old, err := a.find(k, o.GetNamespace(), o.GetName())
	if err != nil {
		return nil, err
	}
	if v := o.GetResourceVersion(); v != "" && v != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(k.GroupResource(), o.GetName(),
			fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if uid := o.GetUID(); uid != "" && uid != old.GetUID() {
		return nil, apierrors.NewInvalid(k.GroupVersionKind().GroupKind(), o.GetName(),
			field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), uid, "field is immutable")})
	}
	o.SetUID(old.GetUID())
	o.SetCreationTimestamp(old.GetCreationTimestamp())
	o.SetResourceVersion(old.GetResourceVersion())
	o.SetDeletionTimestamp(old.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	o.SetGeneration(old.GetGeneration())
	a.part(o, old, subresource)
	if reflect.DeepEqual(o, old) {
		return clone(o), nil
	}
	if a.ends(o) {
		a.put(old, nil)
		return clone(o), nil
	}
	a.put(old, o)
	return clone(o), nil
}

// part lets a subresource change only what is its own.
func (a *API) part(o, old kinds.Object, subresource string) {
	switch subresource {
	case "status", "approval":
		// As upstream's strategies: metadata may change with the status.
		reset(o, old, "Spec")
	case "finalize":
		finalizers := o.(*corev1.Namespace).Spec.Finalizers
		reset(o, old, "ObjectMeta", "Spec", "Status")
		o.(*corev1.Namespace).Spec.Finalizers = finalizers
	default:
		if a.kindOf(o).HasSubresource("status") {
			reset(o, old, "Status")
		}
		if spec := Spec(o); spec != nil && !reflect.DeepEqual(spec, Spec(old)) {
			o.SetGeneration(old.GetGeneration() + 1)
		}
	}
}

// ends tells whether nothing keeps a deleted object any longer.
func (a *API) ends(o kinds.Object) bool {
	if o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := o.(*corev1.Namespace); ok {
		return len(ns.Spec.Finalizers) == 0
	}
	grace := o.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// Patch changes an object, or one subresource of it if that is not empty.
func (a *API) Patch(_ context.Context, k *kinds.Kind, namespace, name string, pt types.PatchType, data []byte, subresource string) (kinds.Object, error) {
	if err := a.begin("patch"+slash(subresource), k, namespace, name); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old, err := a.find(k, namespace, name)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	after, err := patched(k, pt, before, data)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	o := k.New()
	if err := json.Unmarshal(after, o); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return a.update(k, o, subresource)
}

func patched(k *kinds.Kind, pt types.PatchType, before, data []byte) ([]byte, error) {
	switch pt {
	case types.StrategicMergePatchType:
		if kinds.ByResource(k.GroupVersionResource()) != k {
			return nil, fmt.Errorf("custom resources have no strategic merge patches")
		}
		return strategicpatch.StrategicMergePatch(before, data, k.New())
	case types.MergePatchType:
		return jsonpatch.MergePatch(before, data)
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(data)
		if err != nil {
			return nil, err
		}
		return p.Apply(before)
	}
	return nil, fmt.Errorf("patch type %q is not served", pt)
}

// Delete marks an object as deleted, and removes it once nothing keeps it.
func (a *API) Delete(_ context.Context, k *kinds.Kind, namespace, name string, o metav1.DeleteOptions) error {
	if err := a.begin("delete", k, namespace, name); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.delete(k, namespace, name, o)
}

func (a *API) delete(k *kinds.Kind, namespace, name string, options metav1.DeleteOptions) error {
	old, err := a.find(k, namespace, name)
	if err != nil {
		return err
	}
	if p := options.Preconditions; p != nil {
		if p.UID != nil && *p.UID != old.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
			return apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf("precondition failed"))
		}
	}
	o := clone(old)
	policyFinalizers(o, options.PropagationPolicy)
	grace := graceOf(o, options)
	if held := o.GetDeletionGracePeriodSeconds(); o.GetDeletionTimestamp() == nil || held != nil && grace < *held {
		at := metav1.NewTime(a.Clock.Now().Add(time.Duration(grace) * time.Second))
		o.SetDeletionTimestamp(&at)
		o.SetDeletionGracePeriodSeconds(&grace)
		if ns, ok := o.(*corev1.Namespace); ok {
			ns.Status.Phase = corev1.NamespaceTerminating
		}
	}
	switch {
	case a.ends(o):
		a.put(old, nil)
	case !reflect.DeepEqual(o, old):
		a.put(old, o)
	}
	return nil
}

func policyFinalizers(o kinds.Object, policy *metav1.DeletionPropagation) {
	if policy == nil {
		return
	}
	var out []string
	for _, f := range o.GetFinalizers() {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			out = append(out, f)
		}
	}
	switch *policy {
	case metav1.DeletePropagationOrphan:
		out = append(out, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	o.SetFinalizers(out)
}

// graceOf is how long a pod may take: none that no kubelet knows of.
func graceOf(o kinds.Object, options metav1.DeleteOptions) int64 {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0
	}
	if options.GracePeriodSeconds != nil {
		return *options.GracePeriodSeconds
	}
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return *pod.Spec.TerminationGracePeriodSeconds
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

// DeleteCollection deletes everything of a kind in a namespace.
func (a *API) DeleteCollection(_ context.Context, k *kinds.Kind, namespace string, options metav1.DeleteOptions) error {
	if err := a.begin("deletecollection", k, namespace, ""); err != nil {
		return err
	}
	for _, o := range a.all(k, namespace) {
		a.mu.Lock()
		err := a.delete(k, o.GetNamespace(), o.GetName(), options)
		a.mu.Unlock()
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
