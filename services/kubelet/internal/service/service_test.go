package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"coracle.local/libs/client"
	"coracle.local/libs/serve"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/hollow"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/service"
	"coracle.local/services/kubelet/internal/stats"
)

// pods is one pod, web, whose container app runs and whose container done has
// ended.
type pods struct{ tty, once bool }

func (p pods) Snapshots() []agent.Snapshot {
	started := metav1.NewTime(time.Unix(1000, 0))
	return []agent.Snapshot{{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", TTY: p.tty, StdinOnce: p.once}, {Name: "done"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
				{Name: "app", ContainerID: "x://app-id", RestartCount: 2, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}},
				{Name: "done", ContainerID: "x://done-id", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "x://done-id"}}},
			}},
		},
		Seen: engine.Pod{
			Sandboxes:  []engine.Sandbox{{ID: "sandbox-id", Ready: true}},
			Containers: []engine.Container{{ID: "app-id", Name: "app", State: engine.Running}, {ID: "done-id", Name: "done", State: engine.Exited}},
		},
		Memory: lifecycle.Memory{Holds: map[string]lifecycle.Hold{"done": {Container: "done", Reason: "CrashLoopBackOff", Until: time.Unix(2000, 0)}}},
		Next:   lifecycle.Action{Verb: lifecycle.Wait, Why: "everything runs"}, Failure: errors.New("it failed"),
	}}
}

func (p pods) Snapshot(namespace, name string, uid types.UID) (agent.Snapshot, bool) {
	s := p.Snapshots()[0]
	return s, s.Pod.Namespace == namespace && s.Pod.Name == name && (uid == "" || uid == s.Pod.UID)
}

// processes is an engine whose commands echo.
type processes struct {
	*hollow.Engine
	logs engine.LogOptions
}

