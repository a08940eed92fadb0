package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEncryptionIsUpstreams has both servers read what the other has sealed, with
// each provider.
func TestEncryptionIsUpstreams(t *testing.T) {
	const key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	text := "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n"
	for resource, provider := range map[string]string{"secrets": "aesgcm", "configmaps": "aescbc", "serviceaccounts": "secretbox", "'*.apps'": "aesgcm"} {
		text += fmt.Sprintf("- resources: [%s]\n  providers: [{%s: {keys: [{name: key1, secret: %s}]}}]\n", resource, provider, key)
	}
	writeFile(t, file, text)
	c := fixture.Start(t, cluster.Config{APIServer: func(cfg *apiserver.Config) { cfg.Encryption.ConfigFile = file }})
	theirs := kubernetes.NewForConfigOrDie(startUpstream(t, c, "--encryption-provider-config="+file))
	ctx := context.Background()
	for name, both := range map[string][2]kubernetes.Interface{"ours": {c.Clients, theirs}, "theirs": {theirs, c.Clients}} {
		writer, reader := both[0], both[1]
		meta := metav1.ObjectMeta{Name: name}
		_, err := writer.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"k": "v"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		fixture.Eventually(t, 10*time.Second, "read by the other: "+name, func() bool {
			s, err := reader.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
			m, err2 := reader.CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{})
			_, err3 := reader.CoreV1().ServiceAccounts("default").Get(ctx, name, metav1.GetOptions{})
			return err == nil && err2 == nil && err3 == nil && string(s.Data["k"]) == "v" && m.Data["k"] == "v"
		})
	}
}

const policyOfAll = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/readyz*", "/livez*", "/api*", "/openapi*"]
- level: None
  resources: [{group: coordination.k8s.io}, {group: "", resources: [events, namespaces, nodes, endpoints, services]}, {group: discovery.k8s.io}]
- level: RequestResponse
  namespaces: [audited]
- level: Metadata
  nonResourceURLs: ["/version"]
`

// TestAuditIsUpstreams makes the same requests of both servers and compares
// what they have recorded.
func TestAuditIsUpstreams(t *testing.T) {
	dir := t.TempDir()
	policy := writeFile(t, filepath.Join(dir, "policy.yaml"), policyOfAll)
	ours, theirs := filepath.Join(dir, "ours.log"), filepath.Join(dir, "theirs.log")
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*", "namespace"}, APIServer: func(cfg *apiserver.Config) {
		cfg.Audit = apiserver.DefaultAudit()
		cfg.Audit.PolicyFile, cfg.Audit.Log.Path = policy, ours
	}})
	upstream := startUpstream(t, c, "--audit-policy-file="+policy, "--audit-log-path="+theirs)
	if _, err := c.Clients.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "audited", Labels: map[string]string{
		"pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Clients.CoreV1().ServiceAccounts("audited").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // upstream's own cache has to see the namespace
	var records [2][]string
	for i, server := range []struct {
		config *rest.Config
		log    string
	}{{upstream, theirs}, {c.Config, ours}} {
		mark := size(server.log)
		askForRecords(t, server.config)
		fixture.Eventually(t, 10*time.Second, "recorded at last", func() bool { return strings.Contains(string(since(t, server.log, mark)), `"requestURI":"/version"`) })
		time.Sleep(300 * time.Millisecond)
		records[i] = normalized(t, since(t, server.log, mark))
	}
	for n := range max(len(records[0]), len(records[1])) {
		want, got := at(records[0], n), at(records[1], n)
		if want != got {
			t.Errorf("event %d differs\nupstream %s\nours     %s", n, want, got)
		}
	}
}

func at(list []string, n int) string {
	if n < len(list) {
		return list[n]
	}
	return "none"
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func since(t *testing.T, path string, mark int64) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw[mark:]
}

// askForRecords makes requests of every sort, the same ones in the same order.
func askForRecords(t *testing.T, config *rest.Config) {
	t.Helper()
	ctx := t.Context()
	clients := kubernetes.NewForConfigOrDie(config)
	maps, pods := clients.CoreV1().ConfigMaps("audited"), clients.CoreV1().Pods("audited")
	_, _ = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	_, _ = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	_, _ = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "A_"}}, metav1.CreateOptions{})
	_, _ = maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"w"}}`), metav1.PatchOptions{})
	_, _ = maps.Patch(ctx, "a", types.ApplyYAMLPatchType, []byte(`{"apiVersion":"v1","kind":"ConfigMap","data":{"l":"w"}}`), metav1.PatchOptions{FieldManager: "m"})
	_, _ = maps.Update(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "x"}}, metav1.UpdateOptions{})
	_, _ = maps.Get(ctx, "a", metav1.GetOptions{})
	_, _ = maps.Get(ctx, "absent", metav1.GetOptions{})
	_, _ = maps.List(ctx, metav1.ListOptions{LabelSelector: "x=y"})
	if w, err := maps.Watch(ctx, metav1.ListOptions{TimeoutSeconds: new(int64)}); err == nil {
		w.Stop()
	}
	_, _ = pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	_ = pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "nowhere"}}, metav1.CreateOptions{})
	zero := int64(0)
	_ = pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &zero})
	_, _ = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"x": "y"}}}, metav1.CreateOptions{})
	_ = maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "x=y"})
	background := metav1.DeletePropagationBackground
	_ = maps.Delete(ctx, "a", metav1.DeleteOptions{PropagationPolicy: &background})

	other := rest.CopyConfig(config)
	other.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"dev"}, Extra: map[string][]string{"s": {"a"}}}
	_, _ = kubernetes.NewForConfigOrDie(other).CoreV1().Secrets("audited").List(ctx, metav1.ListOptions{})
	unknown := rest.AnonymousClientConfig(config)
	_, _ = kubernetes.NewForConfigOrDie(unknown).CoreV1().Secrets("audited").Get(ctx, "x", metav1.GetOptions{})
	unknown.BearerToken = "nobody's"
	_, _ = kubernetes.NewForConfigOrDie(unknown).CoreV1().Secrets("audited").Get(ctx, "x", metav1.GetOptions{})
	_, _ = clients.Discovery().ServerVersion()
}

var changing = regexp.MustCompile(`"(uid|resourceVersion|creationTimestamp|time|auditID|requestReceivedTimestamp|stageTimestamp|authentication.kubernetes.io/credential-id|deletionTimestamp|lastTransitionTime|timeoutSeconds)":"[^"]*"|"port":\d+|-[0-9a-z]{5}"|127\.0\.0\.1:\d+`)

// normalized leaves out of events what differs from one time to the next.
func normalized(t *testing.T, raw []byte) (out []string) {
	t.Helper()
	for _, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		var e auditv1.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.User.Username == "system:apiserver" || e.ObjectRef != nil && e.ObjectRef.Namespace != "audited" {
			continue
		}
		var o any
		_ = json.Unmarshal(line, &o)
		sorted, _ := json.Marshal(o)
		if e.Verb == "watch" {
			continue // its end comes when it comes
		}
		out = append(out, changing.ReplaceAllString(string(sorted), "*"))
	}
	return out
}
