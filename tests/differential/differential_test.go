package differential

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/kinds"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
	"coracle.local/tests/upstream"
)

const suitesFolder = "../../services/apiserver/internal/kinds/testdata"

var (
	answersFile = flag.String("answers", "", "keeps upstream's answers in this file, or takes them from it")
	only        = flag.String("only", "", "sends only scripts whose name has this text")
	larger      = flag.Int("times", 1, "multiplies the size of the corpus")
	seedFlag    = flag.Int("seed", DefaultSize.Seed, "chooses other mutations")
	report      = flag.String("report", "", "writes all differences to this file")
)

// TestAnswersAreUpstreams sends the corpus to both servers.
func TestAnswersAreUpstreams(t *testing.T) {
	if *answersFile == "" {
		upstream.Server(t)
	}
	c := fixture.Start(t, cluster.Config{
		Controllers: []string{"-*"},
		// Upstream's controller manager checks the types of policies, and there is none.
		APIServer: func(c *apiserver.Config) { c.UncheckedPolicies = true },
	})
	ours := server(t, c.Config)
	scripts := corpus(t, ours)
	known, err := KnownDifferences()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	wants := theirs(t, c, scripts)
	between := time.Now()
	gots, err := ours.Send(context.Background(), scripts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests in %d scripts: upstream took %.0f s, we %.0f s", count(scripts), len(scripts), between.Sub(begun).Seconds(), time.Since(between).Seconds())
	judge(t, Compare(scripts, wants, gots), known)
}

func count(scripts []Script) int {
	n := 0
	for _, s := range scripts {
		n += len(s.Steps)
	}
	return n
}

// corpus makes the scripts from the schemas that our server publishes.
func corpus(t *testing.T, ours *Server) []Script {
	t.Helper()
	all := schemas{}
	for _, gv := range kinds.GroupVersions() {
		path := "/openapi/v3/apis/" + gv.String()
		if gv.Group == "" {
			path = "/openapi/v3/api/" + gv.Version
		}
		if err := all.add(gv.String(), fetch(t, ours, path)); err != nil {
			t.Fatal(err)
		}
	}
	suites, err := loadGolden(suitesFolder)
	if err != nil {
		t.Fatal(err)
	}
	size := DefaultSize
	size.Creates *= *larger
	size.Updates *= *larger
	size.Statuses *= *larger
	size.Seed = *seedFlag
	scripts, err := Corpus(all, suites, size)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(scripts); n < 2000 {
		t.Fatalf("the corpus has %d requests only", n)
	}
	return slices.DeleteFunc(scripts, func(s Script) bool { return !strings.Contains(s.Name, *only) })
}

func fetch(t *testing.T, s *Server, path string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	answer, err := s.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", path, answer.StatusCode, err)
	}
	return b
}

func server(t *testing.T, cfg *rest.Config) *Server {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.DisableCompression = true
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{URL: cfg.Host, Client: client}
}

// theirs are upstream's answers: from the file that has them, or asked for now.
func theirs(t *testing.T, c *fixture.Cluster, scripts []Script) map[string][]Answer {
	t.Helper()
	kept := readAnswers(t)
	missing := slices.DeleteFunc(slices.Clone(scripts), func(s Script) bool { return kept[key(t, s)] != nil })
	if len(missing) > 0 {
		upstream := server(t, startUpstream(t, c))
		asked, err := upstream.Send(context.Background(), missing)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range missing {
			kept[key(t, s)] = asked[s.Name]
		}
		writeAnswers(t, kept)
	}
	answers := map[string][]Answer{}
	for _, s := range scripts {
		answers[s.Name] = kept[key(t, s)]
		for i := range answers[s.Name] { // an older version may have kept them
			answers[s.Name][i].Body = stable(answers[s.Name][i].Body)
		}
	}
	return answers
}

// key names a script with all that is in it.
func key(t *testing.T, s Script) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %x", s.Name, sha256.Sum256(b))
}

func readAnswers(t *testing.T) map[string][]Answer {
	t.Helper()
	answers := map[string][]Answer{}
	if *answersFile == "" {
		return answers
	}
	f, err := os.Open(*answersFile)
	if errors.Is(err, os.ErrNotExist) {
		return answers
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

func writeAnswers(t *testing.T, answers map[string][]Answer) {
	t.Helper()
	if *answersFile == "" {
		return
	}
	f, err := os.Create(*answersFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z := gzip.NewWriter(f)
	if err := json.NewEncoder(z).Encode(answers); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// judge fails for every difference that is not known, and for what is known and
// no longer so.
func judge(t *testing.T, all []Difference, known []*Known) {
	t.Helper()
	if *report != "" {
		var b strings.Builder
		for _, d := range all {
			b.WriteString(d.String() + "\n")
		}
		if err := os.WriteFile(*report, []byte(b.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
	used := map[*Known]bool{}
	unknown := 0
	for _, d := range all {
		covered := false
		for _, k := range known {
			if k.Covers(d) {
				covered, used[k] = true, true
			}
		}
		if !covered {
			if unknown++; unknown <= 40 {
				t.Errorf("upstream's answer (-) is not ours (+): %s", d)
			}
		}
	}
	if unknown > 40 {
		t.Errorf("and %d more differences", unknown-40)
	}
	for _, k := range known {
		if !used[k] && *only == "" {
			t.Errorf("a known difference is none any more: %s, %s", k.Group, k.What)
		}
	}
}
