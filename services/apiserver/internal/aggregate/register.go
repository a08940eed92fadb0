package aggregate

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/catalog"
)

// Managed is the label of the APIServices that are kept here: those of built-in
// versions are made at the start and may then be changed, those of custom
// resources are kept as they are.
const (
	Managed = "kube-aggregator.kubernetes.io/automanaged"
	onStart = "onstart"
	always  = "true"
)

// local is the condition of what is served here.
var local = helper.NewLocalAvailableAPIServiceCondition()

func apiService(gv schema.GroupVersion, p Priority, managed string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: map[string]string{Managed: managed}},
		Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.Group, VersionPriority: p.Version},
	}
}

// builtIn are the APIServices of the table of kinds. The group that they belong
// to has none.
func builtIn() map[string]*apiregistrationv1.APIService {
	out := map[string]*apiregistrationv1.APIService{}
	for _, gv := range kinds.GroupVersions() {
		if p, ok := priorities[gv]; ok {
			s := apiService(gv, p, onStart)
			out[s.Name] = s
		}
	}
	return out
}

// catalogChanged wants APIServices for the custom resources that there are, and
// no more for those that are gone.
func (a *Aggregator) catalogChanged(now *catalog.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	custom := map[string]bool{}
	for _, k := range now.Custom {
		s := apiService(k.GroupVersion(), customPriority, always)
		custom[s.Name] = true
		if a.wanted[s.Name] == nil {
			a.wanted[s.Name] = s
			a.queue.Add(s.Name)
		}
	}
	for name, s := range a.wanted {
		if s.Labels[Managed] == always && !custom[name] {
			delete(a.wanted, name)
			a.queue.Add(name)
		}
	}
}

func managed(s *apiregistrationv1.APIService) string {
	if s == nil {
		return ""
	}
	switch m := s.Labels[Managed]; m {
	case onStart, always:
		return m
	}
	return ""
}

// register makes an APIService what it should be.
func (a *Aggregator) register(ctx context.Context, name string) error {
	a.mu.Lock()
	wanted, have, before, synced := a.wanted[name], a.services[name], a.atStart[name], a.synced[name]
	a.mu.Unlock()
	err := a.reconcile(ctx, wanted, have, before, synced)
	if err == nil && !synced {
		a.mu.Lock()
		a.synced[name] = true
		a.mu.Unlock()
	}
	return err
}

func (a *Aggregator) reconcile(ctx context.Context, wanted, have *apiregistrationv1.APIService, before, synced bool) error {
	switch {
	case wanted == nil && have == nil, managed(wanted) == onStart && synced:
		return nil
	case have == nil:
		err := a.cfg.Writer.Create(ctx, wanted.DeepCopy())
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	case managed(have) == "", managed(have) == onStart && (!before || synced):
		return nil
	case wanted == nil:
		return settled(a.cfg.Writer.Delete(ctx, have))
	case equality.Semantic.DeepEqual(have.Spec, wanted.Spec):
		return nil
	}
	return settled(a.cfg.Writer.Update(ctx, have.Name, "", func(s *apiregistrationv1.APIService) { s.Spec = *wanted.Spec.DeepCopy() }))
}

// settled lets pass that somebody else was faster: their change brings us back.
func settled(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// setCondition writes the availability of an APIService if it has changed.
func (a *Aggregator) setCondition(ctx context.Context, s *apiregistrationv1.APIService, c apiregistrationv1.APIServiceCondition) error {
	next := s.DeepCopy()
	c.LastTransitionTime = metav1.Now()
	helper.SetAPIServiceCondition(next, c)
	if equality.Semantic.DeepEqual(next.Status, s.Status) {
		return nil
	}
	return settled(a.cfg.Writer.Update(ctx, s.Name, "status", func(s *apiregistrationv1.APIService) { s.Status = *next.Status.DeepCopy() }))
}
