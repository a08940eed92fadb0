package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"coracle.local/libs/kinds"
)

// Size says how many mutations of a seed a corpus has at most.
type Size struct {
	Creates, Updates, Statuses int
	Seed                       int
}

// DefaultSize makes a corpus that two servers answer in less than three minutes
// on two cores.
var DefaultSize = Size{Creates: 20, Updates: 12, Statuses: 8, Seed: 1}

// Corpus makes all scripts, always the same ones in the same order.
func Corpus(s schemas, suites []golden, size Size) ([]Script, error) {
	seeds, err := loadSeeds()
	if err != nil {
		return nil, err
	}
	var out []Script
	seen := map[*kinds.Kind]int{}
	for _, sd := range seeds {
		id := sd.kind.Plural + "." + sd.kind.APIVersion()
		if n := seen[sd.kind]; n > 0 {
			id += fmt.Sprintf(".%d", n)
		}
		seen[sd.kind]++
		sch, ok := s.of(sd.kind)
		if !ok {
			return nil, fmt.Errorf("no schema of %s", id)
		}
		out = append(out, creates(id, sd, sch, size))
		if sd.kind.Has("update") {
			out = append(out, updates(id, sd, sch, size), patches(id, sd, sch, size))
			if sd.kind.HasSubresource("status") {
				out = append(out, statuses(id, sd, sch, size))
			}
			if seen[sd.kind] == 1 {
				out = append(out, life(id, sd), reads(id, sd), applies(id, sd))
			}
		}
	}
	for _, k := range kinds.All() {
		if seen[k] == 0 && k.Has("create") {
			return nil, fmt.Errorf("no seed of %s", k.GroupVersionKind())
		}
	}
	for _, g := range suites {
		script, err := goldenScript(g)
		if err != nil {
			return nil, err
		}
		out = append(out, script)
	}
	written, err := written()
	if err != nil {
		return nil, err
	}
	return append(out, written...), nil
}

// factor gives the kinds more room that have more to check.
func factor(k *kinds.Kind) int {
	switch k.Kind {
	case "Pod":
		return 8
	case "Service", "PersistentVolume", "PersistentVolumeClaim", "ResourceClaim", "ResourceSlice", "Job", "Deployment":
		return 3
	}
	return 2
}

func namespaceFor(k *kinds.Kind, script string) string {
	if !k.Namespaced {
		return ""
	}
	return "d-" + letters(script)
}

// creates sends the seed and its mutations, to be thrown away.
func creates(id string, sd seed, sch schema, size Size) Script {
	s := Script{Name: "create/" + id}
	s.Namespace = namespaceFor(sd.kind, s.Name)
	sd = sd.named(s.Name)
	send := "POST " + collection(sd.kind)
	if sd.kind.Stored() {
		send += "?dryRun=All"
	}
	s.Steps = append(s.Steps, Step{Name: "as it is", Send: send, Body: sd.object})
	for _, m := range thin(mutations(sch, sd.object), size.Creates*factor(sd.kind), size.Seed) {
		if body, err := apply(sd.object, []Edit{m.Edit}); err == nil {
			s.Steps = append(s.Steps, Step{Name: m.Label, Send: send, Body: body})
		}
	}
	return s
}

// stored begins a script that needs the seed's object, and keeps it as "it".
func stored(name string, sd seed) (Script, seed) {
	s := Script{Name: name}
	s.Namespace = namespaceFor(sd.kind, s.Name)
	sd = sd.named(s.Name)
	s.Steps = append(s.Steps, Step{Name: "store", Send: "POST " + collection(sd.kind), Body: sd.object, Keep: map[string]string{"name": "metadata/name"}})
	get := Step{Name: "get", Send: "GET " + collection(sd.kind) + "/${name}", Keep: map[string]string{"it": ""}}
	get.Until = settled[sd.kind.Kind]
	s.Steps = append(s.Steps, get)
	return s, sd
}

// never is in no answer: what is to hold it is waited for until it is gone.
const never = "(never)"

// settled is in an object once upstream's server has done by itself what it does
// to a new one.
var settled = map[string]string{
	"APIService":               `"type":"Available"`,
	"CustomResourceDefinition": `"InitialNamesAccepted"`,
	"FlowSchema":               `"type":"Dangling"`,
}

// updates sends mutations of the stored object by PUT.
func updates(id string, sd seed, sch schema, size Size) Script {
	s, sd := stored("update/"+id, sd)
	for _, m := range thin(mutations(sch, sd.object), size.Updates*factor(sd.kind), size.Seed+1) {
		s.Steps = append(s.Steps, Step{
			Name: m.Label, Send: "PUT " + collection(sd.kind) + "/${name}?dryRun=All", From: "it", Set: []Edit{m.Edit},
		})
	}
	return s
}

