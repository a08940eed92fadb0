package storage

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	minTokenSeconds  = 600
	maxTokenSeconds  = 1 << 32
	minUpdateSeconds = 10

	tokensInSecretsAdvised = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, " +
		"set to true to prevent possible logging of tokens in volume attributes"
)

var specPath = field.NewPath("spec")

// CSIDriver is the behaviour of storage.k8s.io/v1 CSIDriver.
func CSIDriver() strategy.Kind[*storagev1.CSIDriver] {
	doc := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return strategy.Kind[*storagev1.CSIDriver]{
		Default: defaultDriver,
		PrepareUpdate: func(d, old *storagev1.CSIDriver) {
			strategy.Generation(d, old, !equality.Semantic.DeepEqual(d.Spec, old.Spec))
		},
		ValidateCreate: func(d *storagev1.CSIDriver) field.ErrorList { return validateDriver(&d.Spec) },
		ValidateUpdate: func(d, old *storagev1.CSIDriver) field.ErrorList {
			errs := validateDriver(&d.Spec)
			errs = append(errs, check.Unchanged(specPath.Child("attachedRequired"), d.Spec.AttachRequired, old.Spec.AttachRequired)...)
			return append(errs, check.Unchanged(specPath.Child("volumeLifecycleModes"), d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)...)
		},
		Warnings: func(d, old *storagev1.CSIDriver) []string {
			changed := old == nil || !equality.Semantic.DeepEqual(old.Spec.TokenRequests, d.Spec.TokenRequests)
			if changed && len(d.Spec.TokenRequests) > 0 && d.Spec.ServiceAccountTokenInSecrets == nil {
				return []string{tokensInSecretsAdvised}
			}
			return nil
		},
		Columns: cells.Columns(
			cells.Name(),
			cells.Bool("AttachRequired", doc["attachRequired"]),
			cells.Bool("PodInfoOnMount", doc["podInfoOnMount"]),
			cells.Bool("StorageCapacity", doc["storageCapacity"]),
			cells.Text("TokenRequests", doc["tokenRequests"]),
			cells.Bool("RequiresRepublish", doc["requiresRepublish"]),
			cells.Text("Modes", doc["volumeLifecycleModes"]),
			cells.Age(),
		),
		Cells: driverCells,
	}
}

func defaultDriver(d *storagev1.CSIDriver) {
	spec := &d.Spec
	defaultPointer(&spec.AttachRequired, true)
	defaultPointer(&spec.PodInfoOnMount, false)
	defaultPointer(&spec.StorageCapacity, false)
	defaultPointer(&spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(spec.VolumeLifecycleModes) == 0 {
		spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	defaultPointer(&spec.RequiresRepublish, false)
	defaultPointer(&spec.SELinuxMount, false)
	defaultPointer(&spec.PreventPodSchedulingIfMissing, false)
}

func defaultPointer[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}

func validateDriver(spec *storagev1.CSIDriverSpec) field.ErrorList {
	var errs field.ErrorList
	required := func(child string, value *bool) {
		if value == nil {
			errs = append(errs, field.Required(specPath.Child(child), ""))
		}
	}
	required("attachedRequired", spec.AttachRequired)
	required("podInfoOnMount", spec.PodInfoOnMount)
	required("storageCapacity", spec.StorageCapacity)
	if spec.FSGroupPolicy != nil {
		errs = append(errs, check.OneOf(specPath.Child("fsGroupPolicy"), *spec.FSGroupPolicy,
			storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)...)
	}
	errs = append(errs, validateTokens(specPath.Child("tokenRequests"), spec.TokenRequests)...)
	for _, mode := range spec.VolumeLifecycleModes {
		errs = append(errs, check.OneOf(specPath.Child("volumeLifecycleModes"), mode, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	required("seLinuxMount", spec.SELinuxMount)
	if period := spec.NodeAllocatableUpdatePeriodSeconds; period != nil && *period < minUpdateSeconds {
		errs = append(errs, field.Invalid(specPath.Child("nodeAllocatableUpdatePeriodSeconds"), *period, "must be greater than or equal to 10 seconds"))
	}
	if inSecrets := spec.ServiceAccountTokenInSecrets; inSecrets != nil && len(spec.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(specPath.Child("serviceAccountTokenInSecrets"), *inSecrets,
			"serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	required("preventPodSchedulingIfMissing", spec.PreventPodSchedulingIfMissing)
	return errs
}

func validateTokens(p *field.Path, requests []storagev1.TokenRequest) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, request := range requests {
		if seen[request.Audience] {
			errs = append(errs, field.Duplicate(p.Index(i).Child("audience"), request.Audience))
			continue
		}
		seen[request.Audience] = true
		if seconds, at := request.ExpirationSeconds, p.Index(i).Child("expirationSeconds"); seconds != nil {
			if *seconds < minTokenSeconds {
				errs = append(errs, field.Invalid(at, *seconds, "may not specify a duration less than 10 minutes"))
			}
			if *seconds > maxTokenSeconds {
				errs = append(errs, field.Invalid(at, *seconds, "may not specify a duration larger than 2^32 seconds"))
			}
		}
	}
	return errs
}

func driverCells(d *storagev1.CSIDriver) []any {
	spec := &d.Spec
	tokens := "<unset>"
	if spec.TokenRequests != nil {
		audiences := make([]string, len(spec.TokenRequests))
		for i := range spec.TokenRequests {
			audiences[i] = spec.TokenRequests[i].Audience
		}
		tokens = strings.Join(audiences, ",")
	}
	modes := make([]string, len(spec.VolumeLifecycleModes))
	for i, mode := range spec.VolumeLifecycleModes {
		modes[i] = string(mode)
	}
	return []any{
		d.Name, ptr.Deref(spec.AttachRequired, true), ptr.Deref(spec.PodInfoOnMount, false), ptr.Deref(spec.StorageCapacity, false),
		tokens, ptr.Deref(spec.RequiresRepublish, false), cells.Or(strings.Join(modes, ","), "<none>"), cells.AgeOf(d),
	}
}
