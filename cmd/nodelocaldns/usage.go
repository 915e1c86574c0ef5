// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
)

const manifestsHead = `Usage:
  nodelocaldns render manifests [FLAG...] | kubectl apply -f -

It prints the manifest of the cache. What no flag says it asks the cluster, through kubectl, and tells on stderr.

`

const kubeletDNSHead = `Usage:
  nodelocaldns kubelet-dns [FLAG...]

It names the cache as clusterDNS in the kubelet's configuration when the cache is ready, or puts the old value back.
The kubelet reads it when it starts: restart it then.

`

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

// groups orders the flags of the help text.
var groups = []struct {
	title string
	names []string
}{
	{"Corefile", []string{"localip", "conf", "corefile", "basecorefile", "kubednscm", "upstreamsvc", "clusterdomain", "packetcache"}},
	{"Network", []string{"setupinterface", "interfacename", "link", "lease", "setupiptables", "firewall", "uplink", "syncinterval", "fallback", "fallback-zone", "skipteardown"}},
	{"Ports and addresses", []string{"dns.port", "p", "health-port", "metrics-listen-address", "prometheus-listen-address"}},
	{"Process", []string{"memory", "statedir", "reloadwithsignal", "pidfile", "quiet", "plugins", "version", "help"}},
}

// usage prints the help text.
func usage(w io.Writer) {
	fmt.Fprint(w, usageHead)
	fs := new(options).flagSet()
	fs.Bool("help", false, "print this text and exit") // known to package flag, but not to VisitAll
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, name := range g.names {
			printFlag(w, fs.Lookup(name))
		}
	}
}

func printFlag(w io.Writer, f *flag.Flag) {
	arg, text := flag.UnquoteUsage(f)
	if f.DefValue != "" && f.DefValue != "false" {
		text += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(w, "  -%s\n      %s\n", spaced(f.Name, arg), text)
}

func usageOfManifests(w io.Writer) {
	fmt.Fprint(w, manifestsHead)
	new(manifestOptions).flagSet().VisitAll(func(f *flag.Flag) { printFlag(w, f) })
}

func usageOfKubeletDNS(w io.Writer) {
	fmt.Fprint(w, kubeletDNSHead)
	new(kubeletDNS).flagSet().VisitAll(func(f *flag.Flag) { printFlag(w, f) })
}

func spaced(name, arg string) string {
	if arg == "" || arg == "value" {
		return name
	}
	return name + " " + arg
}