// patches sends mutations as merge patches, strategic ones and JSON patches by turns.
func patches(id string, sd seed, sch schema, size Size) Script {
	s, sd := stored("patch/"+id, sd)
	for i, m := range thin(mutations(sch, sd.object), size.Updates*factor(sd.kind)/3, size.Seed+2) {
		step := Step{Name: m.Label, Send: "PATCH " + collection(sd.kind) + "/${name}?dryRun=All"}
		switch i % 3 {
		case 0:
			step.Type = "application/json-patch+json"
			op := map[string]any{"op": "add", "path": "/" + m.Edit.Path, "value": m.Edit.Value}
			if m.Edit.Value == nil {
				op = map[string]any{"op": "remove", "path": "/" + m.Edit.Path}
			}
			step.Body = []any{op}
		default:
			step.Type = "application/merge-patch+json"
			if i%3 == 2 {
				step.Type = "application/strategic-merge-patch+json"
			}
			step.Body = nested(splitPath(m.Edit.Path), m.Edit.Value)
		}
		s.Steps = append(s.Steps, step)
	}
	return s
}

// nested is a merge patch of one field; elements of lists come as the list.
func nested(path []string, value any) any {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == "0" {
			value = []any{value}
		} else {
			value = map[string]any{path[i]: value}
		}
	}
	return value
}

// statuses sends mutations of the status through its subresource.
func statuses(id string, sd seed, sch schema, size Size) Script {
	s, sd := stored("status/"+id, sd)
	send := "PUT " + collection(sd.kind) + "/${name}/status?dryRun=All"
	s.Steps = append(s.Steps,
		Step{Name: "spec through status", Send: send, From: "it", Set: []Edit{{Path: "spec"}, {Path: "metadata/labels/x", Value: "y"}, {Path: "metadata/annotations/x", Value: "y"}}},
		Step{Name: "get status", Send: "GET " + collection(sd.kind) + "/${name}/status"},
	)
	for _, m := range thin(mutations(sch.property("status"), map[string]any{"status": map[string]any{}}, "status"), size.Statuses*factor(sd.kind), size.Seed+3) {
		s.Steps = append(s.Steps, Step{Name: m.Label, Send: send, From: "it", Set: []Edit{m.Edit}})
	}
	return s
}

// goldenScript sends what the kinds' own tests replay, admission included.
func goldenScript(g golden) (Script, error) {
	k, err := kindOf(g.Object)
	if err != nil {
		return Script{}, fmt.Errorf("suite %s: %w", g.name, err)
	}
	s := Script{Name: "golden/" + g.name}
	s.Namespace = namespaceFor(k, s.Name)
	sd := seed{kind: k, object: g.Object}.named(s.Name)
	if spec, ok := sd.object["spec"].(map[string]any); ok && k.Kind == "Pod" && spec["schedulerName"] == nil {
		spec["schedulerName"] = "nobody" // ours would write what it thinks
	}
	if spec, ok := sd.object["spec"].(map[string]any); ok && k.Kind == "Service" {
		delete(spec, "clusterIP") // who has it depends on what else runs
	}
	for _, c := range g.Cases {
		object, err := apply(sd.object, edits(c.Set))
		if err != nil {
			return Script{}, fmt.Errorf("suite %s, %s: %w", g.name, c.Name, err)
		}
		if c.Update == nil {
			s.Steps = append(s.Steps, Step{Name: c.Name, Send: "POST " + collection(k) + "?dryRun=All", Body: object})
			continue
		}
		if k.Group == "admissionregistration.k8s.io" {
			continue // what these suites store concerns every other request
		}
		path := collection(k) + "/${name}"
		sub := ""
		if c.Sub != "" {
			sub = "/" + c.Sub
		}
		s.Steps = append(s.Steps,
			Step{Name: c.Name + ": store", Send: "POST " + collection(k), Body: object, Keep: map[string]string{"name": "metadata/name"}},
			Step{Name: c.Name + ": get", Send: "GET " + path, Keep: map[string]string{"it": ""}, Until: settled[k.Kind]},
			Step{Name: c.Name + ": update", Send: "PUT " + path + sub + "?dryRun=All", From: "it", Set: edits(c.Update)},
			Step{Name: c.Name + ": strip", Send: "PATCH " + path, Type: "application/merge-patch+json", Body: map[string]any{"metadata": map[string]any{"finalizers": nil}}, Quiet: true},
			Step{Name: c.Name + ": delete", Send: "DELETE " + path + "?gracePeriodSeconds=0&propagationPolicy=Background", Quiet: true},
		)
		if k.Kind == "CustomResourceDefinition" {
			s.Steps = append(s.Steps, Step{Name: c.Name + ": gone", Send: "GET " + path, Until: never, Quiet: true})
		}
		if k.Kind == "Namespace" {
			s.Steps = append(s.Steps, Step{Name: c.Name + ": finalize", Send: "PUT " + path + "/finalize", From: "it", Set: []Edit{{Path: "spec", Value: map[string]any{}}, {Path: "metadata/resourceVersion"}}, Quiet: true})
		}
	}
	return s, nil
}

// edits are a suite's changes in order; its paths use the same escapes.
func edits(changes map[string]any) []Edit {
	var out []Edit
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		if path == "metadata/namespace" || path == "metadata/name" && changes[path] == nil {
			continue
		}
		out = append(out, Edit{Path: strings.TrimPrefix(path, "/"), Value: changes[path]})
	}
	return out
}
