package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"coracle.local/services/kubelet/internal/engine"
)

// calls are the engine's calls, one each, with our names for their errors.
type calls struct{ api *client.Client }

// named attaches what was being done, and our error where the engine's status
// tells which it is.
func named(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsNotFound(err), strings.Contains(err.Error(), "No such container"):
		// The engine answers 400 about a container that another is to join.
		return fmt.Errorf("%s: %w: %w", doing, engine.ErrNotFound, err)
	case cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "is not running"):
		return fmt.Errorf("%s: %w: %w", doing, engine.ErrNotRunning, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// orAbsent makes the absence of what is to go no error.
func orAbsent(err error) error {
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	return err
}

func (c calls) info(ctx context.Context) (system.Info, error) {
	info, err := c.api.Info(ctx)
	return info, named(err, "ask the engine about itself")
}

// list returns containers with all the labels given, dead ones too.
func (c calls) list(ctx context.Context, labels []string) ([]container.Summary, error) {
	args := filters.NewArgs()
	for _, label := range labels {
		args.Add("label", label)
	}
	found, err := c.api.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	return found, named(err, "list containers")
}

func (c calls) inspect(ctx context.Context, id string) (container.InspectResponse, error) {
	found, err := c.api.ContainerInspect(ctx, id)
	return found, named(err, "inspect container "+id)
}

func (c calls) create(ctx context.Context, asked creation) (string, []string, error) {
	made, err := c.api.ContainerCreate(ctx, asked.config, asked.host, nil, nil, asked.name)
	return made.ID, made.Warnings, named(err, "create container "+asked.name)
}

func (c calls) start(ctx context.Context, id string) error {
	return named(c.api.ContainerStart(ctx, id, container.StartOptions{}), "start container "+id)
}

func (c calls) stop(ctx context.Context, id string, seconds int) error {
	err := c.api.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	return orAbsent(named(err, "stop container "+id))
}

// remove takes the container's anonymous volumes along.
func (c calls) remove(ctx context.Context, id string) error {
	err := c.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return orAbsent(named(err, "remove container "+id))
}

func (c calls) logs(ctx context.Context, id string, o container.LogsOptions) (io.ReadCloser, error) {
	stream, err := c.api.ContainerLogs(ctx, id, o)
	return stream, named(err, "read logs of container "+id)
}

func (c calls) attach(ctx context.Context, id string, o container.AttachOptions) (types.HijackedResponse, error) {
	stream, err := c.api.ContainerAttach(ctx, id, o)
	return stream, named(err, "attach to container "+id)
}

func (c calls) resize(ctx context.Context, id string, s engine.Size) error {
	return named(c.api.ContainerResize(ctx, id, resizeOptions(s)), "resize terminal of container "+id)
}

func (c calls) execCreate(ctx context.Context, id string, o container.ExecOptions) (string, error) {
	made, err := c.api.ContainerExecCreate(ctx, id, o)
	return made.ID, named(err, "exec in container "+id)
}

func (c calls) execAttach(ctx context.Context, exec string, tty bool) (types.HijackedResponse, error) {
	stream, err := c.api.ContainerExecAttach(ctx, exec, container.ExecAttachOptions{Tty: tty})
	return stream, named(err, "start exec")
}

func (c calls) execInspect(ctx context.Context, exec string) (container.ExecInspect, error) {
	state, err := c.api.ContainerExecInspect(ctx, exec)
	return state, named(err, "inspect exec")
}

func (c calls) execResize(ctx context.Context, exec string, s engine.Size) error {
	return named(c.api.ContainerExecResize(ctx, exec, resizeOptions(s)), "resize terminal of exec")
}

func resizeOptions(s engine.Size) container.ResizeOptions {
	return container.ResizeOptions{Width: uint(s.Width), Height: uint(s.Height)}
}

func (c calls) stats(ctx context.Context, id string) (container.StatsResponse, error) {
	var out container.StatsResponse
	answer, err := c.api.ContainerStatsOneShot(ctx, id)
	if err != nil {
		return out, named(err, "measure container "+id)
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("measure container %s: %w", id, err)
	}
	return out, nil
}

// events subscribes before it returns.
func (c calls) events(ctx context.Context, labels []string, actions ...events.Action) (<-chan events.Message, <-chan error) {
	args := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	for _, label := range labels {
		args.Add("label", label)
	}
	for _, action := range actions {
		args.Add("event", string(action))
	}
	return c.api.Events(ctx, events.ListOptions{Filters: args})
}

func (c calls) image(ctx context.Context, ref string) (image.InspectResponse, error) {
	found, err := c.api.ImageInspect(ctx, ref)
	return found, named(err, "inspect image "+ref)
}

func (c calls) images(ctx context.Context) ([]image.Summary, error) {
	found, err := c.api.ImageList(ctx, image.ListOptions{})
	return found, named(err, "list images")
}

func (c calls) removeImage(ctx context.Context, ref string) error {
	_, err := c.api.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	return orAbsent(named(err, "remove image "+ref))
}

// pull returns the engine's own error: what a registry says is for people.
func (c calls) pull(ctx context.Context, ref string, auth *engine.Auth) (io.ReadCloser, error) {
	var options image.PullOptions
	if auth != nil {
		encoded, err := json.Marshal(registry.AuthConfig{
			Username: auth.Username, Password: auth.Password, ServerAddress: auth.ServerAddress,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		})
		if err != nil {
			return nil, err
		}
		options.RegistryAuth = base64.URLEncoding.EncodeToString(encoded)
	}
	return c.api.ImagePull(ctx, ref, options)
}

func (c calls) importImage(ctx context.Context, tar io.Reader, ref string, changes ...string) (io.ReadCloser, error) {
	source := image.ImportSource{Source: tar, SourceName: "-"}
	stream, err := c.api.ImageImport(ctx, source, ref, image.ImportOptions{Changes: changes})
	return stream, named(err, "import image "+ref)
}
