// Package declared checks objects by the rules that upstream declares beside its
// types instead of writing them out.
//
//go:generate sh -c "go run ./gen > rules.go.new && mv rules.go.new rules.go"
package declared

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// typeRules are the rules of one type: its values if they are counted, and the
// tags of its fields.
type typeRules struct {
	Enum   []string
	Fields map[string][]string
}

// Create checks a struct, which obj points to, that is new.
func Create(path *field.Path, obj any) field.ErrorList {
	return structure(path, reflect.ValueOf(obj).Elem(), reflect.Value{})
}

// Update checks a struct that was old before. It is silent about what has stayed
// as it was.
func Update(path *field.Path, obj, old any) field.ErrorList {
	return structure(path, reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem())
}

func nameOf(t reflect.Type) string {
	return strings.TrimPrefix(t.PkgPath(), "k8s.io/api/") + "." + t.Name()
}

// concerned tells whether a rule applies to a type or to what is in it.
func concerned(t reflect.Type) bool {
	if known, ok := reached.Load(t); ok {
		return known.(bool)
	}
	reached.Store(t, false) // a type within itself
	found := false
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		found = concerned(t.Elem())
	case reflect.Struct:
		_, found = rules[nameOf(t)]
		for i := 0; i < t.NumField() && !found; i++ {
			found = strings.HasPrefix(t.PkgPath(), "k8s.io/api/") && concerned(t.Field(i).Type)
		}
	case reflect.String:
		found = rules[nameOf(t)].Enum != nil
	}
	reached.Store(t, found)
	return found
}

var reached sync.Map

func structure(path *field.Path, v, old reflect.Value) field.ErrorList {
	t := v.Type()
	own := rules[nameOf(t)].Fields
	errs := union(path, v, old, own)
	for i := range t.NumField() {
		f := t.Field(i)
		tags := own[f.Name]
		if len(tags) == 0 && !concerned(f.Type) {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := path
		if name != "" {
			at = path.Child(name)
		}
		was := reflect.Value{}
		if old.IsValid() {
			was = old.Field(i)
			if equality.Semantic.DeepEqual(v.Field(i).Interface(), was.Interface()) {
				continue
			}
		}
		errs = append(errs, value(at, v.Field(i), was, tags)...)
	}
	return errs
}

// value checks a field: first the rules that end its check, then its own ones,
// and then those of its type.
func value(path *field.Path, v, old reflect.Value, tags []string) field.ErrorList {
	if errs, done := gate(path, v, old, tags); done {
		return errs
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
		if old.IsValid() && !old.IsNil() {
			old = old.Elem()
		} else {
			old = reflect.Value{}
		}
	}
	errs := particular(path, v, tags)
	return append(errs, content(path, v, old, tags)...)
}

// gate applies the rules after which nothing more is said of a field.
func gate(path *field.Path, v, old reflect.Value, tags []string) (errs field.ErrorList, done bool) {
	for _, tag := range tags {
		rule, arg, _ := strings.Cut(tag, "=")
		switch rule {
		case "required":
			if empty(v) {
				return field.ErrorList{field.Required(path, "")}, true
			}
		case "optional":
			done = done || empty(v)
		case "maxItems":
			if most, _ := strconv.Atoi(arg); v.Len() > most {
				errs = append(errs, field.TooMany(path, v.Len(), most).WithOrigin("maxItems"))
			}
		case "immutable":
			if old.IsValid() {
				errs = append(errs, field.Invalid(path, nil, "field is immutable").WithOrigin("immutable"))
			}
		case "update":
			if arg == "NoModify" && old.IsValid() && !empty(old) && !empty(v) {
				errs = append(errs, field.Invalid(path, nil, "field cannot be modified once set").WithOrigin("update"))
			}
		}
	}
	return errs, done || len(errs) > 0
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

// content checks what a value is made of by the rules of its type.
func content(path *field.Path, v, old reflect.Value, tags []string) field.ErrorList {
	if !concerned(v.Type()) {
		return nil
	}
	var errs field.ErrorList
	switch v.Kind() {
	case reflect.Struct:
		return structure(path, v, old)
	case reflect.String:
		if allowed := rules[nameOf(v.Type())].Enum; !slices.Contains(allowed, v.String()) {
			return field.ErrorList{field.NotSupported(path, v.Interface(), allowed)}
		}
	case reflect.Slice:
		same := matcher(tags)
		for i := range v.Len() {
			was := former(v.Index(i), old, same)
			if was.IsValid() && equality.Semantic.DeepEqual(v.Index(i).Interface(), was.Interface()) {
				continue
			}
			errs = append(errs, content(path.Index(i), v.Index(i), was, nil)...)
		}
	case reflect.Map:
		for _, key := range sortedKeys(v) {
			was := reflect.Value{}
			if old.IsValid() {
				was = old.MapIndex(key)
			}
			if was.IsValid() && equality.Semantic.DeepEqual(v.MapIndex(key).Interface(), was.Interface()) {
				continue
			}
			errs = append(errs, content(path.Key(key.String()), v.MapIndex(key), was, nil)...)
		}
	}
	return errs
}

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// former finds an element's old self; without a way to tell them apart it has none.
func former(v, old reflect.Value, same func(a, b reflect.Value) bool) reflect.Value {
	if same == nil || !old.IsValid() {
		return reflect.Value{}
	}
	for i := range old.Len() {
		if same(old.Index(i), v) {
			return old.Index(i)
		}
	}
	return reflect.Value{}
}
