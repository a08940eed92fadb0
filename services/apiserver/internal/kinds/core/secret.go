package core

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// Secret is the behaviour of core/v1 Secret.
func Secret() strategy.Kind[*corev1.Secret] {
	doc := corev1.Secret{}.SwaggerDoc()
	return strategy.Kind[*corev1.Secret]{
		Default:        defaultSecret,
		ValidateCreate: validateSecret,
		ValidateUpdate: func(s, old *corev1.Secret) field.ErrorList {
			errs := check.Unchanged(field.NewPath("type"), s.Type, old.Type)
			errs = append(errs, validateSecretUnchanged(s, old)...)
			return append(errs, validateSecret(s)...)
		},
		Fields:                   func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
		Warnings:                 secretWarnings,
		AllowUnconditionalUpdate: true,
		Columns:                  cells.Columns(cells.Name(), cells.Text("Type", doc["type"]), cells.Text("Data", doc["data"]), cells.Age()),
		Cells: func(s *corev1.Secret) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), cells.AgeOf(s)}
		},
	}
}

// defaultSecret moves what was written as plain text to where it is kept.
func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) == 0 {
		return
	}
	if s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	data := field.NewPath("data")
	size := 0
	for _, key := range sortedKeys(s.Data) {
		errs = append(errs, check.All(data.Key(key), key, validation.IsConfigMapKey(key))...)
		size += len(s.Data[key])
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	return append(errs, validateSecretType(data, s)...)
}

// validateSecretType checks that what the type promises is there.
func validateSecretType(p *field.Path, s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	missing := func(key string) {
		errs = append(errs, field.Required(p.Key(key), ""))
	}
	has := func(key string) bool {
		_, there := s.Data[key]
		return there
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(metadataPath.Child("annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, validateSecretJSON(p, s, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, validateSecretJSON(p, s, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			missing(corev1.BasicAuthUsernameKey)
			missing(corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			missing(corev1.SSHAuthPrivateKey)
		}
	case corev1.SecretTypeTLS:
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if !has(key) {
				missing(key)
			}
		}
	}
	return errs
}

func validateSecretJSON(p *field.Path, s *corev1.Secret, key string) field.ErrorList {
	content, there := s.Data[key]
	if !there {
		return field.ErrorList{field.Required(p.Key(key), "")}
	}
	if err := json.Unmarshal(content, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(p.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUnchanged(s, old *corev1.Secret) field.ErrorList {
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	var errs field.ErrorList
	if s.Immutable == nil || !*s.Immutable {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), immutableWhenSet))
	}
	if !maps.EqualFunc(s.Data, old.Data, bytes.Equal) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), immutableWhenSet))
	}
	return errs
}

func secretWarnings(s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
