// Package flowcontrol holds the behaviour of the kinds of the
// flowcontrol.apiserver.k8s.io API group.
package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

const defaultPrecedence = 1000

var specPath = field.NewPath("spec")

// FlowSchema is the behaviour of flowcontrol.apiserver.k8s.io/v1 FlowSchema.
func FlowSchema() strategy.Kind[*flowcontrolv1.FlowSchema] {
	doc := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	k := strategy.Outline[*flowcontrolv1.FlowSchema]()
	k.Default = func(s *flowcontrolv1.FlowSchema) {
		if s.Spec.MatchingPrecedence == 0 {
			s.Spec.MatchingPrecedence = defaultPrecedence
		}
	}
	k.ValidateCreate = validateSchema
	k.ValidateUpdate = func(s, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateSchema(s) }
	k.Status.PrepareUpdate = func(s, old *flowcontrolv1.FlowSchema) {
		s.Spec = old.Spec
		keepMeta(&s.ObjectMeta, &old.ObjectMeta)
	}
	k.ResetFields = statusAlone()
	k.Status.ValidateUpdate = func(s, _ *flowcontrolv1.FlowSchema) field.ErrorList { return validateSchemaStatus(&s.Status) }
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Text("PriorityLevel", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"]),
		cells.Text("MatchingPrecedence", doc["matchingPrecedence"]),
		cells.Text("DistinguisherMethod", doc["distinguisherMethod"]),
		cells.Age(),
		cells.Text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
	)
	k.Cells = func(s *flowcontrolv1.FlowSchema) []any {
		method, missing := "<none>", "?"
		if s.Spec.DistinguisherMethod != nil {
			method = string(s.Spec.DistinguisherMethod.Type)
		}
		for _, c := range s.Status.Conditions {
			if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
				missing = string(c.Status)
				break
			}
		}
		return []any{s.Name, s.Spec.PriorityLevelConfiguration.Name, int64(s.Spec.MatchingPrecedence), method, cells.AgeOf(s), missing}
	}
	return k
}

// keepMeta lets a write of the status change no metadata, labels neither. Who
// manages which fields is about this very write and stays.
func keepMeta(meta, old *metav1.ObjectMeta) {
	managed := meta.ManagedFields
	old.DeepCopyInto(meta)
	meta.ManagedFields = managed
}

// statusAlone says of both kinds what a write through which path leaves as it was.
func statusAlone() map[string][]string {
	return map[string][]string{"": {"status"}, "status": {"metadata", "spec"}}
}
