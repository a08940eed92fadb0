package wire_test

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func TestEventRoundTrip(t *testing.T) {
	in := &wire.Event[*corev1.Pod]{Type: apiv1.EventType_EVENT_TYPE_MODIFIED, Object: pod()}
	encoded, err := wire.Codec().Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := pod().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	shared := wire.EventFrame(apiv1.EventType_EVENT_TYPE_MODIFIED, frame)
	for name, b := range map[string]mem.BufferSlice{"marshalled": encoded, "around a frame": shared} {
		out := &wire.Event[*corev1.Pod]{Object: &corev1.Pod{}}
		if err := wire.Codec().Unmarshal(b, out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if out.Type != in.Type || !equality.Semantic.DeepEqual(out.Object, in.Object) {
			t.Errorf("%s: got %+v", name, out)
		}
	}
}

func TestWriteRoundTrip(t *testing.T) {
	in := &wire.Write[*corev1.Pod]{Object: pod(), Options: &apiv1.WriteOptions{DryRun: true, FieldManager: "m"}, Subresource: "finalize"}
	b, err := in.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := &wire.Write[*corev1.Pod]{Object: &corev1.Pod{}}
	if err := out.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(out.Options, in.Options) || out.Subresource != in.Subresource || !equality.Semantic.DeepEqual(out.Object, in.Object) {
		t.Errorf("got %+v", out)
	}
}

func TestListReadsWhatUpstreamWrites(t *testing.T) {
	remaining := int64(7)
	in := &corev1.PodList{
		ListMeta: metav1.ListMeta{ResourceVersion: "12", Continue: "c", RemainingItemCount: &remaining},
		Items:    []corev1.Pod{*pod(), *pod()},
	}
	b, err := in.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := &wire.List[*corev1.Pod]{New: func() *corev1.Pod { return &corev1.Pod{} }}
	if err := out.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if len(out.Items) != 2 || out.ResourceVersion != "12" || out.Continue != "c" {
		t.Errorf("got %+v", out)
	}

	built := wire.ListHead("12", "c", &remaining)
	for range 2 {
		frame, err := pod().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		built = append(wire.ListItem(built, len(frame)), frame...)
	}
	var back corev1.PodList
	if err := back.Unmarshal(built); err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(&back, in) {
		t.Errorf("built list differs: %+v", back)
	}
}

func TestAppendResourceVersionMerges(t *testing.T) {
	frame, err := pod().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	frame = wire.AppendResourceVersion(wire.AppendResourceVersion(frame, "1"), "22")
	var got corev1.Pod
	if err := got.Unmarshal(frame); err != nil {
		t.Fatal(err)
	}
	want := pod()
	want.ResourceVersion = "22"
	if !equality.Semantic.DeepEqual(&got, want) {
		t.Errorf("got %+v", got.ObjectMeta)
	}
}

func FuzzFramesNeverPanic(f *testing.F) {
	f.Add([]byte{0x08, 0x01, 0x12, 0x00})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = (&wire.Event[*corev1.Pod]{Object: &corev1.Pod{}}).Unmarshal(b)
		_ = (&wire.Write[*corev1.Pod]{Object: &corev1.Pod{}}).Unmarshal(b)
		_ = (&wire.List[*corev1.Pod]{New: func() *corev1.Pod { return &corev1.Pod{} }}).Unmarshal(b)
	})
}
