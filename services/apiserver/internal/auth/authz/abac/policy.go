// Package abac decides requests by a file of policies, one in a line, as
// clusters did before there were roles.
package abac

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
)

const group = "abac.authorization.kubernetes.io/"

// Spec is one policy: whom it is for, and what they may do. A star stands for
// any value.
type Spec struct {
	User            string `json:"user,omitempty"`
	Group           string `json:"group,omitempty"`
	Readonly        bool   `json:"readonly,omitempty"`
	APIGroup        string `json:"apiGroup,omitempty"`
	Resource        string `json:"resource,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	NonResourcePath string `json:"nonResourcePath,omitempty"`
}

// line is what a line holds; the oldest form has no version, and its fields
// stand outside of spec.
type line struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       Spec   `json:"spec"`

	User      string `json:"user"`
	Group     string `json:"group"`
	Readonly  bool   `json:"readonly"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace"`
}

// Read reads a file of policies. Empty lines and those that begin with a # are
// left out.
func Read(path string, log *zap.Logger) (Policies, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var out Policies
	old := false
	scanner := bufio.NewScanner(file)
	for number := 1; scanner.Scan(); number++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		spec, unversioned, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("error reading policy file %s, line %d: %s: %w", path, number, text, err)
		}
		old = old || unversioned
		out = append(out, spec)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("error reading policy file %s: %w", path, err)
	}
	if old {
		log.Warn("policy file has rules without a version", zap.String("file", path))
	}
	return out, nil
}

func parse(text string) (s Spec, unversioned bool, err error) {
	var l line
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return s, false, err
	}
	switch {
	case l.APIVersion == "" || l.Kind == "":
		return l.unversioned(), true, nil
	case l.Kind == "Policy" && l.APIVersion == group+"v0":
		return l.unversioned(), false, nil
	case l.Kind == "Policy" && l.APIVersion == group+"v1beta1":
		return l.Spec.complete(), false, nil
	}
	return s, false, errors.New("unrecognized object: " + l.APIVersion + ", Kind=" + l.Kind)
}

// complete gives "everybody" its meaning: those who are known.
func (s Spec) complete() Spec {
	if s.User == "*" || s.Group == "*" {
		s.User, s.Group = "", user.AllAuthenticated
	}
	return s
}

// unversioned gives the oldest form its meaning: what is left out is not
// restricted.
func (l *line) unversioned() Spec {
	s := Spec{User: l.User, Group: l.Group, Readonly: l.Readonly, APIGroup: "*", Resource: l.Resource, Namespace: l.Namespace}
	if s.User == "" && s.Group == "" {
		s.Group = user.AllAuthenticated
	}
	if s.Namespace == "" && s.Resource == "" {
		s.NonResourcePath = "*"
	}
	if s.Namespace == "" {
		s.Namespace = "*"
	}
	if s.Resource == "" {
		s.Resource = "*"
	}
	return s.complete()
}
