package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strings"
)

// Schemas are the types in the version 3 document of a group version, by name,
// not decoded. They are read anew at each call; a group version that is not
// served has none.
func (d *Documents) Schemas(group, version string) (map[string]json.RawMessage, error) {
	name := "api/" + version
	if group != "" {
		name = "apis/" + group + "/" + version
	}
	_, read := d.find("v3/"+name, "v3/"+strings.ReplaceAll(name, "/", "_"))
	if read == nil {
		return nil, nil
	}
	packed, err := read(asJSON)
	if err != nil {
		return nil, fmt.Errorf("read the document of %s: %w", name, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the document of %s: %w", name, err)
	}
	var document struct {
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.NewDecoder(z).Decode(&document); err != nil {
		return nil, fmt.Errorf("decode the document of %s: %w", name, err)
	}
	return document.Components.Schemas, nil
}
