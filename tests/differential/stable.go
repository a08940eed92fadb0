package differential

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stable replaces in an answer what is another thing in every run: UIDs, times,
// versions, tokens, allocated addresses and ports.
func stable(value any) any {
	return stableIn(value, "")
}

func stableIn(value any, key string) any {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = stableIn(e, k)
		}
		generated(v)
		if v["kind"] == "SelfSubjectRulesReview" {
			sorted(at(v, "status", "resourceRules"))
			sorted(at(v, "status", "nonResourceRules"))
		}
		if v["kind"] == "Status" {
			unordered(v)
		}
		if ending, ok := v[`k:{"type":"Terminating"}`].(map[string]any); ok {
			delete(ending, "f:lastTransitionTime") // which a second write changes unless it is of the same second
		}
	case []any:
		v = marked(v)
		for i := range v {
			v[i] = stableIn(v[i], key)
		}
		value = v
		if key == "managedFields" {
			// Upstream sorts by times, of which a run has the one or the other.
			slices.SortFunc(v, func(a, b any) int { return strings.Compare(manager(a), manager(b)) })
		}
		if key == "cells" {
			for i := range v {
				if text, ok := v[i].(string); ok {
					v[i] = age.ReplaceAllString(text, "AGE")
				}
			}
		}
	case string:
		return stableText(v, key)
	case float64:
		if (key == "nodePort" || key == "healthCheckNodePort") && v >= 30000 && v != chosenPort {
			return "PORT"
		}
	}
	return value
}

// marked leaves out the bookmarks of a watch but the first: how many there are is
// a matter of time.
func marked(events []any) []any {
	first := true
	return slices.DeleteFunc(events, func(e any) bool {
		if at(e, "type") != "BOOKMARK" || at(e, "object") == nil {
			return false
		}
		again := !first
		first = false
		return again
	})
}

// sorted brings a list into one order whose own says nothing: upstream gathers
// rules from bindings in the order of a map.
func sorted(list any) {
	if all, ok := list.([]any); ok {
		slices.SortFunc(all, func(a, b any) int { return strings.Compare(compact(a), compact(b)) })
	}
}

// unordered brings into one order what is wrong with a custom resource, or with
// the properties of a definition's schema: upstream goes through them in the order
// of a map.
func unordered(status map[string]any) {
	causes, _ := at(status, "details", "causes").([]any)
	group, _ := at(status, "details", "group").(string)
	schema := at(status, "details", "kind") == "CustomResourceDefinition" && slices.ContainsFunc(causes, func(c any) bool {
		return strings.Contains(fmt.Sprint(at(c, "field")), ".properties[")
	})
	if !schema && !strings.HasSuffix(group, ".example.com") {
		return
	}
	sorted(causes)
	// The message says the same in the same order; what is left says nothing more.
	text, _ := status["message"].(string)
	for _, c := range slices.Backward(causes) {
		text = strings.Replace(text, fmt.Sprintf("%v: %v", at(c, "field"), at(c, "message")), "", 1)
	}
	status["message"] = text
}

// manager tells one managed fields' entry from the others.
func manager(entry any) string {
	return fmt.Sprint(at(entry, "manager"), at(entry, "operation"), at(entry, "subresource"), at(entry, "apiVersion"))
}

// chosenPort is the one that scripts ask for.
const chosenPort = 31111

// generated hides what a server made of generateName.
func generated(metadata map[string]any) {
	prefix, _ := metadata["generateName"].(string)
	name, _ := metadata["name"].(string)
	if prefix != "" && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 {
		metadata["name"] = prefix + "*"
	}
}

var (
	uids     = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	times    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	goTimes  = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC( m=[+.\d]+)?`)
	tokens   = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
	versions = regexp.MustCompile(`\b\d{2,}\b`)
	age      = regexp.MustCompile(`^(\d+(y|d|h|m|s|ms))+( ago)?$`)
	chosen   = []string{"10.96.200.7", "10.96.200.8", "10.96.200.200"} // scripts ask for these
	address  = regexp.MustCompile(`\b10\.(96|1\d\d)\.\d+\.\d+\b`)      // scripts make ranges of 10.100 and more
	ports    = regexp.MustCompile(`\b3[0-2]\d{3}\b`)
	suffixes = regexp.MustCompile(`(gen-|Gen_/|kube-api-access-)[a-z0-9]{5}("|\\|\)|:|$)`)
	hashes   = regexp.MustCompile(`X509SHA256=[0-9a-f]+`)
)

func stableText(text, key string) any {
	switch key {
	case "uid":
		if uids.MatchString(text) && !given.MatchString(text) {
			return "UID"
		}
		return text
	case "resourceVersion":
		if text != "" && versions.MatchString(text) {
			return "VERSION"
		}
		return text
	case "serverAddress":
		return "SERVER"
	case "continue":
		if text != "" {
			return "CONTINUE"
		}
		return text
	}
	text = uids.ReplaceAllStringFunc(text, func(u string) string {
		if given.MatchString(u) {
			return u
		}
		return "UID"
	})
	text = times.ReplaceAllStringFunc(text, recent)
	text = goTimes.ReplaceAllString(text, "TIME")
	text = tokens.ReplaceAllString(text, "TOKEN")
	text = address.ReplaceAllStringFunc(text, func(a string) string {
		if slices.Contains(chosen, a) {
			return a
		}
		return "ADDRESS"
	})
	text = hashes.ReplaceAllString(text, "HASH")
	text = suffixes.ReplaceAllString(text, "$1*$2")
	if strings.Contains(text, "nodePort") || strings.Contains(text, "provided port") || strings.HasSuffix(text, "/TCP") || strings.HasPrefix(text, "Duplicate value: 3") {
		text = ports.ReplaceAllStringFunc(text, func(p string) string {
			if p == strconv.Itoa(chosenPort) {
				return p
			}
			return "PORT"
		})
	}
	if strings.Contains(strings.ToLower(text), "resource version") || strings.Contains(strings.ToLower(text), "resourceversion") {
		text = versions.ReplaceAllString(text, "VERSION")
	}
	return text
}

// given are UIDs that scripts name.
var given = regexp.MustCompile(`^(1{8}|2{8}|3{8}|4{8}|5{8})-`)

func recent(text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || time.Since(t).Abs() > 48*time.Hour {
		return text
	}
	return "TIME"
}
