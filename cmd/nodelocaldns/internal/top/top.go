// SPDX-License-Identifier: Apache-2.0

// Package top is the subcommand that shows which clients ask the cache of a node most, and for which names.
package top

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/kubectl"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
)

// most is how many clients a process tells of at most (package busiest).
const most = 100

// command is the command line.
type command struct {
	stateDir string
	lines    int // clients, and names, at most
	interval time.Duration
	once     bool
	output   string // table or json
	kubectl  kubectl.Kubectl
}

func (c *command) flagSet() *flag.FlagSet {
	fs := options.NewFlagSet("top")
	fs.StringVar(&c.stateDir, "statedir", options.Defaults().StateDir, "`DIR` of the process, as its flag -statedir says")
	options.Define(fs, "n", "10", number, &c.lines, "show `COUNT` clients and names, up to 100")
	options.Define(fs, "interval", "2s", interval, &c.interval, "`TIME` between two tables")
	fs.BoolVar(&c.once, "once", false, "print one table and exit")
	options.Define(fs, "o", "table", options.OneOf("table", "json"), &c.output, "`FORMAT`: table or json, one object a line")
	fs.StringVar(&c.kubectl.Config, "kubeconfig", "", "`FILE` that tells kubectl of the cluster, for the names of pods")
	fs.StringVar(&c.kubectl.Context, "context", "", "`NAME` of the context in it")
	return fs
}

func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("want a number from 1 to %d", most)
	}
	return n, nil
}

func interval(s string) (time.Duration, error) {
	d, err := options.Duration(options.Seconds(s))
	if err == nil && d < 100*time.Millisecond {
		err = errors.New("want at least 100ms")
	}
	return d, err
}

const head = `Usage:
  nodelocaldns top [FLAG...]

It shows which clients asked the cache of this node most in the last 5 to 10 s, and for which names. Where kubectl reaches the
cluster, pods have their names.

`

// Run is the subcommand with args. It prints tables until a signal ends the process, or one with -once.
func Run(args []string, stdout, stderr io.Writer) error {
	var c command
	if helped, err := options.ParseSub(c.flagSet(), args, head, stdout); helped || err != nil {
		return err
	}
	names := c.lookUp()
	if c.once {
		return c.show(stdout, stderr, <-names)
	}
	var known pods
	var again <-chan time.Time // when to look the names up once more
	screen, tick := isTerminal(stdout), time.NewTicker(c.interval)
	defer tick.Stop()
	for {
		if screen {
			fmt.Fprint(stdout, "\x1b[H\x1b[J") // ECMA-48: to the first line, erase what is below
		}
		if err := c.show(stdout, stderr, known); err != nil { // the process may be starting
			fmt.Fprintln(stderr, "nodelocaldns:", err)
		}
		select {
		case <-tick.C:
		case known = <-names:
			again = time.After(refresh)
		case <-again:
			names = c.lookUp()
		}
	}
}

// show prints one table.
func (c *command) show(stdout, stderr io.Writer, known pods) error {
	r, own, err := collect(c.stateDir)
	if err != nil {
		return err
	}
	v := newView(r, own, known, c.lines)
	if c.output == "json" {
		if known.fault != nil {
			fmt.Fprintln(stderr, "nodelocaldns: pods have no names:", known.fault)
		}
		return v.json(stdout)
	}
	return v.table(stdout, known.fault)
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
