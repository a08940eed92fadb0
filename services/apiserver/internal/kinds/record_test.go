package kinds

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// recordSuite takes the answers of a suite from upstream's server.
func recordSuite(t *testing.T, s *suite) *golden {
	t.Helper()
	k := kindOf(t, s.Object)
	u := &upstream{t: t, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}}
	g := &golden{}
	for i, c := range s.Cases {
		var columns []metav1.TableColumnDefinition
		a := u.answer(k, s.Object, c, func(name string) []any {
			var cells []any
			columns, cells = u.table(k, name, namespaceOf(s.Object))
			return timeless(columns, cells)
		})
		if i == 0 {
			g.Columns = columns
		}
		g.Answers = append(g.Answers, a)
	}
	return g
}

type upstream struct {
	t      *testing.T
	client *http.Client
}

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
func (u *upstream) answer(k *kinds.Kind, object map[string]any, c testCase, cells func(name string) []any) answer {
	namespace := namespaceOf(object)
	new := with(object, c.Set)
	if name, ok := new["metadata"].(map[string]any)["name"].(string); ok {
		u.remove(k, namespace, name) // what a broken run has left
	}
	status, body, warnings := u.do(http.MethodPost, u.path(k, namespace, ""), new, "")
	if status != http.StatusCreated {
		return answer{Name: c.Name, Message: message(body), Warnings: warnings}
	}
	meta := body["metadata"].(map[string]any)
	name := meta["name"].(string)
	defer u.remove(k, namespace, name)
	if c.Update == nil {
		return answer{Name: c.Name, Warnings: warnings, Object: u.stable(body), Cells: cells(name)}
	}
	body = u.settled(k, namespace, name)
	path := u.path(k, namespace, name)
	if c.Sub != "" {
		path += "/" + c.Sub
	}
	status, body, warnings = u.do(http.MethodPut, path, with(body, c.Update), "")
	for try := 0; status == http.StatusConflict && try < 5; try++ { // upstream's controller came first
		_, body, _ = u.do(http.MethodGet, u.path(k, namespace, name), nil, "")
		status, body, warnings = u.do(http.MethodPut, path, with(body, c.Update), "")
	}
	if status != http.StatusOK {
		return answer{Name: c.Name, Message: message(body), Warnings: warnings}
	}
	return answer{Name: c.Name, Warnings: warnings, Object: u.stable(body), Cells: cells(name)}
}

// settled is an object that upstream's controllers have done with. Of a
// definition, what they say of it is left out: here nobody says it.
func (u *upstream) settled(k *kinds.Kind, namespace, name string) map[string]any {
	_, body, _ := u.do(http.MethodGet, u.path(k, namespace, name), nil, "")
	for range 100 {
		if k.Kind != "CustomResourceDefinition" || strings.Contains(fmt.Sprint(body["status"]), "status:True type:Established") {
			break
		}
		time.Sleep(100 * time.Millisecond) // only while recording
		_, body, _ = u.do(http.MethodGet, u.path(k, namespace, name), nil, "")
	}
	return body
}

func message(status map[string]any) string {
	text, _ := status["message"].(string)
	return anyUID.ReplaceAllString(text, uid)
}

func (u *upstream) stable(body map[string]any) map[string]any {
	if status, ok := body["status"].(map[string]any); ok && body["kind"] == "CustomResourceDefinition" {
		status["acceptedNames"], status["conditions"] = map[string]any{"plural": "", "kind": ""}, nil
	}
	if status, ok := body["status"].(map[string]any); ok && body["kind"] == "FlowSchema" {
		undangled(status)
	}
	data, err := json.Marshal(stable(body))
	if err != nil {
		u.t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(anyUID.ReplaceAll(data, []byte(uid)), &object); err != nil {
		u.t.Fatal(err)
	}
	return object
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
	_, body, _ := u.do(http.MethodGet, path, nil, "")
	if meta, ok := body["metadata"].(map[string]any); ok && meta["finalizers"] != nil {
		delete(meta, "finalizers")
		u.do(http.MethodPut, path, body, "")
	}
	u.do(http.MethodDelete, path+"?gracePeriodSeconds=0&propagationPolicy=Background", nil, "")
	for status := 0; k.Kind == "CustomResourceDefinition" && status != http.StatusNotFound; {
		status, _, _ = u.do(http.MethodGet, path, nil, "")
	}
	if k.Kind == "Namespace" {
		if _, body, _ := u.do(http.MethodGet, path, nil, ""); body["spec"] != nil {
			body["spec"] = map[string]any{}
			u.do(http.MethodPut, path+"/finalize", body, "")
		}
	}
}

func (u *upstream) table(k *kinds.Kind, name, namespace string) ([]metav1.TableColumnDefinition, []any) {
	_, body, _ := u.do(http.MethodGet, u.path(k, namespace, name), nil, "application/json;as=Table;v=v1;g=meta.k8s.io")
	data, err := json.Marshal(body)
	if err != nil {
		u.t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(anyUID.ReplaceAll(data, []byte(uid)), &table); err != nil || len(table.Rows) == 0 {
		return nil, nil
	}
	for i, cell := range table.Rows[0].Cells {
		switch { // upstream's controller was faster than we
		case cell == "False (ServiceNotFound)":
			table.Rows[0].Cells[i] = "Unknown"
		case cell == "False" && table.ColumnDefinitions[i].Name == "MissingPL":
			table.Rows[0].Cells[i] = "?"
		case cell == true && table.ColumnDefinitions[i].Name == "Established":
			table.Rows[0].Cells[i] = false
		}
	}
	return table.ColumnDefinitions, table.Rows[0].Cells
}

// warningText is what a Warning header says in quotes.
var warningText = regexp.MustCompile(`^299 - "(.*)"$`)

func (u *upstream) do(method, path string, object map[string]any, accept string) (int, map[string]any, []string) {
	u.t.Helper()
	var body io.Reader
	if object != nil {
		data, err := json.Marshal(object)
		if err != nil {
			u.t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(u.t.Context(), method, *record+path, body)
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+*token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := u.client.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	var answered map[string]any
	if err := json.Unmarshal(data, &answered); err != nil {
		answered = map[string]any{"message": fmt.Sprintf("%d: %s", res.StatusCode, data)}
	}
	var warnings []string
	for _, header := range res.Header.Values("Warning") {
		// That a kind is deprecated is not said by its strategy's functions.
		if text := warningText.FindStringSubmatch(header); text != nil && !strings.Contains(text[1], " is deprecated in v1.") {
			warnings = append(warnings, strings.ReplaceAll(strings.ReplaceAll(text[1], `\"`, `"`), `\\`, `\`))
		}
	}
	return res.StatusCode, answered, warnings
}
