// SPDX-License-Identifier: Apache-2.0

package manifests

import "strings"

const noAAAAHead = licence + `# Made by go generate ./manifests: the ConfigMap of common, with the directive template in the blocks of names.
apiVersion: v1
kind: ConfigMap
metadata:
  name: node-local-dns
  namespace: kube-system
data:
  Corefile: |
`

// noAAAA are the lines that answer AAAA with "no such record" (RFC 2308, section 2.2) and an SOA, so that clients keep the answer.
const noAAAA = `    # No IPv6 in this cluster: a name has no AAAA, whatever an upstream says.
    template IN AAAA . {
        rcode NOERROR
        authority ". 30 IN SOA localhost. nobody.invalid. 1 3600 600 86400 30"
    }
`

// withoutAAAA returns a template with the lines of noAAAA in the server blocks that answer for names.
func withoutAAAA(corefile string) string {
	blocks := strings.SplitAfter(corefile, "\n}\n")
	for i, b := range blocks {
		if !strings.Contains(b, ".arpa {\n") {
			blocks[i] = strings.Replace(b, "    loop\n", noAAAA+"    loop\n", 1)
		}
	}
	return strings.Join(blocks, "")
}
