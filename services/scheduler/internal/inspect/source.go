package inspect

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	schedulerv1 "coracle.local/proto/coracle/scheduler/v1"
)

// pod finds or reads the pod that a request speaks of.
func (s *Service) pod(source *schedulerv1.PodSource) (*corev1.Pod, error) {
	switch from := source.GetSource().(type) {
	case *schedulerv1.PodSource_Pod:
		namespace, name := from.Pod.GetNamespace(), from.Pod.GetName()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		p, ok := s.Pods.Pod(namespace, name)
		if !ok {
			return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
		}
		return p, nil
	case *schedulerv1.PodSource_Manifest:
		p, err := parse(from.Manifest)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return p, nil
	default:
		return nil, apierrors.NewBadRequest("pod: a reference or a manifest is needed")
	}
}

// parse reads a pod, or the pod that an object with a template makes.
func parse(manifest string) (*corev1.Pod, error) {
	data, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var head struct {
		Kind     string            `json:"kind"`
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     struct {
			Template    *corev1.PodTemplateSpec `json:"template"`
			JobTemplate *struct {
				Spec struct {
					Template *corev1.PodTemplateSpec `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	template := head.Spec.Template
	if template == nil && head.Spec.JobTemplate != nil {
		template = head.Spec.JobTemplate.Spec.Template
	}
	p := &corev1.Pod{}
	switch {
	case head.Kind == "Pod":
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
	case template != nil:
		p.ObjectMeta, p.Spec = template.ObjectMeta, template.Spec
		p.Name, p.Namespace = head.Metadata.Name, head.Metadata.Namespace
	default:
		return nil, fmt.Errorf("manifest: a %s is no Pod and has no pod template", kindOr(head.Kind, "document without kind"))
	}
	if len(p.Spec.Containers) == 0 {
		return nil, fmt.Errorf("manifest: spec.containers: Required value")
	}
	complete(p)
	return p, nil
}

func kindOr(kind, otherwise string) string {
	if kind == "" {
		return otherwise
	}
	return kind
}

// complete sets what the API server would and the scheduler reads.
func complete(p *corev1.Pod) {
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	if p.Name == "" {
		p.Name = p.GenerateName
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			requestLimits(&list[i].Resources)
		}
	}
}

// requestLimits makes limits requests where none are given.
func requestLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit
	}
}
