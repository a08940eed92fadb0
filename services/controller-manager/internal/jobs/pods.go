package jobs

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/pods"
)

// noIndex is the index of a pod that has none.
const noIndex = -1

// maxGenerated is the longest prefix to which five random letters fit.
const maxGenerated = 58

// indexEnv tells a container its index.
const indexEnv = "JOB_COMPLETION_INDEX"

func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

func indexed(j *batchv1.Job) bool {
	return j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion
}

func perIndex(j *batchv1.Job) bool { return j.Spec.BackoffLimitPerIndex != nil }

// replacesFailedOnly tells whether a pod that is being deleted keeps its place
// until it has ended.
func replacesFailedOnly(j *batchv1.Job) bool {
	return j.Spec.PodReplacementPolicy != nil && *j.Spec.PodReplacementPolicy == batchv1.Failed
}

// failed tells whether a pod counts as failed. One that is deleted may never
// come to say so itself.
func failed(p *corev1.Pod, j *batchv1.Job) bool {
	if p.Status.Phase == corev1.PodFailed {
		return true
	}
	return !replacesFailedOnly(j) && p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded
}

func indexOf(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || n < 0 {
		return noIndex
	}
	return n
}

// validIndex tells whether a pod has an index below the completions.
func validIndex(p *corev1.Pod, j *batchv1.Job) bool {
	i := indexOf(p)
	return i != noIndex && i < int(*j.Spec.Completions)
}

func indexesOf(list []*corev1.Pod) []int {
	var out []int
	for _, p := range list {
		if i := indexOf(p); i != noIndex {
			out = append(out, i)
		}
	}
	return out
}

// failures reads a count that newPod wrote.
func failures(p *corev1.Pod, annotation string) int32 {
	n, err := strconv.ParseInt(p.Annotations[annotation], 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0
	}
	return int32(n)
}

func allFailures(p *corev1.Pod) int32 {
	return failures(p, batchv1.JobIndexFailureCountAnnotation) + failures(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// newPod is a pod of a Job; index is noIndex for Jobs without. replaced is the
// failed pod of the index whose count it carries on, nil if there is none.
func newPod(j *batchv1.Job, index int, replaced *corev1.Pod) *corev1.Pod {
	p := pods.FromTemplate(&j.Spec.Template, j)
	if !tracked(p) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if index == noIndex {
		return p
	}
	text := strconv.Itoa(index)
	p.Annotations, p.Labels = set(p.Annotations, batchv1.JobCompletionIndexAnnotation, text), set(p.Labels, batchv1.JobCompletionIndexAnnotation, text)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			addIndexEnv(&list[i])
		}
	}
	p.Spec.Hostname = j.Name + "-" + text
	suffix := "-" + text + "-"
	p.GenerateName = j.Name[:min(len(j.Name), maxGenerated-len(suffix))] + suffix
	if perIndex(j) {
		counted, ignored := nextFailures(j, replaced)
		p.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(counted))
		if ignored > 0 {
			p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(int(ignored))
		}
	}
	return p
}

func nextFailures(j *batchv1.Job, replaced *corev1.Pod) (counted, ignored int32) {
	if replaced == nil {
		return 0, 0
	}
	counted, ignored = failures(replaced, batchv1.JobIndexFailureCountAnnotation), failures(replaced, batchv1.JobIndexIgnoredFailureCountAnnotation)
	if match(j.Spec.PodFailurePolicy, replaced).counts {
		return counted + 1, ignored
	}
	return counted, ignored + 1
}

func set(m map[string]string, k, v string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	return m
}

func addIndexEnv(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexEnv }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
	}})
}

// finishedAt is when a pod ended, as far as anybody knows.
func finishedAt(p *corev1.Pod) time.Time {
	if t, ok := lastEnd(p); ok {
		return t
	}
	if c := pods.Condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	if p.DeletionTimestamp != nil {
		return p.DeletionTimestamp.Add(-time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return p.CreationTimestamp.Time
}

// lastEnd is when the last container ended; false unless all have.
func lastEnd(p *corev1.Pod) (time.Time, bool) {
	var last time.Time
	statuses := slices.Clone(p.Status.ContainerStatuses)
	for _, s := range p.Status.InitContainerStatuses {
		if slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == s.Name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		}) {
			statuses = append(statuses, s)
		}
	}
	for _, s := range statuses {
		if s.State.Terminated == nil || s.State.Terminated.FinishedAt.IsZero() {
			return time.Time{}, false
		}
		if t := s.State.Terminated.FinishedAt.Time; t.After(last) {
			last = t
		}
	}
	return last, !last.IsZero()
}
