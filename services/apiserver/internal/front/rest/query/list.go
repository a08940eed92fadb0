// Package query reads the options of requests from their queries, and refuses
// wrong ones in upstream's words.
package query

import (
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	listvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// List are the options of a list, a watch or the deletion of many.
type List struct {
	metav1.ListOptions
	Labels labels.Selector
	Fields fields.Selector
}

// Selectable names the fields that can be selected of a kind beyond its name
// and namespace; nil if there are none.
type Selectable func(*kinds.Kind) []string

// ForList reads the options of a request about many objects. A name in the path
// (of an older watch) selects that object; forceWatch is set for such paths.
func ForList(values url.Values, k *kinds.Kind, selectable Selectable, name string, forceWatch bool) (*List, error) {
	l := &List{}
	if err := l.read(values); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	// A path that watches is not judged by what a query would have to say.
	internal := internalversion.ListOptions{
		Watch: l.Watch, ResourceVersion: l.ResourceVersion, ResourceVersionMatch: l.ResourceVersionMatch,
		Continue: l.Continue, SendInitialEvents: l.SendInitialEvents,
	}
	internalversion.SetListOptionsDefaults(&internal, true)
	l.ResourceVersionMatch, l.SendInitialEvents = internal.ResourceVersionMatch, internal.SendInitialEvents
	if errs := listvalidation.ValidateListOptions(&internal, true); len(errs) > 0 {
		return nil, invalid("ListOptions", errs)
	}
	l.Watch = l.Watch || forceWatch
	if err := l.fieldsOf(k, selectable); err != nil {
		return nil, err
	}
	return l, l.named(name)
}

func (l *List) read(values url.Values) error {
	if len(values) == 0 {
		return nil
	}
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&values, &l.ListOptions, nil); err != nil {
		return err
	}
	var err error
	if l.LabelSelector != "" {
		if l.Labels, err = labels.Parse(l.LabelSelector); err != nil {
			return err
		}
	}
	if l.FieldSelector != "" {
		l.Fields, err = fields.ParseSelector(l.FieldSelector)
	}
	return err
}

// fieldsOf holds the field selector to the fields that the kind has.
func (l *List) fieldsOf(k *kinds.Kind, selectable Selectable) error {
	if l.Fields == nil || l.Fields.Empty() {
		return nil
	}
	checked, err := strategy.CheckFields(k, selectable(k), l.Fields)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	l.Fields = checked
	return nil
}

// named makes the options select one object.
func (l *List) named(name string) error {
	if name == "" {
		return nil
	}
	if l.Fields == nil || l.Fields.Empty() {
		l.Fields = fields.OneTermEqualSelector("metadata.name", name)
		return nil
	}
	if selected, ok := l.Fields.RequiresExactMatch("metadata.name"); !ok || selected != name {
		return apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
	}
	return nil
}

func invalid(kind string, errs field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}
