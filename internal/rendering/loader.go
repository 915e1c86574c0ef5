// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"sync"

	"github.com/coredns/caddy"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

const serverType = "dns"

var log = clog.NewWithPlugin("nodelocal")

// corefile is a Corefile ready to run.
type corefile struct {
	path     string
	template string // what it was rendered from; empty: nothing
	text     []byte
	warnings []string
}

func (c corefile) input() caddy.Input {
	return caddy.CaddyfileInput{Filepath: c.path, Contents: c.text, ServerTypeName: serverType}
}

// loader makes the Corefile from the flags, the environment and the files that
// the flags name, anew each time it is asked.
type loader struct {
	inputs

	mu     sync.Mutex // the reload plugin, SIGUSR1 and -reloadwithsignal ask from their own goroutines
	failed string     // the error of the last load, which has been logged
	warned []string   // the warnings of the last load

	validity validity
}

func newLoader(o *options) *loader {
	return &loader{inputs: newInputs(o)}
}

// render makes the Corefile, without the given keys of the kube-dns ConfigMap,
// and checks it. The warnings are valid with an error too.
func (l *loader) render(skip ...string) (corefile, error) {
	c, err := l.corefile(skip)
	if err != nil {
		return c, err
	}
	return c, check(c.path, c.text)
}

// path is where the Corefile is, or would be: files that it imports are found from there.
func (o *options) path() string { return cmp.Or(o.conf, "Corefile") }

// corefile makes the Corefile of the mode that the flags chose.
func (l *loader) corefile(skip []string) (corefile, error) {
	c := corefile{path: l.opts.path()}
	if l.opts.mode == runConf {
		var err error
		c.text, err = readFile("Corefile", c.path)
		return c, err
	}
	template, err := l.template()
	if err != nil {
		return c, err
	}
	c.template = template.Path
	params, notes, err := l.params(template, skip)
	c.warnings = notes
	if err != nil {
		return c, err
	}
	result, err := corefiles.Render(template, params)
	if err != nil {
		return c, err
	}
	c.text, c.warnings = result.Text, append(c.warnings, result.Warnings...)
	// Before the result is checked: here the lines are those that its author sees.
	return c, checkDirectives(template.Path, template.Text)
}

// copyMark is the last line of a copy.
var copyMark = []byte("# Rendered by nodelocaldns; what is changed here has no effect.\n")

// load renders the Corefile for running it, on this node: the result is also
// written to -conf, unless that is the template.
func (l *loader) load() (corefile, error) { return l.withoutKeys() }

// withoutKeys is load without the given keys of the kube-dns ConfigMap; an empty one is all.
func (l *loader) withoutKeys(skip ...string) (corefile, error) {
	c, err := l.render(skip...)
	if err == nil {
		err = bindable(c.path, c.text, l.opts.localIPs)
	}
	if err != nil || l.opts.mode != runTemplate || l.opts.conf == "" || l.opts.conf == c.template {
		return c, err
	}
	if err := replaceFile(l.opts.conf, slices.Concat(c.text, copyMark), 0o644); err != nil {
		// A copy for the eyes of the operator: no reason not to serve.
		c.warnings = append(c.warnings, "Not keeping a copy of the rendered Corefile: "+err.Error())
	}
	return c, nil
}

// reload is the caddy loader while the servers run. Nobody up the stack reports
// its error (the reload plugin drops it), so it is logged here, once, since the
// same input is read again at every tick.
func (l *loader) reload(string) (caddy.Input, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.load()
	l.report(c.warnings)
	if err == nil {
		if l.failed != "" {
			log.Info("Configuration is valid again")
		}
		l.failed = ""
		l.validity.inputsSay(c.text)
		return c.input(), nil
	}
	l.validity.inputsSay(nil)
	if l.failed != err.Error() {
		l.failed = err.Error()
		log.Errorf("Keeping the running configuration: %v", err)
		nodelocal.ConfigReloads.WithLabelValues("error").Inc()
		nodelocal.SetupErrors.WithLabelValues("configmap").Inc()
	}
	return nil, err
}

// report logs the warnings that the load before did not have.
func (l *loader) report(warnings []string) {
	for _, w := range warnings {
		if !slices.Contains(l.warned, w) {
			log.Warning(w)
		}
	}
	l.warned = warnings
}

// detached returns text as it is kept for the next start: what it says does not
// depend on resolv.conf any more, which may be what that start fails of. It is
// not ok where text needs that file and nothing in it, or no file, can be used.
func (l *loader) detached(text []byte) (kept []byte, ok bool) {
	resolv, _ := readFile("the node's nameservers", l.resolvConf) // on an error: no nameserver
	return corefiles.ResolvConf{Path: l.resolvConf, Text: resolv}.Detach(text, l.opts.localIPs)
}
