package backend

import (
	"context"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/apistatus"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
)

// DialPod opens a connection to a port of a pod, through its kubelet. The call
// behind it lasts until Close, whatever becomes of ctx.
func (b Backends) DialPod(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error) {
	kubelet, err := b.Kubelet(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	call, err := kubelet.PortForward(lasting)
	if err == nil {
		err = call.Send(&kubeletv1.PortForwardRequest{Message: &kubeletv1.PortForwardRequest_Start_{
			Start: &kubeletv1.PortForwardRequest_Start{Pod: Ref(pod), Port: port},
		}})
	}
	if err != nil {
		cancel()
		return nil, apistatus.FromGRPC(err)
	}
	return &forwarded{call: call, cancel: cancel, pod: pod, port: port}, nil
}

// Kubelet is the API of a node's kubelet.
func (b Backends) Kubelet(ctx context.Context, node string) (kubeletv1.KubeletServiceClient, error) {
	if b.Kubelets == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no way to reach kubelets")
	}
	return b.Kubelets.Dial(ctx, node)
}

// Ref names a pod to its kubelet.
func Ref(pod *corev1.Pod) *kubeletv1.PodRef {
	return &kubeletv1.PodRef{Namespace: pod.Namespace, Name: pod.Name, Uid: string(pod.UID)}
}

// forwarded is a forwarded connection. Reads and writes may be concurrent, as
// with any connection.
type forwarded struct {
	call   kubeletv1.KubeletService_PortForwardClient
	cancel context.CancelFunc
	pod    *corev1.Pod
	port   int32

	rest []byte // received, not yet read

	mu     sync.Mutex // of sending
	closed bool
	timer  *time.Timer
}

func (f *forwarded) Read(b []byte) (int, error) {
	for len(f.rest) == 0 {
		m, err := f.call.Recv()
		if err != nil {
			return 0, apistatus.FromGRPC(err)
		}
		f.rest = m.GetData()
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *forwarded) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, net.ErrClosed
	}
	const most = 64 << 10
	written := 0
	for len(b) > 0 {
		part := b[:min(len(b), most)]
		// The message is encoded by the time Send returns, so b stays the caller's.
		if err := f.call.Send(&kubeletv1.PortForwardRequest{Message: &kubeletv1.PortForwardRequest_Data{Data: part}}); err != nil {
			return written, apistatus.FromGRPC(err)
		}
		written += len(part)
		b = b[len(part):]
	}
	return written, nil
}

// CloseWrite tells the pod that nothing more comes.
func (f *forwarded) CloseWrite() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call.CloseSend()
}

func (f *forwarded) Close() error {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	return nil
}

// SetDeadline ends the whole connection at the time: a call cannot be
// interrupted and go on.
func (f *forwarded) SetDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	if !t.IsZero() {
		f.timer = time.AfterFunc(time.Until(t), f.cancel)
	}
	return nil
}

func (f *forwarded) SetReadDeadline(t time.Time) error  { return f.SetDeadline(t) }
func (f *forwarded) SetWriteDeadline(t time.Time) error { return f.SetDeadline(t) }

func (f *forwarded) LocalAddr() net.Addr { return &net.TCPAddr{} }

func (f *forwarded) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(f.pod.Status.PodIP), Port: int(f.port)}
}
