// Package refusals has requests that are wrong, with the answers that upstream
// gives, so that both servers can be held to them.
package refusals

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	_ "embed"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

//go:embed refusals.yaml
var file []byte

// overLimit is more than a body may have.
const overLimit = 3<<20 + 1

// Refusal is a request and what it is answered with.
type Refusal struct {
	Name        string `json:"name"`
	Method      string `json:"method"`
	Path        string `json:"path"`
	ContentType string `json:"contentType"`
	Accept      string `json:"accept"`
	Body        string `json:"body"`
	Large       bool   `json:"large"`
	Raw         string `json:"raw"`

	Code     int                 `json:"code"`
	Reason   metav1.StatusReason `json:"reason"`
	Message  string              `json:"message"`
	Contains string              `json:"contains"`
	Text     string              `json:"text"`
}

// All returns every refusal.
func All() ([]Refusal, error) {
	var out []Refusal
	if err := yaml.UnmarshalStrict(file, &out); err != nil {
		return nil, fmt.Errorf("refusals: %w", err)
	}
	return out, nil
}

// Check sends the request to a server and tells how its answer differs.
func (r *Refusal) Check(ctx context.Context, client *http.Client, server string) error {
	request, err := r.request(ctx, server)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != r.Code {
		return fmt.Errorf("answered %d, want %d:\n%s", answer.StatusCode, r.Code, body)
	}
	if r.Text != "" {
		if string(body) != r.Text {
			return fmt.Errorf("answered %q, want %q", body, r.Text)
		}
		return nil
	}
	return r.judge(body)
}

func (r *Refusal) judge(body []byte) error {
	var s metav1.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Errorf("answered %q: %w", body, err)
	}
	switch {
	case s.Kind != "Status" || s.APIVersion != "v1" || s.Status != metav1.StatusFailure || int(s.Code) != r.Code:
		return fmt.Errorf("no Status of %d: %s", r.Code, body)
	case s.Reason != r.Reason:
		return fmt.Errorf("reason %q, want %q: %s", s.Reason, r.Reason, s.Message)
	case r.Contains != "" && !strings.Contains(s.Message, r.Contains):
		return fmt.Errorf("message %q, want %q in it", s.Message, r.Contains)
	case r.Contains == "" && s.Message != r.Message:
		return fmt.Errorf("message\n%q, want\n%q", s.Message, r.Message)
	}
	return nil
}

func (r *Refusal) request(ctx context.Context, server string) (*http.Request, error) {
	body := r.Body
	if r.Raw != "" {
		b, err := base64.StdEncoding.DecodeString(r.Raw)
		if err != nil {
			return nil, fmt.Errorf("refusal %s: %w", r.Name, err)
		}
		body = string(b)
	}
	if r.Large {
		// Blanks before the last brace change nothing of the meaning.
		body = body[:len(body)-1] + strings.Repeat(" ", overLimit) + body[len(body)-1:]
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, server+r.Path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.ContentType != "" {
		request.Header.Set("Content-Type", r.ContentType)
	}
	request.Header.Set("Accept", r.Accept)
	if r.Accept == "" {
		request.Header.Set("Accept", "application/json")
	}
	return request, nil
}
