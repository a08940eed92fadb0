package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"coracle.local/services/kubelet/internal/engine"
)

// Limits of a resolv.conf, Kubernetes'.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// DNS are the node's settings that pods' resolvers are made from.
type DNS struct {
	ClusterDNS    []string
	ClusterDomain string
	// ResolvConf is the content of the node's resolv.conf.
	ResolvConf string
}

// Warning is an event about something that was adjusted.
type Warning struct{ Reason, Message string }

// For makes a pod's resolver configuration by its dnsPolicy and dnsConfig.
func (d DNS) For(pod *corev1.Pod) (*engine.DNSConfig, []Warning) {
	var warnings []Warning
	c := parseResolvConf(d.ResolvConf)
	switch policy := pod.Spec.DNSPolicy; {
	case policy == corev1.DNSNone:
		c = engine.DNSConfig{}
	case policy == corev1.DNSDefault, policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork:
	case len(d.ClusterDNS) == 0:
		warnings = append(warnings, Warning{"MissingClusterDNS", fmt.Sprintf(
			"pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
			fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), corev1.DNSClusterFirst, corev1.DNSDefault)})
	default:
		c.Servers, c.Options = d.ClusterDNS, []string{"ndots:5"}
		if d.ClusterDomain != "" {
			c.Searches = unique(append([]string{
				fmt.Sprintf("%s.svc.%s", pod.Namespace, d.ClusterDomain), "svc." + d.ClusterDomain, d.ClusterDomain,
			}, c.Searches...))
		}
	}
	if extra := pod.Spec.DNSConfig; extra != nil {
		c.Servers = unique(append(slices.Clone(c.Servers), extra.Nameservers...))
		c.Searches = unique(append(slices.Clone(c.Searches), extra.Searches...))
		c.Options = mergeOptions(c.Options, extra.Options)
	}
	return &c, append(warnings, fit(&c)...)
}

// fit cuts what resolvers would not accept.
func fit(c *engine.DNSConfig) []Warning {
	var warnings []Warning
	if len(c.Servers) > maxNameservers {
		c.Servers = c.Servers[:maxNameservers]
		warnings = append(warnings, Warning{
			"DNSConfigForming",
			"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: " + strings.Join(c.Servers, " "),
		})
	}
	before := len(c.Searches)
	searches := slices.DeleteFunc(slices.Clone(c.Searches), func(s string) bool { return len(s) > validation.DNS1123SubdomainMaxLength })
	searches = searches[:min(len(searches), maxSearches)]
	for len(strings.Join(searches, " ")) > maxSearchChars {
		searches = searches[:len(searches)-1]
	}
	c.Searches = searches
	if len(searches) < before {
		warnings = append(warnings, Warning{
			"DNSConfigForming",
			"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Join(searches, " "),
		})
	}
	return warnings
}

// parseResolvConf reads a resolver configuration; of several search lines the
// last one counts, as with the C library.
func parseResolvConf(content string) engine.DNSConfig {
	var c engine.DNSConfig
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			c.Servers = append(c.Servers, fields[1])
		case "search":
			c.Searches = nil
			for _, s := range fields[1:] {
				if s = strings.TrimSuffix(s, "."); s != "" {
					c.Searches = append(c.Searches, s)
				}
			}
		case "options":
			for _, o := range fields[1:] {
				c.Options = setOption(c.Options, o)
			}
		}
	}
	return c
}

func mergeOptions(options []string, extra []corev1.PodDNSConfigOption) []string {
	out := slices.Clone(options)
	for _, o := range extra {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		out = setOption(out, text)
	}
	return out
}

// setOption adds an option, in place of an earlier one of the same name.
func setOption(options []string, option string) []string {
	name, _, _ := strings.Cut(option, ":")
	for i, o := range options {
		if n, _, _ := strings.Cut(o, ":"); n == name {
			options[i] = option
			return options
		}
	}
	return append(options, option)
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
