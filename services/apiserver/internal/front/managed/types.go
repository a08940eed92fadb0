package managed

import (
	"sync"

	"k8s.io/apimachinery/pkg/util/managedfields"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/custom"
)

// shared are the types of the table's kinds, loaded when first needed.
var shared = sync.OnceValues(loadTypes)

// Types is what knows the fields of a kind's objects.
func Types(k *kinds.Kind) (managedfields.TypeConverter, error) {
	if d := custom.Of(k); d != nil {
		return d.Types(k)
	}
	return shared()
}