func (p *processes) Logs(_ context.Context, id string, o engine.LogOptions, stdout, stderr io.Writer) error {
	p.logs = o
	for w, text := range map[io.Writer]string{stdout: "out of " + id, stderr: "err of " + id} {
		if w != nil {
			if _, err := w.Write([]byte(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Exec says what it was asked for, then its input, then the terminal's size.
func (p *processes) Exec(_ context.Context, id string, spec engine.ExecSpec, s engine.Streams) (int, error) {
	if _, err := fmt.Fprintf(s.Stdout, "%s runs %v, tty %v: ", id, spec.Command, spec.TTY); err != nil {
		return 0, err
	}
	if s.Stdin != nil {
		if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
			return 0, err
		}
	}
	if s.Resize != nil {
		size := <-s.Resize
		if _, err := fmt.Fprintf(s.Stdout, " %dx%d", size.Width, size.Height); err != nil {
			return 0, err
		}
	}
	if s.Stderr != nil {
		if _, err := s.Stderr.Write([]byte(strings.Repeat("e", 100_000))); err != nil {
			return 0, err
		}
	}
	return 42, nil
}

// Attach echoes one read, and tells whether the input then ends.
func (p *processes) Attach(ctx context.Context, _ string, _ bool, s engine.Streams) error {
	b := make([]byte, 100)
	n, err := s.Stdin.Read(b)
	if err != nil {
		return err
	}
	if _, err := s.Stdout.Write(b[:n]); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = s.Stdin.Read(b) // only that it returns matters
		close(ended)
	}()
	select {
	case <-ended:
		_, err = s.Stdout.Write([]byte(" and ended"))
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *processes) PortForward(_ context.Context, id string, port int32, conn io.ReadWriter) error {
	if _, err := fmt.Fprintf(conn, "%s:%d ", id, port); err != nil {
		return err
	}
	_, err := io.Copy(conn, conn)
	return err
}

type measured struct{}

func (measured) Measure(_ context.Context, only types.UID) (stats.Summary, error) {
	return stats.Summary{Node: stats.Node{Name: "n1"}, Pods: []stats.Pod{{Name: "web", UID: "u", Containers: []stats.Container{{Name: string(only)}}}}}, nil
}

func connect(t *testing.T, p pods) (kubeletv1.KubeletServiceClient, *processes) {
	t.Helper()
	e := &processes{Engine: hollow.New(hollow.Config{})}
	s := service.New(service.Config{Node: "n1", Pods: p, Engine: e, Stats: measured{}, Clock: clock.RealClock{}})
	pipe := serve.NewPipe()
	g := serve.GRPC(
		func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			return h(ctx, r)
		},
		func(srv any, st grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return h(srv, st)
		},
		grpc.Creds(serve.Credentials(nil)))
	s.Register(g)
	go func() { _ = g.Serve(pipe) }()
	cc, err := pipe.Dial(&user.DefaultInfo{Name: "admin"}, client.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close(); g.Stop() })
	return kubeletv1.NewKubeletServiceClient(cc), e
}

func ref() *kubeletv1.PodRef { return &kubeletv1.PodRef{Namespace: "ns", Name: "web"} }

func TestPods(t *testing.T) {
	c, _ := connect(t, pods{})
	got, err := c.GetPod(t.Context(), &kubeletv1.GetPodRequest{Pod: ref()})
	if err != nil || got.GetPod().GetRestarts() != 2 || got.GetLastError() != "it failed" || got.GetHolds()[0].GetUntil().GetSeconds() != 2000 ||
		got.GetPod().GetNext().GetWhy() != "everything runs" {
		t.Errorf("got %v, %v", got, err)
	}
	wrong := ref()
	wrong.Uid = "other"
	if _, err := c.GetPod(t.Context(), &kubeletv1.GetPodRequest{Pod: wrong}); !apierrors.IsNotFound(err) {
		t.Errorf("another UID: %v", err)
	}
	m, err := c.Stats(t.Context(), &kubeletv1.StatsRequest{Pod: ref()})
	if err != nil || m.GetNode() != nil || m.GetPods()[0].GetContainers()[0].GetName() != "u" {
		t.Errorf("stats: %v, %v", m, err)
	}
}

func TestLogs(t *testing.T) {
	c, e := connect(t, pods{})
	lines, seconds := int64(5), int64(60)
	read := func(r *kubeletv1.LogsRequest) (string, string, error) {
		s, err := c.Logs(t.Context(), r)
		var out, errs string
		for err == nil {
			var m *kubeletv1.LogsResponse
			if m, err = s.Recv(); err == nil && m.GetStream() == kubeletv1.Stream_STREAM_STDERR {
				errs += string(m.GetData())
			} else if err == nil {
				out += string(m.GetData())
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return out, errs, err
	}
	out, errs, err := read(&kubeletv1.LogsRequest{Pod: ref(), Container: "app", TailLines: &lines, SinceSeconds: &seconds, Follow: true, Timestamps: true})
	if err != nil || out != "out of app-id" || errs != "err of app-id" {
		t.Errorf("got %q, %q, %v", out, errs, err)
	}
	if e.logs.Tail != 5 || !e.logs.Follow || !e.logs.Timestamps || e.logs.Since.IsZero() {
		t.Errorf("options %+v", e.logs)
	}
	if out, errs, err = read(&kubeletv1.LogsRequest{Pod: ref(), Container: "done", Stream: kubeletv1.Stream_STREAM_STDERR}); err != nil || out != "" || errs != "err of done-id" {
		t.Errorf("stderr alone: %q, %q, %v", out, errs, err)
	}
	if e.logs.Tail != -1 {
		t.Errorf("options %+v", e.logs)
	}
	for container, want := range map[string]string{"": "a container name must be specified for pod web, choose one of: [app done]", "none": "container none is not valid for pod web"} {
		if _, _, err := read(&kubeletv1.LogsRequest{Pod: ref(), Container: container}); !apierrors.IsBadRequest(err) || err.Error() != want {
			t.Errorf("container %q: %v", container, err)
		}
	}
	if _, _, err := read(&kubeletv1.LogsRequest{Pod: ref(), Container: "app", Previous: true}); !apierrors.IsBadRequest(err) || err.Error() != `previous terminated container "app" in pod "web" not found` {
		t.Errorf("previous: %v", err)
	}
}

func start(container string, command ...string) *kubeletv1.ExecRequest_Start {
	return &kubeletv1.ExecRequest_Start{Pod: ref(), Container: container, Command: command, Stdin: true, Stdout: true, Stderr: true}
}

// exec runs a command and sends it a few messages.
func exec(t *testing.T, c kubeletv1.KubeletServiceClient, s *kubeletv1.ExecRequest_Start, messages ...*kubeletv1.ExecRequest) (out, errs string, code int32, err error) {
	t.Helper()
	stream, err := c.Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append([]*kubeletv1.ExecRequest{{Message: &kubeletv1.ExecRequest_Start_{Start: s}}}, messages...) {
		if err := stream.Send(m); err != nil {
			break // the answer tells why
		}
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, errs, code, nil
		}
		if err != nil {
			return out, errs, code, err
		}
		out, errs = out+string(m.GetStdout()), errs+string(m.GetStderr())
		if x := m.GetExit(); x != nil {
			code = x.GetCode()
		}
	}
}

func TestExec(t *testing.T) {
	c, _ := connect(t, pods{})
	say := func(s string) *kubeletv1.ExecRequest {
		return &kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_Stdin{Stdin: []byte(s)}}
	}
	bye := &kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_StdinClosed{StdinClosed: true}}
	size := &kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_Resize{Resize: &kubeletv1.TerminalSize{Width: 80, Height: 24}}}
	out, errs, code, err := exec(t, c, start("app", "cat"), say("one "), say("two"), bye)
	if err != nil || out != "app-id runs [cat], tty false: one two" || len(errs) != 100_000 || code != 42 {
		t.Errorf("got %q, %d bytes, %d, %v", out, len(errs), code, err)
	}
	tty := start("app", "sh")
	tty.Tty = true
	if out, errs, _, err = exec(t, c, tty, size, say("x"), bye); err != nil || out != "app-id runs [sh], tty true: x 80x24" || errs != "" {
		t.Errorf("with a terminal: %q, %q, %v", out, errs, err)
	}
	for name, s := range map[string]*kubeletv1.ExecRequest_Start{"ended": start("done", "x"), "no command": start("app"), "none": start("none", "x")} {
		if _, _, _, err := exec(t, c, s); !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// attach says hi and closes its side; it returns what came until the end, or
// until silence is what there will be.
func attach(t *testing.T, p pods) (string, error) {
	t.Helper()
	c, _ := connect(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := c.Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first := &kubeletv1.AttachRequest_Start{Pod: ref(), Container: "app", Stdin: true, Stdout: true}
	for _, m := range []*kubeletv1.AttachRequest{
		{Message: &kubeletv1.AttachRequest_Start_{Start: first}}, {Message: &kubeletv1.AttachRequest_Stdin{Stdin: []byte("hi")}},
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	out := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if out += string(m.GetStdout()); !p.once {
			cancel()
		}
	}
}

func TestAttach(t *testing.T) {
	if out, err := attach(t, pods{once: true}); err != nil || out != "hi and ended" {
		t.Errorf("once: %q, %v", out, err)
	}
	// The container's input outlives the caller.
	if out, err := attach(t, pods{}); err == nil || out != "hi" {
		t.Errorf("not once: %q, %v", out, err)
	}
}

func TestPortForward(t *testing.T) {
	c, _ := connect(t, pods{})
	stream, err := c.PortForward(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := &kubeletv1.PortForwardRequest_Start{Pod: ref(), Port: 80}
	for _, m := range []*kubeletv1.PortForwardRequest{
		{Message: &kubeletv1.PortForwardRequest_Start_{Start: first}},
		{Message: &kubeletv1.PortForwardRequest_Data{Data: []byte("a")}},
		{Message: &kubeletv1.PortForwardRequest_Data{Data: []byte("b")}},
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	out := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out += string(m.GetData())
	}
	if out != "sandbox-id:80 ab" {
		t.Errorf("got %q", out)
	}
}
