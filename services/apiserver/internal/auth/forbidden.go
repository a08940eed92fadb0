package auth

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// sanitizer keeps names that clients chose from reading as HTML where an
// error is shown in a browser.
var sanitizer = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;")

// Forbidden is the refusal of a request, in upstream's wording. Reason may be
// empty.
func Forbidden(a authorizer.Attributes, reason string) *apierrors.StatusError {
	message := sanitizer.Replace(forbiddenMessage(a))
	if reason != "" {
		message += ": " + reason
	}
	resource := schema.GroupResource{Group: a.GetAPIGroup(), Resource: a.GetResource()}
	return apierrors.NewForbidden(resource, a.GetName(), errors.New(message))
}

func forbiddenMessage(a authorizer.Attributes) string {
	name := ""
	if u := a.GetUser(); u != nil {
		name = u.GetName()
	}
	if !a.IsResourceRequest() {
		return fmt.Sprintf("User %q cannot %s path %q", name, a.GetVerb(), a.GetPath())
	}
	resource := a.GetResource()
	if sub := a.GetSubresource(); sub != "" {
		resource += "/" + sub
	}
	message := fmt.Sprintf("User %q cannot %s resource %q in API group %q", name, a.GetVerb(), resource, a.GetAPIGroup())
	if namespace := a.GetNamespace(); namespace != "" {
		return message + fmt.Sprintf(" in the namespace %q", namespace)
	}
	return message + " at the cluster scope"
}
