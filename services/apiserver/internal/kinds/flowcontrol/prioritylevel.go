package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	defaultShares      = 30
	defaultHandSize    = 8
	defaultQueues      = 64
	defaultQueueLength = 50
)

// PriorityLevelConfiguration is the behaviour of
// flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration.
func PriorityLevelConfiguration() strategy.Kind[*flowcontrolv1.PriorityLevelConfiguration] {
	queuing := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	k := strategy.Outline[*flowcontrolv1.PriorityLevelConfiguration]()
	k.Default = defaultLevel
	k.ValidateCreate = func(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList { return validateLevel(l, nil) }
	k.ValidateUpdate = validateLevel
	k.Status.PrepareUpdate = func(l, old *flowcontrolv1.PriorityLevelConfiguration) {
		l.Spec = old.Spec
		keepMeta(&l.ObjectMeta, &old.ObjectMeta)
	}
	k.ResetFields = statusAlone()
	k.Status.ValidateUpdate = func(l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
		return validateLevelStatus(&l.Status)
	}
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Text("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]),
		cells.Text("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"]),
		cells.Text("Queues", queuing["queues"]),
		cells.Text("HandSize", queuing["handSize"]),
		cells.Text("QueueLengthLimit", queuing["queueLengthLimit"]),
		cells.Age(),
	)
	k.Cells = func(l *flowcontrolv1.PriorityLevelConfiguration) []any {
		var shares, queues, hand, length any = "<none>", "<none>", "<none>", "<none>"
		if limited := l.Spec.Limited; limited != nil {
			shares = ptr.Deref(limited.NominalConcurrencyShares, 0)
			if q := limited.LimitResponse.Queuing; q != nil {
				queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
			}
		}
		return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, cells.AgeOf(l)}
	}
	return k
}

func defaultLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if e := l.Spec.Exempt; e != nil {
		defaultInt32(&e.NominalConcurrencyShares, 0)
		defaultInt32(&e.LendablePercent, 0)
	}
	limited := l.Spec.Limited
	if limited == nil {
		return
	}
	defaultInt32(&limited.NominalConcurrencyShares, defaultShares)
	defaultInt32(&limited.LendablePercent, 0)
	if q := limited.LimitResponse.Queuing; q != nil {
		if q.HandSize == 0 {
			q.HandSize = defaultHandSize
		}
		if q.Queues == 0 {
			q.Queues = defaultQueues
		}
		if q.QueueLengthLimit == 0 {
			q.QueueLengthLimit = defaultQueueLength
		}
	}
}

func defaultInt32(value **int32, otherwise int32) {
	if *value == nil {
		*value = &otherwise
	}
}
