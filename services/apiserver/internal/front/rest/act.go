package rest

import (
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/surface"
)

// act takes the body as an order about the object in the path: to bind a pod,
// to evict it, to issue a token.
func (c *call) act(s *surface.Subresource) error {
	if _, err := c.accept(negotiate.Objects); err != nil {
		return err
	}
	if _, err := negotiate.Content(c.r); err != nil {
		return err
	}
	o, err := query.ForCreate(c.values)
	if err != nil {
		return err
	}
	c.dryRun = len(o.DryRun) > 0
	want := body.Expected{Kind: s.Kind}
	if s.Kind.Kind == "Eviction" {
		// What clients of before policy/v1 send is the same.
		want.Also = []schema.GroupVersion{{Group: "policy", Version: "v1beta1"}}
	}
	order := s.New()
	if err := c.decode(want, order, o.FieldValidation); err != nil {
		return err
	}
	c.sent(order, s.Kind)
	switch order := order.(type) {
	case *corev1.Binding:
		if err := c.aimed(order, s); err != nil {
			return err
		}
		return c.bind(order, o)
	case *policyv1.Eviction:
		if err := c.aimed(order, s); err != nil {
			return err
		}
		return c.evict(order, o)
	case *authenticationv1.TokenRequest:
		if err := c.place(order); err != nil {
			return err
		}
		order.ManagedFields = tokenManaged(order, manager(o.FieldManager, c.r), c.Clock.Now())
		answer, err := c.Reviews.Token(c.ctx(), c.namespace, c.t.Name, order)
		if err != nil {
			return err
		}
		return c.other(http.StatusCreated, s.Kind, answer)
	}
	return fmt.Errorf("there is no action for a %T", order)
}

// tokenManaged notes who asked for a token, and for what of it.
func tokenManaged(order *authenticationv1.TokenRequest, who string, now time.Time) []metav1.ManagedFieldsEntry {
	fields := `{"f:spec":{"f:audiences":{},"f:expirationSeconds":{}}}`
	if ref := order.Spec.BoundObjectRef; ref != nil {
		bound := `".":{}`
		for _, part := range [][2]string{{"apiVersion", ref.APIVersion}, {"kind", ref.Kind}, {"name", ref.Name}, {"uid", string(ref.UID)}} {
			if part[1] != "" {
				bound += `,"f:` + part[0] + `":{}`
			}
		}
		fields = `{"f:spec":{"f:audiences":{},"f:boundObjectRef":{` + bound + `},"f:expirationSeconds":{}}}`
	}
	at := metav1.NewTime(now).Rfc3339Copy()
	return []metav1.ManagedFieldsEntry{{
		Manager: who, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: authenticationv1.SchemeGroupVersion.String(), Time: &at,
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}, Subresource: "token",
	}}
}

// aimed holds an order to the object in the path.
func (c *call) aimed(order metav1.Object, s *surface.Subresource) error {
	if err := c.place(order); err != nil {
		return err
	}
	if name := order.GetName(); name != c.t.Name {
		return apierrors.NewBadRequest("name in URL does not match name in " + s.Kind.Kind + " object")
	}
	return nil
}

// success is the answer to an order that needs none.
func (c *call) success() error {
	return c.other(http.StatusCreated, schema.GroupVersionKind{Version: "v1", Kind: "Status"},
		&metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated})
}

func (c *call) bind(b *corev1.Binding, o *metav1.CreateOptions) error {
	if _, err := c.Registry.Bind(c.ctx(), c.namespace, b, len(o.DryRun) > 0); err != nil {
		return err
	}
	return c.success()
}

func (c *call) evict(e *policyv1.Eviction, o *metav1.CreateOptions) error {
	if e.DeleteOptions != nil {
		if err := query.CheckDelete(e.DeleteOptions); err != nil {
			return err
		}
	}
	// A dry run may be asked for in either place.
	if len(o.DryRun) > 0 {
		if e.DeleteOptions == nil {
			e.DeleteOptions = &metav1.DeleteOptions{}
		}
		e.DeleteOptions.DryRun = o.DryRun
	}
	if err := c.Registry.Evict(c.ctx(), c.namespace, e); err != nil {
		return err
	}
	return c.success()
}
