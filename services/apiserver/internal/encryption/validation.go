package encryption

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

const noProvider = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"

var (
	everything = schema.GroupResource{Group: "*", Resource: "*"}

	aesSizes       = []int{16, 24, 32}
	secretboxSizes = []int{32}
)

// validate finds what is wrong with a configuration, in upstream's words.
func validate(c *apiserverv1.EncryptionConfiguration, reload bool) field.ErrorList {
	root := field.NewPath("resources")
	if len(c.Resources) == 0 {
		return field.ErrorList{needed(root)}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i, rule := range c.Resources {
		resources, providers := root.Index(i).Child("resources"), root.Index(i).Child("providers")
		if len(rule.Resources) == 0 {
			errs = append(errs, needed(resources))
		}
		errs = append(errs, validateOverlap(resources, rule.Resources)...)
		for j, name := range rule.Resources {
			if detail := badResource(name); detail != "" {
				errs = append(errs, field.Invalid(resources.Index(j), name, detail))
			}
		}
		if len(rule.Providers) == 0 {
			errs = append(errs, needed(providers))
		}
		for j, p := range rule.Providers {
			errs = append(errs, validateProvider(providers.Index(j), p, names, reload)...)
		}
	}
	return errs
}

func needed(path *field.Path) *field.Error {
	return field.Required(path, fmt.Sprintf("at least one %s is required", path))
}

// validateOverlap refuses names in one list that say the same thing twice.
func validateOverlap(path *field.Path, names []string) field.ErrorList {
	var twice, masked bool
	for i, a := range names {
		for j, b := range names {
			if i == j {
				continue
			}
			one, other := schema.ParseGroupResource(a), schema.ParseGroupResource(b)
			switch {
			case one == other && !twice:
				twice = true
			case one == everything, one.Group == other.Group && (one.Resource == "*" || other.Resource == "*"):
				masked = true
			}
		}
	}
	var errs field.ErrorList
	if twice {
		errs = append(errs, field.Invalid(path, names, "the same resource cannot be specified multiple times"))
	}
	if masked {
		errs = append(errs, field.Invalid(path, names, "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"))
	}
	return errs
}

func badResource(name string) string {
	if strings.ToLower(name) != name {
		return "resource name should not contain capital letters"
	}
	switch name {
	case "*":
		return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
	case "apiserveripinfo", "serviceipallocations", "servicenodeportallocations":
		return "resources which do not have REST API/s cannot be encrypted"
	}
	switch gr := schema.ParseGroupResource(name); {
	case gr.Group == "events.k8s.io":
		return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
	case gr.Group == "extensions":
		return "'extensions' group has been removed and cannot be used for encryption"
	case gr.Group == "*" && gr.Resource != "*":
		return "encrypting the same resource across groups is not supported"
	}
	return ""
}

func validateProvider(path *field.Path, p apiserverv1.ProviderConfiguration, names sets.Set[string], reload bool) field.ErrorList {
	found := 0
	for _, is := range []bool{p.KMS != nil, p.AESGCM != nil, p.AESCBC != nil, p.Secretbox != nil, p.Identity != nil} {
		if is {
			found++
		}
	}
	var errs field.ErrorList
	switch {
	case found == 0:
		return field.ErrorList{field.Invalid(path, p, noProvider)}
	case found > 1:
		errs = append(errs, field.Invalid(path, p, "more than one provider specified in a single element, should split into different list elements"))
	}
	switch {
	case p.KMS != nil:
		errs = append(errs, validateKMS(path.Child("kms"), p.KMS, names, reload)...)
		names.Insert(p.KMS.Name)
	case p.AESGCM != nil:
		errs = append(errs, validateKeys(path.Child("aesgcm", "keys"), p.AESGCM.Keys, aesSizes)...)
	case p.AESCBC != nil:
		errs = append(errs, validateKeys(path.Child("aescbc", "keys"), p.AESCBC.Keys, aesSizes)...)
	case p.Secretbox != nil:
		errs = append(errs, validateKeys(path.Child("secretbox", "keys"), p.Secretbox.Keys, secretboxSizes)...)
	}
	return errs
}

func validateKeys(path *field.Path, keys []apiserverv1.Key, sizes []int) field.ErrorList {
	if len(keys) == 0 {
		return field.ErrorList{field.Required(path, "at least one keys is required")}
	}
	var errs field.ErrorList
	for i, k := range keys {
		at := path.Index(i)
		if k.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "name is a mandatory field for a key"))
		}
		if k.Secret == "" {
			errs = append(errs, field.Required(at.Child("secret"), "secret is a mandatory field for a key"))
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(k.Secret)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(at.Child("secret"), "REDACTED", "secrets must be base64 encoded"))
		case !slices.Contains(sizes, len(secret)):
			errs = append(errs, field.Invalid(at.Child("secret"), "REDACTED",
				fmt.Sprintf("secret is not of the expected length, got %d, expected one of %v", len(secret), sizes)))
		}
	}
	return errs
}

func validateKMS(path *field.Path, k *apiserverv1.KMSConfiguration, names sets.Set[string], reload bool) field.ErrorList {
	var errs field.ErrorList
	old := k.APIVersion == "v1"
	name := path.Child("name")
	if k.Name == "" {
		errs = append(errs, field.Required(name, "name is a mandatory field for a provider"))
	}
	if !old && strings.Contains(k.Name, ":") {
		errs = append(errs, field.Invalid(name, k.Name, fmt.Sprintf("invalid KMS provider name %s, must not contain ':'", k.Name)))
	}
	if (reload || !old) && names.Has(k.Name) {
		errs = append(errs, field.Invalid(name, k.Name, fmt.Sprintf("duplicate KMS provider name %s, names must be unique", k.Name)))
	}
	if k.Timeout.Duration <= 0 {
		errs = append(errs, field.Invalid(path.Child("timeout"), k.Timeout, "timeout should be a positive value"))
	}
	errs = append(errs, validateEndpoint(path.Child("endpoint"), k.Endpoint)...)
	switch {
	case !old && k.CacheSize != nil:
		errs = append(errs, field.Invalid(path.Child("cachesize"), *k.CacheSize, "cachesize is not supported in v2"))
	case old && *k.CacheSize == 0:
		errs = append(errs, field.Invalid(path.Child("cachesize"), *k.CacheSize, "cachesize should be a positive value, or negative to disable"))
	}
	if !old && k.APIVersion != "v2" {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), k.APIVersion, "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"))
	}
	return errs
}

func validateEndpoint(path *field.Path, endpoint string) field.ErrorList {
	if endpoint == "" {
		return field.ErrorList{field.Invalid(path, "", "endpoint is a mandatory field for a kms")}
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, endpoint, fmt.Sprintf("invalid endpoint for kms provider, error: %v", err))}
	case u.Scheme != "unix":
		return field.ErrorList{field.Invalid(path, endpoint, fmt.Sprintf("unsupported scheme %q for KMS provider, only unix is supported", u.Scheme))}
	}
	return nil
}
