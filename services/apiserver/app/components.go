package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// DefaultComponents are where the other components answer if nothing else is
// said: upstream's ports on this host.
func DefaultComponents() []Component {
	return []Component{
		{Name: "controller-manager", URL: "https://127.0.0.1:10257"},
		{Name: "scheduler", URL: "https://127.0.0.1:10259"},
	}
}

// Component is a component whose health the kind ComponentStatus shows.
type Component struct{ Name, URL string }

// probeFor is how long a component may take to answer.
const probeFor = 10 * time.Second

// components asks all components, and etcd, how they are.
func (s *server) components(ctx context.Context) []corev1.ComponentStatus {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	// Nobody is told anything, so it does not matter who answers.
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	out := make([]corev1.ComponentStatus, len(s.cfg.Components)+1)
	var group sync.WaitGroup
	for i, c := range s.cfg.Components {
		group.Go(func() { out[i] = status(c.Name, probe(ctx, client, c.URL+"/healthz")) })
	}
	etcd := corev1.ComponentCondition{Status: corev1.ConditionTrue, Message: "ok"}
	if _, err := s.cache.Store().Revision(ctx); err != nil {
		etcd = corev1.ComponentCondition{Status: corev1.ConditionFalse, Error: err.Error()}
	}
	group.Wait()
	out[len(out)-1] = status("etcd-0", etcd)
	return out
}

func status(name string, c corev1.ComponentCondition) corev1.ComponentStatus {
	c.Type = corev1.ComponentHealthy
	s := corev1.ComponentStatus{Conditions: []corev1.ComponentCondition{c}}
	s.Name = name
	return s
}

// probe words what a component answers as upstream's HTTP prober does.
func probe(ctx context.Context, client *http.Client, url string) corev1.ComponentCondition {
	bad := func(text string) corev1.ComponentCondition {
		return corev1.ComponentCondition{Status: corev1.ConditionFalse, Message: text}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return bad(err.Error())
	}
	answer, err := client.Do(request)
	if err != nil {
		return bad(err.Error())
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 10<<10))
	if err != nil {
		return bad(err.Error())
	}
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusBadRequest {
		return bad(fmt.Sprintf("HTTP probe failed with statuscode: %d", answer.StatusCode))
	}
	return corev1.ComponentCondition{Status: corev1.ConditionTrue, Message: string(text)}
}
