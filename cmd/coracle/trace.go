package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"coracle.local/libs/client"
	tracev1 "coracle.local/proto/coracle/trace/v1"
)

func traceCommand() *cobra.Command {
	c := &cobra.Command{Use: "trace", Short: "Show what happened to an object, step by step"}
	var kubeconfig, namespace string
	pod := &cobra.Command{
		Use:   "pod NAME",
		Short: "Show every component's steps for a pod, with their times",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tracePod(cmd.Context(), cmd.OutOrStdout(), kubeconfig, namespace, args[0])
		},
	}
	pod.Flags().StringVar(&kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster's kubeconfig; default $KUBECONFIG, then ~/.kube/config")
	pod.Flags().StringVarP(&namespace, "namespace", "n", "", "the pod's namespace; default the kubeconfig's")
	c.AddCommand(pod)
	return c
}

func tracePod(ctx context.Context, out io.Writer, kubeconfig, namespace, name string) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	if namespace == "" {
		var err error
		if namespace, _, err = loaded.Namespace(); err != nil {
			return fmt.Errorf("read the kubeconfig: %w", err)
		}
	}
	rc, err := loaded.ClientConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	conn, err := client.ConnectREST(rc, "coracle-trace")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pod, err := client.For[*corev1.Pod](conn).Get(ctx, namespace, name)
	if err != nil {
		return err
	}
	r, err := tracev1.NewTraceServiceClient(conn.GRPC()).GetTrace(ctx, &tracev1.GetTraceRequest{TraceId: string(pod.UID)})
	if err != nil {
		return err
	}
	if len(r.GetSpans()) == 0 {
		return fmt.Errorf("no trace of pod %s/%s is kept any more: the API server keeps the newest ones since its start", namespace, name)
	}
	return printTrace(out, pod, r.GetSpans())
}

// printTrace writes one line a step: when it began after the first, how long it
// took, who did it.
func printTrace(out io.Writer, pod *corev1.Pod, spans []*tracev1.Span) error {
	first := spans[0].GetStart().AsTime()
	last := first
	for _, s := range spans {
		if end := s.GetEnd().AsTime(); end.After(last) {
			last = end
		}
	}
	if _, err := fmt.Fprintf(out, "pod %s/%s, trace %s, %s in all\n\n", pod.Namespace, pod.Name, spans[0].GetTraceId(), last.Sub(first).Round(time.Millisecond/10)); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, "START\tTOOK\tCOMPONENT\tSTEP\tDETAIL"); err != nil {
		return err
	}
	for _, s := range spans {
		_, err := fmt.Fprintf(w, "+%s\t%s\t%s\t%s\t%s\n", s.GetStart().AsTime().Sub(first).Round(time.Millisecond/10),
			s.GetEnd().AsTime().Sub(s.GetStart().AsTime()).Round(time.Millisecond/10), s.GetComponent(), s.GetName(), detail(s))
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

func detail(s *tracev1.Span) string {
	var parts []string
	for k, v := range s.GetAttributes() {
		parts = append(parts, k+"="+v)
	}
	sort.Strings(parts)
	if s.GetError() != "" {
		parts = append(parts, "error: "+s.GetError())
	}
	return strings.Join(parts, " ")
}
