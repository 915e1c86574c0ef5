// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/coredns/coredns/coremain"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/rendering"
)

// Set by make build with -ldflags.
var (
	version = "dev"
	commit  = "unknown"
)

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

// wait does nothing until a signal ends it. It is for the main container of a DaemonSet whose init container has done all there
// was to do: there is no shell in the image, and a container that ends is started again.
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
