package openapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
)

// errMalformed is about JSON that this package or its generator made, so it
// never happens.
var errMalformed = errors.New("malformed JSON document")

// section is a member of a JSON object: where its value begins and ends.
type section struct{ start, end int }

// sections finds the members of a JSON object without decoding them: the
// document of version 2 has megabytes.
func sections(object []byte) (map[string]section, error) {
	out := map[string]section{}
	i := skipSpace(object, 0)
	if i == len(object) || object[i] != '{' {
		return nil, errMalformed
	}
	for i = skipSpace(object, i+1); i < len(object) && object[i] != '}'; i = skipSpace(object, i) {
		if object[i] == ',' {
			i = skipSpace(object, i+1)
		}
		end := skipValue(object, i)
		if end <= i+1 {
			return nil, errMalformed
		}
		name := string(object[i+1 : end-1])
		i = skipSpace(object, end)
		if i == len(object) || object[i] != ':' {
			return nil, errMalformed
		}
		start := skipSpace(object, i+1)
		i = skipValue(object, start)
		if i <= start {
			return nil, errMalformed
		}
		out[name] = section{start, i}
	}
	return out, nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue is the end of the value that begins at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i
			}
		case ',', ':', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// members is what stands between the braces of an object.
func members(object []byte) []byte {
	object = bytes.TrimSpace(object)
	if len(object) < 2 {
		return nil
	}
	return bytes.TrimSpace(object[1 : len(object)-1])
}

// splice adds members to some of the objects in an object.
func splice(object []byte, added map[string][]byte) ([]byte, error) {
	where, err := sections(object)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	size := len(object)
	for _, m := range added {
		size += len(m) + 1
	}
	out.Grow(size)
	done := 0
	for _, name := range []string{"swagger", "info", "paths", "definitions", "parameters"} {
		s, ok := where[name]
		more := added[name]
		if len(more) == 0 {
			continue
		}
		if !ok || s.start < done {
			return nil, errMalformed
		}
		out.Write(object[done : s.end-1])
		if len(members(object[s.start:s.end])) > 0 {
			out.WriteByte(',')
		}
		out.Write(more)
		done = s.end - 1
	}
	out.Write(object[done:])
	return out.Bytes(), nil
}

// pack compresses fast: what is packed is made on demand.
func pack(content []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(content); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpack(content []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
