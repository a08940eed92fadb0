package differential

import (
	"slices"
	"strings"

	"coracle.local/libs/kinds"
)

// Content types of patches.
const (
	jsonPatch      = "application/json-patch+json"
	mergePatch     = "application/merge-patch+json"
	strategicPatch = "application/strategic-merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

func labels(value any) map[string]any {
	return map[string]any{"metadata": map[string]any{"labels": value}}
}

// life walks one object through every verb, with every option right and wrong.
func life(id string, sd seed) Script {
	s := Script{Name: "life/" + id}
	s.Namespace = namespaceFor(sd.kind, s.Name)
	sd = sd.named(s.Name)
	many := collection(sd.kind)
	one := many + "/" + sd.name()
	s.Steps = append(s.Steps, births(sd, many)...)
	s.Steps = append(s.Steps, Step{Name: "settle", Send: "GET " + one, Keep: map[string]string{"it": "", "rv": "metadata/resourceVersion"}, Until: settled[sd.kind.Kind]})
	s.Steps = append(s.Steps, replacements(many, one)...)
	s.Steps = append(s.Steps, patching(one)...)
	if sd.kind.HasSubresource("status") {
		s.Steps = append(s.Steps, statusSteps(one)...)
	}
	if sd.kind.HasSubresource("scale") {
		s.Steps = append(s.Steps, scaleSteps(one)...)
	}
	return withEnds(s, sd.kind, many, one)
}

// births creates an object in every way right and wrong, and in the end for good.
func births(sd seed, many string) []Step {
	v := variants{sd, many}
	return slices.Concat(v.options(), v.metadata(), v.owners(), v.bodies())
}

// variants makes requests to create a seed that is changed somewhat.
type variants struct {
	seed seed
	many string
}

func (v variants) variant(name, query string, edits ...Edit) Step {
	body, err := apply(v.seed.object, edits)
	if err != nil {
		panic(err) // the edits stand below
	}
	return Step{Name: name, Send: "POST " + v.many + "?dryRun=All" + query, Body: body}
}

func inMeta(path string, value any) Edit { return Edit{Path: "metadata/" + path, Value: value} }

func (v variants) options() []Step {
	unknown := Edit{Path: "unknownField", Value: 1.0}
	return []Step{
		v.variant("unknown field, default", "", unknown),
		v.variant("unknown field, ignored", "&fieldValidation=Ignore", unknown),
		v.variant("unknown field, warned of", "&fieldValidation=Warn", unknown, Edit{Path: "metadata/other", Value: "x"}),
		v.variant("unknown field, refused", "&fieldValidation=Strict", unknown, Edit{Path: "metadata/other", Value: "x"}),
		v.variant("fieldValidation wrong", "&fieldValidation=Maybe"),
		v.variant("field manager too long", "&fieldManager="+strings.Repeat("m", 129)),
		v.variant("field manager unprintable", "&fieldManager=a%01"),
		v.variant("field manager", "&fieldManager=me"),
		v.variant("dryRun twice", "&dryRun=All"),
		v.variant("dryRun wrong", "&dryRun=Some"),
		v.variant("pretty", "&pretty=true"),
	}
}

func (v variants) metadata() []Step {
	return []Step{
		v.variant("no name", "", inMeta("name", nil)),
		v.variant("generated name", "", inMeta("name", nil), inMeta("generateName", "gen-")),
		v.variant("generated name wrong", "", inMeta("name", nil), inMeta("generateName", "Gen_/")),
		v.variant("name wrong", "", inMeta("name", "Bad_Name/")),
		v.variant("name long", "", inMeta("name", strings.Repeat("n", 254))),
		v.variant("namespace other", "", inMeta("namespace", "elsewhere")),
		v.variant("kind other", "", Edit{Path: "kind", Value: "Other"}),
		v.variant("version other", "", Edit{Path: "apiVersion", Value: "example.com/v9"}),
		v.variant("no kind", "", Edit{Path: "kind"}, Edit{Path: "apiVersion"}),
		v.variant("resource version", "", inMeta("resourceVersion", "5")),
		v.variant("uid", "", inMeta("uid", "22222222-2222-2222-2222-222222222222")),
		v.variant("times and generation", "", inMeta("creationTimestamp", "2020-01-01T00:00:00Z"), inMeta("generation", 7.0), inMeta("deletionTimestamp", "2020-01-01T00:00:00Z"), inMeta("deletionGracePeriodSeconds", 5.0), inMeta("selfLink", "/x")),
		v.variant("labels wrong", "", inMeta("labels", map[string]any{"Bad key!": "v"})),
		v.variant("label value wrong", "", inMeta("labels", map[string]any{"key": "Bad value!"})),
		v.variant("annotations wrong", "", inMeta("annotations", map[string]any{"bad key": "v"})),
		v.variant("annotations large", "", inMeta("annotations", map[string]any{"a": strings.Repeat("x", 256<<10)})),
	}
}

func (v variants) owners() []Step {
	owner := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "11111111-1111-1111-1111-111111111111"}
	controller := func(name string) map[string]any {
		return map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true, "blockOwnerDeletion": true}
	}
	return []Step{
		v.variant("owner", "", inMeta("ownerReferences", []any{owner})),
		v.variant("owners without fields", "", inMeta("ownerReferences", []any{map[string]any{"apiVersion": "", "kind": "", "name": "", "uid": ""}})),
		v.variant("owner of a wrong version", "", inMeta("ownerReferences", []any{map[string]any{"apiVersion": "a/b/c", "kind": "K", "name": "n", "uid": "u"}})),
		v.variant("owner event", "", inMeta("ownerReferences", []any{map[string]any{"apiVersion": "v1", "kind": "Event", "name": "n", "uid": "u"}})),
		v.variant("owner twice", "", inMeta("ownerReferences", []any{owner, owner})),
		v.variant("controllers two", "", inMeta("ownerReferences", []any{controller("one"), controller("two")})),
		v.variant("finalizers", "", inMeta("finalizers", []any{"example.com/one", "orphan"})),
		v.variant("finalizer wrong", "", inMeta("finalizers", []any{"Bad finalizer"})),
		v.variant("finalizer unqualified", "", inMeta("finalizers", []any{"unqualified"})),
		v.variant("finalizers both", "", inMeta("finalizers", []any{"orphan", "foregroundDeletion"})),
	}
}

