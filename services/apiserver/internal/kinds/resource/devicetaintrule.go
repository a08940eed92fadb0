package resource

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// DeviceTaintRule is the behaviour of resource.k8s.io/v1 DeviceTaintRule.
func DeviceTaintRule() strategy.Kind[*resourcev1.DeviceTaintRule] {
	doc := resourcev1.DeviceTaint{}.SwaggerDoc()
	k := strategy.Outline[*resourcev1.DeviceTaintRule]()
	k.Default = func(r *resourcev1.DeviceTaintRule) { defaultTaint(&r.Spec.Taint) }
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Text("Key", doc["key"]),
		cells.Text("Value", doc["value"]),
		cells.Text("Effect", doc["effect"]),
		cells.Text("TimeAdded", doc["timeAdded"]),
		cells.Age(),
	)
	k.Cells = func(r *resourcev1.DeviceTaintRule) []any {
		added, taint := "", &r.Spec.Taint
		if taint.TimeAdded != nil {
			added = cells.Since(*taint.TimeAdded)
		}
		return []any{r.Name, taint.Key, taint.Value, string(taint.Effect), added, cells.AgeOf(r)}
	}
	return k
}

func defaultTaint(taint *resourcev1.DeviceTaint) {
	if taint.TimeAdded == nil {
		taint.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
	}
}
