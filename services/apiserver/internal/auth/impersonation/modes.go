package impersonation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth"
)

// As returns the user that the requestor of a is to act as, or a Forbidden
// error. The modes are tried in upstream's order, the finest first, but for the
// one by which the requestor last succeeded: associated-node, arbitrary-node,
// serviceaccount and user-info each need the verb "impersonate-on:MODE:VERB" on
// what is done and "impersonate:MODE" on the user; the last is the verb
// "impersonate" on the user alone. The error is the first one met.
func (m *Memory) As(ctx context.Context, z authorizer.UnconditionalAuthorizer, a authorizer.Attributes, wanted *user.DefaultInfo) (user.Info, error) {
	var first error
	for _, i := range m.order(a.GetUser()) {
		u, err := modes[i].try(ctx, z, a, wanted)
		if err == nil && u != nil {
			m.note(a.GetUser(), i)
			audit.Impersonate(ctx, u, modes[i].constraint())
			return u, nil
		}
		if err != nil && first == nil {
			first = err
		}
	}
	if first == nil {
		first = errors.New("all impersonation modes failed")
	}
	return nil, first
}

func (m *Memory) order(u user.Info) []int {
	out := make([]int, 0, len(modes))
	last, ok := m.last(u)
	if ok {
		out = append(out, last)
	}
	for i := range modes {
		if !ok || i != last {
			out = append(out, i)
		}
	}
	return out
}

// mode is one way to act as somebody else; the zero mode is the oldest.
type mode struct {
	name string
	// applies tells whether the mode is for such a user and requestor.
	applies func(wanted *user.DefaultInfo, requestor user.Info) bool
}

var modes = []mode{
	{"associated-node", func(wanted *user.DefaultInfo, requestor user.Info) bool {
		return onlyName(wanted) && runsOn(requestor, wanted.Name)
	}},
	{"arbitrary-node", func(wanted *user.DefaultInfo, _ user.Info) bool {
		_, ok := nodeName(wanted.Name)
		return ok && onlyName(wanted)
	}},
	{"serviceaccount", func(wanted *user.DefaultInfo, _ user.Info) bool {
		_, _, err := serviceaccount.SplitUsername(wanted.Name)
		return err == nil && onlyName(wanted)
	}},
	{"user-info", func(wanted *user.DefaultInfo, _ user.Info) bool {
		_, isNode := nodeName(wanted.Name)
		_, _, err := serviceaccount.SplitUsername(wanted.Name)
		return !isNode && err != nil
	}},
	{},
}

func (m mode) try(ctx context.Context, z authorizer.UnconditionalAuthorizer, a authorizer.Attributes, wanted *user.DefaultInfo) (user.Info, error) {
	t := attempt{ctx: ctx, authorizer: z, mode: m, requestor: a.GetUser(), verb: "impersonate", version: corev1.SchemeGroupVersion}
	if m.fine() {
		if !m.applies(wanted, t.requestor) {
			return nil, nil
		}
		t.verb, t.version = "impersonate:"+m.name, authenticationv1.SchemeGroupVersion
		if m.name == "associated-node" {
			t.requestor = withoutExtra{t.requestor}
		}
		if err := t.check(onVerb{Attributes: a, user: t.requestor, mode: m.name}); err != nil {
			return nil, err
		}
	}
	return t.user(wanted)
}

// constraint is what the audit log calls the mode; nothing for the oldest.
func (m mode) constraint() string {
	if !m.fine() {
		return ""
	}
	return "impersonate:" + m.name
}

func (m mode) fine() bool { return m.name != "" }

// attempt asks for each part of the wanted user whether the requestor may
// take it on.
type attempt struct {
	ctx        context.Context
	authorizer authorizer.UnconditionalAuthorizer
	mode       mode
	requestor  user.Info
	verb       string
	version    schema.GroupVersion // of users and groups
}

func (t *attempt) user(wanted *user.DefaultInfo) (user.Info, error) {
	out := *wanted
	if err := t.name(wanted, &out); err != nil {
		return nil, err
	}
	if wanted.UID != "" {
		if err := t.check(t.attributes(authenticationv1.SchemeGroupVersion, "uids", wanted.UID)); err != nil {
			return nil, err
		}
	}
	if err := t.groups(wanted.Groups); err != nil {
		return nil, err
	}
	if err := t.extra(wanted.Extra); err != nil {
		return nil, err
	}
	switch {
	case out.Name == user.Anonymous:
		addGroup(&out, user.AllUnauthenticated)
	case !slices.Contains(out.Groups, user.AllUnauthenticated):
		addGroup(&out, user.AllAuthenticated)
	}
	return &out, nil
}

