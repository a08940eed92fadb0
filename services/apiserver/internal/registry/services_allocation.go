package registry

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
)

// allocation is what one write of a Service takes and gives back.
type allocation struct {
	services *Services
	svc, old *corev1.Service // old is nil for a new one
	dryRun   bool            // nothing is held
	// addresses are to be recorded, dropped are those that no longer are.
	addresses []takenAddress
	dropped   []netip.Addr
	ports     []takenPort
	freed     []int32
	// scarce tells that something was refused because it is taken.
	scarce bool
	// exchanged tells that the Service is not what it was when it was encoded.
	exchanged bool
}

// takenAddress is an address at an index of clusterIPs. One that the server
// chose can be exchanged for another.
type takenAddress struct {
	ip     netip.Addr
	index  int
	chosen bool
	value  []byte // its IPAddress, as it is to be stored, once that is made
}

// takenPort is a node port of the port at an index of the spec's, or of the
// health check.
type takenPort struct {
	number int32
	index  int
	chosen bool
}

const healthCheck = -1

// take takes all that the Service needs, or nothing.
func (a *allocation) take() error {
	s := a.services
	s.mu.Lock()
	defer s.mu.Unlock()
	err := a.clusterIPs()
	if err == nil {
		err = a.nodePorts()
	}
	if err != nil {
		a.retract()
	}
	return err
}

// undo ends what is held.
func (a *allocation) undo() {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	a.giveUp()
}

func (a *allocation) giveUp() {
	if a.dryRun {
		return
	}
	for _, t := range a.addresses {
		giveBack(a.services.addresses, t.ip, a.svc.UID)
	}
	for _, t := range a.ports {
		giveBack(a.services.nodePorts, t.number, a.svc.UID)
	}
}

// retract leaves nothing of the attempt, in the Service either, so that it can
// be made again.
func (a *allocation) retract() {
	a.giveUp()
	for _, t := range a.addresses {
		if t.chosen {
			a.setIP(t.index, "")
		}
	}
	for _, t := range a.ports {
		if t.chosen {
			a.setPort(t.number, 0)
		}
	}
	a.addresses, a.dropped, a.ports, a.freed = nil, nil, nil, nil
}

// empty tells that the Service's write is an ordinary one.
func (a *allocation) empty() bool {
	return a == nil || len(a.addresses)+len(a.dropped)+len(a.ports)+len(a.freed) == 0
}

// ending is what the removal of a Service gives back.
func (s *Services) ending(svc *corev1.Service) *allocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &allocation{services: s, svc: svc, dropped: s.recorded(svc, addressesOf(svc)), freed: nodePortsOf(svc)}
}

func (a *allocation) invalid(p *field.Path, value any, reason string) error {
	k := kinds.For[*corev1.Service]().GroupVersionKind().GroupKind()
	return apierrors.NewInvalid(k, a.svc.Name, field.ErrorList{field.Invalid(p, value, reason)})
}

func headless(svc *corev1.Service) bool {
	return len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == corev1.ClusterIPNone || svc.Spec.ClusterIP == corev1.ClusterIPNone
}

func external(svc *corev1.Service) bool { return svc.Spec.Type == corev1.ServiceTypeExternalName }
