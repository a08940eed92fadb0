package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// PodTemplate is the behaviour of core/v1 PodTemplate.
func PodTemplate() strategy.Kind[*corev1.PodTemplate] {
	at := field.NewPath("template")
	return strategy.Kind[*corev1.PodTemplate]{
		Default: func(t *corev1.PodTemplate) { DefaultPodTemplate(&t.Template) },
		PrepareCreate: func(t *corev1.PodTemplate) {
			t.Generation = 1
			DropDisabledTemplateFields(&t.Template)
		},
		PrepareUpdate: func(t, old *corev1.PodTemplate) {
			DropDisabledTemplateFields(&t.Template)
			strategy.Generation(t, old, !equality.Semantic.DeepEqual(t.Template, old.Template))
		},
		ValidateCreate: func(t *corev1.PodTemplate) field.ErrorList {
			return ValidatePodTemplate(at, &t.Template, TemplateAllowances(nil))
		},
		ValidateUpdate: func(t, old *corev1.PodTemplate) field.ErrorList {
			return ValidatePodTemplate(at, &t.Template, TemplateAllowances(&old.Template))
		},
		Warnings: func(t, old *corev1.PodTemplate) []string {
			if old != nil && old.Generation == t.Generation {
				return nil
			}
			return PodTemplateWarnings(at, &t.Template)
		},
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Containers", "Names of each container in the template."),
			cells.Text("Images", "Images referenced by each container in the template."),
			cells.Text("Pod Labels", "The labels for the pod template."),
		),
		Cells: func(t *corev1.PodTemplate) []any {
			names, images := cells.Containers(t.Template.Spec.Containers)
			return []any{t.Name, names, images, cells.Labels(t.Template.Labels)}
		},
	}
}
