package rest

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUntimed(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	o := &metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		{Manager: "a", Operation: "Apply", Time: &at},
		{Manager: "b", Operation: "Update", Time: &at},
		{Manager: "c", Operation: "Update", Time: &at, Subresource: "scale"},
	}}
	untimed(o)
	got := ""
	for _, e := range o.ManagedFields {
		got += e.Manager
		if (e.Time == nil) != (e.Subresource == "scale") {
			t.Errorf("%s was at %v", e.Manager, e.Time)
		}
	}
	if got != "acb" {
		t.Errorf("the order is %s", got)
	}
}
