package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// byStorageClass follows a storage class's name in the resources of its claims.
const byStorageClass = ".storageclass.storage.k8s.io/"

var (
	volumeClaimCount = CountName(schema.GroupResource{Resource: "persistentvolumeclaims"})
	volumeClaimNames = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
)

// volumeClaims is charged for storage, of any class and of its own.
var volumeClaims = &Evaluator{
	Resource: schema.GroupResource{Resource: "persistentvolumeclaims"},
	Names: func(hard []corev1.ResourceName, _ World) []corev1.ResourceName {
		return slices.DeleteFunc(slices.Clone(hard), func(name corev1.ResourceName) bool {
			if _, rest, ok := cutLast(string(name), byStorageClass); ok {
				name = corev1.ResourceName(rest)
			}
			return name != volumeClaimCount && !slices.Contains(volumeClaimNames, name)
		})
	},
	Charged: func(c Change, _ World) bool {
		if c.Subresource != "status" {
			return c.Subresource == ""
		}
		is, ok := c.Object.(*corev1.PersistentVolumeClaim)
		was, ok2 := c.Old.(*corev1.PersistentVolumeClaim)
		return ok && ok2 && ClaimChanged(was, is)
	},
	Usage: func(o Object, _ World) corev1.ResourceList {
		c, ok := o.(*corev1.PersistentVolumeClaim)
		if !ok {
			return nil
		}
		return claimUsage(c)
	},
	InScope: func(r Requirement, o Object) bool {
		c, ok := o.(*corev1.PersistentVolumeClaim)
		return ok && r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && chosen(r, attributesClasses(c)...)
	},
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func claimUsage(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
	out := corev1.ResourceList{volumeClaimCount: number(1)}
	charge := func(name corev1.ResourceName, x resource.Quantity) {
		out[name] = x
		if class := storageClass(c); class != "" {
			out[corev1.ResourceName(class+byStorageClass)+name] = x
		}
	}
	charge(corev1.ResourcePersistentVolumeClaims, number(1))
	if x, ok := storage(c); ok {
		charge(corev1.ResourceRequestsStorage, x)
	}
	return out
}

// storage is what a claim asks for, or has been given if that is more, as
// after an expansion that failed and was taken back. Bytes are counted whole.
func storage(c *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	x, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return x, false
	}
	if given, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(x) > 0 {
		x = given
	}
	x = x.DeepCopy()
	x.RoundUp(0)
	return x, true
}

// storageClass is a claim's class; the annotation is what it was once.
func storageClass(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	return ptr.Deref(c.Spec.StorageClassName, "")
}

// attributesClasses are the VolumeAttributesClasses that a claim has, had or
// is about to have.
func attributesClasses(c *corev1.PersistentVolumeClaim) []string {
	out := []string{ptr.Deref(c.Spec.VolumeAttributesClassName, ""), ptr.Deref(c.Status.CurrentVolumeAttributesClassName, "")}
	if m := c.Status.ModifyVolumeStatus; m != nil {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == "" })
}

// ClaimChanged tells whether a claim's status changed in what quotas look at.
func ClaimChanged(was, is *corev1.PersistentVolumeClaim) bool {
	a, b := was.Status.AllocatedResources[corev1.ResourceStorage], is.Status.AllocatedResources[corev1.ResourceStorage]
	return a.Cmp(b) != 0 || !slices.Equal(attributesClasses(was), attributesClasses(is))
}
