package rest

import (
	"fmt"
	"math"
	"net/http"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/patches"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/table"
	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/registry"
	"coracle.local/services/apiserver/internal/strategy"
)

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// scales prints scales as tables, whatever they are of.
var scales = table.For(
	&kinds.Kind{Group: scaleKind.Group, Version: scaleKind.Version, Kind: scaleKind.Kind},
	&strategy.Erased{
		Columns: cells.Columns(
			cells.Text("Name", metav1.ObjectMeta{}.SwaggerDoc()["name"]),
			cells.Number("Desired", autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"]),
			cells.Number("Available", autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"]),
			cells.Age(),
		),
		Cells: func(o kinds.Object) []any {
			s := o.(*autoscalingv1.Scale)
			return []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), cells.AgeOf(s)}
		},
	},
)

// customScales are those of custom resources, which upstream describes
// otherwise.
var customScales = table.For(
	&kinds.Kind{Group: scaleKind.Group, Version: scaleKind.Version, Kind: scaleKind.Kind},
	&strategy.Erased{
		Columns: []metav1.TableColumnDefinition{
			cells.Name(),
			cells.Number("Desired", "Number of desired replicas"),
			cells.Number("Available", "Number of actual replicas"),
			{Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
		},
		Cells: func(o kinds.Object) []any {
			s := o.(*autoscalingv1.Scale)
			return []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), cells.AgeOf(s)}
		},
	},
)

// showScale answers with a scale, in the shape asked for.
func (c *call) showScale(s *autoscalingv1.Scale) error {
	out, err := c.accept(negotiate.Objects)
	if err != nil {
		return err
	}
	if out.Shape != negotiate.Table {
		return c.other(http.StatusOK, scaleKind, s)
	}
	if c.kind.Custom() {
		return c.row(out, http.StatusOK, customScales, s)
	}
	return c.row(out, http.StatusOK, scales, s)
}

// scale shows or sets how many replicas an object wants.
func (c *call) scale() error {
	s := c.Registry.Strategy(c.kind).Scale
	if s == nil {
		return respond.NotFound()
	}
	switch c.r.Method {
	case http.MethodGet:
		return c.getScale(s)
	case http.MethodPut:
		return c.putScale(s)
	case http.MethodPatch:
		return c.patchScale(s)
	}
	return respond.MethodNotAllowed()
}

func (c *call) getScale(s *strategy.Scale[kinds.Object]) error {
	revision, err := query.ForGet(c.values)
	if err != nil {
		return err
	}
	item, err := c.Registry.Get(c.ctx(), c.kind, c.namespace, c.t.Name, registry.GetOptions{ResourceVersion: revision})
	if err != nil {
		return err
	}
	object, err := item.Decode()
	if err != nil {
		return err
	}
	if s.Missing != nil && s.Missing(object) {
		return apierrors.NewInternalError(fmt.Errorf("the spec replicas field %q does not exist", dotted(s.Path)))
	}
	shown, err := scaleOf(s, object)
	if err != nil {
		return err
	}
	return c.showScale(shown)
}

func scaleOf(s *strategy.Scale[kinds.Object], o kinds.Object) (*autoscalingv1.Scale, error) {
	selector, err := s.Selector(o)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: s.Replicas(o)},
		Status: autoscalingv1.ScaleStatus{Replicas: s.StatusReplicas(o), Selector: selector},
	}, nil
}

func (c *call) putScale(s *strategy.Scale[kinds.Object]) error {
	o, err := query.ForUpdate(c.values)
	if err != nil {
		return err
	}
	c.dryRun = len(o.DryRun) > 0
	wanted := &autoscalingv1.Scale{}
	if err := c.decode(body.Expected{Kind: scaleKind}, wanted, o.FieldValidation); err != nil {
		return err
	}
	c.sent(wanted, scaleKind)
	if err := c.place(wanted); err != nil {
		return err
	}
	if err := c.named(wanted); err != nil {
		return err
	}
	who := manager(o.FieldManager, c.r)
	return c.setScale(s, who, registry.UpdateOptions{
		WriteOptions: registry.WriteOptions{DryRun: c.dryRun, FieldManager: who, Options: o}, Unconditional: true,
	}, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return wanted, nil })
}

func (c *call) patchScale(s *strategy.Scale[kinds.Object]) error {
	p, o, _, err := c.patchOf(func() runtime.Object { return &autoscalingv1.Scale{} })
	if err != nil {
		return err
	}
	p.Kind = scaleKind
	if p.Type == types.ApplyYAMLPatchType {
		return c.applyScale(s, p, o)
	}
	who := manager(o.FieldManager, c.r)
	conditional := p.SetsVersion()
	return c.setScale(s, who, patchOptions(o, who, c.dryRun), func(current *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		patched, texts, err := p.Apply(current)
		if err != nil {
			return nil, err
		}
		c.warn(texts)
		wanted := patched.(*autoscalingv1.Scale)
		if !conditional {
			wanted.ResourceVersion = ""
		}
		if err := c.place(wanted); err != nil {
			return nil, err
		}
		return wanted, c.named(wanted)
	})
}

