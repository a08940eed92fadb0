// Package environ makes a container's environment: values from the pod, from
// ConfigMaps, Secrets and files, and the addresses of Services.
package environ

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/kubelet/internal/downward"
	"coracle.local/services/kubelet/internal/engine"
)

// Objects are where ConfigMaps and Secrets come from. Absent ones fail with an
// error that apierrors.IsNotFound knows.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Maker makes environments.
type Maker struct {
	Objects Objects
	// Services returns all Services a pod of the namespace may see; nil gives
	// containers no variables of Services.
	Services func(ctx context.Context, namespace string) ([]*corev1.Service, error)
	Node     func() downward.Node
	// File reads a file of one of the pod's volumes; nil where pods have none.
	File func(pod *corev1.Pod, volume, path string) ([]byte, error)
}

// Vars returns the container's environment: variables of envFrom, then env in
// the pod's order, then Services. A name occurs once; the later source wins.
func (m *Maker) Vars(ctx context.Context, pod *corev1.Pod, c *corev1.Container, podIPs []string) ([]engine.KeyValue, error) {
	services, err := m.services(ctx, pod)
	if err != nil {
		return nil, err
	}
	e := &environment{values: map[string]string{}}
	for _, from := range c.EnvFrom {
		if err := m.addAll(ctx, e, pod.Namespace, from); err != nil {
			return nil, err
		}
	}
	lookup := func(name string) (string, bool) {
		if v, ok := e.values[name]; ok {
			return v, true
		}
		v, ok := services[name]
		return v, ok
	}
	for _, v := range c.Env {
		value, present := Expand(v.Value, lookup), true
		if v.Value == "" && v.ValueFrom != nil {
			if value, present, err = m.resolve(ctx, pod, c, v.ValueFrom, podIPs); err != nil {
				return nil, err
			}
		}
		if present {
			e.set(v.Name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, ok := e.values[name]; !ok {
			e.set(name, services[name])
		}
	}
	return e.list(), nil
}

// environment keeps names in the order in which they first came.
type environment struct {
	order  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.order = append(e.order, name)
	}
	e.values[name] = value
}

func (e *environment) list() []engine.KeyValue {
	out := make([]engine.KeyValue, 0, len(e.order))
	for _, name := range e.order {
		out = append(out, engine.KeyValue{Key: name, Value: e.values[name]})
	}
	return out
}

// addAll takes over every entry of a ConfigMap or Secret.
func (m *Maker) addAll(ctx context.Context, e *environment, namespace string, from corev1.EnvFromSource) error {
	entries := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		cm, err := m.Objects.ConfigMap(ctx, namespace, from.ConfigMapRef.Name)
		if err != nil {
			return ignoreMissing(err, from.ConfigMapRef.Optional)
		}
		entries = cm.Data
	case from.SecretRef != nil:
		s, err := m.Objects.Secret(ctx, namespace, from.SecretRef.Name)
		if err != nil {
			return ignoreMissing(err, from.SecretRef.Optional)
		}
		for k, v := range s.Data {
			entries[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		e.set(from.Prefix+k, entries[k])
	}
	return nil
}

func ignoreMissing(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

// resolve returns a valueFrom's value; not present means that the variable is
// left out.
func (m *Maker) resolve(ctx context.Context, pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, podIPs []string) (value string, present bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = downward.Field(pod, from.FieldRef.FieldPath, podIPs, m.Node())
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = downward.Resource(pod, c, from.ResourceFieldRef, m.Node())
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := m.Objects.ConfigMap(ctx, pod.Namespace, ref.Name)
		if err != nil {
			return "", false, ignoreMissing(err, ref.Optional)
		}
		v, ok := cm.Data[ref.Key]
		return keyOf(v, ok, ref.Optional, ref.Key, "ConfigMap", pod.Namespace, ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := m.Objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			return "", false, ignoreMissing(err, ref.Optional)
		}
		v, ok := s.Data[ref.Key]
		return keyOf(string(v), ok, ref.Optional, ref.Key, "Secret", pod.Namespace, ref.Name)
	case from.FileKeyRef != nil:
		return m.fromFile(pod, from.FileKeyRef)
	}
	return "", true, nil
}

func keyOf(v string, ok bool, optional *bool, key, kind, namespace, name string) (string, bool, error) {
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %v in %s %v/%v", key, kind, namespace, name)
	}
	return v, ok, nil
}

func (m *Maker) fromFile(pod *corev1.Pod, ref *corev1.FileKeySelector) (string, bool, error) {
	if m.File == nil {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	content, err := m.File(pod, ref.VolumeName, ref.Path)
	if err != nil {
		return "", false, err
	}
	value, err := fileValue(string(content), ref.Key)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	}
	if value == "" {
		if ref.Optional != nil && *ref.Optional {
			return "", false, nil
		}
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return value, true, nil
}

// fileValue finds a variable in a file of lines NAME='value'. Values stand in
// single quotes, taken literally, and may span lines.
func fileValue(content, key string) (string, error) {
	for number := 1; content != ""; number++ {
		var line string
		line, content, _ = strings.Cut(content, "\n")
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", fmt.Errorf("line %d has no '='", number)
		case name == "" || strings.TrimRight(name, " \t") != name:
			return "", fmt.Errorf("line %d has no variable name right before '='", number)
		case strings.TrimLeft(rest, " \t") != rest:
			// As in a shell, what follows the blank is not the value.
			if name == key {
				return "", nil
			}
			continue
		case !strings.HasPrefix(rest, "'"):
			return "", fmt.Errorf("line %d: the value is not in single quotes", number)
		}
		value, after, ok := strings.Cut(rest[1:]+"\n"+content, "'")
		if !ok {
			return "", fmt.Errorf("line %d: the quote is not closed", number)
		}
		number += strings.Count(value, "\n")
		after, content, _ = strings.Cut(after, "\n")
		if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
			return "", fmt.Errorf("line %d: text after the closing quote", number)
		}
		if name == key {
			return value, nil
		}
	}
	return "", nil
}
