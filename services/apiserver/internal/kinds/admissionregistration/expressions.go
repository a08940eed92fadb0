package admissionregistration

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"coracle.local/services/apiserver/internal/expressions"
	"coracle.local/services/apiserver/internal/kinds/check"
)

// maxConditions is how many match conditions there may be.
const maxConditions = 64

// stored are the expressions of the object that an update changes, by what they
// are for: those may go on using what new ones may not yet.
type stored struct {
	conditions, validations, messages, annotations, configurations []string
}

// mode is the environment of an expression.
func mode(known []string, expression string) environment.Type {
	if slices.Contains(known, expression) {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// compiled is what is wrong with an expression, if anything. shown is what the
// error shows, which need not be what was compiled.
func compiled(p *field.Path, r expressions.Result, shown string) field.ErrorList {
	if r.Error == nil {
		return nil
	}
	var err *apiservercel.Error
	if !errors.As(r.Error, &err) {
		return field.ErrorList{field.InternalError(p, fmt.Errorf("unsupported error type: %w", r.Error))}
	}
	switch err.Type {
	case apiservercel.ErrorTypeRequired:
		return field.ErrorList{field.Required(p, err.Detail)}
	case apiservercel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(p, shown, err.Detail)}
	}
	return field.ErrorList{field.InternalError(p, err)}
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

func validateConditions(p *field.Path, conditions []admissionv1.MatchCondition, params bool, known []string) field.ErrorList {
	var errs field.ErrorList
	if len(conditions) > maxConditions {
		errs = append(errs, field.TooMany(p, len(conditions), maxConditions))
	}
	compiler := expressions.NewCompiler()
	seen := map[string]bool{}
	for i, c := range conditions {
		p := p.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			errs = append(errs, field.Required(p.Child("expression"), ""))
		} else {
			r := compiler.Compile(expressions.Condition(text), expressions.Declared{HasParams: params, HasAuthorizer: true}, mode(known, text))
			errs = append(errs, compiled(p.Child("expression"), r, text)...)
		}
		if c.Name == "" {
			errs = append(errs, field.Required(p.Child("name"), ""))
			continue
		}
		errs = append(errs, check.QualifiedName(p.Child("name"), c.Name)...)
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(p.Child("name"), c.Name))
		}
		seen[c.Name] = true
	}
	return errs
}

var identifier = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")

// reserved are the words that CEL keeps for itself.
var reserved = []string{
	"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
	"loop", "package", "namespace", "return", "var", "void", "while",
}

func validateVariables(p *field.Path, compiler *expressions.Compiler, variables []admissionv1.Variable, params bool, known []string) field.ErrorList {
	var errs field.ErrorList
	for i, v := range variables {
		p := p.Index(i)
		switch {
		case blank(v.Name):
			errs = append(errs, field.Required(p.Child("name"), "name is not specified"))
		case !identifier.MatchString(v.Name) || slices.Contains(reserved, v.Name):
			errs = append(errs, field.Invalid(p.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if blank(v.Expression) {
			errs = append(errs, field.Required(p.Child("expression"), "expression is not specified"))
			continue
		}
		r := compiler.Variable(v.Name, expressions.Any(v.Expression), expressions.Declared{HasParams: params, HasAuthorizer: true}, mode(known, v.Expression))
		errs = append(errs, compiled(p.Child("expression"), r, v.Expression)...)
	}
	return errs
}

// compilerFor knows variables only where there are some, so that errors about
// the word say the same as upstream's.
func compilerFor(variables []admissionv1.Variable) *expressions.Compiler {
	if len(variables) == 0 {
		return expressions.NewCompiler()
	}
	return expressions.NewPolicyCompiler()
}
