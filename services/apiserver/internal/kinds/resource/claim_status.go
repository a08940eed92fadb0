package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/kinds/declared"
)

// device names a device, or one share of it.
type device struct {
	Driver, Pool, Device, ShareID string
}

// String is how upstream shows it.
func (d device) String() string {
	if d.ShareID == "" {
		return d.Driver + "/" + d.Pool + "/" + d.Device
	}
	return d.Driver + "/" + d.Pool + "/" + d.Device + "/" + d.ShareID
}

func statusDevice(s *resourcev1.AllocatedDeviceStatus) device {
	return device{s.Driver, s.Pool, s.Device, ptr.Deref(s.ShareID, "")}
}

func resultDevice(r *resourcev1.DeviceRequestAllocationResult) device {
	return device{r.Driver, r.Pool, r.Device, string(ptr.Deref(r.ShareID, types.UID("")))}
}

func allocated(a *resourcev1.AllocationResult) []device {
	var all []device
	if a != nil {
		for i := range a.Devices.Results {
			all = append(all, resultDevice(&a.Devices.Results[i]))
		}
	}
	return all
}

// prepareStatus drops what is behind gates that are off, and what was said of
// devices that are no longer allocated.
func prepareStatus(c, old *resourcev1.ResourceClaim) {
	now := allocated(c.Status.Allocation)
	before := allocated(old.Status.Allocation)
	if a := c.Status.Allocation; a != nil {
		for i := range a.Devices.Results {
			a.Devices.Results[i].SkipNodeOperations = nil
		}
	}
	c.Status.Devices = slices.DeleteFunc(c.Status.Devices, func(s resourcev1.AllocatedDeviceStatus) bool {
		d := statusDevice(&s)
		return slices.Contains(before, d) && !slices.Contains(now, d)
	})
	if len(c.Status.Devices) == 0 {
		c.Status.Devices = nil
	}
}

func validateClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	path, status := field.NewPath("status"), &c.Status
	names := requestsOf(&c.Spec.Devices)
	errs := unique(path.Child("reservedFor"), status.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, true,
		func(r *resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID },
		func(path *field.Path, r *resourcev1.ResourceClaimConsumerReference) field.ErrorList {
			return check.Set(path, "resource", r.Resource, "name", r.Name, "uid", string(r.UID))
		})
	known := allocated(status.Allocation)
	errs = append(errs, unique(path.Child("devices"), status.Devices, -1, true, statusDevice,
		func(path *field.Path, s *resourcev1.AllocatedDeviceStatus) field.ErrorList {
			return validateDeviceStatus(path, s, known)
		})...)
	errs = append(errs, validateReservations(path.Child("reservedFor"), c, old)...)
	at := path.Child("allocation")
	switch {
	case old.Status.Allocation != nil && status.Allocation != nil:
		if !equality.Semantic.DeepEqual(old.Status.Allocation, status.Allocation) {
			errs = append(errs, field.Invalid(at, check.Internal(status.Allocation), check.Immutable).WithOrigin("update").MarkCoveredByDeclarative())
		}
	case status.Allocation != nil:
		errs = append(errs, validateAllocation(at, status.Allocation, names)...)
	}
	return check.WithDeclared(errs, declared.Update(path, status, &old.Status))
}

