package registry

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/etcd"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// Generated names: upstream's lengths, and how often another one is tried.
const (
	randomLength  = 5
	maxNameLength = 63
	maxNameTries  = 8
)

// errTerminating is why nothing of a kind is created whose definition goes.
var errTerminating = errors.New("create not allowed while custom resource definition is terminating")

// Create stores a new object and returns it as stored. obj is taken over.
func (r *Registry) Create(ctx context.Context, k *kinds.Kind, namespace string, obj kinds.Object, o WriteOptions) (kinds.Object, error) {
	if !k.Has("create") {
		return nil, apierrors.NewMethodNotSupported(k.GroupResource(), "create")
	}
	if err := ensureNamespace(k, namespace, obj); err != nil {
		return nil, err
	}
	base := obj.GetGenerateName()
	generated := obj.GetName() == "" && base != ""
	for try := 1; ; try++ {
		attempt := obj
		if generated {
			attempt = obj.DeepCopyObject().(kinds.Object)
			attempt.SetName(generateName(r.Strategy(k), base))
		}
		created, err := r.create(ctx, &write{kind: k, namespace: namespace, name: attempt.GetName(), generated: generated, options: o}, attempt)
		if generated && apierrors.IsAlreadyExists(err) && try < maxNameTries {
			continue
		}
		return created, err
	}
}

func generateName(s *strategy.Erased, base string) string {
	if s.GenerateName != nil {
		return s.GenerateName(base)
	}
	if len(base) > maxNameLength-randomLength {
		base = base[:maxNameLength-randomLength]
	}
	return base + utilrand.String(randomLength)
}

