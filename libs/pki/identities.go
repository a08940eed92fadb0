package pki

// The identities are upstream's: their names and groups are what the
// bootstrap roles are bound to.

// Admin issues the credential of the cluster's administrator, who may do
// everything.
func (c *Cluster) Admin() (*Credential, error) {
	return c.CA.Issue(Request{CommonName: "kubernetes-admin", Groups: []string{"system:masters"}, Client: true})
}

// Scheduler issues the scheduler's credential.
func (c *Cluster) Scheduler() (*Credential, error) { return c.component("system:kube-scheduler") }

// ControllerManager issues the controller manager's credential.
func (c *Cluster) ControllerManager() (*Credential, error) {
	return c.component("system:kube-controller-manager")
}

// Proxy issues kube-proxy's credential.
func (c *Cluster) Proxy() (*Credential, error) { return c.component("system:kube-proxy") }

func (c *Cluster) component(user string) (*Credential, error) {
	return c.CA.Issue(Request{CommonName: user, Client: true})
}

// Node issues a kubelet's credential as a client of the API server.
func (c *Cluster) Node(name string) (*Credential, error) {
	return c.CA.Issue(Request{CommonName: "system:node:" + name, Groups: []string{"system:nodes"}, Client: true})
}

// Serving issues a component's credential as a server at the hosts.
func (c *Cluster) Serving(name string, hosts ...string) (*Credential, error) {
	return c.CA.Issue(Request{CommonName: name, Server: true, Hosts: hosts})
}

// Kubeconfig describes the cluster at server as seen by the holder of the
// credential.
func (c *Cluster) Kubeconfig(server string, user *Credential) *Kubeconfig {
	return &Kubeconfig{
		Server: server, CA: c.CA.CertPEM,
		Cert: user.CertPEM, Key: user.KeyPEM, User: user.Certificate.Subject.CommonName,
	}
}
