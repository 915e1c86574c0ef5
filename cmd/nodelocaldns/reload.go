// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

var log = clog.NewWithPlugin("nodelocal")

var thePlugins = rendering.Plugins{Known: directives, NotCompiledIn: notCompiledIn}

// loader loads the Corefile while the servers run, and logs each fault of it once.
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

// reload is the caddy loader while the servers run. Its callers drop the error, so reload logs it. It logs an error once, since
// it reads the same files at each tick.
func (l *loader) reload(string) (caddy.Input, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.Load()
	l.report(c.Warnings)
	if err == nil {
		theJournal.loaded(c)
		if l.failed != "" {
			log.Info("Configuration is valid again")
		}
		l.failed = ""
		l.validity.inputsSay(identity(c.Input()))
		return c.Input(), nil
	}
	l.validity.inputsSay(nil)
	if l.failed != err.Error() {
		l.failed = err.Error()
		theJournal.refused(err)
		log.Errorf("Keeping the running configuration: %v", err)
		countRefused()
		nodelocal.SetupErrors.WithLabelValues("configmap").Inc()
	}
	return nil, err
}

// The metrics of the plugin reload, which does not export them. The plugin itself sets neither, since it never restarts
// (lifecycle.look). Without the plugin in the binary they have the same names.
var (
	reloadFailed = registered(prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coredns_reload_failed_total", Help: "Counter of the number of failed reload attempts."}))
	reloadVersion = registered(prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "coredns_reload_version_info",
		Help: "A metric with a constant '1' value labeled by hash, and value which type of hash generated."}, []string{"hash", "value"}))
)

// registered registers c, or returns what is registered already under its name.
func registered[C prometheus.Collector](c C) C {
	var there prometheus.AlreadyRegisteredError
	if errors.As(prometheus.Register(c), &there) {
		return there.ExistingCollector.(C)
	}
	return c
}

// setVersion sets coredns_reload_version_info as the plugin reload does: to the hash of the server blocks of a reload that succeeded.
func setVersion(corefile caddy.Input) {
	blocks, err := caddyfile.Parse(corefile.Path(), bytes.NewReader(corefile.Body()), nil)
	if err != nil {
		return // it runs, so it can be parsed
	}
	text, _ := json.Marshal(blocks) // of strings and numbers
	reloadVersion.Reset()
	reloadVersion.WithLabelValues("sha512", fmt.Sprintf("%x", sha512.Sum512(text))).Set(1)
}

// countRefused counts a configuration that is not going to replace the running one.
func countRefused() {
	nodelocal.ConfigValid.Set(0)
	nodelocal.ConfigReloads.WithLabelValues("error").Inc()
	reloadFailed.Inc()
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

// validity knows whether the running configuration is the one that the files say, and publishes that as a metric. It has such a
// configuration kept for the next start. The metric does not change between a change of the files and the reload.
type validity struct {
	mu      sync.Mutex
	wanted  []byte            // the identity of what the inputs said last; nil: they cannot be used
	runs    []byte            // the identity of what runs; nil: nothing runs yet
	running []byte            // the text of what runs
	keep    func(text []byte) // keeps a configuration that works
}

// inputsSay notes the identity of what the inputs say: nil if they cannot be used.
func (v *validity) inputsSay(id []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wanted = id
	if id == nil {
		nodelocal.ConfigValid.Set(0)
	} else if bytes.Equal(id, v.runs) {
		v.valid()
	}
}

// serves notes that the configuration with this text and identity serves.
func (v *validity) serves(text, id []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.running, v.runs = text, id
	theJournal.serves(text)
	if bytes.Equal(id, v.wanted) {
		v.valid()
	} else {
		nodelocal.ConfigValid.Set(0)
	}
}

func (v *validity) valid() {
	nodelocal.ConfigValid.Set(1)
	theJournal.valid()
	if v.keep != nil {
		v.keep(v.running)
	}
}
