package differential

import (
	"embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed scripts/*.yaml
var scriptFiles embed.FS

// written returns the scripts that no machine made.
func written() ([]Script, error) {
	files, err := scriptFiles.ReadDir("scripts")
	if err != nil {
		return nil, err
	}
	var out []Script
	for _, f := range files {
		b, err := scriptFiles.ReadFile("scripts/" + f.Name())
		if err != nil {
			return nil, err
		}
		var scripts []Script
		if err := yaml.UnmarshalStrict(b, &scripts); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		for i := range scripts {
			for j := range scripts[i].Steps {
				if scripts[i].Steps[j].Name == "" {
					scripts[i].Steps[j].Name = fmt.Sprintf("%d %s", j+1, scripts[i].Steps[j].Send)
				}
			}
		}
		out = append(out, scripts...)
	}
	return out, nil
}
