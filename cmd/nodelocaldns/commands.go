// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/clusterdns"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/statuscmd"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/top"
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/suggest"
)

// A subcommand is what the first argument names, or the first two. Each has a -help of its own: see options.ParseSub.
type subcommand struct {
	name string  // as on the command line
	args string  // as the help text has them
	does string  // a line of the help text
	run  command // returns the exit code as dispatch does
}

// A command runs with what follows its name.
type command func(args []string, stdout, stderr io.Writer) (int, error)

// subcommands returns all of them, in the order of the help text.
func subcommands() []subcommand {
	plain := func(f func(args []string, stdout, stderr io.Writer) error) command {
		return func(args []string, stdout, stderr io.Writer) (int, error) { return exitOK, f(args, stdout, stderr) }
	}
	quiet := func(f func(args []string, stdout io.Writer) error) command {
		return func(args []string, stdout, _ io.Writer) (int, error) { return exitOK, f(args, stdout) }
	}
	judging := func(f func(args []string, stdout io.Writer) (int, error)) command {
		return func(args []string, stdout, _ io.Writer) (int, error) { return f(args, stdout) }
	}
	return []subcommand{
		{"render", "[FLAG...]", "print the Corefile that these flags would run", plain(render)},
		{"render manifests", "[FLAG...]", "print the manifest for a cluster", plain(clusterdns.RenderManifests)},
		{"status", "[FLAG...]", "say what is wrong with the cache of this node", judging(statuscmd.Run)},
		{"check", "[-node] [FLAG...] [FILE]", "look for faults in a configuration or on a node", check},
		{"top", "[FLAG...]", "show which clients ask most, and for which names", plain(top.Run)},
		{"cleanup", "[-interfacename NAME]", "remove the link, rules and tables that a cache left behind", quiet(cleanup)},
		{"kubelet-dns", "[FLAG...]", "name the cache to new pods of this node", quiet(clusterdns.KubeletDNS)},
		{"wait", "", "do nothing until SIGTERM, for the pods of a DaemonSet", quiet(wait)},
		{"version", "", "print the version", quiet(printVersion)},
		{"help", "[COMMAND]", "print this text, or the help of a command", help},
	}
}

// findSubcommand returns the subcommand that args begin with, and the rest of args. Of two, the one with more words counts.
func findSubcommand(args []string) (found subcommand, rest []string, err error) {
	var names []string
	rest = args
	for _, c := range subcommands() {
		words := strings.Fields(c.name)
		names = append(names, words[0])
		if n := len(words); n <= len(args) && slices.Equal(words, args[:n]) && n > len(args)-len(rest) {
			found, rest = c, args[n:]
		}
	}
	if found.name == "" {
		err = options.UsageError{Err: fmt.Errorf("unknown command %q%s", args[0], suggest.Hint(" (did you mean %q?)", args[0], names))}
	}
	return found, rest, err
}

const renderHead = `Usage:
  nodelocaldns render [FLAG...]

It prints the Corefile that nodelocaldns would run with the same flags, and writes no file. All flags of nodelocaldns are
accepted; nodelocaldns -help lists them. For the manifest of a cluster: nodelocaldns render manifests -help.
`

// render prints the Corefile that the flags would run.
func render(args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		if hint := suggest.Hint(" (did you mean %q?)", args[0], []string{"manifests"}); hint != "" {
			return options.UsageError{Err: fmt.Errorf("unexpected argument %q%s", args[0], hint)}
		}
	}
	o, err := options.Parse(args)
	switch {
	case err != nil:
		return err
	case o.Help:
		fmt.Fprint(stdout, renderHead)
		options.PrintCorefileFlags(stdout)
		return nil
	}
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

const cleanupHead = `Usage:
  nodelocaldns cleanup [-interfacename NAME]

It removes the link, rules and tables that a cache of this project, or k8s-dns-node-cache, left on this node. It
refuses while such a cache runs.

`

// cleanup removes what a cache of this project, or the reference, left on this node.
func cleanup(args []string, stdout io.Writer) error {
	var name string
	fs := options.NewFlagSet("cleanup")
	options.Define(fs, "interfacename", hostnet.DefaultInterface, options.InterfaceName, &name, "`NAME` of the link")
	if helped, err := options.ParseSub(fs, args, cleanupHead, stdout); helped || err != nil {
		return err
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

const waitHead = `Usage:
  nodelocaldns wait

It does nothing until SIGTERM or SIGINT. It is for the main container of a DaemonSet whose init container does all the work.
`

// wait does nothing until a signal ends it. The image has no shell, and Kubernetes restarts a container that ends.
func wait(args []string, stdout io.Writer) error {
	if helped, err := options.ParseSub(options.NewFlagSet("wait"), args, waitHead, stdout); helped || err != nil {
		return err
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM)
	fmt.Fprintln(stdout, "waiting for SIGTERM")
	<-sigs
	return nil
}

const versionHead = `Usage:
  nodelocaldns version

It prints the versions of nodelocaldns, of CoreDNS and of Go, and the commit that it was built from.
`

// printVersion prints the version.
func printVersion(args []string, stdout io.Writer) error {
	if helped, err := options.ParseSub(options.NewFlagSet("version"), args, versionHead, stdout); helped || err != nil {
		return err
	}
	_, err := fmt.Fprint(stdout, versionText())
	return err
}

// help prints the help text, or that of the subcommand that args name.
func help(args []string, stdout, stderr io.Writer) (int, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || args[0] == "help" {
		usage(stdout)
		return exitOK, nil
	}
	c, rest, err := findSubcommand(args)
	if err != nil {
		return exitUsage, err
	}
	return c.run(append([]string{"-help"}, rest...), stdout, stderr)
}
