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
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/clusterdns"
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
