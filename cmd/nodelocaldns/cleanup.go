// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// cleanup removes what a cache of ours, or the reference, left on this node.
func cleanup(args []string, stdout io.Writer) error {
	var name string
	fs := flag.NewFlagSet("cleanup", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	define(fs, "interfacename", "nodelocaldns", parseInterfaceName, &name, "`NAME` of the link")
	switch err := parseArgs(fs, args); {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return nil
	case err != nil:
		return usageError{err}
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
