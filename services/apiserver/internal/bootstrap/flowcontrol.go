package bootstrap

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
)

// flowControl are the levels and schemas of API priority and fairness.
func flowControl() []kinds.Object {
	out := []kinds.Object{
		priorityLevel(flowcontrolv1.PriorityLevelConfigurationNameExempt, flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementExempt,
			Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{
				NominalConcurrencyShares: ptr.To[int32](0), LendablePercent: ptr.To[int32](0),
			},
		}),
		priorityLevel(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, limited(5, 0, nil)),
		priorityLevel("system", limited(30, 33, queues(64, 6))),
		priorityLevel("node-high", limited(40, 25, queues(64, 6))),
		priorityLevel("leader-election", limited(10, 0, queues(16, 4))),
		priorityLevel("workload-high", limited(40, 50, queues(128, 6))),
		priorityLevel("workload-low", limited(100, 90, queues(128, 6))),
		priorityLevel("global-default", limited(20, 50, queues(128, 6))),
	}
	return append(out, flowSchemas()...)
}

// flowSchemas in order of their precedence.
func flowSchemas() []kinds.Object {
	const byUser, byNamespace = flowcontrolv1.FlowDistinguisherMethodByUserType, flowcontrolv1.FlowDistinguisherMethodByNamespaceType
	everybody := flowGroups(user.AllUnauthenticated, user.AllAuthenticated)
	systemAccounts := []flowcontrolv1.Subject{{
		Kind:           flowcontrolv1.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: metav1.NamespaceSystem, Name: flowcontrolv1.NameAll},
	}}
	nodes := flowGroups(user.NodesGroup)
	return []kinds.Object{
		flowSchema("exempt", "exempt", 1, "", everything(flowGroups(user.SystemPrivilegedGroup))),
		flowSchema("probes", "exempt", 2, "", flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: everybody,
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{
				{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/readyz", "/livez"}},
			},
		}),
		flowSchema("system-leader-election", "leader-election", 100, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects:      append(flowUsers(user.KubeControllerManager, user.KubeScheduler), systemAccounts...),
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{flowRule([]string{"get", "create", "update"}, "coordination.k8s.io", false, "leases")},
		}),
		flowSchema("system-node-high", "node-high", 400, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: nodes,
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{
				flowRule([]string{"*"}, "", true, "nodes", "nodes/status"),
				flowRule([]string{"*"}, "coordination.k8s.io", false, "leases"),
			},
		}),
		flowSchema("system-nodes", "system", 500, byUser, everything(nodes)),
		flowSchema("kube-controller-manager", "workload-high", 800, byNamespace, everything(flowUsers(user.KubeControllerManager))),
		flowSchema("kube-scheduler", "workload-high", 800, byNamespace, everything(flowUsers(user.KubeScheduler))),
		flowSchema("kube-system-service-accounts", "workload-high", 900, byNamespace, everything(systemAccounts)),
		flowSchema("service-accounts", "workload-low", 9000, byUser, everything(flowGroups(serviceaccount.AllServiceAccountsGroup))),
		flowSchema("global-default", "global-default", 9900, byUser, everything(everybody)),
		flowSchema(flowcontrolv1.FlowSchemaNameCatchAll, flowcontrolv1.PriorityLevelConfigurationNameCatchAll, 10000, byUser, everything(everybody)),
	}
}

func priorityLevel(name string, spec flowcontrolv1.PriorityLevelConfigurationSpec) *flowcontrolv1.PriorityLevelConfiguration {
	return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: flowMeta(name), Spec: spec}
}

func flowMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}}
}

// limited is a level with a share of the concurrency; without queues it
// rejects what is over its share.
func limited(shares, lendable int32, q *flowcontrolv1.QueuingConfiguration) flowcontrolv1.PriorityLevelConfigurationSpec {
	response := flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}
	if q != nil {
		response = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: q}
	}
	return flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited,
		Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: &shares, LendablePercent: &lendable, LimitResponse: response,
		},
	}
}

func queues(n, hand int32) *flowcontrolv1.QueuingConfiguration {
	return &flowcontrolv1.QueuingConfiguration{Queues: n, HandSize: hand, QueueLengthLimit: 50}
}

func flowSchema(name, level string, precedence int32, by flowcontrolv1.FlowDistinguisherMethodType, rules flowcontrolv1.PolicyRulesWithSubjects) *flowcontrolv1.FlowSchema {
	schema := &flowcontrolv1.FlowSchema{ObjectMeta: flowMeta(name), Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
		MatchingPrecedence:         precedence,
		Rules:                      []flowcontrolv1.PolicyRulesWithSubjects{rules},
	}}
	if by != "" {
		schema.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: by}
	}
	return schema
}

func everything(subjects []flowcontrolv1.Subject) flowcontrolv1.PolicyRulesWithSubjects {
	return flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:         subjects,
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{flowRule([]string{"*"}, "*", true, "*")},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
	}
}

func flowRule(verbs []string, group string, clusterScope bool, resources ...string) flowcontrolv1.ResourcePolicyRule {
	return flowcontrolv1.ResourcePolicyRule{
		Verbs: verbs, APIGroups: []string{group}, Resources: resources,
		Namespaces: []string{flowcontrolv1.NamespaceEvery}, ClusterScope: clusterScope,
	}
}

func flowGroups(names ...string) []flowcontrolv1.Subject {
	out := make([]flowcontrolv1.Subject, len(names))
	for i, name := range names {
		out[i] = flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: name}}
	}
	return out
}

func flowUsers(names ...string) []flowcontrolv1.Subject {
	out := make([]flowcontrolv1.Subject, len(names))
	for i, name := range names {
		out[i] = flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}
	}
	return out
}
