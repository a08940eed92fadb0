package plan_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/workbench"
)

func secret(name string) *corev1.Secret { return &corev1.Secret{ObjectMeta: workbench.Meta(name)} }

type ground struct {
	*workbench.API
	env    plan.Env
	writes []plan.Write
}

func newGround() *ground {
	g := &ground{API: workbench.NewAPI(testingclock.NewFakePassiveClock(workbench.Epoch))}
	g.env = plan.Env{Calls: g.API, Events: g.Recorder("test"), Wrote: func(w plan.Write) { g.writes = append(g.writes, w) }}
	return g
}

func (g *ground) run(p plan.Plan) (time.Duration, error) {
	return plan.Run(context.Background(), &g.env, p)
}

func TestAFailureEndsTheListAndThenIsAsked(t *testing.T) {
	g := newGround()
	g.Seed(secret("there"))
	asked := false
	after, err := g.run(plan.Plan{
		Do:    []plan.Action{plan.Create{Object: secret("a")}, plan.Create{Object: secret("there")}, plan.Create{Object: secret("never")}},
		After: time.Minute,
		Then: func(out plan.Outcome) plan.Plan {
			asked = len(out.Results) == 2 && apierrors.IsAlreadyExists(out.Err) && out.Results[0].Object.GetName() == "a"
			return plan.Plan{Do: []plan.Action{plan.Create{Object: secret("b")}}, After: time.Second}
		},
	})
	if !asked || !apierrors.IsAlreadyExists(err) || after != time.Second {
		t.Fatalf("asked %t, after %s, %v", asked, after, err)
	}
	if want := `secrets "there" already exists`; plan.Cause(err).Error() != want {
		t.Fatalf("cause %q, want %q", plan.Cause(err), want)
	}
	calls := g.Calls()
	if want := []string{"create secrets default/a", "create secrets default/there", "create secrets default/b"}; !slices.Equal(calls, want) {
		t.Fatalf("calls %v", calls)
	}
}

func TestAPlanWithoutEndIsAnError(t *testing.T) {
	var again func(plan.Outcome) plan.Plan
	again = func(plan.Outcome) plan.Plan { return plan.Plan{Then: again} }
	if _, err := newGround().run(plan.Plan{Then: again}); err == nil {
		t.Fatal("no error")
	}
}

func TestWhatIsNoError(t *testing.T) {
	g := newGround()
	g.Seed(secret("there"))
	k := kinds.For[*corev1.Secret]()
	for name, a := range map[string]plan.Action{
		"delete of what is gone":         plan.Delete{Kind: k, Namespace: "default", Name: "gone"},
		"create of what may exist":       plan.Create{Object: secret("there"), MayExist: true},
		"patch of what may be gone":      plan.Patch{Kind: k, Namespace: "default", Name: "gone", Type: types.MergePatchType, Data: []byte("{}"), MayMiss: true},
		"patch of another of the name":   plan.Patch{Kind: k, Namespace: "default", Name: "there", Type: types.MergePatchType, Data: []byte(`{"metadata":{"uid":"other"}}`), MayMiss: true},
		"update of what may be gone":     plan.Update{Object: secret("gone"), MayMiss: true},
		"get of what is not there":       plan.Get{Kind: k, Namespace: "default", Name: "gone"},
		"a sequence and a parallel of 0": plan.Sequence{plan.Parallel{}},
	} {
		if r := a.Run(context.Background(), &g.env); r.Err != nil || r.Object != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if len(g.writes) != 0 {
		t.Errorf("writes %v", g.writes)
	}
}

func TestWritesAreTold(t *testing.T) {
	g := newGround()
	if _, err := g.run(plan.Plan{Do: []plan.Action{plan.Create{Object: secret("a")}}}); err != nil {
		t.Fatal(err)
	}
	o, err := g.Get(context.Background(), kinds.For[*corev1.Secret](), "default", "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.run(plan.Plan{Do: []plan.Action{plan.DeleteOf(o)}}); err != nil {
		t.Fatal(err)
	}
	if len(g.writes) != 2 || g.writes[0].Version != o.GetResourceVersion() || g.writes[1].Version != "" || g.writes[1].UID != o.GetUID() {
		t.Fatalf("writes %+v", g.writes)
	}
}

func TestSlowStart(t *testing.T) {
	g := newGround()
	quota := 6
	g.Fail = func(string, *kinds.Kind, string, string) error {
		if quota--; quota < 0 {
			return errors.New("quota")
		}
		return nil
	}
	p := plan.Parallel{SlowStart: true}
	for i := range 100 {
		p.Parts = append(p.Parts, plan.Create{Object: secret(fmt.Sprint(i))})
	}
	r := p.Run(context.Background(), &plan.Env{Calls: g.API, Events: g.Recorder("test")})
	tried := 0
	for _, x := range r.Each {
		if !x.Skipped {
			tried++
		}
	}
	if r.Err == nil || tried != 7 { // 1, 2, 4
		t.Fatalf("%d tried, %v", tried, r.Err)
	}
}

func TestEventsSayWhatUpstreamSays(t *testing.T) {
	g := newGround()
	say := plan.Say{About: secret("owner"), Done: plan.Note{Reason: "SuccessfulCreate", Format: "Created pod: %s"}, Failed: plan.Note{Reason: "FailedCreate", Format: "Error creating: %v"}}
	g.Fail = func(_ string, k *kinds.Kind, _, name string) error {
		if name == "refused" {
			return apierrors.NewForbidden(k.GroupResource(), name, errors.New("exceeded quota"))
		}
		return nil
	}
	for _, name := range []string{"made", "refused"} {
		plan.Create{Object: secret(name), Say: say}.Run(context.Background(), &g.env)
	}
	want := []workbench.Event{
		{Component: "test", About: "Secret default/owner", Type: "Normal", Reason: "SuccessfulCreate", Message: "Created pod: made"},
		{Component: "test", About: "Secret default/owner", Type: "Warning", Reason: "FailedCreate", Message: `Error creating: secrets "refused" is forbidden: exceeded quota`},
	}
	if got := g.Events(); !slices.Equal(got, want) {
		t.Fatalf("events %+v", got)
	}
}

func TestConfirm(t *testing.T) {
	g := newGround()
	g.Seed(secret("a"))
	c := plan.Confirm{Kind: kinds.For[*corev1.Secret](), Namespace: "default", Name: "a", UID: "secrets-a"}
	if r := c.Run(context.Background(), &g.env); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.UID = "other"
	if r := c.Run(context.Background(), &g.env); r.Err == nil {
		t.Fatal("another object of the name was taken for it")
	}
	c.Name = "gone"
	if r := c.Run(context.Background(), &g.env); !apierrors.IsNotFound(r.Err) {
		t.Fatal(r.Err)
	}
}
