package images

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"coracle.local/services/kubelet/internal/engine"
)

// entry is one registry in a Docker configuration file.
type entry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// known is a credential and the images it is for: a host, which may hold
// wildcards, and a path.
type known struct {
	pattern string
	auth    engine.Auth
}

// defaultRegistry stands for docker.io in configuration files.
const defaultRegistry = "index.docker.io"

// credentials lists what fits an image's repository, the most specific first;
// when nothing does, one nil entry: an anonymous pull.
func credentials(configs [][]byte, image string) []*engine.Auth {
	var ring []known
	for _, c := range configs {
		ring = append(ring, parse(c)...)
	}
	// Longer patterns are more specific; among equals the pod's order stays.
	slices.SortStableFunc(ring, func(a, b known) int {
		return -cmp.Compare(a.pattern, b.pattern)
	})
	repository := image
	if named, err := reference.ParseNormalizedNamed(image); err == nil {
		repository = named.Name()
	}
	var out []*engine.Auth
	for _, k := range ring {
		if matches(k.pattern, repository) {
			out = append(out, &k.auth)
		}
	}
	if len(out) == 0 && strings.HasPrefix(repository, "docker.io/") {
		for _, k := range ring {
			if k.pattern == defaultRegistry {
				out = append(out, &k.auth)
			}
		}
	}
	if len(out) == 0 {
		return []*engine.Auth{nil}
	}
	return out
}

// parse reads a configuration file, of the new form ({"auths": ...}) or the
// old one. What cannot be read holds no credentials.
func parse(content []byte) []known {
	if len(content) == 0 {
		return nil
	}
	var file struct {
		Auths map[string]entry `json:"auths"`
	}
	entries := map[string]entry{}
	if err := json.Unmarshal(content, &file); err == nil && file.Auths != nil {
		entries = file.Auths
	} else if err := json.Unmarshal(content, &entries); err != nil {
		return nil
	}
	var out []known
	for server, e := range entries {
		pattern, ok := patternOf(server)
		if !ok {
			continue
		}
		auth := engine.Auth{Username: e.Username, Password: e.Password, ServerAddress: server, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if decoded, err := base64.StdEncoding.DecodeString(e.Auth); err == nil && e.Auth != "" {
			if user, password, ok := strings.Cut(string(decoded), ":"); ok {
				auth.Username, auth.Password = user, strings.TrimRight(password, "\x00")
			}
		}
		out = append(out, known{pattern: pattern, auth: auth})
	}
	// A map has no order, and the sort above is stable.
	slices.SortFunc(out, func(a, b known) int { return cmp.Compare(a.pattern, b.pattern) })
	return out
}

// patternOf drops scheme and API version of a server's address.
func patternOf(server string) (string, bool) {
	if !strings.HasPrefix(server, "https://") && !strings.HasPrefix(server, "http://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return "", false
	}
	p := u.Path
	for _, version := range []string{"/v1/", "/v2/"} {
		if strings.HasPrefix(p, version) {
			p = p[len(version)-1:]
		}
	}
	return u.Host + strings.TrimSuffix(p, "/"), true
}

// matches compares host part by part, so that a wildcard stands for one part,
// and then the port and the beginning of the path.
func matches(pattern, repository string) bool {
	pHost, pPath, _ := strings.Cut(pattern, "/")
	rHost, rPath, _ := strings.Cut(repository, "/")
	pName, pPort, _ := strings.Cut(pHost, ":")
	rName, rPort, _ := strings.Cut(rHost, ":")
	if pPort != rPort || !strings.HasPrefix(rPath, pPath) {
		return false
	}
	want, have := strings.Split(pName, "."), strings.Split(rName, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
