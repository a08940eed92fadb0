package golden

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	server = flag.String("record", "", "upstream's server to record the answers of")
	token  = flag.String("token", "", "bearer token for it")
)

// Upstream is the server that answers are recorded of.
type Upstream struct{ T *testing.T }

var client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// warningText is what a Warning header says in quotes.
var warningText = regexp.MustCompile(`^299 - "(.*)"$`)

// Do asks for something and returns the status, the answer and its warnings. Of
// what is no JSON object, the answer has the text as its message.
func (u *Upstream) Do(method, path string, object any, accept string) (int, map[string]any, []string) {
	u.T.Helper()
	var body io.Reader
	if object != nil {
		data, err := json.Marshal(object)
		if err != nil {
			u.T.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(u.T.Context(), method, *server+path, body)
	if err != nil {
		u.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+*token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := client.Do(req)
	if err != nil {
		u.T.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		u.T.Fatal(err)
	}
	var answered map[string]any
	if err := json.Unmarshal(data, &answered); err != nil {
		answered = map[string]any{"message": fmt.Sprintf("%d: %s", res.StatusCode, data)}
	}
	var warnings []string
	for _, header := range res.Header.Values("Warning") {
		// That a built-in kind is deprecated is not said by its strategy's functions.
		if text := warningText.FindStringSubmatch(header); text != nil && !strings.Contains(text[1], " is deprecated in v1.") {
			warnings = append(warnings, strings.ReplaceAll(strings.ReplaceAll(text[1], `\"`, `"`), `\\`, `\`))
		}
	}
	return res.StatusCode, answered, warnings
}

// Until waits for what upstream's controllers do.
func (u *Upstream) Until(done func() bool) {
	u.T.Helper()
	for range 100 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond) // only while recording
	}
	u.T.Fatal("upstream did not get there")
}

// Table is the columns and the cells of an object, or nothing if it has none.
func (u *Upstream) Table(path string) ([]metav1.TableColumnDefinition, []any) {
	u.T.Helper()
	_, body, _ := u.Do(http.MethodGet, path, nil, "application/json;as=Table;v=v1;g=meta.k8s.io")
	var table metav1.Table
	if err := json.Unmarshal(u.withoutUIDs(body), &table); err != nil || len(table.Rows) == 0 {
		return nil, nil
	}
	return table.ColumnDefinitions, timeless(table.ColumnDefinitions, table.Rows[0].Cells)
}

// Stable is an answer without what differs from one run to the next.
func (u *Upstream) Stable(body map[string]any) map[string]any {
	u.T.Helper()
	var object map[string]any
	if err := json.Unmarshal(u.withoutUIDs(Stable(body)), &object); err != nil {
		u.T.Fatal(err)
	}
	return object
}

func (u *Upstream) withoutUIDs(body map[string]any) []byte {
	u.T.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		u.T.Fatal(err)
	}
	return anyUID.ReplaceAll(data, []byte(UID))
}

// Message is what an answer says.
func Message(status map[string]any) string {
	text, _ := status["message"].(string)
	return anyUID.ReplaceAllString(text, UID)
}
