package admission

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth"
)

const (
	// A namespace with very many pods is checked in part when its policy is
	// tightened: it is only about warnings.
	podsToCheck = 3000
	timeToCheck = time.Second
)

// podSecurity holds pods to the Pod Security Standard that their namespace's
// labels ask for.
type podSecurity struct {
	lookup lookup
	clock  clock.PassiveClock
	exempt podSecurityExemptions
	// defaults are for namespaces without labels.
	defaults api.Policy

	// once makes the checks when a namespace first asks for any.
	once      sync.Once
	evaluator policy.Evaluator
	err       error
}

func (p *podSecurity) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Create && a.Operation != Update {
		return nil
	}
	switch o := a.Object.(type) {
	case *corev1.Namespace:
		if a.on("", "namespaces") {
			return p.namespace(a, o)
		}
	case *corev1.Pod:
		return p.pod(ctx, a, o)
	default:
		if a.Subresource == "" {
			return p.template(ctx, a)
		}
	}
	return nil
}

func (p *podSecurity) checks() (policy.Evaluator, error) {
	p.once.Do(func() { p.evaluator, p.err = policy.NewEvaluator(policy.DefaultChecks(), nil) })
	return p.evaluator, p.err
}

// podPolicy reads a namespace's labels. Without any, the defaults hold.
func (p *podSecurity) podPolicy(labels map[string]string) (api.Policy, error) {
	wanted, errs := api.PolicyToEvaluate(labels, p.defaults)
	return wanted, errs.ToAggregate()
}

func (p *podSecurity) pod(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	switch a.Subresource {
	case "exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status":
		return nil
	}
	if p.exempt.request(a) || p.exempt.runtimeClass(&pod.Spec) {
		p.exempt.record(a)
		return nil
	}
	namespace, err := find[*corev1.Namespace](ctx, p.lookup, "", a.Namespace)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to lookup namespace %q", a.Namespace))
	}
	wanted, wrong := p.podPolicy(namespace.Labels)
	if wrong == nil && wanted.FullyPrivileged() {
		recordSecurity(a, api.EnforcedPolicyAnnotationKey, wanted.Enforce.String())
		return nil
	}
	if old, ok := a.Old.(*corev1.Pod); ok && a.Operation == Update && !significant(pod, old) {
		return nil
	}
	evaluator, err := p.checks()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	recordSecurity(a, api.EnforcedPolicyAnnotationKey, wanted.Enforce.String())
	recordPolicy(a, evaluator, wanted, wrong, &pod.ObjectMeta, &pod.Spec)
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(wanted.Enforce, &pod.ObjectMeta, &pod.Spec))
	if !result.Allowed {
		return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name,
			fmt.Errorf("violates PodSecurity %q: %s", wanted.Enforce.String(), result.ForbiddenDetail()))
	}
	warnAbout(a, evaluator, wanted.Warn, &pod.ObjectMeta, &pod.Spec)
	return nil
}

// template warns about what makes pods that will be refused.
func (p *podSecurity) template(ctx context.Context, a *Attributes) error {
	template := podTemplate(a)
	if template == nil {
		return nil
	}
	if p.exempt.request(a) || p.exempt.runtimeClass(&template.Spec) {
		p.exempt.record(a)
		return nil
	}
	namespace, err := find[*corev1.Namespace](ctx, p.lookup, "", a.Namespace)
	if err != nil {
		return nil // only a warning is at stake; the write fails by other checks
	}
	wanted, wrong := p.podPolicy(namespace.Labels)
	if wrong == nil && wanted.Warn.Level == api.LevelPrivileged && (a.Annotate == nil || wanted.Audit.Level == api.LevelPrivileged) {
		return nil
	}
	evaluator, err := p.checks()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	recordPolicy(a, evaluator, wanted, wrong, &template.ObjectMeta, &template.Spec)
	warnAbout(a, evaluator, wanted.Warn, &template.ObjectMeta, &template.Spec)
	return nil
}

func podTemplate(a *Attributes) *corev1.PodTemplateSpec {
	switch o := a.Object.(type) {
	case *corev1.PodTemplate:
		return &o.Template
	case *corev1.ReplicationController:
		return o.Spec.Template
	case *appsv1.ReplicaSet:
		return &o.Spec.Template
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

func warnAbout(a *Attributes, evaluator policy.Evaluator, level api.LevelVersion, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, meta, spec))
	if !result.Allowed {
		a.warn(fmt.Sprintf("would violate PodSecurity %q: %s", level.String(), result.ForbiddenDetail()))
	}
}

