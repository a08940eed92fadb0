// Package negotiate finds the media types of a request's body and of its
// answer, and the shape that the answer is to have.
package negotiate

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Encoding is one of the encodings of objects.
type Encoding int

// The encodings, in the order in which they are preferred.
const (
	JSON Encoding = iota
	YAML
	Protobuf
)

// MediaType is the encoding's, without parameters.
func (e Encoding) MediaType() string { return mediaTypes[e] }

var mediaTypes = [...]string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

// Shape is what an answer is turned into.
type Shape int

// Shapes of answers.
const (
	// Whole objects, as they are.
	Whole Shape = iota
	// Table has a row of cells for each object.
	Table
	// Metadata is an object's metadata alone, MetadataList that of a list.
	Metadata
	MetadataList
)

var shapes = map[string]Shape{
	"Table": Table, "PartialObjectMetadata": Metadata, "PartialObjectMetadataList": MetadataList,
}

// Kind is the kind of objects in this shape.
func (s Shape) Kind() string {
	return [...]string{"", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"}[s]
}

// Output is how an answer is to be written.
type Output struct {
	Encoding Encoding
	Shape    Shape
	// Version of meta.k8s.io that the shape is asked in.
	Version string
	Pretty  bool
}

// Restriction narrows what an endpoint can answer.
type Restriction int

const (
	// Objects can be answered in every shape.
	Objects Restriction = iota
	// Untabled are objects that have no table.
	Untabled
	// Plain answers have no other shape.
	Plain
	// Collections are answered as Objects are, and as streams of changes.
	Collections
)

// Accept finds the output that a request asks for, or returns a NotAcceptable
// error.
func Accept(r *http.Request, restriction Restriction) (Output, error) {
	header := r.Header.Get("Accept")
	out, ok := accept(header, restriction)
	if !ok {
		if named(header) {
			return out, notAcceptable(mediaTypes[:])
		}
		return out, unrepresentable(restriction)
	}
	out.Pretty = out.Pretty || prettyAsked(r)
	return out, nil
}

// AcceptCustom is Accept for custom resources: protobuf has no form of them,
// unless another shape is asked for.
func AcceptCustom(r *http.Request, restriction Restriction) (Output, error) {
	header := r.Header.Get("Accept")
	if header == "" {
		header = "*/*"
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for e, mediaType := range mediaTypes {
			if !matches(&clause, mediaType) {
				continue
			}
			out, ok := parameters(clause.Params, Encoding(e), restriction)
			if ok && (out.Encoding != Protobuf || out.Shape != Whole) {
				out.Pretty = out.Pretty || prettyAsked(r)
				return out, nil
			}
		}
	}
	return Output{}, notAcceptable(mediaTypes[:])
}

func accept(header string, restriction Restriction) (Output, bool) {
	switch header { // what most clients send
	case "", "*/*", "application/json":
		return Output{}, true
	case "application/vnd.kubernetes.protobuf":
		return Output{Encoding: Protobuf}, true
	}
	if !named(header) {
		return Output{}, false
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for e, mediaType := range mediaTypes {
			if !matches(&clause, mediaType) {
				continue
			}
			if out, ok := parameters(clause.Params, Encoding(e), restriction); ok {
				return out, true
			}
		}
	}
	return Output{}, false
}

// named tells whether a header names one of the media types, whatever its
// parameters.
func named(header string) bool {
	for _, clause := range strings.Split(header, ",") {
		mediaType, _, _ := strings.Cut(clause, ";")
		mediaType = strings.TrimSpace(mediaType)
		if mediaType == "*/*" || slices.Contains(mediaTypes[:], mediaType) {
			return true
		}
	}
	return false
}

func matches(clause *goautoneg.Accept, mediaType string) bool {
	main, sub, _ := strings.Cut(mediaType, "/")
	return clause.Type == main && (clause.SubType == sub || clause.SubType == "*") || clause.Type == "*" && clause.SubType == "*"
}

// parameters reads a clause's parameters; ok is false if the endpoint has no
// such answer, and then the next clause counts.
func parameters(params map[string]string, e Encoding, restriction Restriction) (out Output, ok bool) {
	out.Encoding = e
	out.Pretty = params["pretty"] == "1"
	if stream := params["stream"]; stream != "" && (stream != "watch" || e == YAML) {
		return out, false
	}
	if sv := params["sv"]; sv != "" && (sv != "v1" || restriction == Plain) {
		return out, false
	}
	_, as := params["as"]
	_, group := params["g"]
	_, version := params["v"]
	if !as && !group && !version {
		return out, true
	}
	if restriction == Plain || params["g"] != metav1.GroupName || (params["v"] != "v1" && params["v"] != "v1beta1") {
		return out, false
	}
	out.Shape, ok = shapes[params["as"]]
	if out.Shape == Table && (e == Protobuf || restriction == Untabled) {
		return out, false
	}
	out.Version = params["v"]
	return out, ok
}

// prettyAsked tells whether JSON is to be indented for people: by the query, or
// because a browser or curl asks.
func prettyAsked(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if asked := r.URL.Query().Get("pretty"); asked != "" {
			pretty, _ := strconv.ParseBool(asked)
			return pretty
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// Stream tells whether a watch can be answered in the output's encoding.
func (o Output) Stream() error {
	if o.Encoding == YAML {
		return notAcceptable([]string{
			mediaTypes[JSON] + ";stream=watch", mediaTypes[Protobuf] + ";stream=watch",
		})
	}
	return nil
}

// Content finds the encoding of a request's body, or returns an
// UnsupportedMediaType error. Without a type it is JSON.
func Content(r *http.Request) (Encoding, error) {
	header := r.Header.Get("Content-Type")
	switch header {
	case "", "application/json":
		return JSON, nil
	case "application/vnd.kubernetes.protobuf":
		return Protobuf, nil
	}
	if mediaType, _, err := mime.ParseMediaType(header); err == nil {
		for e, known := range mediaTypes {
			if mediaType == known {
				return Encoding(e), nil
			}
		}
	}
	return JSON, Unsupported(mediaTypes[:]...)
}

// Error is a Status about media types.
type Error struct{ status metav1.Status }

func (e *Error) Error() string { return e.status.Message }

// Status is what the client gets.
func (e *Error) Status() metav1.Status { return e.status }

func failure(code int32, reason metav1.StatusReason, message string) *Error {
	return &Error{metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}

// Unsupported is the error for a body of another media type.
func Unsupported(accepted ...string) error {
	return failure(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, fmt.Sprintf(
		"the body of the request was in an unknown format - accepted media types include: %s", strings.Join(accepted, ", ")))
}

// UnsupportedPatch is the error for a patch of a type that is not known.
func UnsupportedPatch() error {
	err := failure(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, "415: Unsupported Media Type")
	err.status.Details = &metav1.StatusDetails{}
	return err
}

// unrepresentable is the error for a request that names no media type of ours.
func unrepresentable(restriction Restriction) error {
	known := mediaTypes[:]
	if restriction == Collections {
		known = append(slices.Clone(known), JSON.MediaType()+";stream=watch", Protobuf.MediaType()+";stream=watch")
	}
	err := failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"406: Not Acceptable\n\nAvailable representations: "+strings.Join(known, ", "))
	err.status.Details = &metav1.StatusDetails{}
	return err
}

func notAcceptable(accepted []string) error {
	return NotAcceptable(fmt.Sprintf("only the following media types are accepted: %s", strings.Join(accepted, ", ")))
}

// NoProtobuf is the error for a custom resource that comes in protobuf.
func NoProtobuf() error {
	return NotAcceptable("object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message")
}

// NotAcceptable is the error for an answer that cannot be given as asked.
func NotAcceptable(message string) error {
	return failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, message)
}
