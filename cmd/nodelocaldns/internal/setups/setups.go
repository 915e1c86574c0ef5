// SPDX-License-Identifier: Apache-2.0

// Package setups runs the setup functions of plugins without starting a server, to find out what they refuse and where. A setup
// function parses the arguments of a directive. What listens, asks or begins something does so when the servers start.
package setups

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	_ "github.com/coredns/coredns/core/dnsserver" // is the server type

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/serverblocks"
)

// serverType is what caddy calls CoreDNS.
const serverType = "dns"

// A Corefile is a Corefile that caddy can parse.
type Corefile struct {
	path   string
	blocks []caddyfile.ServerBlock
	said   []caddyfile.ServerBlock // what the text says, where blocks have been changed
}

// Parse parses the text of the Corefile at path. Files that it imports are read.
func Parse(path string, text []byte) (Corefile, error) {
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), nil)
	if err != nil {
		return Corefile{}, corefiles.Plain(err)
	}
	return Corefile{path, blocks, blocks}, nil
}

// All returns the faults of all directives, in the order of the Corefile: one for each directive of a server block at most. directives is
// the order of the setups. All looks no name up: the setups get an address in place of each server's name.
//
// All is for a process that serves nothing: a setup may change what a plugin keeps for the whole process (ready), or start a
// goroutine that ends with the process (hosts).
func (f Corefile) All(directives []string) (faults []Fault, err error) {
	f = f.offline()
	r, err := f.run()
	if err != nil {
		return nil, err
	}
	for _, d := range directives {
		faults = append(faults, f.setups(r, d, false)...)
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return a.Line - b.Line })
	return faults, nil
}

// Unsure returns the fault of err, an error of that plugin, and the places where it may be: those of all directives of the plugin. It
// is for an error that no setup returns, or that First does not look for. There is no place if err names one.
func (f Corefile) Unsure(directive string, err error) (fault Fault, places []Fault) {
	message := pluginPrefix.ReplaceAllString(err.Error(), "")
	if placed.MatchString(message) {
		return Fault{}, nil
	}
	for _, b := range f.blocks {
		for _, d := range split(b.Tokens[directive]) {
			places = append(places, Fault{File: cmp.Or(d[0][0].File, f.path), Line: d[0][0].Line})
		}
	}
	return Fault{Directive: directive, Cause: advise(message)}, places
}

// First returns the fault of the first server block whose directive is refused. ok is false if none is. It runs the setup of that
// plugin alone.
func (f Corefile) First(directive string) (fault Fault, ok bool) {
	switch directive {
	case "ready", "hosts", "nodelocal": // their setups change what the process keeps, or start a goroutine
		return Fault{}, false
	case "forward": // its setup looks names up, which may take long
		f = f.offline()
	}
	r, err := f.run()
	if err != nil {
		return Fault{}, false
	}
	faults := f.setups(r, directive, true)
	if len(faults) == 0 {
		return Fault{}, false
	}
	return faults[0], true
}

// setups runs the setup of the directive in each server block that has it.
func (f Corefile) setups(r run, directive string, first bool) (faults []Fault) {
	for i, b := range f.blocks {
		tokens := b.Tokens[directive]
		if len(tokens) == 0 {
			continue
		}
		if err := r.try(directive, i, tokens); err != nil {
			faults = append(faults, f.locate(directive, i, err))
			if first {
				break
			}
		}
	}
	return faults
}

// A run is the setups of one configuration: they share what they keep in it.
type run struct {
	controller *caddy.Controller
	path       string
	blocks     []caddyfile.ServerBlock // with the keys as CoreDNS writes them
}

func (f Corefile) run() (run, error) {
	blocks := slices.Clone(f.blocks)
	for i := range blocks {
		blocks[i].Keys = slices.Clone(blocks[i].Keys)
	}
	// Caddy has no other way to a controller of a configuration that is not to start.
	c := caddy.NewTestController(serverType, "")
	blocks, err := c.Context().InspectServerBlocks(f.path, blocks)
	if err != nil {
		return run{}, fmt.Errorf("%s: %w", f.path, err)
	}
	serverblocks.Give(c, f.blocks)
	return run{c, f.path, blocks}, nil
}

// try is setup, with what setups do not look at.
func (r run) try(directive string, i int, tokens []caddyfile.Token) error {
	if err := checkServers(directive, tokens); err != nil {
		return err
	}
	if err := r.setup(directive, i, tokens); err != nil {
		return err
	}
	return checkListen(directive, tokens)
}

// setup runs the setup of a directive of block i as if the block had these tokens of it.
func (r run) setup(directive string, i int, tokens []caddyfile.Token) (err error) {
	action, err := caddy.DirectiveAction(serverType, directive)
	if err != nil {
		return err
	}
	c, keys := *r.controller, r.blocks[i].Keys
	c.Dispenser = caddyfile.NewDispenserTokens(r.path, tokens)
	c.Key, c.ServerBlockIndex, c.ServerBlockKeys = keys[0], i, keys
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("plugin/%s: its setup panics: %v", directive, p)
		}
	}()
	return action(&c)
}
