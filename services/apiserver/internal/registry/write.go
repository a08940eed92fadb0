package registry

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/warning"

	"coracle.local/libs/kinds"
	"coracle.local/libs/trace"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/etcd"
)

// settle is how long a write waits for the cache to show it. A client that
// reads its own write, and admission that reads what was just written, find it
// without asking etcd.
const settle = time.Second

// WriteOptions qualify a write.
type WriteOptions struct {
	// DryRun does everything but the commit.
	DryRun bool
	// FieldManager is who sets the fields.
	FieldManager string
	// Options are the request's, as admission sees them; nil for those of gRPC.
	Options runtime.Object
}

// write is one write on its way.
type write struct {
	kind            *kinds.Kind
	namespace, name string
	subresource     string
	options         WriteOptions
	// verb is the request's; empty is the operation's own.
	verb string
	// generated tells that the server made the name.
	generated bool
	// collection tells that the write is about one of many objects.
	collection bool
	// judged tells that admission has had its word about what this write is a
	// part of.
	judged bool
	// allocation is what a Service takes and gives back; nil for other kinds.
	allocation *allocation
}

// groupKind is how errors name the object: as the kind that is stored.
func (w *write) groupKind() schema.GroupKind { return stored(w.kind).GroupVersionKind().GroupKind() }

func (w *write) key() string { return cache.StoreKey(stored(w.kind), w.namespace, w.name) }

func (w *write) attributes(ctx context.Context, op admission.Operation, obj, old kinds.Object) *admission.Attributes {
	annotate, annotateBody := audit.Annotators(ctx)
	return &admission.Attributes{
		Annotate: annotate, AnnotateBody: annotateBody,
		Kind: w.kind, Namespace: w.namespace, Name: w.name, Subresource: w.subresource,
		Operation: op, Verb: w.verb, Object: obj, Old: old, Options: w.options.Options,
		User: auth.User(ctx), DryRun: w.options.DryRun, Collection: w.collection,
		Warn: func(text string) { warning.AddWarning(ctx, "", text) },
	}
}

// permit is what the author of a write may not do.
func (r *Registry) permit(ctx context.Context, w *write, op admission.Operation, obj, old kinds.Object) field.ErrorList {
	if p, ok := r.Admission.(permitter); ok && w.kind.Group == resourcev1.GroupName { // others need no attributes
		return p.Permit(ctx, w.attributes(ctx, op, obj, old))
	}
	return nil
}

// traced makes a span of a pod's trace around f; other kinds have none.
func (r *Registry) traced(ctx context.Context, obj kinds.Object, name string, f func(context.Context) error) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok || r.Tracer == nil || pod.UID == "" {
		return f(ctx)
	}
	ctx, span := r.Tracer.Start(ctx, pod.UID, name)
	err := f(ctx)
	trace.Fail(span, err)
	span.End()
	return err
}

// seal encodes an object as it is stored: as its stored kind, without its
// resource version.
func (r *Registry) seal(k *kinds.Kind, obj kinds.Object) ([]byte, error) {
	s := stored(k)
	if s != k {
		var err error
		if obj, err = r.Strategy(k).Shared.ToStored(obj); err != nil {
			return nil, err // upstream's clients see what the conversion of a custom resource says
		}
	}
	version := obj.GetResourceVersion()
	obj.SetResourceVersion("")
	defer obj.SetResourceVersion(version)
	if s.Custom() {
		return text(s, obj)
	}
	return etcd.Seal(s.StorageAPIVersion(), s.Kind, obj.Size(), obj.MarshalToSizedBuffer)
}

// text encodes a custom resource as upstream does.
func text(k *kinds.Kind, obj kinds.Object) ([]byte, error) {
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
	defer obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	b, err := obj.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", k, err)
	}
	return append(b, '\n'), nil
}

// unseal decodes what is stored, as the kind k shows it.
func (r *Registry) unseal(k *kinds.Kind, kv *etcd.KV) (kinds.Object, error) {
	s := stored(k)
	message, err := cache.Message(s, kv.Value)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", kv.Key, err)
	}
	return r.decode(k, cache.NewItem(s, "", "", message, kv.Revision, nil))
}

// textual are the groups that upstream stores as JSON, which tells an empty list
// from an absent one.
var textual = map[string]bool{"apiextensions.k8s.io": true, "apiregistration.k8s.io": true}

// asStored is what would be read of obj had it been stored: lists that are empty
// are absent then.
func (r *Registry) asStored(k *kinds.Kind, obj kinds.Object, version string) (kinds.Object, error) {
	if k.Custom() || textual[k.Group] {
		obj.SetResourceVersion(version)
		return obj, nil
	}
	data, err := obj.Marshal()
	if err != nil {
		return nil, err
	}
	read := k.New()
	if err := read.Unmarshal(data); err != nil {
		return nil, err
	}
	if s := r.Strategy(k); s.Default != nil {
		s.Default(read)
	}
	read.SetResourceVersion(version)
	return read, nil
}

// reread is an object that was just stored, as it reads: a custom resource that
// is stored in another version than its own may have got that version's defaults.
func (r *Registry) reread(k *kinds.Kind, obj kinds.Object, value []byte, revision int64) (kinds.Object, error) {
	if !k.Custom() || k.StoredAs == nil {
		obj.SetResourceVersion(strconv.FormatInt(revision, 10))
		return obj, nil
	}
	return r.unseal(k, &etcd.KV{Value: value, Revision: revision})
}

// current is the newest version of an object: the cache's, or etcd's own if the
// cache is not to be trusted. Revision 0 says that there is none.
func (r *Registry) current(ctx context.Context, w *write, live bool) (kinds.Object, int64, error) {
	if !live {
		if i := r.Cache.Get(stored(w.kind), w.namespace, w.name); i != nil {
			obj, err := r.decode(w.kind, i)
			return obj, i.Revision, err
		}
	}
	kv, err := r.Cache.Store().Get(ctx, w.key())
	if err != nil || kv == nil {
		return nil, 0, err
	}
	obj, err := r.unseal(w.kind, kv)
	return obj, kv.Revision, err
}

// wait lets the cache see a write before its client does. Events and leases are
// written often and read by nobody in between.
func (r *Registry) wait(ctx context.Context, k *kinds.Kind, revision int64) {
	if !k.Custom() && (stored(k).Kind == "Event" || k.Kind == "Lease") {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	// The write is committed whether the cache has it by then or not.
	_ = r.Cache.Reach(ctx, revision)
}

func (r *Registry) ttl(k *kinds.Kind) time.Duration {
	if !k.Custom() && stored(k).Kind == "Event" {
		return r.EventTTL
	}
	return 0
}

func (r *Registry) warn(ctx context.Context, texts []string) {
	for _, t := range texts {
		warning.AddWarning(ctx, "", t)
	}
}

// plain is an error with a code and a message alone, as upstream answers where
// its storage fails with an ordinary error.
func plain(code int32, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}}
}

func internal(message string) error { return plain(http.StatusInternalServerError, message) }

// Attributes are what admission sees of a request that the registry does not
// carry out itself.
func (r *Registry) Attributes(ctx context.Context, k *kinds.Kind, namespace, name, subresource string, op admission.Operation, obj kinds.Object) *admission.Attributes {
	w := &write{kind: k, namespace: namespace, name: name, subresource: subresource}
	return w.attributes(ctx, op, obj, nil)
}
