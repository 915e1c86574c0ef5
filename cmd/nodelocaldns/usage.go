// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
)

const usageHead = `nodelocaldns is the DNS cache of a Kubernetes node.

Usage:
  nodelocaldns [FLAG...]                        run until SIGTERM; SIGUSR1 reloads
  nodelocaldns render [FLAG...]                 print the Corefile that these flags would run
  nodelocaldns cleanup [-interfacename NAME]    remove the link, rules and tables that a cache left behind
  nodelocaldns version                          print the version

Without any flag it serves on 169.254.20.10 and asks the servers of /etc/resolv.conf.
`

// groups orders the flags of the help text.
var groups = []struct {
	title string
	names []string
}{
	{"Corefile", []string{"localip", "conf", "corefile", "basecorefile", "kubednscm", "upstreamsvc", "clusterdomain"}},
	{"Network", []string{"setupinterface", "interfacename", "link", "lease", "setupiptables", "firewall", "syncinterval", "fallback", "skipteardown"}},
	{"Ports and addresses", []string{"dns.port", "p", "health-port", "metrics-listen-address", "prometheus-listen-address"}},
	{"Process", []string{"reloadwithsignal", "pidfile", "quiet", "plugins", "version", "help"}},
}

// usage prints the help text.
func usage(w io.Writer) {
	fmt.Fprint(w, usageHead)
	fs := new(options).flagSet()
	fs.Bool("help", false, "print this text and exit") // known to package flag, but not to VisitAll
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, name := range g.names {
			f := fs.Lookup(name)
			arg, text := flag.UnquoteUsage(f)
			if f.DefValue != "" && f.DefValue != "false" {
				text += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(w, "  -%s\n      %s\n", spaced(name, arg), text)
		}
	}
}

func spaced(name, arg string) string {
	if arg == "" || arg == "value" {
		return name
	}
	return name + " " + arg
}
