package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const maxController = 250

// IngressClass is the behaviour of networking.k8s.io/v1 IngressClass.
func IngressClass() strategy.Kind[*networkingv1.IngressClass] {
	return strategy.Kind[*networkingv1.IngressClass]{
		Default: func(c *networkingv1.IngressClass) {
			if p := c.Spec.Parameters; p != nil && p.Scope == nil {
				p.Scope = ptr.To(networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		},
		PrepareCreate: func(c *networkingv1.IngressClass) { c.Generation = 1 },
		PrepareUpdate: func(c, old *networkingv1.IngressClass) {
			strategy.Generation(c, old, !equality.Semantic.DeepEqual(c.Spec, old.Spec))
		},
		ValidateCreate: validateClass,
		ValidateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
			errs := check.Unchanged(specPath.Child("controller"), c.Spec.Controller, old.Spec.Controller)
			return append(errs, validateClass(c)...)
		},
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Controller", "Controller that is responsible for handling this class"),
			cells.Text("Parameters", "A reference to a resource with additional parameters"),
			cells.Age(),
		),
		Cells: func(c *networkingv1.IngressClass) []any {
			name := c.Name
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				name += " (default)"
			}
			return []any{name, c.Spec.Controller, parametersCell(c.Spec.Parameters), cells.AgeOf(c)}
		},
	}
}

func parametersCell(p *networkingv1.IngressClassParametersReference) string {
	if p == nil {
		return "<none>"
	}
	kind := p.Kind
	if p.APIGroup != nil {
		kind += "." + *p.APIGroup
	}
	return kind + "/" + p.Name
}

func validateClass(c *networkingv1.IngressClass) field.ErrorList {
	var errs field.ErrorList
	at := specPath.Child("controller")
	if len(c.Spec.Controller) > maxController {
		errs = append(errs, field.TooLong(at, "", maxController))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(at, c.Spec.Controller)...)
	if ref, p := c.Spec.Parameters, specPath.Child("parameters"); ref != nil {
		errs = append(errs, validateParameters(p, ref)...)
		errs = append(errs, check.Set(p, "kind", ref.Kind, "name", ref.Name)...)
	}
	return errs
}

func validateParameters(p *field.Path, ref *networkingv1.IngressClassParametersReference) field.ErrorList {
	var errs field.ErrorList
	if ref.APIGroup != nil {
		errs = append(errs, check.DNSSubdomain(p.Child("apiGroup"), *ref.APIGroup)...)
	}
	if ref.Kind != "" {
		errs = append(errs, check.All(p.Child("kind"), ref.Kind, content.IsPathSegmentName(ref.Kind))...)
	}
	if ref.Name != "" {
		errs = append(errs, check.All(p.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))...)
	}
	if ref.Scope == nil {
		return append(errs, field.Required(p.Child("scope"), ""))
	}
	at := p.Child("namespace")
	switch *ref.Scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if ref.Namespace == nil {
			return append(errs, field.Required(at, "`parameters.scope` is set to 'Namespace'"))
		}
		return append(errs, check.Name(at, *ref.Namespace, apivalidation.ValidateNamespaceName)...)
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if ref.Namespace != nil {
			errs = append(errs, field.Forbidden(at, "`parameters.scope` is set to 'Cluster'"))
		}
		return errs
	}
	return append(errs, field.NotSupported(p.Child("scope"), *ref.Scope, []string{
		networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace,
	}))
}
