package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"coracle.local/libs/pki"
)

func pkiCommand() *cobra.Command {
	var nodes int
	var dns, addresses []string
	c := &cobra.Command{
		Use:   "pki DIR",
		Short: "Make a cluster's keys, certificates and kubeconfigs; what is there is kept",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return makePKI(args[0], nodes, append(dns, addresses...))
		},
	}
	c.Flags().IntVar(&nodes, "nodes", 2, "make kubeconfigs for node-1 to node-N")
	c.Flags().StringArrayVar(&dns, "dns", nil, "a further host name of the API server; the first is where components reach it")
	c.Flags().StringArrayVar(&addresses, "address", nil, "a further IP address of the API server")
	return c
}

func makePKI(dir string, nodes int, hosts []string) error {
	if nodes < 0 {
		return fmt.Errorf("--nodes %d: give a number that is not negative", nodes)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	c, err := pki.OpenCluster(dir, pki.Options{Hosts: hosts})
	if err != nil {
		return err
	}
	server := "https://localhost:6443"
	if len(hosts) > 0 {
		server = "https://" + hosts[0] + ":6443"
	}
	users := map[string]func() (*pki.Credential, error){
		"admin": c.Admin, "scheduler": c.Scheduler, "controller-manager": c.ControllerManager, "kube-proxy": c.Proxy,
	}
	for n := range nodes {
		name := fmt.Sprintf("node-%d", n+1)
		users[name] = func() (*pki.Credential, error) { return c.Node(name) }
	}
	for name, issue := range users {
		if err := writeKubeconfig(c, filepath.Join(dir, name+".kubeconfig"), server, issue); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", name, err)
		}
	}
	return nil
}

func writeKubeconfig(c *pki.Cluster, path, server string, issue func() (*pki.Credential, error)) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	credential, err := issue()
	if err != nil {
		return err
	}
	return c.Kubeconfig(server, credential).Write(path)
}
