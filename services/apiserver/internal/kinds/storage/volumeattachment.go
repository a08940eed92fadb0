package storage

import (
	"math"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	maxAttacher         = 63
	maxErrorMessage     = 1024
	maxAttachmentMeta   = 256 << 10
	exactlyOneOfSources = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
)

// VolumeAttachment is the behaviour of storage.k8s.io/v1 VolumeAttachment.
func VolumeAttachment() strategy.Kind[*storagev1.VolumeAttachment] {
	spec := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	attacher := cells.Text("Attacher", spec["attacher"])
	attacher.Format = "name"
	return strategy.Kind[*storagev1.VolumeAttachment]{
		Default: func(a *storagev1.VolumeAttachment) {
			if a.Spec.Source.InlineVolumeSpec != nil {
				core.DefaultPersistentVolumeSpec(a.Spec.Source.InlineVolumeSpec)
			}
		},
		PrepareCreate: func(a *storagev1.VolumeAttachment) { a.Status = storagev1.VolumeAttachmentStatus{} },
		PrepareUpdate: func(a, old *storagev1.VolumeAttachment) { a.Status = old.Status },
		ValidateCreate: func(a *storagev1.VolumeAttachment) field.ErrorList {
			return append(validateAttachment(a), validateAttacher(specPath.Child("attacher"), a.Spec.Attacher)...)
		},
		ValidateUpdate: func(a, old *storagev1.VolumeAttachment) field.ErrorList {
			errs := validateChangedAttacher(specPath.Child("attacher"), a.Spec.Attacher)
			errs = append(errs, validateAttachment(a)...)
			return append(errs, check.Fixed(specPath, a.Spec, old.Spec)...)
		},
		Status: &strategy.Sub[*storagev1.VolumeAttachment]{
			PrepareUpdate: func(a, old *storagev1.VolumeAttachment) {
				a.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&a.ObjectMeta, &old.ObjectMeta)
			},
			ValidateUpdate: func(a, _ *storagev1.VolumeAttachment) field.ErrorList { return validateAttachment(a) },
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"metadata", "spec"}},
		Columns: cells.Columns(
			cells.Name(), attacher,
			cells.Text("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"]),
			cells.Text("Node", spec["nodeName"]),
			cells.Bool("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"]),
			cells.Age(),
		),
		Cells: func(a *storagev1.VolumeAttachment) []any {
			return []any{
				a.Name, a.Spec.Attacher, cells.Ptr(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName, a.Status.Attached, cells.AgeOf(a),
			}
		},
	}
}

func validateAttacher(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	errs := check.All(p, name, content.IsDNS1123SubdomainCaseless(name))
	if len(name) > maxAttacher {
		errs = append(errs, field.TooLong(p, "", maxAttacher))
	}
	return errs
}

// validateChangedAttacher is validateAttacher in an update, where upstream's older
// rules count.
func validateChangedAttacher(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	if len(name) > maxAttacher {
		errs = append(errs, field.TooLong(p, "", maxAttacher))
	}
	return append(errs, check.All(p, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	errs := validateSource(specPath.Child("source"), &a.Spec.Source)
	errs = append(errs, check.Name(specPath.Child("nodeName"), a.Spec.NodeName, apivalidation.NameIsDNSSubdomain)...)
	status, size := field.NewPath("status"), 0
	for key, value := range a.Status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxAttachmentMeta {
		errs = append(errs, field.TooLong(status.Child("attachmentMetadata"), "", maxAttachmentMeta))
	}
	errs = append(errs, validateVolumeError(status.Child("attachError"), a.Status.AttachError)...)
	errs = append(errs, validateVolumeError(status.Child("detachError"), a.Status.DetachError)...)
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		errs = append(errs, check.Name(field.NewPath("spec.source.persistentVolumeName"), *name, apivalidation.NameIsDNSSubdomain)...)
	}
	return errs
}

func validateSource(p *field.Path, source *storagev1.VolumeAttachmentSource) field.ErrorList {
	switch inline, name := source.InlineVolumeSpec, source.PersistentVolumeName; {
	case inline == nil && name == nil:
		return field.ErrorList{field.Required(p, exactlyOneOfSources)}
	case inline != nil && name != nil:
		return field.ErrorList{field.Forbidden(p, exactlyOneOfSources)}
	case inline != nil:
		return core.ValidatePersistentVolumeSpec(p.Child("inlineVolumeSpec"), inline, "", true, false)
	case *name == "":
		return field.ErrorList{field.Required(p.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")}
	}
	return nil
}

func validateVolumeError(p *field.Path, e *storagev1.VolumeError) field.ErrorList {
	if e == nil {
		return nil
	}
	var errs field.ErrorList
	if len(e.Message) > maxErrorMessage {
		errs = append(errs, field.TooLong(p.Child("message"), "", maxErrorMessage))
	}
	if e.ErrorCode != nil && *e.ErrorCode < 0 {
		errs = append(errs, field.Invalid(p.Child("errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, math.MaxInt32)))
	}
	return errs
}
