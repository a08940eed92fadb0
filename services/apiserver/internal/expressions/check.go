package expressions

import (
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Check tells what is wrong with the types of an expression of a policy about
// objects of a known type; nil if nothing is. An Internal error is not about the
// expression. A nil type is not known.
func Check(expression string, variables []admissionv1.Variable, object, params *apiservercel.DeclType, d Declared) *apiservercel.Error {
	c := newPolicyCompiler(types{object, params})
	for i := range variables {
		// One that is wrong is of any type to the others.
		output, _ := c.typeOf(variables[i].Expression, d)
		c.composed.Fields[variables[i].Name] = apiservercel.NewDeclField(variables[i].Name, output, true, nil, nil)
	}
	_, err := c.typeOf(expression, d)
	return err
}

func (c *Compiler) typeOf(expression string, d Declared) (*apiservercel.DeclType, *apiservercel.Error) {
	set, err := c.set(d)
	if err != nil {
		return apiservercel.DynType, &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: fmt.Sprintf("fail to build env: %v", err)}
	}
	env, err := set.Env(environment.StoredExpressions)
	if err != nil {
		return apiservercel.DynType, &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: fmt.Sprintf("fail to build env: %v", err)}
	}
	ast, issues := env.Compile(expression)
	if issues != nil {
		return apiservercel.DynType, &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: issues.String()}
	}
	return declType(ast.OutputType()), nil
}
