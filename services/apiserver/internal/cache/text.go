package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"

	"coracle.local/libs/kinds"
)

const (
	versionHead = `"resourceVersion":"`
	versionTail = `",`
)

// versioned is a custom resource's JSON with its resource version, and where in
// it that was put; -1 if it was not simply put in.
func versioned(text []byte, version string) (frame []byte, splice int) {
	text = bytes.TrimRight(text, "\n")
	at := versionPlace(text)
	if at < 0 || bytes.Contains(text, []byte(`"resourceVersion"`)) {
		return rewritten(text, version), -1
	}
	frame = make([]byte, 0, len(text)+len(versionHead)+len(version)+len(versionTail))
	frame = append(frame, text[:at]...)
	frame = append(frame, versionHead...)
	frame = append(frame, version...)
	frame = append(frame, versionTail...)
	return append(frame, text[at:]...), at
}

// rewritten sets the version in a text that is not of the usual form.
func rewritten(text []byte, version string) []byte {
	tree := map[string]any{}
	if kjson.UnmarshalCaseSensitivePreserveInts(text, &tree) != nil {
		return bytes.Clone(text)
	}
	meta, _ := tree["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		tree["metadata"] = meta
	}
	meta["resourceVersion"] = version
	out, err := json.Marshal(tree)
	if err != nil {
		return bytes.Clone(text)
	}
	return out
}

// Stored is a custom resource's JSON as it is in etcd, but for white space; nil
// if that is not known.
func (i *Item) Stored() []byte {
	if i.splice < 0 || !i.Kind.Custom() {
		return nil
	}
	return i.stored()
}

// stored is the JSON without the resource version, if it was put in.
func (i *Item) stored() []byte {
	if i.splice < 0 {
		return i.frame
	}
	end := i.splice + len(versionHead)
	end += bytes.Index(i.frame[end:], []byte(versionTail)) + len(versionTail)
	out := make([]byte, 0, len(i.frame))
	out = append(out, i.frame[:i.splice]...)
	return append(out, i.frame[end:]...)
}

// versionPlace finds where in an object the resource version belongs: before the first
// member of its metadata that comes after it in the order of names, which the
// UID does. It is -1 if there is none.
func versionPlace(text []byte) int {
	depth, isName, inside := 0, false, false
	for n := 0; n < len(text); n++ {
		switch text[n] {
		case '{':
			depth, isName = depth+1, true
		case '[':
			depth, isName = depth+1, false
		case '}', ']':
			if depth--; inside && depth == 1 {
				return -1
			}
		case ',':
			isName = true
		case ':':
			isName = false
		case '"':
			end := endOfString(text, n)
			name := string(text[n+1 : end])
			switch {
			case !isName:
			case depth == 1:
				inside = name == "metadata"
			case depth == 2 && inside && name > "resourceVersion":
				return n
			}
			n = end
		}
	}
	return -1
}

// endOfString is where the quote is that ends the string which begins at n; in
// text that is no JSON it may be the text's end.
func endOfString(text []byte, n int) int {
	for n++; n < len(text) && text[n] != '"'; n++ {
		if text[n] == '\\' {
			n++
		}
	}
	return min(n, len(text))
}

// text checks the JSON of a custom resource, of whatever version.
func text(k *kinds.Kind, value []byte) ([]byte, error) {
	var o struct {
		APIVersion *string         `json:"apiVersion"`
		Kind       *string         `json:"kind"`
		Metadata   json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(value, &o); err != nil {
		return nil, err
	}
	switch {
	case o.APIVersion == nil || o.Kind == nil:
		return nil, errors.New("the stored object does not say what it is")
	case *o.Kind != k.Kind:
		return nil, fmt.Errorf("the stored object is a %s, not a %s", *o.Kind, k.Kind)
	}
	return value, nil
}
