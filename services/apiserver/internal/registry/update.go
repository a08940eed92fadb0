package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// modified is upstream's advice to a client that wrote over an older version.
const modified = "the object has been modified; please apply your changes to the latest version and try again"

// UpdateOptions qualify an update.
type UpdateOptions struct {
	WriteOptions
	// UID refuses another object of the same name with Conflict.
	UID types.UID
	// Unconditional lets a PATCH go on without a resource version where the kind asks
	// for one in a PUT.
	Unconditional bool
}

// Change makes the new version of an object from the present one, which it may
// modify. It is called again with the newer version when another write came
// first: what it returns then must carry the version that the client named, if
// it named one.
type Change func(current kinds.Object) (kinds.Object, error)

// errRetry says that another write came first.
var errRetry = errors.New("the object changed meanwhile")

// Update is PUT and every PATCH: of the object if subresource is empty. Where
// the kind allows it, an absent object is created.
func (r *Registry) Update(ctx context.Context, k *kinds.Kind, namespace, name, subresource string, change Change, o UpdateOptions) (obj kinds.Object, created bool, err error) {
	w := &write{kind: k, namespace: namespace, name: name, subresource: subresource, options: o.WriteOptions}
	if o.Unconditional {
		w.verb = "patch"
	}
	s := r.Strategy(k)
	// The cache may be behind: what it makes impossible is tried once more
	// with what etcd has.
	for live := false; ; live = true {
		current, revision, err := r.current(ctx, w, live)
		if err != nil {
			return nil, false, err
		}
		if current == nil {
			return r.createByUpdate(ctx, w, s, change)
		}
		obj, err = r.update(ctx, w, s, current, revision, change, o)
		if errors.Is(err, errRetry) || (err != nil && !live && (apierrors.IsConflict(err) || apierrors.IsInvalid(err))) {
			continue
		}
		return obj, false, err
	}
}

func (r *Registry) createByUpdate(ctx context.Context, w *write, s *strategy.Erased, change Change) (kinds.Object, bool, error) {
	if !s.AllowCreateOnUpdate || w.subresource != "" {
		return nil, false, apierrors.NewNotFound(w.kind.GroupResource(), w.name)
	}
	obj, err := change(w.kind.New())
	if err != nil {
		return nil, false, err
	}
	if (obj.GetResourceVersion() != "" && !w.options.DryRun) || obj.GetUID() != "" {
		return nil, false, apierrors.NewNotFound(w.kind.GroupResource(), w.name)
	}
	if err := ensureNamespace(w.kind, w.namespace, obj); err != nil {
		return nil, false, err
	}
	obj, err = r.create(ctx, w, obj)
	return obj, err == nil, err
}

func (r *Registry) update(ctx context.Context, w *write, s *strategy.Erased, current kinds.Object, revision int64, change Change, o UpdateOptions) (kinds.Object, error) {
	if o.UID != "" && o.UID != current.GetUID() {
		return nil, otherUID(w, o.UID, current.GetUID())
	}
	old := current.DeepCopyObject().(kinds.Object)
	obj, err := change(current)
	if err != nil {
		return nil, err
	}
	if err := r.checkVersion(w, s, obj, old, revision, o); err != nil {
		return nil, err
	}
	if err := ensureNamespace(w.kind, w.namespace, obj); err != nil {
		return nil, err
	}
	if obj, err = r.prepareUpdate(ctx, w, s, obj, old); err != nil {
		return nil, err
	}
	release, err := r.Services.allocate(ctx, w, obj, old)
	if err != nil {
		return nil, err
	}
	obj, err = r.checkAndPut(ctx, w, s, obj, old, revision)
	if err != nil || w.options.DryRun || finished(obj) {
		release()
	}
	return obj, err
}

// checkVersion holds a client to the version that it says it changes.
func (r *Registry) checkVersion(w *write, s *strategy.Erased, obj, old kinds.Object, revision int64, o UpdateOptions) error {
	// A PATCH to another UID is an attempt to change what is immutable, and
	// validation says so.
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() && !o.Unconditional {
		return otherUID(w, uid, old.GetUID())
	}
	version := obj.GetResourceVersion()
	if version == "" || version == "0" {
		if s.AllowUnconditionalUpdate || o.Unconditional {
			obj.SetResourceVersion("")
			return nil
		}
		return VersionRequired(w.kind, w.name)
	}
	asked, err := strconv.ParseUint(version, 10, 63)
	if err != nil {
		return internal(err.Error())
	}
	if int64(asked) != revision {
		return conflict(w, modified)
	}
	return nil
}

// VersionRequired refuses an update that does not say of which version it is.
func VersionRequired(k *kinds.Kind, name string) error {
	// Here upstream names the resource where it has the kind elsewhere.
	named := schema.GroupKind{Group: stored(k).Group, Kind: stored(k).Plural}
	return apierrors.NewInvalid(named, name, field.ErrorList{
		field.Invalid(field.NewPath("metadata").Child("resourceVersion"), 0, "must be specified for an update"),
	})
}

func conflict(w *write, reason string) error {
	return apierrors.NewConflict(w.kind.GroupResource(), w.name, errors.New(reason))
}

// otherUID says that a client meant an object that is no longer the one here, in
// the words of upstream's storage.
func otherUID(w *write, want, have types.UID) error {
	key := w.key()
	if w.options.DryRun {
		key = strings.TrimPrefix(key, "/registry") // there upstream's storage is not asked
	}
	return conflict(w, fmt.Sprintf("StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: "+
		"Precondition failed: UID in precondition: %v, UID in object meta: %v", key, want, have))
}

