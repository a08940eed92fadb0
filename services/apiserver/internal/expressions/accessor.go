package expressions

import (
	"github.com/google/cel-go/cel"
	celtypes "github.com/google/cel-go/common/types"
)

// Expression is an expression of one of some types.
type Expression struct {
	Text  string
	Types []*cel.Type
}

// GetExpression implements Accessor.
func (e *Expression) GetExpression() string { return e.Text }

// ReturnTypes implements Accessor.
func (e *Expression) ReturnTypes() []*cel.Type { return e.Types }

// Condition is an expression that is true or false.
func Condition(text string) *Expression { return &Expression{text, []*cel.Type{cel.BoolType}} }

// Message is an expression that is a text.
func Message(text string) *Expression { return &Expression{text, []*cel.Type{cel.StringType}} }

// Annotation is an expression that is a text or null.
func Annotation(text string) *Expression {
	return &Expression{text, []*cel.Type{cel.StringType, cel.NullType}}
}

// Any is an expression of any type, as variables are.
func Any(text string) *Expression {
	return &Expression{text, []*cel.Type{cel.AnyType, cel.DynType}}
}

// Configuration is an expression that is an object to apply.
func Configuration(text string) *Expression {
	return &Expression{text, []*cel.Type{celtypes.NewObjectType("Object")}}
}

// JSONPatch is an expression that is a list of patches.
func JSONPatch(text string) *Expression {
	return &Expression{text, []*cel.Type{cel.ListType(celtypes.NewObjectType("JSONPatch"))}}
}
