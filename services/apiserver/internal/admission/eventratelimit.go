package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// eventLimit is how many events are taken a second, of all or by key.
type eventLimit struct {
	Type      string `json:"type"`
	QPS       int32  `json:"qps"`
	Burst     int32  `json:"burst"`
	CacheSize int32  `json:"cacheSize,omitempty"`
}

// eventKeys are the types of limits: what has a budget of its own.
var eventKeys = map[string]func(*Attributes) string{
	"Server":    func(*Attributes) string { return "" },
	"Namespace": func(a *Attributes) string { return a.Namespace },
	"User": func(a *Attributes) string {
		if a.User == nil {
			return ""
		}
		return a.User.GetName()
	},
	"SourceAndObject": sourceAndObject,
}

// sourceAndObject tells apart who reports about what.
func sourceAndObject(a *Attributes) string {
	var source corev1.EventSource
	var about corev1.ObjectReference
	switch e := a.Object.(type) {
	case *corev1.Event:
		source, about = e.Source, e.InvolvedObject
	case *eventsv1.Event:
		source, about = e.DeprecatedSource, e.Regarding
	default:
		return ""
	}
	return strings.Join([]string{source.Component, source.Host, about.Kind, about.Namespace, about.Name, string(about.UID), about.APIVersion}, "")
}

const eventKeysKept = 4096

func (s *settings) readEventLimits(data []byte) error {
	var f struct {
		APIVersion string       `json:"apiVersion"`
		Kind       string       `json:"kind"`
		Limits     []eventLimit `json:"limits"`
	}
	if len(data) > 0 {
		versions := []schema.GroupVersion{{Group: "eventratelimit.admission.k8s.io", Version: "v1alpha1"}}
		if err := decode(data, "Configuration", versions, &f); err != nil {
			return err
		}
	}
	s.eventLimits = f.Limits
	return validateEventLimits(f.Limits).ToAggregate()
}

func validateEventLimits(limits []eventLimit) field.ErrorList {
	p := field.NewPath("limits")
	if len(limits) == 0 {
		return field.ErrorList{field.Invalid(p, limits, "must not be empty")}
	}
	var errs field.ErrorList
	for i, l := range limits {
		if eventKeys[l.Type] == nil {
			errs = append(errs, field.NotSupported(p.Index(i).Child("type"), l.Type, []string{"Namespace", "Server", "SourceAndObject", "User"}))
		}
		if l.Burst <= 0 {
			errs = append(errs, field.Invalid(p.Index(i).Child("burst"), l.Burst, "must be positive"))
		}
		if l.QPS <= 0 {
			errs = append(errs, field.Invalid(p.Index(i).Child("qps"), l.QPS, "must be positive"))
		}
		if l.Type != "Server" && l.CacheSize < 0 {
			errs = append(errs, field.Invalid(p.Index(i).Child("cacheSize"), l.CacheSize, "must not be negative"))
		}
	}
	return errs
}

// eventRateLimit keeps reporters of events from drowning the cluster.
type eventRateLimit struct{ limits []*limiter }

// limiter is one limit with the budgets of its keys; the ones not used for
// longest are forgotten.
type limiter struct {
	eventLimit
	clock   clock.Clock
	budgets *lru.Cache
}

func newEventRateLimit(c Config) *eventRateLimit {
	p := &eventRateLimit{}
	for _, l := range c.settings.eventLimits {
		size := eventKeysKept
		if l.CacheSize > 0 {
			size = int(l.CacheSize)
		}
		p.limits = append(p.limits, &limiter{l, c.Clock, lru.New(size)})
	}
	return p
}

func (p *eventRateLimit) Validate(_ context.Context, a *Attributes) error {
	if a.Kind.Kind != "Event" || a.DryRun || a.Operation != Create && a.Operation != Update {
		return nil
	}
	var errs []error
	for _, l := range p.limits {
		if key := eventKeys[l.Type](a); !l.budget(key).TryAccept() {
			errs = append(errs, fmt.Errorf("limit reached on type %v for key %v", l.Type, key))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewTooManyRequestsError(utilerrors.NewAggregate(errs).Error())
	}
	return nil
}

func (l *limiter) budget(key string) flowcontrol.RateLimiter {
	if b, ok := l.budgets.Get(key); ok {
		return b.(flowcontrol.RateLimiter)
	}
	b := flowcontrol.NewTokenBucketRateLimiterWithClock(float32(l.QPS), int(l.Burst), l.clock)
	l.budgets.Add(key, b)
	return b
}