func (v variants) bodies() []Step {
	sd, many := v.seed, v.many
	return []Step{
		v.variant("managed fields wrong", "", inMeta("managedFields", []any{map[string]any{"manager": "m", "operation": "Other", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{}}})),
		v.variant("status", "", Edit{Path: "status", Value: map[string]any{"x": 1.0}}),
		v.variant("metadata of a wrong type", "", Edit{Path: "metadata", Value: "text"}),
		v.variant("labels of a wrong type", "", inMeta("labels", []any{"a"})),
		v.variant("label of a wrong type", "", inMeta("labels", map[string]any{"a": 1.0})),
		v.variant("spec of a wrong type", "", Edit{Path: "spec", Value: []any{1.0}}),
		{Name: "body empty", Send: "POST " + many, Body: ""},
		{Name: "body no JSON", Send: "POST " + many, Body: "{"},
		{Name: "body a list", Send: "POST " + many, Body: []any{}},
		{Name: "body null", Send: "POST " + many, Body: "null"},
		{Name: "body of another type", Send: "POST " + many, Type: "text/plain", Body: "x"},
		{Name: "body a field twice", Send: "POST " + many + "?fieldValidation=Strict&dryRun=All", Body: twice(sd)},
		{Name: "body a field twice, warned of", Send: "POST " + many + "?fieldValidation=Warn&dryRun=All", Body: twice(sd)},
		{Name: "body YAML", Send: "POST " + many + "?dryRun=All", Type: "application/yaml", Body: compact(sd.object)},
		{Name: "create", Send: "POST " + many + "?fieldManager=life", Body: sd.object},
		{Name: "create again", Send: "POST " + many, Body: sd.object},
		{Name: "post to one", Send: "POST " + many + "/" + sd.name(), Body: sd.object},
	}
}

// twice is the seed as JSON with a field that comes twice.
func twice(sd seed) string {
	text := compact(sd.object)
	return `{"kind":"` + sd.kind.Kind + `",` + text[1:]
}

