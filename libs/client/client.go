package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// Client reads and writes the objects of one kind. Errors satisfy the
// predicates of k8s.io/apimachinery/pkg/api/errors.
type Client[T kinds.Object] struct {
	conn *Conn
	kind *kinds.Kind
	// manager names this client in metadata.managedFields.
	manager string
}

// For returns the client of a Go type: client.For[*corev1.Pod](conn).
func For[T kinds.Object](c *Conn) Client[T] { return Client[T]{conn: c, kind: kinds.For[T]()} }

// Dynamic returns the client of any kind of the table.
func Dynamic(c *Conn, k *kinds.Kind) Client[kinds.Object] {
	return Client[kinds.Object]{conn: c, kind: k}
}

// As returns the client with a field manager's name.
func (c Client[T]) As(manager string) Client[T] { c.manager = manager; return c }

// Kind is the row of the table that the client serves.
func (c Client[T]) Kind() *kinds.Kind { return c.kind }

// ListOptions select objects. The zero value is a consistent read of all.
type ListOptions struct {
	Namespace            string
	LabelSelector        string
	FieldSelector        string
	ResourceVersion      string
	ResourceVersionMatch string
	Limit                int64
	Continue             string
}

func (o ListOptions) request() *apiv1.ListRequest {
	return &apiv1.ListRequest{
		Namespace: o.Namespace, LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector,
		ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch,
		Limit: o.Limit, Continue: o.Continue,
	}
}

func (c Client[T]) empty() T { return c.kind.New().(T) }

func (c Client[T]) method(name string) string { return "/" + c.kind.Service() + "/" + name }

func (c Client[T]) call(ctx context.Context, method string, request any) (T, error) {
	out := c.empty()
	if err := c.conn.cc.Invoke(ctx, c.method(method), request, out); err != nil {
		var none T
		return none, err
	}
	return out, nil
}

// Get reads one object, consistently. namespace is empty for cluster-scoped
// kinds.
func (c Client[T]) Get(ctx context.Context, namespace, name string) (T, error) {
	return c.call(ctx, "Get", &apiv1.GetRequest{Namespace: namespace, Name: name})
}

// List reads all matching objects and the resource version of the collection.
func (c Client[T]) List(ctx context.Context, o ListOptions) ([]T, string, error) {
	items, revision, _, err := c.Page(ctx, o)
	return items, revision, err
}

// Page is List with a limit: cont, given as Continue, asks for the next page; it
// is empty on the last one.
func (c Client[T]) Page(ctx context.Context, o ListOptions) (items []T, revision, cont string, err error) {
	l := &wire.List[T]{New: c.empty}
	if err := c.conn.cc.Invoke(ctx, c.method("List"), o.request(), l); err != nil {
		return nil, "", "", err
	}
	return l.Items, l.ResourceVersion, l.Continue, nil
}

// Create stores a new object and returns it as stored.
func (c Client[T]) Create(ctx context.Context, o T) (T, error) {
	return c.call(ctx, "Create", c.write(o, ""))
}

// Update replaces an object; with a resource version set it fails with
// Conflict when the object has changed since.
func (c Client[T]) Update(ctx context.Context, o T) (T, error) {
	return c.call(ctx, "Update", c.write(o, ""))
}

// UpdateStatus replaces an object's status alone.
func (c Client[T]) UpdateStatus(ctx context.Context, o T) (T, error) {
	return c.call(ctx, "UpdateStatus", c.write(o, "status"))
}

// UpdateSubresource replaces what a subresource such as finalize covers.
func (c Client[T]) UpdateSubresource(ctx context.Context, o T, subresource string) (T, error) {
	return c.call(ctx, "Update", c.write(o, subresource))
}

func (c Client[T]) write(o T, subresource string) *wire.Write[T] {
	w := &wire.Write[T]{Object: o, Subresource: subresource}
	if c.manager != "" {
		w.Options = &apiv1.WriteOptions{FieldManager: c.manager}
	}
	return w
}

// Patch changes part of an object. subresource is empty or such as "status".
func (c Client[T]) Patch(ctx context.Context, namespace, name string, pt types.PatchType, data []byte, subresource string) (T, error) {
	return c.call(ctx, "Patch", &apiv1.PatchRequest{
		Namespace: namespace, Name: name, Subresource: subresource, PatchType: string(pt), Patch: data,
		Options: &apiv1.WriteOptions{FieldManager: c.manager},
	})
}

// Delete asks for an object's end; finalizers and grace may keep it a while.
func (c Client[T]) Delete(ctx context.Context, namespace, name string, o metav1.DeleteOptions) error {
	_, err := c.call(ctx, "Delete", &apiv1.DeleteRequest{Namespace: namespace, Name: name, Options: deleteOptions(o)})
	return err
}

// DeleteCollection deletes all that the list selects.
func (c Client[T]) DeleteCollection(ctx context.Context, l ListOptions, o metav1.DeleteOptions) error {
	return c.conn.cc.Invoke(ctx, c.method("DeleteCollection"),
		&apiv1.DeleteCollectionRequest{List: l.request(), Options: deleteOptions(o)}, &apiv1.DeleteCollectionResponse{})
}

func deleteOptions(o metav1.DeleteOptions) *apiv1.DeleteOptions {
	out := &apiv1.DeleteOptions{GracePeriodSeconds: o.GracePeriodSeconds, DryRun: len(o.DryRun) > 0}
	if o.PropagationPolicy != nil {
		out.PropagationPolicy = string(*o.PropagationPolicy)
	}
	if p := o.Preconditions; p != nil {
		if p.UID != nil {
			out.Uid = string(*p.UID)
		}
		if p.ResourceVersion != nil {
			out.ResourceVersion = *p.ResourceVersion
		}
	}
	return out
}

// WatchOptions select what a watch sees; the watch contract stands in
// proto/coracle/api/v1/api.proto.
type WatchOptions struct {
	Namespace       string
	LabelSelector   string
	FieldSelector   string
	ResourceVersion string
	// SendInitialEvents asks for the present state first.
	SendInitialEvents bool
}

// Event is one change.
type Event[T kinds.Object] struct {
	Type   apiv1.EventType
	Object T
}

// Watch is an open stream of events. Cancel its context to end it.
type Watch[T kinds.Object] struct {
	stream grpc.ClientStream
	empty  func() T
}

var watchStream = &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true}

// Watch opens a stream of events.
func (c Client[T]) Watch(ctx context.Context, o WatchOptions) (*Watch[T], error) {
	// A watch waits for a server that is away: failing at once would only make
	// who asks again wait longer and longer.
	s, err := c.conn.cc.NewStream(ctx, watchStream, c.method("Watch"), grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	request := &apiv1.WatchRequest{
		Namespace: o.Namespace, LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector,
		ResourceVersion: o.ResourceVersion, SendInitialEvents: o.SendInitialEvents,
	}
	if err := s.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	return &Watch[T]{stream: s, empty: c.empty}, nil
}

// Recv waits for the next event. io.EOF means that the server ended the
// stream in good order.
func (w *Watch[T]) Recv() (Event[T], error) {
	e := &wire.Event[T]{Object: w.empty()}
	if err := w.stream.RecvMsg(e); err != nil {
		return Event[T]{}, err
	}
	return Event[T](*e), nil
}

// Transient reports whether the same request may succeed later.
func Transient(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || errors.Is(err, context.DeadlineExceeded)
}
