package rest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/registry"
	"coracle.local/services/apiserver/internal/strategy"
)

// memory is a registry in memory: it keeps versions, refuses what is stale,
// and tells watchers.
type memory struct {
	mu       sync.Mutex
	revision int64
	items    map[*kinds.Kind]map[string]*cache.Item
	past     map[*kinds.Kind][]cache.Event
	floor    int64 // watches from before are expired
	watchers map[*memoryWatch]bool
	// race, if set, is called once before an update commits.
	race func()
}

func newMemory() *memory {
	return &memory{
		revision: 10, items: map[*kinds.Kind]map[string]*cache.Item{}, past: map[*kinds.Kind][]cache.Event{},
		watchers: map[*memoryWatch]bool{},
	}
}

func (m *memory) Strategy(k *kinds.Kind) *strategy.Erased {
	switch k {
	case kinds.For[*corev1.Pod]():
		s := strategy.Shallow(k)
		s.Fields = func(o kinds.Object) fields.Set { return fields.Set{"spec.nodeName": o.(*corev1.Pod).Spec.NodeName} }
		return s
	case kinds.For[*appsv1.Deployment]():
		s := strategy.Shallow(k)
		s.Scale = &strategy.Scale[kinds.Object]{
			Replicas:       func(o kinds.Object) int32 { return *o.(*appsv1.Deployment).Spec.Replicas },
			SetReplicas:    func(o kinds.Object, n int32) { o.(*appsv1.Deployment).Spec.Replicas = &n },
			StatusReplicas: func(o kinds.Object) int32 { return o.(*appsv1.Deployment).Status.Replicas },
			Selector:       func(kinds.Object) (string, error) { return "a=b", nil },
		}
		return s
	}
	return strategy.Shallow(k)
}

func key(namespace, name string) string { return namespace + "/" + name }

func (m *memory) Get(_ context.Context, k *kinds.Kind, namespace, name string, _ registry.GetOptions) (*cache.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.items[k][key(namespace, name)]; i != nil {
		return i, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

func (m *memory) List(_ context.Context, k *kinds.Kind, o registry.ListOptions) (*registry.List, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &registry.List{Revision: m.revision}
	for _, i := range m.sorted(k) {
		if (cache.Selector{Namespace: o.Namespace, Labels: o.Labels, Fields: o.Fields}).Matches(i) && i.Name > o.Continue {
			out.Items = append(out.Items, i)
		}
	}
	if o.Limit > 0 && int64(len(out.Items)) > o.Limit {
		rest := int64(len(out.Items)) - o.Limit
		out.Items, out.Remaining = out.Items[:o.Limit], &rest
		out.Continue = out.Items[len(out.Items)-1].Name
	}
	return out, nil
}

func (m *memory) sorted(k *kinds.Kind) []*cache.Item {
	var all []*cache.Item
	for _, i := range m.items[k] {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *cache.Item) int { return strings.Compare(key(a.Namespace, a.Name), key(b.Namespace, b.Name)) })
	return all
}

type memoryWatch struct {
	m      *memory
	kind   *kinds.Kind
	events chan cache.Event
}

func (w *memoryWatch) Next(ctx context.Context) (cache.Event, error) {
	select {
	case e := <-w.events:
		return e, nil
	case <-ctx.Done():
		return cache.Event{}, ctx.Err()
	}
}

func (w *memoryWatch) Pending() bool { return len(w.events) > 0 }

func (w *memoryWatch) Close() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	delete(w.m.watchers, w)
}

func (m *memory) Watch(_ context.Context, k *kinds.Kind, o registry.WatchOptions) (Watch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	after, err := registry.ParseVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	w := &memoryWatch{m: m, kind: k, events: make(chan cache.Event, 1000)}
	if o.SendInitialEvents != nil && *o.SendInitialEvents {
		for _, i := range m.sorted(k) {
			w.events <- cache.Event{Type: watch.Added, Item: i, Revision: i.Revision}
		}
		if o.AllowBookmarks {
			w.events <- cache.Event{Type: watch.Bookmark, Revision: m.revision, InitialEnd: true}
		}
	} else {
		if after < m.floor {
			return nil, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", after, m.floor))
		}
		for _, e := range m.past[k] {
			if e.Revision > after {
				w.events <- e
			}
		}
	}
	m.watchers[w] = true
	return w, nil
}

func (m *memory) put(k *kinds.Kind, namespace string, obj kinds.Object, t watch.EventType) kinds.Object {
	m.revision++
	obj.SetResourceVersion("")
	raw, err := obj.Marshal()
	if err != nil {
		panic(err)
	}
	i := cache.NewItem(k, namespace, obj.GetName(), raw, m.revision, m.Strategy(k).Fields)
	if t == watch.Deleted {
		delete(m.items[k], key(namespace, obj.GetName()))
	} else {
		if m.items[k] == nil {
			m.items[k] = map[string]*cache.Item{}
		}
		m.items[k][key(namespace, obj.GetName())] = i
	}
	e := cache.Event{Type: t, Item: i, Revision: m.revision}
	m.past[k] = append(m.past[k], e)
	for w := range m.watchers {
		if w.kind == k {
			w.events <- e
		}
	}
	obj.SetResourceVersion(strconv.FormatInt(m.revision, 10))
	return obj
}

