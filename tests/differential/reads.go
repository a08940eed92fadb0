package differential

import "strings"

// Accepted forms of an answer.
const (
	tableType   = "application/json;as=Table;v=v1;g=meta.k8s.io"
	partialType = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	partialList = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

// reads asks for one object and for lists of it, in every form and with every
// option.
func reads(id string, sd seed) Script {
	s := Script{Name: "read/" + id}
	s.Namespace = namespaceFor(sd.kind, s.Name)
	sd = sd.named(s.Name)
	mark := letters(s.Name)
	body, err := apply(sd.object, []Edit{{Path: "metadata/labels/reads", Value: mark}})
	if err != nil {
		panic(err) // every seed has metadata
	}
	many := collection(sd.kind)
	one := many + "/" + sd.name()
	s.Steps = append(s.Steps,
		Step{Name: "store", Send: "POST " + many, Body: body},
		Step{Name: "settle", Send: "GET " + one, Until: settled[sd.kind.Kind], Keep: map[string]string{"rv": "metadata/resourceVersion"}},
	)
	get := func(name, query, accept string) {
		s.Steps = append(s.Steps, Step{Name: "get " + name, Send: "GET " + one + query, Accept: accept})
	}
	list := func(name, query, accept string) {
		s.Steps = append(s.Steps, Step{Name: "list " + name, Send: "GET " + many + "?labelSelector=reads%3D" + mark + query, Accept: accept})
	}
	for _, accept := range []string{
		"application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor", "*/*", "text/html", "text/plain",
		"application/json;pretty=1", "application/json;as=Table;v=v1beta1;g=meta.k8s.io", "application/json;as=Other;v=v1;g=meta.k8s.io",
		tableType, partialType, partialList, "application/yaml;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
		"text/html, " + tableType + ", application/json",
	} {
		get(accept, "", accept)
	}
	get("table without objects", "?includeObject=None", tableType)
	get("version 0", "?resourceVersion=0", "")
	get("version of the far future", "?resourceVersion=abc", "")
	for _, accept := range []string{"application/yaml", "application/vnd.kubernetes.protobuf", tableType, partialType, partialList, "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
		list(accept, "", accept)
	}
	for _, include := range []string{"None", "Object", "Metadata", "Other"} {
		list("table with "+include, "&includeObject="+include, tableType)
	}
	for _, query := range []string{
		"", "&limit=1", "&limit=-1", "&limit=x", "&resourceVersion=0", "&resourceVersion=0&limit=1", "&resourceVersion=abc", "&resourceVersion=-1",
		"&resourceVersion=0&resourceVersionMatch=Exact", "&resourceVersion=0&resourceVersionMatch=NotOlderThan", "&resourceVersionMatch=NotOlderThan",
		"&resourceVersionMatch=Other&resourceVersion=1", "&resourceVersion=${rv}&resourceVersionMatch=Exact", "&resourceVersion=${rv}&resourceVersionMatch=NotOlderThan",
		"&resourceVersion=${rv}", "&resourceVersion=1&resourceVersionMatch=NotOlderThan", "&continue=wrong", "&continue=wrong&resourceVersion=5", "&sendInitialEvents=true",
		"&fieldSelector=metadata.name%3D" + sd.name(), "&fieldSelector=metadata.name!%3D" + sd.name(), "&fieldSelector=metadata.name%3Dnone", "&fieldSelector=spec.unknown%3Dx",
		"&fieldSelector=metadata.namespace%3Dnone", "&fieldSelector=status.phase%3DRunning", "&fieldSelector=a", "&timeoutSeconds=x", "&pretty=true",
		"&sendInitialEvents=true&watch=true&timeoutSeconds=1", "&watch=true&sendInitialEvents=true&resourceVersionMatch=Exact&timeoutSeconds=1", "&watch=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1",
		"&watch=true&resourceVersion=abc&timeoutSeconds=1", "&watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=x",
	} {
		if query == "&limit=1" && !sd.kind.Namespaced {
			continue // whether more follows depends on what other scripts have made
		}
		list(strings.TrimPrefix(query, "&"), query, "")
	}
	if sd.kind.Namespaced {
		s.Steps = append(s.Steps, Step{Name: "list of all namespaces", Send: "GET " + strings.Replace(many, "/namespaces/${ns}", "", 1) + "?labelSelector=reads%3D" + mark})
	}
	watched := ""
	if number(s.Name)%3 == 0 {
		watched = tableType
	}
	if number(s.Name)%3 == 1 {
		watched = partialType
	}
	s.Steps = append(s.Steps,
		Step{Name: "list with a wrong selector", Send: "GET " + many + "?labelSelector=a%3D%3D%3Db"},
		Step{Name: "list by set", Send: "GET " + many + "?labelSelector=reads+in+(" + mark + ",other),!absent"},
		Step{Name: "watch", Send: "GET " + many + "?watch=true&timeoutSeconds=1&labelSelector=reads%3D" + mark + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", Accept: watched},
	)
	return s
}

// applies goes through server-side apply: ownership, conflicts, force.
func applies(id string, sd seed) Script {
	s := Script{Name: "apply/" + id}
	s.Namespace = namespaceFor(sd.kind, s.Name)
	sd = sd.named(s.Name)
	one := collection(sd.kind) + "/" + sd.name()
	object := func(edits ...Edit) any {
		body, err := apply(sd.object, edits)
		if err != nil {
			panic(err) // every seed has metadata
		}
		return body
	}
	bare := map[string]any{"apiVersion": sd.object["apiVersion"], "kind": sd.object["kind"], "metadata": map[string]any{"name": sd.name()}}
	label := func(key, value string) Edit { return Edit{Path: "metadata/labels/" + key, Value: value} }
	with := func(edits ...Edit) any {
		body, err := apply(bare, edits)
		if err != nil {
			panic(err)
		}
		return body
	}
	step := func(name, query string, body any) {
		s.Steps = append(s.Steps, Step{Name: name, Send: "PATCH " + one + "?" + query, Type: applyPatch, Body: body})
	}
	step("without a manager", "", object())
	step("dry", "fieldManager=a&dryRun=All", object())
	step("unknown field", "fieldManager=a&dryRun=All&fieldValidation=Strict", object(Edit{Path: "unknownField", Value: 1.0}))
	step("unknown field ignored", "fieldManager=a&dryRun=All&fieldValidation=Ignore", object(Edit{Path: "unknownField", Value: 1.0}))
	step("wrong force", "fieldManager=a&dryRun=All&force=x", object())
	step("another name", "fieldManager=a&dryRun=All", object(Edit{Path: "metadata/name", Value: "other"}))
	step("no kind", "fieldManager=a&dryRun=All", object(Edit{Path: "kind"}))
	step("managed fields", "fieldManager=a&dryRun=All", object(Edit{Path: "metadata/managedFields", Value: []any{map[string]any{"manager": "x"}}}))
	step("no YAML", "fieldManager=a&dryRun=All", "{{")
	step("a field twice", "fieldManager=a&dryRun=All&fieldValidation=Strict", twice(sd))
	step("create", "fieldManager=a", object(label("one", "a")))
	s.Steps = append(s.Steps, Step{Name: "settle", Send: "GET " + one, Until: settled[sd.kind.Kind], Keep: map[string]string{"it": ""}})
	step("again", "fieldManager=a", object(label("one", "a")))
	step("by another", "fieldManager=b", with(label("two", "b")))
	step("the same by another", "fieldManager=b", with(label("two", "b"), label("one", "a")))
	step("conflict", "fieldManager=b", with(label("one", "b")))
	step("forced", "fieldManager=b&force=true", with(label("one", "b")))
	step("given up", "fieldManager=a&force=true", object())
	step("stale", "fieldManager=a", with(Edit{Path: "metadata/resourceVersion", Value: "1"}))
	step("another uid", "fieldManager=a", with(Edit{Path: "metadata/uid", Value: "x"}))
	s.Steps = append(s.Steps,
		Step{Name: "by update", Send: "PATCH " + one + "?fieldManager=c", Type: mergePatch, Body: labels(map[string]any{"one": "c", "three": "c"})},
		Step{Name: "now", Send: "GET " + one, Keep: map[string]string{"it": ""}},
	)
	step("conflict with an update", "fieldManager=a", with(label("one", "a"), label("three", "a")))
	step("as nothing", "fieldManager=b&force=true", with())
	if sd.kind.HasSubresource("status") {
		s.Steps = append(s.Steps,
			Step{Name: "status", Send: "PATCH " + one + "/status?fieldManager=s&force=true", Type: applyPatch, Body: with(label("four", "s"))},
			Step{Name: "status whole", Send: "PATCH " + one + "/status?fieldManager=s&force=true", Type: applyPatch, Body: object()},
		)
	}
	s.Steps = append(s.Steps, Step{Name: "in the end", Send: "GET " + one})
	return s
}
