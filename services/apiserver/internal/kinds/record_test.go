package kinds

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/golden"
)

// recordSuite takes the answers of a suite from upstream's server.
func recordSuite(t *testing.T, up *golden.Upstream, s *suite) *golden.Answers {
	t.Helper()
	k := kindOf(t, s.Object)
	u := &upstream{up}
	g := &golden.Answers{}
	for i, c := range s.Cases {
		var columns []metav1.TableColumnDefinition
		a := u.answer(k, s.Object, c, func(name string) (cells []any) {
			columns, cells = u.table(k, name, namespaceOf(s.Object))
			return cells
		})
		if i == 0 {
			g.Columns = columns
		}
		g.Answers = append(g.Answers, a)
	}
	return g
}

type upstream struct{ *golden.Upstream }

func namespaceOf(object map[string]any) string {
	namespace, _ := object["metadata"].(map[string]any)["namespace"].(string)
	return namespace
}

func (u *upstream) path(k *kinds.Kind, namespace, name string) string {
	path := "/apis/" + k.Group + "/" + k.Version
	if k.Group == "" {
		path = "/api/" + k.Version
	}
	if k.Namespaced {
		path += "/namespaces/" + namespace
	}
	path += "/" + k.Plural
	if name != "" {
		path += "/" + name
	}
	return path
}

// answer creates, and maybe updates, an object and removes it again.
func (u *upstream) answer(k *kinds.Kind, object map[string]any, c golden.Case, cells func(name string) []any) golden.Answer {
	namespace := namespaceOf(object)
	new := golden.With(object, c.Set)
	if name, ok := new["metadata"].(map[string]any)["name"].(string); ok {
		u.remove(k, namespace, name) // what a broken run has left
	}
	status, body, warnings := u.Do(http.MethodPost, u.path(k, namespace, ""), new, "")
	if status != http.StatusCreated {
		return golden.Answer{Name: c.Name, Message: golden.Message(body), Warnings: warnings}
	}
	meta := body["metadata"].(map[string]any)
	name := meta["name"].(string)
	defer u.remove(k, namespace, name)
	if c.Update == nil {
		return golden.Answer{Name: c.Name, Warnings: warnings, Object: u.stable(body), Cells: cells(name)}
	}
	body = u.settled(k, namespace, name)
	path := u.path(k, namespace, name)
	if c.Sub != "" {
		path += "/" + c.Sub
	}
	status, body, warnings = u.Do(http.MethodPut, path, golden.With(body, c.Update), "")
	for try := 0; status == http.StatusConflict && try < 5; try++ { // upstream's controller came first
		_, body, _ = u.Do(http.MethodGet, u.path(k, namespace, name), nil, "")
		status, body, warnings = u.Do(http.MethodPut, path, golden.With(body, c.Update), "")
	}
	if status != http.StatusOK {
		return golden.Answer{Name: c.Name, Message: golden.Message(body), Warnings: warnings}
	}
	return golden.Answer{Name: c.Name, Warnings: warnings, Object: u.stable(body), Cells: cells(name)}
}

// settled is an object that upstream's controllers have done with. Of a
// definition, what they say of it is left out: here nobody says it.
func (u *upstream) settled(k *kinds.Kind, namespace, name string) (body map[string]any) {
	u.Until(func() bool {
		_, body, _ = u.Do(http.MethodGet, u.path(k, namespace, name), nil, "")
		return k.Kind != "CustomResourceDefinition" || strings.Contains(fmt.Sprint(body["status"]), "status:True type:Established")
	})
	return body
}

func (u *upstream) stable(body map[string]any) map[string]any {
	if status, ok := body["status"].(map[string]any); ok && body["kind"] == "CustomResourceDefinition" {
		status["acceptedNames"], status["conditions"] = map[string]any{"plural": "", "kind": ""}, nil
	}
	if status, ok := body["status"].(map[string]any); ok && body["kind"] == "FlowSchema" {
		undangled(status)
	}
	return u.Stable(stable(body))
}

// undangled leaves out what upstream's controller says of a FlowSchema: here nobody
// says it.
func undangled(status map[string]any) {
	conditions, _ := status["conditions"].([]any)
	conditions = slices.DeleteFunc(conditions, func(c any) bool { return c.(map[string]any)["type"] == "Dangling" })
	if len(conditions) == 0 {
		delete(status, "conditions")
	} else {
		status["conditions"] = conditions
	}
}

func (u *upstream) remove(k *kinds.Kind, namespace, name string) {
	path := u.path(k, namespace, name)
	_, body, _ := u.Do(http.MethodGet, path, nil, "")
	if meta, ok := body["metadata"].(map[string]any); ok && meta["finalizers"] != nil {
		delete(meta, "finalizers")
		u.Do(http.MethodPut, path, body, "")
	}
	u.Do(http.MethodDelete, path+"?gracePeriodSeconds=0&propagationPolicy=Background", nil, "")
	for status := 0; k.Kind == "CustomResourceDefinition" && status != http.StatusNotFound; {
		status, _, _ = u.Do(http.MethodGet, path, nil, "")
	}
	if k.Kind == "Namespace" {
		if _, body, _ := u.Do(http.MethodGet, path, nil, ""); body["spec"] != nil {
			body["spec"] = map[string]any{}
			u.Do(http.MethodPut, path+"/finalize", body, "")
		}
	}
}

func (u *upstream) table(k *kinds.Kind, name, namespace string) ([]metav1.TableColumnDefinition, []any) {
	columns, cells := u.Table(u.path(k, namespace, name))
	for i, cell := range cells {
		switch { // upstream's controller was faster than we
		case cell == "False (ServiceNotFound)":
			cells[i] = "Unknown"
		case cell == "False" && columns[i].Name == "MissingPL":
			cells[i] = "?"
		case cell == true && columns[i].Name == "Established":
			cells[i] = false
		}
	}
	return columns, cells
}
