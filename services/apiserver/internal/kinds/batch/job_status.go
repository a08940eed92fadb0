package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// statusCheck checks one update of a status. A rule about some fields holds
// only if one of them changes: a status that breaks it stays writable.
type statusCheck struct {
	job, old *batchv1.Job
	is, was  *batchv1.JobStatus
	errs     field.ErrorList
}

func validateStatusUpdate(j, old *batchv1.Job) field.ErrorList {
	s := &statusCheck{job: j, old: old, is: &j.Status, was: &old.Status}
	s.counts()
	s.outcome()
	s.finished()
	s.indexes()
	s.pods()
	s.criteria()
	s.transition()
	return s.errs
}

func (s *statusCheck) invalid(broken bool, child string, value any, message string) {
	if broken {
		s.errs = append(s.errs, field.Invalid(statusPath.Child(child), value, message))
	}
}

func (s *statusCheck) required(broken bool, child, message string) {
	if broken {
		s.errs = append(s.errs, field.Required(statusPath.Child(child), message))
	}
}

// conditions refuses a combination of conditions.
func (s *statusCheck) conditions(broken bool, message string) {
	s.invalid(broken, "conditions", field.OmitValueType{}, message)
}

func (s *statusCheck) has(condition batchv1.JobConditionType) bool { return isTrue(s.job, condition) }
func (s *statusCheck) had(condition batchv1.JobConditionType) bool { return isTrue(s.old, condition) }

func (s *statusCheck) turned(conditions ...batchv1.JobConditionType) bool {
	for _, condition := range conditions {
		if s.has(condition) != s.had(condition) {
			return true
		}
	}
	return false
}

func (s *statusCheck) isFinished() bool {
	return s.has(batchv1.JobComplete) || s.has(batchv1.JobFailed)
}

func (s *statusCheck) finishedTurned() bool {
	return s.isFinished() != (s.had(batchv1.JobComplete) || s.had(batchv1.JobFailed))
}

func (s *statusCheck) startChanged() bool { return !ptr.Equal(s.was.StartTime, s.is.StartTime) }

func (s *statusCheck) completionChanged() bool {
	return !ptr.Equal(s.was.CompletionTime, s.is.CompletionTime)
}

func (s *statusCheck) counts() {
	s.errs = append(s.errs, check.Counts(statusPath,
		check.Count{Child: "active", Value: s.is.Active},
		check.Count{Child: "succeeded", Value: s.is.Succeeded},
		check.Count{Child: "failed", Value: s.is.Failed},
		check.Count{Child: "ready", Value: ptr.Deref(s.is.Ready, 0)},
		check.Count{Child: "terminating", Value: ptr.Deref(s.is.Terminating, 0)},
	)...)
	if s.is.UncountedTerminatedPods == nil {
		return
	}
	at, seen := statusPath.Child("uncountedTerminatedPods"), map[types.UID]bool{}
	s.uids(at.Child("succeeded"), s.is.UncountedTerminatedPods.Succeeded, seen)
	s.uids(at.Child("failed"), s.is.UncountedTerminatedPods.Failed, seen)
}

func (s *statusCheck) uids(p *field.Path, list []types.UID, seen map[types.UID]bool) {
	for i, uid := range list {
		switch {
		case uid == "":
			s.errs = append(s.errs, field.Invalid(p.Index(i), uid, "must not be empty"))
		case seen[uid]:
			s.errs = append(s.errs, field.Duplicate(p.Index(i), uid))
		}
		seen[uid] = true
	}
}

