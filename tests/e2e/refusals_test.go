package e2e

import (
	"context"
	"testing"

	"coracle.local/tests/refusals"
)

// TestRefusalsOfWrongRequests holds our answers to wrong requests to those of upstream, which
// package oracle holds to the same list.
func TestRefusalsOfWrongRequests(t *testing.T) {
	c, maps := bare(t)
	account(t, c)
	there := configMap("there", nil)
	there.Data = map[string]string{"k": "v"}
	if _, err := maps.Create(context.Background(), there); err != nil {
		t.Fatal(err)
	}
	web := newWeb(t, c.Config)
	all, err := refusals.All()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("of", func(t *testing.T) {
		for _, r := range all {
			t.Run(r.Name, func(t *testing.T) {
				t.Parallel() // some wait for what never comes
				if err := r.Check(context.Background(), web.client, web.server); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
