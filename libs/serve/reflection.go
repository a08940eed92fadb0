package serve

import (
	"sync"

	"google.golang.org/grpc"
	reflectionv1 "google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	coracleproto "coracle.local/proto"
)

// Descriptors is every file of the contract; it is built when first asked for,
// since it costs megabytes and most processes are never asked.
var Descriptors = sync.OnceValues(func() (*protoregistry.Files, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(coracleproto.DescriptorSet, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
})

// resolver finds descriptors in the contract first, then among the Go
// packages' own (health, reflection).
type resolver struct{}

func (resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if files, err := Descriptors(); err == nil {
		if f, err := files.FindFileByPath(path); err == nil {
			return f, nil
		}
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

func (resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if files, err := Descriptors(); err == nil {
		if d, err := files.FindDescriptorByName(name); err == nil {
			return d, nil
		}
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

func registerReflection(g *grpc.Server) {
	options := reflectionv1.ServerOptions{Services: g, DescriptorResolver: resolver{}}
	grpc_reflection_v1.RegisterServerReflectionServer(g, reflectionv1.NewServerV1(options))
	grpc_reflection_v1alpha.RegisterServerReflectionServer(g, reflectionv1.NewServer(options))
}
