package admission

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	clocktesting "k8s.io/utils/clock/testing"

	"coracle.local/libs/kinds"
	"coracle.local/libs/quota"
)

// quotaStore keeps quotas as an API server does: who writes an old version
// fails. Each write is one turn of the plugin.
type quotaStore struct {
	mu     sync.Mutex
	quotas map[string]*corev1.ResourceQuota
	writes int
	// before is called before each write; it may write itself.
	before func(*quotaStore)
}

func newQuotaStore(quotas ...*corev1.ResourceQuota) *quotaStore {
	s := &quotaStore{quotas: map[string]*corev1.ResourceQuota{}}
	for _, q := range quotas {
		q.ResourceVersion = "1"
		s.quotas[q.Name] = q
	}
	return s
}

func (s *quotaStore) Get(*kinds.Kind, string, string) (kinds.Object, bool) { return nil, false }

func (s *quotaStore) List(k *kinds.Kind, namespace string) []kinds.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []kinds.Object
	for _, q := range s.quotas {
		if k == kinds.For[*corev1.ResourceQuota]() && q.Namespace == namespace {
			out = append(out, q.DeepCopy())
		}
	}
	return out
}

func (s *quotaStore) live(_ context.Context, k *kinds.Kind, _, name string) (kinds.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.quotas[name]; q != nil {
		return q.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

func (s *quotaStore) write(_ context.Context, q *corev1.ResourceQuota) error {
	if s.before != nil {
		s.before(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.quotas[q.Name].ResourceVersion != q.ResourceVersion {
		return apierrors.NewConflict(kinds.ForObject(q).GroupResource(), q.Name, errors.New("modified"))
	}
	q = q.DeepCopy()
	version, _ := strconv.Atoi(q.ResourceVersion)
	q.ResourceVersion = strconv.Itoa(version + 1)
	s.quotas[q.Name] = q
	return nil
}

func (s *quotaStore) plugin(limited ...quota.Limited) *resourceQuota {
	return newResourceQuota(Config{
		Reader: s, Live: s.live, ChargeQuota: s.write, Clock: clocktesting.NewFakeClock(start), settings: settings{limited: limited},
	})
}

func (s *quotaStore) used(name string) string { return quota.Format(s.quotas[name].Status.Used) }

// quotaOf has a status as the controller leaves it, with the amounts used.
func quotaOf(name string, hard, used map[corev1.ResourceName]string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: meta("ns", name)}
	q.Spec.Hard, q.Status.Used = corev1.ResourceList{}, corev1.ResourceList{}
	for n, x := range hard {
		q.Spec.Hard[n] = resource.MustParse(x)
		q.Status.Used[n] = resource.MustParse("0")
	}
	for n, x := range used {
		q.Status.Used[n] = resource.MustParse(x)
	}
	q.Status.Hard = q.Spec.Hard.DeepCopy()
	return q
}

type amounts = map[corev1.ResourceName]string

func podAsking(name string, requests, limits amounts) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta("ns", name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	r := &p.Spec.Containers[0].Resources
	r.Requests, r.Limits = corev1.ResourceList{}, corev1.ResourceList{}
	for n, x := range requests {
		r.Requests[n] = resource.MustParse(x)
	}
	for n, x := range limits {
		r.Limits[n] = resource.MustParse(x)
	}
	return p
}

func TestQuotaRefuses(t *testing.T) {
	scoped := func(q *corev1.ResourceQuota, scopes ...corev1.ResourceQuotaScope) *corev1.ResourceQuota {
		q.Spec.Scopes = scopes
		return q
	}
	service := func(kind corev1.ServiceType, ports int) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta("ns", "s"), Spec: corev1.ServiceSpec{Type: kind, Ports: make([]corev1.ServicePort, ports)}}
	}
	tests := []struct {
		name    string
		quota   *corev1.ResourceQuota
		request *Attributes
		limited []quota.Limited
		refusal string
		used    string
	}{
		{
			name: "within", quota: quotaOf("q", amounts{"pods": "10", "requests.cpu": "1"}, nil),
			request: create(podAsking("p", amounts{"cpu": "300m"}, nil)), used: "pods=1,requests.cpu=300m",
		},
		{
			name: "full", quota: quotaOf("q", amounts{"pods": "10"}, amounts{"pods": "10"}),
			request: create(podAsking("p", nil, nil)),
			refusal: `pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10`, used: "pods=10",
		},
		{
			name: "only what exceeds is named", quota: quotaOf("q", amounts{"pods": "10", "requests.cpu": "1", "limits.memory": "1Gi"}, amounts{"requests.cpu": "800m"}),
			request: create(podAsking("p", amounts{"cpu": "300m"}, amounts{"memory": "2Gi"})),
			refusal: "exceeded quota: q, requested: limits.memory=2Gi,requests.cpu=300m, used: limits.memory=0,requests.cpu=800m, limited: limits.memory=1Gi,requests.cpu=1",
			used:    "limits.memory=0,pods=0,requests.cpu=800m",
		},
		{
			name: "compute resources must be given", quota: quotaOf("q", amounts{"limits.cpu": "1", "requests.memory": "1Gi"}, nil),
			request: create(podAsking("p", nil, nil)),
			refusal: "failed quota: q: must specify limits.cpu for: c; requests.memory for: c", used: "limits.cpu=0,requests.memory=0",
		},
		{
			name: "not counted yet", quota: func() *corev1.ResourceQuota {
				q := quotaOf("q", amounts{"pods": "1"}, nil)
				q.Status.Used = nil
				return q
			}(),
			request: create(podAsking("p", nil, nil)), refusal: "status unknown for quota: q, resources: pods",
		},
		{
			name: "without its first status it does not hold", quota: func() *corev1.ResourceQuota {
				q := quotaOf("q", amounts{"pods": "0"}, nil)
				q.Status = corev1.ResourceQuotaStatus{}
				return q
			}(),
			request: create(podAsking("p", nil, nil)),
		},
		{
			name: "out of scope", quota: scoped(quotaOf("q", amounts{"pods": "0"}, nil), corev1.ResourceQuotaScopeNotBestEffort),
			request: create(podAsking("p", nil, nil)), used: "pods=0",
		},
		{
			name: "in scope", quota: scoped(quotaOf("q", amounts{"pods": "0"}, nil), corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotTerminating),
			request: create(podAsking("p", nil, nil)), refusal: "exceeded quota: q", used: "pods=0",
		},
		{
			name: "kinds are counted", quota: quotaOf("q", amounts{"count/configmaps": "1", "configmaps": "1"}, nil),
			request: create(&corev1.ConfigMap{ObjectMeta: meta("ns", "c")}), used: "configmaps=1,count/configmaps=1",
		},
		{
			name: "updates of what is counted are free", quota: quotaOf("q", amounts{"configmaps": "0"}, nil),
			request: update(&corev1.ConfigMap{ObjectMeta: meta("ns", "c")}, &corev1.ConfigMap{ObjectMeta: meta("ns", "c")}), used: "configmaps=0",
		},
		{
			name: "events are free", quota: quotaOf("q", amounts{"count/events": "0"}, nil),
			request: create(&corev1.Event{ObjectMeta: meta("ns", "e")}), used: "count/events=0",
		},
		{
			name: "node ports by change of type", quota: quotaOf("q", amounts{"services": "1", "services.nodeports": "1"}, amounts{"services": "1"}),
			request: update(service(corev1.ServiceTypeNodePort, 2), service(corev1.ServiceTypeClusterIP, 2)),
			refusal: "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1",
			used:    "services=1,services.nodeports=0",
		},
		{
			name: "resize pays the difference", quota: quotaOf("q", amounts{"requests.cpu": "1"}, amounts{"requests.cpu": "900m"}),
			request: update(podAsking("p", amounts{"cpu": "300m"}, nil), podAsking("p", amounts{"cpu": "200m"}, nil)).sub("resize"),
			used:    "requests.cpu=1",
		},
		{
			name: "smaller is free, and the recount gives it back", quota: quotaOf("q", amounts{"requests.cpu": "1"}, amounts{"requests.cpu": "2"}),
			request: update(podAsking("p", amounts{"cpu": "1"}, nil), podAsking("p", amounts{"cpu": "2"}, nil)).sub("resize"),
			used:    "requests.cpu=2",
		},
		{
			name: "dry run", quota: quotaOf("q", amounts{"pods": "1"}, nil),
			request: func() *Attributes { a := create(podAsking("p", nil, nil)); a.DryRun = true; return a }(), used: "pods=0",
		},
		{
			name: "limited resource without a quota", quota: quotaOf("q", amounts{"configmaps": "1"}, nil),
			request: create(podAsking("p", amounts{"cpu": "1"}, nil)),
			limited: []quota.Limited{{Resource: "pods", MatchContains: []string{"requests.cpu"}}},
			refusal: "insufficient quota to consume: requests.cpu", used: "configmaps=0",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newQuotaStore(test.quota)
			expect(t, s.plugin(test.limited...).Validate(t.Context(), test.request), test.refusal)
			if got := s.used("q"); got != test.used {
				t.Errorf("used %s, want %s", got, test.used)
			}
		})
	}
}

