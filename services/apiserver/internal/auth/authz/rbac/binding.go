package rbac

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// objectKey names a role or binding; cluster-wide ones have no namespace.
type objectKey struct{ namespace, name string }

// subjectKey is whom a binding is for and where it holds: everywhere, or in
// one namespace. A service account is the user of its name.
type subjectKey struct {
	namespace string
	group     bool
	name      string
}

type binding struct {
	key      objectKey
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
}

// grant is one binding as it holds for one of its subjects. The reason is
// made once, not for each request it allows.
type grant struct {
	binding *binding
	subject int
	reason  string
}

// roleKey is the role the binding refers to. A reference to a Role from a
// cluster role binding finds nothing.
func (b *binding) roleKey() objectKey {
	switch {
	case b.ref.Kind == "ClusterRole":
		return objectKey{name: b.ref.Name}
	case b.ref.Kind == "Role" && b.key.namespace != "":
		return objectKey{b.key.namespace, b.ref.Name}
	}
	return objectKey{}
}

func (b *binding) subjectKey(s *rbacv1.Subject) (subjectKey, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subjectKey{b.key.namespace, false, s.Name}, true
	case rbacv1.GroupKind:
		return subjectKey{b.key.namespace, true, s.Name}, true
	case rbacv1.ServiceAccountKind:
		// Without a namespace of its own, an account is of the binding's.
		if namespace := b.accountNamespace(s); namespace != "" {
			return subjectKey{b.key.namespace, false, serviceaccount.MakeUsername(namespace, s.Name)}, true
		}
	}
	return subjectKey{}, false
}

func (b *binding) accountNamespace(s *rbacv1.Subject) string {
	if s.Namespace != "" {
		return s.Namespace
	}
	return b.key.namespace
}

func (b *binding) reason(s *rbacv1.Subject) string {
	subject := fmt.Sprintf("%s %q", s.Kind, s.Name)
	if s.Kind == rbacv1.ServiceAccountKind {
		subject = fmt.Sprintf("%s %q", s.Kind, s.Name+"/"+b.accountNamespace(s))
	}
	kind, name := "ClusterRoleBinding", b.key.name
	if b.key.namespace != "" {
		kind, name = "RoleBinding", b.key.name+"/"+b.key.namespace
	}
	return fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s", kind, name, b.ref.Kind, b.ref.Name, subject)
}

func (a *Authorizer) addBinding(b *binding) {
	a.bindings[b.key] = b
	for i := range b.subjects {
		key, ok := b.subjectKey(&b.subjects[i])
		if !ok {
			continue
		}
		list := a.grants[key]
		at, found := slices.BinarySearchFunc(list, b.key.name, compareGrant)
		if found {
			continue // the binding names the subject twice
		}
		// Sorted, so that which binding is given as the reason does not
		// depend on the order of events.
		a.grants[key] = slices.Insert(slices.Clip(list), at, grant{b, i, b.reason(&b.subjects[i])})
	}
}

func (a *Authorizer) removeBinding(key objectKey) {
	b := a.bindings[key]
	if b == nil {
		return
	}
	delete(a.bindings, key)
	for i := range b.subjects {
		subject, ok := b.subjectKey(&b.subjects[i])
		if !ok {
			continue
		}
		list := slices.DeleteFunc(a.grants[subject], func(g grant) bool { return g.binding == b })
		if len(list) == 0 {
			delete(a.grants, subject)
		} else {
			a.grants[subject] = list
		}
	}
}

func compareGrant(g grant, name string) int { return strings.Compare(g.binding.key.name, name) }

// earliest is the grant of the same binding by the first of its subjects that
// the user is: that one is given as the reason.
func (a *Authorizer) earliest(u user.Info, g *grant) *grant {
	if g.subject == 0 {
		return g
	}
	a.visitScope(u, g.binding.key.namespace, func(other *grant) bool {
		if other.binding == g.binding && other.subject < g.subject {
			g = other
		}
		return true
	})
	return g
}

// visit goes over the grants of a user: first those that hold everywhere,
// then those of the namespace. It ends when f returns false.
func (a *Authorizer) visit(u user.Info, namespace string, f func(*grant) bool) {
	if u == nil {
		return
	}
	if a.visitScope(u, "", f) && namespace != "" {
		a.visitScope(u, namespace, f)
	}
}

func (a *Authorizer) visitScope(u user.Info, namespace string, f func(*grant) bool) bool {
	if !visitGrants(a.grants[subjectKey{namespace, false, u.GetName()}], f) {
		return false
	}
	for _, group := range u.GetGroups() {
		if !visitGrants(a.grants[subjectKey{namespace, true, group}], f) {
			return false
		}
	}
	return true
}

func visitGrants(list []grant, f func(*grant) bool) bool {
	for i := range list {
		if !f(&list[i]) {
			return false
		}
	}
	return true
}
