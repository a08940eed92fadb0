package rest

import (
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/warning"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/registry"
)

// decode reads the request's body into an object.
func (c *call) decode(want body.Expected, into runtime.Object, fieldValidation string) error {
	encoding, err := negotiate.Content(c.r)
	if err != nil {
		return err
	}
	data, err := c.read()
	if err != nil {
		return err
	}
	if o, ok := into.(*custom.Object); ok {
		return c.decodeCustom(data, encoding, want, o, fieldValidation)
	}
	texts, err := body.Decode(data, encoding, want, into, body.StrictnessOf(fieldValidation))
	c.warn(texts)
	return err
}

func (c *call) read() ([]byte, error) {
	data, err := body.Read(c.r, body.Limit)
	if err == nil {
		c.metrics.body(c, len(data))
	}
	return data, err
}

func (c *call) warn(texts []string) {
	for _, text := range texts {
		warning.AddWarning(c.ctx(), "", text)
	}
}

// create makes a new object of the body.
func (c *call) create() error {
	out, err := c.accept(negotiate.Objects)
	if err != nil {
		return err
	}
	if _, err := negotiate.Content(c.r); err != nil {
		return err
	}
	o, err := query.ForCreate(c.values)
	if err != nil {
		return err
	}
	c.dryRun = len(o.DryRun) > 0
	obj := c.kind.New()
	if err := c.decode(body.Expected{Kind: c.kind.GroupVersionKind()}, obj, o.FieldValidation); err != nil {
		return err
	}
	c.complete(obj)
	c.sent(obj, c.kind.GroupVersionKind())
	if err := c.place(obj); err != nil {
		return err
	}
	if c.is("Binding") {
		return c.bind(obj.(*corev1.Binding), o)
	}
	c.dedupOwners(obj)
	obj.SetDeletionTimestamp(nil) // which nobody may own
	obj.SetDeletionGracePeriodSeconds(nil)
	c.managed.Created(c.kind, obj, manager(o.FieldManager, c.r))
	if !c.kind.Stored() {
		answer, err := c.Reviews.Review(c.ctx(), c.kind, c.namespace, obj)
		if err != nil {
			return err
		}
		return c.object(out, http.StatusCreated, answer)
	}
	started := c.Clock.Now()
	created, err := c.Registry.Create(c.ctx(), c.kind, c.namespace, obj, registry.WriteOptions{
		DryRun: c.dryRun, FieldManager: manager(o.FieldManager, c.r), Options: o,
	})
	if err != nil {
		return err
	}
	if c.is("Pod") && !c.dryRun {
		c.Tracer.Record(created.GetUID(), "request", started, c.Clock.Now())
	}
	return c.object(out, http.StatusCreated, created)
}

// sent notes what the client sent for the audit.
func (c *call) sent(obj runtime.Object, kind schema.GroupVersionKind) {
	audit.Object(c.ctx(), obj, kind, c.kind.GroupVersion().WithResource(c.kind.Plural), c.t.Subresource)
}

// complete sets an object's defaults. The registry does it, too; but what is set
// by default belongs to whoever left it out.
func (c *call) complete(obj kinds.Object) {
	if s := c.Registry.Strategy(c.kind); s != nil && s.Default != nil {
		s.Default(obj)
	}
}

// place puts an object into the namespace of the path, unless it says that it
// belongs into another.
func (c *call) place(obj metav1.Object) error {
	if have := obj.GetNamespace(); have != "" && c.namespace != "" && have != c.namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	obj.SetNamespace(c.namespace)
	return nil
}

// named holds an object to the name in the path.
func (c *call) named(obj metav1.Object) error {
	switch name := obj.GetName(); {
	case name == "":
		return apierrors.NewBadRequest("the name of the object (" + c.t.Name + " based on URL) was undeterminable: name must be provided")
	case name != c.t.Name:
		return apierrors.NewBadRequest("the name of the object (" + name + ") does not match the name on the URL (" + c.t.Name + ")")
	}
	return nil
}

// manager is who the fields of a write belong to: as the client says, or else
// the program that it is.
func manager(name string, r *http.Request) string {
	if name != "" {
		return name
	}
	return managed.Program(r.UserAgent())
}

const duplicateOwners = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "

// dedupOwners drops owner references that are there twice, and says so.
func (c *call) dedupOwners(obj kinds.Object) {
	refs := obj.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var kept []metav1.OwnerReference
	var twice []string
	for _, ref := range refs {
		if containsOwner(kept, ref) {
			twice = append(twice, string(ref.UID))
			continue
		}
		kept = append(kept, ref)
	}
	if len(twice) > 0 {
		obj.SetOwnerReferences(kept)
		c.warn([]string{duplicateOwners + strings.Join(twice, ", ")})
	}
}

func containsOwner(refs []metav1.OwnerReference, ref metav1.OwnerReference) bool {
	for _, have := range refs {
		if have.UID == ref.UID && have.APIVersion == ref.APIVersion && have.Kind == ref.Kind && have.Name == ref.Name &&
			same(have.Controller, ref.Controller) && same(have.BlockOwnerDeletion, ref.BlockOwnerDeletion) {
			return true
		}
	}
	return false
}

func same(a, b *bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
