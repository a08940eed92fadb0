package storage

import (
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

const maxNodeID = 256

// CSINode is the behaviour of storage.k8s.io/v1 CSINode.
func CSINode() strategy.Kind[*storagev1.CSINode] {
	return strategy.Kind[*storagev1.CSINode]{
		// The status holds nothing but what is off by default.
		PrepareCreate:  func(n *storagev1.CSINode) { n.Status = storagev1.CSINodeStatus{} },
		PrepareUpdate:  func(n, old *storagev1.CSINode) { n.Status = old.Status },
		ValidateCreate: validateNode,
		ValidateUpdate: func(n, old *storagev1.CSINode) field.ErrorList {
			errs := validateNode(n)
			for i := range old.Spec.Drivers {
				for k := range n.Spec.Drivers {
					was, is := old.Spec.Drivers[i], n.Spec.Drivers[k]
					if was.Name == is.Name {
						was.Allocatable, is.Allocatable = nil, nil
						errs = append(errs, check.Unchanged(specPath.Child("drivers"), &is, &was)...)
					}
				}
			}
			return errs
		},
		Status: &strategy.Sub[*storagev1.CSINode]{
			PrepareUpdate: func(n, old *storagev1.CSINode) {
				n.Spec, n.Status = old.Spec, old.Status
				metav1.ResetObjectMetaForStatus(&n.ObjectMeta, &old.ObjectMeta)
			},
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"metadata", "spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Number("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
			cells.Age(),
		),
		Cells: func(n *storagev1.CSINode) []any { return []any{n.Name, int64(len(n.Spec.Drivers)), cells.AgeOf(n)} },
	}
}

func validateNode(n *storagev1.CSINode) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range n.Spec.Drivers {
		driver, p := &n.Spec.Drivers[i], specPath.Child("drivers").Index(i)
		errs = append(errs, core.ValidateCSIDriverName(p.Child("name"), driver.Name)...)
		errs = append(errs, check.Set(p, "nodeID", driver.NodeID)...)
		if len(driver.NodeID) > maxNodeID {
			errs = append(errs, field.Invalid(p.Child("nodeID"), driver.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID)))
		}
		if driver.Allocatable != nil {
			errs = append(errs, check.NotNegative(p.Child("allocatable", "count"), ptr.Deref(driver.Allocatable.Count, 0))...)
		}
		if seen[driver.Name] {
			errs = append(errs, field.Duplicate(p.Child("name"), driver.Name))
		}
		seen[driver.Name] = true
		errs = append(errs, validateTopologyKeys(p, driver.TopologyKeys)...)
	}
	return errs
}

func validateTopologyKeys(p *field.Path, keys []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for _, key := range keys {
		if key == "" {
			errs = append(errs, field.Required(p, key))
		}
		if seen[key] {
			errs = append(errs, field.Duplicate(p, key))
		}
		seen[key] = true
		errs = append(errs, check.QualifiedName(p, key)...)
	}
	return errs
}