// prepareUpdate runs defaults, mutating admission and the kind's own rules for
// what this write may change.
func (r *Registry) prepareUpdate(ctx context.Context, w *write, s *strategy.Erased, obj, old kinds.Object) (kinds.Object, error) {
	if s.Default != nil {
		s.Default(obj)
	}
	keep(obj, old)
	a := w.attributes(ctx, admission.Update, obj, old)
	if err := r.Admission.Admit(ctx, a); err != nil {
		return nil, err
	}
	obj = a.Object
	if s.Default != nil {
		s.Default(obj)
	}
	obj.SetGeneration(old.GetGeneration()) // it is the server's to count
	if sub := subresource(s, w.subresource); sub != nil {
		if sub.PrepareUpdate != nil {
			sub.PrepareUpdate(obj, old)
		}
	} else if s.PrepareUpdate != nil {
		s.PrepareUpdate(obj, old)
	}
	keep(obj, old)
	return obj, nil
}

// keep holds on to the metadata that no update changes. A deletion that was not
// asked for is left for validation to refuse.
func keep(obj, old kinds.Object) {
	if obj.GetName() == "" {
		obj.SetName(old.GetName())
	}
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	if at := old.GetDeletionTimestamp(); at != nil {
		obj.SetDeletionTimestamp(at)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(grace)
	}
	obj.SetSelfLink("")
}

func subresource(s *strategy.Erased, name string) *strategy.Sub[kinds.Object] {
	if name == "status" {
		return s.Status
	}
	return s.Subresources[name]
}

func (r *Registry) checkAndPut(ctx context.Context, w *write, s *strategy.Erased, obj, old kinds.Object, revision int64) (kinds.Object, error) {
	if errs := r.validateUpdate(ctx, w, s, obj, old); len(errs) > 0 {
		return nil, apierrors.NewInvalid(w.groupKind(), obj.GetName(), errs)
	}
	if sub := subresource(s, w.subresource); sub != nil {
		if sub.Warnings != nil {
			r.warn(ctx, sub.Warnings(obj, old))
		}
	} else if s.Warnings != nil {
		r.warn(ctx, s.Warnings(obj, old))
	}
	if err := r.Admission.Validate(ctx, w.attributes(ctx, admission.Update, obj, old)); err != nil {
		return nil, err
	}
	if finished(obj) {
		return r.remove(ctx, w, obj, revision)
	}
	return r.put(ctx, w, obj, old, revision)
}

func (r *Registry) validateUpdate(ctx context.Context, w *write, s *strategy.Erased, obj, old kinds.Object) field.ErrorList {
	// The version was checked, and the rules for metadata want one.
	version := obj.GetResourceVersion()
	obj.SetResourceVersion(old.GetResourceVersion())
	defer obj.SetResourceVersion(version)
	errs := validation.ValidateObjectMetaAccessor(obj, w.kind.Namespaced, check.PathSegment, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))...)
	errs = append(errs, r.permit(ctx, w, admission.Update, obj, old)...)
	validate := s.ValidateUpdate
	if sub := subresource(s, w.subresource); sub != nil {
		validate = sub.ValidateUpdate
	}
	if validate != nil {
		errs = append(errs, validate(obj, old)...)
	}
	return once(w.kind, errs)
}

// put commits an update; one that changes nothing is not written.
func (r *Registry) put(ctx context.Context, w *write, obj, old kinds.Object, revision int64) (kinds.Object, error) {
	value, err := r.seal(w.kind, obj)
	if err != nil {
		return nil, err
	}
	before, err := r.before(w, old, revision)
	if err != nil {
		return nil, err
	}
	same := bytes.Equal(value, before)
	if same && !w.options.DryRun {
		// Encryption may want it written anew.
		stale, err := r.Cache.Store().Stale(ctx, w.key())
		if err != nil {
			return nil, err
		}
		same = !stale
	}
	if w.options.DryRun {
		return r.asStored(w.kind, obj, strconv.FormatInt(revision, 10))
	}
	if same {
		obj.SetResourceVersion(strconv.FormatInt(revision, 10))
		return obj, nil
	}
	var written int64
	err = r.traced(ctx, obj, "etcd", func(ctx context.Context) (err error) {
		written, err = r.storeChanged(ctx, w, obj, value, revision)
		return err
	})
	if err != nil {
		return nil, err
	}
	if written == 0 {
		return nil, errRetry
	}
	r.wait(ctx, w.kind, written)
	return r.reread(w.kind, obj, value, written)
}

// before is what is stored at the moment. Of custom resources that is known as it
// is: one that is stored in an older version, or without defaults that were
// added since, changes by being written again.
func (r *Registry) before(w *write, old kinds.Object, revision int64) ([]byte, error) {
	k := stored(w.kind)
	if !k.Custom() {
		return r.seal(w.kind, old)
	}
	if i := r.Cache.Get(k, w.namespace, w.name); i != nil && i.Revision == revision {
		return append(i.Stored(), '\n'), nil
	}
	return nil, nil
}

// remove deletes an object of which nothing holds any more.
func (r *Registry) remove(ctx context.Context, w *write, obj kinds.Object, revision int64) (kinds.Object, error) {
	if w.options.DryRun {
		return obj, nil
	}
	var deleted int64
	err := r.traced(ctx, obj, "etcd", func(ctx context.Context) error {
		var absent bool
		var err error
		deleted, absent, err = r.storeGone(ctx, w, obj, revision)
		if err == nil && absent {
			err = apierrors.NewNotFound(w.kind.GroupResource(), w.name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if deleted == 0 {
		return nil, errRetry
	}
	r.wait(ctx, w.kind, deleted)
	obj.SetResourceVersion(strconv.FormatInt(deleted, 10))
	return obj, nil
}
