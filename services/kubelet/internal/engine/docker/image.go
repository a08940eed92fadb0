package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"go.uber.org/zap"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/docker/pause"
)

// pullSilence ends a pull that reports no progress: a connection to a registry
// can hang for ever, and pulls of an image wait for each other in the engine.
const pullSilence = 5 * time.Minute

// Image looks an image up in the engine.
func (r *Runtime) Image(ctx context.Context, ref string) (engine.Image, bool, error) {
	found, err := r.calls.image(ctx, ref)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return engine.Image{}, false, nil
	case err != nil:
		return engine.Image{}, false, err
	}
	image := translateImage(found, r.cfg.PauseImage)
	return image, meant(ref, image), nil
}

// meant is false when the engine took a name such as "cafe" for the beginning
// of an image's ID.
func meant(ref string, image engine.Image) bool {
	if ref == image.ID || "sha256:"+ref == image.ID || !strings.HasPrefix(image.ID, "sha256:"+ref) {
		return true
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return false
	}
	return slices.Contains(image.RepoTags, reference.FamiliarString(reference.TagNameOnly(named)))
}

// Pull fetches an image.
func (r *Runtime) Pull(ctx context.Context, ref string, auth *engine.Auth) (engine.Image, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return engine.Image{}, fmt.Errorf("%w: %q: %w", engine.ErrInvalidImageName, ref, err)
	}
	// Without a tag the engine would fetch all of a repository's.
	ref = reference.TagNameOnly(named).String()
	if err := r.pull(ctx, ref, auth); err != nil {
		return engine.Image{}, classifyPull(err)
	}
	found, err := r.calls.image(ctx, ref)
	if err != nil {
		return engine.Image{}, err
	}
	r.mu.Lock()
	delete(r.images, found.ID) // it may have got its first digest
	r.mu.Unlock()
	return translateImage(found, r.cfg.PauseImage), nil
}

func (r *Runtime) pull(ctx context.Context, ref string, auth *engine.Auth) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(pullSilence, func() {
		cancel(fmt.Errorf("%w: no progress for %s", engine.ErrRegistryUnavailable, pullSilence))
	})
	defer silence.Stop()
	stream, err := r.calls.pull(ctx, ref, auth)
	if err == nil {
		defer func() { _ = stream.Close() }()
		err = readProgress(stream, func() { silence.Reset(pullSilence) })
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// readProgress reads the engine's report of a pull or import to its end, and
// returns the error it tells of, if any.
func readProgress(stream io.Reader, progress func()) error {
	messages := json.NewDecoder(stream)
	for {
		var message struct {
			Error string `json:"error"`
		}
		switch err := messages.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read progress: %w", err)
		case message.Error != "":
			return errors.New(message.Error)
		}
		progress()
	}
}

// classified is an engine's error that is also one of ours, and reads as the
// engine's: it is shown to the pod's owner.
type classified struct {
	error
	kind error
}

func (c classified) Unwrap() []error { return []error{c.error, c.kind} }

// classifyPull goes by the words: engines answer 500 to most of what a
// registry may say.
func classifyPull(err error) error {
	text := strings.ToLower(err.Error())
	has := func(phrases ...string) bool {
		return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(text, p) })
	}
	switch {
	case errors.Is(err, engine.ErrRegistryUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case has("invalid reference format"):
		return classified{error: err, kind: engine.ErrInvalidImageName}
	case has("unauthorized", "authentication required", "no basic auth credentials", "access denied", "denied:"):
		// Registries say so of what does not exist, too.
		return classified{error: err, kind: engine.ErrUnauthorized}
	case has("manifest unknown", "not found", "no matching manifest"):
		return classified{error: err, kind: engine.ErrNotFound}
	case has("dial tcp", "no such host", "connection refused", "i/o timeout", "tls handshake", "x509",
		"server gave http response", "unexpected http status", "service unavailable", "bad gateway", "eof"):
		return classified{error: err, kind: engine.ErrRegistryUnavailable}
	default:
		return err
	}
}

// Images returns all images of the engine.
func (r *Runtime) Images(ctx context.Context) ([]engine.Image, error) {
	found, err := r.calls.images(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]engine.Image, 0, len(found))
	for _, image := range found {
		out = append(out, translateImageSummary(image, r.cfg.PauseImage))
	}
	return out, nil
}

// RemoveImage removes an image name by name, which the engine refuses while a
// container uses it; by ID it would refuse an image with several names.
func (r *Runtime) RemoveImage(ctx context.Context, id string) error {
	found, err := r.calls.image(ctx, id)
	if err != nil {
		return orAbsent(err)
	}
	r.mu.Lock()
	delete(r.images, found.ID)
	r.mu.Unlock()
	for _, name := range slices.Concat(found.RepoTags, found.RepoDigests) {
		if err := r.calls.removeImage(ctx, name); err != nil {
			return err
		}
	}
	// Gone with its last name; one without a name is left.
	return r.calls.removeImage(ctx, found.ID)
}

// ensurePauseImage returns the ID of the pause image. The default one is made
// here, so that a node without a registry can run pods.
func (r *Runtime) ensurePauseImage(ctx context.Context, arch string) (string, error) {
	ref := r.cfg.PauseImage
	found, err := r.calls.image(ctx, ref)
	if err == nil {
		return found.ID, nil
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return "", err
	}
	if ref != DefaultPauseImage || !pause.Supported(arch) {
		image, err := r.Pull(ctx, ref, nil)
		if err != nil {
			return "", fmt.Errorf("pull pause image %s: %w", ref, err)
		}
		return image.ID, nil
	}
	archive, err := pauseArchive(arch)
	if err != nil {
		return "", err
	}
	stream, err := r.calls.importImage(ctx, archive, ref, `ENTRYPOINT ["/pause"]`)
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	if err := readProgress(stream, func() {}); err != nil {
		return "", fmt.Errorf("import pause image: %w", err)
	}
	if found, err = r.calls.image(ctx, ref); err != nil {
		return "", err
	}
	r.log.Info("made the pause image", zap.String("image", ref))
	return found.ID, nil
}

// pauseArchive is the root file system of the pause image.
func pauseArchive(arch string) (io.Reader, error) {
	program, err := pause.Executable(arch)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}
	if err := errors.Join(w.WriteHeader(header), second(w.Write(program)), w.Close()); err != nil {
		return nil, fmt.Errorf("archive pause program: %w", err)
	}
	return &archive, nil
}

func second(_ int, err error) error { return err }