func (m *memory) Create(_ context.Context, k *kinds.Kind, namespace string, obj kinds.Object, o registry.WriteOptions) (kinds.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		obj.SetName(obj.GetGenerateName() + "12345")
	}
	if m.items[k][key(namespace, obj.GetName())] != nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
	}
	obj.SetUID(types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", m.revision)))
	obj.SetCreationTimestamp(metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	if o.DryRun {
		return obj, nil
	}
	return m.put(k, namespace, obj, watch.Added), nil
}

func (m *memory) Update(ctx context.Context, k *kinds.Kind, namespace, name, _ string, change registry.Change, o registry.UpdateOptions) (kinds.Object, bool, error) {
	for {
		m.mu.Lock()
		i := m.items[k][key(namespace, name)]
		m.mu.Unlock()
		if i == nil {
			if k != kinds.For[*coordinationv1.Lease]() { // the one kind here that a PUT creates
				return nil, false, apierrors.NewNotFound(k.GroupResource(), name)
			}
			obj, err := change(k.New())
			if err != nil {
				return nil, false, err
			}
			obj, err = m.Create(ctx, k, namespace, obj, o.WriteOptions)
			return obj, err == nil, err
		}
		obj, err := change(i.Object())
		if err != nil {
			return nil, false, err
		}
		if m.race != nil {
			race := m.race
			m.race = nil
			race()
		}
		obj, err = m.commit(k, namespace, i, obj, o)
		if errors.Is(err, errStale) {
			continue
		}
		return obj, false, err
	}
}

var errStale = errors.New("stale")

func (m *memory) commit(k *kinds.Kind, namespace string, was *cache.Item, obj kinds.Object, o registry.UpdateOptions) (kinds.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.items[k][key(namespace, was.Name)]
	version := obj.GetResourceVersion()
	if version != "" && version != strconv.FormatInt(now.Revision, 10) {
		return nil, apierrors.NewConflict(k.GroupResource(), was.Name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if now != was {
		return nil, errStale
	}
	old := now.Object()
	obj.SetUID(old.GetUID())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	if o.DryRun {
		return obj, nil
	}
	return m.put(k, namespace, obj, watch.Modified), nil
}

func (m *memory) Delete(_ context.Context, k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) (kinds.Object, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.items[k][key(namespace, name)]
	if i == nil {
		return nil, false, apierrors.NewNotFound(k.GroupResource(), name)
	}
	obj := i.Object()
	if len(o.DryRun) > 0 {
		return obj, true, nil
	}
	if len(obj.GetFinalizers()) > 0 {
		now := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC))
		obj.SetDeletionTimestamp(&now)
		return m.put(k, namespace, obj, watch.Modified), false, nil
	}
	return m.put(k, namespace, obj, watch.Deleted), true, nil
}

func (m *memory) DeleteCollection(ctx context.Context, k *kinds.Kind, l registry.ListOptions, o *metav1.DeleteOptions) ([]kinds.Object, int64, error) {
	list, err := m.List(ctx, k, l)
	if err != nil {
		return nil, 0, err
	}
	var out []kinds.Object
	for _, i := range list.Items {
		obj, _, err := m.Delete(ctx, k, i.Namespace, i.Name, o)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, obj)
	}
	return out, list.Revision, nil
}

func (m *memory) Bind(ctx context.Context, namespace string, b *corev1.Binding, dryRun bool) (*corev1.Pod, error) {
	obj, _, err := m.Update(ctx, kinds.For[*corev1.Pod](), namespace, b.Name, "binding", func(o kinds.Object) (kinds.Object, error) {
		o.(*corev1.Pod).Spec.NodeName = b.Target.Name
		return o, nil
	}, registry.UpdateOptions{WriteOptions: registry.WriteOptions{DryRun: dryRun}})
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

func (m *memory) Evict(ctx context.Context, namespace string, e *policyv1.Eviction) error {
	o := e.DeleteOptions
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	_, _, err := m.Delete(ctx, kinds.For[*corev1.Pod](), namespace, e.Name, o)
	return err
}

// doorman lets everybody in but "Bearer nobody", and permits everything but
// what is listed, as VERB RESOURCE.
type doorman struct{ forbids map[string]bool }

func (d doorman) Admit(ctx context.Context, c authn.Credentials, a authorizer.AttributesRecord) (context.Context, error) {
	if c.Token == "nobody" {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	a.User = &user.DefaultInfo{Name: "alice"}
	if err := d.Authorize(ctx, a); err != nil {
		return nil, err
	}
	return auth.WithUser(ctx, a.User), nil
}

func (d doorman) Authorize(_ context.Context, a authorizer.AttributesRecord) error {
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	if d.forbids[a.Verb+" "+resource] {
		return auth.Forbidden(a, "")
	}
	return nil
}

// oracle answers reviews and issues tokens.
type oracle struct{}

func (oracle) Review(ctx context.Context, _ *kinds.Kind, _ string, obj kinds.Object) (kinds.Object, error) {
	r, ok := obj.(*authorizationv1.SelfSubjectAccessReview)
	if !ok {
		return nil, apierrors.NewBadRequest("not known here")
	}
	r.Status.Allowed = auth.User(ctx).GetName() == "alice"
	return r, nil
}

func (oracle) Token(_ context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	r.Status.Token = namespace + ":" + account
	return r, nil
}
