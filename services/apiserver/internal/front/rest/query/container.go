package query

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ForLog reads which part of a container's log is asked for.
func ForLog(values url.Values, pod string) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{
		Container: values.Get("container"), Follow: flag(values, "follow"), Previous: flag(values, "previous"),
		Timestamps: flag(values, "timestamps"), InsecureSkipTLSVerifyBackend: flag(values, "insecureSkipTLSVerifyBackend"),
	}
	if stream, ok := values["stream"]; ok && len(stream) > 0 {
		o.Stream = &stream[0]
	}
	for _, number := range []struct {
		name string
		into **int64
	}{{"sinceSeconds", &o.SinceSeconds}, {"tailLines", &o.TailLines}, {"limitBytes", &o.LimitBytes}} {
		if text, ok := values[number.name]; ok && len(text) > 0 {
			n, err := strconv.ParseInt(text[0], 10, 64)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			*number.into = &n
		}
	}
	if text := values.Get("sinceTime"); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		o.SinceTime = &metav1.Time{Time: t.Local()}
	}
	return o, checkLog(o, pod)
}

func checkLog(o *corev1.PodLogOptions, pod string) error {
	var errs field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if o.Stream != nil {
		streams := []string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}
		switch *o.Stream {
		case corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr:
			if *o.Stream != corev1.LogStreamAll && o.TailLines != nil {
				errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
			}
		default:
			errs = append(errs, field.NotSupported(field.NewPath("stream"), *o.Stream, streams))
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), pod, errs)
	}
	return nil
}

// ForExec reads the command to run and the streams to connect.
func ForExec(values url.Values) *corev1.PodExecOptions {
	return &corev1.PodExecOptions{
		Stdin: flag(values, "stdin"), Stdout: flag(values, "stdout"), Stderr: flag(values, "stderr"), TTY: flag(values, "tty"),
		Container: values.Get("container"), Command: values["command"],
	}
}

// ForAttach reads the streams to connect.
func ForAttach(values url.Values) *corev1.PodAttachOptions {
	return &corev1.PodAttachOptions{
		Stdin: flag(values, "stdin"), Stdout: flag(values, "stdout"), Stderr: flag(values, "stderr"), TTY: flag(values, "tty"),
		Container: values.Get("container"),
	}
}

// ForPortForward reads the ports that a WebSocket forwards.
func ForPortForward(values url.Values) (*corev1.PodPortForwardOptions, error) {
	o := &corev1.PodPortForwardOptions{}
	for _, list := range values["ports"] {
		for _, text := range strings.Split(list, ",") {
			port, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			o.Ports = append(o.Ports, int32(port))
		}
	}
	return o, nil
}

func flag(values url.Values, name string) bool {
	v, ok := values[name]
	return ok && len(v) > 0 && boolean(v[0])
}

// boolean reads a switch as upstream does: anything but false and 0 is true.
func boolean(text string) bool { return text != "0" && !strings.EqualFold(text, "false") }
