package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/etcd"
)

// ListOptions select and page.
type ListOptions struct {
	Namespace            string
	Labels               labels.Selector
	Fields               fields.Selector
	ResourceVersion      string
	ResourceVersionMatch string
	Limit                int64
	Continue             string
}

// List is a page of a collection at one revision.
type List struct {
	Items    []*cache.Item
	Revision int64
	// Continue is empty on the last page.
	Continue string
	// Remaining is how many objects follow, where that is known.
	Remaining *int64
}

func (o ListOptions) selector() cache.Selector {
	return cache.Selector{Namespace: o.Namespace, Labels: o.Labels, Fields: o.Fields}
}

func (o ListOptions) selects() bool {
	return (o.Labels != nil && !o.Labels.Empty()) || (o.Fields != nil && !o.Fields.Empty())
}

// List reads a page. The first is served from the cache; the next ones show the
// same revision, which etcd still has.
func (r *Registry) List(ctx context.Context, k *kinds.Kind, o ListOptions) (*List, error) {
	if o.Continue != "" {
		return r.proceed(ctx, k, o)
	}
	revision, err := ParseVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	exact := o.ResourceVersionMatch == string(metav1.ResourceVersionMatchExact) ||
		(o.Limit > 0 && o.ResourceVersionMatch == "" && revision > 0)
	if exact {
		if err := r.Cache.Reach(ctx, revision); err != nil {
			return nil, err
		}
		return r.past(ctx, k, o, revision, "")
	}
	if err := r.reach(ctx, o.ResourceVersion); err != nil {
		return nil, err
	}
	if o.ResourceVersion == "0" {
		o.Limit = 0 // whatever there is, whole, as upstream's cache gives it
	}
	return r.present(k, o, "")
}

// present reads from the cache.
func (r *Registry) present(k *kinds.Kind, o ListOptions, from string) (*List, error) {
	if show := r.show(k); show != nil {
		return r.presentAs(k, o, from, show)
	}
	out := &List{}
	var rest int64
	if o.Limit > 0 {
		out.Revision = r.Cache.Scan(k, o.selector(), from, func(i *cache.Item, chosen bool) bool { return out.take(o, i, chosen, &rest) })
	} else {
		out.Revision = r.Cache.List(k, o.selector(), from, func(i *cache.Item) bool { return out.take(o, i, true, &rest) })
	}
	if rest > 0 {
		out.more(o, rest)
	}
	return out, nil
}

// presentAs reads from the cache what is shown as another kind.
func (r *Registry) presentAs(k *kinds.Kind, o ListOptions, from string, show func(*cache.Item) (*cache.Item, error)) (*List, error) {
	out, selector := &List{}, o.selector()
	items, revision := r.Cache.Candidates(stored(k), selector, from)
	out.Revision = revision
	var rest int64
	for _, i := range items {
		i, err := show(i)
		if err != nil {
			return nil, unconverted(err)
		}
		chosen, err := selector.Chooses(i)
		if err != nil {
			return nil, unconverted(err)
		}
		if !out.take(o, i, chosen, &rest) {
			break
		}
	}
	if rest > 0 {
		out.more(o, rest)
	}
	return out, nil
}

// take adds an item to a page if it is chosen, or counts what follows the page
// where that is told: without selectors. With them whatever follows makes the
// page one of several, chosen or not. It returns whether more can matter.
func (l *List) take(o ListOptions, i *cache.Item, chosen bool, rest *int64) bool {
	if o.Limit > 0 && int64(len(l.Items)) == o.Limit {
		*rest++
		return !o.selects()
	}
	if chosen {
		l.Items = append(l.Items, i)
	}
	return true
}

