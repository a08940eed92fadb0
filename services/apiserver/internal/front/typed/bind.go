package typed

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/apistatus"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth"
)

// bindAtOnce is how many placements of one stream are committed in parallel.
const bindAtOnce = 64

// bind commits placements in parallel; results go back in any order, through
// one sender.
func (f *front) bind(_ any, s grpc.ServerStream) error {
	ctx := s.Context()
	// One stream is one caller; each placement is authorized by itself.
	u, err := f.Guard.Identify(ctx, Credentials(ctx), f.record(action{verb: "create", subresource: "binding"}))
	if err != nil {
		return err
	}
	ctx = auth.WithUser(ctx, u)
	results := make(chan *apiv1.BindResult, bindAtOnce)
	sent := make(chan error, 1)
	go func() {
		var err error
		for r := range results {
			if err == nil {
				err = s.SendMsg(r)
			}
		}
		sent <- err
	}()

	slots := make(chan struct{}, bindAtOnce)
	var group sync.WaitGroup
	received := func() error {
		for {
			q := &apiv1.BindRequest{}
			if err := s.RecvMsg(q); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				results <- f.bindOne(ctx, q)
			})
		}
	}()
	group.Wait()
	close(results)
	return errors.Join(received, <-sent)
}

func (f *front) bindOne(ctx context.Context, q *apiv1.BindRequest) *apiv1.BindResult {
	out := &apiv1.BindResult{Uid: q.Uid}
	record := f.record(action{verb: "create", namespace: q.Namespace, name: q.Name, subresource: "binding"})
	record.User = auth.User(ctx)
	ctx, done, err := audit.Part(ctx, record.User, record)
	if err == nil {
		err = f.Guard.Authorize(ctx, record)
	}
	var pod *corev1.Pod
	if err == nil {
		pod, err = f.Registry.Bind(ctx, q.Namespace, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: q.Namespace, Name: q.Name, UID: types.UID(q.Uid)},
			Target:     corev1.ObjectReference{Kind: "Node", Name: q.Node},
		}, false)
	}
	if done != nil {
		done(err)
	}
	if err != nil {
		status := apistatus.Of(err)
		out.Reason, out.Message = string(status.Reason), status.Message
		if out.Reason == "" {
			out.Reason = string(metav1.StatusReasonUnknown)
		}
		return out
	}
	out.ResourceVersion = pod.ResourceVersion
	return out
}
