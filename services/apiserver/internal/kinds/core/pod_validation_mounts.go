package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

func (c *podContext) validateMounts(p *field.Path, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	paths := sets.Set[string]{}
	for i := range ctr.VolumeMounts {
		mount, at := &ctr.VolumeMounts[i], p.Index(i)
		if mount.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if c.volumes[mount.Name] == nil {
			errs = append(errs, field.NotFound(at.Child("name"), mount.Name))
		}
		if mount.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if paths.Has(mount.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), mount.MountPath, "must be unique"))
		}
		paths.Insert(mount.MountPath)
		if slices.ContainsFunc(ctr.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == mount.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), mount.Name, "must not already exist in volumeDevices"))
		}
		if slices.ContainsFunc(ctr.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == mount.MountPath }) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), mount.MountPath, "must not already exist as a path in volumeDevices"))
		}
		errs = append(errs, validateMountOptions(p, at, mount, ctr)...)
	}
	return errs
}

// validateMountOptions gives most errors the path of the list, p, instead of
// that of the mount, at: so does upstream, and clients may look for it.
func validateMountOptions(p, at *field.Path, mount *corev1.VolumeMount, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	if mount.SubPath != "" {
		errs = append(errs, check.Descending(p.Child("subPath"), mount.SubPath)...)
	}
	if mount.SubPathExpr != "" {
		if mount.SubPath != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), mount.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, check.Descending(p.Child("subPathExpr"), mount.SubPathExpr)...)
	}
	if propagation := mount.MountPropagation; propagation != nil {
		errs = append(errs, check.OneOf(p.Child("mountPropagation"), *propagation,
			corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		privileged := ctr.SecurityContext != nil && ctr.SecurityContext.Privileged != nil && *ctr.SecurityContext.Privileged
		if *propagation == corev1.MountPropagationBidirectional && !privileged {
			errs = append(errs, field.Forbidden(p.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	return append(errs, validateRecursiveReadOnly(p.Child("recursiveReadOnly"), mount)...)
}

func validateRecursiveReadOnly(p *field.Path, mount *corev1.VolumeMount) field.ErrorList {
	if mount.RecursiveReadOnly == nil {
		return nil
	}
	errs := check.OneOf(p, *mount.RecursiveReadOnly,
		corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	if len(errs) > 0 || *mount.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return errs
	}
	if !mount.ReadOnly {
		errs = append(errs, field.Forbidden(p, "may only be specified when readOnly is true"))
	}
	if mount.MountPropagation != nil && *mount.MountPropagation != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(p, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

func (c *podContext) validateDevices(p *field.Path, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	names, paths := sets.Set[string]{}, sets.Set[string]{}
	for i, device := range ctr.VolumeDevices {
		at := p.Index(i)
		source := c.volumes[device.Name]
		if device.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if names.Has(device.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), device.Name, "must be unique"))
		}
		switch {
		case source == nil:
			errs = append(errs, field.NotFound(at.Child("name"), device.Name))
		case source.PersistentVolumeClaim == nil && source.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), device.Name,
				"can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		if device.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		}
		if paths.Has(device.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), device.DevicePath, "must be unique"))
		}
		if len(check.NoBacksteps(at, device.DevicePath)) > 0 {
			errs = append(errs, field.Invalid(at.Child("devicePath"), device.DevicePath, "can not contain backsteps ('..')"))
		} else {
			paths.Insert(device.DevicePath)
		}
		if slices.ContainsFunc(ctr.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == device.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), device.Name, "must not already exist in volumeMounts"))
		}
		if slices.ContainsFunc(ctr.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == device.DevicePath }) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), device.DevicePath, "must not already exist as a path in volumeMounts"))
		}
		if device.Name != "" {
			names.Insert(device.Name)
		}
	}
	return errs
}
