package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// validateHooksAndProbes is for containers that run along with the pod:
// regular ones and sidecars.
func (c *podContext) validateHooksAndProbes(p *field.Path, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	if hooks := ctr.Lifecycle; hooks != nil {
		if hooks.PostStart != nil {
			errs = append(errs, c.validateHook(p.Child("lifecycle", "postStart"), hooks.PostStart)...)
		}
		if hooks.PreStop != nil {
			errs = append(errs, c.validateHook(p.Child("lifecycle", "preStop"), hooks.PreStop)...)
		}
	}
	errs = append(errs, validateLivenessProbe(p.Child("livenessProbe"), ctr.LivenessProbe)...)
	errs = append(errs, validateReadinessProbe(p.Child("readinessProbe"), ctr.ReadinessProbe)...)
	return append(errs, validateLivenessProbe(p.Child("startupProbe"), ctr.StartupProbe)...)
}

// validateLivenessProbe is the rule for startup probes, too.
func validateLivenessProbe(p *field.Path, probe *corev1.Probe) field.ErrorList {
	if probe == nil {
		return nil
	}
	errs := validateProbe(p, probe)
	if probe.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(p.Child("successThreshold"), probe.SuccessThreshold, "must be 1"))
	}
	return errs
}

func validateReadinessProbe(p *field.Path, probe *corev1.Probe) field.ErrorList {
	if probe == nil {
		return nil
	}
	errs := validateProbe(p, probe)
	if probe.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(p.Child("terminationGracePeriodSeconds"), probe.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	return errs
}

func validateProbe(p *field.Path, probe *corev1.Probe) field.ErrorList {
	u := newHandlerUnion(p, probe.Exec, probe.HTTPGet, probe.TCPSocket)
	u.Member(probe.GRPC != nil, "grpc", func(p *field.Path) field.ErrorList {
		return check.Port(p.Child("port"), intstr.FromInt32(probe.GRPC.Port))
	})
	errs := u.Errors(noHandler)
	errs = append(errs, check.NotNegative(p.Child("initialDelaySeconds"), probe.InitialDelaySeconds)...)
	errs = append(errs, check.NotNegative(p.Child("timeoutSeconds"), probe.TimeoutSeconds)...)
	errs = append(errs, check.NotNegative(p.Child("periodSeconds"), probe.PeriodSeconds)...)
	errs = append(errs, check.NotNegative(p.Child("successThreshold"), probe.SuccessThreshold)...)
	errs = append(errs, check.NotNegative(p.Child("failureThreshold"), probe.FailureThreshold)...)
	if seconds := probe.TerminationGracePeriodSeconds; seconds != nil && *seconds <= 0 {
		errs = append(errs, field.Invalid(p.Child("terminationGracePeriodSeconds"), *seconds, "must be greater than 0"))
	}
	return errs
}

func (c *podContext) validateHook(p *field.Path, hook *corev1.LifecycleHandler) field.ErrorList {
	u := newHandlerUnion(p, hook.Exec, hook.HTTPGet, hook.TCPSocket)
	u.Member(hook.Sleep != nil, "sleep", func(p *field.Path) field.ErrorList {
		// A pod without a grace period is refused for that elsewhere.
		grace := c.spec.TerminationGracePeriodSeconds
		if grace == nil || (hook.Sleep.Seconds >= 0 && hook.Sleep.Seconds <= *grace) {
			return nil
		}
		return field.ErrorList{field.Invalid(p, hook.Sleep.Seconds,
			fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))}
	})
	return u.Errors(noHandler)
}

const noHandler = "must specify a handler type"

// newHandlerUnion begins with the handlers that probes and hooks share.
func newHandlerUnion(p *field.Path, exec *corev1.ExecAction, get *corev1.HTTPGetAction, tcp *corev1.TCPSocketAction) *check.Union {
	u := check.NewUnion(p, "may not specify more than 1 handler type")
	u.Member(exec != nil, "exec", func(p *field.Path) field.ErrorList {
		if len(exec.Command) > 0 {
			return nil
		}
		return field.ErrorList{field.Required(p.Child("command"), "")}
	})
	u.Member(get != nil, "httpGet", func(p *field.Path) field.ErrorList { return validateHTTPGet(p, get) })
	u.Member(tcp != nil, "tcpSocket", func(p *field.Path) field.ErrorList { return check.Port(p.Child("port"), tcp.Port) })
	return u
}

func validateHTTPGet(p *field.Path, get *corev1.HTTPGetAction) field.ErrorList {
	errs := check.Set(p, "path", get.Path)
	errs = append(errs, check.Port(p.Child("port"), get.Port)...)
	errs = append(errs, check.OneOf(p.Child("scheme"), get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range get.HTTPHeaders {
		errs = append(errs, check.All(p.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}
