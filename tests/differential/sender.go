package differential

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Answer is what a server said, in a form that two servers can share.
type Answer struct {
	Code     int      `json:"code"`
	Type     string   `json:"type,omitempty"`
	Encoding string   `json:"encoding,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Body     any      `json:"body,omitempty"`
}

// Server is one that scripts are sent to.
type Server struct {
	URL    string
	Client *http.Client
}

// workers is how many scripts run at once.
const workers = 6

// patience bounds the wait for what a server does by itself.
const patience = 10 * time.Second

// Send runs all scripts and returns the answers of each, by its name.
func (s *Server) Send(ctx context.Context, scripts []Script) (map[string][]Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan *Script)
	answers := make(map[string][]Answer, len(scripts))
	var lock sync.Mutex
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for script := range queue {
				got, err := s.run(ctx, script)
				if err != nil {
					cancel(fmt.Errorf("%s: %w", script.Name, err))
					return
				}
				lock.Lock()
				answers[script.Name] = got
				lock.Unlock()
			}
		})
	}
	for i := range scripts {
		select {
		case queue <- &scripts[i]:
		case <-ctx.Done():
		}
	}
	close(queue)
	wait.Wait()
	return answers, context.Cause(ctx)
}

// run sends one script's requests.
func (s *Server) run(ctx context.Context, script *Script) ([]Answer, error) {
	r := &runner{server: s, vars: map[string]any{"ns": script.Namespace}}
	if ns := script.Namespace; ns != "" {
		if err := s.prepare(ctx, ns); err != nil {
			return nil, err
		}
	}
	answers := make([]Answer, 0, len(script.Steps))
	for i := range script.Steps {
		a, err := r.step(ctx, &script.Steps[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", script.Steps[i].Name, err)
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// prepare makes a namespace with the account that a controller makes otherwise.
func (s *Server) prepare(ctx context.Context, ns string) error {
	r := &runner{server: s, vars: map[string]any{"ns": ns}}
	for _, step := range []Step{
		{Send: "POST /api/v1/namespaces", Body: map[string]any{"metadata": map[string]any{"name": ns}}},
		{Send: "POST /api/v1/namespaces/${ns}/serviceaccounts", Body: map[string]any{"metadata": map[string]any{"name": "default"}}},
	} {
		a, err := r.step(ctx, &step)
		if err != nil {
			return err
		}
		if a.Code != http.StatusCreated {
			return fmt.Errorf("prepare %s: %d %v", ns, a.Code, a.Body)
		}
	}
	return nil
}

type runner struct {
	server *Server
	vars   map[string]any
}

func (r *runner) step(ctx context.Context, step *Step) (Answer, error) {
	body, err := r.body(step)
	if err != nil {
		return Answer{}, err
	}
	method, path, _ := strings.Cut(step.Send, " ")
	var raw []byte
	var answer *http.Response
	for deadline := time.Now().Add(patience); ; {
		raw, answer, err = r.send(ctx, method, r.fill(path, true), body, step) //nolint:bodyclose // send has read and closed it
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return Answer{Body: "no end of the answer"}, nil
		}
		if err != nil {
			return Answer{}, err
		}
		if step.Until == "" || strings.Contains(string(raw), step.Until) || answer.StatusCode >= 400 || time.Now().After(deadline) {
			break
		}
		time.Sleep(30 * time.Millisecond)
	}
	decoded, err := decode(answer.Header, raw)
	if err != nil {
		return Answer{}, err
	}
	for name, where := range step.Keep {
		delete(r.vars, name)
		if answer.StatusCode < 300 {
			r.vars[name] = clone(at(decoded, splitPath(where)...))
		}
	}
	if step.Quiet {
		return Answer{}, nil
	}
	warnings := answer.Header.Values("Warning")
	if strings.Contains(path, "/customresourcedefinitions") {
		slices.Sort(warnings) // upstream goes through schemas in the order of a map
	}
	return Answer{
		Code: answer.StatusCode, Type: answer.Header.Get("Content-Type"), Encoding: answer.Header.Get("Content-Encoding"),
		Warnings: warnings, Body: stable(decoded),
	}, nil
}

func (r *runner) body(step *Step) (string, error) {
	value := step.Body
	if step.From != "" {
		kept := r.vars[step.From]
		edited, err := apply(kept, step.Set)
		if err != nil && kept != nil {
			return "", err
		}
		value = edited
	}
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return r.fill(v, false), nil
	}
	b, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	return r.fill(string(b), false), nil
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// fill puts in what was kept.
func (r *runner) fill(text string, inPath bool) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		value, ok := r.vars[v[2:len(v)-1]]
		if !ok || value == nil {
			return "absent"
		}
		filled := fmt.Sprint(value)
		if inPath {
			filled = url.PathEscape(filled)
		}
		return filled
	})
}

func (r *runner) send(ctx context.Context, method, path, body string, step *Step) ([]byte, *http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body == "" && (method == http.MethodGet || method == http.MethodDelete) {
		request.Body, request.ContentLength = nil, 0
	}
	request.Header.Set("Content-Type", "application/json")
	if step.Type != "" {
		request.Header.Set("Content-Type", step.Type)
	}
	request.Header.Set("Accept", "application/json")
	if step.Accept != "" {
		request.Header.Set("Accept", step.Accept)
	}
	for key, value := range step.Header {
		request.Header.Set(key, r.fill(value, false))
	}
	answer, err := r.server.Client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, nil, err
		}
		if raw, err = io.ReadAll(unpacked); err != nil {
			return nil, nil, err
		}
	}
	return raw, answer, nil
}
