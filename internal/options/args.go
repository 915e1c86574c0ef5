// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/nodelocaldns/nodelocaldns/internal/suggest"
)

// Commands are the words that may be the first argument.
var Commands = []string{"render", "status", "check", "top", "cleanup", "kubelet-dns", "wait", "version", "help"}

// ParseSub parses the args of a subcommand. For -help it prints head and the flags, and returns true. The error is a UsageError.
func ParseSub(fs *flag.FlagSet, args []string, head string, stdout io.Writer) (helped bool, err error) {
	switch err := ParseArgs(fs, args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, head)
		fs.VisitAll(func(f *flag.Flag) { PrintFlag(stdout, f) })
		return true, nil
	case err != nil:
		return false, UsageError{err}
	}
	return false, nil
}

// ParseArgs parses args, which are flags and nothing else. The error is flag.ErrHelp, or says what is wrong with which
// argument.
func ParseArgs(fs *flag.FlagSet, args []string) error {
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return clearer(fs, err)
	case fs.NArg() > 0:
		before := args[:len(args)-fs.NArg()]
		return fmt.Errorf("unexpected argument %q%s", fs.Arg(0), advice(fs, before, fs.Arg(0)))
	}
	return nil
}

// truth has the words that people write for a boolean value.
var truth = map[string]bool{"true": true, "1": true, "yes": true, "on": true, "false": false, "0": false, "no": false, "off": false}

// advice says what arg, which is no flag and stands behind the others, may have been meant to be; empty if there is no telling.
func advice(fs *flag.FlagSet, before []string, arg string) string {
	if len(before) > 0 {
		last := strings.TrimLeft(before[len(before)-1], "-")
		value, known := truth[strings.ToLower(arg)]
		if f := fs.Lookup(last); f != nil && known {
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
				return fmt.Sprintf(": write -%s=%t", last, value)
			}
		}
	}
	name, _, _ := strings.Cut(arg, "=")
	switch {
	case fs.Lookup(name) != nil:
		return fmt.Sprintf(": write -%s", arg)
	case slices.Contains(Commands, arg):
		return fmt.Sprintf(": a command comes before all flags, nodelocaldns %s ...", arg)
	case len(before) > 0 && strings.HasSuffix(before[len(before)-1], ","):
		return ": a list has no spaces in it"
	}
	if _, err := netip.ParseAddr(arg); err == nil {
		return ": separate addresses by commas"
	}
	if _, err := os.Stat(arg); err == nil && fs.Lookup("conf") != nil {
		return fmt.Sprintf(": write -conf %s", arg)
	}
	return ""
}

// clearer words flag's errors as ours, and adds a near name to an unknown flag.
func clearer(fs *flag.FlagSet, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return fmt.Errorf("unknown flag -%s%s", name, suggest.Hint(" (did you mean -%s?)", name, names))
}
