package podspec_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/podspec"
)

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"},
		Spec:       corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestHostname(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		want   string // host, domain
	}{
		{"the pod's name", nil, "web,"},
		{"its own", func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "h", "s" }, "h,s.ns.svc.cluster.local"},
		{"overridden", func(p *corev1.Pod) { n := "a.b"; p.Spec.HostnameOverride, p.Spec.Subdomain = &n, "s" }, "a.b,"},
		{"too long", func(p *corev1.Pod) { p.Name = strings.Repeat("a", 62) + "-b" }, strings.Repeat("a", 62) + ","},
		{"impossible", func(p *corev1.Pod) { p.Spec.Hostname = "A_b" }, "error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			host, domain, err := podspec.Hostname(pod(test.change), "cluster.local")
			got := host + "," + domain
			if err != nil {
				got = "error"
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	yes := true
	p := pod(func(p *corev1.Pod) { p.Spec.SetHostnameAsFQDN = &yes })
	if got, err := podspec.FQDN(p, "h", "s.ns.svc.cluster.local"); err != nil || got != "h.s.ns.svc.cluster.local" {
		t.Errorf("FQDN: %s, %v", got, err)
	}
	if _, err := podspec.FQDN(p, "h", strings.Repeat("a", 70)); err == nil {
		t.Error("a name that no kernel takes was made")
	}
}

func TestHostsFile(t *testing.T) {
	p := pod(func(p *corev1.Pod) {
		p.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a", "b"}}}
	})
	got := string(podspec.HostsFile(p, []string{"10.0.0.7"}, "web", "s.ns.svc.cluster.local", nil))
	for _, line := range []string{"# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "10.0.0.7\tweb.s.ns.svc.cluster.local\tweb", "1.2.3.4\ta\tb"} {
		if !slices.Contains(strings.Split(got, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	p.Spec.HostNetwork = true
	if got := string(podspec.HostsFile(p, nil, "web", "", []byte("192.168.0.1\tnode\n"))); !strings.Contains(got, "192.168.0.1\tnode\n") || strings.Contains(got, "ip6-localnet") {
		t.Errorf("on the node's network:\n%s", got)
	}
}

func TestDNS(t *testing.T) {
	settings := podspec.DNS{
		ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local",
		ResolvConf: "# c\nsearch old.example\nsearch example.com.\nnameserver 8.8.8.8\noptions timeout:2\n",
	}
	two := "2"
	for _, test := range []struct {
		name     string
		change   func(*corev1.Pod)
		settings podspec.DNS
		want     string
		warnings int
	}{
		{"cluster first", nil, settings, "[10.96.0.10] [ns.svc.cluster.local svc.cluster.local cluster.local example.com] [ndots:5]", 0},
		{"on the node's network", func(p *corev1.Pod) { p.Spec.HostNetwork = true }, settings, "[8.8.8.8] [example.com] [timeout:2]", 0},
		{"cluster first even there", func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet }, settings, "[10.96.0.10] [ns.svc.cluster.local svc.cluster.local cluster.local example.com] [ndots:5]", 0},
		{"the node's", func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault }, settings, "[8.8.8.8] [example.com] [timeout:2]", 0},
		{"none but its own", func(p *corev1.Pod) {
			p.Spec.DNSPolicy = corev1.DNSNone
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"a"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
		}, settings, "[1.1.1.1] [a] [ndots:2 edns0]", 0},
		{"merged", func(p *corev1.Pod) {
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"10.96.0.10", "1.1.1.1"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}}}
		}, settings, "[10.96.0.10 1.1.1.1] [ns.svc.cluster.local svc.cluster.local cluster.local example.com] [ndots:2]", 0},
		{"without a cluster's", nil, podspec.DNS{ResolvConf: settings.ResolvConf}, "[8.8.8.8] [example.com] [timeout:2]", 1},
		{"too many", func(p *corev1.Pod) {
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, Searches: []string{strings.Repeat("x", 300)}}
		}, settings, "[10.96.0.10 1.1.1.1 2.2.2.2] [ns.svc.cluster.local svc.cluster.local cluster.local example.com] [ndots:5]", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, warnings := test.settings.For(pod(test.change))
			if got := fmt.Sprint(c.Servers, c.Searches, c.Options); got != strings.Join(strings.Fields(test.want), " ") && got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if len(warnings) != test.warnings {
				t.Errorf("warnings: %v", warnings)
			}
		})
	}
}

