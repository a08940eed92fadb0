package apiextensions

import (
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// warnings are about parts of schemas that mean less than they seem to, unless
// the old definition had them.
func warnings(d, old definition) []string {
	formats, sets := doubts(d)
	if old == nil {
		return append(formats, sets...)
	}
	oldFormats, oldSets := doubts(old)
	var out []string
	for _, text := range formats {
		if !slices.Contains(oldFormats, text) {
			out = append(out, text)
		}
	}
	for _, text := range sets {
		if !slices.Contains(oldSets, text) {
			out = append(out, text)
		}
	}
	return out
}

// doubts are the formats that nothing checks, in the order of the schema, and
// the sets whose items are not scalar, sorted.
func doubts(d definition) (formats, sets []string) {
	in, err := internal(d)
	if err != nil {
		return nil, nil
	}
	look := func(s *apiextensions.JSONSchemaProps) bool {
		formats = append(formats, unknownFormats(s)...)
		if text := scalarless(s); text != "" && !slices.Contains(sets, text) {
			sets = append(sets, text)
		}
		return false
	}
	if v := in.Spec.Validation; v != nil && v.OpenAPIV3Schema != nil {
		validation.SchemaHas(v.OpenAPIV3Schema, look)
	}
	for _, v := range in.Spec.Versions {
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			validation.SchemaHas(v.Schema.OpenAPIV3Schema, look)
		}
	}
	slices.Sort(sets)
	return formats, sets
}

func unknownFormats(s *apiextensions.JSONSchemaProps) []string {
	if s.Format == "" {
		return nil
	}
	var out []string
	as := &spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}
	for _, format := range apiservervalidation.GetUnrecognizedFormats(as, environment.DefaultCompatibilityVersion()) {
		out = append(out, fmt.Sprintf("unrecognized format %q", format))
	}
	return out
}

func scalarless(s *apiextensions.JSONSchemaProps) string {
	if s.XListType == nil || *s.XListType != "set" || s.Items == nil || s.Items.Schema == nil {
		return ""
	}
	switch t := s.Items.Schema.Type; t {
	case "object", "array":
		return fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", t)
	}
	return ""
}
