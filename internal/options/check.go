// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/nodelocaldns/nodelocaldns/internal/words"
)

// A Check is what the subcommand check is to look at.
type Check struct {
	*Options
	Node          bool   // the node
	Configuration bool   // what a start with these flags would run
	Form          string // of the output: table or json
}

// ParseCheck parses the arguments of the subcommand check: the flags of a start, some of its own, and a FILE at most. The FILE is a
// template if it has a variable in it or flags name the cache's addresses, else a Corefile. The error is a UsageError.
func ParseCheck(args []string) (c Check, err error) {
	c.Options = &Options{Given: make(map[string]bool)}
	fs := c.FlagSet()
	c.own(fs)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		c.Help = true
		return c, nil
	case err != nil:
		return c, UsageError{clearer(fs, err)}
	case fs.NArg() > 1:
		return c, UsageError{fmt.Errorf("unexpected argument %q: want one FILE, behind all flags", fs.Arg(1))}
	case fs.NArg() == 1:
		if err := c.of(fs.Arg(0)); err != nil {
			return c, UsageError{err}
		}
	}
	if err := c.parsed(fs); err != nil {
		return c, err
	}
	c.Configuration = !c.Node || c.Mode != Standalone
	return c, nil
}

// own declares the flags that check alone has.
func (c *Check) own(fs *flag.FlagSet) {
	Define(fs, "node", "", boolean, &c.Node, "look at this node, too, and without other flags at nothing else")
	Define(fs, "o", "table", OneOf("table", "json"), &c.Form, "`FORM` of the output: table or json")
}

// of has the check look at the file at path.
func (c *Check) of(path string) error {
	template := len(c.Addresses) > 0 || c.Auto
	if !template {
		if at, err := os.Stat(path); err == nil && at.Mode()&os.ModeNamedPipe != 0 { // the second time it is empty
			return fmt.Errorf("%s can be read only once: -localip says that it is a template, -conf %[1]s that it is a Corefile", path)
		}
		text, _ := os.ReadFile(path) // a file that cannot be read is a finding
		template = words.Variable.Match(text)
	}
	switch {
	case c.Conf != "" && !template:
		return fmt.Errorf("-conf %s and FILE %s are two Corefiles", c.Conf, path)
	case !template:
		c.Conf = path
		return nil
	}
	if len(c.Addresses) == 0 && !c.Auto {
		c.Addresses = []netip.Addr{StandaloneIP}
	}
	c.BaseCorefile, c.Given["basecorefile"] = path, true
	return nil
}

// PrintCheckFlags prints the help text of the flags that check alone has.
func PrintCheckFlags(w io.Writer) {
	fs, c := NewFlagSet("check"), Check{}
	c.own(fs)
	fs.VisitAll(func(f *flag.Flag) { PrintFlag(w, f) })
}
