package check

import "k8s.io/apimachinery/pkg/util/validation/field"

// Union checks a struct of which one member must be set. The first member
// that is set is checked, every further one refused.
type Union struct {
	path    *field.Path
	surplus string
	set     int
	errs    field.ErrorList
}

// NewUnion begins the check of the union at path; surplus is what a second
// member is refused with.
func NewUnion(path *field.Path, surplus string) *Union {
	return &Union{path: path, surplus: surplus}
}

// Member checks one member by name, if it is set.
func (u *Union) Member(set bool, name string, rule func(*field.Path) field.ErrorList) {
	u.Renamed(set, name, name, rule)
}

// Renamed is Member for the few whose errors stand under another name than
// their refusal does.
func (u *Union) Renamed(set bool, refusedAt, name string, rule func(*field.Path) field.ErrorList) {
	if !set {
		return
	}
	u.set++
	if u.set > 1 {
		u.errs = append(u.errs, field.Forbidden(u.path.Child(refusedAt), u.surplus))
		return
	}
	u.errs = append(u.errs, rule(u.path.Child(name))...)
}

// Besides counts a member that may stand beside those before it.
func (u *Union) Besides(name string, rule func(*field.Path) field.ErrorList) {
	u.set++
	u.errs = append(u.errs, rule(u.path.Child(name))...)
}

// Add puts errors between those of the members.
func (u *Union) Add(errs ...*field.Error) { u.errs = append(u.errs, errs...) }

// First reports whether no member was set so far.
func (u *Union) First() bool { return u.set == 0 }

// Errors ends the check; missing is said if no member was set.
func (u *Union) Errors(missing string) field.ErrorList {
	if u.set == 0 {
		u.errs = append(u.errs, field.Required(u.path, missing))
	}
	return u.errs
}
