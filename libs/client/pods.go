package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// BindStream places pods without waiting for each; see BindRequest.
type BindStream struct{ stream grpc.ClientStream }

var bindStream = &grpc.StreamDesc{StreamName: "Bind", ServerStreams: true, ClientStreams: true}

// Bind opens a bind stream; cancel ctx to end it.
func (c *Conn) Bind(ctx context.Context) (*BindStream, error) {
	s, err := c.cc.NewStream(ctx, bindStream, "/"+kinds.For[*corev1.Pod]().Service()+"/Bind")
	if err != nil {
		return nil, err
	}
	return &BindStream{s}, nil
}

// Send hands a placement over. One goroutine at a time may send.
func (b *BindStream) Send(r *apiv1.BindRequest) error { return b.stream.SendMsg(r) }

// Recv waits for the next result. One goroutine at a time may receive.
func (b *BindStream) Recv() (*apiv1.BindResult, error) {
	r := &apiv1.BindResult{}
	return r, b.stream.RecvMsg(r)
}

// Evict deletes a pod if its disruption budgets allow; TooManyRequests says
// that they do not.
func (c *Conn) Evict(ctx context.Context, namespace, name string, o *metav1.DeleteOptions) error {
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	return c.cc.Invoke(ctx, "/"+kinds.For[*corev1.Pod]().Service()+"/Evict",
		&apiv1.EvictRequest{Namespace: namespace, Name: name, Options: deleteOptions(*o)}, &apiv1.EvictResponse{})
}

// CreateToken issues a token for a ServiceAccount.
func (c *Conn) CreateToken(ctx context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	r = r.DeepCopy()
	r.Namespace, r.Name = namespace, account
	out := &authenticationv1.TokenRequest{}
	err := c.cc.Invoke(ctx, "/"+kinds.For[*corev1.ServiceAccount]().Service()+"/CreateToken",
		&wire.Write[*authenticationv1.TokenRequest]{Object: r}, out)
	if err != nil {
		return nil, fmt.Errorf("create a token for service account %s/%s: %w", namespace, account, err)
	}
	return out, nil
}
