package admissionregistration

import (
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ValidatingWebhookConfiguration is the behaviour of
// admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration.
func ValidatingWebhookConfiguration() strategy.Kind[*admissionv1.ValidatingWebhookConfiguration] {
	hooks := func(c *admissionv1.ValidatingWebhookConfiguration) []*webhook {
		list := make([]*webhook, len(c.Webhooks))
		for i := range c.Webhooks {
			list[i] = validating(&c.Webhooks[i])
		}
		return list
	}
	return strategy.Kind[*admissionv1.ValidatingWebhookConfiguration]{
		Default: func(c *admissionv1.ValidatingWebhookConfiguration) {
			for _, h := range hooks(c) {
				h.setDefaults()
			}
		},
		PrepareCreate: func(c *admissionv1.ValidatingWebhookConfiguration) { c.Generation = 1 },
		PrepareUpdate: func(c, old *admissionv1.ValidatingWebhookConfiguration) {
			strategy.Generation(c, old, changed(c.Webhooks, old.Webhooks))
		},
		ValidateCreate: func(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			return append(validateWebhooks(hooks(c), allowances{}, nil), validateName(c.Name)...)
		},
		ValidateUpdate: func(c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(hooks(c), allowancesFor(hooks(old), hooks(c)), nil)
		},
		Columns: webhookColumns(),
		Cells: func(c *admissionv1.ValidatingWebhookConfiguration) []any {
			return []any{c.Name, int64(len(c.Webhooks)), cells.AgeOf(c)}
		},
	}
}

// MutatingWebhookConfiguration is the behaviour of
// admissionregistration.k8s.io/v1 MutatingWebhookConfiguration.
func MutatingWebhookConfiguration() strategy.Kind[*admissionv1.MutatingWebhookConfiguration] {
	hooks := func(c *admissionv1.MutatingWebhookConfiguration) []*webhook {
		list := make([]*webhook, len(c.Webhooks))
		for i := range c.Webhooks {
			list[i] = mutating(&c.Webhooks[i])
		}
		return list
	}
	validate := func(c *admissionv1.MutatingWebhookConfiguration, allow allowances) field.ErrorList {
		return validateWebhooks(hooks(c), allow, func(p *field.Path, i int) field.ErrorList {
			policy := c.Webhooks[i].ReinvocationPolicy
			if policy == nil {
				return nil
			}
			return check.OneOf(p.Child("reinvocationPolicy"), *policy, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
		})
	}
	return strategy.Kind[*admissionv1.MutatingWebhookConfiguration]{
		Default: func(c *admissionv1.MutatingWebhookConfiguration) {
			for i, h := range hooks(c) {
				h.setDefaults()
				defaultPointer(&c.Webhooks[i].ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			}
		},
		PrepareCreate: func(c *admissionv1.MutatingWebhookConfiguration) { c.Generation = 1 },
		PrepareUpdate: func(c, old *admissionv1.MutatingWebhookConfiguration) {
			strategy.Generation(c, old, changed(c.Webhooks, old.Webhooks))
		},
		ValidateCreate: func(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			return append(validate(c, allowances{}), validateName(c.Name)...)
		},
		ValidateUpdate: func(c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			return validate(c, allowancesFor(hooks(old), hooks(c)))
		},
		Columns: webhookColumns(),
		Cells: func(c *admissionv1.MutatingWebhookConfiguration) []any {
			return []any{c.Name, int64(len(c.Webhooks)), cells.AgeOf(c)}
		},
	}
}

func webhookColumns() []metav1.TableColumnDefinition {
	return cells.Columns(
		cells.Name(),
		cells.Number("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
		cells.Age(),
	)
}

// changed tells an empty list from an absent one, as upstream does where it counts
// generations.
func changed[T any](hooks, old []T) bool { return !reflect.DeepEqual(hooks, old) }
