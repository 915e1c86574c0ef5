// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	golog "log"
	"os"
	"strconv"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// watchInterval is how often -reloadwithsignal looks at the inputs.
const watchInterval = 10 * time.Second

// run serves until a signal ends it. Nothing outside of the process changes
// before the metrics are served and the Corefile is known to be good.
func run(o *options) (int, error) {
	stopMetrics, err := serveMetrics(o.metricsAddr)
	if err != nil {
		return exitFailure, err
	}
	defer stopMetrics()
	if err := configure(o); err != nil {
		return exitFailure, err
	}
	if err := newFinder(o, proxyPatience, func(s string) { log.Info(s) }).resolve(); err != nil {
		return exitFailure, err
	}
	loader := newLoader(o)
	c, err := loader.load()
	if err != nil {
		return exitFailure, err
	}
	if !o.quiet {
		log.Info(versionLine())
	}
	loader.report(c.warnings)

	life := newLifecycle()
	caddy.RegisterEventHook("nodelocaldns", life.hook)
	caddy.RegisterCaddyfileLoader("nodelocaldns", life.guard(loader.reload))
	if o.reloadWithSignal {
		go life.watch(life.guard(loader.reload), watchInterval)
	}
	code, err := life.serve(c.input(), loader.reload, notify())
	if err != nil {
		err = explain(err, o.port)
	}
	return code, err
}

// serve serves input until the process is to end with the code that it returns.
// Caddy starts beside it: a start that hangs can be ended, too.
func (l *lifecycle) serve(input caddy.Input, load caddy.LoaderFunc, sigs <-chan os.Signal) (int, error) {
	exit, failed := make(chan int, 3), make(chan error, 1)
	go l.handle(sigs, exit)
	go func() {
		inst, err := caddy.Start(input)
		if err != nil {
			failed <- err
			return
		}
		go l.serveReloads(load)
		l.awaitServers(inst, exit)
	}()
	select {
	case code := <-exit:
		return code, nil
	case err := <-failed:
		return l.startFailed(exit, err)
	}
}

// configure sets what caddy and CoreDNS keep in package variables.
func configure(o *options) error {
	clog.SetOutput(os.Stdout)
	golog.SetFlags(0) // as CoreDNS; who collects the logs adds the time
	caddy.Quiet = true
	caddy.PidFile = o.pidFile
	dnsserver.Quiet = o.quiet
	dnsserver.Port = strconv.Itoa(int(o.port))
	nodelocal.SetBuildInfo(version, commit)
	return dnsserver.SetDirectives(directives)
}

// startFailed takes back what a start that failed has done so far. If a signal
// is ending the process already, it is let go on, and has the last word.
func (l *lifecycle) startFailed(exit <-chan int, err error) (int, error) {
	if l.end() {
		return exitFailure, errors.Join(err, nodelocal.Close())
	}
	<-l.busy
	return <-exit, err
}

// awaitServers ends the process when all servers have stopped by themselves:
// better to be restarted than to be a process that serves nothing.
func (l *lifecycle) awaitServers(inst *caddy.Instance, exit chan<- int) {
	inst.Wait() // for all instances that follow, too
	if l.end() {
		log.Error("Shutting down: no server is left")
		l.shutdown("no server is left")
		exit <- exitFailure
	}
}
