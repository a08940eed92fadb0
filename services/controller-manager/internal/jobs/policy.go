package jobs

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// verdict is what a pod failure policy says of a failed pod.
type verdict struct {
	// counts says whether the failure counts towards the limits.
	counts bool
	// failsJob is why the whole Job fails; empty if it does not.
	failsJob   string
	failsIndex bool
}

// match applies the first rule that fits.
func match(policy *batchv1.PodFailurePolicy, p *corev1.Pod) verdict {
	if policy == nil {
		return verdict{counts: true}
	}
	for i, rule := range policy.Rules {
		why := ""
		if rule.OnExitCodes != nil {
			if s := exited(&p.Status, rule.OnExitCodes); s != nil {
				why = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d",
					s.Name, p.Namespace, p.Name, s.State.Terminated.ExitCode, rule.Action, i)
			}
		} else if c := hasCondition(&p.Status, rule.OnPodConditions); c != nil {
			why = fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d", p.Namespace, p.Name, c.Type, rule.Action, i)
		}
		if why == "" {
			continue
		}
		switch rule.Action {
		case batchv1.PodFailurePolicyActionIgnore:
			return verdict{}
		case batchv1.PodFailurePolicyActionFailIndex:
			return verdict{counts: true, failsIndex: true}
		case batchv1.PodFailurePolicyActionCount:
			return verdict{counts: true}
		case batchv1.PodFailurePolicyActionFailJob:
			return verdict{counts: true, failsJob: why}
		}
	}
	return verdict{counts: true}
}

func exited(s *corev1.PodStatus, want *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses} {
		for i := range list {
			t := list[i].State.Terminated
			if t == nil || t.ExitCode == 0 || want.ContainerName != nil && *want.ContainerName != list[i].Name {
				continue
			}
			in := slices.Contains(want.Values, t.ExitCode)
			if in && want.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn || !in && want.Operator == batchv1.PodFailurePolicyOnExitCodesOpNotIn {
				return &list[i]
			}
		}
	}
	return nil
}

func hasCondition(s *corev1.PodStatus, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) *corev1.PodCondition {
	for i, c := range s.Conditions {
		for _, p := range patterns {
			if c.Type == p.Type && c.Status == p.Status {
				return &s.Conditions[i]
			}
		}
	}
	return nil
}

// succeeded tells whether a success policy is met, and by which rule.
func succeeded(policy *batchv1.SuccessPolicy, completions int, done intervals) (string, bool) {
	if policy == nil || len(done) == 0 {
		return "", false
	}
	for i, rule := range policy.Rules {
		n := done.total()
		met := rule.SucceededCount != nil && n >= int(*rule.SucceededCount)
		if rule.SucceededIndexes != nil {
			want := parseIntervals(*rule.SucceededIndexes, completions)
			if len(want) == 0 {
				continue
			}
			n = want.overlap(done)
			met = n == want.total() || rule.SucceededCount != nil && n >= int(*rule.SucceededCount)
		}
		if met {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}
