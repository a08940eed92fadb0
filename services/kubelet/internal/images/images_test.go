package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/events"
)

// registry is an engine with a registry behind it.
type registry struct {
	local  map[string]bool
	remote map[string]bool
	user   string // who may pull; empty: everybody
	err    error
	pulls  int
}

func (r *registry) Image(_ context.Context, ref string) (engine.Image, bool, error) {
	return engine.Image{ID: "id-" + ref}, r.local[ref], nil
}

func (r *registry) Pull(_ context.Context, ref string, auth *engine.Auth) (engine.Image, error) {
	r.pulls++
	switch {
	case r.err != nil:
		return engine.Image{}, r.err
	case r.user != "" && (auth == nil || auth.Username != r.user):
		return engine.Image{}, fmt.Errorf("pull access denied: %w", engine.ErrUnauthorized)
	case !r.remote[ref]:
		return engine.Image{}, fmt.Errorf("manifest for %s: %w", ref, engine.ErrNotFound)
	}
	r.local[ref] = true
	return engine.Image{ID: "id-" + ref, Size: 42}, nil
}

func setup(r *registry) (*Puller, *record.FakeRecorder, *testclock.FakeClock) {
	fake, c := record.NewFakeRecorder(100), testclock.NewFakeClock(time.Unix(1000, 0))
	secret := &corev1.Secret{Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"registry.lab:5000":{"auth":"` +
		base64.StdEncoding.EncodeToString([]byte("ann:pw")) + `"}}}`)}}
	return &Puller{
		Engine: r, Events: events.Recorder{Sink: fake}, Clock: c, Log: zap.NewNop(),
		Secrets: func(_ context.Context, _, name string) (*corev1.Secret, error) {
			if name == "reg" {
				return secret, nil
			}
			return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
		},
	}, fake, c
}

func reasons(fake *record.FakeRecorder) []string {
	var out []string
	for {
		select {
		case e := <-fake.Events:
			out = append(out, strings.Fields(e)[1])
		default:
			return out
		}
	}
}

func pod(secrets ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	for _, s := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

func TestPolicies(t *testing.T) {
	for _, test := range []struct {
		name, image    string
		policy         corev1.PullPolicy
		local, remote  bool
		reason         string
		events         []string
		pulls          int
		messageHasPart string
	}{
		{"always pulls", "app:1", corev1.PullAlways, true, true, "", []string{"Pulling", "Pulled"}, 1, ""},
		{"present is enough", "app:1", corev1.PullIfNotPresent, true, true, "", []string{"Pulled"}, 0, ""},
		{"absent is pulled", "app:1", corev1.PullIfNotPresent, false, true, "", []string{"Pulling", "Pulled"}, 1, ""},
		{"never pulls", "app:1", corev1.PullNever, false, true, "ErrImageNeverPull", []string{"ErrImageNeverPull"}, 0, "is not present with pull policy of Never"},
		{"never needs", "app:1", corev1.PullNever, true, false, "", []string{"Pulled"}, 0, ""},
		{"nowhere", "app:1", corev1.PullIfNotPresent, false, false, "ErrImagePull", []string{"Pulling", "Failed"}, 1, "manifest for app:1"},
		{"no name", "App:::", corev1.PullIfNotPresent, false, false, "InvalidImageName", []string{"InspectFailed"}, 0, "Failed to apply default image tag"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &registry{local: map[string]bool{"app:1": test.local}, remote: map[string]bool{"app:1": test.remote}}
			p, fake, _ := setup(r)
			image, err := p.Ensure(t.Context(), pod(), "app", test.image, test.policy)
			var f *Failure
			switch {
			case test.reason == "" && (err != nil || image.ID != "id-app:1"):
				t.Errorf("got %v, %v", image, err)
			case test.reason != "" && (!errors.As(err, &f) || f.Reason != test.reason || !strings.Contains(f.Message, test.messageHasPart)):
				t.Errorf("got %v, want %s", err, test.reason)
			}
			if got := reasons(fake); !slices.Equal(got, test.events) || r.pulls != test.pulls {
				t.Errorf("events %v, pulls %d", got, r.pulls)
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	r := &registry{local: map[string]bool{}, remote: map[string]bool{}}
	p, fake, c := setup(r)
	var f *Failure
	step := func(reason string, until time.Duration) {
		t.Helper()
		_, err := p.Ensure(t.Context(), pod(), "app", "app", corev1.PullAlways)
		if !errors.As(err, &f) || f.Reason != reason || f.Until.Sub(c.Now()) != until {
			t.Fatalf("got %v until %v, want %s until %s", err, f.Until.Sub(c.Now()), reason, until)
		}
		c.SetTime(f.Until)
	}
	step("ErrImagePull", settle)
	step("ImagePullBackOff", 8*time.Second)
	if want := `Back-off pulling image "app": ErrImagePull: manifest for app:latest: not found`; f.Message != want {
		t.Errorf("got %q, want %q", f.Message, want)
	}
	step("ErrImagePull", settle)
	step("ImagePullBackOff", 18*time.Second)
	r.remote["app:latest"] = true
	if _, err := p.Ensure(t.Context(), pod(), "app", "app", corev1.PullAlways); err != nil {
		t.Fatal(err)
	}
	delete(r.remote, "app:latest")
	step("ErrImagePull", settle)
	step("ImagePullBackOff", 8*time.Second)
	p.Forget("u")
	step("ErrImagePull", settle)
	if got := reasons(fake); !slices.Contains(got, "BackOff") {
		t.Errorf("events: %v", got)
	}
}

func TestSecrets(t *testing.T) {
	r := &registry{local: map[string]bool{}, remote: map[string]bool{"registry.lab:5000/app:1": true}, user: "ann"}
	p, fake, _ := setup(r)
	if _, err := p.Ensure(t.Context(), pod("reg"), "app", "registry.lab:5000/app:1", corev1.PullAlways); err != nil {
		t.Error(err)
	}
	if _, err := p.Ensure(t.Context(), pod("gone"), "app", "registry.lab:5000/app:1", corev1.PullAlways); err == nil {
		t.Error("pulled without credentials")
	}
	if got := reasons(fake); got[len(got)-1] != "FailedToRetrieveImagePullSecret" {
		t.Errorf("events: %v", got)
	}
}

func TestUnavailable(t *testing.T) {
	p, _, _ := setup(&registry{err: fmt.Errorf("dial: %w", engine.ErrRegistryUnavailable)})
	var f *Failure
	if _, err := p.Ensure(t.Context(), pod(), "app", "app:1", corev1.PullAlways); !errors.As(err, &f) || f.Reason != "RegistryUnavailable" {
		t.Errorf("got %v", err)
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, repository string
		want                bool
	}{
		{"registry.lab:5000", "registry.lab:5000/a/b", true},
		{"registry.lab", "registry.lab:5000/a", false},
		{"*.example.com", "eu.example.com/a", true},
		{"*.example.com", "a.eu.example.com/a", false},
		{"example.com/team", "example.com/team/app", true},
		{"example.com/team", "example.com/other/app", false},
	} {
		if got := matches(test.pattern, test.repository); got != test.want {
			t.Errorf("%s and %s: got %v", test.pattern, test.repository, got)
		}
	}
	docker := []byte(`{"https://index.docker.io/v1/":{"username":"u","password":"p"}}`)
	if got := credentials([][]byte{docker}, "nginx:1"); got[0] == nil || got[0].Username != "u" {
		t.Errorf("docker.io: %v", got[0])
	}
	if got := credentials([][]byte{docker}, "quay.io/nginx:1"); got[0] != nil {
		t.Errorf("quay.io: %v", got[0])
	}
}
