package objects_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/objects"
)

// server holds one ConfigMap named cm in ns, and its watchers.
type server struct {
	mu       sync.Mutex
	value    string // empty: absent
	gets     int
	watches  int
	watchers map[chan struct{}]bool
}

func (s *server) set(v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = v
	for w := range s.watchers {
		w <- struct{}{}
	}
}

func (s *server) object() (*corev1.ConfigMap, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &corev1.ConfigMap{Data: map[string]string{"v": s.value}}, s.value != ""
}

func (s *server) feed() objects.Feed[*corev1.ConfigMap] {
	return objects.Feed[*corev1.ConfigMap]{
		Get: func(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
			o, ok := s.object()
			s.mu.Lock()
			s.gets++
			s.mu.Unlock()
			if !ok || name != "cm" {
				return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
			}
			return o, nil
		},
		Watch: func(ctx context.Context, _, _ string, each func(*corev1.ConfigMap, bool)) error {
			w := make(chan struct{}, 16)
			s.mu.Lock()
			s.watches++
			s.watchers[w] = true
			s.mu.Unlock()
			defer func() {
				s.mu.Lock()
				delete(s.watchers, w)
				s.mu.Unlock()
			}()
			if o, ok := s.object(); ok {
				each(o, true)
			}
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-w:
					o, ok := s.object()
					if o.Data["v"] == "break" {
						return errors.New("broken")
					}
					each(o, ok)
				}
			}
		},
	}
}

func pod(uid string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", UID: types.UID(uid)},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}},
		}}}},
	}
}

func TestStoreFollowsWhatPodsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{watchers: map[chan struct{}]bool{}, value: "1"}
		var mu sync.Mutex
		changed := map[types.UID]int{}
		secrets := objects.Feed[*corev1.Secret]{}
		store := objects.New(s.feed(), secrets, clock.RealClock{}, zap.NewNop(), func(uid types.UID) {
			mu.Lock()
			defer mu.Unlock()
			changed[uid]++
		})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = store.Run(ctx) })

		get := func(want string) {
			t.Helper()
			got, err := store.ConfigMap(ctx, "ns", "cm")
			if want == "" && apierrors.IsNotFound(err) {
				return
			}
			if err != nil || got.Data["v"] != want {
				t.Fatalf("got %v, %v, want %q", got, err, want)
			}
		}
		store.Use(pod("a"))
		store.Use(pod("b"))
		synctest.Wait()
		get("1")
		s.set("2")
		synctest.Wait()
		get("2")
		if s.gets != 0 || s.watches != 1 {
			t.Errorf("%d gets, %d watches", s.gets, s.watches)
		}
		if changed["a"] != 2 || changed["b"] < 1 {
			t.Errorf("changes told: %v", changed)
		}
		s.set("")
		synctest.Wait()
		get("")
		s.set("break")
		synctest.Wait()
		s.value = "3"
		get("3") // asked for, while no watch tells
		time.Sleep(time.Second)
		synctest.Wait()
		gets := s.gets
		get("3")
		if s.gets != gets || s.watches != 2 {
			t.Errorf("not followed again: %d watches", s.watches)
		}
		store.Forget("a")
		synctest.Wait()
		if len(s.watchers) != 1 {
			t.Errorf("%d watchers while a pod is left", len(s.watchers))
		}
		store.Forget("b")
		synctest.Wait()
		if len(s.watchers) != 0 {
			t.Errorf("%d watchers after the last pod", len(s.watchers))
		}
		cancel()
		group.Wait()
	})
}
