//go:build tools

// It needs newer libraries than the cluster's programs, so it has a module of its own.
package provisioner

import _ "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"
