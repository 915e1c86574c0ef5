// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

const usageHead = `nodelocaldns is the DNS cache of a Kubernetes node.

Usage:
  nodelocaldns [FLAG...]                        run until SIGTERM; SIGUSR1 reloads
  nodelocaldns render [FLAG...]                 print the Corefile that these flags would run
  nodelocaldns render manifests [FLAG...]       print the manifest for a cluster; -help has its flags
  nodelocaldns cleanup [-interfacename NAME]    remove the link, rules and tables that a cache left behind
  nodelocaldns kubelet-dns [FLAG...]            name the cache to new pods of this node; -help has its flags
  nodelocaldns wait                             do nothing until SIGTERM, for the pods of a DaemonSet
  nodelocaldns version                          print the version

Without any flag it serves on 169.254.20.10 and asks the servers of /etc/resolv.conf.
`

// usage prints the help text.
func usage(w io.Writer) {
	fmt.Fprint(w, usageHead)
	options.PrintFlags(w)
}
