package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"coracle.local/services/kubelet/internal/engine"
)

// Logs copies a container's log.
func (r *Runtime) Logs(ctx context.Context, id string, opts engine.LogOptions, stdout, stderr io.Writer) error {
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return err
	}
	stream, err := r.calls.logs(ctx, id, logsOptions(opts, stdout != nil, stderr != nil))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { _ = stream.Close() }()
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	if opts.LimitBytes > 0 {
		// One budget for both: what is asked for is the size of the whole.
		budget := &limit{left: opts.LimitBytes}
		stdout, stderr = limited{stdout, budget}, limited{stderr, budget}
	}
	if c.Config.Tty {
		_, err = io.Copy(stdout, stream)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, stream)
	}
	if err == nil || errors.Is(err, errLimit) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("copy logs of container %s: %w", id, err)
}

func logsOptions(o engine.LogOptions, stdout, stderr bool) container.LogsOptions {
	out := container.LogsOptions{
		ShowStdout: stdout, ShowStderr: stderr,
		Follow: o.Follow, Timestamps: o.Timestamps,
		Tail: "all",
	}
	if o.Tail >= 0 {
		out.Tail = strconv.FormatInt(o.Tail, 10)
	}
	if !o.Since.IsZero() {
		out.Since = o.Since.Format(time.RFC3339Nano)
	}
	return out
}

var errLimit = errors.New("limit reached")

type limit struct{ left int64 }

// limited writes until the limit is used up, then fails with errLimit.
type limited struct {
	io.Writer
	limit *limit
}

func (l limited) Write(p []byte) (int, error) {
	short := int64(len(p)) >= l.limit.left
	if short {
		p = p[:l.limit.left]
	}
	n, err := l.Writer.Write(p)
	l.limit.left -= int64(n)
	if err == nil && short {
		err = errLimit
	}
	return n, err
}
