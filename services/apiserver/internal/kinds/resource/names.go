package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// longestAttribute is how long the name of an attribute may be with its domain.
const longestAttribute = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength

func label(path *field.Path, name string) field.ErrorList {
	return check.DNSLabel(path, name).WithOrigin("format=k8s-short-name")
}

func subdomain(path *field.Path, name string) field.ErrorList {
	return check.DNSSubdomain(path, name).WithOrigin("format=k8s-long-name")
}

// validateDriver checks a driver's name; covered says that a declared rule does too.
func validateDriver(path *field.Path, name string, covered bool) field.ErrorList {
	mark := func(e *field.Error, origin string) *field.Error {
		if !covered {
			return e
		}
		if origin != "" {
			e = e.WithOrigin(origin)
		}
		return e.MarkCoveredByDeclarative()
	}
	if name == "" {
		return field.ErrorList{mark(field.Required(path, ""), "")}
	}
	var errs field.ErrorList
	if len(name) > resourcev1.DriverNameMaxLength {
		errs = append(errs, mark(field.TooLong(path, "", resourcev1.DriverNameMaxLength), "maxLength"))
	}
	for _, message := range validation.IsDNS1123Subdomain(strings.ToLower(name)) {
		errs = append(errs, mark(field.Invalid(path, name, message), "format=k8s-long-name-caseless"))
	}
	return errs
}

func validatePoolName(path *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	if len(name) > resourcev1.PoolNameMaxLength {
		errs = append(errs, field.TooLong(path, "", resourcev1.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		errs = append(errs, check.DNSSubdomain(path, part)...)
	}
	return errs.WithOrigin("format=k8s-resource-pool-name")
}

// validateAttributeName checks a name with an optional domain.
func validateAttributeName(path *field.Path, name string) field.ErrorList {
	domain, id, qualified := strings.Cut(name, "/")
	switch {
	case !qualified:
		return validateIdentifier(path, name)
	case strings.Contains(id, "/"):
		return nil // as upstream
	}
	var errs field.ErrorList
	if domain == "" {
		errs = append(errs, field.Invalid(path, "", "the domain must not be empty"))
	} else {
		errs = append(errs, validateDriver(path, domain, false)...)
	}
	if id == "" {
		return append(errs, field.Invalid(path, "", "the name must not be empty"))
	}
	return append(errs, validateIdentifier(path, id)...)
}

func validateQualified(path *field.Path, name resourcev1.FullyQualifiedName) field.ErrorList {
	errs := validateAttributeName(path, string(name))
	if !strings.Contains(string(name), "/") {
		errs = append(errs, field.Invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash"))
	}
	return errs.WithOrigin("format=k8s-resource-fully-qualified-name")
}

func validateIdentifier(path *field.Path, id string) field.ErrorList {
	var errs field.ErrorList
	if len(id) > resourcev1.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(path, "", resourcev1.DeviceMaxIDLength))
	}
	return append(errs, check.All(path, id, content.IsCIdentifier(id))...)
}

// each checks a list's elements, unless there are too many of them.
func each[T any](path *field.Path, list []T, most int, covered bool, rule func(*field.Path, *T) field.ErrorList) field.ErrorList {
	if most >= 0 && len(list) > most {
		e := field.TooMany(path, len(list), most).WithOrigin("maxItems")
		if covered {
			e = e.MarkCoveredByDeclarative()
		}
		return field.ErrorList{e}
	}
	var errs field.ErrorList
	for i := range list {
		errs = append(errs, rule(path.Index(i), &list[i])...)
	}
	return errs
}

// repeated refuses elements that come again.
func repeated[T any, K comparable](path *field.Path, list []T, covered bool, key func(*T) K) field.ErrorList {
	var errs field.ErrorList
	seen := map[K]bool{}
	for i := range list {
		k := key(&list[i])
		if seen[k] {
			e := field.Duplicate(path.Index(i), k)
			if covered {
				e = e.MarkCoveredByDeclarative()
			}
			errs = append(errs, e)
		}
		seen[k] = true
	}
	return errs
}

// unique is each and repeated.
func unique[T any, K comparable](path *field.Path, list []T, most int, covered bool, key func(*T) K, rule func(*field.Path, *T) field.ErrorList) field.ErrorList {
	errs := each(path, list, most, covered, rule)
	if most >= 0 && len(list) > most {
		return errs
	}
	return append(errs, repeated(path, list, covered, key)...)
}

func itself(s *string) string { return *s }
