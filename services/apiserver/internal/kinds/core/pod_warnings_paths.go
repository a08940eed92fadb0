package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// projectedFile is a file of a volume and, where the volume has several
// sources, which of them it comes from.
type projectedFile struct{ path, source string }

func (f projectedFile) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// overlaps tells whether one path is the other, or lies in it as if it were a
// folder.
func (f projectedFile) overlaps(other projectedFile) bool {
	if f.path == "" || other.path == "" {
		return false
	}
	a, b := f.path+"/", other.path+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

func (w *warner) overlappingPaths() {
	for i := range w.spec.Volumes {
		v := &w.spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			w.overlaps(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
		case v.Secret != nil:
			w.overlaps(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
		case v.DownwardAPI != nil:
			w.overlaps(v.Name, "DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""))
		case v.Projected != nil:
			var files []projectedFile
			for _, source := range v.Projected.Sources {
				if source == (corev1.VolumeProjection{}) {
					w.warnings = append(w.warnings, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				}
				files = append(files, sourceFiles(&source)...)
			}
			w.overlaps(v.Name, "Projected", files)
		}
	}
}

func (w *warner) overlaps(volume, what string, files []projectedFile) {
	for i := range files {
		files[i].path = strings.TrimRight(files[i].path, "/")
		for _, earlier := range files[:i] {
			if files[i].overlaps(earlier) {
				w.warnings = append(w.warnings, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, what, files[i], earlier))
			}
		}
	}
}

func keyFiles(items []corev1.KeyToPath, source string) []projectedFile {
	files := make([]projectedFile, len(items))
	for i := range items {
		files[i] = projectedFile{items[i].Path, source}
	}
	return files
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []projectedFile {
	files := make([]projectedFile, len(items))
	for i := range items {
		files[i] = projectedFile{items[i].Path, source}
	}
	return files
}

func sourceFiles(s *corev1.VolumeProjection) []projectedFile {
	switch {
	case s.ConfigMap != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []projectedFile{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := ""
		if s.ClusterTrustBundle.Name != nil {
			name = *s.ClusterTrustBundle.Name
		} else if s.ClusterTrustBundle.SignerName != nil {
			name = *s.ClusterTrustBundle.SignerName
		}
		return []projectedFile{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	case s.PodCertificate != nil:
		return []projectedFile{
			{s.PodCertificate.CertificateChainPath, "PodCertificate chain"},
			{s.PodCertificate.KeyPath, "PodCertificate key"},
			{s.PodCertificate.CredentialBundlePath, "PodCertificate credential bundle"},
		}
	}
	return nil
}
