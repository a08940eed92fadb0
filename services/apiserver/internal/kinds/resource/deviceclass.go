// Package resource holds the behaviour of the kinds of the resource.k8s.io
// API group. It tells the observed state from the desired one and checks no
// more: what the kinds say is for drivers and the scheduler.
package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// DeviceClass is the behaviour of resource.k8s.io/v1 DeviceClass.
func DeviceClass() strategy.Kind[*resourcev1.DeviceClass] {
	k := strategy.Outline[*resourcev1.DeviceClass]()
	k.Columns = cells.Columns(cells.Name(), cells.Age())
	k.Cells = func(c *resourcev1.DeviceClass) []any { return []any{c.Name, cells.AgeOf(c)} }
	return k
}