func replacements(many, one string) []Step {
	put := func(name, query string, edits ...Edit) Step {
		return Step{Name: "put " + name, Send: "PUT " + one + "?dryRun=All" + query, From: "it", Set: edits}
	}
	meta := func(path string, value any) Edit { return Edit{Path: "metadata/" + path, Value: value} }
	return []Step{
		put("unchanged", ""),
		put("without a version", "", meta("resourceVersion", nil)),
		put("of version 1", "", meta("resourceVersion", "1")),
		put("of version 0", "", meta("resourceVersion", "0")),
		put("of a wrong version", "", meta("resourceVersion", "abc")),
		put("of another name", "", meta("name", "other")),
		put("without a name", "", meta("name", nil)),
		put("of another namespace", "", meta("namespace", "elsewhere")),
		put("of another uid", "", meta("uid", "33333333-3333-3333-3333-333333333333")),
		put("without a uid", "", meta("uid", nil)),
		put("of another kind", "", Edit{Path: "kind", Value: "Other"}),
		put("times and generation", "", meta("creationTimestamp", nil), meta("generation", 99.0), meta("deletionTimestamp", "2020-01-01T00:00:00Z")),
		put("without managed fields", "", meta("managedFields", []any{map[string]any{}})),
		put("generateName", "", meta("generateName", "x-")),
		put("labels", "&fieldManager=other", meta("labels/added", "x")),
		put("finalizers", "", meta("finalizers", []any{"example.com/a"})),
		put("finalizer wrong", "", meta("finalizers", []any{"bad finalizer"})),
		put("labels wrong", "", meta("labels", map[string]any{"bad key": "v"})),
		put("without spec", "", Edit{Path: "spec"}),
		put("unknown field", "&fieldValidation=Strict", Edit{Path: "unknownField", Value: 1.0}),
		{Name: "put of nothing there", Send: "PUT " + many + "/absent?dryRun=All", From: "it", Set: []Edit{meta("name", "absent"), meta("uid", nil), meta("resourceVersion", nil)}},
		{Name: "put of nothing there with a version", Send: "PUT " + many + "/absent?dryRun=All", From: "it", Set: []Edit{meta("name", "absent"), meta("uid", nil)}},
		{Name: "put to all", Send: "PUT " + many, From: "it"},
		{Name: "put for good", Send: "PUT " + one + "?fieldManager=other", From: "it", Set: []Edit{meta("labels/kept", "x"), meta("annotations/kept", "y")}},
		{Name: "put of a stale version", Send: "PUT " + one, From: "it", Set: []Edit{meta("labels/kept", "z")}},
	}
}

func patching(one string) []Step {
	patch := func(name, kind, query string, body any) Step {
		return Step{Name: "patch " + name, Send: "PATCH " + one + "?dryRun=All" + query, Type: kind, Body: body}
	}
	op := func(op, path string, value any) map[string]any {
		return map[string]any{"op": op, "path": path, "value": value}
	}
	meta := func(key string, value any) any { return map[string]any{"metadata": map[string]any{key: value}} }
	return []Step{
		patch("merge", mergePatch, "", labels(map[string]any{"merged": "x", "kept": nil})),
		patch("merge nothing", mergePatch, "", map[string]any{}),
		patch("merge no object", mergePatch, "", []any{}),
		patch("merge no JSON", mergePatch, "", "{"),
		patch("merge unknown field", mergePatch, "&fieldValidation=Strict", map[string]any{"unknownField": 1.0}),
		patch("merge unknown field, warned of", mergePatch, "", map[string]any{"unknownField": 1.0}),
		patch("merge of a wrong type", mergePatch, "", meta("labels", 1.0)),
		patch("merge the name", mergePatch, "", meta("name", "other")),
		patch("merge the namespace", mergePatch, "", meta("namespace", "other")),
		patch("merge the uid", mergePatch, "", meta("uid", "other")),
		patch("merge the kind", mergePatch, "", map[string]any{"kind": "Other"}),
		patch("merge a stale version", mergePatch, "", meta("resourceVersion", "1")),
		patch("merge no version", mergePatch, "", meta("resourceVersion", nil)),
		patch("merge finalizers", mergePatch, "", meta("finalizers", []any{"example.com/a"})),
		patch("strategic", strategicPatch, "", labels(map[string]any{"merged": "x", "kept": nil})),
		patch("strategic directive", strategicPatch, "", labels(map[string]any{"$patch": "replace", "only": "x"})),
		patch("strategic wrong directive", strategicPatch, "", labels(map[string]any{"$patch": "other"})),
		patch("strategic finalizers", strategicPatch, "", map[string]any{"metadata": map[string]any{"$deleteFromPrimitiveList/finalizers": []any{"none"}}}),
		patch("strategic of a wrong type", strategicPatch, "", meta("labels", "text")),
		patch("JSON", jsonPatch, "", []any{op("add", "/metadata/labels/merged", "x"), op("remove", "/metadata/labels/kept", nil)}),
		patch("JSON none", jsonPatch, "", []any{}),
		patch("JSON object", jsonPatch, "", map[string]any{}),
		patch("JSON test", jsonPatch, "", []any{op("test", "/metadata/labels/kept", "other")}),
		patch("JSON absent", jsonPatch, "", []any{op("remove", "/metadata/labels/absent", nil)}),
		patch("JSON replace absent", jsonPatch, "", []any{op("replace", "/metadata/absent/x", "x")}),
		patch("JSON wrong operation", jsonPatch, "", []any{op("other", "/metadata/labels/x", "x")}),
		patch("JSON move", jsonPatch, "", []any{map[string]any{"op": "move", "from": "/metadata/labels/kept", "path": "/metadata/labels/moved"}}),
		patch("JSON copy", jsonPatch, "", []any{map[string]any{"op": "copy", "from": "/metadata/labels/kept", "path": "/metadata/annotations/copied"}}),
		patch("of another type", "application/json", "", labels(map[string]any{"a": "b"})),
		patch("with force", mergePatch, "&force=true", labels(map[string]any{"a": "b"})),
		patch("with a wrong fieldValidation", mergePatch, "&fieldValidation=Maybe", labels(map[string]any{"a": "b"})),
		{Name: "patch for good", Send: "PATCH " + one + "?fieldManager=patcher", Type: mergePatch, Body: labels(map[string]any{"patched": "x"})},
		{Name: "patch of nothing there", Send: "PATCH " + one + "-absent", Type: mergePatch, Body: labels(map[string]any{"patched": "x"})},
		{Name: "after patches", Send: "GET " + one, Keep: map[string]string{"it": ""}},
	}
}

