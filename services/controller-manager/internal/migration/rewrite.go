package migration

import (
	"context"
	"encoding/json"
	"fmt"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// rewrite has one object written as it is. That it changed or went in the
// meantime is as good.
type rewrite struct{ plan.Patch }

// Run implements plan.Action.
func (a rewrite) Run(ctx context.Context, env *plan.Env) plan.Result {
	out := a.Patch.Run(ctx, env)
	if apierrors.IsConflict(out.Err) || apierrors.IsNotFound(out.Err) {
		return plan.Result{Skipped: true}
	}
	return out
}

func (a rewrite) String() string {
	return "migrate " + a.Kind.Kind + " " + types.NamespacedName{Namespace: a.Namespace, Name: a.Name}.String()
}

// migrate rewrites every object that is not newer than the migration.
func (r run) migrate() plan.Plan {
	return plan.Plan{Do: []plan.Action{plan.List{Kind: r.kind}}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		objects := out.Results[0].Objects
		var do plan.Parallel
		for _, o := range objects {
			order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), r.m.Status.ResourceVersion)
			if err != nil {
				return r.fail(fmt.Sprintf("migration encountered unhandled error: %s", err))
			}
			if order <= 0 {
				do.Parts = append(do.Parts, rewriteOf(r.kind, o))
			}
		}
		return plan.Plan{Do: []plan.Action{do}, Then: func(out plan.Outcome) plan.Plan { return r.finish(out, len(objects)) }}
	}}
}

func rewriteOf(k *kinds.Kind, o kinds.Object) plan.Action {
	data, err := json.Marshal(map[string]any{
		"apiVersion": k.APIVersion(), "kind": k.Kind, "metadata": map[string]string{"resourceVersion": o.GetResourceVersion()},
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return rewrite{plan.Patch{Kind: k, Namespace: o.GetNamespace(), Name: o.GetName(), Type: types.MergePatchType, Data: data}}
}

// finish writes how it went.
func (r run) finish(out plan.Outcome, total int) plan.Plan {
	left := 0
	var transient, fatal error
	for _, each := range out.Results[0].Each {
		if each.Err == nil {
			continue
		}
		left++
		if passes(each.Err) {
			transient = plan.Cause(each.Err)
		} else {
			fatal = plan.Cause(each.Err)
		}
	}
	running := set(r.m, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, runningReason, progress(left, total, nil), r.now)
	switch {
	case fatal != nil:
		message := fmt.Sprintf("%d/%d not yet migrated. migration encountered unhandled error: %s", left, total, fatal)
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(set(running, storagemigrationv1.MigrationFailed, metav1.ConditionTrue, failedReason, message, r.now))}}
	case transient != nil:
		running = set(r.m, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, runningReason, progress(left, total, transient), r.now)
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(running)}}
	}
	return plan.Plan{Do: []plan.Action{plan.UpdateStatus(set(running, storagemigrationv1.MigrationSucceeded, metav1.ConditionTrue, succeededReason, "Migration completed", r.now))}}
}

// passes tells whether an error may be gone when tried again.
func passes(err error) bool {
	return utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsProbableEOF(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err)
}
