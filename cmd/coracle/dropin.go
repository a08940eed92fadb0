package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"coracle.local/cmd/coracle/dropin"
)

func dropinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dropin DIR",
		Short: "Fill DIR with kube-apiserver, kube-controller-manager, kube-scheduler, etcd and kubectl",
		Long: `Fill DIR with executables that stand where upstream's stood.

KUBEBUILDER_ASSETS=DIR makes controller-runtime's envtest use them. Its kube-apiserver
also finishes namespaces and collects what has lost its owners; --controllers=none
turns that off.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := dropin.Install(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "export KUBEBUILDER_ASSETS=%s\n", args[0])
			return err
		},
	}
}
