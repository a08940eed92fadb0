package core

import (
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	resourcehelper "k8s.io/component-helpers/resource"

	"coracle.local/services/apiserver/internal/kinds/check"
)

func diffOf(old, changed any) string { return check.Diff(old, changed) }

// DropDisabledTemplateFields is dropDisabledFields for a template.
func DropDisabledTemplateFields(template *corev1.PodTemplateSpec) {
	dropDisabledFields(&template.Spec)
	dropInitAnnotations(template.Annotations)
}

// dropDisabledFields clears the fields of features that upstream has off by
// default in this version, so that nobody believes they have an effect.
func dropDisabledFields(spec *corev1.PodSpec) {
	spec.SchedulingGroup = nil
	spec.EvictionResponders = nil
	for i := range spec.Volumes {
		dropVolumeFields(&spec.Volumes[i])
	}
	for ctr := range containers(spec, nil) {
		for i := range ctr.VolumeMounts {
			ctr.VolumeMounts[i].BindMountOptions = nil
		}
		for _, probe := range []*corev1.Probe{ctr.LivenessProbe, ctr.ReadinessProbe, ctr.StartupProbe} {
			if probe != nil && probe.GRPC != nil {
				probe.GRPC.Mode = nil
			}
			if probe != nil && probe.HTTPGet != nil {
				probe.HTTPGet.Protocol = nil
			}
		}
		if hooks := ctr.Lifecycle; hooks != nil {
			for _, hook := range []*corev1.LifecycleHandler{hooks.PostStart, hooks.PreStop} {
				if hook != nil && hook.HTTPGet != nil {
					hook.HTTPGet.Protocol = nil
				}
			}
			if hooks.StopSignal != nil {
				hooks.StopSignal = nil
				if *hooks == (corev1.Lifecycle{}) {
					ctr.Lifecycle = nil
				}
			}
		}
	}
}

func dropVolumeFields(volume *corev1.Volume) {
	if volume.EmptyDir != nil {
		volume.EmptyDir.Mode = nil
	}
	// Of a volume with several sources, which is refused, the first one counts:
	// the refusal shows the rest as it was sent.
	switch {
	case volume.Secret != nil:
		volume.Secret.DefaultUser = nil
		dropUsers(volume.Secret.Items)
	case volume.ConfigMap != nil:
		volume.ConfigMap.DefaultUser = nil
		dropUsers(volume.ConfigMap.Items)
	case volume.DownwardAPI != nil:
		volume.DownwardAPI.DefaultUser = nil
		dropFileUsers(volume.DownwardAPI.Items)
	case volume.Projected != nil:
		volume.Projected.DefaultUser = nil
		for i := range volume.Projected.Sources {
			dropProjectedUsers(&volume.Projected.Sources[i])
		}
	}
}

func dropProjectedUsers(source *corev1.VolumeProjection) {
	switch {
	case source.Secret != nil:
		dropUsers(source.Secret.Items)
	case source.DownwardAPI != nil:
		dropFileUsers(source.DownwardAPI.Items)
	case source.ConfigMap != nil:
		dropUsers(source.ConfigMap.Items)
	case source.ServiceAccountToken != nil:
		source.ServiceAccountToken.User = nil
	case source.ClusterTrustBundle != nil:
		source.ClusterTrustBundle.User = nil
	case source.PodCertificate != nil:
		source.PodCertificate.User = nil
	}
}

func dropUsers(items []corev1.KeyToPath) {
	for i := range items {
		items[i].User = nil
	}
}

func dropFileUsers(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		files[i].User = nil
	}
}

// dropInitAnnotations removes what carried init containers before there was a
// field for them.
func dropInitAnnotations(annotations map[string]string) {
	for _, stage := range []string{"alpha", "beta"} {
		delete(annotations, "pod."+stage+".kubernetes.io/init-containers")
		delete(annotations, "pod."+stage+".kubernetes.io/init-container-statuses")
	}
}

