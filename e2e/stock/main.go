// SPDX-License-Identifier: Apache-2.0

// Command stock is CoreDNS with CoreDNS's own plugins of plugin.cfg and none of this repository's. It is the cluster DNS of the
// tests, and the program that the cache is compared with.
package main

//go:generate go run -C ../.. directives_generate.go -stock -out e2e/stock/plugins.go

import "github.com/coredns/coredns/coremain"

func main() {
	coremain.Run()
}
