package dropin

import (
	"context"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"coracle.local/libs/client"
	"coracle.local/libs/flags"
	"coracle.local/libs/serve"
	apiserver "coracle.local/services/apiserver/app"
	manager "coracle.local/services/controller-manager/app"
)

// controllers that run beside the API server by default: with them a namespace
// finishes and owned objects are collected, and nothing appears that a test has
// not asked for.
var controllers = []string{"namespace-controller", "garbage-collector-controller"}

func runAPIServer(ctx context.Context, log *zap.Logger, name string, args []string) error {
	var f apiserver.Flags
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.Add(fs)
	run := fs.StringSlice("controllers", controllers, "controllers to run in this process, as kube-controller-manager's flag; --controllers=none runs none")
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, stop, err := f.Config(log)
	if err != nil {
		return err
	}
	defer stop()
	if len(*run) == 0 || (*run)[0] == "none" {
		return apiserver.Run(ctx, cfg)
	}
	return withControllers(ctx, cfg, *run)
}

// withControllers serves, and runs controllers over a connection in memory.
func withControllers(ctx context.Context, cfg apiserver.Config, names []string) error {
	pipe := serve.NewPipe()
	cfg.Pipe = &pipe
	ready := make(chan struct{})
	cfg.OnReady = func() { close(ready) }
	cfg.Loopback = apiserver.NewLoopback(controlUser)
	return serve.All(ctx,
		func(ctx context.Context) error { return apiserver.Run(ctx, cfg) },
		func(ctx context.Context) error {
			select {
			case <-ready:
			case <-ctx.Done():
				return nil
			}
			return control(ctx, cfg, pipe, names)
		},
	)
}

// controlUser is who the controllers are.
var controlUser = &user.DefaultInfo{Name: user.KubeControllerManager}

func control(ctx context.Context, cfg apiserver.Config, pipe serve.Pipe, names []string) error {
	cc, err := pipe.Dial(controlUser, append(client.DialOptions(), grpc.WithUserAgent("kube-controller-manager"))...)
	if err != nil {
		return err
	}
	conn := client.New(cc)
	defer func() { _ = conn.Close() }()
	return manager.Run(ctx, manager.Config{
		Log: cfg.Log.Named("controllers"), Conn: conn, Controllers: names,
		REST: func() (*rest.Config, error) { return cfg.Loopback.REST(&cfg), nil },
	})
}
