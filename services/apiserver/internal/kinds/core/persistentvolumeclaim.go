package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	betaStorageClass       = corev1.BetaStorageClassAnnotation
	storageClassDeprecated = `deprecated since v1.8; use "storageClassName" attribute instead`
)

// PersistentVolumeClaim is the behaviour of core/v1 PersistentVolumeClaim.
func PersistentVolumeClaim() strategy.Kind[*corev1.PersistentVolumeClaim] {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return strategy.Kind[*corev1.PersistentVolumeClaim]{
		Default:       DefaultClaim,
		PrepareCreate: prepareClaim,
		PrepareUpdate: prepareClaimUpdate,
		ValidateCreate: func(c *corev1.PersistentVolumeClaim) field.ErrorList {
			return validateClaimSpec(specPath, &c.Spec, claimAllowances{})
		},
		ValidateUpdate: validateClaimUpdate,
		Status: &strategy.Sub[*corev1.PersistentVolumeClaim]{
			PrepareUpdate: func(c, old *corev1.PersistentVolumeClaim) {
				c.Spec = old.Spec
				c.Status.HealthStatus = nil
			},
			ValidateUpdate: func(c, _ *corev1.PersistentVolumeClaim) field.ErrorList { return validateClaimStatus(c) },
		},
		Reread: func(c *corev1.PersistentVolumeClaim) bool {
			missing := c.Status.Phase == ""
			setIfEmpty(&c.Status.Phase, corev1.ClaimPending)
			return missing
		},
		Warnings:                 claimWarnings,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Status", status["phase"]),
			cells.Text("Volume", spec["volumeName"]),
			cells.Text("Capacity", status["capacity"]),
			cells.Text("Access Modes", status["accessModes"]),
			cells.Text("StorageClass", "StorageClass of the pvc"),
			cells.Text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
			cells.Age(),
			cells.Wide(cells.Text("VolumeMode", spec["volumeMode"])),
		),
		Cells: claimCells,
	}
}

// DefaultClaim fills in a claim or a workload's template of one.
func DefaultClaim(c *corev1.PersistentVolumeClaim) {
	defaultClaimSpec(&c.Spec)
	setIfEmpty(&c.Status.Phase, corev1.ClaimPending)
	roundUp(c.Status.Capacity)
	roundUp(c.Status.AllocatedResources)
}

