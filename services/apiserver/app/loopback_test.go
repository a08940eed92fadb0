package app

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

func TestLoopbackKnowsItsToken(t *testing.T) {
	l := NewLoopback(&user.DefaultInfo{Name: "controllers"})
	if r, ok, err := l.AuthenticateToken(t.Context(), l.token, []string{"a"}); err != nil || !ok || r.User.GetName() != "controllers" {
		t.Fatalf("%v, %v, %v", r, ok, err)
	}
	for _, other := range []string{"", "x", NewLoopback(l.User).token} {
		if _, ok, _ := l.AuthenticateToken(t.Context(), other, nil); ok {
			t.Fatalf("token %q", other)
		}
	}
}

func TestLoopbackTakesOneCertificateOnly(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	for name, c := range map[string]struct {
		shown tls.Certificate
		ok    bool
	}{
		"the server's": {server.TLS.Certificates[0], true},
		"another":      {tls.Certificate{Certificate: [][]byte{[]byte("another")}}, false},
		"none":         {tls.Certificate{}, false},
	} {
		config := NewLoopback(nil).REST(&Config{Certificate: c.shown, Listener: server.Listener})
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Get(config.Host)
		if err == nil {
			_ = answer.Body.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
