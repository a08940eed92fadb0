package app

import _ "embed"

// upstreamFlags are those of upstream's kube-apiserver, in the form that
// flags.Accept reads.
//
//go:embed upstream.flags
var upstreamFlags string
