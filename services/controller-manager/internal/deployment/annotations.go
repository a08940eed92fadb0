package deployment

import (
	"math"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// The annotations that kubectl rollout reads.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation             = "deployment.kubernetes.io/max-replicas"
)

// historyLimit bounds the history annotation, in characters.
const historyLimit = 2000

// own is the annotations of a Deployment that are not copied to its sets.
var own = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true, revisionAnnotation: true, revisionHistoryAnnotation: true,
	desiredAnnotation: true, maxAnnotation: true, appsv1.DeprecatedRollbackTo: true,
}

// revision is the revision of a set, zero if it has none.
func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func maxRevision(sets []*appsv1.ReplicaSet) int64 {
	var n int64
	for _, rs := range sets {
		n = max(n, revision(rs))
	}
	return n
}

// setNewAnnotations copies a Deployment's annotations to the set of its present
// template and gives that the newest revision. A set that had an older revision
// is one that was rolled back to: it keeps the older numbers as its history.
func setNewAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet, next int64) bool {
	changed := false
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if old, ok := rs.Annotations[k]; !own[k] && (!ok || old != v) {
			rs.Annotations[k] = v
			changed = true
		}
	}
	had, ok := rs.Annotations[revisionAnnotation]
	if ok && had != "" {
		if _, err := strconv.ParseInt(had, 10, 64); err != nil {
			return changed // somebody else's value: leave it be
		}
	}
	if revision(rs) >= next {
		return changed
	}
	rs.Annotations[revisionAnnotation] = strconv.FormatInt(next, 10)
	if ok {
		addHistory(rs, had)
	}
	return true
}

func addHistory(rs *appsv1.ReplicaSet, revision string) {
	history := rs.Annotations[revisionHistoryAnnotation]
	if history == "" {
		rs.Annotations[revisionHistoryAnnotation] = revision
		return
	}
	old := strings.Split(history, ",")
	length := len(history) + len(revision) + 1
	for length > historyLimit && len(old) > 0 {
		length -= len(old[0]) + 1
		old = old[1:]
	}
	if length <= historyLimit {
		rs.Annotations[revisionHistoryAnnotation] = strings.Join(append(old, revision), ",")
	}
}

func setReplicasAnnotations(rs *appsv1.ReplicaSet, desired, most int32) bool {
	changed := false
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, n := range map[string]int32{desiredAnnotation: desired, maxAnnotation: most} {
		if v := strconv.Itoa(int(n)); rs.Annotations[k] != v {
			rs.Annotations[k] = v
			changed = true
		}
	}
	return changed
}

// count reads a number that setReplicasAnnotations wrote.
func count(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseUint(rs.Annotations[annotation], 10, 31)
	return int32(n), err == nil
}

// fenceposts is how many pods a rolling update may have too many and too few.
// Both cannot be zero, or nothing would ever move.
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	u := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || u == nil {
		return 0, 0
	}
	n := int(ptr.Deref(d.Spec.Replicas, 1))
	// Validation keeps out what cannot be scaled.
	s, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(u.MaxSurge, intstr.FromInt32(0)), n, true)
	a, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(u.MaxUnavailable, intstr.FromInt32(0)), n, false)
	if s == 0 && a == 0 {
		a = 1
	}
	return int32(s), int32(a)
}

func maxSurge(d *appsv1.Deployment) int32 {
	surge, _ := fenceposts(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	_, unavailable := fenceposts(d)
	return min(unavailable, ptr.Deref(d.Spec.Replicas, 1))
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}
