package main

import (
	"bufio"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name   string
		events []string
		want   counts
		prints []string
	}{
		{
			name: "pass with a subtest",
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Elapsed":1.5}`,
			},
			want:   counts{Passed: 2},
			prints: []string{"ok    p  2 passed, 0 failed, 0 skipped  1.5s"},
		},
		{
			name: "failure with its output",
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"got 1, want 2\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want:   counts{Failed: 1},
			prints: []string{"FAIL  p TestA", "got 1, want 2"},
		},
		{
			name: "skip with its reason",
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no engine\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want:   counts{Skipped: 1},
			prints: []string{"skip  TestA: a_test.go:7: no engine"},
		},
		{
			name: "package that does not compile",
			events: []string{
				`{"ImportPath":"p","Action":"build-output","Output":"p/a.go:1: no\n"}`,
				`{"ImportPath":"p","Action":"build-fail"}`,
				`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			},
			want:   counts{Failed: 1},
			prints: []string{"p/a.go:1: no"},
		},
		{
			name: "package that panics",
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want:   counts{Failed: 1},
			prints: []string{"panic: oh"},
		},
		{
			name:   "no test files, and the go command's own words",
			events: []string{`go: warning`, `{"Action":"skip","Package":"p"}`},
			prints: []string{"go: warning"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var printed strings.Builder
			out := bufio.NewWriter(&printed)
			r := newReport(out)
			if err := r.read(strings.NewReader(strings.Join(test.events, "\n") + "\n")); err != nil {
				t.Fatal(err)
			}
			if err := out.Flush(); err != nil {
				t.Fatal(err)
			}
			if r.total != test.want {
				t.Errorf("counts %v, want %v", r.total, test.want)
			}
			for _, want := range test.prints {
				if !strings.Contains(printed.String(), want) {
					t.Errorf("printed %q, want it to contain %q", printed.String(), want)
				}
			}
		})
	}
}

func TestCountsAddUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	for _, c := range []counts{{Passed: 3, Skipped: 1}, {Passed: 4, Failed: 2}} {
		if err := addCounts(file, c); err != nil {
			t.Fatal(err)
		}
	}
	total, err := readCounts(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := total.String(), "7 passed, 2 failed, 1 skipped"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
