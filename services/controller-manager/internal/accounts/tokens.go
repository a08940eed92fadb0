// Package accounts keeps the Secrets that hold tokens of ServiceAccounts:
// fills them, deletes them with their account, and lets go of those that
// nobody uses.
package accounts

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// byAccount is the index of token Secrets by namespace and name of the account.
const byAccount = "account"

// tokenSecrets is a cache of token Secrets alone: others may be many and large.
func tokenSecrets(api cluster.API) cluster.Cache {
	return api.Selected(kinds.For[*corev1.Secret](), "type="+string(corev1.SecretTypeServiceAccountToken))
}

// tokenAccount is the account that a Secret is a token of.
func tokenAccount(o any) (loop.Key, bool) {
	s, ok := o.(*corev1.Secret)
	if !ok || s.Type != corev1.SecretTypeServiceAccountToken || s.Annotations[corev1.ServiceAccountNameKey] == "" {
		return loop.Key{}, false
	}
	return loop.Key{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey]}, true
}

func accountIndex(v any) ([]string, error) {
	if k, ok := tokenAccount(v); ok {
		return []string{k.String()}, nil
	}
	return nil, nil
}

// tokenState is a Secret and its account as caches show them.
type tokenState struct {
	Secret *corev1.Secret
	// Account is nil if no cache shows it.
	Account *corev1.ServiceAccount
}

// Tokens is serviceaccount-token-controller. root, in PEM, is what a Secret
// has as ca.crt; it may be empty.
func Tokens(d loop.Deps, signer *Signer, root []byte) []loop.Loop {
	secrets, accounts := tokenSecrets(d.API), cluster.Of[*corev1.ServiceAccount](d.API)
	secrets.Index(byAccount, accountIndex)
	const name = "serviceaccount-token-controller"
	fill := loop.New(d, loop.Spec[loop.Key, tokenState]{
		Name: name, Part: "secrets",
		Sources: []loop.Source[loop.Key]{
			{Cache: secrets, Keys: func(_, after kinds.Object) []loop.Key {
				if _, ok := tokenAccount(after); !ok {
					return nil
				}
				return owner.Self(nil, after)
			}},
			{Cache: accounts, Keys: func(before, after kinds.Object) []loop.Key {
				if after != nil && before != nil && before.GetUID() == after.GetUID() {
					return nil
				}
				o := owner.Self(before, after)[0]
				var out []loop.Key
				for _, s := range cluster.By[*corev1.Secret](secrets, byAccount, o.String()) {
					out = append(out, owner.Self(nil, s)...)
				}
				return out
			}},
		},
		Observe: func(k loop.Key, _ time.Time) (tokenState, bool) {
			s, ok := cluster.Get[*corev1.Secret](secrets, k.Namespace, k.Name)
			if !ok {
				return tokenState{}, false
			}
			of, ok := tokenAccount(s)
			if !ok {
				return tokenState{}, false
			}
			account, _ := cluster.Get[*corev1.ServiceAccount](accounts, of.Namespace, of.Name)
			return tokenState{s, account}, true
		},
		Compute: func(s tokenState, _ time.Time) plan.Plan { return tokens(s, signer, root) },
	})
	return []loop.Loop{fill, references(d, name, secrets, accounts)}
}

// tokens deletes the Secret of an account that is gone, by the API server's
// word, and fills the others.
func tokens(s tokenState, signer *Signer, root []byte) plan.Plan {
	uid := types.UID(s.Secret.Annotations[corev1.ServiceAccountUIDKey])
	is := func(a *corev1.ServiceAccount) bool { return a != nil && (uid == "" || uid == a.UID) }
	if is(s.Account) {
		return complete(s.Secret, s.Account, signer, root)
	}
	of, _ := tokenAccount(s.Secret)
	get := plan.Get{Kind: kinds.For[*corev1.ServiceAccount](), Namespace: of.Namespace, Name: of.Name}
	return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		if a, _ := out.Results[0].Object.(*corev1.ServiceAccount); is(a) {
			return complete(s.Secret, a, signer, root)
		}
		return plan.Plan{Do: []plan.Action{plan.DeleteOf(s.Secret)}}
	}}
}

