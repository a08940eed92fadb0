package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"coracle.local/libs/client"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/tests/fixture"
)

// The one path of every write, as a client of the typed API sees it.

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "x"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](30),
			AutomountServiceAccountToken:  ptr.To(false),
			Containers:                    []corev1.Container{{Name: "c", Image: "nginx"}},
		},
	}
}

// account makes the default ServiceAccount, which the controllers make otherwise.
func account(t *testing.T, c *fixture.Cluster) {
	t.Helper()
	_, err := client.For[*corev1.ServiceAccount](c.Conn).Create(context.Background(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGeneratedNamesAndServerOwnedMetadata(t *testing.T) {
	_, c := bare(t)
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", GenerateName: "made-", UID: "mine", SelfLink: "/x", Generation: 7,
	}}
	got, err := c.Create(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Name, "made-") || len(got.Name) != len("made-")+5 {
		t.Errorf("name %q", got.Name)
	}
	if got.UID == "mine" || got.UID == "" || got.SelfLink != "" || got.CreationTimestamp.IsZero() || got.ResourceVersion == "" {
		t.Errorf("metadata %+v", got.ObjectMeta)
	}
}

func TestUpdateOfAStaleVersionConflicts(t *testing.T) {
	_, c := bare(t)
	ctx := context.Background()
	first := create(t, c, "a", nil)
	next := first.DeepCopy()
	next.Data = map[string]string{"k": "1"}
	second, err := c.Update(ctx, next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(ctx, next); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "the object has been modified; please apply your changes to the latest version and try again") {
		t.Errorf("got %v", err)
	}
	same, err := c.Update(ctx, second.DeepCopy())
	if err != nil || same.ResourceVersion != second.ResourceVersion {
		t.Errorf("an update that changes nothing makes version %s of %s (%v)", same.GetResourceVersion(), second.ResourceVersion, err)
	}
	second.ResourceVersion = ""
	second.Data["k"] = "2"
	if _, err := c.Update(ctx, second); err != nil {
		t.Errorf("unconditional update: %v", err)
	}
}

func TestConcurrentPatchesAllArrive(t *testing.T) {
	_, c := bare(t)
	create(t, c, "a", nil)
	errs := make(chan error)
	const writers = 20
	for n := range writers {
		go func() {
			_, err := c.Patch(context.Background(), "default", "a", types.MergePatchType, fmt.Appendf(nil, `{"data":{"k%d":"v"}}`, n), "")
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	got, err := c.Get(context.Background(), "default", "a")
	if err != nil || len(got.Data) != writers {
		t.Errorf("%d of %d patches arrived (%v)", len(got.Data), writers, err)
	}
}

func TestRefusals(t *testing.T) {
	c, maps := bare(t)
	ctx := context.Background()
	create(t, maps, "there", nil)
	for name, f := range map[string]struct {
		do   func() error
		is   func(error) bool
		says string
	}{
		"exists": {
			func() error { _, err := maps.Create(ctx, configMap("there", nil)); return err },
			apierrors.IsAlreadyExists, `configmaps "there" already exists`,
		},
		"absent": {
			func() error { _, err := maps.Get(ctx, "default", "nope"); return err },
			apierrors.IsNotFound, `configmaps "nope" not found`,
		},
		"bad name": {
			func() error { _, err := maps.Create(ctx, configMap("No", nil)); return err },
			apierrors.IsInvalid, `metadata.name: Invalid value: "No"`,
		},
		"no such namespace": {func() error {
			m := configMap("x", nil)
			m.Namespace = "nowhere"
			_, err := maps.Create(ctx, m)
			return err
		}, apierrors.IsNotFound, `namespaces "nowhere" not found`},
		"bad selector": {
			func() error { _, _, err := maps.List(ctx, client.ListOptions{LabelSelector: "a in"}); return err },
			apierrors.IsBadRequest, "",
		},
		"unknown field": {
			func() error { _, _, err := maps.List(ctx, client.ListOptions{FieldSelector: "spec.x=y"}); return err },
			apierrors.IsBadRequest, `"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"`,
		},
		"bad continue": {
			func() error { _, _, err := maps.List(ctx, client.ListOptions{Continue: "x"}); return err },
			apierrors.IsBadRequest, "continue key is not valid",
		},
		"no container": {func() error {
			p := pod("p")
			p.Spec.Containers = nil
			_, err := client.For[*corev1.Pod](c.Conn).Create(ctx, p)
			return err
		}, apierrors.IsInvalid, "spec.containers: Required value"},
		"wrong precondition": {func() error {
			return maps.Delete(ctx, "default", "there", metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("other")})
		}, apierrors.IsConflict, "the UID in the precondition (other) does not match the UID in record"},
		"a version on create": {func() error {
			m := configMap("y", nil)
			m.ResourceVersion = "5"
			_, err := maps.Create(ctx, m)
			return err
		}, func(err error) bool { return err != nil }, "resourceVersion should not be set on objects to be created"},
	} {
		if name == "no container" {
			account(t, c)
		}
		if err := f.do(); !f.is(err) || !strings.Contains(err.Error(), f.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFinalizersKeepAnObject(t *testing.T) {
	_, c := bare(t)
	ctx := context.Background()
	m := configMap("a", nil)
	m.Finalizers = []string{"example.com/wait"}
	if _, err := c.Create(ctx, m); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, "default", "a")
	if err != nil || got.DeletionTimestamp == nil {
		t.Fatalf("while a finalizer holds it: %v, %v", got.GetDeletionTimestamp(), err)
	}
	if _, err := c.Patch(ctx, "default", "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "default", "a"); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer went: %v", err)
	}
}

func TestGracefulDeletionOfPods(t *testing.T) {
	c, _ := bare(t)
	account(t, c)
	ctx := context.Background()
	pods := client.For[*corev1.Pod](c.Conn)
	if _, err := pods.Create(ctx, pod("waiting")); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, "default", "waiting", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "default", "waiting"); !apierrors.IsNotFound(err) {
		t.Errorf("a pod on no node is gone at once: %v", err)
	}
	placed := pod("placed")
	placed.Spec.NodeName = "somewhere"
	if _, err := pods.Create(ctx, placed); err != nil {
		t.Fatal(err)
	}
	for _, grace := range []int64{30, 5} { // a later request may only shorten it
		if err := pods.Delete(ctx, "default", "placed", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
			t.Fatal(err)
		}
		got, err := pods.Get(ctx, "default", "placed")
		if err != nil || got.DeletionGracePeriodSeconds == nil || *got.DeletionGracePeriodSeconds != grace {
			t.Fatalf("grace %v, want %d (%v)", got.GetDeletionGracePeriodSeconds(), grace, err)
		}
	}
	if err := pods.Delete(ctx, "default", "placed", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "default", "placed"); !apierrors.IsNotFound(err) {
		t.Errorf("after a grace of zero: %v", err)
	}
}

func TestBindOnce(t *testing.T) {
	c, _ := bare(t)
	account(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := client.For[*corev1.Pod](c.Conn).Create(ctx, pod("p"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.Conn.Bind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(name, uid, node string) string {
		if err := stream.Send(bindRequest(name, uid, node)); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r.Reason
	}
	if reason := bind("p", "other", "n1"); reason != string(metav1.StatusReasonConflict) {
		t.Errorf("another UID: %q", reason)
	}
	if reason := bind("p", string(p.UID), "n1"); reason != "" {
		t.Errorf("first binding: %q", reason)
	}
	if reason := bind("p", string(p.UID), "n2"); reason != string(metav1.StatusReasonConflict) {
		t.Errorf("second binding: %q", reason)
	}
	if reason := bind("absent", "u", "n1"); reason != string(metav1.StatusReasonNotFound) {
		t.Errorf("absent pod: %q", reason)
	}
	got, err := client.For[*corev1.Pod](c.Conn).Get(ctx, "default", "p")
	if err != nil || got.Spec.NodeName != "n1" || got.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("bound to %q with %+v (%v)", got.Spec.NodeName, got.Status.Conditions, err)
	}
}

func TestGenerationCountsChangesOfTheSpec(t *testing.T) {
	c, _ := bare(t)
	ctx := context.Background()
	deployments := client.For[*appsv1.Deployment](c.Conn)
	labels := map[string]string{"app": "x"}
	d, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("").Spec},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.Generation != 1 || *d.Spec.Replicas != 1 {
		t.Errorf("created with generation %d, %d replicas", d.Generation, *d.Spec.Replicas)
	}
	for _, step := range []struct {
		patch, subresource string
		want               int64
	}{
		{`{"metadata":{"labels":{"a":"b"}}}`, "", 1},
		{`{"spec":{"replicas":3}}`, "", 2},
		{`{"status":{"replicas":3}}`, "status", 2},
		{`{"spec":{"replicas":5}}`, "status", 2}, // is not this subresource's to change
	} {
		if d, err = deployments.Patch(ctx, "default", "d", types.MergePatchType, []byte(step.patch), step.subresource); err != nil {
			t.Fatal(err)
		}
		if d.Generation != step.want {
			t.Errorf("after %s: generation %d, want %d", step.patch, d.Generation, step.want)
		}
	}
	if *d.Spec.Replicas != 3 || d.Status.Replicas != 3 {
		t.Errorf("spec %d, status %d", *d.Spec.Replicas, d.Status.Replicas)
	}
}

func TestPagesShowOneRevision(t *testing.T) {
	_, c := bare(t)
	for n := range 10 {
		create(t, c, fmt.Sprintf("m%02d", n), nil)
	}
	var names []string
	o := client.ListOptions{Namespace: "default", Limit: 3, FieldSelector: "metadata.name!=kube-root-ca.crt"}
	page, revision, token := []*corev1.ConfigMap(nil), "", ""
	for first := true; first || token != ""; first = false {
		o.Continue = token
		var err error
		var at string
		page, at, token, err = c.Page(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if first {
			revision = at
			create(t, c, "m99", nil) // is not of this list
		}
		if at != revision {
			t.Errorf("a page at %s, the first at %s", at, revision)
		}
		for _, m := range page {
			names = append(names, m.Name)
		}
	}
	if len(names) != 10 || names[9] != "m09" {
		t.Errorf("pages hold %v", names)
	}
}

func TestServicesGetAddressesAndPorts(t *testing.T) {
	c, _ := bare(t)
	ctx := context.Background()
	services := client.For[*corev1.Service](c.Conn)
	service := func(name string, change func(*corev1.Service)) (*corev1.Service, error) {
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}
		change(s)
		return services.Create(ctx, s)
	}
	first, err := service("a", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.Spec.ClusterIP, "10.96.") || first.Spec.Ports[0].NodePort < 30000 {
		t.Errorf("got %s and port %d", first.Spec.ClusterIP, first.Spec.Ports[0].NodePort)
	}
	_, err = service("b", func(s *corev1.Service) { s.Spec.ClusterIP = first.Spec.ClusterIP })
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("a taken address: %v", err)
	}
	_, err = service("c", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort = first.Spec.Ports[0].NodePort
	})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "provided port is already allocated") {
		t.Errorf("a taken port: %v", err)
	}
	if err := services.Delete(ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = service("d", func(s *corev1.Service) { s.Spec.ClusterIP = first.Spec.ClusterIP }); err != nil {
		t.Errorf("an address that was given back: %v", err)
	}
	headless, err := service("e", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	if err != nil || headless.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("headless: %v", err)
	}
}

func TestEvictionHeedsBudgets(t *testing.T) {
	c, _ := bare(t)
	account(t, c)
	ctx := context.Background()
	pods := client.For[*corev1.Pod](c.Conn)
	unscheduled := pod("p")
	unscheduled.Spec.SchedulerName = "nobody" // who would write its status at the same time
	p, err := pods.Create(ctx, unscheduled)
	if err != nil {
		t.Fatal(err)
	}
	p.Status.Phase = corev1.PodRunning
	if _, err := pods.UpdateStatus(ctx, p); err != nil {
		t.Fatal(err)
	}
	budgets := client.For[*policyv1.PodDisruptionBudget](c.Conn)
	b, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.Evict(ctx, "default", "p", nil); !apierrors.IsTooManyRequests(err) {
		t.Errorf("with no disruption allowed: %v", err)
	}
	b.Status.ObservedGeneration, b.Status.DisruptionsAllowed = b.Generation, 1
	if _, err := budgets.UpdateStatus(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.Evict(ctx, "default", "p", nil); err != nil {
		t.Fatalf("with one disruption allowed: %v", err)
	}
	after, err := budgets.Get(ctx, "default", "b")
	if err != nil || after.Status.DisruptionsAllowed != 0 {
		t.Errorf("%d disruptions are left (%v)", after.Status.DisruptionsAllowed, err)
	}
}

func bindRequest(name, uid, node string) *apiv1.BindRequest {
	return &apiv1.BindRequest{Namespace: "default", Name: name, Uid: uid, Node: node}
}

// TestSetsWithClaimsAreUpdated: the messages of claim templates do not carry what
// kind these are, which must not look like a change of them.
func TestSetsWithClaimsAreUpdated(t *testing.T) {
	c, _ := bare(t)
	ctx := context.Background()
	sets := c.Clients.AppsV1().StatefulSets("default")
	labels := map[string]string{"app": "db"}
	set, err := sets.Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: "postgres"}}},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	three := int32(3)
	set.Spec.Replicas, set.Spec.VolumeClaimTemplates[0].TypeMeta = &three, metav1.TypeMeta{}
	if _, err := sets.Update(ctx, set, metav1.UpdateOptions{}); err != nil {
		t.Errorf("update: %v", err)
	}
	if _, err := sets.Patch(ctx, "db", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("patch: %v", err)
	}
	typed := client.For[*appsv1.StatefulSet](c.Conn)
	got, err := typed.Get(ctx, "default", "db")
	if err != nil {
		t.Fatal(err)
	}
	got.Spec.Replicas = &three
	if _, err := typed.Update(ctx, got); err != nil {
		t.Errorf("update over gRPC: %v", err)
	}
	text, err := c.Clients.AppsV1().RESTClient().Get().AbsPath("/apis/apps/v1/namespaces/default/statefulsets/db").
		SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"kind":"PersistentVolumeClaim"`, `"replicas":3`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
}
