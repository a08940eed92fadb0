package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"

	"coracle.local/services/kubelet/internal/engine"
)

// podInterface is the pod's end, by a convention that clients rely on.
const podInterface = "eth0"

// Sandbox is one sandbox to be attached or detached.
type Sandbox struct {
	ID string
	// NetNS is the path of the network namespace. On Detach, empty says that
	// it is gone; a stale path could by now be another process's.
	NetNS           string
	PodUID          string
	Namespace, Name string
	Ports           []engine.PortMapping
}

// Attach gives a sandbox its interface and addresses, the primary first.
// After a failure nothing is left of the attempt.
func (n *Network) Attach(ctx context.Context, s Sandbox) ([]string, error) {
	list, _, err := n.current()
	if err != nil {
		return nil, err
	}
	result, err := n.cni.AddNetworkList(ctx, list, runtimeConf(s))
	if err == nil {
		var ips []string
		if ips, err = addresses(result); err == nil {
			n.remember(s.ID, ips)
			return ips, nil
		}
	}
	// The specification asks for a DEL after a failed ADD. The caller's
	// context may be the reason of the failure, so it does not bound this.
	if undo := n.undo(context.WithoutCancel(ctx), list, s); undo != nil {
		err = errors.Join(err, fmt.Errorf("undo: %w", undo))
	}
	return nil, fmt.Errorf("attach sandbox %s to the pod network: %w", s.ID, err)
}

// undo deletes plugin by plugin: the one that failed to add may fail to delete
// for the same reason, and must not keep the others from it.
func (n *Network) undo(ctx context.Context, list *libcni.NetworkConfigList, s Sandbox) error {
	var errs []error
	for i := range slices.Backward(list.Plugins) {
		single := *list
		single.Plugins = list.Plugins[i : i+1]
		errs = append(errs, n.cni.DelNetworkList(ctx, &single, runtimeConf(s)))
	}
	err := errors.Join(errs...)
	if err == nil {
		n.remember(s.ID, nil)
	}
	return err
}

// Detach takes a sandbox off the network and releases its addresses. It may
// be repeated, and a sandbox that was never attached is no error.
func (n *Network) Detach(ctx context.Context, s Sandbox) error {
	n.mu.Lock()
	ips, known := n.ips[s.ID]
	n.mu.Unlock()
	if known && ips == nil {
		return nil
	}
	return n.detach(ctx, s)
}

func (n *Network) detach(ctx context.Context, s Sandbox) error {
	list, rt, err := n.attached(s)
	if err != nil {
		return err
	}
	if list == nil {
		return nil
	}
	if err := n.cni.DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("detach sandbox %s from the pod network: %w", s.ID, err)
	}
	n.remember(s.ID, nil)
	return nil
}

// IPs returns the addresses an attached sandbox has, or nothing. It asks the
// results that plugins left on disk, so it answers after a restart.
func (n *Network) IPs(id string) []string {
	n.mu.Lock()
	ips, known := n.ips[id]
	n.mu.Unlock()
	if known {
		return ips
	}
	list, rt, err := n.attached(Sandbox{ID: id})
	if err != nil || list == nil {
		return nil
	}
	result, err := n.cni.GetNetworkListCachedResult(list, rt)
	if err != nil || result == nil {
		return nil
	}
	if ips, err = addresses(result); err != nil {
		return nil
	}
	n.remember(id, ips)
	return ips
}

// Forget drops what is kept in memory of a removed sandbox.
func (n *Network) Forget(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ips, id)
}

// Collect detaches every sandbox that is not among the kept: those whose
// engine lost them while nobody looked. Their namespaces are gone.
func (n *Network) Collect(ctx context.Context, keep []string) error {
	attachments, err := n.cni.GetCachedAttachments("")
	if err != nil {
		return fmt.Errorf("list attachments: %w", err)
	}
	var errs []error
	for _, a := range attachments {
		if slices.Contains(keep, a.ContainerID) {
			continue
		}
		if err := n.Detach(ctx, Sandbox{ID: a.ContainerID}); err != nil {
			errs = append(errs, err)
			continue
		}
		n.Forget(a.ContainerID)
		n.cfg.Log.Info("released addresses of a lost sandbox", zap.String("sandbox", a.ContainerID))
	}
	return errors.Join(errs...)
}

// attached returns the configuration and arguments with which a sandbox was
// attached; without a record, those with which it would be now. The list is
// nil when there is neither.
func (n *Network) attached(s Sandbox) (*libcni.NetworkConfigList, *libcni.RuntimeConf, error) {
	rt := runtimeConf(s)
	records, err := n.cni.GetCachedAttachments(s.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("read attachment of sandbox %s: %w", s.ID, err)
	}
	if len(records) > 0 { // never more: a sandbox is attached to one network
		list, err := libcni.NetworkConfFromBytes(records[0].Config)
		if err != nil {
			return nil, nil, fmt.Errorf("read attachment of sandbox %s: %w", s.ID, err)
		}
		rt.Args, rt.CapabilityArgs = records[0].CniArgs, records[0].CapabilityArgs
		return list, rt, nil
	}
	list, _, err := n.current()
	if errors.Is(err, errNotConfigured) {
		return nil, nil, nil
	}
	return list, rt, err
}

func (n *Network) remember(id string, ips []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ips[id] = ips
}

// runtimeConf carries the arguments that plugins know from other runtimes.
func runtimeConf(s Sandbox) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{
		ContainerID: s.ID,
		NetNS:       s.NetNS,
		IfName:      podInterface,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", s.Namespace},
			{"K8S_POD_NAME", s.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", s.ID},
			{"K8S_POD_UID", s.PodUID},
		},
	}
	var ports []map[string]any
	for _, p := range s.Ports {
		port := map[string]any{
			"hostPort":      p.HostPort,
			"containerPort": p.ContainerPort,
			"protocol":      strings.ToLower(p.Protocol),
		}
		if p.HostIP != "" {
			port["hostIP"] = p.HostIP
		}
		ports = append(ports, port)
	}
	if len(ports) > 0 {
		rt.CapabilityArgs = map[string]any{"portMappings": ports}
	}
	return rt
}

func addresses(result types.Result) ([]string, error) {
	r, err := types100.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("read plugin result: %w", err)
	}
	var ips []string
	for _, ip := range r.IPs {
		ips = append(ips, ip.Address.IP.String())
	}
	if len(ips) == 0 {
		return nil, errors.New("plugins assigned no address")
	}
	return ips, nil
}
