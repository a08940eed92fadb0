// Package strategy says what is particular to a kind: the functions that the
// registry, which is the same for all kinds, calls on the way of a write and
// of a table.
package strategy

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
)

// Kind is the behaviour of one kind. Every function may be nil, which means
// "nothing particular". None of them does I/O, and all may be called from
// several goroutines at once.
//
// The registry calls them in upstream's order. On create: Default, mutating
// admission, Default again, metadata filled in (name, UID, time),
// PrepareWarnings, PrepareCreate, ValidateCreate, Warnings, validating admission. On update:
// Default, mutating admission, Default, PrepareUpdate, ValidateUpdate,
// Warnings, validating admission. A subresource in Status or Subresources
// replaces the PrepareUpdate and ValidateUpdate of the main resource.
type Kind[T kinds.Object] struct {
	// Default fills in what the client left out.
	Default func(obj T)

	// PrepareWarnings are about what PrepareCreate is going to replace. They
	// are told even if the object is refused after all.
	PrepareWarnings func(obj T) []string
	// PrepareCreate drops what a client may not set and derives what the
	// server owns. The object has its name and UID by then.
	PrepareCreate func(obj T)
	// PrepareUpdate carries over from old what this write may not change,
	// and raises metadata.generation if the desired state changed.
	PrepareUpdate func(obj, old T)

	// ValidateCreate and ValidateUpdate return the errors in upstream's
	// order. Checks of metadata that hold for all kinds are the registry's,
	// with NameRule as the rule for the name.
	ValidateCreate func(obj T) field.ErrorList
	ValidateUpdate func(obj, old T) field.ErrorList
	// NameRule tells what is wrong with a name, or with a name's prefix if
	// prefix is set. Nil means a DNS subdomain.
	NameRule func(name string, prefix bool) []string
	// GenerateName makes a name of metadata.generateName; nil adds letters that
	// make it unique.
	GenerateName func(base string) string
	// MetadataLast checks the metadata after the kind's own rules, and only if
	// those found nothing.
	MetadataLast bool

	// Author records who creates the object; it is called after PrepareCreate.
	// Nil for all kinds but those that are requests on somebody's behalf.
	Author func(obj T, author user.Info)

	// Status is the "status" subresource.
	Status *Sub[T]
	// Subresources are the others that are updates of the object itself:
	// "ephemeralcontainers", "resize", "approval".
	Subresources map[string]*Sub[T]
	// Scale is the "scale" subresource.
	Scale *Scale[T]

	// Fields are the selectable fields besides metadata.name and
	// metadata.namespace. It returns the same keys for every object.
	Fields func(obj T) fields.Set
	// Warnings are for the client's eyes; old is nil on create.
	Warnings func(obj, old T) []string

	// Deprecation is a warning that every request for the kind is answered
	// with.
	Deprecation string

	// GracefulDelete decides about a deletion: graceful says whether the
	// object stays, marked, for seconds. Nil means it goes at once.
	GracefulDelete func(obj T, opts *metav1.DeleteOptions) (seconds int64, graceful bool)

	// OrphansByDefault keeps what the object owns when a deletion says nothing
	// about it, as the kinds did that are older than garbage collection.
	OrphansByDefault bool
	// OrphanWarning tells clients so that leave it to the default.
	OrphanWarning string

	// Columns head the kind's table, Cells fill a row of it, and
	// RowConditions annotate the row. Nil Columns mean DefaultColumns.
	Columns       []metav1.TableColumnDefinition
	Cells         func(obj T) []any
	RowConditions func(obj T) []metav1.TableRowCondition

	// Reread sets what upstream sets when it reads back what it has stored,
	// and tells whether it was missing. What we store has it.
	Reread func(obj T) bool

	// AllowCreateOnUpdate lets a PUT of an absent object create it.
	AllowCreateOnUpdate bool
	// AllowUnconditionalUpdate lets a PUT come without a resourceVersion.
	AllowUnconditionalUpdate bool

	// ResetFields names, for the main resource ("") and each subresource,
	// the paths that a write through it leaves as they were; server-side
	// apply does not record them as owned.
	ResetFields map[string][]string

	// Shared is set on a kind whose objects are stored as another kind.
	Shared *Shared[T]
}

// Sub is a subresource that updates the object itself.
type Sub[T kinds.Object] struct {
	PrepareUpdate  func(obj, old T)
	ValidateUpdate func(obj, old T) field.ErrorList
	Warnings       func(obj, old T) []string
}

// Scale reads and writes what autoscaling/v1 Scale shows of an object.
type Scale[T kinds.Object] struct {
	Replicas       func(obj T) int32
	SetReplicas    func(obj T, replicas int32)
	StatusReplicas func(obj T) int32
	// Selector is the label selector of the pods, in string form.
	Selector func(obj T) (string, error)
	// Path is where the replicas are in the object; nil means spec.replicas.
	Path []string
	// Missing says so if the object has no replicas, which only custom
	// resources need not have. Nil means that there are always some.
	Missing func(obj T) bool
}

// Shared describes a second served shape of objects that are stored as the
// kind's StoredAs. Both functions return a new object and keep nothing of the
// one they are given.
type Shared[T kinds.Object] struct {
	FromStored func(stored kinds.Object) (T, error)
	ToStored   func(obj T) (kinds.Object, error)
}

// Generation gives obj the generation after an update of old: one more if the
// desired state changed. What the client sent is of no account.
func Generation(obj, old metav1.Object, changed bool) {
	generation := old.GetGeneration()
	if changed {
		generation++
	}
	obj.SetGeneration(generation)
}
