package bootstrap

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The policy files hold upstream's roles as a table, since what matters about
// them is that they can be read and compared. A file is lines of these forms:
//
//	# a remark
//	namespace NAME            the roles that follow are of this namespace
//	role NAME                 what follows belongs to it, indented
//	    part of NAME          its rules are aggregated into the role NAME
//	    parts NAME            it gathers the rules of the parts of NAME
//	    VERBS | RESOURCES [| GROUPS [| NAMES]]
//	    VERBS | /URLS         or "| * | urls"
//	    to user NAME          or group NAME, account NAMESPACE/NAME, nobody
//	binding NAME of ROLE      a binding that is not named as its role
//
// Groups are core (the group without a name) if left out. The verbs read and
// write stand for get, list, watch and for create, delete, deletecollection,
// patch, update.
//
//go:embed policy/*.policy
var policyFiles embed.FS

var (
	readVerbs  = []string{"get", "list", "watch"}
	writeVerbs = []string{"create", "delete", "deletecollection", "patch", "update"}
)

const (
	aggregateLabel     = "rbac.authorization.k8s.io/aggregate-to-"
	bootstrappingLabel = "kubernetes.io/bootstrapping"
)

// entry is a role, a binding, or both under one name.
type entry struct {
	namespace, name string
	isRole          bool
	partOf, parts   string
	rules           []rbacv1.PolicyRule
	bound           bool
	roleName        string
	subjects        []rbacv1.Subject
}

// readPolicy reads a policy file. The files are part of the program, so a
// fault in one is a programming error and panics.
func readPolicy(file string) []*entry {
	data, err := policyFiles.ReadFile("policy/" + file)
	if err != nil {
		panic(err)
	}
	var out []*entry
	namespace := ""
	for number, line := range strings.Split(string(data), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case !strings.HasPrefix(line, " ") && words[0] == "namespace":
			namespace = words[1]
		case !strings.HasPrefix(line, " ") && words[0] == "role":
			out = append(out, &entry{namespace: namespace, name: words[1], isRole: true, roleName: words[1]})
		case !strings.HasPrefix(line, " ") && words[0] == "binding" && len(words) == 4:
			out = append(out, &entry{namespace: namespace, name: words[1], bound: true, roleName: words[3]})
		case strings.HasPrefix(line, " ") && len(out) > 0:
			if out[len(out)-1].read(line, words) {
				continue
			}
			fallthrough
		default:
			panic(fmt.Sprintf("policy/%s:%d: cannot read %q", file, number+1, line))
		}
	}
	return out
}

func (e *entry) read(line string, words []string) bool {
	switch {
	case words[0] == "part" && len(words) == 3:
		e.partOf = words[2]
	case words[0] == "parts" && len(words) == 2:
		e.parts = words[1]
	case words[0] == "to":
		e.bound = true
		return e.readSubject(words[1:])
	default:
		return e.readRule(strings.Split(line, "|"))
	}
	return true
}

func (e *entry) readSubject(words []string) bool {
	switch {
	case len(words) == 1 && words[0] == "nobody":
	case len(words) == 2 && words[0] == "user":
		e.subjects = append(e.subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: words[1]})
	case len(words) == 2 && words[0] == "group":
		e.subjects = append(e.subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: words[1]})
	case len(words) == 2 && words[0] == "account":
		namespace, name, ok := strings.Cut(words[1], "/")
		e.subjects = append(e.subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name})
		return ok
	default:
		return false
	}
	return true
}

func (e *entry) readRule(columns []string) bool {
	if len(columns) < 2 || len(columns) > 4 {
		return false
	}
	rule := rbacv1.PolicyRule{Verbs: expandVerbs(strings.Fields(columns[0]))}
	what := strings.Fields(columns[1])
	if len(rule.Verbs) == 0 || len(what) == 0 {
		return false
	}
	groups := []string{""}
	if len(columns) > 2 {
		groups = strings.Fields(columns[2])
	}
	if strings.HasPrefix(what[0], "/") || slices.Equal(groups, []string{"urls"}) {
		rule.NonResourceURLs = what
	} else {
		rule.Resources, rule.APIGroups = what, groups
		for i, group := range groups {
			if group == "core" {
				groups[i] = ""
			}
		}
	}
	if len(columns) > 3 {
		rule.ResourceNames = strings.Fields(columns[3])
	}
	e.rules = append(e.rules, rule)
	return true
}

func expandVerbs(words []string) []string {
	var out []string
	for _, word := range words {
		switch word {
		case "read":
			out = append(out, readVerbs...)
		case "write":
			out = append(out, writeVerbs...)
		default:
			out = append(out, word)
		}
	}
	slices.Sort(out)
	return out
}

func (e *entry) meta() metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Namespace: e.namespace, Name: e.name,
		Labels:      map[string]string{bootstrappingLabel: "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
	return m
}

func (e *entry) roleMeta() metav1.ObjectMeta {
	m := e.meta()
	if e.partOf != "" {
		m.Labels[aggregateLabel+e.partOf] = "true"
	}
	return m
}
