// Package mountns acts in the mount namespace in which the container engine
// looks paths up. Where the kubelet itself runs in a container, that is not
// its own: a tmpfs mounted here would not be seen there.
package mountns

// Namespace is a path such as /proc/1/ns/mnt; empty means the kubelet's own.
type Namespace string
