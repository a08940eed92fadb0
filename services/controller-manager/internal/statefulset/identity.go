package statefulset

import (
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/pods"
)

// parse takes a pod's name apart; the ordinal is -1 if there is none.
func parse(name string) (set string, ordinal int) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return "", -1
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || n < 0 || name[i+1] == '+' {
		return "", -1
	}
	return name[:i], int(n)
}

func ordinal(p *corev1.Pod) int {
	_, n := parse(p.Name)
	return n
}

// bounds is the first ordinal of a set and the one after the last.
func bounds(s *appsv1.StatefulSet) (from, to int) {
	if s.Spec.Ordinals != nil {
		from = int(s.Spec.Ordinals.Start)
	}
	return from, from + int(ptr.Deref(s.Spec.Replicas, 1))
}

func inRange(p *corev1.Pod, s *appsv1.StatefulSet) bool {
	from, to := bounds(s)
	n := ordinal(p)
	return n >= from && n < to
}

func podRevision(p *corev1.Pod) string { return p.Labels[appsv1.StatefulSetRevisionLabel] }

// newPod is the pod of an ordinal at a revision of a set.
func newPod(s *appsv1.StatefulSet, n int, revision string) *corev1.Pod {
	p := pods.FromTemplate(&s.Spec.Template, s)
	p.Name = s.Name + "-" + strconv.Itoa(n)
	identify(s, p)
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, s.Spec.ServiceName
	store(s, p)
	p.Labels[appsv1.StatefulSetRevisionLabel] = revision
	return p
}

// identify gives a pod the labels of its name.
func identify(s *appsv1.StatefulSet, p *corev1.Pod) {
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.StatefulSetPodNameLabel] = p.Name
	p.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal(p))
}

func identified(s *appsv1.StatefulSet, p *corev1.Pod) bool {
	parent, _ := parse(p.Name)
	return parent == s.Name && p.Labels[appsv1.StatefulSetPodNameLabel] == p.Name
}

// store gives a pod the volumes of its claims, in place of others of the name.
func store(s *appsv1.StatefulSet, p *corev1.Pod) {
	var out []corev1.Volume
	claimed := map[string]bool{}
	for i := range s.Spec.VolumeClaimTemplates {
		t := &s.Spec.VolumeClaimTemplates[i]
		claimed[t.Name] = true
		out = append(out, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(s, t, ordinal(p))},
		}})
	}
	for _, v := range p.Spec.Volumes {
		if !claimed[v.Name] {
			out = append(out, v)
		}
	}
	p.Spec.Volumes = out
}

func stored(s *appsv1.StatefulSet, p *corev1.Pod) bool {
	have := map[string]string{}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			have[v.Name] = v.PersistentVolumeClaim.ClaimName
		}
	}
	for i := range s.Spec.VolumeClaimTemplates {
		t := &s.Spec.VolumeClaimTemplates[i]
		if have[t.Name] != claimName(s, t, ordinal(p)) {
			return false
		}
	}
	return true
}

func created(p *corev1.Pod) bool     { return p.UID != "" }
func terminating(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }

func runningReady(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && pods.Ready(p) }

func unavailable(p *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	return !pods.Available(p, minReadySeconds, now) || terminating(p)
}