func complete(have *corev1.Secret, account *corev1.ServiceAccount, signer *Signer, root []byte) plan.Plan {
	want := have.DeepCopy()
	if want.Data == nil {
		want.Data = map[string][]byte{}
	}
	if want.Annotations == nil {
		want.Annotations = map[string]string{}
	}
	changed := false
	if len(root) > 0 && !bytes.Equal(want.Data[corev1.ServiceAccountRootCAKey], root) {
		want.Data[corev1.ServiceAccountRootCAKey], changed = root, true
	}
	if len(want.Data[corev1.ServiceAccountNamespaceKey]) == 0 {
		want.Data[corev1.ServiceAccountNamespaceKey], changed = []byte(want.Namespace), true
	}
	sign := len(want.Data[corev1.ServiceAccountTokenKey]) == 0
	if !changed && !sign {
		return plan.Plan{}
	}
	want.Annotations[corev1.ServiceAccountNameKey] = account.Name
	want.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	if !sign {
		return plan.Plan{Do: []plan.Action{plan.Update{Object: want, MayMiss: true}}}
	}
	return plan.Plan{Do: []plan.Action{issue{want, account, signer}}}
}

// issue signs a token and writes the Secret with it: an action of its own
// because signing takes chance, and because nothing shall print what it wrote.
type issue struct {
	secret  *corev1.Secret
	account *corev1.ServiceAccount
	signer  *Signer
}

// Run implements plan.Action.
func (i issue) Run(ctx context.Context, env *plan.Env) plan.Result {
	token, err := i.signer.token(i.account, i.secret)
	if err != nil {
		return plan.Result{Err: fmt.Errorf("sign the token of %s/%s: %w", i.account.Namespace, i.account.Name, err)}
	}
	s := i.secret.DeepCopy()
	s.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	out := plan.Update{Object: s, MayMiss: true}.Run(ctx, env)
	if apierrors.IsConflict(out.Err) {
		return plan.Result{Skipped: true} // somebody else wrote it, which will be told
	}
	return out
}

func (i issue) String() string {
	return "write the token of Secret " + i.secret.Namespace + "/" + i.secret.Name
}

// gone is a token Secret that was deleted.
type gone struct {
	Namespace, Account, Secret string
	UID                        types.UID
}

func (g gone) String() string { return g.Namespace + "/" + g.Secret }

// references takes the names of deleted token Secrets out of their accounts.
func references(d loop.Deps, name string, secrets, accounts cluster.Cache) loop.Loop {
	return loop.New(d, loop.Spec[gone, *corev1.ServiceAccount]{
		Name: name, Part: "references",
		Sources: []loop.Source[gone]{{Cache: secrets, Keys: func(before, after kinds.Object) []gone {
			k, ok := tokenAccount(before)
			if !ok || after != nil {
				return nil
			}
			uid := types.UID(before.GetAnnotations()[corev1.ServiceAccountUIDKey])
			return []gone{{k.Namespace, k.Name, before.GetName(), uid}}
		}}},
		Reads: []cluster.Cache{accounts},
		Observe: func(g gone, _ time.Time) (*corev1.ServiceAccount, bool) {
			if _, again := cluster.Get[*corev1.Secret](secrets, g.Namespace, g.Secret); again {
				return nil, false
			}
			a, ok := cluster.Get[*corev1.ServiceAccount](accounts, g.Namespace, g.Account)
			if !ok || g.UID != "" && g.UID != a.UID {
				return nil, false
			}
			is := func(r corev1.ObjectReference) bool { return r.Name == g.Secret }
			if !slices.ContainsFunc(a.Secrets, is) {
				return nil, false
			}
			a = a.DeepCopy()
			a.Secrets = slices.DeleteFunc(a.Secrets, is)
			return a, true
		},
		Compute: func(a *corev1.ServiceAccount, _ time.Time) plan.Plan {
			return plan.Plan{Do: []plan.Action{plan.Update{Object: a, MayMiss: true}}}
		},
	})
}
