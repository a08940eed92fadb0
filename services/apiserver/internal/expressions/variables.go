package expressions

import (
	"context"
	"math"

	"github.com/google/cel-go/cel"
	celtypes "github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/lazy"
)

// Variables are the compiled variables of a policy.
type Variables struct {
	composed  *apiservercel.DeclType
	variables map[string]Result
}

// Variables returns those that were compiled. None may be compiled after.
func (c *Compiler) Variables() *Variables { return &Variables{c.composed, c.variables} }

// Context is that of evaluations which share what they evaluate lazily, and its
// costs. It is for one goroutine.
func (v *Variables) Context(ctx context.Context) plugincel.CompositionContext {
	return &composition{Context: ctx, known: v}
}

type composition struct {
	context.Context
	known *Variables
	cost  int64
}

// Variables implements upstream's interface of the context.
func (c *composition) Variables(activation any) ref.Val {
	m := lazy.NewMapValue(c.known.composed)
	for name, r := range c.known.variables {
		m.Append(name, func(*lazy.MapValue) ref.Val { return c.evaluate(name, r, activation) })
	}
	return m
}

// GetAndResetCost implements upstream's interface of the context.
func (c *composition) GetAndResetCost() int64 {
	cost := c.cost
	c.cost = 0
	return cost
}

func (c *composition) evaluate(name string, r Result, activation any) ref.Val {
	if r.Error != nil {
		return celtypes.NewErr("composited variable %q fails to compile: %v", name, r.Error)
	}
	value, details, err := r.Program.ContextEval(c, activation)
	if details == nil {
		return celtypes.NewErr("unable to get evaluation details of variable %q", name)
	}
	cost := details.ActualCost()
	if cost == nil {
		return celtypes.NewErr("unable to calculate cost of variable %q", name)
	}
	c.cost += int64(min(*cost, math.MaxInt64))
	if err != nil {
		return celtypes.NewErr("composited variable %q fails to evaluate: %v", name, err)
	}
	return value
}

// declTypes are the declared forms of CEL's simple types.
var declTypes = map[*cel.Type]*apiservercel.DeclType{
	cel.AnyType: apiservercel.AnyType, cel.BoolType: apiservercel.BoolType, cel.BytesType: apiservercel.BytesType,
	cel.DoubleType: apiservercel.DoubleType, cel.DurationType: apiservercel.DurationType, cel.IntType: apiservercel.IntType,
	cel.NullType: apiservercel.NullType, cel.StringType: apiservercel.StringType, cel.TimestampType: apiservercel.TimestampType,
	cel.UintType: apiservercel.UintType,
}

// declType is the declared form of a type, as far as there is one.
func declType(t *cel.Type) *apiservercel.DeclType {
	if t == nil {
		return apiservercel.DynType
	}
	if simple := declTypes[t]; simple != nil {
		return simple
	}
	if !t.HasTrait(traits.ContainerType) || !t.HasTrait(traits.IndexerType) {
		return apiservercel.DynType
	}
	switch of := t.Parameters(); len(of) {
	case 1:
		return apiservercel.NewListType(declType(of[0]), -1)
	case 2:
		return apiservercel.NewMapType(declType(of[0]), declType(of[1]), -1)
	}
	return apiservercel.DynType
}
