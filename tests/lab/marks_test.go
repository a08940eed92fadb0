package lab

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// mark is a trace that a pod or a Service leaves on a machine.
type mark struct {
	// where is the name of one of the things that state returns.
	where, text string
	// wanted marks must be there while the pods run.
	wanted, there bool
}

func (m mark) String() string { return fmt.Sprintf("%q in %s", m.text, m.where) }

// state is what a machine's own tools print.
func (l *lab) state(node string) map[string]string {
	l.t.Helper()
	return map[string]string{
		"containers": l.on(node, "docker", "ps", "-a", "--no-trunc", "--format", `{{.Label "io.kubernetes.pod.uid"}} {{.Label "io.kubernetes.pod.namespace"}} {{.Names}}`),
		"links":      l.on(node, "ip", "-o", "link", "show", "type", "veth"),
		"routes":     l.on(node, "ip", "route", "show", "table", "all"),
		"rules":      l.on(node, "iptables-save"),
		"addresses":  l.on(node, "find", "/var/lib/kubelet/network", "/var/lib/cni", "-type", "f"),
		"folders":    l.on(node, "sh", "-c", "ls /var/lib/kubelet/pods /var/log/pods /var/log/containers 2>/dev/null || true"),
		"mounts":     l.on(node, "cat", "/proc/1/mounts"),
	}
}

// marks collects what is there because of the pods and of the Service ns/web: by
// their names, and links and chains, whose names tell nothing, by what is new.
func (l *lab) marks(node, ns, linksBefore string, pods []corev1.Pod) []mark {
	l.t.Helper()
	state := l.state(node)
	all := []mark{
		{where: "rules", text: ns + "/web", wanted: true},
		{where: "containers", text: " " + ns + " "},
	}
	local := 0
	for i := range pods {
		p := &pods[i]
		all = append(all, mark{where: "rules", text: p.Status.PodIP + "/32", wanted: true}, mark{where: "routes", text: p.Status.PodIP + " "})
		if p.Spec.NodeName != node {
			continue
		}
		local++
		all = append(all, mark{where: "containers", text: string(p.UID), wanted: true}, mark{where: "folders", text: string(p.UID), wanted: true},
			mark{where: "mounts", text: string(p.UID)}, mark{where: "addresses", text: "/" + p.Status.PodIP + "\n", wanted: true})
	}
	links := newNames(state["links"], linksBefore, regexp.MustCompile(`\bveth\w+`))
	if len(links) < local {
		all = append(all, mark{where: "links", text: fmt.Sprintf("%d new links for %d pods", len(links), local), wanted: true})
	}
	for _, name := range links {
		all = append(all, mark{where: "links", text: name, wanted: true})
	}
	for _, chain := range chains(state["rules"], ns) {
		all = append(all, mark{where: "rules", text: ":" + chain + " ", wanted: true})
	}
	for i := range all {
		all[i].there = strings.Contains(state[all[i].where], all[i].text)
	}
	return all
}

func newNames(now, before string, name *regexp.Regexp) []string {
	var all []string
	for _, n := range name.FindAllString(now, -1) {
		if !strings.Contains(before, n) {
			all = append(all, n)
		}
	}
	return all
}

// chains are kube-proxy's own whose rules speak of the Service.
func chains(rules, ns string) []string {
	var all []string
	seen := map[string]bool{}
	own := regexp.MustCompile(`\bKUBE-(SVC|SEP|EXT|FW|SVL)-[A-Z0-9]{16}\b`)
	for line := range strings.Lines(rules) {
		if !strings.Contains(line, `"`+ns+"/web") {
			continue
		}
		for _, chain := range own.FindAllString(line, -1) {
			if !seen[chain] {
				seen[chain] = true
				all = append(all, chain)
			}
		}
	}
	return all
}
