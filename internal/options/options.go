// SPDX-License-Identifier: Apache-2.0

// Package options has the flags of the command line and the options of the nodelocal stanza, which for the most part are the
// same. Table is the one place that says what each is called, means and defaults to.
package options

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
)

// Network is what a nodelocal stanza says.
type Network struct {
	hostnet.Config
	Resync       time.Duration // the longest time between two thorough looks at link and rules
	SkipTeardown bool          // link and rules stay when the process ends
}

// Owns reports whether there is anything of the node's network to own.
func (n Network) Owns() bool { return n.Link != hostnet.None || n.Firewall != hostnet.None }

// Options is the command line, parsed and checked. The flags are those of k8s-dns-node-cache and of its successor, with the
// same meaning, and others. Table says what each field is.
type Options struct {
	Network      // Addresses are those of -localip
	Auto    bool // -localip auto: there are no Addresses until somebody has found them

	Conf, BaseCorefile, KubeDNSDir, UpstreamService, ClusterDomain string
	older                                                          string // -corefile
	PacketCache                                                    bool

	setupInterface, setupIPTables bool
	MetricsAddr, PrometheusAddr   string

	Memory   memlimit.Limit // 0: the container's limit, if it has one
	StateDir string         // empty: nothing outlives the process, and there is no socket for status and top
	PIDFile  string

	ReloadWithSignal, Quiet, LogTimestamps, Plugins, Version, Help bool

	Mode Mode

	// Given holds the names of the flags that were on the command line: for some a default may be missing on this machine and a
	// given value may not.
	Given map[string]bool

	// Words are the flags that were given and that end up in the Corefile or the network, as NAME=VALUE, sorted.
	Words []string
}

// Mode is one of the three ways to a Corefile.
type Mode int

const (
	Standalone Mode = iota // no flag names addresses or a Corefile: the embedded template for one machine
	Template               // -localip: rendered from the template
	AsItIs                 // -conf alone: a Corefile that runs as its author wrote it
)

// DefaultKubeDNSDir is where the reference's manifests mount the kube-dns ConfigMap.
const DefaultKubeDNSDir = "/etc/kube-dns"

// StandaloneIP is the address that people know from the reference's documentation.
var StandaloneIP = netip.MustParseAddr("169.254.20.10")

// UsageError is a mistake on the command line. The process ends with exit code 2.
type UsageError struct{ Err error }

// Error implements error.
func (e UsageError) Error() string { return e.Err.Error() + "; see nodelocaldns -help" }

// Unwrap returns the mistake without the hint.
func (e UsageError) Unwrap() error { return e.Err }

// Defaults returns the options of an empty command line. They are not reconciled: a caller that is no command line, as the
// nodelocal stanza, sets others first.
func Defaults() *Options {
	o := &Options{Given: make(map[string]bool)}
	o.FlagSet()
	return o
}

// Parse reads the command line without the name of the program or subcommand. Its error is a UsageError.
func Parse(args []string) (*Options, error) {
	o := &Options{Given: make(map[string]bool)}
	fs := o.FlagSet()
	switch err := ParseArgs(fs, args); {
	case errors.Is(err, flag.ErrHelp):
		o.Help = true
		return o, nil
	case err != nil:
		return nil, UsageError{err}
	}
	return o, o.parsed(fs)
}

// parsed notes which flags of fs were given, and resolves what they say together. Its error is a UsageError.
func (o *Options) parsed(fs *flag.FlagSet) error {
	fs.Visit(func(f *flag.Flag) { o.Given[f.Name] = true })
	for _, row := range Table {
		if o.Given[row.Flag] && row.effect != process {
			o.Words = append(o.Words, row.Flag+"="+fs.Lookup(row.Flag).Value.String())
		}
	}
	slices.Sort(o.Words)
	if err := o.reconcile(); err != nil {
		return UsageError{err}
	}
	return nil
}

// FlagSet declares the flags of Table, and sets the defaults. It is a set of its own since the prometheus plugin imports
// coremain, which puts CoreDNS's flags into flag.CommandLine.
func (o *Options) FlagSet() *flag.FlagSet {
	fs := NewFlagSet("nodelocaldns")
	for _, row := range Table {
		v := row.bind(o)
		v.accept(row.flagForm)
		declare(fs, row.Flag, row.Default, row.Help, v)
	}
	return fs
}

// reconcile resolves what flags say together.
func (o *Options) reconcile() error {
	if err := o.chooseMode(); err != nil {
		return err
	}
	if err := o.off("setupinterface", o.setupInterface, "link", &o.Link); err != nil {
		return err
	}
	if err := o.off("setupiptables", o.setupIPTables, "firewall", &o.Firewall); err != nil {
		return err
	}
	if o.Mode == AsItIs || !o.Owns() {
		return nil // no network to own
	}
	// The plugin checks the stanza, too, but later and not as a matter of usage. -localip auto finds two addresses at most.
	c := o.Config
	if o.Auto {
		c.Addresses = []netip.Addr{StandaloneIP, StandaloneIP.Next()}
	}
	return c.Validate()
}

// chooseMode finds the way to the Corefile. A flag without effect there is an error: who gives -link with a Corefile of his own
// expects something of it.
func (o *Options) chooseMode() error {
	if o.Conf == "" {
		o.Conf = o.older
	}
	switch {
	case len(o.Addresses) > 0 || o.Auto:
		o.Mode = Template
		if o.Conf != "" && filepath.Clean(o.Conf) == filepath.Clean(o.BaseCorefile) {
			return fmt.Errorf("-conf would overwrite the template %s", o.BaseCorefile)
		}
	case o.Conf != "":
		o.Mode = AsItIs
		for _, row := range Table {
			if row.effect == rendered && o.Given[row.Flag] {
				return fmt.Errorf("-%s has no effect on %s, which runs as it is without -localip", row.Flag, o.Conf)
			}
		}
	default:
		o.Mode, o.Addresses = Standalone, []netip.Addr{StandaloneIP}
		if o.Given["basecorefile"] {
			return errors.New("-basecorefile needs -localip")
		}
	}
	return nil
}

// off gives the older on/off flag its meaning in the newer one.
func (o *Options) off(older string, on bool, newer string, value *string) error {
	if on || *value == hostnet.None {
		return nil
	}
	if o.Given[newer] {
		return fmt.Errorf("-%s=false contradicts -%s %s", older, newer, *value)
	}
	*value, o.Given[newer] = hostnet.None, true
	return nil
}

// Path is where the Corefile is, or would be. The files that it imports are found from there.
func (o *Options) Path() string { return cmp.Or(o.Conf, "Corefile") }