// applyScale applies a configuration of a scale. Who applied what is noted on
// the object, so the same configuration of the object is applied.
func (c *call) applyScale(s *strategy.Scale[kinds.Object], p *patches.Patch, o *metav1.PatchOptions) error {
	wanted, config, err := c.scaleConfig(p)
	if err != nil {
		return err
	}
	force := o.Force != nil && *o.Force
	return c.updateScale(s, patchOptions(o, o.FieldManager, c.dryRun), func(current kinds.Object) (kinds.Object, error) {
		if err := checkScale(wanted, current, c.kind); err != nil {
			return nil, err
		}
		next, err := c.managed.Apply(c.kind, "scale", current, config, o.FieldManager, force)
		if err != nil {
			return nil, err
		}
		next.SetResourceVersion(wanted.ResourceVersion)
		untimed(next)
		return next, nil
	})
}

// scaleConfig reads the configuration of a scale, and returns it as the object's
// configuration, too.
func (c *call) scaleConfig(p *patches.Patch) (*autoscalingv1.Scale, *unstructured.Unstructured, error) {
	given, twice, err := managed.Read(p.Data)
	if err != nil {
		return nil, nil, err
	}
	if twice != nil && p.Strictness == body.Strict {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", twice))
	}
	wanted := &autoscalingv1.Scale{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(given.Object, wanted); err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if wanted.APIVersion != scaleKind.GroupVersion().String() {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf(
			"Incorrect version specified in apply patch. Specified patch version: %s, expected: %s", wanted.APIVersion, scaleKind.GroupVersion()))
	}
	if err := c.place(wanted); err != nil {
		return nil, nil, err
	}
	if wanted.Name == "" {
		// What is applied is merged into the scale that is there, with its name.
		wanted.Name = c.t.Name
	}
	if err := c.named(wanted); err != nil {
		return nil, nil, err
	}
	config := &unstructured.Unstructured{Object: map[string]any{}}
	config.SetGroupVersionKind(c.kind.GroupVersionKind())
	config.SetName(wanted.Name)
	config.SetNamespace(wanted.Namespace)
	if spec, ok := given.Object["spec"].(map[string]any); ok && spec["replicas"] != nil {
		path := c.Registry.Strategy(c.kind).Scale.Path
		if path == nil {
			path = []string{"spec", "replicas"}
		}
		if err := unstructured.SetNestedField(config.Object, int64(wanted.Spec.Replicas), path...); err != nil {
			return nil, nil, err
		}
	}
	return wanted, config, nil
}

// setScale changes the object's replicas to what change makes of its scale.
func (c *call) setScale(s *strategy.Scale[kinds.Object], who string, o registry.UpdateOptions, change func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) error {
	return c.updateScale(s, o, func(current kinds.Object) (kinds.Object, error) {
		if current.GetUID() == "" {
			return nil, apierrors.NewNotFound(c.kind.GroupResource(), c.t.Name)
		}
		shown, err := scaleOf(s, current)
		if err != nil {
			return nil, err
		}
		if s.Missing != nil && s.Missing(current) {
			shown.Spec.Replicas = noReplicas
		}
		if shown.ManagedFields, err = scaleManaged(s, current, c.kind); err != nil {
			return nil, err
		}
		wanted, err := change(shown)
		if err != nil {
			return nil, err
		}
		if c.kind.Custom() && wanted.Spec.Replicas == noReplicas {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the spec replicas field %q cannot be empty", dotted(s.Path)))
		}
		if err := checkScale(wanted, current, c.kind); err != nil {
			return nil, err
		}
		next := current.DeepCopyObject().(kinds.Object)
		s.SetReplicas(next, wanted.Spec.Replicas)
		next.SetResourceVersion(wanted.ResourceVersion)
		c.managed.Updated(c.kind, "scale", current, next, who)
		untimed(next)
		return next, nil
	})
}

// noReplicas stands for replicas that a custom resource does not have; whoever
// changes its scale has to set them.
const noReplicas = math.MinInt32

// dotted is a path as definitions write it.
func dotted(path []string) string { return "." + strings.Join(path, ".") }

// checkScale refuses a wrong scale, and one of another object. Custom resources
// judge their replicas themselves.
func checkScale(wanted *autoscalingv1.Scale, current kinds.Object, k *kinds.Kind) error {
	if wanted.Spec.Replicas < 0 && !k.Custom() {
		return apierrors.NewInvalid(scaleKind.GroupKind(), wanted.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), wanted.Spec.Replicas, "must be greater than or equal to 0"),
		})
	}
	if uid := wanted.UID; uid != "" && uid != current.GetUID() {
		return apierrors.NewConflict(k.GroupResource(), wanted.Name, fmt.Errorf(
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, current.GetUID()))
	}
	return nil
}

// updateScale changes the object and answers with its scale.
func (c *call) updateScale(s *strategy.Scale[kinds.Object], o registry.UpdateOptions, change registry.Change) error {
	updated, _, err := c.Registry.Update(c.ctx(), c.kind, c.namespace, c.t.Name, "scale", change, o)
	if err != nil {
		return err
	}
	shown, err := scaleOf(s, updated)
	if err != nil {
		return err
	}
	return c.showScale(shown)
}
