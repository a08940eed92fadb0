// Package impersonation lets somebody act as somebody else, if permitted for
// that user and, in the finer modes, for what is then done.
package impersonation

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/services/apiserver/internal/auth/authn"
)

// FromHeader reads whom a request wants to act as; nil if nobody.
func FromHeader(header http.Header) (*user.DefaultInfo, error) {
	wanted := &user.DefaultInfo{
		Name:   header.Get(authenticationv1.ImpersonateUserHeader),
		UID:    header.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(header[authenticationv1.ImpersonateGroupHeader]),
	}
	hasExtra := false
	for name, values := range header {
		encoded, ok := strings.CutPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		hasExtra = true
		if len(values) == 0 {
			continue
		}
		if wanted.Extra == nil {
			wanted.Extra = map[string][]string{}
		}
		key := authn.UnescapeKey(strings.ToLower(encoded))
		wanted.Extra[key] = append(wanted.Extra[key], values...)
	}
	if wanted.Name != "" {
		return wanted, nil
	}
	if wanted.UID != "" || len(wanted.Groups) > 0 || hasExtra {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("requested %#v without impersonating a user name", wanted))
	}
	return nil, nil
}
