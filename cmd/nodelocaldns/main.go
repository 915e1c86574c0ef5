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
	"runtime"
	"strings"

	"github.com/coredns/coredns/coremain"

	"github.com/nodelocaldns/nodelocaldns/internal/logwriter"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

func main() {
	code := execute(os.Args[1:], os.Stdout, os.Stderr)
	logwriter.Flush()
	os.Exit(code)
}

// execute runs the command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) int {
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
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		c, rest, err := findSubcommand(args)
		if err != nil {
			return exitUsage, err
		}
		return c.run(rest, stdout, stderr)
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

// usage prints the help text.
func usage(w io.Writer) {
	fmt.Fprint(w, "nodelocaldns is the DNS cache of a Kubernetes node.\n\nUsage:\n")
	line := func(call, does string) { fmt.Fprintf(w, "  %-45s %s\n", strings.TrimSpace("nodelocaldns "+call), does) }
	line("[FLAG...]", "run until SIGTERM; SIGUSR1 reloads")
	for _, c := range subcommands() {
		line(strings.TrimSpace(c.name+" "+c.args), c.does)
	}
	fmt.Fprint(w, "\nWithout any flag it serves on 169.254.20.10 and asks the servers of /etc/resolv.conf. Each command has a -help of its own.\n")
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
