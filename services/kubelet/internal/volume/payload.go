package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/kubelet/internal/downward"
)

// payload is what a rendered volume will hold, and until when that is good.
type payload struct {
	files map[string]File
	due   time.Time
}

func (p *payload) expire(t time.Time) {
	if !t.IsZero() && (p.due.IsZero() || t.Before(p.due)) {
		p.due = t
	}
}

const defaultMode = 0o644

func mode(own, preset *int32) os.FileMode {
	switch {
	case own != nil:
		return os.FileMode(*own)
	case preset != nil:
		return os.FileMode(*preset)
	}
	return defaultMode
}

// render collects the content of a volume that is made of objects; ok is false
// for other kinds of volumes.
func (m *Manager) render(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, podIPs []string) (p payload, kind string, ok bool, err error) {
	p.files = map[string]File{}
	switch {
	case v.ConfigMap != nil:
		kind, err = "configmap", m.configMap(ctx, &p, pod, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		kind, err = "secret", m.secret(ctx, &p, pod, v.Secret.SecretName, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		kind, err = "downward-api", m.downward(&p, pod, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode, podIPs)
	case v.Projected != nil:
		kind, err = "projected", m.projected(ctx, &p, pod, v.Projected, podIPs)
	default:
		return p, "", false, nil
	}
	return p, kind, true, err
}

func (m *Manager) projected(ctx context.Context, p *payload, pod *corev1.Pod, v *corev1.ProjectedVolumeSource, podIPs []string) error {
	var errs []error
	for i, s := range v.Sources {
		switch {
		case s.ConfigMap != nil:
			errs = append(errs, m.configMap(ctx, p, pod, s.ConfigMap.Name, s.ConfigMap.Items, v.DefaultMode, s.ConfigMap.Optional))
		case s.Secret != nil:
			errs = append(errs, m.secret(ctx, p, pod, s.Secret.Name, s.Secret.Items, v.DefaultMode, s.Secret.Optional))
		case s.DownwardAPI != nil:
			errs = append(errs, m.downward(p, pod, s.DownwardAPI.Items, v.DefaultMode, podIPs))
		case s.ServiceAccountToken != nil:
			errs = append(errs, m.token(ctx, p, pod, s.ServiceAccountToken, v.DefaultMode))
		default:
			errs = append(errs, fmt.Errorf("source %d of the projected volume is of a kind that this kubelet does not serve", i))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) configMap(ctx context.Context, p *payload, pod *corev1.Pod, name string, items []corev1.KeyToPath, preset *int32, optional *bool) error {
	cm, err := m.Objects.ConfigMap(ctx, pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	all := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		all[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		all[k] = v
	}
	return p.take(all, items, preset, optional, "configmap references non-existent config key: %s")
}

func (m *Manager) secret(ctx context.Context, p *payload, pod *corev1.Pod, name string, items []corev1.KeyToPath, preset *int32, optional *bool) error {
	s, err := m.Objects.Secret(ctx, pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	return p.take(s.Data, items, preset, optional, "references non-existent secret key: %s")
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

// take adds all entries, or those that items name.
func (p *payload) take(all map[string][]byte, items []corev1.KeyToPath, preset *int32, optional *bool, missing string) error {
	if len(items) == 0 {
		for k, v := range all {
			p.files[k] = File{Data: v, Mode: mode(nil, preset)}
		}
		return nil
	}
	for _, item := range items {
		data, ok := all[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf(missing, item.Key)
		}
		p.files[item.Path] = File{Data: data, Mode: mode(item.Mode, preset)}
	}
	return nil
}

func (m *Manager) downward(p *payload, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, preset *int32, podIPs []string) error {
	var errs []error
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = downward.Field(pod, item.FieldRef.FieldPath, podIPs, m.Node())
		case item.ResourceFieldRef != nil:
			text, err = downward.Resource(pod, nil, item.ResourceFieldRef, m.Node())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.files[item.Path] = File{Data: []byte(text), Mode: mode(item.Mode, preset)}
	}
	return errors.Join(errs...)
}

// defaultTokenSeconds is for projections that do not say how long a token is
// to live.
const defaultTokenSeconds = 3600

func (m *Manager) token(ctx context.Context, p *payload, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection, preset *int32) error {
	seconds := int64(defaultTokenSeconds)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	t, err := m.Tokens.For(ctx, pod, s.Audience, seconds)
	if err != nil {
		return err
	}
	f := File{Data: []byte(t.Value), Mode: mode(nil, preset), User: commonUser(pod)}
	if f.User != nil || fsGroup(pod) != nil {
		// The owner, and the group that ownership gives it, are enough.
		f.Mode = 0o600
	}
	p.files[s.Path] = f
	p.expire(t.Renew)
	return nil
}

// commonUser is the user all containers of a pod run as, or nil when they are
// not all told to run as the same.
func commonUser(pod *corev1.Pod) *int64 {
	var common *int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var user *int64
			if s := pod.Spec.SecurityContext; s != nil {
				user = s.RunAsUser
			}
			if s := list[i].SecurityContext; s != nil && s.RunAsUser != nil {
				user = s.RunAsUser
			}
			if user == nil || common != nil && *common != *user {
				return nil
			}
			common = user
		}
	}
	return common
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}