func defaultClaimSpec(spec *corev1.PersistentVolumeClaimSpec) {
	roundUp(spec.Resources.Limits)
	roundUp(spec.Resources.Requests)
	if spec.VolumeMode == nil {
		spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
}

func prepareClaim(c *corev1.PersistentVolumeClaim) {
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	dropDataSources(&c.Spec, nil)
	alignDataSources(&c.Spec)
}

func prepareClaimUpdate(c, old *corev1.PersistentVolumeClaim) {
	c.Status = old.Status
	dropDataSources(&c.Spec, &old.Spec)
	alignDataSources(&c.Spec)
	// Objects from before there were two fields would else seem to change.
	alignDataSources(&old.Spec)
}

// dropDataSources ignores sources as they were always ignored: ones of kinds
// that the first field does not take, and ones in other namespaces, whose
// feature is off.
func dropDataSources(spec, old *corev1.PersistentVolumeClaimSpec) {
	if ref := spec.DataSourceRef; ref != nil && ptr.Deref(ref.Namespace, "") != "" && (old == nil || old.DataSourceRef == nil) {
		spec.DataSourceRef = nil
	}
	if spec.DataSourceRef != nil || (old != nil && (old.DataSource != nil || old.DataSourceRef != nil)) || spec.DataSource == nil {
		return
	}
	group, kind := ptr.Deref(spec.DataSource.APIGroup, ""), spec.DataSource.Kind
	claim := group == "" && kind == "PersistentVolumeClaim"
	snapshot := group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot"
	if !claim && !snapshot {
		spec.DataSource = nil
	}
}

// alignDataSources makes the two fields for a claim's source say the same.
func alignDataSources(spec *corev1.PersistentVolumeClaimSpec) {
	source, ref := spec.DataSource, spec.DataSourceRef
	switch {
	case source != nil && ref == nil:
		spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: source.APIGroup, Kind: source.Kind, Name: source.Name}
	case source == nil && ref != nil && ptr.Deref(ref.Namespace, "") == "":
		spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

// claimAllowances are what the update of a claim is forgiven.
type claimAllowances struct {
	selectorValues bool
	dataSource     bool
}

// ValidateNewClaimSpec checks the spec of a claim that is yet to be created.
func ValidateNewClaimSpec(p *field.Path, spec *corev1.PersistentVolumeClaimSpec) field.ErrorList {
	return validateClaimSpec(p, spec, claimAllowances{})
}

func validateClaimSpec(p *field.Path, spec *corev1.PersistentVolumeClaimSpec, allow claimAllowances) field.ErrorList {
	var errs field.ErrorList
	if len(spec.AccessModes) == 0 {
		errs = append(errs, field.Required(p.Child("accessModes"), "at least 1 access mode is required"))
	}
	if spec.Selector != nil {
		errs = append(errs, check.Selector(p.Child("selector"), spec.Selector, allow.selectorValues)...)
	}
	errs = append(errs, validateAccessModes(p.Child("accessModes"), spec.AccessModes)...)
	at := p.Child("resources").Key(string(corev1.ResourceStorage))
	if storage, set := spec.Resources.Requests[corev1.ResourceStorage]; !set {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, check.QuantityPositive(at, storage)...)
	}
	if class := ptr.Deref(spec.StorageClassName, ""); class != "" {
		errs = append(errs, check.Name(p.Child("storageClassName"), class, apivalidation.NameIsDNSSubdomain)...)
	}
	if spec.VolumeMode != nil {
		errs = append(errs, check.OneOf(p.Child("volumeMode"), *spec.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	}
	errs = append(errs, validateDataSources(p, spec, allow)...)
	if class := ptr.Deref(spec.VolumeAttributesClassName, ""); class != "" {
		errs = append(errs, check.Name(p.Child("volumeAttributesClassName"), class, apivalidation.NameIsDNSSubdomain)...)
	}
	return errs
}

func validateAccessModes(p *field.Path, modes []corev1.PersistentVolumeAccessMode) field.ErrorList {
	var errs field.ErrorList
	exclusive, others := false, false
	for _, mode := range modes {
		wrong := check.OneOf(p, mode, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		errs = append(errs, wrong...)
		if mode == corev1.ReadWriteOncePod {
			exclusive = true
		} else if len(wrong) == 0 {
			others = true
		}
	}
	if exclusive && others {
		errs = append(errs, field.Forbidden(p, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

func validateDataSources(p *field.Path, spec *corev1.PersistentVolumeClaimSpec, allow claimAllowances) field.ErrorList {
	var errs field.ErrorList
	source, ref := spec.DataSource, spec.DataSourceRef
	if source != nil {
		errs = append(errs, validateDataSource(p.Child("dataSource"), ptr.Deref(source.APIGroup, ""), source.Kind, source.Name, allow)...)
	}
	namespace := ""
	if ref != nil {
		namespace = ptr.Deref(ref.Namespace, "")
		errs = append(errs, validateDataSource(p.Child("dataSourceRef"), ptr.Deref(ref.APIGroup, ""), ref.Kind, ref.Name, allow)...)
		if namespace != "" {
			errs = append(errs, check.Name(p.Child("dataSourceRef", "namespace"), namespace, apivalidation.ValidateNamespaceName)...)
		}
	}
	if source == nil || ref == nil {
		return errs
	}
	same := ptr.Equal(source.APIGroup, ref.APIGroup) && source.Kind == ref.Kind && source.Name == ref.Name
	switch shown := p.Child("dataSource"); {
	case namespace != "":
		errs = append(errs, field.Invalid(p, shown, "may not be specified when dataSourceRef.namespace is specified"))
	case !same:
		errs = append(errs, field.Invalid(p, shown, "must match dataSourceRef"))
	}
	return errs
}

func validateDataSource(p *field.Path, group, kind, name string, allow claimAllowances) field.ErrorList {
	errs := check.Set(p, "name", name, "kind", kind)
	if group == "" {
		if kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(p, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
		return errs
	}
	if allow.dataSource {
		return errs
	}
	return append(errs, check.All(p.Child("apiGroup"), group, validation.IsDNS1123Subdomain(group))...)
}

func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	allow := claimAllowances{
		selectorValues: len(check.Selector(nil, old.Spec.Selector, false)) > 0,
		dataSource: (old.Spec.DataSource != nil && old.Spec.DataSource.APIGroup != nil) ||
			(old.Spec.DataSourceRef != nil && old.Spec.DataSourceRef.APIGroup != nil),
	}
	errs := validateClaimSpec(specPath, &c.Spec, allow)
	is, was := c.DeepCopy(), old.DeepCopy()
	if old.Spec.VolumeName == "" {
		was.Spec.VolumeName = is.Spec.VolumeName
	}
	errs = append(errs, revertStorageClass(is, was)...)
	if c.Status.Phase == corev1.ClaimBound {
		if is.Spec.Resources.Requests != nil {
			is.Spec.Resources.Requests[corev1.ResourceStorage] = old.Spec.Resources.Requests[corev1.ResourceStorage]
		}
		is.Spec.VolumeAttributesClassName = was.Spec.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(is.Spec, was.Spec) {
		errs = append(errs, field.Forbidden(specPath, fmt.Sprintf(
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", check.Diff(was.Spec, is.Spec))))
	}
	before, after, actual := old.Spec.Resources.Requests[corev1.ResourceStorage], c.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	if after.Cmp(before) < 0 && after.Cmp(actual) <= 0 {
		errs = append(errs, field.Forbidden(specPath.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	errs = append(errs, check.Unchanged(field.NewPath("volumeMode"), c.Spec.VolumeMode, old.Spec.VolumeMode)...)
	return append(errs, validateAttributesClassKept(c, old)...)
}

// revertStorageClass lets a class be named where none was, and be moved from
// the annotation to the field; is and was are copies to be compared.
func revertStorageClass(is, was *corev1.PersistentVolumeClaim) field.ErrorList {
	former, annotated := was.Annotations[betaStorageClass]
	now, still := is.Annotations[betaStorageClass]
	class := is.Spec.StorageClassName
	fresh := was.Spec.StorageClassName == nil && class != nil
	if annotated && fresh && *class == former && (!still || now == former) {
		is.Spec.StorageClassName = nil
		return nil
	}
	var errs field.ErrorList
	if now != former {
		errs = append(errs, field.Invalid(metadataPath.Child("annotations", betaStorageClass), now, check.Immutable))
	}
	if fresh && (!annotated || *class == former) {
		is.Spec.StorageClassName = was.Spec.StorageClassName
	}
	return errs
}

func validateAttributesClassKept(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	is, was := c.Spec.VolumeAttributesClassName, old.Spec.VolumeAttributesClassName
	if ptr.Equal(is, was) || old.Status.CurrentVolumeAttributesClassName == nil {
		return nil
	}
	at := specPath.Child("volumeAttributesClassName")
	switch {
	case is == nil:
		return field.ErrorList{field.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")}
	case *is == "":
		return field.ErrorList{field.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")}
	}
	return nil
}

func validateClaimStatus(c *corev1.PersistentVolumeClaim) field.ErrorList {
	var errs field.ErrorList
	if len(c.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(field.NewPath("Spec", "accessModes"), ""))
	}
	errs = append(errs, validateSizes(statusPath.Child("capacity"), c.Status.Capacity)...)
	at := statusPath.Child("allocatedResourceStatuses")
	for _, name := range sortedKeys(c.Status.AllocatedResourceStatuses) {
		errs = append(errs, validateClaimResource(at, name)...)
		switch c.Status.AllocatedResourceStatuses[name] {
		case corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
			corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible:
		default:
			errs = append(errs, field.NotSupported(at, name, []corev1.ClaimResourceStatus{
				corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
				corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
			}))
		}
	}
	at = statusPath.Child("allocatedResources")
	for _, name := range sortedKeys(c.Status.AllocatedResources) {
		wrong := validateClaimResource(at, name)
		if len(wrong) == 0 {
			wrong = validateSizes(at, corev1.ResourceList{name: c.Status.AllocatedResources[name]})
		}
		errs = append(errs, wrong...)
	}
	return errs
}

func validateSizes(p *field.Path, list corev1.ResourceList) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		if quantity := list[name]; quantity.Value() < 0 {
			errs = append(errs, field.Invalid(p.Key(string(name)), quantity.Value(), "must be a valid resource quantity"))
		}
	}
	return errs
}

func validateClaimResource(p *field.Path, name corev1.ResourceName) field.ErrorList {
	errs := check.QualifiedName(p, string(name))
	if len(errs) == 0 && isNative(name) {
		return check.OneOf(p, name, corev1.ResourceStorage)
	}
	return errs
}

func claimWarnings(c, _ *corev1.PersistentVolumeClaim) []string {
	var warnings []string
	if _, set := c.Annotations[betaStorageClass]; set {
		warnings = append(warnings, fmt.Sprintf("%s: %s", metadataPath.Child("annotations").Key(betaStorageClass), storageClassDeprecated))
	}
	return append(warnings, ClaimSpecWarnings(specPath, &c.Spec)...)
}

// ClaimSpecWarnings are for a claim or a template of one.
func ClaimSpecWarnings(p *field.Path, spec *corev1.PersistentVolumeClaimSpec) []string {
	var warnings []string
	for _, list := range []struct {
		child string
		list  corev1.ResourceList
	}{{"requests", spec.Resources.Requests}, {"limits", spec.Resources.Limits}} {
		if quantity := list.list[corev1.ResourceStorage]; quantity.MilliValue()%1000 != 0 {
			warnings = append(warnings, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				p.Child("resources", list.child).Key(string(corev1.ResourceStorage)), quantity.String()))
		}
	}
	return warnings
}

func claimCells(c *corev1.PersistentVolumeClaim) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	capacity, modes := "", ""
	if c.Spec.VolumeName != "" {
		quantity := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = quantity.String(), cells.AccessModes(c.Status.AccessModes)
	}
	class, annotated := c.Annotations[betaStorageClass]
	if !annotated {
		class = ptr.Deref(c.Spec.StorageClassName, "")
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, class,
		cells.Ptr(c.Spec.VolumeAttributesClassName, "<unset>"), cells.AgeOf(c), cells.Ptr(c.Spec.VolumeMode, "<unset>"),
	}
}
