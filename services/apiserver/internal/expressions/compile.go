package expressions

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Accessor is an expression and the types that it may be of.
type Accessor = plugincel.ExpressionAccessor

// Result is a compiled expression, or why it is none.
type Result = plugincel.CompilationResult

// Compiler compiles the expressions that belong together: those of one policy,
// which share its variables. It is not safe for concurrent use; what it
// compiles is.
type Compiler struct {
	known     types
	composed  *apiservercel.DeclType // of the variables; nil where there are none
	variables map[string]Result
	sets      map[Declared]*environment.EnvSet
}

// NewCompiler returns a compiler of expressions without variables.
func NewCompiler() *Compiler { return &Compiler{} }

// NewPolicyCompiler returns a compiler of the expressions of a policy.
func NewPolicyCompiler() *Compiler { return newPolicyCompiler(types{}) }

func newPolicyCompiler(known types) *Compiler {
	return &Compiler{
		known:     known,
		composed:  apiservercel.NewObjectType(variablesType, map[string]*apiservercel.DeclField{}),
		variables: map[string]Result{}, sets: map[Declared]*environment.EnvSet{},
	}
}

// extending guards the shared environments while they are extended.
var extending sync.Mutex

func (c *Compiler) set(d Declared) (*environment.EnvSet, error) {
	if set := c.sets[d]; set != nil {
		return set, nil
	}
	set, err := c.base(d)
	if err != nil || c.composed == nil {
		return set, err
	}
	extending.Lock()
	defer extending.Unlock()
	set, err = set.Extend(environment.VersionedOptions{
		IntroducedVersion: always,
		EnvOptions:        []cel.EnvOption{cel.Variable(plugincel.VariableVarName, c.composed.CelType())},
		DeclTypes:         []*apiservercel.DeclType{c.composed},
	})
	if err == nil {
		c.sets[d] = set
	}
	return set, err
}

func (c *Compiler) base(d Declared) (*environment.EnvSet, error) {
	if c.known == (types{}) {
		return of(d)
	}
	return build(d, c.known)
}

// Variable compiles a variable and lets the expressions after it use it, even if
// it does not compile: then those fail that do.
func (c *Compiler) Variable(name string, e Accessor, d Declared, mode environment.Type) Result {
	r := c.Compile(e, d, mode)
	c.composed.Fields[name] = apiservercel.NewDeclField(name, declType(r.OutputType), true, nil, nil)
	c.variables[name] = r
	return r
}

// Compile compiles an expression. New expressions are held to what the version
// before this one understands, too.
func (c *Compiler) Compile(e Accessor, d Declared, mode environment.Type) Result {
	fail := func(kind apiservercel.ErrorType, detail string, cause error) Result {
		return Result{ExpressionAccessor: e, Error: &apiservercel.Error{Type: kind, Detail: detail, Cause: cause}}
	}
	set, err := c.set(d)
	if err != nil {
		return fail(apiservercel.ErrorTypeInternal, fmt.Sprintf("unexpected error loading CEL environment: %v", err), nil)
	}
	env, err := set.Env(mode)
	if err != nil {
		return fail(apiservercel.ErrorTypeInternal, fmt.Sprintf("unexpected error loading CEL environment: %v", err), nil)
	}
	ast, issues := env.Compile(e.GetExpression())
	if issues != nil {
		return fail(apiservercel.ErrorTypeInvalid, "compilation failed: "+issues.String(), apiservercel.NewCompilationError(issues))
	}
	if reason := mistyped(ast.OutputType(), e.ReturnTypes()); reason != "" {
		return fail(apiservercel.ErrorTypeInvalid, reason, nil)
	}
	program, err := env.Program(ast, cel.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return fail(apiservercel.ErrorTypeInternal, "program instantiation failed: "+err.Error(), nil)
	}
	return Result{Program: program, ExpressionAccessor: e, OutputType: ast.OutputType()}
}

// CompileCELExpression implements upstream's interface of compilers.
func (c *Compiler) CompileCELExpression(e Accessor, d Declared, mode environment.Type) Result {
	return c.Compile(e, d, mode)
}

// mistyped tells what is wrong with an expression's type, if anything.
func mistyped(got *cel.Type, allowed []*cel.Type) string {
	for _, one := range allowed {
		if got.IsExactType(one) || cel.AnyType.IsExactType(one) {
			return ""
		}
	}
	if len(allowed) == 1 {
		return fmt.Sprintf("must evaluate to %v but got %v", allowed[0].String(), got.String())
	}
	return fmt.Sprintf("must evaluate to one of %v but got %v", allowed, got.String())
}
