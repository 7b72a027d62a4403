//go:build tools

// The programs that the tests build, so that go.mod keeps their versions.
package sanity

import _ "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