// A hundred at once, and another writer that gets in between: ten are let in.
func TestQuotaIsExactUnderConcurrency(t *testing.T) {
	s := newQuotaStore(quotaOf("small", amounts{"pods": "10"}, nil), quotaOf("large", amounts{"pods": "50"}, nil))
	var interruptions atomic.Int32
	s.before = func(s *quotaStore) {
		if interruptions.Add(1) > 3 {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		q := s.quotas["small"].DeepCopy()
		q.ResourceVersion += "0"
		s.quotas["small"] = q
	}
	p := s.plugin()
	var in, out atomic.Int32
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			err := p.Validate(t.Context(), create(podAsking(fmt.Sprintf("p%d", i), nil, nil)))
			switch {
			case err == nil:
				in.Add(1)
			case apierrors.IsForbidden(err):
				out.Add(1)
			default:
				t.Errorf("pod %d: %v", i, err)
			}
		})
	}
	group.Wait()
	if in.Load() != 10 || out.Load() != 90 {
		t.Errorf("%d in, %d out", in.Load(), out.Load())
	}
	if got := s.used("small"); got != "pods=10" {
		t.Errorf("used %s", got)
	}
	if len(p.spaces) != 0 {
		t.Errorf("%d namespaces are remembered", len(p.spaces))
	}
}

// A request that is given up must not take those with it that it pays for.
func TestQuotaOutlivesTheRequest(t *testing.T) {
	s := newQuotaStore(quotaOf("q", amounts{"pods": "10"}, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.plugin().Validate(ctx, create(podAsking("p", nil, nil))); err != nil {
		t.Fatal(err)
	}
	if got := s.used("q"); got != "pods=1" {
		t.Errorf("used %s", got)
	}
}
