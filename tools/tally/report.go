package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// event is one line of `go test -json`, see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

// key is a test of a package; an empty name stands for the package itself.
type key struct{ pkg, test string }

// report follows tests while they run.
type report struct {
	out     *bufio.Writer
	total   counts
	of      map[string]*counts  // by package
	output  map[key][]string    // of what has not ended yet, or failed
	builds  map[string][]string // the compiler's words, by import path
	printed map[string]bool     // import paths whose compiler's words are out
}

func newReport(out *bufio.Writer) *report {
	return &report{
		out:     out,
		of:      map[string]*counts{},
		output:  map[key][]string{},
		builds:  map[string][]string{},
		printed: map[string]bool{},
	}
}

// read consumes events until the end. A line that is no event, such as a message of
// the go command, is passed on.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.add(e)
			} else {
				r.printf("%s", line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	switch e.Action {
	case "output":
		k := key{e.Package, e.Test}
		r.output[k] = append(r.output[k], e.Output)
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnded(e)
		} else {
			r.testEnded(e)
		}
	}
}

func (r *report) testEnded(e event) {
	c := r.counts(e.Package)
	k := key{e.Package, e.Test}
	switch e.Action {
	case "pass":
		c.Passed++
		delete(r.output, k)
	case "skip":
		c.Skipped++
		r.printf("skip  %s: %s\n", e.Test, r.reason(k))
		delete(r.output, k)
	case "fail":
		c.Failed++
		r.printf("FAIL  %s %s\n", e.Package, e.Test)
		r.print(r.output[k])
		delete(r.output, k)
	}
}

// packageEnded prints the package's line. One that fails without a failed test did
// not compile, crashed or ran out of time, which counts as one failure.
func (r *report) packageEnded(e event) {
	c := r.counts(e.Package)
	elapsed := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	switch e.Action {
	case "skip":
		// no test files
	case "pass":
		r.printf("ok    %s  %s  %v\n", e.Package, c, elapsed)
	default:
		if c.Failed == 0 {
			c.Failed++
			r.unfinished(e.Package)
		}
		r.printf("FAIL  %s  %s  %v\n", e.Package, c, elapsed)
	}
	r.total = r.total.plus(*c)
	delete(r.output, key{e.Package, ""})
	_ = r.out.Flush() // the caller's own flush reports a broken pipe
}

// unfinished prints all there is about a package that failed as a whole.
func (r *report) unfinished(pkg string) {
	for path, words := range r.builds {
		if !r.printed[path] {
			r.printed[path] = true
			r.print(words)
		}
	}
	for k, words := range r.output {
		if k.pkg == pkg {
			r.print(words)
			delete(r.output, k)
		}
	}
}

// reason is what a test said when it skipped itself, without the frame around it.
func (r *report) reason(k key) string {
	var words []string
	for _, line := range r.output[k] {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		words = append(words, line)
	}
	return strings.Join(words, " ")
}

func (r *report) print(lines []string) {
	for _, line := range lines {
		r.printf("      %s", line)
	}
}

// printf writes to the buffer, which keeps a first error until it is flushed.
func (r *report) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format, args...)
}

func (r *report) counts(pkg string) *counts {
	if r.of[pkg] == nil {
		r.of[pkg] = &counts{}
	}
	return r.of[pkg]
}
