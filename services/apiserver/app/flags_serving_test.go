package app

import (
	"net"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestServingFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		wrong bool
	}{
		"nothing":            {},
		"the one place":      {args: []string{"--etcd-prefix=/registry/"}},
		"another place":      {args: []string{"--etcd-prefix=/clusters/a"}, wrong: true},
		"the one backend":    {args: []string{"--storage-backend=etcd3"}},
		"another backend":    {args: []string{"--storage-backend=etcd2"}, wrong: true},
		"events for a while": {args: []string{"--event-ttl=1h"}},
	} {
		f := parsed(t, test.args...)
		cfg := &Config{Log: zap.NewNop()}
		if err := f.serving.apply(cfg); (err != nil) != test.wrong {
			t.Errorf("%s: %v", name, err)
		}
		if !test.wrong && cfg.EventTTL != time.Hour {
			t.Errorf("%s: events are kept for %s", name, cfg.EventTTL)
		}
	}
}

// TestGRPCPort looks for the port of gRPC: the next one, any other if somebody
// has that, and none if it was asked for.
func TestGRPCPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	number := port(taken)
	cfg := &Config{Log: zap.NewNop()}
	open := func(args ...string) (int, error) {
		l, err := parsed(t, append(args, "--bind-address=127.0.0.1")...).listenGRPC(cfg)
		if err != nil {
			return 0, err
		}
		defer func() { _ = l.Close() }()
		return port(l), nil
	}
	if got, err := open("--secure-port=" + strconv.Itoa(number-1)); err != nil || got == number || got == 0 {
		t.Errorf("beside a port that is taken: %d, %v", got, err)
	}
	if _, err := open("--grpc-port=" + strconv.Itoa(number)); err == nil {
		t.Error("a port that is taken was asked for")
	}
	_ = taken.Close()
	if got, err := open("--secure-port=" + strconv.Itoa(number-1)); err != nil || got != number {
		t.Errorf("the next port: %d, %v", got, err)
	}
	if got, err := open("--secure-port=0", "--grpc-port=0"); err != nil || got == 0 {
		t.Errorf("any port: %d, %v", got, err)
	}
}