func validateReservations(path *field.Path, c, old *resourcev1.ResourceClaim) field.ErrorList {
	if len(c.Status.ReservedFor) == 0 {
		return nil
	}
	if c.Status.Allocation == nil {
		return field.ErrorList{field.Forbidden(path, "may not be specified when `allocated` is not set")}
	}
	if c.DeletionTimestamp == nil {
		return nil
	}
	for _, consumer := range c.Status.ReservedFor {
		if !slices.Contains(old.Status.ReservedFor, consumer) {
			return field.ErrorList{field.Forbidden(path, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")}
		}
	}
	return nil
}

func validateDeviceStatus(path *field.Path, s *resourcev1.AllocatedDeviceStatus, known []device) field.ErrorList {
	errs := validateDriver(path.Child("driver"), s.Driver, false)
	errs = append(errs, validatePoolName(path.Child("pool"), s.Pool)...)
	errs = append(errs, label(path.Child("device"), s.Device)...)
	if s.ShareID != nil {
		errs = append(errs, covered(validateUUID(path.Child("shareID"), *s.ShareID))...)
	}
	if d := statusDevice(s); !slices.Contains(known, d) {
		errs = append(errs, field.Invalid(path, d, "must be an allocated device in the claim"))
	}
	const mostConditions = 8
	if n := len(s.Conditions); n > mostConditions {
		errs = append(errs, field.TooMany(path.Child("conditions"), n, mostConditions))
	}
	errs = append(errs, metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
	if s.Data != nil && len(s.Data.Raw) > 0 {
		errs = append(errs, validateRaw(path.Child("data"), *s.Data, false, resourcev1.OpaqueParametersMaxLength)...)
	}
	if n := s.NetworkData; n != nil {
		at := path.Child("networkData")
		const mostAddresses = 16
		errs = append(errs, unique(at.Child("ips"), n.IPs, mostAddresses, true, itself,
			func(path *field.Path, ip *string) field.ErrorList {
				return validation.IsValidInterfaceAddress(path, *ip)
			})...)
	}
	return errs
}

func validateUUID(path *field.Path, uid string) field.ErrorList {
	const form = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
	var errs field.ErrorList
	if err := uuid.Validate(uid); err != nil {
		errs = append(errs, field.Invalid(path, uid, fmt.Sprintf("error validating uid: %v", err)))
	} else if len(uid) != 36 || uid != strings.ToLower(uid) {
		errs = append(errs, field.Invalid(path, uid, form))
	}
	return errs.WithOrigin("format=k8s-uuid")
}

func validateAllocation(path *field.Path, a *resourcev1.AllocationResult, names requests) field.ErrorList {
	devices := path.Child("devices")
	errs := each(devices.Child("results"), a.Devices.Results, resourcev1.AllocationResultsMaxSize, true,
		func(path *field.Path, r *resourcev1.DeviceRequestAllocationResult) field.ErrorList {
			errs := names.reference(path.Child("request"), &r.Request)
			errs = append(errs, validateDriver(path.Child("driver"), r.Driver, true)...)
			errs = append(errs, covered(validatePoolName(path.Child("pool"), r.Pool))...)
			errs = append(errs, label(path.Child("device"), r.Device)...)
			errs = append(errs, validateBinding(path, r.BindingConditions, r.BindingFailureConditions)...)
			errs = append(errs, validateTolerations(path.Child("tolerations"), r.Tolerations)...)
			if r.ShareID != nil {
				errs = append(errs, covered(validateUUID(path.Child("shareID"), string(*r.ShareID)))...)
			}
			return errs
		})
	errs = append(errs, each(devices.Child("config"), a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, true,
		func(path *field.Path, c *resourcev1.DeviceAllocationConfiguration) field.ErrorList {
			errs := covered(check.RequiredOneOf(path.Child("source"), c.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass))
			errs = append(errs, names.references(path.Child("requests"), c.Requests)...)
			return append(errs, validateConfiguration(path, &c.DeviceConfiguration, false)...)
		})...)
	if a.NodeSelector != nil {
		errs = append(errs, core.ValidateNodeSelector(path.Child("nodeSelector"), a.NodeSelector)...)
	}
	return errs
}

// validateBinding checks the conditions that a pod waits for before it is bound.
func validateBinding(path *field.Path, conditions, failures []string) field.ErrorList {
	at, failed := path.Child("bindingConditions"), path.Child("bindingFailureConditions")
	name := func(path *field.Path, name *string) field.ErrorList {
		return metavalidation.ValidateLabelName(*name, path)
	}
	errs := each(at, conditions, resourcev1.BindingConditionsMaxSize, true, name)
	errs = append(errs, each(failed, failures, resourcev1.BindingFailureConditionsMaxSize, true, name)...)
	errs = append(errs, repeated(at, conditions, false, itself)...)
	for i, c := range failures {
		if slices.Contains(failures[:i], c) {
			errs = append(errs, field.Duplicate(failed.Index(i), c))
		}
		if slices.Contains(conditions, c) {
			errs = append(errs, field.Invalid(failed.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	if len(conditions) == 0 && len(failures) > 0 {
		errs = append(errs, field.Invalid(at, conditions, "bindingConditions are required to use bindingFailureConditions"))
	}
	if len(failures) == 0 && len(conditions) > 0 {
		errs = append(errs, field.Invalid(failed, failures, "bindingFailureConditions are required to use bindingConditions"))
	}
	return errs
}
