package hook_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/action"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/hook"
)

// shell exits with the code that its argument has as its length.
type shell struct{}

func (shell) Exec(_ context.Context, _ string, spec engine.ExecSpec, s engine.Streams) (int, error) {
	if spec.Command[0] == "none" {
		return 0, errors.New("no such command")
	}
	_, err := s.Stderr.Write([]byte("said " + spec.Command[0]))
	return len(spec.Command[0]), err
}

var pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}

func run(ctx context.Context, r *hook.Runner, h corev1.LifecycleHandler, ip string) error {
	return r.Run(ctx, pod, &corev1.Container{Name: "app"}, "id", ip, &h)
}

func TestExec(t *testing.T) {
	r := &hook.Runner{Engine: shell{}}
	if err := run(t.Context(), r, corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{""}}}, ""); err != nil {
		t.Error(err)
	}
	err := run(t.Context(), r, corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"xy"}}}, "")
	want := `Exec lifecycle hook ([xy]) for Container "app" in Pod "web_ns(u)" failed - error: command 'xy' exited with 2, message: "said xy"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := run(t.Context(), r, corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"none"}}}, ""); err == nil {
		t.Error("a command that cannot run was content")
	}
	if err := run(t.Context(), r, corev1.LifecycleHandler{}, ""); err == nil {
		t.Error("an empty handler was content")
	}
}

func TestHTTP(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path + " " + r.UserAgent()
		w.WriteHeader(http.StatusTeapot) // any answer will do
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	plain := ""
	r := &hook.Runner{Client: action.Client(), Plain: func(_ *corev1.Pod, host string) { plain = host }}
	get := &corev1.HTTPGetAction{Path: "/bye", Port: intstr.Parse(port)}
	if err := run(t.Context(), r, corev1.LifecycleHandler{HTTPGet: get}, host); err != nil || asked != "/bye kube-lifecycle/1.37" {
		t.Errorf("asked %s, %v", asked, err)
	}
	get.Scheme = corev1.URISchemeHTTPS
	if err := run(t.Context(), r, corev1.LifecycleHandler{HTTPGet: get}, host); err != nil || plain != u.Host {
		t.Errorf("in plain text: %s, %v", plain, err)
	}
	if err := run(t.Context(), r, corev1.LifecycleHandler{HTTPGet: get}, ""); err == nil || !strings.Contains(err.Error(), "failed to find networking container") {
		t.Errorf("without an address: %v", err)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, start := &hook.Runner{Clock: clock.RealClock{}}, time.Now()
		h := corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 7}}
		if err := run(t.Context(), r, h, ""); err != nil || time.Since(start) != 7*time.Second {
			t.Errorf("slept %s, %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := run(ctx, r, h, ""); err == nil || !strings.Contains(err.Error(), "container terminated before sleep hook finished") {
			t.Errorf("got %v", err)
		}
	})
}
