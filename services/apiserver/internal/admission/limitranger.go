package admission

import (
	"context"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	podresource "k8s.io/component-helpers/resource"

	"coracle.local/services/apiserver/internal/auth"
)

const limitRangerAnnotation = "kubernetes.io/limit-ranger"

// limitRanger gives containers the namespace's default resources and keeps
// pods and claims within its limits.
type limitRanger struct{ lookup lookup }

func (p *limitRanger) Admit(_ context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !limited(a) {
		return nil
	}
	for _, limits := range p.ranges(a) {
		setDefaults(limits, pod)
	}
	return nil
}

func (p *limitRanger) Validate(_ context.Context, a *Attributes) error {
	if !limited(a) {
		return nil
	}
	for _, limits := range p.ranges(a) {
		var errs []error
		switch o := a.Object.(type) {
		case *corev1.Pod:
			errs = checkPod(limits, o)
		case *corev1.PersistentVolumeClaim:
			errs = checkClaim(limits, o)
		}
		if len(errs) > 0 {
			return forbidden(a, utilerrors.NewAggregate(errs))
		}
	}
	return nil
}

// limited tells whether the request sets resources: a pod's at its creation
// and when it is resized, a claim's always. What is being deleted is let be.
func limited(a *Attributes) bool {
	if a.Operation != Create && a.Operation != Update || a.Object == nil {
		return false
	}
	if a.Old != nil && a.Old.GetDeletionTimestamp() != nil {
		return false
	}
	switch {
	case a.on("", "pods"):
		return a.Operation == Create && a.Subresource == "" || a.Operation == Update && a.Subresource == "resize"
	case a.on("", "persistentvolumeclaims"):
		return a.Subresource == ""
	}
	return false
}

func (p *limitRanger) ranges(a *Attributes) []*corev1.LimitRange {
	return auth.List[*corev1.LimitRange](p.lookup.reader, a.Namespace)
}

func setDefaults(limits *corev1.LimitRange, pod *corev1.Pod) {
	requests, upper := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range limits.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			for name, quantity := range item.DefaultRequest {
				requests[name] = quantity
			}
			for name, quantity := range item.Default {
				upper[name] = quantity
			}
		}
	}
	var notes []string
	for i := range pod.Spec.Containers {
		notes = append(notes, setContainerDefaults(&pod.Spec.Containers[i], "container", requests, upper)...)
	}
	for i := range pod.Spec.InitContainers {
		notes = append(notes, setContainerDefaults(&pod.Spec.InitContainers[i], "init container", requests, upper)...)
	}
	if len(notes) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

func setContainerDefaults(c *corev1.Container, what string, requests, upper corev1.ResourceList) []string {
	var notes []string
	fill := func(list *corev1.ResourceList, defaults corev1.ResourceList, kind string) {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		var set []string
		for name, quantity := range defaults {
			if _, ok := (*list)[name]; !ok {
				(*list)[name] = quantity.DeepCopy()
				set = append(set, string(name))
			}
		}
		if len(set) > 0 {
			sort.Strings(set)
			notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), kind, what, c.Name))
		}
	}
	fill(&c.Resources.Requests, requests, "request")
	fill(&c.Resources.Limits, upper, "limit")
	return notes
}

func checkClaim(limits *corev1.LimitRange, claim *corev1.PersistentVolumeClaim) []error {
	var errs []error
	for _, item := range limits.Spec.Limits {
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		c := constraint{kind: string(item.Type), requests: claim.Spec.Resources.Requests}
		errs = append(errs, each(item.Min, c.min)...)
		errs = append(errs, each(item.Max, c.maxRequest)...)
	}
	return errs
}

func checkPod(limits *corev1.LimitRange, pod *corev1.Pod) []error {
	var errs []error
	for i := range limits.Spec.Limits {
		item := &limits.Spec.Limits[i]
		switch item.Type {
		case corev1.LimitTypeContainer:
			for j := range pod.Spec.Containers {
				errs = append(errs, checkItem(item, pod.Spec.Containers[j].Resources.Requests, pod.Spec.Containers[j].Resources.Limits)...)
			}
			for j := range pod.Spec.InitContainers {
				errs = append(errs, checkItem(item, pod.Spec.InitContainers[j].Resources.Requests, pod.Spec.InitContainers[j].Resources.Limits)...)
			}
		case corev1.LimitTypePod:
			// Overhead is not the user's to limit.
			options := podresource.PodResourcesOptions{ExcludeOverhead: true}
			errs = append(errs, checkItem(item, podresource.PodRequests(pod, options), podresource.PodLimits(pod, options))...)
		}
	}
	return errs
}

func checkItem(item *corev1.LimitRangeItem, requests, upper corev1.ResourceList) []error {
	c := constraint{kind: string(item.Type), requests: requests, limits: upper}
	errs := each(item.Min, c.min)
	errs = append(errs, each(item.Max, c.max)...)
	return append(errs, each(item.MaxLimitRequestRatio, c.ratio)...)
}

// each checks every resource of a list, in the order of their names.
func each(list corev1.ResourceList, check func(name string, enforced resource.Quantity) error) []error {
	names := make([]string, 0, len(list))
	for name := range list {
		names = append(names, string(name))
	}
	sort.Strings(names)
	var errs []error
	for _, name := range names {
		if err := check(name, list[corev1.ResourceName(name)]); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// constraint compares what a container, pod or claim asks for with one limit.
type constraint struct {
	kind             string
	requests, limits corev1.ResourceList
}

func (c constraint) min(name string, enforced resource.Quantity) error {
	request, requested := c.requests[corev1.ResourceName(name)]
	limit, hasLimit := c.limits[corev1.ResourceName(name)]
	switch {
	case !requested:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, c.kind, enforced.String())
	case request.Cmp(enforced) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, c.kind, enforced.String(), request.String())
	case hasLimit && limit.Cmp(enforced) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, c.kind, enforced.String(), limit.String())
	}
	return nil
}

func (c constraint) max(name string, enforced resource.Quantity) error {
	request, requested := c.requests[corev1.ResourceName(name)]
	limit, hasLimit := c.limits[corev1.ResourceName(name)]
	switch {
	case !hasLimit:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, c.kind, enforced.String())
	case limit.Cmp(enforced) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, c.kind, enforced.String(), limit.String())
	case requested && request.Cmp(enforced) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, c.kind, enforced.String(), request.String())
	}
	return nil
}

// maxRequest is for what has no limits, a claim.
func (c constraint) maxRequest(name string, enforced resource.Quantity) error {
	request, requested := c.requests[corev1.ResourceName(name)]
	switch {
	case !requested:
		return fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, c.kind, enforced.String())
	case request.Cmp(enforced) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, c.kind, enforced.String(), request.String())
	}
	return nil
}

func (c constraint) ratio(name string, enforced resource.Quantity) error {
	request, requested := c.requests[corev1.ResourceName(name)]
	limit, hasLimit := c.limits[corev1.ResourceName(name)]
	switch {
	case !requested || request.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, c.kind, enforced.String())
	case !hasLimit || limit.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, c.kind, enforced.String())
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > enforced.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, c.kind, enforced.String(), ratio)
	}
	return nil
}
