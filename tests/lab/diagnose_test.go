package lab

import (
	"strings"
)

// diagnose says, after a failure, what somebody would look at first.
func (l *lab) diagnose() {
	if !l.t.Failed() {
		return
	}
	l.show("nodes", l.kubectlPath(), l.kubectlArgs([]string{"get", "nodes", "-o", "wide"})...)
	l.show("pods", l.kubectlPath(), l.kubectlArgs([]string{"get", "pods", "-A", "-o", "wide"})...)
	l.show("the lab's containers", "docker", "ps", "-a", "--filter", "name="+l.container(""), "--format", "{{.Names}}\t{{.Status}}")
	for _, part := range l.parts() {
		l.show("the last words of "+part, "docker", "logs", "--tail", "25", l.container(part))
	}
	for _, node := range l.nodes {
		l.show("containers on "+node, "docker", "exec", l.container(node), "docker", "ps", "-a")
	}
}

// describe tells about the namespace of a test that failed, before it is removed.
func (l *lab) describe(namespace string) {
	if !l.t.Failed() {
		return
	}
	for _, args := range [][]string{
		{"get", "all,endpointslices", "-o", "wide"},
		{"describe", "pods"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		l.show(strings.Join(args, " "), l.kubectlPath(), l.kubectlArgs(append(args, "-n", namespace))...)
	}
}

func (l *lab) show(title, name string, args ...string) {
	const most = 8000
	// Both outputs: logs come on either.
	out, err := l.try("sh", append([]string{"-c", `exec "$@" 2>&1`, "sh", name}, args...)...)
	if err != nil {
		out = err.Error()
	}
	if len(out) > most {
		out = "...\n" + out[len(out)-most:]
	}
	l.t.Logf("--- %s\n%s", title, out)
}

// parts are the components, by the names of their containers; machines are not
// among them.
func (l *lab) parts() []string {
	parts := []string{"etcd", "apiserver", "scheduler", "controller-manager"}
	for _, node := range l.nodes {
		parts = append(parts, node+"-kubelet", node+"-kube-proxy")
	}
	return parts
}
