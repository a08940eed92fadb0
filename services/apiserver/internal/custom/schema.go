package custom

import (
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
)

// compiled is what is made of a version's schema, each part when first needed.
type compiled struct {
	structural func() (*structuralschema.Structural, error)
	defaults   func() bool
	// schemas validate the whole object and its status; the second is nil if
	// the schema says nothing about it.
	schemas func() (whole, status apiservervalidation.SchemaValidator, err error)
	rules   func() *cel.Validator
}

func compile(v *version) compiled {
	var c compiled
	c.structural = sync.OnceValues(func() (*structuralschema.Structural, error) { return structuralOf(v) })
	c.defaults = sync.OnceValue(func() bool {
		s, err := c.structural()
		return err == nil && hasDefaults(s)
	})
	schemas := sync.OnceValue(func() validators { return validatorsOf(v) })
	c.schemas = func() (whole, status apiservervalidation.SchemaValidator, err error) {
		s := schemas()
		return s.whole, s.status, s.err
	}
	c.rules = compileRules(v, c.structural)
	return c
}

// props is a version's schema in the form that upstream's packages read; nil
// if it has none. It may share memory with the definition.
func (v *version) props() (*apiextensions.JSONSchemaProps, error) {
	whole := v.definition.Whole()
	for i := range whole.Spec.Versions {
		named := &whole.Spec.Versions[i]
		if named.Name != v.spec.Name || named.Schema == nil || named.Schema.OpenAPIV3Schema == nil {
			continue
		}
		out := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(named.Schema.OpenAPIV3Schema, out, nil); err != nil {
			return nil, fmt.Errorf("convert the schema of version %s: %w", named.Name, err)
		}
		return out, nil
	}
	return nil, nil
}

func structuralOf(v *version) (*structuralschema.Structural, error) {
	p, err := v.props()
	if err != nil || p == nil {
		return nil, err
	}
	s, err := structuralschema.NewStructural(p)
	if v.definition.crd.Spec.PreserveUnknownFields {
		return s, nil // only definitions of v1beta1 need not be structural
	}
	if err != nil {
		return nil, fmt.Errorf("schema of version %s: %w", v.spec.Name, err)
	}
	s = s.DeepCopy() // defaults are shared with the definition
	if err := structuraldefaulting.PruneDefaults(s); err != nil {
		return nil, fmt.Errorf("defaults of version %s: %w", v.spec.Name, err)
	}
	return s, nil
}

func hasDefaults(s *structuralschema.Structural) bool {
	if s == nil {
		return false
	}
	if s.Default.Object != nil || hasDefaults(s.Items) {
		return true
	}
	for _, p := range s.Properties {
		if hasDefaults(&p) {
			return true
		}
	}
	return s.AdditionalProperties != nil && hasDefaults(s.AdditionalProperties.Structural)
}

type validators struct {
	whole, status apiservervalidation.SchemaValidator
	err           error
}

func validatorsOf(v *version) (out validators) {
	p, err := v.props()
	if err != nil {
		return validators{err: err}
	}
	if out.whole, _, out.err = apiservervalidation.NewSchemaValidator(p); out.err != nil || p == nil {
		return out
	}
	if !v.hasStatus() {
		return out
	}
	if status, ok := p.Properties["status"]; ok {
		out.status, _, out.err = apiservervalidation.NewSchemaValidator(&status)
	}
	return out
}
