package authn

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
)

// TokenFile is a static list of tokens, the file of --token-auth-file.
type TokenFile struct {
	tokens    map[string]*user.DefaultInfo
	audiences []string
}

var _ Token = (*TokenFile)(nil)

// ReadTokenFile reads lines of token,user,uid[,"group,group"]. The tokens hold
// for the server's own audiences.
func ReadTokenFile(path string, audiences []string, log *zap.Logger) (*TokenFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	out := &TokenFile{tokens: map[string]*user.DefaultInfo{}, audiences: audiences}
	reader := csv.NewReader(file)
	reader.FieldsPerRecord = -1
	for number := 1; ; number++ {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read token file: %w", err)
		}
		if len(record) < 3 {
			return nil, fmt.Errorf("token file '%s' must have at least 3 columns (token, user name, user uid), found %d", path, len(record))
		}
		if record[0] == "" {
			log.Warn("empty token in token file", zap.String("file", path), zap.Int("record", number))
			continue
		}
		if out.tokens[record[0]] != nil {
			log.Warn("duplicate token in token file", zap.String("file", path), zap.Int("record", number))
		}
		u := &user.DefaultInfo{Name: record[1], UID: record[2]}
		if len(record) > 3 {
			u.Groups = strings.Split(record[3], ",")
		}
		out.tokens[record[0]] = u
	}
}

// AuthenticateToken looks the token up.
func (f *TokenFile) AuthenticateToken(_ context.Context, token string, audiences []string) (*Response, bool, error) {
	u, ok := f.tokens[token]
	if !ok {
		return nil, false, nil
	}
	return audienceAgnostic(u, f.audiences, audiences)
}

// audienceAgnostic answers for a token that says nothing of audiences: it is
// good for those of this server, and refused for others.
func audienceAgnostic(u user.Info, own, wanted []string) (*Response, bool, error) {
	if len(wanted) == 0 {
		return &Response{User: u}, true, nil
	}
	audiences := Audiences(own, wanted)
	if len(audiences) == 0 {
		return nil, false, nil
	}
	return &Response{User: u, Audiences: audiences}, true, nil
}
