package expressions

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Store compiles the variables of a policy that is stored. One that does not
// compile fails where it is used.
func (c *Compiler) Store(variables []admissionv1.Variable, d Declared) {
	for i := range variables {
		c.Variable(variables[i].Name, Any(variables[i].Expression), d, environment.StoredExpressions)
	}
}

// All compiles expressions of a policy that is stored. An empty one has an empty
// result.
func (c *Compiler) All(texts []string, as func(string) *Expression, d Declared) []Result {
	out := make([]Result, len(texts))
	for i, text := range texts {
		if text != "" {
			out[i] = c.Compile(as(text), d, environment.StoredExpressions)
		}
	}
	return out
}
