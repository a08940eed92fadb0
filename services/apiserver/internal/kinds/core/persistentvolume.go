package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// PersistentVolume is the behaviour of core/v1 PersistentVolume.
func PersistentVolume() strategy.Kind[*corev1.PersistentVolume] {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return strategy.Kind[*corev1.PersistentVolume]{
		Default: defaultPersistentVolume,
		PrepareCreate: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: ptr.To(metav1.Now())}
		},
		PrepareUpdate:  func(v, old *corev1.PersistentVolume) { v.Status = old.Status },
		ValidateCreate: func(v *corev1.PersistentVolume) field.ErrorList { return validatePersistentVolume(v, false) },
		ValidateUpdate: validatePersistentVolumeUpdate,
		Status: &strategy.Sub[*corev1.PersistentVolume]{
			PrepareUpdate: preparePersistentVolumeStatus,
		},
		Warnings:                 persistentVolumeWarnings,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Capacity", spec["capacity"]),
			cells.Text("Access Modes", spec["accessModes"]),
			cells.Text("Reclaim Policy", spec["persistentVolumeReclaimPolicy"]),
			cells.Text("Status", status["phase"]),
			cells.Text("Claim", spec["claimRef"]),
			cells.Text("StorageClass", "StorageClass of the pv"),
			cells.Text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
			cells.Text("Reason", status["reason"]),
			cells.Age(),
			cells.Wide(cells.Text("VolumeMode", spec["volumeMode"])),
		),
		Cells: persistentVolumeCells,
	}
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	setIfEmpty(&v.Status.Phase, corev1.VolumePending)
	DefaultPersistentVolumeSpec(&v.Spec)
	setIfEmpty(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	if v.Spec.VolumeMode == nil {
		v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
}

// DefaultPersistentVolumeSpec fills in the source of a volume, which a volume
// attachment may hold too.
func DefaultPersistentVolumeSpec(spec *corev1.PersistentVolumeSpec) {
	roundUp(spec.Capacity)
	if spec.HostPath != nil {
		defaultHostPath(spec.HostPath)
	}
	if spec.ISCSI != nil {
		setIfEmpty(&spec.ISCSI.ISCSIInterface, "default")
	}
	if spec.RBD != nil {
		defaultRBD(&spec.RBD.RBDPool, &spec.RBD.RadosUser, &spec.RBD.Keyring)
	}
	if spec.AzureDisk != nil {
		defaultAzureDisk(spec.AzureDisk)
	}
	if spec.ScaleIO != nil {
		setIfEmpty(&spec.ScaleIO.StorageMode, "ThinProvisioned")
		setIfEmpty(&spec.ScaleIO.FSType, "xfs")
	}
}

// preparePersistentVolumeStatus notes when the phase changed, unless the
// client does.
func preparePersistentVolumeStatus(v, old *corev1.PersistentVolume) {
	v.Spec = old.Spec
	is, was := &v.Status, &old.Status
	switch {
	case is.Phase == was.Phase && is.LastPhaseTransitionTime == nil:
		is.LastPhaseTransitionTime = was.LastPhaseTransitionTime
	case is.Phase != was.Phase && (is.LastPhaseTransitionTime == nil || is.LastPhaseTransitionTime.Equal(was.LastPhaseTransitionTime)):
		is.LastPhaseTransitionTime = ptr.To(metav1.Now())
	}
}

func persistentVolumeWarnings(v, _ *corev1.PersistentVolume) []string {
	var warnings []string
	for _, a := range [][2]string{
		{betaStorageClass, storageClassDeprecated},
		{corev1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		if _, set := v.Annotations[a[0]]; set {
			warnings = append(warnings, fmt.Sprintf("%s: %s", metadataPath.Child("annotations").Key(a[0]), a[1]))
		}
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		warnings = append(warnings, fmt.Sprintf("%s: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
			specPath.Child("persistentVolumeReclaimPolicy")))
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		for i := range a.Required.NodeSelectorTerms {
			at := specPath.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i)
			warnings = append(warnings, NodeSelectorTermWarnings(at, &a.Required.NodeSelectorTerms[i], false)...)
		}
	}
	for _, d := range []struct {
		set             bool
		child, obsolete string
	}{
		{v.Spec.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
		{v.Spec.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
		{v.Spec.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
		{v.Spec.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Spec.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		{v.Spec.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
	} {
		if d.set {
			warnings = append(warnings, fmt.Sprintf("%s: %s", specPath.Child(d.child), d.obsolete))
		}
	}
	return warnings
}

func persistentVolumeCells(v *corev1.PersistentVolume) []any {
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	claim := ""
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	class, annotated := v.Annotations[betaStorageClass]
	if !annotated {
		class = v.Spec.StorageClassName
	}
	capacity := v.Spec.Capacity[corev1.ResourceStorage]
	return []any{
		v.Name, capacity.String(), cells.AccessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim, class,
		cells.Ptr(v.Spec.VolumeAttributesClassName, "<unset>"), v.Status.Reason, cells.AgeOf(v), cells.Ptr(v.Spec.VolumeMode, "<unset>"),
	}
}
