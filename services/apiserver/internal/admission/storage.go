package admission

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// newest returns of the objects with the annotation the one that was created
// last; of several at once, the first by name.
func newest[T kinds.Object](objects []T, annotations ...string) (T, bool) {
	marked := slices.DeleteFunc(objects, func(o T) bool {
		return !slices.ContainsFunc(annotations, func(key string) bool { return o.GetAnnotations()[key] == "true" })
	})
	if len(marked) == 0 {
		var zero T
		return zero, false
	}
	return slices.MinFunc(marked, func(x, y T) int {
		if byTime := y.GetCreationTimestamp().Compare(x.GetCreationTimestamp().Time); byTime != 0 {
			return byTime
		}
		return strings.Compare(x.GetName(), y.GetName())
	}), true
}

// defaultStorageClass gives a claim that names no class the default one.
type defaultStorageClass struct{ reader Reader }

func (p *defaultStorageClass) Admit(_ context.Context, a *Attributes) error {
	claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok || a.Operation != Create || a.Subresource != "" {
		return nil
	}
	if _, named := claim.Annotations[corev1.BetaStorageClassAnnotation]; named || claim.Spec.StorageClassName != nil {
		return nil
	}
	class, ok := newest(auth.List[*storagev1.StorageClass](p.reader, ""),
		"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
	if ok {
		claim.Spec.StorageClassName = &class.Name
	}
	return nil
}

// defaultIngressClass gives an ingress that names no class the default one.
type defaultIngressClass struct{ reader Reader }

func (p *defaultIngressClass) Admit(_ context.Context, a *Attributes) error {
	ingress, ok := a.Object.(*networkingv1.Ingress)
	if !ok || a.Operation != Create || a.Subresource != "" {
		return nil
	}
	if _, named := ingress.Annotations["kubernetes.io/ingress.class"]; named || ingress.Spec.IngressClassName != nil {
		return nil
	}
	class, ok := newest(auth.List[*networkingv1.IngressClass](p.reader, ""), networkingv1.AnnotationIsDefaultIngressClass)
	if ok {
		ingress.Spec.IngressClassName = &class.Name
	}
	return nil
}

// storageProtection marks storage objects so that they are not removed while
// somebody uses them; controllers take the marks away.
type storageProtection struct{}

func (storageProtection) Admit(_ context.Context, a *Attributes) error {
	if a.Operation != Create || a.Subresource != "" {
		return nil
	}
	var meta *metav1.ObjectMeta
	finalizer := ""
	switch o := a.Object.(type) {
	case *corev1.PersistentVolume:
		meta, finalizer = &o.ObjectMeta, "kubernetes.io/pv-protection"
	case *corev1.PersistentVolumeClaim:
		meta, finalizer = &o.ObjectMeta, "kubernetes.io/pvc-protection"
	case *storagev1.VolumeAttributesClass:
		meta, finalizer = &o.ObjectMeta, "kubernetes.io/vac-protection"
	default:
		return nil
	}
	if !slices.Contains(meta.Finalizers, finalizer) {
		meta.Finalizers = append(meta.Finalizers, finalizer)
	}
	return nil
}

// claimResize lets a claim grow only if its class can do that.
type claimResize struct{ lookup lookup }

func (p *claimResize) Validate(_ context.Context, a *Attributes) error {
	claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok || a.Operation != Update || a.Subresource != "" {
		return nil
	}
	old, ok := a.Old.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil
	}
	size, before := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(before) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return forbidden(a, errors.New("Only bound persistent volume claims can be expanded"))
	}
	name := storageClassOf(claim)
	if name != "" && name == storageClassOf(old) {
		class, err := cached[*storagev1.StorageClass](p.lookup, "", name)
		if err == nil && class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion {
			return nil
		}
	}
	return forbidden(a, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}

func storageClassOf(claim *corev1.PersistentVolumeClaim) string {
	if class, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}
