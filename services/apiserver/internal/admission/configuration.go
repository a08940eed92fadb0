package admission

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"
)

// file is the file of --admission-control-config-file. Its versions differ in
// name only.
type file struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Plugins    []pluginFile `json:"plugins,omitempty"`
}

type pluginFile struct {
	Name string `json:"name"`
	// Path is of a file beside this one, and counts if there is no
	// configuration in place.
	Path          string          `json:"path,omitempty"`
	Configuration json.RawMessage `json:"configuration,omitempty"`
}

// unversioned are the plugins whose own configuration may stand alone in the
// file, and the key by which it is known.
var unversioned = map[string]string{"ImagePolicyWebhook": "imagePolicy", "PodNodeSelector": "podNodeSelectorPluginConfig"}

// ReadConfiguration reads the file that holds each plugin's own configuration
// or says where it is.
func ReadConfiguration(path string) (map[string][]byte, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("unable to read admission control configuration from %q [%w]", path, err)
	}
	var f file
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("admission control configuration %q: %w", path, err)
	}
	if f.Kind == "" {
		return standalone(path, data)
	}
	known := []string{"apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"}
	if f.Kind != "AdmissionConfiguration" || !slices.Contains(known, f.APIVersion) {
		return nil, fmt.Errorf("admission control configuration %q: no kind %q is registered for version %q", path, f.Kind, f.APIVersion)
	}
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return nil, fmt.Errorf("admission control configuration %q: strict decoding error: %w", path, err)
	}
	out := map[string][]byte{}
	for _, p := range f.Plugins {
		if _, twice := out[p.Name]; twice {
			continue // the first counts
		}
		if out[p.Name], err = p.read(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p pluginFile) read(folder string) ([]byte, error) {
	if len(p.Configuration) > 0 && string(p.Configuration) != "null" || p.Path == "" {
		return p.Configuration, nil
	}
	path := p.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open admission plugin configuration %s: %w", path, err)
	}
	return data, nil
}

// standalone takes a file that is a plugin's own, as they were once.
func standalone(path string, data []byte) (map[string][]byte, error) {
	var keys map[string]any
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("admission control configuration %q: %w", path, err)
	}
	out := map[string][]byte{}
	for _, key := range unversioned {
		if _, ok := keys[key]; !ok {
			continue
		}
		for plugin := range unversioned {
			out[plugin] = data
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("admission control configuration %q: Object 'Kind' is missing", path)
	}
	return out, nil
}
