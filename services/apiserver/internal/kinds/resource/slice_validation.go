package resource

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/kinds/declared"
)

// dropSlice removes what is behind gates that are off.
func dropSlice(s *resourcev1.ResourceSlice) {
	s.Spec.SkipNodeOperations, s.Spec.PartitionTypeAttribute = nil, nil
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		d.NodeAllocatableResources = nil
		for name, a := range d.Attributes {
			a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
			d.Attributes[name] = a
		}
		for k := range d.ConsumesCounters {
			d.ConsumesCounters[k].CompatibilityGroups = nil
		}
	}
}

func validateSlice(s, old *resourcev1.ResourceSlice) field.ErrorList {
	if old == nil {
		return check.WithDeclared(validateSliceSpec(&s.Spec, nil), declared.Create(specPath, &s.Spec))
	}
	return check.WithDeclared(validateSliceSpec(&s.Spec, &old.Spec), declared.Update(specPath, &s.Spec, &old.Spec))
}

func validateSliceSpec(spec, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	errs := validateDriver(specPath.Child("driver"), spec.Driver, false)
	pool := specPath.Child("pool")
	errs = append(errs, validatePoolName(pool.Child("name"), spec.Pool.Name)...)
	if n := spec.Pool.ResourceSliceCount; n <= 0 {
		errs = append(errs, field.Invalid(pool.Child("resourceSliceCount"), n, check.NotPositive))
	}
	if n := spec.Pool.Generation; n < 0 {
		errs = append(errs, field.Invalid(pool.Child("generation"), n, "must be greater than or equal to zero"))
	}
	if old != nil {
		errs = append(errs, check.Unchanged(pool.Child("name"), spec.Pool.Name, old.Pool.Name)...)
		errs = append(errs, check.Unchanged(specPath.Child("driver"), spec.Driver, old.Driver)...)
		errs = append(errs, check.Unchanged(specPath.Child("nodeName"), spec.NodeName, old.NodeName)...)
	}
	errs = append(errs, validateNodes(spec)...)
	if spec.SharedCounters != nil && spec.Devices != nil {
		errs = append(errs, field.Invalid(specPath, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	return append(errs, validateContents(spec, old)...)
}

func validateContents(spec, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	most := resourcev1.ResourceSliceMaxDevices
	former := map[string]*resourcev1.Device{}
	if old != nil {
		for i := range old.Devices {
			former[old.Devices[i].Name] = &old.Devices[i]
		}
	}
	for i := range spec.Devices {
		if len(spec.Devices[i].Taints) > 0 || len(spec.Devices[i].ConsumesCounters) > 0 {
			most = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	perDevice := spec.PerDeviceNodeSelection != nil && *spec.PerDeviceNodeSelection
	errs := unique(specPath.Child("devices"), spec.Devices, most, false, func(d *resourcev1.Device) string { return d.Name },
		func(path *field.Path, d *resourcev1.Device) field.ErrorList {
			return validateDevice(path, d, former[d.Name], perDevice)
		})
	return append(errs, unique(specPath.Child("sharedCounters"), spec.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, true,
		func(s *resourcev1.CounterSet) string { return s.Name },
		func(path *field.Path, s *resourcev1.CounterSet) field.ErrorList {
			return append(covered(requiredLabel(path.Child("name"), s.Name)),
				validateCounters(path.Child("counters"), s.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet)...)
		})...)
}

func requiredLabel(path *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return label(path, name)
}

func validateCounters(path *field.Path, counters map[string]resourcev1.Counter, most int) field.ErrorList {
	switch {
	case len(counters) == 0:
		return covered(field.ErrorList{field.Required(path, "")})
	case len(counters) > most:
		return field.ErrorList{field.TooMany(path, len(counters), most)}
	}
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		errs = append(errs, covered(label(path, name))...)
	}
	return errs
}

// oneOf says that of the named fields one is wanted.
func oneOf(path *field.Path, set []string, wanted string) field.ErrorList {
	switch len(set) {
	case 0:
		return field.ErrorList{field.Required(path, wanted)}
	case 1:
		return nil
	}
	return field.ErrorList{field.Invalid(path, "{"+strings.Join(set, ", ")+"}", wanted)}
}

// truth checks a flag that is set or absent, never false.
func truth(path *field.Path, flag *bool) (set bool, errs field.ErrorList) {
	if flag != nil && !*flag {
		return false, field.ErrorList{field.Invalid(path, false, "must be either unset or set to true")}
	}
	return flag != nil, nil
}

func nodeName(path *field.Path, name string, empty string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Invalid(path, name, empty)}
	}
	return check.All(path, name, validation.IsDNS1123Subdomain(name))
}

func validateNodes(spec *resourcev1.ResourceSliceSpec) field.ErrorList {
	var errs field.ErrorList
	var set []string
	if spec.NodeName != nil {
		errs = nodeName(specPath.Child("nodeName"), *spec.NodeName, "must be either unset or set to a non-empty string")
		if *spec.NodeName != "" {
			set = append(set, "`nodeName`")
		}
	}
	if selector := spec.NodeSelector; selector != nil {
		set = append(set, "`nodeSelector`")
		at := specPath.Child("nodeSelector")
		errs = append(errs, core.ValidateNodeSelector(at, selector)...)
		if len(selector.NodeSelectorTerms) != 1 {
			errs = append(errs, field.Invalid(at.Child("nodeSelectorTerms"), check.Internal(selector.NodeSelectorTerms), "must have exactly one node selector term"))
		}
	}
	for _, flag := range []struct {
		name string
		flag *bool
	}{{"allNodes", spec.AllNodes}, {"perDeviceNodeSelection", spec.PerDeviceNodeSelection}} {
		is, wrong := truth(specPath.Child(flag.name), flag.flag)
		errs = append(errs, wrong...)
		if is {
			set = append(set, "`"+flag.name+"`")
		}
	}
	wanted := "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	if len(set) > 1 {
		wanted += ", but multiple fields are set"
	}
	return append(errs, oneOf(specPath, set, wanted)...)
}

func validateDevice(path *field.Path, d, old *resourcev1.Device, perDevice bool) field.ErrorList {
	errs := label(path.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		errs = append(errs, field.Invalid(path, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d",
			resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)))
	}
	at := path.Child("attributes")
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		errs = append(errs, validateAttributeName(at, string(name))...)
		a := d.Attributes[name]
		errs = append(errs, validateAttribute(at.Key(truncated(string(name))), &a)...)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
		errs = append(errs, validateCapacities(path.Child("capacity"), d.Capacity, shared)...)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Taints, d.Taints) {
		errs = append(errs, each(path.Child("taints"), d.Taints, resourcev1.DeviceTaintsMaxLength, false,
			func(path *field.Path, t *resourcev1.DeviceTaint) field.ErrorList { return validateTaint(path, t, nil) })...)
	}
	errs = append(errs, unique(path.Child("consumesCounters"), d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, true,
		func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
		func(path *field.Path, c *resourcev1.DeviceCounterConsumption) field.ErrorList {
			return append(covered(requiredLabel(path.Child("counterSet"), c.CounterSet)),
				validateCounters(path.Child("counters"), c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption)...)
		})...)
	errs = append(errs, validateDeviceNodes(path, d, perDevice)...)
	return append(errs, validateBinding(path, d.BindingConditions, d.BindingFailureConditions)...)
}

