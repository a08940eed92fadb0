package custom

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/custom/conversion"
	"coracle.local/services/apiserver/internal/strategy"
)

// conversionTimeout is how long a conversion webhook is waited for, as upstream
// does.
const conversionTimeout = 30 * time.Second

// convert makes o, an object of version v, one of another version of the same
// definition, and holds it to that version's schema.
func (v *version) convert(o *Object, to *version) error {
	if err := v.turn(o, to); err != nil {
		return err
	}
	_, err := to.coerce(o.Object, coercion{})
	return err
}

// turn is convert without a look at the schema.
func (v *version) turn(o *Object, to *version) error {
	o.SetGroupVersionKind(v.kind.GroupVersionKind())
	if c := v.definition.crd.Spec.Conversion; c != nil && c.Strategy == apiextensionsv1.WebhookConverter {
		ctx, cancel := context.WithTimeout(background(), conversionTimeout)
		defer cancel()
		tree, err := conversion.Convert(ctx, v.definition.options.Hooks, c.Webhook, o.Object, to.kind.GroupVersionKind())
		if err != nil {
			return err
		}
		o.Object = tree
	}
	o.SetGroupVersionKind(to.kind.GroupVersionKind())
	return nil
}

// shared tells how objects of a version are stored as those of the storage
// version; nil for the latter.
func (v *version) shared() *strategy.Shared[*Object] {
	storage := v.definition.storage
	if v == storage {
		return nil
	}
	between := func(in kinds.Object, from, to *version) (*Object, error) {
		o, ok := in.(*Object)
		if !ok {
			return nil, fmt.Errorf("%T is no custom resource", in)
		}
		out := o.DeepCopy()
		out.stored = to
		return out, from.convert(out, to)
	}
	return &strategy.Shared[*Object]{
		FromStored: func(stored kinds.Object) (*Object, error) { return between(stored, storage, v) },
		ToStored:   func(o *Object) (kinds.Object, error) { return between(o, v, storage) },
	}
}
