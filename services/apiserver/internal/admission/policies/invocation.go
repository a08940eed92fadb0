package policies

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/expressions"
)

// Config is what the plugins need. All fields must be set.
type Config struct {
	Log         *zap.Logger
	Environment *request.Environment
	Params      Params
	// Types is what knows the fields of a kind's objects, for configurations that
	// are applied to them.
	Types func(*kinds.Kind) (managedfields.TypeConverter, error)
}

// invocation is a policy that a request is to be judged by, with one binding and
// its parameters.
type invocation[E any] struct {
	*policy[E]
	binding *binding
	kind    *kinds.Kind // by which the rules are about the request
	params  []param
}

// configError says that a policy or a binding does not work. Binding is nil for
// an error of the policy itself.
type configError[E any] struct {
	policy  *policy[E]
	binding *binding
	err     error
}

// invocations finds the policies that a request is to be judged by. Errors are
// of those alone that are about the request.
func invocations[E any](ctx context.Context, c *Config, r *request.Request, hooks []hook[E]) (found []invocation[E], wrong []configError[E]) {
	for _, h := range hooks {
		if h.rules == nil {
			wrong = append(wrong, configError[E]{h.policy, nil, errors.New("policy contained no match constraints, a required field")})
			continue
		}
		k, err := r.Match(ctx, h.rules)
		if err == nil && k == nil {
			continue
		}
		var paramKind *kinds.Kind
		if err == nil {
			paramKind, err = paramKindOf(c.Params, h.paramKind)
		}
		if err != nil {
			wrong = append(wrong, configError[E]{h.policy, nil, fmt.Errorf("failed to configure policy: %w", err)})
			continue
		}
		for _, b := range h.bindings {
			params, err := bound(ctx, c, r, b, paramKind)
			if err != nil {
				wrong = append(wrong, configError[E]{h.policy, b, fmt.Errorf("failed to configure binding: %w", err)})
			} else if len(params) > 0 {
				found = append(found, invocation[E]{h.policy, b, k, params})
			}
		}
	}
	return found, wrong
}

// bound are the parameters by which a binding binds the request; none if it does
// not.
func bound(ctx context.Context, c *Config, r *request.Request, b *binding, paramKind *kinds.Kind) ([]param, error) {
	if b.rules != nil {
		k, err := r.Match(ctx, b.rules)
		if err != nil || k == nil {
			return nil, err
		}
	}
	return paramsFor(ctx, c.Params, paramKind, b.param, r.Within())
}

// input is what the expressions of a policy are evaluated about.
func input(r *request.Request, v *request.View, p param) *expressions.Input {
	return &expressions.Input{
		Attributes: v.VersionedAttributes, Resource: metav1.GroupVersionResource(v.Resource),
		Params: p.Object, Authorizer: r.Authorizer(),
	}
}
