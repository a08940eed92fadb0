package cache

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/libs/kinds"
)

// fill sets every field of a value, down to a depth.
func fill(v reflect.Value, depth int) {
	switch o := v.Addr().Interface().(type) {
	case *metav1.Time:
		*o = metav1.NewTime(time.Unix(1e9, 0))
		return
	case *metav1.MicroTime:
		*o = metav1.NewMicroTime(time.Unix(1e9, 1000))
		return
	case *resource.Quantity:
		*o = resource.MustParse("3Gi")
		return
	case *intstr.IntOrString:
		*o = intstr.FromString("80%")
		return
	case *runtime.RawExtension:
		o.Raw = []byte(`{"a":1}`)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(300)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(2.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		if depth > 0 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(v.Index(0), depth-1)
			fill(v.Index(1), depth-1)
		}
	case reflect.Map:
		if depth > 0 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, depth-1)
			fill(value, depth-1)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth)
			}
		}
	}
}

// Whatever becomes of the bytes of an object, they pass only if they can be
// decoded, and little that can be does not pass.
func TestWellFormedIsWhatDecodes(t *testing.T) {
	var decoded, refused int
	random := rand.New(rand.NewPCG(1, 2))
	for _, k := range kinds.Stored() {
		o := k.New()
		fill(reflect.ValueOf(o).Elem(), 3)
		whole, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !wellFormed(k, whole) {
			t.Errorf("%s: a whole object does not pass", k)
		}
		var broken int
		for range 8 {
			b := append([]byte(nil), whole...)
			for range 1 + random.IntN(2) {
				b[random.IntN(len(b))] = byte(random.Uint32())
			}
			if random.IntN(3) == 0 {
				b = b[:random.IntN(len(b))]
			}
			passes, err := wellFormed(k, b), k.New().Unmarshal(b)
			if err != nil {
				broken++
			}
			if passes && err != nil {
				t.Errorf("%s: what passes does not decode: %v", k, err)
			}
			if err == nil {
				decoded++
				if !passes {
					refused++ // such as a group, which decoding skips
				}
			}
		}
		if broken == 0 {
			t.Errorf("%s: nothing was broken", k)
		}
	}
	if refused*10 > decoded {
		t.Errorf("of %d objects that can be decoded %d do not pass", decoded, refused)
	}
}

func BenchmarkWellFormed(b *testing.B) {
	k := kinds.For[*corev1.Pod]()
	o := k.New()
	fill(reflect.ValueOf(o).Elem(), 4)
	message, err := o.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("walk", func(b *testing.B) {
		b.SetBytes(int64(len(message)))
		for b.Loop() {
			wellFormed(k, message)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(message)))
		for b.Loop() {
			_ = k.New().Unmarshal(message)
		}
	})
}
