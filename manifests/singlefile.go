// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"strings"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
)

// Users replace these variables with sed before they apply the manifest.
const (
	localDNS  = "__PILLAR__LOCAL__DNS__"
	dnsServer = "__PILLAR__DNS__SERVER__"
	dnsDomain = "__PILLAR__DNS__DOMAIN__"
)

const licence = "# SPDX-License-Identifier: Apache-2.0\n"

const singleFileHead = licence + `# The node-local DNS cache in one file. Fill in the variables with the sed lines of the Kubernetes guide to NodeLocal
# DNSCache and apply it, or let "nodelocaldns render manifests" fill them in.
# Made by go generate ./manifests from the files in common and base.
`

const configMapHead = licence + `# Made by go generate ./manifests from corefiles/kubernetes.corefile. The cache fills in the variables when it starts.
apiVersion: v1
kind: ConfigMap
metadata:
  name: node-local-dns
  namespace: kube-system
  labels:
    k8s-app: node-local-dns
data:
  Corefile: |
`

// singleFile returns nodelocaldns.yaml: the parts of base with variables in the place of values.
func singleFile() string {
	daemonSet := strings.NewReplacer(
		"169.254.20.10,$(KUBE_DNS_SERVICE_HOST)", localDNS+","+dnsServer,
		"169.254.20.10", localDNS,
		"- cluster.local", "- "+dnsDomain,
	).Replace(read("base/daemonset.yaml"))
	return singleFileHead + join(append(parts(referenceTemplate()), daemonSet))
}

// template returns the Corefile of the kustomize bases. The cache replaces all its variables.
func template() string { return string(corefiles.Kubernetes) }

// referenceTemplate returns template for the sed lines. sed replaces localDNS with the link-local address only, so dnsServer must
// follow for the ClusterIP. If sed leaves one of the two variables, the cache replaces it.
func referenceTemplate() string {
	return strings.ReplaceAll(template(), "bind "+localDNS, "bind "+localDNS+" "+dnsServer)
}

// configMap returns the ConfigMap that head begins, with a Corefile.
func configMap(head, corefile string) string {
	var b strings.Builder
	b.WriteString(head)
	for line := range strings.Lines(corefile) {
		if line != "\n" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// parts returns the objects of common with the given Corefile, and those of the files named.
func parts(corefile string, names ...string) []string {
	p := []string{read("common/serviceaccount.yaml"), read("common/upstream.yaml"), configMap(configMapHead, corefile), read("common/metrics.yaml")}
	for _, name := range names {
		p = append(p, read(name))
	}
	return p
}

// join joins several files to one.
func join(parts []string) string {
	for i, p := range parts {
		parts[i] = strings.TrimPrefix(p, licence)
	}
	return strings.Join(parts, "---\n")
}

func read(name string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}
