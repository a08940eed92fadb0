package migration

import (
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// definition marks the CustomResourceDefinition of a resource, if it has one,
// and goes on.
func definition(r resource, mark func(*apiextensionsv1.CustomResourceDefinition), then func() plan.Plan) plan.Plan {
	k := kinds.For[*apiextensionsv1.CustomResourceDefinition]()
	if r.Group == "" || builtin(r) {
		return then()
	}
	get := plan.Get{Kind: k, Name: r.Resource + "." + r.Group}
	return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		d, ok := out.Results[0].Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return then()
		}
		d = d.DeepCopy()
		mark(d)
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(d)}, Then: func(out plan.Outcome) plan.Plan {
			if out.Err != nil {
				return plan.Plan{}
			}
			return then()
		}}
	}}
}

func builtin(r resource) bool {
	for _, k := range kinds.All() {
		if k.Group == r.Group && k.Plural == r.Resource {
			return true
		}
	}
	return false
}

func startMark(migration string, now time.Time) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(d *apiextensionsv1.CustomResourceDefinition) {
		setCondition(d, apiextensionsv1.ConditionTrue, "MigrationRunning", fmt.Sprintf("Migration %s is running", migration), now)
	}
}

// endMark also forgets the versions that were migrated off, unless the
// definition changed in the meantime.
func endMark(success bool, now time.Time) func(*apiextensionsv1.CustomResourceDefinition) {
	return func(d *apiextensionsv1.CustomResourceDefinition) {
		if !success {
			setCondition(d, apiextensionsv1.ConditionFalse, "MigrationFailed", "The migration has failed", now)
			return
		}
		message := "The migration has succeeded but the stored versions have not been updated due to a generation mismatch"
		if old := condition(d); old != nil && old.ObservedGeneration == d.Generation {
			message = "The migration has succeeded and the stored versions have been updated"
			for _, v := range d.Spec.Versions {
				if v.Storage {
					d.Status.StoredVersions = []string{v.Name}
				}
			}
		}
		setCondition(d, apiextensionsv1.ConditionFalse, "MigrationSucceeded", message, now)
	}
}

func condition(d *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinitionCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == apiextensionsv1.StorageMigrating {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

func setCondition(d *apiextensionsv1.CustomResourceDefinition, status apiextensionsv1.ConditionStatus, reason, message string, now time.Time) {
	c := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.StorageMigrating, Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now), ObservedGeneration: d.Generation,
	}
	if old := condition(d); old != nil {
		*old = c
		return
	}
	d.Status.Conditions = append(d.Status.Conditions, c)
}
