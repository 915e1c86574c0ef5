// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	golog "log"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/nodecheck"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// checkHead begins the help text of the subcommand.
const checkHead = `Usage:
  nodelocaldns check [-node] [FLAG...] [FILE]

It looks for what would keep the cache from serving, and changes nothing: in the Corefile or template FILE, or in what a start with
these flags would run. With -node it looks at the node, too; without -localip, -conf and FILE at the node alone.

The flags are those of a start (nodelocaldns -help), and:
`

// check finds faults, prints them, and returns exitFailure if one of them is more than advice.
func check(args []string, stdout, stderr io.Writer) (int, error) {
	began := time.Now()
	c, err := options.ParseCheck(args)
	if err != nil {
		return exitUsage, err
	}
	if c.Help {
		fmt.Fprint(stdout, checkHead)
		options.PrintCheckFlags(stdout)
		return exitOK, nil
	}
	note := func(s string) { fmt.Fprintln(stderr, "nodelocaldns:", s) }
	clog.Discard() // plugins log at their setup
	golog.SetOutput(io.Discard)
	if err := rendering.NewFinder(c.Options, 0, note).Resolve(); err != nil {
		return exitFailure, err
	}
	var found []nodecheck.Finding
	ran := 0
	if c.Configuration {
		found, ran = checkConfiguration(c, note), 1
	}
	if c.Node {
		node, n := nodecheck.Run(context.Background(), nodeOf(c.Options))
		found, ran = append(found, node...), ran+n
	}
	if err := printFindings(stdout, c.Form == "json", found, fmt.Sprintf("%s, %s", count(ran, "check"), time.Since(began).Round(time.Millisecond))); err != nil {
		return exitFailure, err
	}
	if nodecheck.Count(found) > 0 {
		return exitFailure, nil
	}
	return exitOK, nil
}

func printFindings(w io.Writer, asJSON bool, found []nodecheck.Finding, ran string) error {
	if asJSON {
		return nodecheck.JSON(w, found)
	}
	if err := nodecheck.Table(w, found); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s (%s)\n", count(len(found), "finding"), ran)
	return err
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// checkConfiguration returns the faults of what a start with these flags would run. What this machine cannot tell is a note.
func checkConfiguration(c options.Check, note func(string)) (found []nodecheck.Finding) {
	fault := func(text string) {
		found = append(found, nodecheck.Finding{ID: "configuration", Severity: nodecheck.Error, What: text})
	}
	dnsserver.Port = strconv.Itoa(int(c.Port))
	if err := dnsserver.SetDirectives(directives); err != nil {
		fault(err.Error())
		return found
	}
	r := rendering.New(c.Options, thePlugins)
	if os.Getenv(rendering.ServiceEnv("kube-dns")) == "" { // not in the namespace of the cache, or not in a pod
		r.Getenv = standIns(c.UpstreamService, note)
	}
	made, err := r.Render()
	for _, w := range made.Warnings {
		note("warning: " + w)
	}
	if err != nil {
		fault(err.Error())
		return found
	}
	faults, err := thePlugins.Faults(made)
	if err == nil && len(faults) == 0 {
		err = nodelocal.Parsed()
	}
	if err != nil {
		fault(rendering.Located(err, made).Error())
	}
	for _, f := range faults {
		if f.NotHere {
			note("not known here: " + f.Text)
		} else {
			fault(f.Text)
		}
	}
	return found
}

// standIns returns os.Getenv with addresses in the place of the ClusterIPs, which the environment has only in a pod.
func standIns(upstream string, note func(string)) func(string) string {
	known := map[string]string{rendering.ServiceEnv("kube-dns"): "10.96.0.10"}
	if env := rendering.ServiceEnv(upstream); known[env] == "" {
		known[env] = "10.96.0.11"
	}
	said := map[string]bool{}
	return func(name string) string {
		value := cmp.Or(os.Getenv(name), known[name])
		if os.Getenv(name) == "" && value != "" && !said[name] {
			said[name] = true
			note(fmt.Sprintf("%s is not set here: %s stands for it", name, value))
		}
		return value
	}
}

// nodeOf returns what the cache is to do on the node.
func nodeOf(o *options.Options) *nodecheck.Env {
	service := func(name string) netip.Addr {
		a, _ := netip.ParseAddr(os.Getenv(rendering.ServiceEnv(name))) // what is no address is a finding of the configuration
		return a.Unmap()
	}
	e := &nodecheck.Env{
		Addresses: o.Addresses, KubeDNS: service("kube-dns"), Domain: o.ClusterDomain, LinkName: o.Interface, LinkKind: o.Link, Firewall: o.Firewall,
		DNSPort: 53, Listeners: listeners(o),
	}
	e.ThisNode()
	for _, a := range append([]netip.Addr{service(o.UpstreamService), e.KubeDNS}, o.Fallback...) {
		own := e.Running && slices.Contains(o.Addresses, a) // the cache would answer
		if a.IsValid() && !own && !slices.Contains(e.ClusterDNS, a) {
			e.ClusterDNS = append(e.ClusterDNS, a)
		}
	}
	if host, port, err := net.SplitHostPort(o.PrometheusAddr); err == nil {
		e.Metrics = net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
	}
	return e
}

// listeners are the ports of the cache, with those of the embedded template.
func listeners(o *options.Options) []nodecheck.Listener {
	all := []nodecheck.Listener{{Port: o.Port, For: nodecheck.DNS}, {Port: o.HealthPort, For: "health"}, {Port: 8181, For: "ready"}}
	for addr, what := range map[string]string{o.PrometheusAddr: "the metrics of DNS", o.MetricsAddr: "the metrics of the set-up"} {
		_, text, err := net.SplitHostPort(addr)
		if port, perr := strconv.ParseUint(text, 10, 16); errors.Join(err, perr) == nil {
			all = append(all, nodecheck.Listener{Port: uint16(port), All: true, For: what})
		}
	}
	return all
}
