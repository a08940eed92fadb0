package typed

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/registry"
)

// Managers note who sets which fields of an object; managed.Managers do.
type Managers interface {
	Created(k *kinds.Kind, obj kinds.Object, who string)
	Updated(k *kinds.Kind, subresource string, current, next kinds.Object, who string)
}

// noted tells whether it is written down who sets the fields of a kind. Leases
// and events come by the thousand, each from its one writer, and nobody applies
// them.
func (f *front) noted() bool {
	return f.Managers != nil && f.kind.Kind != "Lease" && f.kind.Kind != "Event"
}

// created notes who makes an object.
func (f *front) created(obj kinds.Object, o registry.WriteOptions) {
	if f.noted() {
		f.Managers.Created(f.kind, obj, o.FieldManager)
	}
}

// updated notes who makes next of current.
func (f *front) updated(subresource string, current, next kinds.Object, o registry.WriteOptions) {
	if f.noted() {
		f.Managers.Updated(f.kind, subresource, current, next, o.FieldManager)
	}
}

// manager is who writes: as the request says, or else the program that sent it,
// which is the first word of its user agent.
func manager(ctx context.Context, named string) string {
	if named != "" {
		return named
	}
	md, _ := metadata.FromIncomingContext(ctx)
	agent := ""
	if values := md.Get("user-agent"); len(values) > 0 {
		agent = values[0]
	}
	program, _, _ := strings.Cut(agent, " ")
	return managed.Program(program)
}
