package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// binding is what the two kinds of bindings have in common.
type binding struct {
	role       rbacv1.RoleRef
	subjects   []rbacv1.Subject
	namespaced bool
}

func defaultBinding(role *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if role.APIGroup == "" {
		role.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

// validate checks a binding; old is nil on create. What a binding grants is
// only to be changed by who may grant all of it, so the role stays.
func (b *binding) validate(old *rbacv1.RoleRef) field.ErrorList {
	role, subjects := field.NewPath("roleRef"), field.NewPath("subjects")
	var errs field.ErrorList
	if b.role.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(role.Child("apiGroup"), b.role.APIGroup, []string{rbacv1.GroupName}))
	}
	kinds := []string{"ClusterRole"}
	if b.namespaced {
		kinds = []string{"Role", "ClusterRole"}
	}
	if !slices.Contains(kinds, b.role.Kind) {
		errs = append(errs, field.NotSupported(role.Child("kind"), b.role.Kind, kinds))
	}
	// Upstream declares that the name is required, and writes it out as well: what
	// is declared is said last, but not of a role that was changed.
	changed := old != nil && b.role != *old
	switch {
	case b.role.Name != "":
		errs = append(errs, check.Name(role.Child("name"), b.role.Name, nameRule)...)
	case changed:
		errs = append(errs, field.Required(role.Child("name"), ""))
	}
	for i := range b.subjects {
		errs = append(errs, validateSubject(subjects.Index(i), &b.subjects[i], b.namespaced)...)
	}
	if old != nil {
		errs = append(errs, check.Unchanged(role, b.role, *old)...)
	}
	for i := range b.subjects {
		errs = append(errs, check.Set(subjects.Index(i), "name", b.subjects[i].Name)...)
	}
	if changed {
		return errs
	}
	return append(errs, check.Set(role, "name", b.role.Name)...)
}

func validateSubject(p *field.Path, s *rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			errs = append(errs, check.Name(p.Child("name"), s.Name, apivalidation.ValidateServiceAccountName)...)
		}
		if s.APIGroup != "" {
			errs = append(errs, field.NotSupported(p.Child("apiGroup"), s.APIGroup, []string{""}))
		}
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(p.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		if s.APIGroup != rbacv1.GroupName {
			errs = append(errs, field.NotSupported(p.Child("apiGroup"), s.APIGroup, []string{rbacv1.GroupName}))
		}
	default:
		errs = append(errs, field.NotSupported(p.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
	return errs
}

// cells shows the role and, with -o wide, the subjects by their kind.
func (b *binding) cells() (role, users, groups, accounts string) {
	var u, g, a []string
	for _, s := range b.subjects {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			a = append(a, s.Namespace+"/"+s.Name)
		case rbacv1.UserKind:
			u = append(u, s.Name)
		case rbacv1.GroupKind:
			g = append(g, s.Name)
		}
	}
	return b.role.Kind + "/" + b.role.Name, strings.Join(u, ", "), strings.Join(g, ", "), strings.Join(a, ", ")
}
