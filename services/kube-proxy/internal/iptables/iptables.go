// Package iptables writes chains with iptables-restore: the only place in the
// project that runs a program of iptables.
package iptables

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"coracle.local/services/kube-proxy/internal/model"
	"coracle.local/services/kube-proxy/internal/rules"
)

// lockWait is how many seconds the programs wait for others that change rules.
const lockWait = "10"

// Tables writes the kernel's tables. It is for one goroutine.
type Tables struct {
	// Run runs a program of iptables with its input and returns its output;
	// tests may enter a network namespace in it.
	Run func(ctx context.Context, input []byte, name string, args ...string) ([]byte, error)

	applied rules.Rules // what is known to be there; nil if unknown
}

// New returns tables of this process's network namespace.
func New() *Tables { return &Tables{Run: run} }

func run(ctx context.Context, input []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// Apply makes the wanted chains the only ones of ours, writing those that
// changed in one step, and returns how many were written.
func (t *Tables) Apply(ctx context.Context, want rules.Rules) (int, error) {
	have, unknown := t.applied, t.applied == nil
	if unknown {
		var err error
		if have, err = t.present(ctx); err != nil {
			return 0, err
		}
	}
	text, chains := difference(have, want, unknown)
	if chains == 0 {
		return 0, nil
	}
	t.applied = nil // unknown until it is known to have worked
	if _, err := t.Run(ctx, text, "iptables-restore", "-w", lockWait, "--noflush"); err != nil {
		return 0, err
	}
	if unknown {
		if err := t.hook(ctx); err != nil {
			return 0, err
		}
	}
	t.applied = want
	return chains, nil
}

// Forget makes the next Apply write everything.
func (t *Tables) Forget() { t.applied = nil }

// Intact tells whether the rules are still there: somebody may have flushed
// them.
func (t *Tables) Intact(ctx context.Context) bool {
	_, err := t.Run(ctx, nil, "iptables", "-w", lockWait, "-t", rules.NAT, "-S", rules.Canary)
	return err == nil
}

// present lists our chains as the kernel has them, without their rules.
func (t *Tables) present(ctx context.Context) (rules.Rules, error) {
	have := rules.Rules{}
	for _, table := range []string{rules.NAT, rules.Filter} {
		out, err := t.Run(ctx, nil, "iptables", "-w", lockWait, "-t", table, "-S")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-N "); ok && ours(name) {
				have[rules.Chain{Table: table, Name: name}] = nil
			}
		}
	}
	return have, nil
}

// ours tells our chains from those of others with a like name: the kubelet and
// network plugins of other Kubernetes parts have theirs.
func ours(name string) bool {
	for _, prefix := range []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for c := range rules.Build(rules.Config{}, &model.Model{}) {
		if c.Name == name {
			return true
		}
	}
	return false
}

// difference is the input of iptables-restore that turns have into want. All
// chains are written when all is set.
func difference(have, want rules.Rules, all bool) (text []byte, chains int) {
	var b bytes.Buffer
	for _, table := range []string{rules.NAT, rules.Filter} {
		changed, stale := changes(table, have, want, all)
		if len(changed)+len(stale) == 0 {
			continue
		}
		chains += len(changed) + len(stale)
		fmt.Fprintf(&b, "*%s\n", table)
		for _, name := range slices.Concat(changed, stale) {
			fmt.Fprintf(&b, ":%s - [0:0]\n", name)
		}
		for _, name := range changed {
			for _, rule := range want[rules.Chain{Table: table, Name: name}] {
				fmt.Fprintf(&b, "-A %s %s\n", name, rule)
			}
		}
		for _, name := range stale {
			fmt.Fprintf(&b, "-X %s\n", name)
		}
		b.WriteString("COMMIT\n")
	}
	return b.Bytes(), chains
}

func changes(table string, have, want rules.Rules, all bool) (changed, stale []string) {
	for c, rs := range want {
		if old, there := have[c]; c.Table == table && (all || !there || !slices.Equal(old, rs)) {
			changed = append(changed, c.Name)
		}
	}
	for c := range have {
		if _, wanted := want[c]; c.Table == table && !wanted {
			stale = append(stale, c.Name)
		}
	}
	slices.Sort(changed)
	slices.Sort(stale)
	return changed, stale
}

// hook enters our chains from the kernel's, once each.
func (t *Tables) hook(ctx context.Context) error {
	for _, h := range rules.Hooks() {
		args := append([]string{"-w", lockWait, "-t", h.Table}, words("-C "+h.Chain+" "+h.Rule)...)
		if _, err := t.Run(ctx, nil, "iptables", args...); err == nil {
			continue
		}
		args = append([]string{"-w", lockWait, "-t", h.Table}, words("-I "+h.Chain+" "+h.Rule)...)
		if _, err := t.Run(ctx, nil, "iptables", args...); err != nil {
			return err
		}
	}
	return nil
}

// Clean removes our chains and what leads to them.
func (t *Tables) Clean(ctx context.Context) error {
	for _, h := range rules.Hooks() {
		args := append([]string{"-w", lockWait, "-t", h.Table}, words("-D "+h.Chain+" "+h.Rule)...)
		// An error says that it is not there.
		_, _ = t.Run(ctx, nil, "iptables", args...)
	}
	have, err := t.present(ctx)
	if err != nil {
		return err
	}
	t.applied = nil
	if text, chains := difference(have, nil, true); chains > 0 {
		if _, err := t.Run(ctx, text, "iptables-restore", "-w", lockWait, "--noflush"); err != nil {
			return err
		}
	}
	return nil
}

// words splits a rule as a shell would: only comments are quoted.
func words(rule string) []string {
	var out []string
	for i, part := range strings.Split(rule, `"`) {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}
