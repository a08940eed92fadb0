package app

import (
	"fmt"
	"slices"
	"strings"
)

// elsewhere is upstream's controllers that are not here, with their names of
// old. They may be named, so that a command line written for upstream is taken.
var elsewhere = map[string]string{
	"serviceaccount-token-controller":                "serviceaccount-token",
	"endpointslice-mirroring-controller":             "endpointslicemirroring",
	"resourcequota-controller":                       "resourcequota",
	"horizontal-pod-autoscaler-controller":           "horizontalpodautoscaling",
	"ttl-controller":                                 "ttl",
	"bootstrap-signer-controller":                    "bootstrapsigner",
	"token-cleaner-controller":                       "tokencleaner",
	"device-taint-eviction-controller":               "",
	"persistentvolume-binder-controller":             "persistentvolume-binder",
	"persistentvolume-attach-detach-controller":      "attachdetach",
	"persistentvolume-expander-controller":           "persistentvolume-expander",
	"podgroup-protection-controller":                 "",
	"ephemeral-volume-controller":                    "ephemeral-volume",
	"storageversion-garbage-collector-controller":    "storage-version-gc",
	"resourceclaim-controller":                       "resource-claim-controller",
	"resourcepoolstatusrequest-controller":           "",
	"legacy-serviceaccount-token-cleaner-controller": "legacy-service-account-token-cleaner",
	"validatingadmissionpolicy-status-controller":    "",
	"service-cidr-controller":                        "",
	"storage-version-migrator-controller":            "svm",
	"selinux-warning-controller":                     "",
}

// onDemand is the controllers that a star does not mean.
var onDemand = []string{"bootstrap-signer-controller", "token-cleaner-controller", "selinux-warning-controller"}

// enabled is upstream's rule: the first entry that names a controller decides,
// and else whether there is a star.
func enabled(c controller, asked []string) bool {
	for _, a := range asked {
		switch strings.TrimPrefix(a, "-") {
		case c.name:
			return a == c.name
		case c.alias:
			return a == c.alias
		}
	}
	return slices.Contains(asked, "*") && !slices.Contains(onDemand, c.name)
}

func unknownControllers(asked []string) error {
	known := map[string]bool{"*": true}
	for _, c := range table() {
		known[c.name], known[c.alias] = true, true
	}
	for name, alias := range elsewhere {
		known[name], known[alias] = true, true
	}
	delete(known, "") // no alias
	for _, a := range asked {
		if !known[strings.TrimPrefix(a, "-")] {
			return fmt.Errorf("%q is not in the list of known controllers", a)
		}
	}
	return nil
}

// unserved tells whether somebody asks for a controller that is not here.
func unserved(asked string) bool {
	for name, alias := range elsewhere {
		if asked == name || asked != "" && asked == alias {
			for _, c := range table() {
				if c.name == name {
					return false
				}
			}
			return true
		}
	}
	return false
}