// past reads from etcd as it was at a revision.
func (r *Registry) past(ctx context.Context, k *kinds.Kind, o ListOptions, revision int64, from string) (*List, error) {
	out, show := &List{Revision: revision}, r.show(k)
	selector := o.selector()
	for {
		limit := o.Limit
		items, rest, err := r.Cache.At(ctx, stored(k), o.Namespace, from, revision, limit)
		if errors.Is(err, etcd.ErrCompacted) {
			return nil, expired(o.Namespace, from)
		}
		if err != nil {
			return nil, err
		}
		for n, i := range items {
			from = cache.Key(i.Namespace, i.Name) + "\x00"
			if show != nil {
				if i, err = show(i); err != nil {
					return nil, unconverted(err)
				}
			}
			if chosen, err := selector.Chooses(i); err != nil {
				return nil, unconverted(err)
			} else if !chosen {
				continue
			}
			out.Items = append(out.Items, i)
			if o.Limit > 0 && int64(len(out.Items)) == o.Limit {
				if rest += int64(len(items) - n - 1); rest > 0 {
					out.more(o, rest)
				}
				return out, nil
			}
		}
		if rest == 0 || limit == 0 {
			return out, nil
		}
	}
}

func (l *List) more(o ListOptions, rest int64) {
	last := l.Items[len(l.Items)-1]
	l.Continue = continueAt(o.Namespace, l.Revision, cache.Key(last.Namespace, last.Name)+"\x00")
	if !o.selects() {
		l.Remaining = &rest
	}
}

const tokenVersion = "meta.k8s.io/v1"

// token is upstream's continue token. A revision of -1 means: from there on, as
// things are now. Start is below the namespace, if one was listed.
type token struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	Start    string `json:"start"`
}

// continueAt makes the token of a list that goes on at a key of the collection.
func continueAt(namespace string, revision int64, key string) string {
	if namespace != "" {
		key = strings.TrimPrefix(key, namespace+"/")
	}
	b, err := json.Marshal(token{Version: tokenVersion, Revision: revision, Start: key})
	if err != nil {
		panic(err) // strings and a number always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// errToken opens what is said about a token that is not one of ours.
var errToken = errors.New("invalid continue token: continue key is not valid")

// parseToken reads a token and returns the key of the collection at which to go
// on. It never lies outside the namespace.
func parseToken(namespace, text string) (revision int64, from string, err error) {
	var t token
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	start := "/" + strings.TrimPrefix(t.Start, "/")
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", errToken, err)
	case t.Version != tokenVersion:
		err = fmt.Errorf("%w: server does not recognize this encoded version %s", errToken, t.Version)
	case t.Revision == 0:
		err = fmt.Errorf("%w: incorrect encoded start resourceVersion (version %s)", errToken, tokenVersion)
	case t.Start == "":
		err = fmt.Errorf("%w: encoded start key empty (version %s)", errToken, tokenVersion)
	case path.Clean(start) != start:
		err = fmt.Errorf("%w: %s", errToken, t.Start)
	}
	if err != nil {
		return 0, "", apierrors.NewBadRequest(err.Error())
	}
	if namespace != "" {
		return t.Revision, namespace + start, nil
	}
	return t.Revision, start[1:], nil
}

func (r *Registry) proceed(ctx context.Context, k *kinds.Kind, o ListOptions) (*List, error) {
	revision, from, err := parseToken(o.Namespace, o.Continue)
	if err != nil {
		return nil, err
	}
	if o.ResourceVersion != "" && o.ResourceVersion != "0" {
		return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	if revision < 0 {
		if err := r.Cache.Fresh(ctx); err != nil {
			return nil, err
		}
		return r.present(k, o, from)
	}
	return r.past(ctx, k, o, revision, from)
}

// expired is upstream's answer for a page that is no longer kept; it carries a
// token with which the rest can be read as it is now.
func expired(namespace, from string) error {
	if from == "" {
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	err := apierrors.NewResourceExpired("The provided continue parameter is too old " +
		"to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to " +
		"retrieve the remainder of the results. Continuing with the provided " +
		"token results in an inconsistent list - objects that were created, " +
		"modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list.")
	err.ErrStatus.ListMeta.Continue = continueAt(namespace, -1, from)
	return err
}