// namespace refuses labels that mean nothing, and warns of pods that a
// tightened policy would no longer allow.
func (p *podSecurity) namespace(a *Attributes, namespace *corev1.Namespace) error {
	if a.Subresource != "" {
		return nil
	}
	_, errs := api.PolicyToEvaluate(namespace.Labels, api.Policy{})
	old, _ := a.Old.(*corev1.Namespace)
	if a.Operation == Create || old == nil {
		if len(errs) > 0 {
			return apierrors.NewInvalid(a.Kind.GroupVersionKind().GroupKind(), a.objectName(), errs)
		}
		p.warnOfExemption(a, namespace)
		return nil
	}
	_, oldErrs := api.PolicyToEvaluate(old.Labels, api.Policy{})
	if len(errs) > 0 && (len(oldErrs) == 0 || !reflect.DeepEqual(errs, oldErrs)) {
		return apierrors.NewInvalid(a.Kind.GroupVersionKind().GroupKind(), a.Name, errs)
	}
	wanted, _ := p.podPolicy(namespace.Labels)
	before, _ := p.podPolicy(old.Labels)
	relaxed := wanted.Enforce.Version == before.Enforce.Version && api.CompareLevels(wanted.Enforce.Level, before.Enforce.Level) < 1
	if wanted.Enforce == before.Enforce || wanted.Enforce.Level == api.LevelPrivileged || relaxed {
		return nil
	}
	if p.exempt.namespace(namespace.Name) {
		p.warnOfExemption(a, namespace)
		return nil
	}
	return p.warnOfPods(a, namespace.Name, wanted.Enforce)
}

func (p *podSecurity) warnOfPods(a *Attributes, namespace string, level api.LevelVersion) error {
	evaluator, err := p.checks()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	pods := auth.List[*corev1.Pod](p.lookup.reader, namespace)
	pods = onePerController(slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return p.exempt.runtimeClass(&pod.Spec) }))
	total := len(pods)
	pods = pods[:min(total, podsToCheck)]
	deadline := p.clock.Now().Add(timeToCheck)
	found := map[string][]string{}
	checked := 0
	for _, pod := range pods {
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
		if !result.Allowed {
			found[result.ForbiddenReason()] = append(found[result.ForbiddenReason()], pod.Name)
		}
		if checked++; p.clock.Now().After(deadline) {
			break
		}
	}
	if checked < total {
		a.warn(fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", checked, total))
	}
	if len(found) == 0 {
		return nil
	}
	a.warn(fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, level.String()))
	var warnings []string
	for reason, names := range found {
		sort.Strings(names)
		others := ""
		switch n := len(names) - 1; {
		case n == 1:
			others = " (and 1 other pod)"
		case n > 1:
			others = fmt.Sprintf(" (and %d other pods)", n)
		}
		warnings = append(warnings, names[0]+others+": "+reason)
	}
	sort.Strings(warnings)
	for _, warning := range warnings {
		a.warn(warning)
	}
	return nil
}

// onePerController puts the pods that come of the same controller as an
// earlier one last: they are alike, and there may be more than can be checked.
func onePerController(pods []*corev1.Pod) []*corev1.Pod {
	var first, alike []*corev1.Pod
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner != nil && seen[owner.UID] {
			alike = append(alike, pod)
			continue
		}
		if owner != nil {
			seen[owner.UID] = true
		}
		first = append(first, pod)
	}
	return append(first, alike...)
}

// significant tells whether an update of a pod touches what the checks look
// at. Of a running pod only images and ephemeral containers can change.
func significant(pod, old *corev1.Pod) bool {
	if len(pod.Spec.Containers) != len(old.Spec.Containers) || len(pod.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return true
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Image != old.Spec.Containers[i].Image {
			return true
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Image != old.Spec.InitContainers[i].Image {
			return true
		}
	}
	images := map[string]string{}
	for i := range old.Spec.EphemeralContainers {
		images[old.Spec.EphemeralContainers[i].Name] = old.Spec.EphemeralContainers[i].Image
	}
	for i := range pod.Spec.EphemeralContainers {
		if image, ok := images[pod.Spec.EphemeralContainers[i].Name]; !ok || image != pod.Spec.EphemeralContainers[i].Image {
			return true
		}
	}
	return false
}
