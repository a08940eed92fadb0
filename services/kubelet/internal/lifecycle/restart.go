package lifecycle

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// IsSidecar tells a restartable init container from one that must end.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// ShouldRestart tells whether a container that exited with code is to run
// again: the container's own rules come first, then its own policy, then the
// pod's.
func ShouldRestart(c *corev1.Container, spec *corev1.PodSpec, code int32) bool {
	if c.RestartPolicy != nil {
		if action, ok := matchingRule(c, code); ok {
			switch action {
			case corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers:
				return true
			}
		}
		switch *c.RestartPolicy {
		case corev1.ContainerRestartPolicyAlways:
			return true
		case corev1.ContainerRestartPolicyOnFailure:
			return code != 0
		case corev1.ContainerRestartPolicyNever:
			return false
		}
	}
	switch spec.RestartPolicy {
	case corev1.RestartPolicyOnFailure:
		return code != 0
	case corev1.RestartPolicyNever:
		return false
	}
	return true
}

func matchingRule(c *corev1.Container, code int32) (corev1.ContainerRestartRuleAction, bool) {
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil {
			continue
		}
		in := false
		for _, v := range rule.ExitCodes.Values {
			in = in || v == code
		}
		switch rule.ExitCodes.Operator {
		case corev1.ContainerRestartRuleOnExitCodesOpIn:
			if in {
				return rule.Action, true
			}
		case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
			if !in {
				return rule.Action, true
			}
		}
	}
	return "", false
}

// restartsOnFailure is the pod-wide answer for containers that were killed
// and whose exit code does not matter.
func restartsOnFailure(c *corev1.Container, spec *corev1.PodSpec) bool {
	if c.RestartPolicy != nil {
		return *c.RestartPolicy != corev1.ContainerRestartPolicyNever
	}
	return spec.RestartPolicy != corev1.RestartPolicyNever
}

// wantsStart tells whether a container that does not run is to be started.
func wantsStart(pod *corev1.Pod, o *Observed, c *corev1.Container) bool {
	latest, ok := o.latest(c.Name)
	switch {
	case !ok && lost(pod, o, c.Name):
		// It has run and cannot be found. With a policy of Never a second run
		// would be one too many.
		return ShouldRestart(c, &pod.Spec, ExitCodeLost)
	case !ok, latest.State == engine.Created:
		return true
	case latest.State == engine.Running:
		return false
	}
	return ShouldRestart(c, &pod.Spec, int32(latest.ExitCode))
}

// ExitCodeLost is reported for containers that vanished: the one of a
// process that was killed.
const ExitCodeLost = 137

// Hash identifies what a running container depends on and cannot be changed in
// it. Upstream counts the name and the image.
func Hash(c *corev1.Container) string {
	b, err := json.Marshal(map[string]string{"name": c.Name, "image": c.Image})
	if err != nil {
		panic(err) // two strings always encode
	}
	h := fnv.New32a()
	_, _ = h.Write(b) // never fails
	return fmt.Sprintf("%x", h.Sum32())
}

// BackoffLimits bound the delay before a restart. A container that ran for
// twice Max starts over.
type BackoffLimits struct{ Initial, Max time.Duration }

// DefaultBackoff is upstream's.
func DefaultBackoff() BackoffLimits {
	return BackoffLimits{Initial: 10 * time.Second, Max: 5 * time.Minute}
}

// Backoff is the delay after the next exit, and when it was last raised.
type Backoff struct {
	Delay   time.Duration
	Updated time.Time
}

// Until is when a container that ended at finished may start again.
func (b Backoff) Until(finished time.Time, limits BackoffLimits) time.Time {
	if b.expired(finished, limits) {
		return finished
	}
	return finished.Add(b.Delay)
}

// Next is the back-off after one more restart at now.
func (b Backoff) Next(finished, now time.Time, limits BackoffLimits) Backoff {
	if b.Delay == 0 || b.expired(finished, limits) {
		return Backoff{Delay: min(limits.Initial, limits.Max), Updated: now}
	}
	return Backoff{Delay: min(2*b.Delay, limits.Max), Updated: now}
}

func (b Backoff) expired(finished time.Time, limits BackoffLimits) bool {
	return finished.Sub(b.Updated) > 2*limits.Max
}
