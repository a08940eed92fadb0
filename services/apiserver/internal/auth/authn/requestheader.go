package authn

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
)

// RequestHeader is a front proxy that has authenticated the client itself and
// says who it is in headers.
type RequestHeader struct {
	// CA verifies the proxy's own certificate.
	CA *x509.CertPool
	// AllowedNames are the common names it may have; any if empty.
	AllowedNames []string
	// The headers, in order of preference: X-Remote-User and so on.
	UsernameHeaders, UIDHeaders, GroupHeaders []string
	// ExtraHeaderPrefixes begin headers that carry further facts.
	ExtraHeaderPrefixes []string
}

func (h *RequestHeader) identify(proxies *certificates, c Credentials, now time.Time) (user.Info, error) {
	name := firstValue(c.Header, h.UsernameHeaders)
	if name == "" {
		// No claim, so nothing to verify: an ordinary client's certificate is
		// judged by the next way in.
		return nil, nil
	}
	if _, err := proxies.verify(c.Certs, now); err != nil {
		return nil, err
	}
	if common := c.Certs[0].Subject.CommonName; len(h.AllowedNames) > 0 && !slices.Contains(h.AllowedNames, common) {
		return nil, fmt.Errorf("x509: subject with cn=%s is not in the allowed list", common)
	}
	return &user.DefaultInfo{
		Name: name, UID: firstValue(c.Header, h.UIDHeaders),
		Groups: allValues(c.Header, h.GroupHeaders), Extra: h.extra(c.Header),
	}, nil
}

func (h *RequestHeader) extra(header http.Header) map[string][]string {
	out := map[string][]string{}
	for _, prefix := range h.ExtraHeaderPrefixes {
		for _, name := range sortedNames(header) {
			if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
				continue
			}
			key := UnescapeKey(strings.ToLower(name[len(prefix):]))
			out[key] = append(out[key], header[name]...)
		}
	}
	return out
}

// Strip removes every header that says who somebody is, so that a request can
// be passed on without the next server believing them.
func (a *Authenticator) Strip(header http.Header) {
	header.Del("Authorization")
	for name := range header {
		if strings.HasPrefix(name, "Impersonate-") || a.config.RequestHeader.names(name) {
			delete(header, name)
		}
	}
}

func (h *RequestHeader) names(name string) bool {
	if h == nil {
		return false
	}
	for _, list := range [][]string{h.UsernameHeaders, h.UIDHeaders, h.GroupHeaders} {
		if slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) }) {
			return true
		}
	}
	return slices.ContainsFunc(h.ExtraHeaderPrefixes, func(prefix string) bool {
		return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
	})
}

// UnescapeKey decodes the percent-encoding of a header name's part; a key
// that is not encoded well is taken as it is.
func UnescapeKey(key string) string {
	if decoded, err := url.PathUnescape(key); err == nil {
		return decoded
	}
	return key
}

func firstValue(header http.Header, names []string) string {
	for _, name := range names {
		if value := header.Get(name); value != "" {
			return value
		}
	}
	return ""
}

func allValues(header http.Header, names []string) []string {
	out := []string{}
	for _, name := range names {
		for _, value := range header.Values(name) {
			if value != "" {
				out = append(out, value)
			}
		}
	}
	return out
}

func sortedNames(header http.Header) []string {
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
