// Package apitest is an API server in memory for the tests of controllers,
// and a bench that drives controllers over it step by step, without time.
package apitest

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// API keeps objects as an API server does: versions, optimistic concurrency,
// generations, finalizers, grace, status kept apart. Caches lag behind until
// Deliver is called, unless Live is set.
type API struct {
	Clock clock.PassiveClock
	// Live delivers every change before the call that made it returns.
	Live bool
	// Fail, if not nil, is asked before every call, one at a time, and may
	// refuse it.
	Fail func(verb string, k *kinds.Kind, namespace, name string) error
	// Review, if not nil, fills in the answer of what is created to be
	// answered and not kept.
	Review func(o kinds.Object)
	// DiscoveryErr, if not nil, comes with what Discover answers.
	DiscoveryErr error

	mu       sync.Mutex
	revision int64
	objects  map[*kinds.Kind]map[cache.ObjectName]kinds.Object
	caches   map[*kinds.Kind]*fakeCache
	events   []Event
	calls    []string
	log      []change
	beyond   beyond
	changed  chan struct{} // closed and replaced at every change

	delivery sync.Mutex
	refusal  sync.Mutex
}

var _ cluster.API = (*API)(nil)

// NewAPI returns an empty API.
func NewAPI(c clock.PassiveClock) *API {
	return &API{Clock: c, objects: map[*kinds.Kind]map[cache.ObjectName]kinds.Object{}, caches: map[*kinds.Kind]*fakeCache{}, changed: make(chan struct{})}
}

// Seed stores objects as they are, status and all; what identifies them is
// filled in where it is missing.
func (a *API) Seed(objects ...kinds.Object) {
	a.mu.Lock()
	for _, o := range objects {
		o = clone(o)
		if o.GetUID() == "" {
			o.SetUID(types.UID(a.kindOf(o).Plural + "-" + o.GetName()))
		}
		if o.GetCreationTimestamp().Time.IsZero() {
			o.SetCreationTimestamp(metav1.NewTime(a.Clock.Now()))
		}
		old := a.objects[a.kindOf(o)][key(o)]
		a.put(old, o)
	}
	a.mu.Unlock()
	a.settle()
}

func clone(o kinds.Object) kinds.Object { return o.DeepCopyObject().(kinds.Object) }

func key(o metav1.Object) cache.ObjectName {
	return cache.ObjectName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// begin notes a call and refuses it where the test says so.
func (a *API) begin(verb string, k *kinds.Kind, namespace, name string) error {
	a.mu.Lock()
	a.calls = append(a.calls, fmt.Sprintf("%s %s %s", verb, k.Plural, cache.ObjectName{Namespace: namespace, Name: name}))
	a.mu.Unlock()
	if a.Fail != nil {
		a.refusal.Lock()
		defer a.refusal.Unlock()
		return a.Fail(verb, k, namespace, name)
	}
	return nil
}

// Calls returns what was asked since the last time, as "verb plural ns/name".
func (a *API) Calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.calls
	a.calls = nil
	return out
}

// put stores a new version and tells the cache; a.mu is held. A nil o removes.
func (a *API) put(old, o kinds.Object) {
	a.revision++
	version := strconv.FormatInt(a.revision, 10)
	if o == nil {
		k := a.kindOf(old)
		delete(a.objects[k], key(old))
		gone := clone(old)
		gone.SetResourceVersion(version)
		a.note(k, change{before: gone})
		return
	}
	o.SetResourceVersion(version)
	k := a.kindOf(o)
	if a.objects[k] == nil {
		a.objects[k] = map[cache.ObjectName]kinds.Object{}
	}
	a.objects[k][key(o)] = o
	a.note(k, change{before: old, after: clone(o)})
}

func (a *API) note(k *kinds.Kind, c change) {
	a.cache(k).hold(c)
	a.log = append(a.log, c)
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *API) find(k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if o := a.objects[k][cache.ObjectName{Namespace: namespace, Name: name}]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

// Get implements cluster.Calls.
func (a *API) Get(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if err := a.begin("get", k, namespace, name); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	o, err := a.find(k, namespace, name)
	if err != nil {
		return nil, err
	}
	return clone(o), nil
}

// List implements cluster.Calls.
func (a *API) List(_ context.Context, k *kinds.Kind, namespace string) ([]kinds.Object, error) {
	if err := a.begin("list", k, namespace, ""); err != nil {
		return nil, err
	}
	return a.all(k, namespace), nil
}

// Revision implements cluster.Calls.
func (a *API) Revision(context.Context, *kinds.Kind) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strconv.FormatInt(a.revision, 10), nil
}

func (a *API) all(k *kinds.Kind, namespace string) []kinds.Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []kinds.Object
	for _, o := range a.objects[k] {
		if namespace == "" || o.GetNamespace() == namespace {
			out = append(out, clone(o))
		}
	}
	sortObjects(out)
	return out
}

// Create implements cluster.Calls.
func (a *API) Create(_ context.Context, o kinds.Object) (kinds.Object, error) {
	k := a.kindOf(o)
	if err := a.begin("create", k, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	defer a.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	o = clone(o)
	if !k.Stored() && kinds.ByResource(k.GroupVersionResource()) == k {
		if a.Review != nil {
			a.Review(o)
		}
		return o, nil
	}
	if o.GetName() == "" {
		o.SetName(o.GetGenerateName() + strconv.FormatInt(a.revision+1, 36))
	}
	if a.objects[k][key(o)] != nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), o.GetName())
	}
	if err := a.admits(k, o.GetNamespace(), o.GetName()); err != nil {
		return nil, err
	}
	o.SetUID(types.UID(fmt.Sprintf("uid-%d", a.revision+1)))
	o.SetCreationTimestamp(metav1.NewTime(a.Clock.Now()))
	if reflect.ValueOf(o).Elem().FieldByName("Spec").IsValid() {
		o.SetGeneration(1)
	}
	if k.HasSubresource("status") {
		reset(o, k.New(), "Status")
	}
	if p, ok := o.(*corev1.Pod); ok {
		p.Status.Phase = corev1.PodPending
	}
	a.put(nil, o)
	return clone(o), nil
}

// admits refuses what a terminating namespace does.
func (a *API) admits(k *kinds.Kind, namespace, name string) error {
	ns := a.objects[kinds.For[*corev1.Namespace]()][cache.ObjectName{Name: namespace}]
	if ns == nil || ns.GetDeletionTimestamp() == nil {
		return nil
	}
	err := apierrors.NewForbidden(k.GroupResource(), name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", namespace), Field: "metadata.namespace",
	})
	return err
}

// reset copies fields of from to o.
func reset(o, from kinds.Object, fields ...string) {
	for _, f := range fields {
		to := reflect.ValueOf(o).Elem().FieldByName(f)
		if to.IsValid() {
			to.Set(reflect.ValueOf(clone(from)).Elem().FieldByName(f))
		}
	}
}

// settle delivers at once where the test wants it so.
func (a *API) settle() {
	if a.Live {
		a.Deliver()
	}
}
