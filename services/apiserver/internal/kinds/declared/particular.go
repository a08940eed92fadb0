package declared

import (
	"context"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// formats are the rules for texts by the name that tags give them.
var formats = map[string]validate.ValidateFunc[*string]{
	"k8s-short-name":                    validate.ShortName[string],
	"k8s-long-name":                     validate.LongName[string],
	"k8s-long-name-caseless":            validate.LongNameCaseless[string],
	"k8s-label-key":                     validate.LabelKey[string],
	"k8s-label-value":                   validate.LabelValue[string],
	"k8s-path-segment-name":             validate.PathSegmentName[string],
	"k8s-uuid":                          validate.UUID[string],
	"k8s-resource-pool-name":            validate.ResourcePoolName[string],
	"k8s-extended-resource-name":        validate.ExtendedResourceName[string],
	"k8s-resource-fully-qualified-name": validate.ResourceFullyQualifiedName[string],
}

// particular applies a field's own rules.
func particular(path *field.Path, v reflect.Value, tags []string) field.ErrorList {
	var errs field.ErrorList
	for _, tag := range tags {
		rule, arg, _ := strings.Cut(tag, "=")
		n, _ := strconv.Atoi(arg)
		ctx, op := context.Background(), operation.Operation{}
		switch rule {
		case "format":
			text := v.String()
			errs = append(errs, formats[arg](ctx, op, path, &text, nil)...)
		case "maxLength":
			text := v.String()
			errs = append(errs, validate.MaxLength(ctx, op, path, &text, nil, n)...)
		case "maxBytes":
			text := v.String()
			errs = append(errs, validate.MaxBytes(ctx, op, path, &text, nil, n)...)
		case "unique", "listType":
			errs = append(errs, duplicates(path, v, matcher(tags))...)
		case "eachKey":
			for _, key := range sortedKeys(v) {
				text := key.String()
				errs = append(errs, formats[strings.TrimPrefix(arg, "format=")](ctx, op, path, &text, nil)...)
			}
		case "eachVal":
			for i := range v.Len() {
				text := v.Index(i).String()
				errs = append(errs, formats[strings.TrimPrefix(arg, "format=")](ctx, op, path.Index(i), &text, nil)...)
			}
		}
	}
	return errs
}

// matcher tells which elements of a list are the same one; nil if any two may be.
func matcher(tags []string) func(a, b reflect.Value) bool {
	var keys []string
	set := false
	for _, tag := range tags {
		if key, ok := strings.CutPrefix(tag, "listMapKey="); ok {
			keys = append(keys, key)
		}
		set = set || tag == "unique=set" || tag == "listType=set"
	}
	switch {
	case len(keys) > 0:
		return func(a, b reflect.Value) bool {
			for _, key := range keys {
				if !equality.Semantic.DeepEqual(member(a, key), member(b, key)) {
					return false
				}
			}
			return true
		}
	case set:
		return func(a, b reflect.Value) bool { return a.Interface() == b.Interface() }
	}
	return nil
}

// member is a field by its name in JSON.
func member(v reflect.Value, name string) any {
	for i := range v.NumField() {
		if json, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); json == name {
			return v.Field(i).Interface()
		}
	}
	return nil
}

func duplicates(path *field.Path, v reflect.Value, same func(a, b reflect.Value) bool) field.ErrorList {
	var errs field.ErrorList
	for i := range v.Len() {
		for k := range i {
			if same(v.Index(k), v.Index(i)) {
				errs = append(errs, field.Duplicate(path.Index(i), v.Index(i).Interface()))
				break
			}
		}
	}
	return errs
}

// union wants one of the fields that are tagged as its members.
func union(path *field.Path, v, old reflect.Value, own map[string][]string) field.ErrorList {
	var all, set []string
	changed := !old.IsValid()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !isMember(own[f.Name]) {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, "`"+name+"`")
		if !v.Field(i).IsZero() {
			set = append(set, name)
		}
		changed = changed || old.Field(i).IsZero() != v.Field(i).IsZero()
	}
	switch {
	case len(all) == 0, !changed, len(set) == 1:
		return nil
	case len(set) == 0:
		return field.ErrorList{field.Invalid(path, "", "must specify one of: "+strings.Join(all, ", ")).WithOrigin("union")}
	}
	return field.ErrorList{field.Invalid(path, "{"+strings.Join(set, ", ")+"}", "must specify exactly one of: "+strings.Join(all, ", ")).WithOrigin("union")}
}

func isMember(tags []string) bool {
	for _, tag := range tags {
		if tag == "unionMember" {
			return true
		}
	}
	return false
}
