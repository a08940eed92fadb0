package batch

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	defaultBackoffLimit = 6

	// Labels from before labels of the project had a prefix.
	legacyUIDLabel  = "controller-uid"
	legacyNameLabel = "job-name"

	// Above both, too many indexes can fail for the status to hold them.
	manyCompletions = 100_000
	manyParallel    = 10_000
)

var (
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
	metadataPath = field.NewPath("metadata")
)

// Job is the behaviour of batch/v1 Job.
func Job() strategy.Kind[*batchv1.Job] {
	containers, images := cells.Workload()
	return strategy.Kind[*batchv1.Job]{
		Default:       defaultJob,
		PrepareCreate: prepareJob,
		PrepareUpdate: func(j, old *batchv1.Job) {
			j.Status = old.Status
			dropDisabledFields(&j.Spec)
			strategy.Generation(j, old, !equality.Semantic.DeepEqual(j.Spec, old.Spec))
		},
		Reread: func(j *batchv1.Job) bool {
			if len(j.Labels) > 0 || len(j.Spec.Template.Labels) == 0 {
				return false
			}
			j.Labels = maps.Clone(j.Spec.Template.Labels)
			return true
		},
		ValidateCreate: validateJobCreate,
		ValidateUpdate: validateJobUpdate,
		Status: &strategy.Sub[*batchv1.Job]{
			PrepareUpdate:  func(j, old *batchv1.Job) { j.Spec = old.Spec },
			ValidateUpdate: validateStatusUpdate,
		},
		Fields: func(j *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
		},
		Warnings: func(j, old *batchv1.Job) []string {
			if old == nil {
				return append(core.PodNameWarnings(j.Name), jobWarnings(specPath, &j.Spec)...)
			}
			if j.Generation == old.Generation {
				return nil
			}
			return jobWarnings(specPath, &j.Spec)
		},
		OrphansByDefault: true,
		OrphanWarning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them " +
			"or set propagationPolicy=Orphan to suppress this warning",
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Status", "Status of the job."),
			cells.Text("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
			cells.Text("Duration", "Time required to complete the job."),
			cells.Age(), containers, images,
			cells.Wide(cells.Text("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"])),
		),
		Cells: jobCells,
	}
}

func defaultJob(j *batchv1.Job) {
	core.DefaultPodTemplate(&j.Spec.Template)
	defaultFailurePolicy(j.Spec.PodFailurePolicy)
	spec := &j.Spec
	if spec.Completions == nil && spec.Parallelism == nil {
		spec.Completions = ptr.To[int32](1)
	}
	if spec.Parallelism == nil {
		spec.Parallelism = ptr.To[int32](1)
	}
	if spec.BackoffLimit == nil {
		spec.BackoffLimit = ptr.To[int32](defaultBackoffLimit)
		if spec.BackoffLimitPerIndex != nil {
			spec.BackoffLimit = ptr.To[int32](math.MaxInt32)
		}
	}
	// The map is shared on purpose: upstream's is too, so that the labels which
	// are made for the selector appear on the Job as well.
	if spec.Template.Labels != nil && len(j.Labels) == 0 {
		j.Labels = spec.Template.Labels
	}
	defaultPointer(&spec.CompletionMode, batchv1.NonIndexedCompletion)
	defaultPointer(&spec.Suspend, false)
	replacement := batchv1.TerminatingOrFailed
	if spec.PodFailurePolicy != nil {
		replacement = batchv1.Failed
	}
	defaultPointer(&spec.PodReplacementPolicy, replacement)
	defaultPointer(&spec.ManualSelector, false)
}

func defaultPointer[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}

func defaultFailurePolicy(policy *batchv1.PodFailurePolicy) {
	if policy == nil {
		return
	}
	for i := range policy.Rules {
		for k := range policy.Rules[i].OnPodConditions {
			if pattern := &policy.Rules[i].OnPodConditions[k]; pattern.Status == "" {
				pattern.Status = corev1.ConditionTrue
			}
		}
	}
}

func prepareJob(j *batchv1.Job) {
	if !ptr.Deref(j.Spec.ManualSelector, false) {
		generateSelector(j)
	}
	j.Status = batchv1.JobStatus{}
	j.Generation = 1
	dropDisabledFields(&j.Spec)
}

// generateSelector makes a selector that no other Job's pods match. Labels
// that the client has set stay, and validation refuses them if they are wrong.
func generateSelector(j *batchv1.Job) {
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	setIfAbsent(j.Spec.Template.Labels, legacyNameLabel, j.Name)
	setIfAbsent(j.Spec.Template.Labels, batchv1.JobNameLabel, j.Name)
	setIfAbsent(j.Spec.Template.Labels, legacyUIDLabel, string(j.UID))
	setIfAbsent(j.Spec.Template.Labels, batchv1.ControllerUidLabel, string(j.UID))
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	setIfAbsent(j.Spec.Selector.MatchLabels, batchv1.ControllerUidLabel, string(j.UID))
}

func setIfAbsent(labels map[string]string, key, value string) {
	if _, set := labels[key]; !set {
		labels[key] = value
	}
}

func dropDisabledFields(spec *batchv1.JobSpec) {
	spec.Scheduling = nil
	core.DropDisabledTemplateFields(&spec.Template)
}

func jobWarnings(p *field.Path, spec *batchv1.JobSpec) []string {
	var warnings []string
	indexed := ptr.Deref(spec.CompletionMode, "") == batchv1.IndexedCompletion
	if indexed && ptr.Deref(spec.Completions, 0) > manyCompletions && ptr.Deref(spec.Parallelism, 0) > manyParallel {
		warnings = append(warnings, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail", p))
	}
	return append(warnings, core.PodTemplateWarnings(p.Child("template"), &spec.Template)...)
}

func jobCells(j *batchv1.Job) []any {
	completions := fmt.Sprintf("%d/1", j.Status.Succeeded)
	if parallelism := ptr.Deref(j.Spec.Parallelism, 0); j.Spec.Completions != nil {
		completions = fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	} else if parallelism > 1 {
		completions += fmt.Sprintf(" of %d", parallelism)
	}
	names, images := cells.Containers(j.Spec.Template.Spec.Containers)
	return []any{
		j.Name, jobState(j), completions, jobDuration(&j.Status), cells.AgeOf(j), names, images, metav1.FormatLabelSelector(j.Spec.Selector),
	}
}

func jobState(j *batchv1.Job) string {
	switch {
	case isTrue(j, batchv1.JobComplete):
		return "Complete"
	case isTrue(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case isTrue(j, batchv1.JobSuspended):
		return "Suspended"
	case isTrue(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case isTrue(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobDuration(s *batchv1.JobStatus) string {
	switch {
	case s.StartTime == nil:
		return ""
	case s.CompletionTime == nil:
		return duration.HumanDuration(time.Since(s.StartTime.Time))
	}
	return duration.HumanDuration(s.CompletionTime.Sub(s.StartTime.Time))
}

func isTrue(j *batchv1.Job, condition batchv1.JobConditionType) bool {
	return hasStatus(j, condition, corev1.ConditionTrue)
}

func hasStatus(j *batchv1.Job, condition batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	for i := range j.Status.Conditions {
		if c := &j.Status.Conditions[i]; c.Type == condition && c.Status == status {
			return true
		}
	}
	return false
}
