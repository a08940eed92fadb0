package kinds

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// rows is the table, in the order of upstream's discovery.
func rows() []*Kind {
	return []*Kind{
		row[corev1.Binding, none]("", "v1", "bindings", createOnly),
		row[corev1.ComponentStatus, corev1.ComponentStatusList]("", "v1", "componentstatuses", cluster, short("cs"), unstored, verbs("get", "list")),
		row[corev1.ConfigMap, corev1.ConfigMapList]("", "v1", "configmaps", short("cm")),
		row[corev1.Endpoints, corev1.EndpointsList]("", "v1", "endpoints", singular("endpoints"), short("ep"), prefix("services/endpoints")),
		row[corev1.Event, corev1.EventList]("", "v1", "events", short("ev")),
		row[corev1.LimitRange, corev1.LimitRangeList]("", "v1", "limitranges", short("limits")),
		row[corev1.Namespace, corev1.NamespaceList]("", "v1", "namespaces", cluster, short("ns"), sub("finalize", "status"),
			verbs("create", "delete", "get", "list", "patch", "update", "watch")),
		row[corev1.Node, corev1.NodeList]("", "v1", "nodes", cluster, short("no"), prefix("minions"), sub("proxy", "status")),
		row[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList]("", "v1", "persistentvolumeclaims", short("pvc"), sub("status")),
		row[corev1.PersistentVolume, corev1.PersistentVolumeList]("", "v1", "persistentvolumes", cluster, short("pv"), sub("status")),
		row[corev1.Pod, corev1.PodList]("", "v1", "pods", short("po"), all,
			sub("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status")),
		row[corev1.PodTemplate, corev1.PodTemplateList]("", "v1", "podtemplates"),
		row[corev1.ReplicationController, corev1.ReplicationControllerList]("", "v1", "replicationcontrollers", short("rc"), all, prefix("controllers"), sub("scale", "status")),
		row[corev1.ResourceQuota, corev1.ResourceQuotaList]("", "v1", "resourcequotas", short("quota"), sub("status")),
		row[corev1.Secret, corev1.SecretList]("", "v1", "secrets"),
		row[corev1.ServiceAccount, corev1.ServiceAccountList]("", "v1", "serviceaccounts", short("sa"), sub("token")),
		row[corev1.Service, corev1.ServiceList]("", "v1", "services", short("svc"), all, prefix("services/specs"), sub("proxy", "status")),

		row[admissionregistrationv1.MutatingAdmissionPolicy, admissionregistrationv1.MutatingAdmissionPolicyList]("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", cluster, extensions),
		row[admissionregistrationv1.MutatingAdmissionPolicyBinding, admissionregistrationv1.MutatingAdmissionPolicyBindingList]("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", cluster, extensions),
		row[admissionregistrationv1.MutatingWebhookConfiguration, admissionregistrationv1.MutatingWebhookConfigurationList]("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", cluster, extensions),
		row[admissionregistrationv1.ValidatingAdmissionPolicy, admissionregistrationv1.ValidatingAdmissionPolicyList]("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", cluster, extensions, sub("status")),
		row[admissionregistrationv1.ValidatingAdmissionPolicyBinding, admissionregistrationv1.ValidatingAdmissionPolicyBindingList]("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", cluster, extensions),
		row[admissionregistrationv1.ValidatingWebhookConfiguration, admissionregistrationv1.ValidatingWebhookConfigurationList]("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", cluster, extensions),

		row[apiextensionsv1.CustomResourceDefinition, apiextensionsv1.CustomResourceDefinitionList]("apiextensions.k8s.io", "v1", "customresourcedefinitions", cluster, extensions, short("crd", "crds"), sub("status"), prefix("apiextensions.k8s.io/customresourcedefinitions")),
		row[apiregistrationv1.APIService, apiregistrationv1.APIServiceList]("apiregistration.k8s.io", "v1", "apiservices", cluster, extensions, sub("status"), prefix("apiregistration.k8s.io/apiservices")),

		row[appsv1.ControllerRevision, appsv1.ControllerRevisionList]("apps", "v1", "controllerrevisions"),
		row[appsv1.DaemonSet, appsv1.DaemonSetList]("apps", "v1", "daemonsets", short("ds"), all, sub("status")),
		row[appsv1.Deployment, appsv1.DeploymentList]("apps", "v1", "deployments", short("deploy"), all, sub("scale", "status")),
		row[appsv1.ReplicaSet, appsv1.ReplicaSetList]("apps", "v1", "replicasets", short("rs"), all, sub("scale", "status")),
		row[appsv1.StatefulSet, appsv1.StatefulSetList]("apps", "v1", "statefulsets", short("sts"), all, sub("scale", "status"), complete(claimTemplates)),

		row[authenticationv1.SelfSubjectReview, none]("authentication.k8s.io", "v1", "selfsubjectreviews", cluster, createOnly),
		row[authenticationv1.TokenReview, none]("authentication.k8s.io", "v1", "tokenreviews", cluster, createOnly),

		row[authorizationv1.LocalSubjectAccessReview, none]("authorization.k8s.io", "v1", "localsubjectaccessreviews", createOnly),
		row[authorizationv1.SelfSubjectAccessReview, none]("authorization.k8s.io", "v1", "selfsubjectaccessreviews", cluster, createOnly),
		row[authorizationv1.SelfSubjectRulesReview, none]("authorization.k8s.io", "v1", "selfsubjectrulesreviews", cluster, createOnly),
		row[authorizationv1.SubjectAccessReview, none]("authorization.k8s.io", "v1", "subjectaccessreviews", cluster, createOnly),

		row[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList]("autoscaling", "v2", "horizontalpodautoscalers", short("hpa"), all, sub("status")),
		row[autoscalingv1.HorizontalPodAutoscaler, autoscalingv1.HorizontalPodAutoscalerList]("autoscaling", "v1", "horizontalpodautoscalers", short("hpa"), all, sub("status")),

		row[batchv1.CronJob, batchv1.CronJobList]("batch", "v1", "cronjobs", short("cj"), all, sub("status")),
		row[batchv1.Job, batchv1.JobList]("batch", "v1", "jobs", all, sub("status")),

		row[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList]("certificates.k8s.io", "v1", "certificatesigningrequests", cluster, short("csr"), sub("approval", "status")),
		row[certificatesv1.ClusterTrustBundle, certificatesv1.ClusterTrustBundleList]("certificates.k8s.io", "v1", "clustertrustbundles", cluster, storedIn("v1beta1")),
		row[certificatesv1.PodCertificateRequest, certificatesv1.PodCertificateRequestList]("certificates.k8s.io", "v1", "podcertificaterequests", sub("status"), storedIn("v1beta1")),

		row[coordinationv1.Lease, coordinationv1.LeaseList]("coordination.k8s.io", "v1", "leases"),
		row[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList]("discovery.k8s.io", "v1", "endpointslices"),
		row[eventsv1.Event, eventsv1.EventList]("events.k8s.io", "v1", "events", short("ev")),

		row[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList]("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", cluster, sub("status")),
		row[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList]("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", cluster, sub("status")),

		row[networkingv1.IngressClass, networkingv1.IngressClassList]("networking.k8s.io", "v1", "ingressclasses", cluster),
		row[networkingv1.Ingress, networkingv1.IngressList]("networking.k8s.io", "v1", "ingresses", short("ing"), prefix("ingress"), sub("status")),
		row[networkingv1.IPAddress, networkingv1.IPAddressList]("networking.k8s.io", "v1", "ipaddresses", cluster, short("ip")),
		row[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList]("networking.k8s.io", "v1", "networkpolicies", short("netpol")),
		row[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList]("networking.k8s.io", "v1", "servicecidrs", cluster, sub("status")),

		row[nodev1.RuntimeClass, nodev1.RuntimeClassList]("node.k8s.io", "v1", "runtimeclasses", cluster),
		row[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList]("policy", "v1", "poddisruptionbudgets", short("pdb"), sub("status")),

		row[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList]("rbac.authorization.k8s.io", "v1", "clusterrolebindings", cluster),
		row[rbacv1.ClusterRole, rbacv1.ClusterRoleList]("rbac.authorization.k8s.io", "v1", "clusterroles", cluster),
		row[rbacv1.RoleBinding, rbacv1.RoleBindingList]("rbac.authorization.k8s.io", "v1", "rolebindings"),
		row[rbacv1.Role, rbacv1.RoleList]("rbac.authorization.k8s.io", "v1", "roles"),

		row[resourcev1.DeviceClass, resourcev1.DeviceClassList]("resource.k8s.io", "v1", "deviceclasses", cluster),
		row[resourcev1.DeviceTaintRule, resourcev1.DeviceTaintRuleList]("resource.k8s.io", "v1", "devicetaintrules", cluster, sub("status"), storedIn("v1beta2")),
		row[resourcev1.ResourceClaim, resourcev1.ResourceClaimList]("resource.k8s.io", "v1", "resourceclaims", sub("status")),
		row[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList]("resource.k8s.io", "v1", "resourceclaimtemplates"),
		row[resourcev1.ResourceSlice, resourcev1.ResourceSliceList]("resource.k8s.io", "v1", "resourceslices", cluster),

		row[schedulingv1.PriorityClass, schedulingv1.PriorityClassList]("scheduling.k8s.io", "v1", "priorityclasses", cluster, short("pc")),

		row[storagev1.CSIDriver, storagev1.CSIDriverList]("storage.k8s.io", "v1", "csidrivers", cluster),
		row[storagev1.CSINode, storagev1.CSINodeList]("storage.k8s.io", "v1", "csinodes", cluster, sub("status")),
		row[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList]("storage.k8s.io", "v1", "csistoragecapacities"),
		row[storagev1.StorageClass, storagev1.StorageClassList]("storage.k8s.io", "v1", "storageclasses", cluster, short("sc")),
		row[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList]("storage.k8s.io", "v1", "volumeattachments", cluster, sub("status")),
		row[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList]("storage.k8s.io", "v1", "volumeattributesclasses", cluster, short("vac")),
		row[storagemigrationv1.StorageVersionMigration, storagemigrationv1.StorageVersionMigrationList]("storagemigration.k8s.io", "v1", "storageversionmigrations", cluster, sub("status"), storedIn("v1beta1")),
	}
}

// aliases names the kinds that show another kind's stored objects.
var aliases = map[[2]string][2]string{
	{"events.k8s.io/v1", "Event"}:                 {"v1", "Event"},
	{"autoscaling/v1", "HorizontalPodAutoscaler"}: {"autoscaling/v2", "HorizontalPodAutoscaler"},
}
