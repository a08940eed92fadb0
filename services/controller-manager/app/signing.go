package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	certificatesv1 "k8s.io/api/certificates/v1"
)

// signingFlags are upstream's --cluster-signing-*: one pair of files for all
// signers, or one for each.
type signingFlags struct {
	all      Authority
	each     map[string]*Authority // by the part of the flags' name
	duration time.Duration
}

// signers is the part of the flags' name to the signer it is about.
var signers = map[string]string{
	"kubelet-serving":       certificatesv1.KubeletServingSignerName,
	"kubelet-client":        certificatesv1.KubeAPIServerClientKubeletSignerName,
	"kube-apiserver-client": certificatesv1.KubeAPIServerClientSignerName,
	"legacy-unknown":        "kubernetes.io/legacy-unknown",
}

func (f *signingFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.all.CertFile, "cluster-signing-cert-file", "", "the authority that signs requests for certificates")
	fs.StringVar(&f.all.KeyFile, "cluster-signing-key-file", "", "the key of --cluster-signing-cert-file")
	fs.DurationVar(&f.duration, "cluster-signing-duration", 365*24*time.Hour, "how long a signed certificate is valid at most")
	f.each = map[string]*Authority{}
	for part, signer := range signers {
		a := &Authority{}
		f.each[part] = a
		fs.StringVar(&a.CertFile, "cluster-signing-"+part+"-cert-file", "", "the authority of the signer "+signer)
		fs.StringVar(&a.KeyFile, "cluster-signing-"+part+"-key-file", "", "its key")
	}
}

// authorities is what signs, by signer; empty if no file is named.
func (f *signingFlags) authorities() (map[string]Authority, error) {
	out := map[string]Authority{}
	for part, a := range f.each {
		switch {
		case a.CertFile == "" && a.KeyFile == "":
			continue
		case a.CertFile == "":
			return nil, fmt.Errorf("%q: cannot specify key without cert", "cluster-signing-"+part)
		case a.KeyFile == "":
			return nil, fmt.Errorf("%q: cannot specify cert without key", "cluster-signing-"+part)
		}
		out[signers[part]] = *a
	}
	if f.all.CertFile != "" || f.all.KeyFile != "" {
		if len(out) > 0 {
			return nil, errors.New("cannot specify --cluster-signing-{cert,key}-file and other --cluster-signing-*-file flags at the same time")
		}
		if f.all.CertFile == "" || f.all.KeyFile == "" {
			return nil, nil // half of it is none, as upstream has it
		}
		out = AllSigners(f.all)
	}
	for signer, a := range out {
		if err := a.Check(); err != nil {
			return nil, fmt.Errorf("failed to init %s certificate controller: %w", signer, err)
		}
	}
	return out, nil
}
