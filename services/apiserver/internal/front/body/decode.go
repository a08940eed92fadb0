package body

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// Expected is what a body is to be.
type Expected struct {
	Kind schema.GroupVersionKind
	// Also are further group versions that are taken for the kind's own.
	Also []schema.GroupVersion
	// Read, if set, takes the JSON of an object that reads itself, a custom
	// resource. It returns the fields that are unknown or there twice, if strict.
	Read func(data []byte, strict bool) (wrong []error, err error)
	// Is is told what such an object says that it is.
	Is func(schema.GroupVersionKind)
}

// Strictness is what becomes of fields that are unknown or given twice.
type Strictness int

const (
	// Ignore does not look for them.
	Ignore Strictness = iota
	// Warn returns them beside the object.
	Warn
	// Strict makes an error of them.
	Strict
)

// StrictnessOf reads the fieldValidation option.
func StrictnessOf(option string) Strictness {
	switch option {
	case "Ignore":
		return Ignore
	case "Strict":
		return Strict
	}
	return Warn
}

// Decode decodes a body into an object, whose apiVersion and kind are empty
// afterwards. It returns the fields that were wrong, if only warned of.
func Decode(data []byte, e negotiate.Encoding, want Expected, into runtime.Object, s Strictness) (warnings []string, err error) {
	d := decoding{want: want, into: into, strict: s != Ignore}
	if e == negotiate.Protobuf {
		if want.Read != nil {
			return nil, negotiate.NoProtobuf()
		}
		err = d.protobuf(data)
	} else {
		err = d.text(data, e)
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if err != nil {
		return nil, d.refusal(err, data)
	}
	if want.Is != nil {
		want.Is(d.have)
	}
	if len(d.wrong) == 0 {
		return nil, nil
	}
	if s == Strict {
		return nil, d.refusal(runtime.NewStrictDecodingError(d.wrong), data)
	}
	return Warnings(d.wrong), nil
}

// Object decodes JSON that was made on the server, such as a patched object.
// Errors are not worded for a client yet; wrong are the unknown and duplicate
// fields, if they are looked for.
func Object(data []byte, want Expected, into runtime.Object, look bool) (wrong []error, err error) {
	d := decoding{want: want, into: into, strict: look}
	err = d.text(data, negotiate.JSON)
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if want.Is != nil {
		want.Is(d.have)
	}
	return d.wrong, err
}

// decoding is one body on its way.
type decoding struct {
	want   Expected
	into   runtime.Object
	strict bool

	have  schema.GroupVersionKind // what the body says it is, empty until known
	wrong []error                 // unknown and duplicate fields
}

// text decodes JSON and YAML.
func (d *decoding) text(data []byte, e negotiate.Encoding) error {
	original := data
	if e == negotiate.YAML {
		var err error
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return err
		}
	}
	if d.want.Read != nil {
		return d.read(data, original, e)
	}
	said, err := kindOf(data)
	if err != nil {
		return err
	}
	if err := d.identify(said); err != nil {
		return err
	}
	if !d.strict {
		return kjson.UnmarshalCaseSensitivePreserveInts(data, d.into)
	}
	d.duplicates(original, e)
	wrong, err := kjson.UnmarshalStrict(data, d.into)
	d.wrong = append(d.wrong, wrong...)
	return err
}

// kindOf is of what kind a JSON object says that it is.
func kindOf(data []byte) (schema.GroupVersionKind, error) {
	var meta struct {
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("couldn't get version/kind; json parse error: %w", renamed(err))
	}
	gv, err := schema.ParseGroupVersion(meta.APIVersion)
	return gv.WithKind(meta.Kind), err
}

// duplicates notes keys that YAML gives twice, of which its JSON has one.
func (d *decoding) duplicates(original []byte, e negotiate.Encoding) {
	if e != negotiate.YAML {
		return
	}
	if _, err := yaml.YAMLToJSONStrict(original); err != nil {
		d.wrong = append(d.wrong, err)
	}
}

// renamed gives an error about the probing struct upstream's name for it.
func renamed(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field == "" {
		return fmt.Errorf("json: cannot unmarshal %s into Go value of type %s", wrong.Value, wrong.Type)
	}
	return err
}

var protobufPrefix = []byte("k8s\x00")

func (d *decoding) protobuf(data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("empty data")
	}
	if !bytes.HasPrefix(data, protobufPrefix) {
		return fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", protobufPrefix)
	}
	if len(data) == len(protobufPrefix) {
		return fmt.Errorf("empty body")
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(data[len(protobufPrefix):]); err != nil {
		return err
	}
	if err := d.identify(unknown.GroupVersionKind()); err != nil {
		return err
	}
	message, ok := d.into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return fmt.Errorf("object %T does not implement the protobuf marshalling interface and cannot be decoded from a protobuf message", d.into)
	}
	return message.Unmarshal(unknown.Raw)
}

// identify compares what the body says it is with what is wanted; what it
// leaves out is as wanted.
func (d *decoding) identify(have schema.GroupVersionKind) error {
	if have.Kind == "" {
		have.Kind = d.want.Kind.Kind
	}
	if have.Version == "" && (have.Group == "" || have.Group == d.want.Kind.Group) {
		have.Group, have.Version = d.want.Kind.Group, d.want.Kind.Version
	}
	d.have = have
	if have == d.want.Kind {
		return nil
	}
	for _, gv := range d.want.Also {
		if have == gv.WithKind(d.want.Kind.Kind) {
			return nil
		}
	}
	other, err := kinds.Scheme().New(have)
	if err != nil {
		return err
	}
	return fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion",
		have.Version, reflect.TypeOf(other).Elem().Name(), Internal(d.want.Kind.Group), d.want.Kind.Kind)
}

// Internal is the name of the package in which upstream keeps a group's types
// without version; some messages show it.
func Internal(group string) string {
	if group == "" {
		return "core"
	}
	first, _, _ := strings.Cut(group, ".")
	return first
}

// refusal words a decoding error as upstream does.
func (d *decoding) refusal(err error, data []byte) error {
	if d.have.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", d.have.Kind, d.have.Version, d.want.Kind.Kind, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", d.want.Kind.Kind, err, summary(data)))
}

// summary is the beginning of a body, for an error.
func summary(data []byte) string {
	const most = 30
	rest := ""
	if len(data) > most {
		data, rest = data[:most], " ..."
	}
	switch {
	case len(data) == 0:
		return "<empty>"
	case data[0] == '{':
		return string(data) + rest
	}
	return hex.EncodeToString(data) + rest
}

// Warnings words what strict decoding found; an error about YAML speaks of
// several lines.
func Warnings(wrong []error) []string {
	var out []string
	for _, err := range wrong {
		text := err.Error()
		lines, ok := strings.CutPrefix(text, "yaml: unmarshal errors:\n")
		if !ok {
			lines, ok = strings.CutPrefix(text, "error converting YAML to JSON: yaml: unmarshal errors:\n")
		}
		if !ok {
			out = append(out, text)
			continue
		}
		for _, line := range strings.Split(lines, "\n") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
