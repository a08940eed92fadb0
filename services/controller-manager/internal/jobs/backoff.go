package jobs

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Back-off between a failed pod and its replacement, as upstream's.
const (
	firstBackoff   = 10 * time.Second
	longestBackoff = 10 * time.Minute
)

// wait is how long after n failures, the last at a time, a replacement waits.
func wait(n int, last, now time.Time) time.Duration {
	if n == 0 {
		return 0
	}
	d := firstBackoff
	for i := 1; i < n && d < longestBackoff; i++ {
		d *= 2
	}
	return max(0, last.Add(min(d, longestBackoff)).Sub(now))
}

// jobWait is the wait of a whole Job. It counts the failures since the last
// success among the pods that are still there, so that a restart of this
// controller forgets nothing; upstream counts in memory.
func jobWait(j *batchv1.Job, all []*corev1.Pod, now time.Time) time.Duration {
	var success, last time.Time
	for _, p := range all {
		if p.Status.Phase == corev1.PodSucceeded && finishedAt(p).After(success) {
			success = finishedAt(p)
		}
	}
	n := 0
	for _, p := range all {
		if !failed(p, j) {
			continue
		}
		if t := finishedAt(p); t.After(success) {
			n++
			if t.After(last) {
				last = t
			}
		}
	}
	return wait(n, last, now)
}

// indexWait is the wait of one index after its last failed pod.
func indexWait(last *corev1.Pod, now time.Time) time.Duration {
	if last == nil {
		return 0
	}
	return wait(int(allFailures(last))+1, finishedAt(last), now)
}