func statusSteps(one string) []Step {
	status := one + "/status"
	return []Step{
		{Name: "status get", Send: "GET " + status},
		{Name: "status get as a table", Send: "GET " + status, Accept: tableType},
		{Name: "status put", Send: "PUT " + status + "?dryRun=All&fieldManager=statuses", From: "it"},
		{Name: "status put without a version", Send: "PUT " + status + "?dryRun=All", From: "it", Set: []Edit{{Path: "metadata/resourceVersion"}}},
		{Name: "status merge labels", Send: "PATCH " + status + "?dryRun=All", Type: mergePatch, Body: labels(map[string]any{"status": "x"})},
		{Name: "status merge metadata", Send: "PATCH " + status + "?dryRun=All", Type: mergePatch, Body: map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/a"}, "ownerReferences": []any{}}}},
		{Name: "status merge spec", Send: "PATCH " + status + "?dryRun=All", Type: mergePatch, Body: map[string]any{"spec": nil}},
		{Name: "status post", Send: "POST " + status, From: "it"},
		{Name: "status delete", Send: "DELETE " + status},
	}
}

func scaleSteps(one string) []Step {
	scale := one + "/scale"
	spec := func(value any) map[string]any { return map[string]any{"spec": value} }
	return []Step{
		{Name: "scale get", Send: "GET " + scale, Keep: map[string]string{"scale": ""}},
		{Name: "scale get as a table", Send: "GET " + scale, Accept: tableType},
		{Name: "scale put", Send: "PUT " + scale + "?fieldManager=scaler", From: "scale", Set: []Edit{{Path: "spec/replicas", Value: 2.0}}},
		{Name: "scale put of a stale version", Send: "PUT " + scale, From: "scale", Set: []Edit{{Path: "spec/replicas", Value: 3.0}}},
		{Name: "scale put without a version", Send: "PUT " + scale + "?dryRun=All", From: "scale", Set: []Edit{{Path: "metadata/resourceVersion"}, {Path: "spec/replicas", Value: 3.0}}},
		{Name: "scale put negative", Send: "PUT " + scale, From: "scale", Set: []Edit{{Path: "metadata/resourceVersion"}, {Path: "spec/replicas", Value: -1.0}}},
		{Name: "scale put of another name", Send: "PUT " + scale, From: "scale", Set: []Edit{{Path: "metadata/name", Value: "other"}}},
		{Name: "scale put of another kind", Send: "PUT " + scale, From: "it"},
		{Name: "scale merge", Send: "PATCH " + scale, Type: mergePatch, Body: spec(map[string]any{"replicas": 4.0})},
		{Name: "scale strategic", Send: "PATCH " + scale + "?dryRun=All", Type: strategicPatch, Body: spec(map[string]any{"replicas": 5.0})},
		{Name: "scale JSON", Send: "PATCH " + scale + "?dryRun=All", Type: jsonPatch, Body: []any{map[string]any{"op": "replace", "path": "/spec/replicas", "value": 6.0}}},
		{Name: "scale merge of a wrong type", Send: "PATCH " + scale, Type: mergePatch, Body: spec(map[string]any{"replicas": "many"})},
		{Name: "scale apply", Send: "PATCH " + scale + "?fieldManager=applier&force=true", Type: applyPatch, Body: map[string]any{"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": map[string]any{"replicas": 1.0}}},
		{Name: "scale of nothing there", Send: "GET " + one + "-absent/scale"},
		{Name: "after scale", Send: "GET " + one, Keep: map[string]string{"it": ""}},
	}
}

func withEnds(s Script, k *kinds.Kind, many, one string) Script {
	options := func(kv ...any) map[string]any {
		o := map[string]any{"kind": "DeleteOptions", "apiVersion": "v1"}
		for i := 0; i < len(kv); i += 2 {
			o[kv[i].(string)] = kv[i+1]
		}
		return o
	}
	del := func(name, query string, body any) Step {
		return Step{Name: "delete " + name, Send: "DELETE " + one + "?dryRun=All" + query, Body: body}
	}
	s.Steps = append(s.Steps,
		del("dry", "", nil),
		del("wrong policy", "&propagationPolicy=Wrong", nil),
		del("two policies", "&propagationPolicy=Background&orphanDependents=true", nil),
		del("orphan", "&propagationPolicy=Orphan", nil),
		del("foreground", "&propagationPolicy=Foreground", nil),
		del("negative grace", "&gracePeriodSeconds=-1", nil),
		del("grace of a wrong type", "&gracePeriodSeconds=x", nil),
		del("options as body", "", options("propagationPolicy", "Background", "gracePeriodSeconds", 0.0, "dryRun", []any{"All"})),
		del("another uid", "", options("preconditions", map[string]any{"uid": "44444444-4444-4444-4444-444444444444"}, "dryRun", []any{"All"})),
		del("another version", "", options("preconditions", map[string]any{"resourceVersion": "1"}, "dryRun", []any{"All"})),
		del("options of another kind", "", map[string]any{"kind": "Other", "apiVersion": "v1"}),
		del("options no JSON", "", "{"),
		del("unsafe", "&ignoreStoreReadErrorWithClusterBreakingPotential=true", nil),
		Step{Name: "delete of nothing there", Send: "DELETE " + one + "-absent"},
		Step{Name: "hold", Send: "PATCH " + one, Type: mergePatch, Body: map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/hold"}}}},
		Step{Name: "delete held", Send: "DELETE " + one + "?gracePeriodSeconds=0&propagationPolicy=Background"},
	)
	if k.Kind == "CustomResourceDefinition" {
		s.Steps = append(s.Steps, Step{Name: "emptied", Send: "GET " + one, Until: `"InstanceDeletionCompleted"`, Quiet: true})
	}
	s.Steps = append(s.Steps,
		Step{Name: "delete held again", Send: "DELETE " + one + "?gracePeriodSeconds=0&propagationPolicy=Foreground"},
		Step{Name: "held", Send: "GET " + one, Keep: map[string]string{"it": ""}},
		Step{Name: "another finalizer", Send: "PATCH " + one + "?dryRun=All", Type: mergePatch, Body: map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/hold", "example.com/late"}}}},
		Step{Name: "put held", Send: "PUT " + one + "?dryRun=All", From: "it", Set: []Edit{{Path: "metadata/labels/late", Value: "x"}}},
		Step{Name: "let go", Send: "PATCH " + one, Type: mergePatch, Body: map[string]any{"metadata": map[string]any{"finalizers": nil}}},
		Step{Name: "gone", Send: "GET " + one},
		Step{Name: "delete all", Send: "DELETE " + many + "?labelSelector=patched%3Dx"},
		Step{Name: "delete all with a wrong selector", Send: "DELETE " + many + "?labelSelector=a%3D%3D%3Db"},
		Step{Name: "delete all with a wrong policy", Send: "DELETE " + many + "?labelSelector=patched%3Dx&propagationPolicy=Wrong"},
	)
	if k.Kind == "Pod" || k.Kind == "Namespace" {
		s.Steps = append(s.Steps, Step{Name: "delete in the end", Send: "DELETE " + one})
	}
	return s
}
