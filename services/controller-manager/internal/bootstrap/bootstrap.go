// Package bootstrap keeps what new nodes join by: signatures of the cluster's
// public information by each bootstrap token, and no token past its time.
package bootstrap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	tokenType       = "bootstrap.kubernetes.io/token"
	infoName        = "cluster-info"
	infoKey         = "kubeconfig"
	signaturePrefix = "jws-kubeconfig-"
)

// secretName is the form of the names of tokens, with the ID in it.
var secretName = regexp.MustCompile(`^bootstrap-token-([a-z0-9]{6})$`)

func tokens(api cluster.API) cluster.Cache {
	return api.Selected(kinds.For[*corev1.Secret](), "type="+tokenType)
}

func isToken(o kinds.Object) bool {
	s, ok := o.(*corev1.Secret)
	return ok && string(s.Type) == tokenType && s.Namespace == metav1.NamespaceSystem
}

// Cleaner is token-cleaner-controller.
func Cleaner(d loop.Deps) loop.Loop {
	secrets := tokens(d.API)
	return loop.New(d, loop.Spec[loop.Key, *corev1.Secret]{
		Name: "token-cleaner-controller",
		Sources: []loop.Source[loop.Key]{{Cache: secrets, Keys: func(_, after kinds.Object) []loop.Key {
			if !isToken(after) {
				return nil
			}
			return owner.Self(nil, after)
		}}},
		Observe: func(k loop.Key, _ time.Time) (*corev1.Secret, bool) {
			return cluster.Get[*corev1.Secret](secrets, k.Namespace, k.Name)
		},
		Compute: func(s *corev1.Secret, now time.Time) plan.Plan {
			end, limited := expiration(s)
			switch {
			case !limited:
				return plan.Plan{}
			case end.After(now):
				return plan.Plan{After: end.Sub(now)}
			}
			return plan.Plan{Do: []plan.Action{plan.DeleteOf(s)}}
		},
	})
}

// expiration is when a token ends, if it does. A time that nobody can read has
// passed.
func expiration(s *corev1.Secret) (end time.Time, limited bool) {
	text := string(s.Data["expiration"])
	if text == "" {
		return time.Time{}, false
	}
	end, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, true
	}
	return end, true
}

// state is the public information and the tokens.
type state struct {
	Info    *corev1.ConfigMap
	Secrets []*corev1.Secret
}

// Signer is bootstrap-signer-controller.
func Signer(d loop.Deps) loop.Loop {
	secrets, infos := tokens(d.API), d.API.Named(kinds.For[*corev1.ConfigMap](), infoName)
	key := loop.Key{Namespace: metav1.NamespacePublic, Name: infoName}
	return loop.New(d, loop.Spec[loop.Key, state]{
		Name: "bootstrap-signer-controller", Workers: 1,
		Sources: []loop.Source[loop.Key]{
			{Cache: secrets, Keys: func(before, after kinds.Object) []loop.Key {
				if !isToken(before) && !isToken(after) {
					return nil
				}
				return []loop.Key{key}
			}},
			{Cache: infos, Keys: func(before, after kinds.Object) []loop.Key {
				if owner.Self(before, after)[0] != key {
					return nil
				}
				return []loop.Key{key}
			}},
		},
		Observe: func(loop.Key, time.Time) (state, bool) {
			info, ok := cluster.Get[*corev1.ConfigMap](infos, key.Namespace, key.Name)
			return state{info, cluster.List(secrets, metav1.NamespaceSystem, func(s *corev1.Secret) bool { return isToken(s) })}, ok
		},
		Compute: sign,
	})
}

func sign(s state, now time.Time) plan.Plan {
	content, ok := s.Info.Data[infoKey]
	if !ok {
		return plan.Plan{}
	}
	want := s.Info.DeepCopy()
	for k := range want.Data {
		if strings.HasPrefix(k, signaturePrefix) {
			delete(want.Data, k)
		}
	}
	for _, secret := range s.Secrets {
		if id, key, ok := signing(secret, now); ok {
			want.Data[signaturePrefix+id] = signature(content, id, key)
		}
	}
	if apiequality.Semantic.DeepEqual(want.Data, s.Info.Data) {
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{plan.Update{Object: want, MayMiss: true}}}
}

// signing is the parts of a token, if it may sign.
func signing(s *corev1.Secret, now time.Time) (id, key string, ok bool) {
	name := secretName.FindStringSubmatch(s.Name)
	id, key = string(s.Data["token-id"]), string(s.Data["token-secret"])
	end, limited := expiration(s)
	ok = name != nil && name[1] == id && key != "" && string(s.Data["usage-bootstrap-signing"]) == "true" && (!limited || end.After(now))
	return id, key, ok
}

// signature is a JWS of the content without the content.
func signature(content, id, key string) string {
	header, err := json.Marshal(map[string]string{"alg": "HS256", "kid": id})
	if err != nil {
		panic(err) // strings always marshal
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil))
}
