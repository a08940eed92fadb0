package apps

import (
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ControllerRevision is the behaviour of apps/v1 ControllerRevision.
func ControllerRevision() strategy.Kind[*appsv1.ControllerRevision] {
	return strategy.Kind[*appsv1.ControllerRevision]{
		ValidateCreate: func(r *appsv1.ControllerRevision) field.ErrorList {
			errs := check.NotNegative(field.NewPath("revision"), r.Revision)
			return append(errs, validateRevisionData(field.NewPath("data"), r.Data.Raw)...)
		},
		ValidateUpdate: func(r, old *appsv1.ControllerRevision) field.ErrorList {
			errs := check.NotNegative(field.NewPath("revision"), r.Revision)
			return append(errs, check.Unchanged(field.NewPath("data"), r.Data, old.Data)...)
		},
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Controller", "Controller of the object"),
			cells.Text("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]),
			cells.Age(),
		),
		Cells: func(r *appsv1.ControllerRevision) []any {
			return []any{r.Name, controllerOf(r), r.Revision, cells.AgeOf(r)}
		},
	}
}

func validateRevisionData(p *field.Path, data []byte) field.ErrorList {
	if data == nil {
		return field.ErrorList{field.Required(p, "data is mandatory")}
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return field.ErrorList{field.Invalid(p, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))}
	}
	if value == nil {
		return field.ErrorList{field.Required(p, "data is mandatory")}
	}
	if _, object := value.(map[string]any); !object {
		return field.ErrorList{field.Required(p, "data must be a valid JSON object")}
	}
	return nil
}

func controllerOf(r *appsv1.ControllerRevision) string {
	owner := metav1.GetControllerOf(r)
	if owner == nil {
		return "<none>"
	}
	kind := owner.Kind
	if group, _, versioned := strings.Cut(owner.APIVersion, "/"); versioned {
		kind += "." + group
	}
	return strings.ToLower(kind) + "/" + owner.Name
}
