package configuration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth/authz"
)

func TestFlagsAreChecked(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		wrong  string
	}{
		{"nothing", Config{}, "at least one authorization-mode must be passed"},
		{"unknown", Config{Modes: []string{"Magic"}}, `authorization-mode "Magic" is not a valid mode`},
		{"twice", Config{Modes: []string{"RBAC", "RBAC"}}, `authorization-mode ["RBAC" "RBAC"] has mode specified more than once`},
		{"policies are missing", Config{Modes: []string{"ABAC"}}, "authorization-mode ABAC's authorization policy file not passed"},
		{"policies without the mode", Config{Modes: []string{"RBAC"}, PolicyFile: "x"}, "cannot specify --authorization-policy-file without mode ABAC"},
		{"a service is missing", Config{Modes: []string{"Webhook"}}, "authorization-mode Webhook's authorization config file not passed"},
		{"a service without the mode", Config{Modes: []string{"RBAC"}, Webhook: Webhook{Path: "x"}}, "cannot specify --authorization-webhook-config-file without mode Webhook"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.config.Log = zap.NewNop()
			if _, err := New(test.config); err == nil || err.Error() != test.wrong {
				t.Errorf("%v, want %s", err, test.wrong)
			}
		})
	}
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"

func write(t *testing.T, path, authorizers string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(head+authorizers), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorization.yaml")
	allow := "- {type: AlwaysAllow, name: alwaysallow}\n"
	deny := "- {type: AlwaysDeny, name: alwaysdeny}\n"
	write(t, path, allow+deny)
	a, err := New(Config{Log: zap.NewNop(), Path: path, RBAC: authz.Always(authz.ModeAlwaysDeny)})
	if err != nil {
		t.Fatal(err)
	}
	allowed := func() bool {
		d, _, err := a.Authorize(context.Background(), authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		return d == authorizer.DecisionAllow
	}
	if !allowed() {
		t.Error("the first version denies")
	}
	steps := []struct {
		name, authorizers string
		changed           bool
		wrong             string
	}{
		{"another order", deny + allow, true, ""},
		{"the same in other words", deny + allow + "# a comment\n", false, ""},
		{"a mode that was there is missing", allow, false, "missing required types: [AlwaysDeny]"},
		{"a mode that was not there", allow + deny + "- {type: RBAC, name: rbac}\n", false, "authorizer type RBAC is not allowed if it was not enabled at initial server startup"},
		{"a name of its own", "- {type: AlwaysAllow, name: mine}\n" + deny, false, "expected name alwaysallow for authorizer AlwaysAllow instead of mine"},
		{"a field that there is not", "- {type: AlwaysAllow, name: alwaysallow, x: y}\n" + deny, false, "unknown field"},
		{"back", allow + deny, true, ""},
	}
	for _, step := range steps {
		write(t, path, step.authorizers)
		changed, err := a.reload()
		if changed != step.changed || (err == nil) != (step.wrong == "") || err != nil && !strings.Contains(err.Error(), step.wrong) {
			t.Errorf("%s: changed %v, %v", step.name, changed, err)
		}
		if !allowed() {
			t.Errorf("%s: denied", step.name)
		}
	}
}

func TestExpressionsAreChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorization.yaml")
	write(t, path, `- type: Webhook
  name: remote
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    authorizedTTL: 1s
    unauthorizedTTL: 1s
    connectionInfo: {type: InClusterConfig}
    matchConditions: [{expression: "request.nobody == ''"}]
`)
	_, err := New(Config{Log: zap.NewNop(), Path: path})
	if err == nil || !strings.Contains(err.Error(), "undefined field 'nobody'") {
		t.Error(err)
	}
}
