package admission

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// recordSecurity adds a fact about pod security to the audit.
func recordSecurity(a *Attributes, key, value string) {
	if a.Annotate != nil {
		a.Annotate(api.AuditAnnotationPrefix+key, value)
	}
}

// record says why nothing was looked at.
func (e podSecurityExemptions) record(a *Attributes) {
	why := "user"
	switch {
	case e.namespace(a.Namespace):
		why = "namespace"
	case !e.request(a):
		why = "runtimeClass"
	}
	recordSecurity(a, api.ExemptionReasonAnnotationKey, why)
}

// recordPolicy adds what is wrong with a namespace's policy, and what about a pod
// violates its audit level, to the audit.
func recordPolicy(a *Attributes, evaluator policy.Evaluator, wanted api.Policy, wrong error, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	if a.Annotate == nil {
		return
	}
	if wrong != nil {
		recordSecurity(a, "error", fmt.Sprintf("Failed to parse policy: %v", wrong))
	}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(wanted.Audit, meta, spec))
	if !result.Allowed {
		recordSecurity(a, api.AuditViolationsAnnotationKey, fmt.Sprintf("would violate PodSecurity %q: %s", wanted.Audit.String(), result.ForbiddenDetail()))
	}
}