// truncated is a key as errors show it.
func truncated(key string) string {
	if len(key) <= longestAttribute {
		return key
	}
	const rest = longestAttribute - len("...")
	return key[:(rest+1)/2] + "..." + key[len(key)-rest/2:]
}

func validateDeviceNodes(path *field.Path, d *resourcev1.Device, perDevice bool) field.ErrorList {
	if !perDevice {
		if d.NodeName == nil && d.NodeSelector == nil && d.AllNodes == nil {
			return nil
		}
		return field.ErrorList{field.Invalid(path, nil,
			"`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")}
	}
	var errs field.ErrorList
	var set []string
	if d.NodeName != nil {
		errs = nodeName(path.Child("nodeName"), *d.NodeName, "must not be empty")
		if *d.NodeName != "" {
			set = append(set, "`nodeName`")
		}
	}
	if d.NodeSelector != nil {
		set = append(set, "`nodeSelector`")
		errs = append(errs, core.ValidateNodeSelector(path.Child("nodeSelector"), d.NodeSelector)...)
	}
	is, wrong := truth(path.Child("allNodes"), d.AllNodes)
	errs = append(errs, wrong...)
	if is {
		set = append(set, "`allNodes`")
	}
	return append(errs, oneOf(path, set,
		"exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec")...)
}

var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// validateAttribute leaves to the declared rules that there is one value.
func validateAttribute(path *field.Path, a *resourcev1.DeviceAttribute) field.ErrorList {
	var errs field.ErrorList
	if a.StringValue != nil && len(*a.StringValue) > resourcev1.DeviceAttributeMaxValueLength {
		errs = append(errs, field.TooLong(path.Child("string"), "", resourcev1.DeviceAttributeMaxValueLength))
	}
	if version := a.VersionValue; version != nil {
		at := path.Child("version")
		if !semantic.MatchString(*version) {
			errs = append(errs, field.Invalid(at, *version, "must be a string compatible with semver.org spec 2.0.0"))
		}
		if len(*version) > resourcev1.DeviceAttributeMaxValueLength {
			errs = append(errs, field.TooLong(at, "", resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	return errs
}
