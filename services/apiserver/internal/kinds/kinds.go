// Package kinds puts the behaviour of every kind together.
package kinds

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/kinds/admissionregistration"
	"coracle.local/services/apiserver/internal/kinds/apiextensions"
	"coracle.local/services/apiserver/internal/kinds/apiregistration"
	"coracle.local/services/apiserver/internal/kinds/apps"
	"coracle.local/services/apiserver/internal/kinds/autoscaling"
	"coracle.local/services/apiserver/internal/kinds/batch"
	"coracle.local/services/apiserver/internal/kinds/certificates"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/coordination"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/kinds/discovery"
	"coracle.local/services/apiserver/internal/kinds/events"
	"coracle.local/services/apiserver/internal/kinds/flowcontrol"
	"coracle.local/services/apiserver/internal/kinds/networking"
	"coracle.local/services/apiserver/internal/kinds/node"
	"coracle.local/services/apiserver/internal/kinds/policy"
	"coracle.local/services/apiserver/internal/kinds/rbac"
	"coracle.local/services/apiserver/internal/kinds/resource"
	"coracle.local/services/apiserver/internal/kinds/scheduling"
	"coracle.local/services/apiserver/internal/kinds/storage"
	"coracle.local/services/apiserver/internal/kinds/storagemigration"
	"coracle.local/services/apiserver/internal/strategy"
)

// Strategies returns the behaviour of every kind of the table, in a cluster of
// IPv4 addresses. It does no I/O; the result is the caller's.
func Strategies() map[*kinds.Kind]*strategy.Erased { return StrategiesOf(core.Families{}) }

// StrategiesOf is Strategies in a cluster of other address families.
func StrategiesOf(f core.Families) map[*kinds.Kind]*strategy.Erased {
	s := set{}
	addCore(s)
	add(s, core.Service(f))
	addExtensions(s)
	addWorkloads(s)
	addNetwork(s)
	addAccess(s)
	addCluster(s)
	addStorage(s)
	for _, k := range kinds.All() {
		if s[k] == nil {
			s[k] = strategy.Shallow(k)
		}
		if !anyFinalizer(k) {
			checkFinalizers(s[k])
		}
	}
	return s
}

type set map[*kinds.Kind]*strategy.Erased

func add[T kinds.Object](s set, k strategy.Kind[T]) { s[kinds.For[T]()] = k.Erase() }

func addCore(s set) {
	add(s, core.Binding())
	add(s, core.ComponentStatus())
	add(s, core.ConfigMap())
	add(s, core.Endpoints())
	add(s, core.Event())
	add(s, core.LimitRange())
	add(s, core.Namespace())
	add(s, core.Node())
	add(s, core.PersistentVolume())
	add(s, core.PersistentVolumeClaim())
	add(s, core.Pod())
	add(s, core.PodTemplate())
	add(s, core.ReplicationController())
	add(s, core.ResourceQuota())
	add(s, core.Secret())
	add(s, core.ServiceAccount())
}

func addExtensions(s set) {
	add(s, admissionregistration.MutatingAdmissionPolicy())
	add(s, admissionregistration.MutatingAdmissionPolicyBinding())
	add(s, admissionregistration.MutatingWebhookConfiguration())
	add(s, admissionregistration.ValidatingAdmissionPolicy())
	add(s, admissionregistration.ValidatingAdmissionPolicyBinding())
	add(s, admissionregistration.ValidatingWebhookConfiguration())
	add(s, apiextensions.CustomResourceDefinition())
	add(s, apiregistration.APIService())
}

func addWorkloads(s set) {
	add(s, apps.ControllerRevision())
	add(s, apps.DaemonSet())
	add(s, apps.Deployment())
	add(s, apps.ReplicaSet())
	add(s, apps.StatefulSet())
	add(s, autoscaling.HorizontalPodAutoscaler())
	add(s, autoscaling.HorizontalPodAutoscalerV1())
	add(s, batch.CronJob())
	add(s, batch.Job())
	add(s, policy.PodDisruptionBudget())
	add(s, scheduling.PriorityClass())
}

func addNetwork(s set) {
	add(s, discovery.EndpointSlice())
	add(s, networking.Ingress())
	add(s, networking.IngressClass())
	add(s, networking.IPAddress())
	add(s, networking.NetworkPolicy())
	add(s, networking.ServiceCIDR())
}

func addAccess(s set) {
	add(s, certificates.CertificateSigningRequest())
	add(s, certificates.ClusterTrustBundle())
	add(s, certificates.PodCertificateRequest())
	add(s, rbac.ClusterRole())
	add(s, rbac.ClusterRoleBinding())
	add(s, rbac.Role())
	add(s, rbac.RoleBinding())
}

func addCluster(s set) {
	add(s, coordination.Lease())
	add(s, events.Event())
	add(s, flowcontrol.FlowSchema())
	add(s, flowcontrol.PriorityLevelConfiguration())
	add(s, node.RuntimeClass())
}

func addStorage(s set) {
	add(s, resource.DeviceClass())
	add(s, resource.DeviceTaintRule())
	add(s, resource.Claim())
	add(s, resource.ClaimTemplate())
	add(s, resource.Slice())
	add(s, storage.CSIDriver())
	add(s, storage.CSINode())
	add(s, storage.CSIStorageCapacity())
	add(s, storage.Class())
	add(s, storage.VolumeAttachment())
	add(s, storage.VolumeAttributesClass())
	add(s, storagemigration.StorageVersionMigration())
}

// anyFinalizer tells for which kinds upstream lets finalizers be without a domain.
func anyFinalizer(k *kinds.Kind) bool {
	switch k.Group {
	case "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io":
		return true
	}
	switch k.Kind {
	case "Event", "Lease", "PodDisruptionBudget", "RuntimeClass":
		return true
	}
	return false
}

// checkFinalizers adds the one rule for metadata that upstream has for its
// own kinds and not for custom resources, nor for what other servers of its
// chain serve.
func checkFinalizers(k *strategy.Erased) {
	create, update := k.ValidateCreate, k.ValidateUpdate
	if !k.MetadataLast { // else the kind checks its metadata itself
		k.ValidateCreate = func(obj kinds.Object) field.ErrorList {
			errs := check.Finalizers(obj)
			if create != nil {
				errs = append(errs, create(obj)...)
			}
			return errs
		}
	}
	k.ValidateUpdate = withFinalizers(update)
	if k.Status != nil {
		k.Status.ValidateUpdate = withFinalizers(k.Status.ValidateUpdate)
	}
	for _, sub := range k.Subresources {
		sub.ValidateUpdate = withFinalizers(sub.ValidateUpdate)
	}
}

func withFinalizers(validate func(obj, old kinds.Object) field.ErrorList) func(obj, old kinds.Object) field.ErrorList {
	return func(obj, old kinds.Object) field.ErrorList {
		errs := check.Finalizers(obj)
		if validate != nil {
			errs = append(errs, validate(obj, old)...)
		}
		return errs
	}
}
