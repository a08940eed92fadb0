package batch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const (
	maxFailureRules      = 20
	maxExitCodes         = 255
	maxConditionPatterns = 20
	maxSuccessRules      = 20
	maxSucceededIndexes  = 64 * 1024
)

func validateFailurePolicy(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	var errs field.ErrorList
	rules := spec.PodFailurePolicy.Rules
	if len(rules) > maxFailureRules {
		errs = append(errs, field.TooMany(p, len(rules), maxFailureRules))
	}
	for i := range rules {
		errs = append(errs, validateFailureRule(p.Index(i), &rules[i], spec)...)
	}
	return errs
}

func validateFailureRule(p *field.Path, rule *batchv1.PodFailurePolicyRule, spec *batchv1.JobSpec) field.ErrorList {
	var errs field.ErrorList
	if rule.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(p.Child("action"), rule.Action, "requires the backoffLimitPerIndex to be set"))
	}
	errs = append(errs, requiredChoice(p.Child("action"), rule.Action,
		batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
	if rule.OnExitCodes != nil {
		errs = append(errs, validateExitCodes(p.Child("onExitCodes"), rule.OnExitCodes, &spec.Template.Spec)...)
	}
	if n := len(rule.OnPodConditions); n > maxConditionPatterns {
		errs = append(errs, field.TooMany(p.Child("onPodConditions"), n, maxConditionPatterns))
	}
	for i := range rule.OnPodConditions {
		at, pattern := p.Child("onPodConditions").Index(i), &rule.OnPodConditions[i]
		errs = append(errs, check.QualifiedName(at.Child("type"), string(pattern.Type))...)
		errs = append(errs, requiredChoice(at.Child("status"), pattern.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	switch byCode, byCondition := rule.OnExitCodes != nil, len(rule.OnPodConditions) > 0; {
	case byCode && byCondition:
		errs = append(errs, field.Invalid(p, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case !byCode && !byCondition:
		errs = append(errs, field.Invalid(p, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

// requiredChoice names the choices even if none was made.
func requiredChoice[T ~string](p *field.Path, value T, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, fmt.Sprintf("valid values: %q", supported))}
	}
	return check.OneOf(p, value, supported...)
}

func validateExitCodes(p *field.Path, codes *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.PodSpec) field.ErrorList {
	errs := requiredChoice(p.Child("operator"), codes.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if name := codes.ContainerName; name != nil {
		named := func(c corev1.Container) bool { return c.Name == *name }
		if !slices.ContainsFunc(pod.Containers, named) && !slices.ContainsFunc(pod.InitContainers, named) {
			errs = append(errs, field.Invalid(p.Child("containerName"), *name, "must be one of the container or initContainer names in the pod template"))
		}
	}
	at := p.Child("values")
	if len(codes.Values) == 0 {
		errs = append(errs, field.Invalid(at, codes.Values, "at least one value is required"))
	} else if len(codes.Values) > maxExitCodes {
		errs = append(errs, field.TooMany(at, len(codes.Values), maxExitCodes))
	}
	for i, code := range codes.Values {
		if codes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && code == 0 {
			errs = append(errs, field.Invalid(at.Index(i), code, "must not be 0 for the In operator"))
		}
		if slices.Contains(codes.Values[:i], code) {
			errs = append(errs, field.Duplicate(at.Index(i), code))
		}
	}
	if !slices.IsSorted(codes.Values) {
		errs = append(errs, field.Invalid(at, codes.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	var errs field.ErrorList
	rules := spec.SuccessPolicy.Rules
	if len(rules) == 0 {
		errs = append(errs, field.Required(p, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(rules) > maxSuccessRules {
		errs = append(errs, field.TooMany(p, len(rules), maxSuccessRules))
	}
	for i := range rules {
		errs = append(errs, validateSuccessRule(p.Index(i), &rules[i], ptr.Deref(spec.Completions, 0))...)
	}
	return errs
}

func validateSuccessRule(p *field.Path, rule *batchv1.SuccessPolicyRule, completions int32) field.ErrorList {
	var errs field.ErrorList
	if rule.SucceededCount == nil && rule.SucceededIndexes == nil {
		errs = append(errs, field.Required(p, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	var indexes int32
	if list := rule.SucceededIndexes; list != nil {
		at := p.Child("succeededIndexes")
		if len(*list) > maxSucceededIndexes {
			errs = append(errs, field.TooLong(at, "", maxSucceededIndexes))
		}
		var err error
		if indexes, err = countIndexes(*list, completions); err != nil {
			errs = append(errs, field.Invalid(at, *list, fmt.Sprintf("error parsing succeededIndexes: %s", err)))
		}
	}
	if count := rule.SucceededCount; count != nil {
		at := p.Child("succeededCount")
		errs = append(errs, check.NotNegative(at, *count)...)
		if *count > completions {
			errs = append(errs, field.Invalid(at, *count, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
		}
		if rule.SucceededIndexes != nil && *count > indexes {
			errs = append(errs, field.Invalid(at, *count,
				fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", indexes)))
		}
	}
	return errs
}

// interval is a run of indexes, both ends included.
type interval struct{ first, last int32 }

// countIndexes counts the indexes of a list such as "1,3-5".
func countIndexes(list string, completions int32) (int32, error) {
	if list == "" {
		return 0, nil
	}
	var count int32
	last := int32(-1)
	for _, text := range strings.Split(list, ",") {
		run, err := parseInterval(text, completions)
		if err != nil {
			return 0, err
		}
		if run.first <= last {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, run.first)
		}
		count += run.last - run.first + 1
		last = run.last
	}
	return count, nil
}

func parseInterval(text string, completions int32) (interval, error) {
	limits := strings.Split(text, "-")
	if len(limits) > 2 {
		return interval{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	first, err := parseIndex(limits[0], completions)
	if err != nil || len(limits) == 1 {
		return interval{first, first}, err
	}
	last, err := parseIndex(limits[1], completions)
	if err == nil && first >= last {
		err = fmt.Errorf("non-increasing order, previous: %d, current: %d", first, last)
	}
	return interval{first, last}, err
}

func parseIndex(text string, completions int32) (int32, error) {
	index, err := strconv.ParseInt(text, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && index > 0, err == nil && index >= int64(completions):
		return 0, fmt.Errorf("too large index: %q", text)
	case err != nil:
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	return int32(index), nil
}

// overlap finds an index that is in both lists. Intervals that cannot be read
// are passed over: another check reports them.
func overlap(completed, failed string, completions int32) (int32, bool) {
	done, lost := parseIntervals(completed, completions), parseIntervals(failed, completions)
	for len(done) > 0 && len(lost) > 0 {
		if done[0].first <= lost[0].last && lost[0].first <= done[0].last {
			return max(done[0].first, lost[0].first), true
		}
		if done[0].first <= lost[0].first {
			done = done[1:]
		} else {
			lost = lost[1:]
		}
	}
	return 0, false
}

func parseIntervals(list string, completions int32) []interval {
	var intervals []interval
	for _, text := range strings.Split(list, ",") {
		if run, err := parseInterval(text, completions); err == nil {
			intervals = append(intervals, run)
		}
	}
	return intervals
}
