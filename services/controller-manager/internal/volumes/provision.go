package volumes

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/storage/volume"

	"coracle.local/services/controller-manager/internal/plan"
)

// migrated is the CSI drivers that took over from what was in Kubernetes.
var migrated = map[string]string{
	"kubernetes.io/aws-ebs":         "ebs.csi.aws.com",
	"kubernetes.io/gce-pd":          "pd.csi.storage.gke.io",
	"kubernetes.io/cinder":          "cinder.csi.openstack.org",
	"kubernetes.io/azure-disk":      "disk.csi.azure.com",
	"kubernetes.io/azure-file":      "file.csi.azure.com",
	"kubernetes.io/vsphere-volume":  "csi.vsphere.vmware.com",
	"kubernetes.io/portworx-volume": "pxd.portworx.com",
}

// provision leaves the making of a volume to somebody else, by the name that
// the class says. There is nobody here who makes volumes.
func (s claimState) provision() plan.Plan {
	class := s.class()
	if class == nil {
		missing := apierrors.NewNotFound(storagev1.Resource("storageclass"), helpers.GetPersistentVolumeClaimClass(s.Claim))
		return s.unprovisioned(missing.Error())
	}
	driver, ok := migrated[class.Provisioner]
	switch {
	case ok:
	case class.Provisioner == "kubernetes.io/host-path":
		return s.unprovisioned("Failed to create provisioner: provisioning in volume plugin \"kubernetes.io/host-path\" is disabled")
	case strings.HasPrefix(class.Provisioner, "kubernetes.io/"):
		return s.unprovisioned("no volume plugin matched name: " + class.Provisioner)
	default:
		driver = class.Provisioner
	}
	told := event(s.Claim, corev1.EventTypeNormal, externalProvisioning, fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
		"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", driver))
	p := plan.Plan{After: s.Resync}
	if s.Claim.Annotations[helpers.AnnStorageProvisioner] != driver {
		c := s.Claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, helpers.AnnBetaStorageProvisioner, driver)
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, helpers.AnnStorageProvisioner, driver)
		p.Add(plan.Update{Object: c})
	}
	p.Add(told)
	return p
}

func (s claimState) unprovisioned(message string) plan.Plan {
	return plan.Plan{Do: []plan.Action{event(s.Claim, corev1.EventTypeWarning, provisioningFailed, message)}, After: s.Resync}
}
