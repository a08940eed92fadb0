// Package inspect answers over gRPC what the controllers are doing.
package inspect

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	controllersv1 "coracle.local/proto/coracle/controllers/v1"
	"coracle.local/services/controller-manager/internal/loop"
)

// Controller is one controller as the manager knows it.
type Controller struct {
	Name string
	// Reason is why it does not run; empty if it does.
	Reason string
	Loops  []loop.Loop
}

// Service implements ControllerService.
type Service struct {
	controllersv1.UnimplementedControllerServiceServer
	// Controllers is in the order in which they are listed.
	Controllers []Controller
	Journal     *loop.Journal
	// Leading tells whether this process works.
	Leading func() bool
}

// Register adds the service to a server.
func (s *Service) Register(g *grpc.Server) { controllersv1.RegisterControllerServiceServer(g, s) }

var controllers = schema.GroupResource{Group: "coracle.local", Resource: "controllers"}

// ListControllers implements ControllerService.
func (s *Service) ListControllers(context.Context, *controllersv1.ListControllersRequest) (*controllersv1.ListControllersResponse, error) {
	out := &controllersv1.ListControllersResponse{Leading: s.Leading()}
	for _, c := range s.Controllers {
		out.Controllers = append(out.Controllers, describe(c, false))
	}
	return out, nil
}

// GetController implements ControllerService.
func (s *Service) GetController(_ context.Context, r *controllersv1.GetControllerRequest) (*controllersv1.GetControllerResponse, error) {
	c, err := s.find(r.GetName())
	if err != nil {
		return nil, err
	}
	return &controllersv1.GetControllerResponse{Controller: describe(c, true)}, nil
}

// WatchReconciles implements ControllerService.
func (s *Service) WatchReconciles(r *controllersv1.WatchReconcilesRequest, stream grpc.ServerStreamingServer[controllersv1.WatchReconcilesResponse]) error {
	if r.GetController() != "" {
		if _, err := s.find(r.GetController()); err != nil {
			return err
		}
	}
	records, stop := s.Journal.Listen()
	defer stop()
	// From the header on, who asked misses nothing.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case record, ok := <-records:
			if !ok {
				return apierrors.NewTooManyRequests("the reader is too slow for what the controllers do", 1)
			}
			if !wanted(r, record) {
				continue
			}
			if err := stream.Send(&controllersv1.WatchReconcilesResponse{Reconcile: reconcile(record)}); err != nil {
				return err
			}
		}
	}
}

// Requeue implements ControllerService.
func (s *Service) Requeue(_ context.Context, r *controllersv1.RequeueRequest) (*controllersv1.RequeueResponse, error) {
	c, err := s.find(r.GetController())
	if err != nil {
		return nil, err
	}
	if !s.Leading() {
		return nil, apierrors.NewServiceUnavailable("another controller manager leads")
	}
	did := false
	for _, l := range c.Loops {
		did = l.Requeue(r.GetKey()) || did
	}
	if !did {
		return nil, apierrors.NewBadRequest("the controller " + c.Name + " has no key of the form of " + r.GetKey())
	}
	return &controllersv1.RequeueResponse{}, nil
}

func (s *Service) find(name string) (Controller, error) {
	i := slices.IndexFunc(s.Controllers, func(c Controller) bool { return c.Name == name })
	if i < 0 {
		return Controller{}, apierrors.NewNotFound(controllers, name)
	}
	return s.Controllers[i], nil
}

func wanted(r *controllersv1.WatchReconcilesRequest, record loop.Record) bool {
	return (r.GetController() == "" || r.GetController() == record.Controller) &&
		strings.Contains(record.Key, r.GetKeyContains()) &&
		(!r.GetFailuresOnly() || record.Err != "")
}

func describe(c Controller, whole bool) *controllersv1.Controller {
	out := &controllersv1.Controller{Name: c.Name, Enabled: c.Reason == "", Reason: c.Reason}
	for _, l := range c.Loops {
		s := l.Status()
		x := &controllersv1.Loop{
			Part: s.Part, Running: s.Running, Workers: int32(s.Workers), Depth: int32(s.Depth),
			Reconciles: s.Reconciles, Failures: s.Failures,
		}
		if !s.Last.IsZero() {
			x.Last = timestamppb.New(s.Last)
		}
		for _, f := range s.Failing {
			x.Failing = append(x.Failing, reconcile(f))
		}
		if whole {
			for _, r := range s.Recent {
				x.Recent = append(x.Recent, reconcile(r))
			}
		}
		out.Loops = append(out.Loops, x)
	}
	return out
}

func reconcile(r loop.Record) *controllersv1.Reconcile {
	out := &controllersv1.Reconcile{
		Controller: r.Controller, Part: r.Part, Key: r.Key, Start: timestamppb.New(r.Start),
		Took: durationpb.New(r.Took), Actions: r.Actions, Error: r.Err,
	}
	if r.After > 0 {
		out.AgainAfter = durationpb.New(r.After.Round(time.Millisecond))
	}
	return out
}
