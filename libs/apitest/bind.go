package apitest

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

func (a *API) bind(k *kinds.Kind, s grpc.ServerStream) error {
	for {
		r := &apiv1.BindRequest{}
		if err := s.RecvMsg(r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		result := &apiv1.BindResult{Uid: r.GetUid()}
		a.mu.Lock()
		a.bindings++
		broken := a.bindings == a.BreakBinds
		o, _ := a.find(k, r.GetNamespace(), r.GetName())
		p, ok := o.(*corev1.Pod)
		switch {
		case !ok || string(p.UID) != r.GetUid():
			result.Reason, result.Message = string(metav1.StatusReasonNotFound), "no such pod"
		case p.Spec.NodeName != "":
			result.Reason = string(metav1.StatusReasonConflict)
			result.Message = fmt.Sprintf("pod %s is already assigned to node %q", p.Name, p.Spec.NodeName)
		default:
			next := p.DeepCopy()
			next.Spec.NodeName = r.GetNode()
			a.put(p, next)
		}
		a.mu.Unlock()
		if broken {
			return status.Error(codes.Unavailable, "the stream breaks")
		}
		if err := s.SendMsg(result); err != nil {
			return err
		}
	}
}