func (t *attempt) name(wanted, out *user.DefaultInfo) error {
	a := t.attributes(t.version, "users", wanted.Name)
	if node, ok := nodeName(wanted.Name); ok && t.mode.fine() {
		a.Resource, a.Name = "nodes", node
		if t.mode.name == "associated-node" {
			a.Name = "*" // whichever node the requestor runs on
		}
		out.Groups = []string{user.NodesGroup}
	}
	if namespace, name, err := serviceaccount.SplitUsername(wanted.Name); err == nil {
		a.Resource, a.Namespace, a.Name = "serviceaccounts", namespace, name
		if len(wanted.Groups) == 0 {
			out.Groups = serviceaccount.MakeGroupNames(namespace)
		}
	}
	return t.check(a)
}

// manyChecks is from how many groups or facts on it is first asked whether
// all are permitted.
const manyChecks = 4

func (t *attempt) groups(groups []string) error {
	a := t.attributes(t.version, "groups", "")
	if t.mode.fine() {
		if slices.Contains(groups, "") {
			return auth.Forbidden(a, "impersonating the empty string group is not allowed")
		}
		if slices.Contains(groups, user.SystemPrivilegedGroup) {
			a.Name = user.SystemPrivilegedGroup
			return auth.Forbidden(a, "impersonating the system:masters group is not allowed")
		}
		if a.Name = "*"; len(groups) >= manyChecks && t.check(a) == nil {
			return nil
		}
	}
	for _, group := range groups {
		a.Name = group
		if err := t.check(a); err != nil {
			return err
		}
	}
	return nil
}

func (t *attempt) extra(extra map[string][]string) error {
	a := t.attributes(authenticationv1.SchemeGroupVersion, "userextras", "")
	keys := make([]string, 0, len(extra))
	values := 0
	for key, list := range extra {
		keys = append(keys, key)
		values += len(list)
	}
	sort.Strings(keys)
	if t.mode.fine() {
		for _, key := range keys {
			if err := validateExtra(key, extra[key]); err != nil {
				return auth.Forbidden(a, err.Error())
			}
		}
		if a.Subresource, a.Name = "*", "*"; max(len(keys), values) >= manyChecks && t.check(a) == nil {
			return nil
		}
	}
	for _, key := range keys {
		a.Subresource = key
		for _, value := range extra[key] {
			a.Name = value
			if err := t.check(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func validateExtra(key string, values []string) error {
	if key == "" {
		return errors.New("impersonating the empty string key in extra is not allowed")
	}
	if err := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key).ToAggregate(); err != nil {
		return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", err)
	}
	switch {
	case key != strings.ToLower(key):
		return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", key)
	case len(values) == 0:
		return errors.New("impersonating empty values in extra is not allowed")
	case slices.Contains(values, ""):
		return errors.New("impersonating the empty string value in extra is not allowed")
	}
	return nil
}

func (t *attempt) attributes(version schema.GroupVersion, resource, name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: t.requestor, Verb: t.verb, APIGroup: version.Group, APIVersion: version.Version,
		Resource: resource, Name: name, ResourceRequest: true,
	}
}

func (t *attempt) check(a authorizer.Attributes) error {
	decision, reason, err := t.authorizer.Authorize(t.ctx, a)
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case apierrors.IsForbidden(err):
		return err
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return auth.Forbidden(a, reason)
}

// onVerb is a request as seen by the first question of a finer mode.
type onVerb struct {
	authorizer.Attributes
	user user.Info
	mode string
}

func (o onVerb) GetUser() user.Info { return o.user }
func (o onVerb) GetVerb() string {
	return "impersonate-on:" + o.mode + ":" + o.Attributes.GetVerb()
}

// withoutExtra is a service account whose bound objects do not matter: that it
// runs on the node was checked already.
type withoutExtra struct{ user.Info }

func (w withoutExtra) GetExtra() map[string][]string {
	keys := make([]string, 0, len(w.Info.GetExtra()))
	for key := range w.Info.GetExtra() {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return map[string][]string{"authentication.kubernetes.io/associated-node-keys": keys}
}

func onlyName(u *user.DefaultInfo) bool {
	return u.UID == "" && len(u.Groups) == 0 && len(u.Extra) == 0
}

func nodeName(username string) (string, bool) {
	name, ok := strings.CutPrefix(username, "system:node:")
	return name, ok && len(validation.NameIsDNSSubdomain(name, false)) == 0
}

// runsOn tells whether the requestor is a service account of a pod on the
// node of that user name.
func runsOn(requestor user.Info, username string) bool {
	node, ok := nodeName(username)
	if !ok {
		return false
	}
	if _, _, err := serviceaccount.SplitUsername(requestor.GetName()); err != nil {
		return false
	}
	return slices.Equal(requestor.GetExtra()[serviceaccount.NodeNameKey], []string{node})
}

func addGroup(u *user.DefaultInfo, group string) {
	if !slices.Contains(u.Groups, group) {
		u.Groups = append(slices.Clip(u.Groups), group)
	}
}