func ensureNamespace(k *kinds.Kind, namespace string, obj kinds.Object) error {
	switch {
	case obj.GetNamespace() == "" && k.Namespaced:
		obj.SetNamespace(namespace)
	case obj.GetNamespace() != namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// renamed takes over the name that mutators have left on an object, or gives it
// the generated one.
func (w *write) renamed(obj kinds.Object, a *admission.Attributes) error {
	if w.generated && obj.GetName() == "" {
		obj.SetName(w.name)
	}
	w.name = obj.GetName()
	if a.Name == "" {
		a.Name = w.name
	}
	return ensureNamespace(w.kind, w.namespace, obj)
}

func (r *Registry) create(ctx context.Context, w *write, obj kinds.Object) (kinds.Object, error) {
	s := r.Strategy(w.kind)
	if obj.GetResourceVersion() != "" && !w.options.DryRun {
		return nil, internal("resourceVersion should not be set on objects to be created")
	}
	r.fill(obj)
	if w.generated {
		obj.SetName("") // nobody sees the name before it is the object's
	}
	if s.Default != nil {
		s.Default(obj)
	}
	attributes := w.attributes(ctx, admission.Create, obj, nil)
	if r.Catalog.Terminating(w.kind) {
		return nil, apierrors.NewForbidden(w.kind.GroupResource(), w.name, errTerminating)
	}
	uid, at := obj.GetUID(), obj.GetCreationTimestamp()
	if w.generated {
		attributes.Name = ""
	}
	err := r.traced(ctx, obj, "admission", func(ctx context.Context) error { return r.Admission.Admit(ctx, attributes) })
	if err != nil {
		return nil, err
	}
	obj = attributes.Object
	obj.SetUID(uid)
	obj.SetCreationTimestamp(at)
	if s.Default != nil {
		s.Default(obj)
	}
	if err := w.renamed(obj, attributes); err != nil {
		return nil, err
	}
	if s.PrepareWarnings != nil {
		r.warn(ctx, s.PrepareWarnings(obj))
	}
	if s.PrepareCreate != nil {
		s.PrepareCreate(obj)
	}
	if s.Author != nil {
		s.Author(obj, auth.User(ctx))
	}
	release, err := r.Services.allocate(ctx, w, obj, nil)
	if err != nil {
		return nil, err
	}
	created, err := r.commitCreate(ctx, w, s, attributes, obj)
	if err != nil || w.options.DryRun {
		release()
	}
	return created, err
}

func (r *Registry) commitCreate(ctx context.Context, w *write, s *strategy.Erased, a *admission.Attributes, obj kinds.Object) (kinds.Object, error) {
	if errs := append(r.permit(ctx, w, admission.Create, obj, nil), validateCreate(w.kind, s, obj)...); len(errs) > 0 {
		return nil, apierrors.NewInvalid(w.groupKind(), obj.GetName(), errs)
	}
	if w.generated && s.Default != nil {
		s.Default(obj) // what the name implies is not for validation
	}
	if s.Warnings != nil {
		r.warn(ctx, s.Warnings(obj, nil))
	}
	a.Object = obj
	if err := r.Admission.Validate(ctx, a); err != nil {
		return nil, err
	}
	if w.options.DryRun {
		if existing, _, err := r.current(ctx, w, false); err != nil || existing != nil {
			return nil, errors.Join(err, exists(w))
		}
		return r.asStored(w.kind, obj, obj.GetResourceVersion())
	}
	if s.Reread != nil {
		s.Reread(obj)
	}
	value, err := r.seal(w.kind, obj)
	if err != nil {
		return nil, err
	}
	var revision int64
	err = r.traced(ctx, obj, "etcd", func(ctx context.Context) (err error) {
		revision, err = r.storeNew(ctx, w, obj, value)
		return err
	})
	if errors.Is(err, etcd.ErrExists) {
		return nil, r.alreadyExists(ctx, w)
	}
	if err != nil {
		return nil, err
	}
	r.wait(ctx, w.kind, revision)
	return r.reread(w.kind, obj, value, revision)
}

func exists(w *write) error { return apierrors.NewAlreadyExists(w.kind.GroupResource(), w.name) }

// alreadyExists says, as upstream does, when the object in the way is going.
func (r *Registry) alreadyExists(ctx context.Context, w *write) error {
	err := apierrors.NewAlreadyExists(w.kind.GroupResource(), w.name)
	existing, _, getErr := r.current(ctx, w, true)
	if getErr == nil && existing != nil && existing.GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

// fill gives a new object what the server owns of its metadata.
func (r *Registry) fill(obj kinds.Object) {
	obj.SetCreationTimestamp(metav1.NewTime(r.Clock.Now()).Rfc3339Copy())
	obj.SetUID(newUID())
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

func newUID() types.UID { return uuid.NewUUID() }

// validateCreate checks the metadata, then what is the kind's own. If both found
// nothing, the name is held to what fits into a path.
func validateCreate(k *kinds.Kind, s *strategy.Erased, obj kinds.Object) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("metadata")
	if !s.MetadataLast {
		errs = validation.ValidateObjectMetaAccessor(obj, k.Namespaced, nameRule(s), path)
	}
	if s.ValidateCreate != nil {
		errs = append(errs, s.ValidateCreate(obj)...)
	}
	if len(errs) == 0 {
		errs = validation.ValidateObjectMetaAccessor(obj, k.Namespaced, check.PathSegment, path)
	}
	return once(k, errs)
}

// once leaves out what was said before, as upstream does for its own kinds but
// those that extend the API.
func once(k *kinds.Kind, errs field.ErrorList) field.ErrorList {
	if len(errs) < 2 || k.Custom() || k.Group == "apiextensions.k8s.io" || k.Group == "apiregistration.k8s.io" {
		return errs
	}
	said := map[string]bool{}
	return slices.DeleteFunc(errs, func(e *field.Error) bool {
		text := e.Error()
		again := said[text]
		said[text] = true
		return again
	})
}

func nameRule(s *strategy.Erased) validation.ValidateNameFunc {
	if s.NameRule != nil {
		return s.NameRule
	}
	return validation.NameIsDNSSubdomain
}
