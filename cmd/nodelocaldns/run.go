// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	golog "log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/internal/filewatch"
	"github.com/nodelocaldns/nodelocaldns/internal/logwriter"
	"github.com/nodelocaldns/nodelocaldns/internal/memlimit"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// watchInterval is how often -reloadwithsignal looks at the inputs, should a change not be noticed.
const watchInterval = 10 * time.Second

// run serves until a signal ends it. First it makes the fallback table, before it waits for kube-proxy, reads a file or opens a
// port. A start that fails leaves the table on the node.
func run(o *options.Options) (int, error) {
	if err := configure(o); err != nil {
		return exitFailure, err
	}
	f := rendering.NewFinder(o, rendering.ProxyPatience, func(s string) { log.Info(s) })
	lacking := foresee(f)
	if err := f.Resolve(); err != nil {
		return exitFailure, errors.Join(err, lacking, nodelocal.Abandon())
	}
	if o.Auto {
		lacking = foresee(f) // for the addresses that resolve has found
	}
	stopMetrics, err := serveMetrics(o.MetricsAddr)
	if err != nil {
		return exitFailure, errors.Join(err, lacking, nodelocal.Abandon())
	}
	defer stopMetrics()
	if err := rendering.MakeStateDir(o.StateDir); err != nil {
		log.Warningf("Nothing is kept for the next start, and nodelocaldns status gets no answer (-statedir): %v", err)
		o.StateDir = ""
	} else if o.StateDir == "" {
		log.Info("Without a directory (-statedir) nothing is kept for the next start, and nodelocaldns status gets no answer")
	}
	defer serveStatus(o.StateDir)()
	if !o.Quiet {
		log.Info(versionLine())
	}
	sayMemory(o.Memory)
	code, err := serveOptions(o)
	if err != nil {
		err = errors.Join(err, lacking)
	}
	return code, err
}

// foresee makes the fallback table before any file is read that may be at fault.
func foresee(f rendering.Finder) error {
	if c, ok := f.Foreseen(); ok {
		return nodelocal.Foresee(c)
	}
	return nil
}

// sayMemory logs the memory limit, which decides how much is cached.
func sayMemory(l memlimit.Limit) {
	switch {
	case l == 0:
	case l < memlimit.Enough:
		log.Warningf("The memory limit of %s is small: the caches have %d %% of their usual sizes, and a flood of queries may end in an OOM kill; give %s at least (-memory, or the container's limit), better %s",
			l, l.Share(100), memlimit.Enough, memlimit.Usual)
	default:
		log.Infof("Memory limit %s: caches whose size is not given have %d %% of the usual one", l, l.Share(100))
	}
}

// serveOptions serves what o says.
func serveOptions(o *options.Options) (int, error) {
	loader, last := newLoader(o), rendering.NewLastGood(o, os.Getenv)
	loader.validity.keep = keeper(last, loader)
	life := newLifecycle(&loader.validity)
	caddy.RegisterEventHook("nodelocaldns", life.hook)
	caddy.RegisterCaddyfileLoader("nodelocaldns", caddy.LoaderFunc(life.look))
	var tick <-chan time.Time // without -reloadwithsignal the reload plugin's
	if o.ReloadWithSignal {
		tick = time.Tick(watchInterval)
	}
	go life.watch(loader.reload, tick, o.ReloadWithSignal)
	go life.follow(loader.Files()...)
	starter := starter{loader, last, caddy.Start, life.ending.Load}
	return life.serve(starter.start, loader.reload, notify())
}

// follow asks for a look at the files at paths after each change of them, until the process ends. Without it changes take
// effect at the next tick.
func (l *lifecycle) follow(paths ...string) {
	watcher, err := filewatch.New(paths...)
	for err == nil {
		if err = watcher.Next(); err == nil {
			ask(l.changes)
		}
	}
	log.Warningf("Changes of the configuration take effect at the interval of the reload plugin, and no sooner: %v", err)
}

// keeper returns the function that keeps a configuration that works for the next start. The function logs an error once, and
// the cache serves all the same. It does not keep a configuration if no nameserver of resolv.conf can be asked any more: the
// configuration kept before has nameservers.
func keeper(last rendering.LastGood, l *loader) func([]byte) {
	said := ""
	return func(text []byte) {
		err := fmt.Errorf("no nameserver in %s can be asked", l.ResolvConf)
		if kept, ok := l.Detached(text); ok {
			err = last.Write(kept)
		}
		if err != nil && last.Path != "" && err.Error() != said {
			said = err.Error()
			log.Warningf("Not keeping the configuration for the next start: %v", err)
		}
	}
}

// serve runs start, and returns when the process is to end, with the exit code. start runs in a goroutine of its own, so that a
// signal can end a start that hangs.
func (l *lifecycle) serve(start func() (*caddy.Instance, error), load caddy.LoaderFunc, sigs <-chan os.Signal) (int, error) {
	exit, failed := make(chan int, 3), make(chan error, 1)
	go l.handle(sigs, exit)
	// When its queries come back to the process, only another configuration can help.
	go func() { l.fail(exit, "a loop", <-nodelocal.Loops()) }()
	go func() {
		inst, err := start()
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
func configure(o *options.Options) error {
	if err := logwriter.Install(o.LogTimestamps); err != nil {
		return fmt.Errorf("setting up the log: %w", err)
	}
	o.Memory = memlimit.Set(o.Memory)
	signal.Ignore(syscall.SIGPIPE) // when nobody reads stdout or stderr any more, the cache serves on
	golog.SetFlags(0)              // as CoreDNS; who collects the logs adds the time, or logwriter
	caddy.Quiet = true
	caddy.PidFile = o.PIDFile
	dnsserver.Quiet = o.Quiet
	dnsserver.Port = strconv.Itoa(int(o.Port))
	nodelocal.SetBuildInfo(version, commit)
	return dnsserver.SetDirectives(directives)
}

// startFailed takes back what a failed start has done. If a signal is ending the process already, startFailed waits for that
// end and returns its exit code.
func (l *lifecycle) startFailed(exit <-chan int, err error) (int, error) {
	if l.end() {
		return exitFailure, errors.Join(err, nodelocal.Abandon())
	}
	<-l.busy
	return <-exit, err
}

// awaitServers ends the process when all servers have stopped by themselves. Kubernetes restarts the process then, while a
// process without servers would stay.
func (l *lifecycle) awaitServers(inst *caddy.Instance, exit chan<- int) {
	inst.Wait() // for all instances that follow, too
	l.fail(exit, "no server is left", "no server is left")
}

// fail ends the process, unless it ends already.
func (l *lifecycle) fail(exit chan<- int, reason string, why any) {
	if l.end() {
		log.Errorf("Shutting down: %v", why)
		l.shutdown(reason)
		exit <- exitFailure
	}
}
