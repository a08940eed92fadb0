package cluster_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/apitest"
	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/workbench"
)

func secret(name string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: workbench.Meta(name), Data: map[string][]byte{"k": []byte("v")}}
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p"}}
	return s
}

func TestCallsOverGRPC(t *testing.T) {
	api := apitest.New()
	ctx := t.Context()
	g := cluster.NewGRPC(ctx, api.Connect(t), nil, zaptest.NewLogger(t))
	k := kinds.For[*corev1.Secret]()
	made, err := g.Create(ctx, secret("a"))
	if err != nil || made.GetUID() == "" || made.GetResourceVersion() == "" {
		t.Fatalf("create: %v, %v", made, err)
	}
	if _, err := g.Create(ctx, secret("a")); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create again: %v", err)
	}
	stale := made.DeepCopyObject().(*corev1.Secret)
	if _, err := g.Patch(ctx, k, "default", "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), ""); err != nil {
		t.Fatalf("patch: %v", err)
	}
	stale.Data = nil
	if _, err := g.Update(ctx, stale, ""); !apierrors.IsConflict(err) {
		t.Fatalf("update of an old version: %v", err)
	}
	if list, err := g.List(ctx, k, "default"); err != nil || len(list) != 1 || list[0].GetLabels()["x"] != "y" {
		t.Fatalf("list: %v, %v", list, err)
	}
	other := types.UID("other")
	if err := g.Delete(ctx, k, "default", "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}}); !apierrors.IsConflict(err) {
		t.Fatalf("delete of another: %v", err)
	}
	if err := g.DeleteCollection(ctx, k, "default", metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete all: %v", err)
	}
	if _, err := g.Get(ctx, k, "default", "a"); !apierrors.IsNotFound(err) {
		t.Fatalf("get: %v", err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}
	o, err := g.Create(ctx, ns)
	if err != nil {
		t.Fatal(err)
	}
	ns = o.(*corev1.Namespace)
	ns.Spec.Finalizers = nil
	if o, err = g.Update(ctx, ns, "finalize"); err != nil || len(o.(*corev1.Namespace).Spec.Finalizers) != 0 {
		t.Fatalf("finalize: %v, %v", o, err)
	}
	o.(*corev1.Namespace).Status.Phase = corev1.NamespaceTerminating
	if o, err = g.Update(ctx, o, "status"); err != nil || o.(*corev1.Namespace).Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("status: %v, %v", o, err)
	}
}

// changesOf says what caches tell: what came, changed and went, by name.
func changesOf(caches ...cluster.Cache) chan string {
	changes := make(chan string, 10)
	for _, c := range caches {
		c.OnChange(func(before, after kinds.Object) {
			switch {
			case before == nil:
				changes <- "+" + after.GetName()
			case after == nil:
				changes <- "-" + before.GetName()
			default:
				changes <- "~" + after.GetName()
			}
		})
	}
	return changes
}

func TestCachesAreFilledAndTell(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other clean-up
	api := apitest.New()
	conn := api.Connect(t)
	api.Seed(secret("first"))
	ctx, cancel := context.WithCancel(context.Background())
	g := cluster.NewGRPC(ctx, conn, nil, zaptest.NewLogger(t))

	whole := cluster.Of[*corev1.Pod](g)
	slim := g.Metadata(kinds.For[*corev1.Secret]())
	named := g.Named(kinds.For[*corev1.ConfigMap](), "wanted")
	slim.Index("owner", func(v any) ([]string, error) {
		return []string{string(v.(metav1.Object).GetOwnerReferences()[0].UID)}, nil
	})
	changes := changesOf(whole, slim, named)
	g.Open()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	for _, c := range []cluster.Cache{whole, slim, named} {
		<-c.Synced()
	}
	expect := func(want string) {
		t.Helper()
		if got := <-changes; got != want {
			t.Fatalf("change %s, want %s", got, want)
		}
	}
	expect("+first")
	o, ok := cluster.Get[metav1.Object](slim, "default", "first")
	if _, isSecret := o.(*corev1.Secret); !ok || isSecret {
		t.Fatalf("%T in a cache of metadata", o)
	}
	if got := cluster.By[metav1.Object](slim, "owner", "p"); len(got) != 1 {
		t.Fatalf("by owner: %v", got)
	}
	api.Seed(&corev1.ConfigMap{ObjectMeta: workbench.Meta("other")}, &corev1.ConfigMap{ObjectMeta: workbench.Meta("wanted")})
	expect("+wanted")
	pod := &corev1.Pod{ObjectMeta: workbench.Meta("p")}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	api.Seed(pod)
	expect("+p")
	p, _ := cluster.Get[*corev1.Pod](whole, "default", "p")
	if len(p.ManagedFields) != 0 || p.UID == "" {
		t.Fatalf("pod %+v", p)
	}
	api.Seed(p.DeepCopy())
	expect("~p")
	if err := api.Delete(ctx, kinds.For[*corev1.Pod](), "default", "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("-p")
	storeFollows(t, api, whole, expect)
	cancel()
	wg.Wait()
}

// storeFollows checks what tells loops that their own writes are seen: the
// store's version.
func storeFollows(t *testing.T, api *apitest.API, pods cluster.Cache, expect func(string)) {
	t.Helper()
	latest, err := api.Create(t.Context(), &corev1.Pod{ObjectMeta: workbench.Meta("q")})
	if err != nil {
		t.Fatal(err)
	}
	expect("+q")
	if v := pods.Indexer().LastStoreSyncResourceVersion(); v != latest.GetResourceVersion() {
		t.Fatalf("the store is at %q, the newest pod at %q", v, latest.GetResourceVersion())
	}
}