func (s *statusCheck) outcome() {
	complete, failed, target := s.has(batchv1.JobComplete), s.has(batchv1.JobFailed), s.has(batchv1.JobFailureTarget)
	if s.turned(batchv1.JobComplete, batchv1.JobFailed) {
		s.conditions(complete && failed, "cannot set Complete=True and Failed=true conditions")
	}
	if s.turned(batchv1.JobComplete, batchv1.JobFailureTarget) {
		s.conditions(complete && target, "cannot set Complete=True and FailureTarget=true conditions")
	}
	if s.turned(batchv1.JobComplete) || s.completionChanged() {
		s.invalid(s.is.CompletionTime != nil && !complete, "completionTime", s.is.CompletionTime,
			"cannot set completionTime when there is no Complete=True condition")
		s.required(s.is.CompletionTime == nil && complete, "completionTime", "completionTime is required for Complete jobs")
	}
	if s.startChanged() || s.completionChanged() {
		early := s.is.StartTime != nil && s.is.CompletionTime != nil && s.is.CompletionTime.Before(s.is.StartTime)
		s.invalid(early, "completionTime", s.is.CompletionTime, "must be equal to or after `startTime`")
	}
	if s.turned(batchv1.JobFailed) || s.failedIndexesChanged() {
		s.conditions(failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if s.turned(batchv1.JobComplete, batchv1.JobSuccessCriteriaMet) {
		s.conditions(complete && !s.has(batchv1.JobSuccessCriteriaMet), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
}

func (s *statusCheck) finished() {
	finished := s.isFinished()
	if s.finishedTurned() || s.was.Active != s.is.Active {
		s.invalid(s.is.Active > 0 && finished, "active", s.is.Active, "active>0 is invalid for finished job")
	}
	neverRan := ptr.Deref(s.job.Spec.Suspend, false) && ptr.Equal(s.job.Spec.Completions, ptr.To[int32](0))
	if (s.finishedTurned() || s.startChanged()) && !neverRan {
		s.required(s.is.StartTime == nil && finished, "startTime", "startTime is required for finished job")
	}
	uncounted := s.is.UncountedTerminatedPods
	if s.finishedTurned() || !equality.Semantic.DeepEqual(s.was.UncountedTerminatedPods, uncounted) {
		left := uncounted != nil && len(uncounted.Failed)+len(uncounted.Succeeded) > 0
		s.invalid(finished && left, "uncountedTerminatedPods", check.Internal(uncounted), "must be empty for finished job")
	}
}

func (s *statusCheck) failedIndexesChanged() bool {
	return !ptr.Equal(s.was.FailedIndexes, s.is.FailedIndexes)
}

func (s *statusCheck) indexes() {
	completions, limited := s.job.Spec.Completions, s.job.Spec.Completions != nil
	perIndex := s.job.Spec.BackoffLimitPerIndex != nil
	completed, failed := s.is.CompletedIndexes, ptr.Deref(s.is.FailedIndexes, "")
	completedChanged, failedChanged := s.was.CompletedIndexes != completed, s.failedIndexesChanged()
	if completedChanged && limited {
		if _, err := countIndexes(completed, *completions); err != nil {
			s.invalid(true, "completedIndexes", completed, fmt.Sprintf("error parsing completedIndexes: %s", err))
		}
	}
	if failedChanged && limited && perIndex && s.is.FailedIndexes != nil {
		if _, err := countIndexes(failed, *completions); err != nil {
			s.invalid(true, "failedIndexes", failed, fmt.Sprintf("error parsing failedIndexes: %s", err))
		}
	}
	if completedChanged {
		s.invalid(completed != "" && !isIndexed(&s.job.Spec), "completedIndexes", completed, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if failedChanged {
		s.invalid(!perIndex && s.is.FailedIndexes != nil, "failedIndexes", failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (failedChanged || completedChanged) && limited && completed != "" && failed != "" {
		index, both := overlap(completed, failed, *completions)
		s.invalid(both, "failedIndexes", failed, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", index))
	}
}

func (s *statusCheck) pods() {
	terminating, ready := ptr.Deref(s.is.Terminating, 0), ptr.Deref(s.is.Ready, 0)
	if s.finishedTurned() || !ptr.Equal(s.was.Terminating, s.is.Terminating) {
		s.invalid(terminating > 0 && s.isFinished(), "terminating", terminating, "terminating>0 is invalid for finished job")
	}
	if !ptr.Equal(s.was.Ready, s.is.Ready) || s.was.Active != s.is.Active {
		s.invalid(s.is.Ready != nil && ready > s.is.Active, "ready", ready, "cannot set more ready pods than active")
	}
}

func (s *statusCheck) criteria() {
	met := s.has(batchv1.JobSuccessCriteriaMet)
	s.conditions(met && s.has(batchv1.JobFailed), "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	s.conditions(met && s.has(batchv1.JobFailureTarget), "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	s.conditions(s.job.Spec.SuccessPolicy != nil && !met && s.has(batchv1.JobComplete),
		"cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
}

func (s *statusCheck) transition() {
	for _, condition := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		s.conditions(s.had(condition) && !s.has(condition), fmt.Sprintf("cannot disable the terminal %s=True condition", condition))
	}
	s.invalid(s.is.Failed < s.was.Failed, "failed", s.is.Failed, "cannot decrease the failed counter")
	// An indexed Job that is scaled down loses the successes of its last indexes.
	if !isIndexed(&s.job.Spec) || !ptr.Equal(s.job.Spec.Completions, s.job.Spec.Parallelism) {
		s.invalid(s.is.Succeeded < s.was.Succeeded, "succeeded", s.is.Succeeded, "cannot decrease the succeeded counter")
	}
	moved := s.is.CompletionTime != nil && s.was.CompletionTime != nil && s.completionChanged()
	s.invalid(moved, "completionTime", s.is.CompletionTime, check.Immutable)
	resuming := s.had(batchv1.JobSuspended) && hasStatus(s.job, batchv1.JobSuspended, corev1.ConditionFalse)
	restarted := s.startChanged() && !resuming && s.was.StartTime != nil && !ptr.Deref(s.job.Spec.Suspend, false)
	s.invalid(restarted, "startTime", s.is.StartTime, "field is immutable for unsuspended job once set")
	had, has := s.had(batchv1.JobSuccessCriteriaMet), s.has(batchv1.JobSuccessCriteriaMet)
	s.conditions(had && !has, "cannot disable the SuccessCriteriaMet=True condition")
	s.conditions(s.had(batchv1.JobComplete) && !had && has, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}
