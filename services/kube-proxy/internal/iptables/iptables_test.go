package iptables

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"coracle.local/services/kube-proxy/internal/rules"
)

func nat(name string) rules.Chain { return rules.Chain{Table: rules.NAT, Name: name} }

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	have := rules.Rules{nat("A"): {"-j B"}, nat("B"): {"-j X"}, nat("GONE"): {"-j B"}}
	want := rules.Rules{nat("A"): {"-j B"}, nat("B"): {"-j Y"}, nat("NEW"): {}}
	text, chains := difference(have, want, false)
	const expected = "*nat\n:B - [0:0]\n:NEW - [0:0]\n:GONE - [0:0]\n-A B -j Y\n-X GONE\nCOMMIT\n"
	if string(text) != expected || chains != 3 {
		t.Errorf("%d chains:\n%s", chains, text)
	}
	if text, chains := difference(want, want, false); chains != 0 || len(text) != 0 {
		t.Errorf("without a change %d chains:\n%s", chains, text)
	}
}

func TestWordsKeepComments(t *testing.T) {
	got := words(`-C X -m comment --comment "two words" -j Y`)
	if want := "[-C X -m comment --comment two words -j Y]"; fmt.Sprint(got) != want || len(got) != 8 {
		t.Errorf("got %q", got)
	}
}

// kernel stands in for iptables: it remembers what was restored, and may fail.
type kernel struct {
	restored []string
	fail     bool
}

func (k *kernel) run(_ context.Context, input []byte, name string, args ...string) ([]byte, error) {
	if name == "iptables-restore" {
		if k.fail {
			return nil, errors.New("locked")
		}
		k.restored = append(k.restored, string(input))
	}
	return nil, nil
}

func TestAfterAFailureEverythingIsWrittenAgain(t *testing.T) {
	k := &kernel{}
	tables := &Tables{Run: k.run}
	ctx := context.Background()
	if _, err := tables.Apply(ctx, rules.Rules{nat("A"): {"-j X"}}); err != nil {
		t.Fatal(err)
	}
	k.fail = true
	if _, err := tables.Apply(ctx, rules.Rules{nat("A"): {"-j Y"}}); err == nil {
		t.Fatal("a failure is not told")
	}
	k.fail = false
	// The same as at first: but it is not known whether that is still there.
	if n, err := tables.Apply(ctx, rules.Rules{nat("A"): {"-j X"}}); err != nil || n != 1 {
		t.Errorf("%d chains written, %v", n, err)
	}
	if last := k.restored[len(k.restored)-1]; !strings.Contains(last, "-A A -j X") {
		t.Errorf("restored %s", last)
	}
}
