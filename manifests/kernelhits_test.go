// SPDX-License-Identifier: Apache-2.0

package manifests

import "strings"

const kernelHitsHead = licence + `# Made by go generate ./manifests: the ConfigMap of common, with the option kernel of each packetcache.
apiVersion: v1
kind: ConfigMap
metadata:
  name: node-local-dns
  namespace: kube-system
data:
  Corefile: |
`

// withKernelHits returns a template with the option kernel in each server block.
func withKernelHits(corefile string) string {
	return strings.ReplaceAll(corefile, "    packetcache\n", "    packetcache {\n        kernel\n    }\n")
}