func TestNonRoot(t *testing.T) {
	yes, root, user := true, int64(0), int64(1000)
	for _, test := range []struct {
		name      string
		runAs     *int64
		imageUser string
		want      string // the user, or the error
	}{
		{"the image's number", nil, "65532:65532", "65532"},
		{"the pod's number", &user, "root", "1000"},
		{"root by the pod", &root, "65532", "container's runAsUser breaks non-root policy"},
		{"root by the image", nil, "", "container has runAsNonRoot and image will run as root"},
		{"a name", nil, "nobody", "image has non-numeric user (nobody)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pod(func(p *corev1.Pod) {
				p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: test.runAs}
			})
			s, err := podspec.Security(p, &p.Spec.Containers[0], test.imageUser, "")
			switch {
			case err != nil && !strings.Contains(err.Error(), test.want):
				t.Errorf("got %v", err)
			case err == nil && fmt.Sprint(*s.RunAsUser) != test.want:
				t.Errorf("runs as %d, want %s", *s.RunAsUser, test.want)
			}
		})
	}
}

func TestSecurityIsMerged(t *testing.T) {
	no, one, two, group := false, int64(1), int64(2), int64(2000)
	profile := "p.json"
	p := pod(func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{
			RunAsUser: &one, RunAsGroup: &one, FSGroup: &group, SupplementalGroups: []int64{3},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &profile},
		}
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
			RunAsUser: &two, AllowPrivilegeEscalation: &no,
			Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"CAP_net_admin"}, Drop: []corev1.Capability{"ALL"}},
		}
	})
	s, err := podspec.Security(p, &p.Spec.Containers[0], "", "/seccomp")
	if err != nil {
		t.Fatal(err)
	}
	if *s.RunAsUser != 2 || *s.RunAsGroup != 1 || !slices.Equal(s.SupplementalGroups, []int64{2000, 3}) || !s.NoNewPrivileges ||
		!slices.Equal(s.AddCapabilities, []string{"NET_ADMIN"}) || !slices.Equal(s.DropCapabilities, []string{"ALL"}) ||
		s.Seccomp != (engine.Profile{Type: engine.ProfileLocalhost, Localhost: "/seccomp/p.json"}) {
		t.Errorf("got %+v", s)
	}
	if s, err := podspec.Security(pod(nil), &corev1.Container{}, "nobody", ""); err != nil || s.RunAsUserName != "nobody" || s.Seccomp.Type != engine.ProfileUnconfined {
		t.Errorf("by default: %+v, %v", s, err)
	}
}

func TestResources(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for _, test := range []struct {
		name   string
		r      corev1.ResourceRequirements
		want   engine.Resources
		parent string
	}{
		{"none", corev1.ResourceRequirements{}, engine.Resources{CPUShares: 2, OOMScoreAdj: 1000}, "/kubepods/besteffort/podu"},
		{
			"burstable",
			corev1.ResourceRequirements{Requests: list("500m", "1Gi"), Limits: list("1500m", "2Gi")},
			engine.Resources{CPUShares: 512, CPUQuota: 150000, CPUPeriod: 100000, MemoryBytes: 2 << 30, OOMScoreAdj: 900},
			"/kubepods/burstable/podu",
		},
		{
			"guaranteed",
			corev1.ResourceRequirements{Requests: list("2", "1Gi"), Limits: list("2", "1Gi")},
			engine.Resources{CPUShares: 2048, CPUQuota: 200000, CPUPeriod: 100000, MemoryBytes: 1 << 30, OOMScoreAdj: -997},
			"/kubepods/podu",
		},
		{
			"limits only",
			corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}},
			engine.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100000, OOMScoreAdj: 999},
			"/kubepods/burstable/podu",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources = test.r })
			if got := podspec.Resources(p, &p.Spec.Containers[0], 10<<30); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if got := podspec.CgroupParent(p); got != test.parent {
				t.Errorf("got %s, want %s", got, test.parent)
			}
		})
	}
}

func TestSandbox(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := pod(func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net/ipv4/conf/eth0.1/x", Value: "1"}, {Name: "kernel.sem", Value: "2"}}}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}, {ContainerPort: 81}}
		p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &always, Ports: []corev1.ContainerPort{{ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolUDP}}}}
	})
	s := podspec.Sandbox(p, 2, "")
	if s.Attempt != 2 || s.Sysctls["net.ipv4.conf.eth0/1.x"] != "1" || s.Sysctls["kernel.sem"] != "2" {
		t.Errorf("got %+v", s)
	}
	want := []engine.PortMapping{{HostPort: 53, ContainerPort: 53, Protocol: "UDP"}, {HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}}
	if !slices.Equal(s.PortMappings, want) {
		t.Errorf("ports %+v", s.PortMappings)
	}
	if got := podspec.Container(p, &p.Spec.InitContainers[0], 0, 0).Annotations[podspec.KindAnnotation]; got != podspec.KindSidecar {
		t.Errorf("kind %s", got)
	}
}
