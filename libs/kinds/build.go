package kinds

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object ties a struct to the interface its pointer has.
type object[T any] interface {
	*T
	Object
}

// list does the same for a list; none stands for a kind without one.
type list[T any] interface{ *T }

type none struct{}

type option func(*Kind)

func cluster(k *Kind)    { k.Namespaced = false }
func all(k *Kind)        { k.Categories = []string{"all"} }
func extensions(k *Kind) { k.Categories = []string{"api-extensions"} }
func unstored(k *Kind)   { k.Prefix = "" }
func createOnly(k *Kind) { k.Verbs, k.Prefix = []string{"create"}, "" }

func short(names ...string) option { return func(k *Kind) { k.ShortNames = names } }
func singular(name string) option  { return func(k *Kind) { k.Singular = name } }
func prefix(p string) option       { return func(k *Kind) { k.Prefix = p } }
func sub(names ...string) option   { return func(k *Kind) { k.Subresources = names } }
func storedIn(v string) option     { return func(k *Kind) { k.StorageVersion = v } }
func verbs(v ...string) option     { return func(k *Kind) { k.Verbs = v } }

func complete[T any](f func(T)) option {
	return func(k *Kind) { k.Complete = func(o Object) { f(o.(T)) } }
}

// claimTemplates names what a StatefulSet's claim templates are.
func claimTemplates(s *appsv1.StatefulSet) {
	for i := range s.Spec.VolumeClaimTemplates {
		s.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
	}
}

func row[T, L any, PT object[T], PL list[L]](group, version, plural string, options ...option) *Kind {
	t := reflect.TypeFor[T]()
	k := &Kind{
		Group: group, Version: version, StorageVersion: version, Kind: t.Name(),
		Plural: plural, Singular: strings.ToLower(t.Name()), Namespaced: true, Prefix: plural,
		Verbs:   []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
		Message: strings.NewReplacer("/", ".", "-", "_").Replace(t.PkgPath()) + "." + t.Name(),
		New:     func() Object { return PT(new(T)) },
	}
	if _, ok := any(PL(nil)).(runtime.Object); ok {
		k.NewList = func() runtime.Object { return any(PL(new(L))).(runtime.Object) }
	}
	for _, o := range options {
		o(k)
	}
	return k
}

type index struct {
	all        []*Kind
	byType     map[reflect.Type]*Kind
	byResource map[schema.GroupVersionResource]*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	scheme     *runtime.Scheme
}

// table is built once, when first asked for; it is never modified.
var table = sync.OnceValue(func() *index {
	x := &index{
		all:        rows(),
		byType:     map[reflect.Type]*Kind{},
		byResource: map[schema.GroupVersionResource]*Kind{},
		byKind:     map[schema.GroupVersionKind]*Kind{},
		scheme:     runtime.NewScheme(),
	}
	for _, k := range x.all {
		x.byType[reflect.TypeOf(k.New())] = k
		x.byResource[k.GroupVersionResource()] = k
		x.byKind[k.GroupVersionKind()] = k
	}
	for _, k := range x.all {
		if to, ok := aliases[[2]string{k.APIVersion(), k.Kind}]; ok {
			k.StoredAs = x.byKind[schema.FromAPIVersionAndKind(to[0], to[1])]
			k.Prefix = k.StoredAs.Prefix
		}
		x.register(k)
	}
	core := schema.GroupVersion{Version: "v1"}
	x.scheme.AddKnownTypes(core, &corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{},
		&corev1.PodPortForwardOptions{}, &corev1.PodProxyOptions{}, &corev1.NodeProxyOptions{}, &corev1.ServiceProxyOptions{})
	x.scheme.AddKnownTypes(autoscalingv1.SchemeGroupVersion, &autoscalingv1.Scale{})
	x.scheme.AddKnownTypes(authenticationv1.SchemeGroupVersion, &authenticationv1.TokenRequest{})
	x.scheme.AddKnownTypes(policyv1.SchemeGroupVersion, &policyv1.Eviction{})
	x.scheme.AddUnversionedTypes(core, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return x
})

func (x *index) register(k *Kind) {
	gv := k.GroupVersion()
	x.scheme.AddKnownTypes(gv, k.New())
	if k.NewList != nil {
		x.scheme.AddKnownTypes(gv, k.NewList())
	}
	metav1.AddToGroupVersion(x.scheme, gv)
}

// All returns every kind in the order of upstream's discovery. The slice is
// shared: do not modify it.
func All() []*Kind { return table().all }

// For returns the kind of a Go type, such as For[*corev1.Pod](). It panics for
// a type that is not in the table, which is a programming error.
func For[T Object]() *Kind {
	t := reflect.TypeFor[T]()
	k := table().byType[t]
	if k == nil {
		panic(fmt.Sprintf("kinds: %v is not in the table", t))
	}
	return k
}

// ForObject returns the kind of an object by its Go type, nil if it has none.
func ForObject(o Object) *Kind { return table().byType[reflect.TypeOf(o)] }

// ByResource finds a kind by its collection, nil if there is none.
func ByResource(r schema.GroupVersionResource) *Kind { return table().byResource[r] }

// ByKind finds a kind by name, nil if there is none.
func ByKind(g schema.GroupVersionKind) *Kind { return table().byKind[g] }

// Scheme holds every kind of the table, their lists, and the types of
// meta/v1. It is shared: do not add to it.
func Scheme() *runtime.Scheme { return table().scheme }

// GroupVersions returns the served group versions in order of discovery.
func GroupVersions() []schema.GroupVersion {
	var out []schema.GroupVersion
	seen := map[schema.GroupVersion]bool{}
	for _, k := range All() {
		if gv := k.GroupVersion(); !seen[gv] {
			seen[gv] = true
			out = append(out, gv)
		}
	}
	return out
}

// Stored returns the kinds that are kept in etcd as themselves, by prefix.
func Stored() []*Kind {
	var out []*Kind
	for _, k := range All() {
		if k.Stored() && k.StoredAs == nil {
			out = append(out, k)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Prefix < out[j].Prefix })
	return out
}
