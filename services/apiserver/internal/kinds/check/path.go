package check

import (
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const wrongFileMode = "must be a number between 0 and 0777 (octal), both inclusive"

// NoBacksteps refuses a path with an element "..".
func NoBacksteps(p *field.Path, target string) field.ErrorList {
	if !slices.Contains(strings.Split(target, "/"), "..") {
		return nil
	}
	return field.ErrorList{field.Invalid(p, target, "must not contain '..'")}
}

// Descending requires a relative path that does not leave its base.
func Descending(p *field.Path, target string) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(target) {
		errs = append(errs, field.Invalid(p, target, "must be a relative path"))
	}
	return append(errs, NoBacksteps(p, target)...)
}

// NotReserved is Descending for files of volumes that the kubelet writes,
// which keeps names beginning with ".." for itself.
func NotReserved(p *field.Path, target string) field.ErrorList {
	errs := Descending(p, target)
	if strings.HasPrefix(target, "..") && !strings.HasPrefix(target, "../") {
		errs = append(errs, field.Invalid(p, target, "must not start with '..'"))
	}
	return errs
}

// FileMode checks permission bits, if given.
func FileMode(p *field.Path, mode *int32) field.ErrorList {
	if mode == nil || (*mode >= 0 && *mode <= 0o777) {
		return nil
	}
	return field.ErrorList{field.Invalid(p, *mode, wrongFileMode)}
}

// FileUser checks the owner of a file, if given. The field is behind a gate that is
// off; it is left only in volumes that are refused anyhow.
func FileUser(p *field.Path, user *int64) field.ErrorList {
	if user == nil {
		return nil
	}
	return All(p, *user, validation.IsValidUserID(*user))
}
