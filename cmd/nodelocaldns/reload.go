// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"slices"
	"sync"

	"github.com/coredns/caddy"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

var log = clog.NewWithPlugin("nodelocal")

var thePlugins = rendering.Plugins{Known: directives, NotCompiledIn: notCompiledIn}

// loader loads the Corefile while the servers run, and tells once what is wrong with it.
type loader struct {
	*rendering.Renderer

	mu     sync.Mutex // the reload plugin, SIGUSR1 and the watch ask from their own goroutines
	failed string     // the error of the last load, which has been logged
	warned []string   // the warnings of the last load

	validity validity
}

func newLoader(o *options.Options) *loader {
	return &loader{Renderer: rendering.New(o, thePlugins)}
}

// reload is the caddy loader while the servers run. Nobody up the stack reports its error (the reload plugin drops the error),
// so reload logs it. It does so once, since the same input is read again at every tick.
func (l *loader) reload(string) (caddy.Input, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.Load()
	l.report(c.Warnings)
	if err == nil {
		if l.failed != "" {
			log.Info("Configuration is valid again")
		}
		l.failed = ""
		l.validity.inputsSay(c.Text)
		return c.Input(), nil
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

// validity knows whether the configuration that runs is the one that the inputs say, publishes it as a metric, and has such a
// configuration kept for the next start. Between the moment when the inputs say something new and the reload it stays as it is.
type validity struct {
	mu      sync.Mutex
	wanted  []byte            // what the inputs said last; nil: they cannot be used
	running []byte            // nil: nothing runs yet
	keep    func(text []byte) // keeps a configuration that works
}

// inputsSay notes what the inputs say: nil if they cannot be used.
func (v *validity) inputsSay(text []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wanted = text
	if text == nil {
		nodelocal.ConfigValid.Set(0)
	} else if bytes.Equal(text, v.running) {
		v.valid()
	}
}

// serves notes that the configuration text serves.
func (v *validity) serves(text []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.running = text
	if bytes.Equal(text, v.wanted) {
		v.valid()
	} else {
		nodelocal.ConfigValid.Set(0)
	}
}

// refused notes that a start or reload with what the inputs say has failed.
func (v *validity) refused() {
	v.mu.Lock()
	defer v.mu.Unlock()
	nodelocal.ConfigValid.Set(0)
}

func (v *validity) valid() {
	nodelocal.ConfigValid.Set(1)
	if v.keep != nil {
		v.keep(v.running)
	}
}
