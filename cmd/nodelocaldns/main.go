// SPDX-License-Identifier: Apache-2.0

// A filter on a listening socket, which keeps out a client that has too many connections, cannot be had with multipath TCP
// (net/mptcp/sockopt.c). No resolver speaks it.
//
//go:debug multipathtcp=0

// Nodelocaldns is the DNS cache that runs on every node of a Kubernetes cluster: CoreDNS, the nodelocal plugin, and flags that
// make its Corefile.
package main

//go:generate go run -C ../.. directives_generate.go

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/coredns/coredns/coremain"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/clusterdns"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/statuscmd"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/logwriter"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/suggest"
)

func main() {
	code := command(os.Args[1:], os.Stdout, os.Stderr)
	logwriter.Flush()
	os.Exit(code)
}

// command runs the command line and returns the exit code.
func command(args []string, stdout, stderr io.Writer) int {
	code, err := dispatch(args, stdout, stderr)
	if err == nil {
		return code
	}
	last := logwriter.New(stderr) // which nobody may read
	fmt.Fprintln(last, "nodelocaldns:", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	last.Flush(logwriter.EndPatience)
	if errors.As(err, &options.UsageError{}) {
		return exitUsage
	}
	return max(code, exitFailure)
}

// dispatch runs the subcommand. If the error is nil, the code is the exit code. Else it is the exit code where that is higher
// than exitFailure.
func dispatch(args []string, stdout, stderr io.Writer) (int, error) {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	switch name {
	case "cleanup":
		return exitOK, cleanup(args, stdout)
	case "kubelet-dns":
		return exitOK, clusterdns.KubeletDNS(args, stdout)
	case "status":
		return statuscmd.Run(args, stdout)
	case "wait":
		return exitOK, wait(args, stdout)
	case "help":
		args = []string{"-help"}
	case "version":
		if len(args) > 0 {
			return exitUsage, options.UsageError{Err: fmt.Errorf("unexpected argument %q", args[0])}
		}
		args = []string{"-version"}
	case "render":
		if len(args) > 0 && args[0] == "manifests" {
			return exitOK, clusterdns.RenderManifests(args[1:], stdout, stderr)
		}
	case "":
	default:
		hint := suggest.Hint(" (did you mean %q?)", name, options.Commands)
		return exitUsage, options.UsageError{Err: fmt.Errorf("unknown command %q%s", name, hint)}
	}
	o, err := options.Parse(args)
	if err != nil {
		return exitUsage, err
	}
	switch {
	case o.Help:
		usage(stdout)
	case o.Version:
		fmt.Fprint(stdout, versionText())
	case o.Plugins:
		fmt.Fprintln(stdout, strings.Join(directives, "\n"))
	case name == "render":
		return exitOK, render(o, stdout, stderr)
	default:
		return run(o)
	}
	return exitOK, nil
}

// Set by make build with -ldflags.
var (
	version = "dev"
	commit  = "unknown"
)

const usageHead = `nodelocaldns is the DNS cache of a Kubernetes node.

Usage:
  nodelocaldns [FLAG...]                        run until SIGTERM; SIGUSR1 reloads
  nodelocaldns render [FLAG...]                 print the Corefile that these flags would run
  nodelocaldns render manifests [FLAG...]       print the manifest for a cluster; -help has its flags
  nodelocaldns status [-o json]                 say what is wrong with the cache of this node; -help has its flags
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

// versionLine is the log's first line. versionText, with which -version answers, has the same facts.
func versionLine() string {
	return fmt.Sprintf("nodelocaldns %s (commit %s), %s %s, %s", version, commit,
		coremain.CoreName, coremain.CoreVersion, runtime.Version())
}

func versionText() string {
	return fmt.Sprintf("nodelocaldns %s (commit %s)\n%s %s\n%s %s/%s\n", version, commit,
		coremain.CoreName, coremain.CoreVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// render prints the Corefile that o would run, and writes no file.
func render(o *options.Options, stdout, stderr io.Writer) error {
	note := func(s string) { fmt.Fprintln(stderr, "nodelocaldns:", s) }
	if err := rendering.NewFinder(o, 0, note).Resolve(); err != nil {
		return err
	}
	c, err := rendering.New(o, thePlugins).Render()
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		note("warning: " + w)
	}
	_, err = stdout.Write(c.Text)
	return err
}

// cleanup removes what a cache of this project, or the reference, left on this node.
func cleanup(args []string, stdout io.Writer) error {
	var name string
	fs := options.NewFlagSet("cleanup")
	options.Define(fs, "interfacename", hostnet.DefaultInterface, options.InterfaceName, &name, "`NAME` of the link")
	switch err := options.ParseArgs(fs, args); {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return nil
	case err != nil:
		return options.UsageError{Err: err}
	}
	removed, err := hostnet.Cleanup(name)
	for _, what := range removed {
		fmt.Fprintln(stdout, "removed", what)
	}
	if len(removed) == 0 && err == nil {
		fmt.Fprintln(stdout, "nothing to remove")
	}
	return err
}

// wait does nothing until a signal ends it. It is for the main container of a DaemonSet whose init container does all the work:
// the image has no shell, and Kubernetes restarts a container that ends.
func wait(args []string, stdout io.Writer) error {
	if len(args) > 0 {
		return options.UsageError{Err: fmt.Errorf("unexpected argument %q", args[0])}
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM)
	fmt.Fprintln(stdout, "waiting for SIGTERM")
	<-sigs
	return nil
}
