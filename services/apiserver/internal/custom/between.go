package custom

import (
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/libs/kinds"
)

// Convert makes o, which says itself of which version of the definition it is,
// an object of another, as the kind to has it. Nothing is pruned: server-side
// apply, which calls it, reports fields that the other version does not have,
// as upstream's does.
func (d *Definition) Convert(o *Object, to *kinds.Kind) error {
	target := d.must(to)
	from := d.named(o.GetAPIVersion())
	if from == nil {
		return runtime.NewNotRegisteredErrForTarget("the definition "+d.crd.Name, nil, to.GroupVersion())
	}
	o.stored = target
	if from == target {
		return nil
	}
	return from.turn(o, target)
}
