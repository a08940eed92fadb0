// Package discovery holds the behaviour of the kinds of the discovery.k8s.io
// API group.
package discovery

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// shownItems is how many ports and endpoints a table's cell has room for.
const shownItems = 3

// EndpointSlice is the behaviour of discovery.k8s.io/v1 EndpointSlice.
func EndpointSlice() strategy.Kind[*discoveryv1.EndpointSlice] {
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return strategy.Kind[*discoveryv1.EndpointSlice]{
		Default: defaultSlice,
		PrepareCreate: func(s *discoveryv1.EndpointSlice) {
			s.Generation = 1
			dropTopology(s, nil)
		},
		PrepareUpdate:            prepareSliceUpdate,
		ValidateCreate:           func(s *discoveryv1.EndpointSlice) field.ErrorList { return validateSlice(s, nil) },
		ValidateUpdate:           validateSlice,
		Warnings:                 sliceWarnings,
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("AddressType", doc["addressType"]),
			cells.Text("Ports", doc["ports"]),
			cells.Text("Endpoints", doc["endpoints"]),
			cells.Age(),
		),
		Cells: func(s *discoveryv1.EndpointSlice) []any {
			return []any{s.Name, string(s.AddressType), portsCell(s.Ports), endpointsCell(s.Endpoints), cells.AgeOf(s)}
		},
	}
}

func defaultSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		if s.Ports[i].Name == nil {
			s.Ports[i].Name = ptr.To("")
		}
		if s.Ports[i].Protocol == nil {
			s.Ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
}

func prepareSliceUpdate(s, old *discoveryv1.EndpointSlice) {
	changed := s.AddressType != old.AddressType ||
		!equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) ||
		!equality.Semantic.DeepEqual(s.Ports, old.Ports) ||
		!equality.Semantic.DeepEqual(s.Labels, old.Labels)
	strategy.Generation(s, old, changed)
	if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		dropTopology(s, old)
	}
}

// dropTopology drops the field that version 1 only shows, and takes the node's
// name out of it if that is where a former version had kept it.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	former := map[string]bool{}
	if old != nil {
		for i := range old.Endpoints {
			former[old.Endpoints[i].DeprecatedTopology[corev1.LabelHostname]] = true
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		name := e.DeprecatedTopology[corev1.LabelHostname]
		if e.NodeName == nil && name != "" && former[name] && len(apivalidation.NameIsDNSSubdomain(name, false)) == 0 {
			e.NodeName = &name
		}
		e.DeprecatedTopology = nil
	}
}

// sliceWarnings trusts upstream's controllers to write addresses well.
func sliceWarnings(s, old *discoveryv1.EndpointSlice) []string {
	var warnings []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		warnings = append(warnings, "spec.addressType: FQDN endpoints are deprecated")
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return warnings
	}
	for i := range s.Endpoints {
		for k, address := range s.Endpoints[i].Addresses {
			warnings = append(warnings, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(k), address)...)
		}
	}
	return warnings
}

func portsCell(ports []discoveryv1.EndpointPort) string {
	list := make([]string, len(ports))
	for i, port := range ports {
		switch {
		case port.Port != nil:
			list[i] = strconv.Itoa(int(*port.Port))
		case port.Name != nil:
			list[i] = *port.Name
		default:
			list[i] = "*"
		}
	}
	return cells.AtMost(shownItems, list)
}

func endpointsCell(endpoints []discoveryv1.Endpoint) string {
	var list []string
	for i := range endpoints {
		list = append(list, endpoints[i].Addresses...)
	}
	return cells.AtMost(shownItems, list)
}
