package check

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const webhookForm = "; desired format: https://host[/path]"

// WebhookURL checks where a webhook is reached outside of the cluster.
func WebhookURL(p *field.Path, address string) field.ErrorList {
	u, err := url.Parse(address)
	if err != nil {
		return field.ErrorList{field.Required(p, "url must be a valid URL: "+err.Error()+webhookForm)}
	}
	var errs field.ErrorList
	refuse := func(broken bool, value, message string) {
		if broken {
			errs = append(errs, field.Invalid(p, value, message))
		}
	}
	refuse(u.Scheme != "https", u.Scheme, "'https' is the only allowed URL scheme"+webhookForm)
	refuse(u.Host == "", u.Host, "host must be specified"+webhookForm)
	refuse(u.User != nil, u.User.String(), "user information is not permitted in the URL")
	refuse(u.Fragment != "", u.Fragment, "fragments are not permitted in the URL")
	refuse(u.RawQuery != "", u.RawQuery, "query parameters are not permitted in the URL")
	return errs
}

// WebhookService checks the Service of a webhook in the cluster. Upstream
// mixes the name up with the namespace when it says which is missing.
func WebhookService(p *field.Path, name, namespace string, path *string, port int32) field.ErrorList {
	errs := Set(p, "name", namespace, "namespace", name)
	if wrong := validation.IsValidPortNum(int(port)); wrong != nil {
		errs = append(errs, field.Invalid(p.Child("port"), port, "port is not valid: "+strings.Join(wrong, ", ")))
	}
	if path != nil {
		errs = append(errs, webhookPath(p.Child("path"), *path)...)
	}
	return errs
}

func webhookPath(p *field.Path, path string) field.ErrorList {
	switch path {
	case "", "/":
		return nil
	case "//":
		return field.ErrorList{field.Invalid(p, path, "segment[0] may not be empty")}
	}
	var errs field.ErrorList
	if !strings.HasPrefix(path, "/") {
		errs = append(errs, field.Invalid(p, path, "must start with a '/'"))
	}
	for i, segment := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "" {
			errs = append(errs, field.Invalid(p, path, fmt.Sprintf("segment[%d] may not be empty", i)))
			continue
		}
		for _, wrong := range validation.IsDNS1123Subdomain(segment) {
			errs = append(errs, field.Invalid(p, path, fmt.Sprintf("segment[%d]: %v", i, wrong)))
		}
	}
	return errs
}
