package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/tests/fixture"
	"coracle.local/tests/samples"
)

// stranger talks to the API server as a program would that has nothing of ours
// but the descriptors: messages are built from those alone, by grpc's own codec.
type stranger struct {
	t  *testing.T
	cc *grpc.ClientConn
}

func newStranger(t *testing.T, c *fixture.Cluster) *stranger {
	t.Helper()
	cfg, err := rest.TLSConfigFor(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	cfg.NextProtos, cfg.MinVersion = []string{"h2"}, tls.VersionTLS12
	cc, err := grpc.NewClient(c.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return &stranger{t, cc}
}

func (s *stranger) service(k *kinds.Kind) protoreflect.ServiceDescriptor {
	s.t.Helper()
	files, err := serve.Descriptors()
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(k.Service()))
	if err != nil {
		s.t.Fatal(err)
	}
	return d.(protoreflect.ServiceDescriptor)
}

// call makes a request from an ordinary message of ours, or from a dynamic one.
func (s *stranger) call(k *kinds.Kind, method string, request proto.Message) (*dynamicpb.Message, error) {
	s.t.Helper()
	m := s.service(k).Methods().ByName(protoreflect.Name(method))
	if m == nil {
		s.t.Fatalf("%s has no method %s", k.Service(), method)
	}
	out := dynamicpb.NewMessage(m.Output())
	err := s.cc.Invoke(context.Background(), "/"+k.Service()+"/"+method, request, out)
	return out, err
}

// write is the kind's XxxWrite message around an object.
func (s *stranger) write(k *kinds.Kind, o kinds.Object) *dynamicpb.Message {
	s.t.Helper()
	w := dynamicpb.NewMessage(s.service(k).Methods().ByName("Create").Input())
	object := w.Descriptor().Fields().ByName("object")
	b, err := o.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	m := dynamicpb.NewMessage(object.Message())
	if err := proto.Unmarshal(b, m); err != nil {
		s.t.Fatal(err)
	}
	w.Set(object, protoreflect.ValueOfMessage(m))
	return w
}

func TestEveryKindRoundTripsForAStranger(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	if err := samples.Prepare(context.Background(), c.Conn); err != nil {
		t.Fatal(err)
	}
	s := newStranger(t, c)
	objects, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		k := kinds.ForObject(o)
		t.Run(fmt.Sprintf("%s/%s", k.Group, k.Kind), func(t *testing.T) {
			s := &stranger{t, s.cc}
			created, err := s.call(k, "Create", s.write(k, o))
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			got, err := s.call(k, "Get", &apiv1.GetRequest{Namespace: o.GetNamespace(), Name: o.GetName()})
			if err != nil {
				t.Fatalf("get: %v", err)
			}
			if completed[k.Kind] {
				got = s.completed(k, o, created)
			} else if !proto.Equal(created, got) {
				t.Errorf("create returned\n%v\nget\n%v", created, got)
			}
			s.listed(k, o, got)
			s.watched(k, o, got)
		})
	}
}

// completed are the kinds whose status the API server itself writes, once, as soon
// as there is a new object.
var completed = map[string]bool{"APIService": true, "CustomResourceDefinition": true, "FlowSchema": true, "ValidatingAdmissionPolicy": true}

// completed waits for the status of a new object, and holds the rest to what was
// created.
func (s *stranger) completed(k *kinds.Kind, o kinds.Object, created *dynamicpb.Message) *dynamicpb.Message {
	s.t.Helper()
	part := func(m *dynamicpb.Message, name protoreflect.Name) protoreflect.Message {
		return m.Get(m.Descriptor().Fields().ByName(name)).Message()
	}
	version := func(m *dynamicpb.Message) string {
		metadata := part(m, "metadata")
		return metadata.Get(metadata.Descriptor().Fields().ByName("resourceVersion")).String()
	}
	var got *dynamicpb.Message
	fixture.Eventually(s.t, 10*time.Second, "the status of the new object", func() bool {
		var err error
		if got, err = s.call(k, "Get", &apiv1.GetRequest{Namespace: o.GetNamespace(), Name: o.GetName()}); err != nil {
			s.t.Fatalf("get: %v", err)
		}
		return version(got) != version(created)
	})
	if !proto.Equal(part(created, "spec").Interface(), part(got, "spec").Interface()) {
		s.t.Errorf("create returned\n%v\nget\n%v", created, got)
	}
	return got
}

func (s *stranger) listed(k *kinds.Kind, o kinds.Object, want proto.Message) {
	s.t.Helper()
	list, err := s.call(k, "List", &apiv1.ListRequest{Namespace: o.GetNamespace(), FieldSelector: "metadata.name=" + o.GetName()})
	if err != nil {
		s.t.Fatalf("list: %v", err)
	}
	items := list.Get(list.Descriptor().Fields().ByName("items")).List()
	if items.Len() != 1 || !proto.Equal(items.Get(0).Message().Interface(), want) {
		s.t.Errorf("list returned\n%v\nwant\n%v", list, want)
	}
}

func (s *stranger) watched(k *kinds.Kind, o kinds.Object, want proto.Message) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := s.cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+k.Service()+"/Watch")
	if err != nil {
		s.t.Fatal(err)
	}
	request := &apiv1.WatchRequest{Namespace: o.GetNamespace(), FieldSelector: "metadata.name=" + o.GetName(), SendInitialEvents: true}
	if err := stream.SendMsg(request); err != nil {
		s.t.Fatal(err)
	}
	for _, wanted := range []apiv1.EventType{apiv1.EventType_EVENT_TYPE_ADDED, apiv1.EventType_EVENT_TYPE_BOOKMARK} {
		e := dynamicpb.NewMessage(s.service(k).Methods().ByName("Watch").Output())
		if err := stream.RecvMsg(e); err != nil {
			s.t.Fatalf("watch: %v", err)
		}
		if got := e.Get(e.Descriptor().Fields().ByName("type")).Enum(); apiv1.EventType(got) != wanted {
			s.t.Fatalf("event %v, want %v", apiv1.EventType(got), wanted)
		}
		object := e.Get(e.Descriptor().Fields().ByName("object")).Message().Interface()
		if wanted == apiv1.EventType_EVENT_TYPE_ADDED && !proto.Equal(object, want) {
			s.t.Errorf("watch returned\n%v\nwant\n%v", object, want)
		}
	}
}

// What is stored and cannot be made by a sample: its content is signed.
var unsampled = map[string]bool{
	"CertificateSigningRequest": true, "PodCertificateRequest": true, "ComponentStatus": true,
	"autoscaling/v1 HorizontalPodAutoscaler": true,
}

func TestSamplesCoverEveryKind(t *testing.T) {
	objects, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	have := map[*kinds.Kind]bool{}
	for _, o := range objects {
		have[kinds.ForObject(o)] = true
	}
	for _, k := range kinds.All() {
		if k.Stored() && !have[k] && !unsampled[k.Kind] && !unsampled[k.APIVersion()+" "+k.Kind] {
			t.Errorf("%s has no sample", k.GroupVersionKind())
		}
	}
}
