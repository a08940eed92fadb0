package custom

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/golden"
)

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// recordSuite takes the answers of a suite from upstream's server.
func recordSuite(t *testing.T, up *golden.Upstream, s *suite) *golden.Answers {
	t.Helper()
	u := &upstream{up}
	u.define(s)
	defer u.Do(http.MethodDelete, definitions+"/"+s.Definition.Name, nil, "")
	g := &golden.Answers{}
	for i, c := range s.Cases {
		a, columns := u.answer(s, c)
		if i == 0 {
			g.Columns = columns
		}
		g.Answers = append(g.Answers, a)
	}
	return g
}

type upstream struct{ *golden.Upstream }

// define creates the definition anew and waits until it is served.
func (u *upstream) define(s *suite) {
	u.T.Helper()
	path := definitions + "/" + s.Definition.Name
	u.Do(http.MethodDelete, path, nil, "")
	u.Until(func() bool {
		status, _, _ := u.Do(http.MethodGet, path, nil, "")
		return status == http.StatusNotFound
	})
	if status, body, _ := u.Do(http.MethodPost, definitions, s.Definition, ""); status != http.StatusCreated {
		u.T.Fatal(body["message"])
	}
	u.Until(func() bool {
		status, _, _ := u.Do(http.MethodGet, u.path(s, golden.Case{}, ""), nil, "")
		return status == http.StatusOK
	})
}

func (u *upstream) path(s *suite, c golden.Case, name string) string {
	version := c.Version
	if version == "" {
		version = s.Definition.Spec.Versions[0].Name
	}
	path := "/apis/" + s.Definition.Spec.Group + "/" + version
	if s.Definition.Spec.Scope == "Namespaced" {
		path += "/namespaces/default"
	}
	path += "/" + s.Definition.Spec.Names.Plural
	if name != "" {
		path += "/" + name
	}
	return path
}

func (u *upstream) answer(s *suite, c golden.Case) (golden.Answer, []metav1.TableColumnDefinition) {
	status, body, warnings := u.Do(http.MethodPost, u.path(s, c, ""), golden.With(s.Object, c.Set), "")
	if status != http.StatusCreated {
		return golden.Answer{Name: c.Name, Message: golden.Message(body)}, nil
	}
	name := body["metadata"].(map[string]any)["name"].(string)
	path := u.path(s, c, name)
	defer u.remove(path)
	if c.Update != nil {
		at := path
		if c.Sub != "" {
			at += "/" + c.Sub
		}
		status, body, warnings = u.Do(http.MethodPut, at, golden.With(body, c.Update), "")
		if status != http.StatusOK {
			return golden.Answer{Name: c.Name, Message: golden.Message(body)}, nil
		}
	}
	columns, cells := u.Table(path)
	return golden.Answer{Name: c.Name, Warnings: warnings, Object: golden.Stable(body), Cells: cells}, columns
}

func (u *upstream) remove(path string) {
	if _, body, _ := u.Do(http.MethodGet, path, nil, ""); body["metadata"] != nil {
		meta := body["metadata"].(map[string]any)
		if meta["finalizers"] != nil {
			delete(meta, "finalizers")
			u.Do(http.MethodPut, path, body, "")
		}
	}
	u.Do(http.MethodDelete, path, nil, "")
}
