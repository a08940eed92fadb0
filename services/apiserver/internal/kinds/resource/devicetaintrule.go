package resource

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/declared"
	"coracle.local/services/apiserver/internal/strategy"
)

// DeviceTaintRule is the behaviour of resource.k8s.io/v1 DeviceTaintRule.
func DeviceTaintRule() strategy.Kind[*resourcev1.DeviceTaintRule] {
	doc := resourcev1.DeviceTaint{}.SwaggerDoc()
	k := strategy.Outline[*resourcev1.DeviceTaintRule]()
	k.Default = func(r *resourcev1.DeviceTaintRule) { defaultTaint(&r.Spec.Taint) }
	k.AllowUnconditionalUpdate = false
	update := k.PrepareUpdate
	k.PrepareUpdate = func(r, old *resourcev1.DeviceTaintRule) {
		if taint := &r.Spec.Taint; taint.Effect != old.Spec.Taint.Effect && taint.TimeAdded.Equal(old.Spec.Taint.TimeAdded) {
			taint.TimeAdded = nil
			defaultTaint(taint)
		}
		update(r, old)
	}
	k.ValidateCreate = func(r *resourcev1.DeviceTaintRule) field.ErrorList { return validateTaintRule(r, nil) }
	k.ValidateUpdate = validateTaintRule
	status := k.Status.PrepareUpdate
	k.Status.PrepareUpdate = func(r, old *resourcev1.DeviceTaintRule) {
		status(r, old)
		metav1.ResetObjectMetaForStatus(&r.ObjectMeta, &old.ObjectMeta)
	}
	k.ResetFields = map[string][]string{"": {"status"}, "status": {"metadata", "spec"}}
	k.Status.ValidateUpdate = func(r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
		at := field.NewPath("status", "conditions")
		errs := metavalidation.ValidateConditions(r.Status.Conditions, at)
		if n := len(r.Status.Conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
			errs = append(errs, field.TooMany(at, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
		}
		return errs
	}
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

func validateTaintRule(r, old *resourcev1.DeviceTaintRule) field.ErrorList {
	var errs field.ErrorList
	if s := r.Spec.DeviceSelector; s != nil {
		at := specPath.Child("deviceSelector")
		if s.Driver != nil {
			errs = append(errs, validateDriver(at.Child("driver"), *s.Driver, false)...)
		}
		if s.Pool != nil {
			errs = append(errs, validatePoolName(at.Child("pool"), *s.Pool)...)
		}
		if s.Device != nil {
			errs = append(errs, label(at.Child("device"), *s.Device)...)
		}
	}
	at := specPath.Child("taint")
	if old == nil {
		return check.WithDeclared(append(errs, validateTaint(at, &r.Spec.Taint, nil)...), declared.Create(specPath, &r.Spec))
	}
	return check.WithDeclared(append(errs, validateTaint(at, &r.Spec.Taint, &old.Spec.Taint)...), declared.Update(specPath, &r.Spec, &old.Spec))
}