// annotatedAppArmor are the containers whose profile stands in an annotation
// alone, with that profile: nil if the annotation says nothing valid. Containers
// that have the profile of their pod anyhow are left out.
func annotatedAppArmor(pod *corev1.Pod) iter.Seq2[*corev1.Container, *corev1.AppArmorProfile] {
	return func(yield func(*corev1.Container, *corev1.AppArmorProfile) bool) {
		if pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows {
			return
		}
		var ofPod *corev1.AppArmorProfile
		if pod.Spec.SecurityContext != nil {
			ofPod = pod.Spec.SecurityContext.AppArmorProfile
		}
		for ctr := range containers(&pod.Spec, nil) {
			annotation, annotated := pod.Annotations[appArmorPrefix+ctr.Name]
			if !annotated || (ctr.SecurityContext != nil && ctr.SecurityContext.AppArmorProfile != nil) {
				continue
			}
			profile := appArmorOf(annotation)
			if profile != nil && len(validateAppArmor(nil, profile)) > 0 {
				profile = nil
			}
			if profile != nil && equality.Semantic.DeepEqual(profile, ofPod) {
				continue
			}
			if !yield(ctr, profile) {
				return
			}
		}
	}
}

// adoptAppArmorAnnotations turns the profiles of a pod's annotations into the
// fields that replaced them, where these are not set.
func adoptAppArmorAnnotations(pod *corev1.Pod) {
	for ctr, profile := range annotatedAppArmor(pod) {
		if profile == nil {
			continue
		}
		if ctr.SecurityContext == nil {
			ctr.SecurityContext = &corev1.SecurityContext{}
		}
		ctr.SecurityContext.AppArmorProfile = profile
	}
}

const appArmorOutdated = `deprecated since v1.30; use the "appArmorProfile" field instead`

// appArmorWarnings tells of the annotations before fields take their place.
func appArmorWarnings(pod *corev1.Pod) []string {
	w := &warner{meta: &pod.ObjectMeta}
	for ctr := range annotatedAppArmor(pod) {
		w.add(w.annotation(appArmorPrefix+ctr.Name), appArmorOutdated)
	}
	return w.warnings
}

// appArmorOf reads an annotation; it returns nil for one that says nothing.
func appArmorOf(annotation string) *corev1.AppArmorProfile {
	switch annotation {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	path, ok := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	if !ok || path == "" {
		return nil
	}
	return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &path}
}

// defaultPodResources completes the resources of a pod as a whole from those
// of its containers, if it has any. Huge pages cannot be overcommitted, so
// their limit comes first and their request from it; limits of the rest come
// last, and only where every container has one.
func defaultPodResources(pod *corev1.Pod) {
	r := pod.Spec.Resources
	if r == nil || (len(r.Requests) == 0 && len(r.Limits) == 0) {
		return
	}
	inner := &corev1.Pod{Spec: corev1.PodSpec{Containers: pod.Spec.Containers, InitContainers: pod.Spec.InitContainers}}
	limits := resourcehelper.AggregateContainerLimits(inner, resourcehelper.PodResourcesOptions{})
	for name, limit := range limits {
		if _, requested := r.Requests[name]; isHugePages(name) && !requested {
			addResource(&r.Limits, name, limit)
		}
	}
	for name, request := range resourcehelper.AggregateContainerRequests(inner, resourcehelper.PodResourcesOptions{}) {
		if resourcehelper.IsSupportedPodLevelResource(name) && mayOvercommit(name) {
			addResource(&r.Requests, name, request)
		}
	}
	for name, limit := range r.Limits {
		if resourcehelper.IsSupportedPodLevelResource(name) {
			addResource(&r.Requests, name, limit.DeepCopy())
		}
	}
	for name, request := range r.Requests {
		limit, limited := limits[name]
		if !limited || !resourcehelper.IsSupportedPodLevelResource(name) || !allLimited(&pod.Spec, name) {
			continue
		}
		if request.Cmp(limit) > 0 {
			limit = request
		}
		addResource(&r.Limits, name, limit.DeepCopy())
	}
}

func allLimited(spec *corev1.PodSpec, name corev1.ResourceName) bool {
	for ctr := range containers(spec, nil) {
		if _, limited := ctr.Resources.Limits[name]; !limited {
			return false
		}
	}
	return true
}

func sameNames(list, old []corev1.Container) bool {
	return slices.EqualFunc(list, old, func(a, b corev1.Container) bool { return a.Name == b.Name })
}
