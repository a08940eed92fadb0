package check

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
)

// Diff shows what a refused update would change. Upstream prints its internal
// types, which have no JSON names: so the structs of k8s.io/api are written
// here with the names of their Go fields, empty ones included.
func Diff(old, changed any) string {
	return diff.Diff(goJSON(old), goJSON(changed))
}

// Internal is what to give as the bad value of an error if it is a struct of
// k8s.io/api: it is shown as Diff shows it.
func Internal(value any) any { return goJSON(value) }

// hasInternalNames reports whether Internal shows a value of type t in another
// way than its JSON.
func hasInternalNames(t reflect.Type) bool {
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	return t != nil && t.Kind() == reflect.Struct && strings.HasPrefix(t.PkgPath(), "k8s.io/api/")
}

func goJSON(value any) json.RawMessage {
	var out bytes.Buffer
	writeGo(&out, reflect.ValueOf(value))
	return out.Bytes()
}

func writeGo(out *bytes.Buffer, v reflect.Value) {
	switch {
	case !v.IsValid():
		out.WriteString("null")
	case v.Kind() == reflect.Pointer:
		writeGo(out, v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		writeGoSlice(out, v)
	case v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().PkgPath(), "k8s.io/api/"):
		out.WriteByte('{')
		writeGoFields(out, v, true)
		out.WriteByte('}')
	default:
		encoded, err := json.Marshal(v.Interface())
		if err != nil {
			encoded = []byte("null")
		}
		out.Write(encoded)
	}
}

func writeGoSlice(out *bytes.Buffer, v reflect.Value) {
	if v.IsNil() {
		out.WriteString("null")
		return
	}
	out.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			out.WriteByte(',')
		}
		writeGo(out, v.Index(i))
	}
	out.WriteByte(']')
}

// writeGoFields writes embedded structs as if their fields stood in v. It
// returns whether the next field is still the first one.
func writeGoFields(out *bytes.Buffer, v reflect.Value, first bool) bool {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && strings.HasPrefix(f.Type.PkgPath(), "k8s.io/api/") {
			first = writeGoFields(out, v.Field(i), first)
			continue
		}
		if f.Anonymous {
			first = writeMeta(out, v.Field(i), first)
			continue
		}
		if !first {
			out.WriteByte(',')
		}
		first = false
		out.WriteString(`"` + f.Name + `":`)
		writeGo(out, v.Field(i))
	}
	return first
}

// writeMeta writes the metadata of an object, which has JSON names in upstream's
// internal types as well. Its version and kind are those of no such type.
func writeMeta(out *bytes.Buffer, v reflect.Value, first bool) bool {
	if _, ok := v.Interface().(metav1.TypeMeta); ok {
		return first
	}
	encoded, err := json.Marshal(v.Interface())
	fields := bytes.TrimSuffix(bytes.TrimPrefix(encoded, []byte("{")), []byte("}"))
	if err != nil || len(fields) == 0 {
		return first
	}
	if !first {
		out.WriteByte(',')
	}
	out.Write(fields)
	return false
}
