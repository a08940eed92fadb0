package rest

import (
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/openapi"
)

// publish makes the OpenAPI documents those of what is served.
func (s *server) publish(now *catalog.State) {
	s.openapi.Set(func() []openapi.Source {
		var sources []openapi.Source
		for _, e := range now.Entries() {
			sources = append(sources, openapi.Source{CRD: e.Definition.CRD(), Whole: e.Definition.Whole})
		}
		return sources
	})
}
