package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"coracle.local/services/kubelet/internal/engine"
)

// Stats measures containers and sandboxes.
func (r *Runtime) Stats(ctx context.Context, ids ...string) (map[string]engine.Stats, error) {
	var mu sync.Mutex
	out := make(map[string]engine.Stats, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspections)
	for _, id := range ids {
		group.Go(func() error {
			stats, ok, err := r.measure(ctx, id)
			if err != nil || !ok {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = stats
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func (r *Runtime) measure(ctx context.Context, id string) (engine.Stats, bool, error) {
	c, err := r.calls.inspect(ctx, id)
	if errors.Is(err, engine.ErrNotFound) || (err == nil && !c.State.Running) {
		return engine.Stats{}, false, nil
	}
	if err != nil {
		return engine.Stats{}, false, err
	}
	measured, err := r.calls.stats(ctx, id)
	if errors.Is(err, engine.ErrNotFound) {
		return engine.Stats{}, false, nil
	}
	if err != nil {
		return engine.Stats{}, false, err
	}
	stats, ok := translateStats(measured)
	if ok && identify(c.Config.Labels).kind == typeSandbox && !c.HostConfig.NetworkMode.IsHost() {
		// The engine knows nothing of interfaces that plugins made.
		stats.Network, err = readInterfaces(c.State.Pid)
	}
	return stats, ok, err
}

// readInterfaces reads the counters of a process's network namespace; of one
// that has ended meanwhile there are none.
func readInterfaces(pid int) ([]engine.NetworkStats, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil, nil
	}
	defer func() { _ = f.Close() }()
	return parseInterfaces(f)
}

// parseInterfaces reads /proc/net/dev: two lines of headings, then for each
// interface eight counters received and eight transmitted.
func parseInterfaces(in io.Reader) ([]engine.NetworkStats, error) {
	var out []engine.NetworkStats
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, counters, ok := strings.Cut(lines.Text(), ":")
		name = strings.TrimSpace(name)
		if !ok || name == "lo" {
			continue
		}
		fields := strings.Fields(counters)
		if len(fields) < 12 {
			return nil, fmt.Errorf("unexpected line for interface %s", name)
		}
		values := make([]uint64, len(fields))
		for i, field := range fields {
			v, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("counters of interface %s: %w", name, err)
			}
			values[i] = v
		}
		out = append(out, engine.NetworkStats{
			Name:    name,
			RxBytes: values[0], RxErrors: values[2], RxDrops: values[3],
			TxBytes: values[8], TxErrors: values[10], TxDrops: values[11],
		})
	}
	return out, lines.Err()
}
