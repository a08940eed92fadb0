// Package migration has stored objects written again, so that they are kept as
// the API server keeps them now.
package migration

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	runningReason   = "MigrationRunning"
	succeededReason = "StorageVersionMigrationSucceeded"
	failedReason    = "StorageVersionMigrationFailed"
	completedReason = "MigrationCompleted"
	// patience is how long a resource that nobody knows is waited for.
	patience = time.Minute
)

// resource is the key: of the migrations of one resource one runs at a time.
type resource metav1.GroupResource

func (r resource) String() string { gr := metav1.GroupResource(r); return gr.String() }

// state is the migrations of one resource, by age.
type state struct {
	Resource   resource
	Migrations []*storagemigrationv1.StorageVersionMigration
}

// New is storage-version-migrator-controller.
func New(d loop.Deps) loop.Loop {
	all := cluster.Of[*storagemigrationv1.StorageVersionMigration](d.API)
	return loop.New(d, loop.Spec[resource, state]{
		Name: "storage-version-migrator-controller", Reads: d.API.Extensions().Reads(),
		Sources: []loop.Source[resource]{{Cache: all, Keys: func(before, after kinds.Object) []resource {
			for _, o := range []kinds.Object{after, before} {
				if m, ok := o.(*storagemigrationv1.StorageVersionMigration); ok {
					return []resource{resource(m.Spec.Resource)}
				}
			}
			return nil
		}}},
		Observe: func(r resource, _ time.Time) (state, bool) {
			s := state{r, cluster.List(all, "", func(m *storagemigrationv1.StorageVersionMigration) bool { return resource(m.Spec.Resource) == r })}
			slices.SortStableFunc(s.Migrations, func(a, b *storagemigrationv1.StorageVersionMigration) int {
				return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
			})
			return s, len(s.Migrations) > 0
		},
		Compute: compute,
	})
}

func is(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(t))
}

func ended(m *storagemigrationv1.StorageVersionMigration) bool {
	return is(m, storagemigrationv1.MigrationSucceeded) || is(m, storagemigrationv1.MigrationFailed)
}

// compute takes the next step: what ended stops to run, what runs goes on, and
// else the oldest begins.
func compute(s state, now time.Time) plan.Plan {
	var running, next *storagemigrationv1.StorageVersionMigration
	for _, m := range s.Migrations {
		switch runs := is(m, storagemigrationv1.MigrationRunning); {
		case runs && ended(m):
			return complete(s.Resource, m, now)
		case runs:
			running = m
		case next == nil && !ended(m):
			next = m
		}
	}
	switch {
	case running == nil && next == nil:
		return plan.Plan{}
	case running == nil:
		return begin(s.Resource, next, now)
	}
	r := run{resource: s.Resource, m: running, now: now}
	return plan.Plan{Do: []plan.Action{plan.Discover{}}, Then: func(out plan.Outcome) plan.Plan {
		return r.find(out.Results[0].Kinds, out.Results[0].Partial)
	}}
}

// set returns a copy with a condition set.
func set(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType, status metav1.ConditionStatus, reason, message string, now time.Time) *storagemigrationv1.StorageVersionMigration {
	m = m.DeepCopy()
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: string(t), Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now),
	})
	return m
}

func begin(r resource, m *storagemigrationv1.StorageVersionMigration, now time.Time) plan.Plan {
	then := func() plan.Plan {
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(set(m, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, runningReason, progress(0, 0, nil), now))}}
	}
	return definition(r, startMark(m.Name, now), then)
}

func complete(r resource, m *storagemigrationv1.StorageVersionMigration, now time.Time) plan.Plan {
	then := func() plan.Plan {
		m := set(m, storagemigrationv1.MigrationRunning, metav1.ConditionFalse, completedReason, "Migration completed", now)
		for i := range m.Status.Conditions {
			if m.Status.Conditions[i].Type == string(storagemigrationv1.MigrationRunning) {
				m.Status.Conditions[i].ObservedGeneration = m.Generation
			}
		}
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(m)}}
	}
	return definition(r, endMark(is(m, storagemigrationv1.MigrationSucceeded), now), then)
}

// progress is upstream's text of a migration that runs.
func progress(left, total int, transient error) string {
	out := "The migration is running"
	switch {
	case total > 0 && left > 0:
		out += fmt.Sprintf(", %d/%d objects not yet migrated", left, total)
	case total > 0:
		out += fmt.Sprintf(", %d objects verified migrated", total)
	}
	if transient != nil {
		out += "; transient error: " + transient.Error()
	}
	return out
}

// run is one migration that runs.
type run struct {
	resource resource
	m        *storagemigrationv1.StorageVersionMigration
	now      time.Time
	kind     *kinds.Kind
}

func (r run) fail(message string) plan.Plan {
	return plan.Plan{Do: []plan.Action{plan.UpdateStatus(set(r.m, storagemigrationv1.MigrationFailed, metav1.ConditionTrue, failedReason, message, r.now))}}
}

// find looks the kind up, in the table first.
func (r run) find(beyond []*kinds.Kind, partial error) plan.Plan {
	for _, k := range append(slices.Clone(kinds.All()), beyond...) {
		if k.Group == r.resource.Group && k.Plural == r.resource.Resource {
			r.kind = k
			break
		}
	}
	switch k := r.kind; {
	case k == nil && r.now.Before(r.m.CreationTimestamp.Add(patience)):
		return plan.Plan{Err: errors.Join(errors.New("resource does not exist in our rest mapper, requeuing to attempt again"), partial)}
	case k == nil:
		return r.fail("resource does not exist in discovery")
	case !k.Has("update") || !k.Has("patch") || !k.Has("list"):
		return r.fail(fmt.Sprintf("resource %q does not support discovery operations: %v", k.GroupVersionResource().String(), []string{"update", "patch", "list"}))
	}
	if r.m.Status.ResourceVersion != "" {
		return r.migrate()
	}
	return plan.Plan{Do: []plan.Action{plan.Revision{Kind: r.kind}}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		m := r.m.DeepCopy()
		m.Status.ResourceVersion = out.Results[0].Version
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(m)}}
	}}
}
