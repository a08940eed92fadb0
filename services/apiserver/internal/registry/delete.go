package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/strategy"
)

// deleteWorkers is how many objects of a collection are deleted at once.
const deleteWorkers = 8

// Delete asks for an object's end. gone tells whether it went at once; if not,
// it is marked, and finalizers or grace keep it.
func (r *Registry) Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) (obj kinds.Object, gone bool, err error) {
	if o, err = r.deletion(ctx, k, o); err != nil {
		return nil, false, err
	}
	return r.end(ctx, deletionOf(k, namespace, name, o), o)
}

func deletionOf(k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) *write {
	return &write{kind: k, namespace: namespace, name: name, options: WriteOptions{DryRun: len(o.DryRun) > 0, Options: o}}
}

// deletion checks the options of a deletion and says what to expect of it.
func (r *Registry) deletion(ctx context.Context, k *kinds.Kind, o *metav1.DeleteOptions) (*metav1.DeleteOptions, error) {
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	if errs := validation.ValidateDeleteOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	if o.GracePeriodSeconds != nil && *o.GracePeriodSeconds < 0 {
		o = o.DeepCopy()
		*o.GracePeriodSeconds = 1 // which is what a negative one means
	}
	unsaid := o.PropagationPolicy == nil && o.OrphanDependents == nil && !unsafe(o)
	if text := r.Strategy(k).OrphanWarning; text != "" && unsaid {
		r.warn(ctx, []string{text})
	}
	return o, nil
}

// end carries a deletion out. What the cache makes impossible is tried once more
// with what etcd has.
func (r *Registry) end(ctx context.Context, w *write, o *metav1.DeleteOptions) (obj kinds.Object, gone bool, err error) {
	for live := false; ; live = true {
		current, revision, err := r.current(ctx, w, live)
		if err != nil {
			return nil, false, err
		}
		if current == nil {
			return nil, false, apierrors.NewNotFound(w.kind.GroupResource(), w.name)
		}
		obj, gone, err = r.delete(ctx, w, current, revision, o)
		if errors.Is(err, errRetry) || (!live && (apierrors.IsConflict(err) || apierrors.IsNotFound(err))) {
			continue
		}
		return obj, gone, err
	}
}

func (r *Registry) delete(ctx context.Context, w *write, current kinds.Object, revision int64, o *metav1.DeleteOptions) (kinds.Object, bool, error) {
	if err := checkPreconditions(w, current, o.Preconditions); err != nil {
		return nil, false, err
	}
	if unsafe(o) {
		if w.kind.Group == "rbac.authorization.k8s.io" || w.kind.String() == "namespaces" {
			return nil, false, apierrors.NewInternalError(errUnsafe)
		}
		return nil, false, conflict(w, fmt.Sprintf("StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: "+
			"unsafe deletion is not allowed because the object is decodable from storage", w.key()))
	}
	if !w.judged {
		a := w.attributes(ctx, admission.Delete, nil, current)
		if err := r.Admission.Admit(ctx, a); err != nil {
			return nil, false, err
		}
		if err := r.Admission.Validate(ctx, a); err != nil {
			return nil, false, err
		}
	}
	old := current.DeepCopyObject().(kinds.Object)
	stays := r.mark(r.Strategy(w.kind), current, o)
	unmarked := current.GetDeletionTimestamp() == nil // nothing keeps it
	if !stays && (unmarked || finished(current)) {
		obj, err := r.remove(ctx, w, current, revision)
		return obj, err == nil, err
	}
	obj, err := r.put(ctx, w, current, old, revision)
	return obj, false, err
}

var errUnsafe = errors.New("no unsafe deleter provided, can not honor ignoreStoreReadErrorWithClusterBreakingPotential")

// unsafe tells whether what cannot be read is to be deleted.
func unsafe(o *metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}

