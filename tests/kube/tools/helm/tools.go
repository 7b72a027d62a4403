//go:build tools

// Package helm names the programs that the tests build from these versions.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
