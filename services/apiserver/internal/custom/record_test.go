package custom

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// recordSuite takes the answers of a suite from upstream's server.
func recordSuite(t *testing.T, s *suite) *golden {
	t.Helper()
	u := &upstream{t: t, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	u.define(s)
	defer u.do(http.MethodDelete, definitions+"/"+s.Definition.Name, nil, "")
	g := &golden{}
	for i, c := range s.Cases {
		a, columns := u.answer(s, c)
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

// define creates the definition anew and waits until it is served.
func (u *upstream) define(s *suite) {
	u.t.Helper()
	path := definitions + "/" + s.Definition.Name
	u.do(http.MethodDelete, path, nil, "")
	u.until(func() bool {
		status, _, _ := u.do(http.MethodGet, path, nil, "")
		return status == http.StatusNotFound
	})
	if status, body, _ := u.do(http.MethodPost, definitions, s.Definition, ""); status != http.StatusCreated {
		u.t.Fatal(body["message"])
	}
	u.until(func() bool {
		status, _, _ := u.do(http.MethodGet, u.path(s, testCase{}, ""), nil, "")
		return status == http.StatusOK
	})
}

func (u *upstream) until(done func() bool) {
	u.t.Helper()
	for range 100 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond) // only while recording
	}
	u.t.Fatal("upstream did not get there")
}

func (u *upstream) path(s *suite, c testCase, name string) string {
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

func (u *upstream) answer(s *suite, c testCase) (answer, []metav1.TableColumnDefinition) {
	status, body, warnings := u.do(http.MethodPost, u.path(s, c, ""), with(s.Object, c.Set), "")
	if status != http.StatusCreated {
		return answer{Name: c.Name, Message: message(body)}, nil
	}
	name := body["metadata"].(map[string]any)["name"].(string)
	path := u.path(s, c, name)
	defer u.remove(path)
	if c.Update != nil {
		at := path
		if c.Sub != "" {
			at += "/" + c.Sub
		}
		status, body, warnings = u.do(http.MethodPut, at, with(body, c.Update), "")
		if status != http.StatusOK {
			return answer{Name: c.Name, Message: message(body)}, nil
		}
	}
	columns, cells := u.table(path)
	return answer{Name: c.Name, Warnings: warnings, Object: stable(body), Cells: cells}, columns
}

func (u *upstream) remove(path string) {
	if _, body, _ := u.do(http.MethodGet, path, nil, ""); body["metadata"] != nil {
		meta := body["metadata"].(map[string]any)
		if meta["finalizers"] != nil {
			delete(meta, "finalizers")
			u.do(http.MethodPut, path, body, "")
		}
	}
	u.do(http.MethodDelete, path, nil, "")
}

func message(status map[string]any) string {
	text, _ := status["message"].(string)
	return anyUID.ReplaceAllString(text, uid)
}

func (u *upstream) table(path string) ([]metav1.TableColumnDefinition, []any) {
	_, body, _ := u.do(http.MethodGet, path, nil, "application/json;as=Table;v=v1;g=meta.k8s.io")
	data, err := json.Marshal(body)
	if err != nil {
		u.t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(data, &table); err != nil || len(table.Rows) == 0 {
		u.t.Fatalf("no table: %s", data)
	}
	return table.ColumnDefinitions, timeless(table.ColumnDefinitions, table.Rows[0].Cells)
}

// warningText is what a Warning header says in quotes.
var warningText = regexp.MustCompile(`^299 - "(.*)"$`)

func (u *upstream) do(method, path string, object any, accept string) (int, map[string]any, []string) {
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
	defer func() { _ = res.Body.Close() }()
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
		if text := warningText.FindStringSubmatch(header); text != nil {
			warnings = append(warnings, strings.ReplaceAll(strings.ReplaceAll(text[1], `\"`, `"`), `\\`, `\`))
		}
	}
	return res.StatusCode, answered, warnings
}
