package app

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/registry"
)

// ReadAdmissionConfiguration reads the file of --admission-control-config-file
// and those it names.
func ReadAdmissionConfiguration(path string) (map[string][]byte, error) {
	return admission.ReadConfiguration(path)
}

func (f *Flags) plugins(cfg *Config) (err error) {
	cfg.AdmissionConfiguration, err = ReadAdmissionConfiguration(f.admission)
	return err
}

// chargeQuota stores what the ResourceQuota plugin has used of a quota, unless
// somebody else wrote the quota since it was read.
func (s *server) chargeQuota(ctx context.Context, q *corev1.ResourceQuota) error {
	k := kinds.For[*corev1.ResourceQuota]()
	change := func(current kinds.Object) (kinds.Object, error) {
		if current.GetResourceVersion() != q.ResourceVersion {
			return nil, apierrors.NewConflict(k.GroupResource(), q.Name, errors.New("the quota was written meanwhile"))
		}
		current.(*corev1.ResourceQuota).Status = *q.Status.DeepCopy()
		return current, nil
	}
	_, _, err := s.registry.Update(auth.WithUser(ctx, loopback), k, q.Namespace, q.Name, "status", change, registry.UpdateOptions{})
	return err
}

// createNamespace makes a namespace on behalf of NamespaceAutoProvision.
func (s *server) createNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := s.registry.Create(auth.WithUser(ctx, loopback), kinds.For[*corev1.Namespace](), "", ns, registry.WriteOptions{})
	return err
}
