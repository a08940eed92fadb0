package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/storage/volume"

	"coracle.local/services/controller-manager/internal/plan"
)

// reclaim does what the policy of a released volume says.
func reclaim(v *corev1.PersistentVolume) plan.Plan {
	if v.Annotations[helpers.AnnMigratedTo] != "" {
		return plan.Plan{} // its driver does
	}
	switch v.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimRetain:
		return plan.Plan{}
	case corev1.PersistentVolumeReclaimDelete:
		return remove(v)
	case corev1.PersistentVolumeReclaimRecycle:
		return failed(v, failedRecycle, "No recycler plugin found for the volume!")
	}
	return failed(v, "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy")
}

func failed(v *corev1.PersistentVolume, reason, message string) plan.Plan {
	if v.Status.Phase == corev1.VolumeFailed {
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{phaseOf(v, corev1.VolumeFailed, message), event(v, corev1.EventTypeWarning, reason, message)}}
}

// remove deletes a volume that nobody else will. Those of drivers are left to
// them.
func remove(v *corev1.PersistentVolume) plan.Plan {
	if by, ok := v.Annotations[helpers.AnnDynamicallyProvisioned]; ok && by != "" {
		switch {
		case !strings.HasPrefix(by, "kubernetes.io/"), migrated[by] != "":
			return plan.Plan{}
		case by != "kubernetes.io/host-path":
			return failed(v, failedDelete, "no volume plugin matched name: "+by)
		}
	}
	switch {
	case v.Spec.CSI != nil:
		return plan.Plan{}
	case v.Spec.NFS != nil:
		return failed(v, failedDelete, fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", v.Name))
	case v.Spec.HostPath == nil:
		return failed(v, failedDelete, fmt.Sprintf("error getting deleter volume plugin for volume %q: no volume plugin matched", v.Name))
	}
	return plan.Plan{Do: []plan.Action{erase{v.Spec.HostPath.Path}}, Then: func(out plan.Outcome) plan.Plan {
		if err := out.Results[0].Partial; err != nil {
			p := failed(v, failedDelete, err.Error())
			p.After = eraseAgain
			return p
		}
		p := plan.Plan{}
		if i := slices.Index(v.Finalizers, helpers.PVDeletionInTreeProtectionFinalizer); i >= 0 {
			free := v.DeepCopy()
			free.Finalizers = slices.Delete(free.Finalizers, i, i+1)
			p.Add(plan.Update{Object: free})
		}
		d := plan.DeleteOf(v)
		d.Options = metav1.DeleteOptions{}
		p.Add(d)
		return p
	}}
}

// eraseAgain is how soon a folder that could not be deleted is tried again.
const eraseAgain = 15 * time.Second

// erase deletes a folder of this machine. Nothing outside of /tmp is touched,
// as upstream. Why it could not is an answer for people, not a failure.
type erase struct{ path string }

// Run implements plan.Action.
func (e erase) Run(context.Context, *plan.Env) plan.Result {
	if inside, err := filepath.Rel("/tmp", filepath.Clean(e.path)); err != nil || inside == "." || inside == ".." || strings.HasPrefix(inside, "../") {
		return plan.Result{Partial: fmt.Errorf("host_path deleter only supports /tmp/.+ but received provided %s", e.path)}
	}
	return plan.Result{Partial: os.RemoveAll(filepath.Clean(e.path))}
}

func (e erase) String() string { return "erase " + e.path }
