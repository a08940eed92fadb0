package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// The paths at which others find out how to verify our tokens.
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeysPath          = "/openid/v1/jwks"
)

// Discovery holds the two documents, made once.
type Discovery struct {
	configuration, keys []byte
}

type configuration struct {
	Issuer        string   `json:"issuer"`
	KeysURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// NewDiscovery makes the documents. The keys' URI is keysURI, or else made of
// externalAddress, a host with a port. An issuer that OpenID does not allow
// is an error, upon which the documents are not to be served.
func NewDiscovery(issuer, keysURI, externalAddress string, keys *Keys) (*Discovery, error) {
	if err := checkIssuer(issuer); err != nil {
		return nil, err
	}
	if keysURI == "" {
		if externalAddress == "" {
			return nil, errors.New("either the JWKS URI or the default external address, or both, must be set")
		}
		keysURI = (&url.URL{Scheme: "https", Host: externalAddress, Path: KeysPath}).String()
	} else if parsed, err := url.Parse(keysURI); err != nil {
		return nil, err
	} else if parsed.Scheme != "https" {
		return nil, fmt.Errorf("jwksURI requires https scheme, parsed as: %v", parsed)
	}
	var set jose.JSONWebKeySet
	var algorithms []string
	for _, key := range keys.all {
		set.Keys = append(set.Keys, jose.JSONWebKey{Algorithm: string(key.Algorithm), Key: key.Key, KeyID: key.ID, Use: "sig"})
		algorithms = append(algorithms, string(key.Algorithm))
	}
	slices.Sort(algorithms)
	var d Discovery
	var err error
	if d.keys, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("failed to marshal service account issuer JWKS: %w", err)
	}
	d.configuration, err = json.Marshal(configuration{
		Issuer: issuer, KeysURI: keysURI, ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"},
		Algorithms: slices.Compact(algorithms),
	})
	if err != nil {
		return nil, fmt.Errorf("failed to marshal service account issuer metadata: %w", err)
	}
	return &d, nil
}

func checkIssuer(issuer string) error {
	if issuer == "" {
		return errors.New("empty issuer URL")
	}
	parsed, err := url.Parse(issuer)
	switch {
	case err != nil:
		return err
	case parsed.Scheme != "https":
		return fmt.Errorf("issuer URL must use https scheme, got: %s", issuer)
	case parsed.RawQuery != "":
		return fmt.Errorf("issuer URL may not include a query, got: %s", issuer)
	case parsed.Fragment != "":
		return fmt.Errorf("issuer URL may not include a fragment, got: %s", issuer)
	}
	return nil
}

// ServeHTTP serves both documents, by the path.
func (d *Discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, contentType := d.configuration, "application/json"
	if r.URL.Path == KeysPath {
		body, contentType = d.keys, "application/jwk-set+json"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(body) // The client went away; nobody is left to tell.
}
