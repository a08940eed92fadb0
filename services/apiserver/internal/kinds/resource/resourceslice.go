package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// Slice is the behaviour of resource.k8s.io/v1 ResourceSlice.
func Slice() strategy.Kind[*resourcev1.ResourceSlice] {
	doc := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	k := strategy.Outline[*resourcev1.ResourceSlice]()
	k.Default = func(s *resourcev1.ResourceSlice) {
		for i := range s.Spec.Devices {
			for t := range s.Spec.Devices[i].Taints {
				defaultTaint(&s.Spec.Devices[i].Taints[t])
			}
		}
	}
	create, update := k.PrepareCreate, k.PrepareUpdate
	k.PrepareCreate = func(s *resourcev1.ResourceSlice) {
		create(s)
		dropSlice(s)
	}
	k.PrepareUpdate = func(s, old *resourcev1.ResourceSlice) {
		update(s, old) // a change counts even if it is dropped then
		dropSlice(s)
	}
	k.ValidateCreate = func(s *resourcev1.ResourceSlice) field.ErrorList { return validateSlice(s, nil) }
	k.ValidateUpdate = validateSlice
	k.Fields = func(s *resourcev1.ResourceSlice) fields.Set {
		return fields.Set{
			resourcev1.ResourceSliceSelectorNodeName: ptr.Deref(s.Spec.NodeName, ""),
			resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
			resourcev1.ResourceSliceSelectorPoolName: s.Spec.Pool.Name,
		}
	}
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Text("Node", doc["nodeName"]),
		cells.Text("Driver", doc["driver"]),
		cells.Text("Pool", resourcev1.ResourcePool{}.SwaggerDoc()["name"]),
		cells.Age(),
	)
	k.Cells = func(s *resourcev1.ResourceSlice) []any {
		return []any{s.Name, cells.Ptr(s.Spec.NodeName, ""), s.Spec.Driver, s.Spec.Pool.Name, cells.AgeOf(s)}
	}
	return k
}
