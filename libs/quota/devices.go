package quota

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	perClass  = corev1.ResourceClaimsPerClass
	ofClass   = corev1.ResourceImplicitExtendedClaimsPerClass
	generated = resourcev1.ExtendedResourceClaimAnnotation
)

var deviceClaimCount = CountName(schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"})

// deviceClaims is charged for devices by their class. A class that stands for
// an extended resource is charged as requests of that, too.
var deviceClaims = &Evaluator{
	Resource: schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"},
	Charged:  func(c Change, _ World) bool { return c.Subresource == "" },
	Names: func(hard []corev1.ResourceName, w World) []corev1.ResourceName {
		var out []corev1.ResourceName
		for _, name := range hard {
			if isDeviceName(name, w) {
				out = append(out, name)
			}
		}
		return out
	},
	Usage: func(o Object, w World) corev1.ResourceList {
		c, ok := o.(*resourcev1.ResourceClaim)
		if !ok {
			return nil
		}
		out := devices(c)
		paid := w.podOf(c)
		for name, x := range extended(out, w) {
			if already, ok := paid[name]; ok {
				x.Sub(already)
			}
			if x.Sign() > 0 {
				out[name] = x
			}
		}
		out[deviceClaimCount] = number(1)
		return out
	},
}

func isDeviceName(name corev1.ResourceName, w World) bool {
	if name == deviceClaimCount || strings.HasSuffix(string(name), perClass) {
		return true
	}
	if class, ok := strings.CutPrefix(string(name), ofClass); ok && w.extendedName(class) != "" {
		return true
	}
	if !isExtendedRequest(name) {
		return false
	}
	for _, class := range w.classes() {
		if standsFor(class, string(unprefixed(name))) {
			return true
		}
	}
	return false
}

// devices are what a claim may take of each class, in the worst case.
func devices(c *resourcev1.ResourceClaim) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, r := range c.Spec.Devices.Requests {
		switch {
		case len(r.FirstAvailable) > 0:
			// One of these is used: of each class the most that one takes.
			most := map[string]int64{}
			for _, sub := range r.FirstAvailable {
				most[sub.DeviceClassName] = max(most[sub.DeviceClassName], deviceCount(sub.AllocationMode, sub.Count))
			}
			for class, n := range most {
				if n > 0 {
					addDevices(out, class, n)
				}
			}
		case r.Exactly != nil:
			addDevices(out, r.Exactly.DeviceClassName, deviceCount(r.Exactly.AllocationMode, r.Exactly.Count))
		}
	}
	return out
}

func addDevices(to corev1.ResourceList, class string, n int64) {
	x := to[corev1.ResourceName(class+perClass)]
	x.Add(number(int(n)))
	to[corev1.ResourceName(class+perClass)] = x
}

func deviceCount(mode resourcev1.DeviceAllocationMode, count int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return count
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0
}

// extended is devices under the names that pods may ask for them by.
func extended(devices corev1.ResourceList, w World) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, x := range devices {
		class := strings.TrimSuffix(string(name), perClass)
		if class == "" {
			continue
		}
		out[corev1.ResourceName(ofClass+class)] = x.DeepCopy()
		if resource := w.extendedName(class); resource != "" {
			out[corev1.ResourceName(requestPrefix+resource)] = x.DeepCopy()
		}
	}
	return out
}

func (w World) classes() []*resourcev1.DeviceClass {
	if w.DeviceClasses == nil {
		return nil
	}
	return w.DeviceClasses()
}

// extendedName is the extended resource that a class stands for: that of its
// spec, or the one every class has.
func (w World) extendedName(class string) string {
	for _, c := range w.classes() {
		if c.Name == class && c.Spec.ExtendedResourceName != nil {
			return *c.Spec.ExtendedResourceName
		}
	}
	return ""
}

func standsFor(c *resourcev1.DeviceClass, resource string) bool {
	return resource == resourcev1.ResourceDeviceClassPrefix+c.Name || c.Spec.ExtendedResourceName != nil && *c.Spec.ExtendedResourceName == resource
}

// podOf is the usage of the pod for whose extended resources a claim was made:
// what the pod pays for the claim need not pay again.
func (w World) podOf(c *resourcev1.ResourceClaim) corev1.ResourceList {
	ref := metav1.GetControllerOfNoCopy(c)
	if c.Annotations[generated] != "true" || ref == nil || ref.Kind != "Pod" || ref.APIVersion != "v1" || w.Pod == nil {
		return nil
	}
	p := w.Pod(c.Namespace, ref.Name)
	if p == nil || p.UID != ref.UID {
		return nil
	}
	if s := p.Status.ExtendedResourceClaimStatus; s != nil {
		if s.ResourceClaimName != c.Name {
			return nil
		}
		return podUsage(p, w.Now)
	}
	if w.ResourceClaims != nil {
		for _, other := range w.ResourceClaims(c.Namespace) {
			if other.Name != c.Name && older(other, c) && sameOwner(other, ref) {
				return nil
			}
		}
	}
	return podUsage(p, w.Now)
}

func sameOwner(c *resourcev1.ResourceClaim, ref *metav1.OwnerReference) bool {
	r := metav1.GetControllerOfNoCopy(c)
	return c.Annotations[generated] == "true" && r != nil && r.UID == ref.UID
}

func older(a, b *resourcev1.ResourceClaim) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}