func checkPreconditions(w *write, obj kinds.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	switch w.kind.String() { // these upstream deletes in ways of their own
	case "namespaces":
		return preconditionsOf(w, obj, p, "Precondition")
	case "customresourcedefinitions.apiextensions.k8s.io":
		return preconditionsOf(w, obj, p, "precondition")
	}
	// Here, and only here, upstream names the kind where it has the resource
	// elsewhere.
	named := schema.GroupResource{Group: w.groupKind().Group, Resource: w.groupKind().Kind}
	if p.UID != nil && *p.UID != obj.GetUID() {
		return apierrors.NewConflict(named, w.name, fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). "+
			"The object might have been deleted and then recreated", *p.UID, obj.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != obj.GetResourceVersion() {
		return apierrors.NewConflict(named, w.name, fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the "+
			"ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, obj.GetResourceVersion()))
	}
	return nil
}

func preconditionsOf(w *write, obj kinds.Object, p *metav1.Preconditions, noun string) error {
	const format = "%s failed: %s in precondition: %v, %s in object meta: %v"
	if p.UID != nil && *p.UID != obj.GetUID() {
		return conflict(w, fmt.Sprintf(format, noun, "UID", *p.UID, "UID", obj.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != obj.GetResourceVersion() {
		return conflict(w, fmt.Sprintf(format, noun, "ResourceVersion", *p.ResourceVersion, "ResourceVersion", obj.GetResourceVersion()))
	}
	return nil
}

// mark sets the deletion's time, grace and finalizers on an object that does
// not go at once, and tells whether grace keeps it.
func (r *Registry) mark(s *strategy.Erased, obj kinds.Object, o *metav1.DeleteOptions) (graceful bool) {
	if d, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		if d.DeletionTimestamp != nil {
			setFinalizers(s, obj, o)
		}
		r.markDefinition(d)
		return false
	}
	switch obj.(type) {
	case *corev1.Event, *eventsv1.Event:
		// What they own is no garbage collector's business.
	case *corev1.Namespace:
		if obj.GetDeletionTimestamp() == nil { // only the first deletion may say
			setFinalizers(s, obj, o)
		}
	default:
		setFinalizers(s, obj, o)
	}
	if obj.GetDeletionTimestamp() != nil {
		return r.shorten(obj, o)
	}
	var seconds int64
	if s.GracefulDelete != nil {
		seconds, graceful = s.GracefulDelete(obj, o)
	}
	// Kinds that may have grace are marked even if there is none left.
	if s.GracefulDelete == nil && len(obj.GetFinalizers()) == 0 && !held(obj) {
		return false
	}
	at := metav1.NewTime(r.Clock.Now().Add(time.Duration(seconds) * time.Second)).Rfc3339Copy()
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&seconds)
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
		ns.DeletionGracePeriodSeconds = nil
	}
	return graceful
}

// shorten lets a later deletion ask for less grace, never for more.
func (r *Registry) shorten(obj kinds.Object, o *metav1.DeleteOptions) (graceful bool) {
	have := obj.GetDeletionGracePeriodSeconds()
	if have == nil || *have == 0 {
		return false
	}
	if o.GracePeriodSeconds == nil || *o.GracePeriodSeconds >= *have {
		return true
	}
	seconds := *o.GracePeriodSeconds
	at := metav1.NewTime(obj.GetDeletionTimestamp().Add(time.Duration(seconds-*have) * time.Second)).Rfc3339Copy()
	if now := metav1.NewTime(r.Clock.Now()).Rfc3339Copy(); at.Before(&now) {
		// The time is up, yet whoever ends the pod must still get to see it.
		at, seconds = now, min(seconds, 1)
	}
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&seconds)
	return seconds > 0
}

// setFinalizers turns the propagation policy into the finalizers that the
// garbage collector acts on.
func setFinalizers(s *strategy.Erased, obj kinds.Object, o *metav1.DeleteOptions) {
	orphan, foreground := propagation(s, obj, o)
	finalizers := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		finalizers = append(finalizers, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		finalizers = append(finalizers, metav1.FinalizerDeleteDependents)
	}
	if len(finalizers) == 0 {
		finalizers = nil
	}
	obj.SetFinalizers(finalizers)
}

func propagation(s *strategy.Erased, obj kinds.Object, o *metav1.DeleteOptions) (orphan, foreground bool) {
	switch {
	case o.PropagationPolicy != nil:
		return *o.PropagationPolicy == metav1.DeletePropagationOrphan, *o.PropagationPolicy == metav1.DeletePropagationForeground
	case o.OrphanDependents != nil:
		return *o.OrphanDependents, false
	}
	orphan = slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents)
	foreground = slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
	if !orphan && !foreground {
		orphan = s.OrphansByDefault
	}
	return orphan, foreground
}

// held tells whether a namespace's own finalizers keep it.
func held(obj kinds.Object) bool {
	ns, ok := obj.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) > 0
}

// finished tells whether nothing keeps an object that is being deleted.
func finished(obj kinds.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 || held(obj) {
		return false
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// DeleteCollection deletes what the list selects and returns what it selected.
func (r *Registry) DeleteCollection(ctx context.Context, k *kinds.Kind, l ListOptions, o *metav1.DeleteOptions) ([]kinds.Object, int64, error) {
	o, err := r.deletion(ctx, k, o)
	if err != nil {
		return nil, 0, err
	}
	list, err := r.List(ctx, k, l)
	if err != nil {
		return nil, 0, err
	}
	out := make([]kinds.Object, len(list.Items))
	errs := make([]error, len(list.Items))
	limit := make(chan struct{}, deleteWorkers)
	var group sync.WaitGroup
	for n, i := range list.Items {
		limit <- struct{}{}
		group.Go(func() {
			defer func() { <-limit }()
			w := deletionOf(k, i.Namespace, i.Name, o)
			w.collection = true
			out[n], _, errs[n] = r.end(ctx, w, o.DeepCopy())
			if apierrors.IsNotFound(errs[n]) {
				out[n], errs[n] = r.decode(k, i)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, 0, err
		}
	}
	return out, list.Revision, nil
}
