// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/coredns/caddy"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// notify starts to catch the signals that handle knows. caddy.TrapSignals cannot be used: it exits before link and source rules
// are removed, it runs no shutdown callbacks on SIGQUIT, and its SIGUSR1 drops all event hooks, after which the reload plugin
// no longer reloads (coredns#6263).
func notify() chan os.Signal {
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return sigs
}

// sameSignal is the time after a signal in which another one is the same wish: timeout(1) signals its child and then the
// child's group.
const sameSignal = time.Second

// handle acts on signals until sigs is closed, and sends exit codes. It never blocks, so it notices a second SIGTERM while the
// shutdown by the first is under way. exit needs room for all codes that can come.
func (l *lifecycle) handle(sigs <-chan os.Signal, exit chan<- int) {
	var first time.Time
	forced := false
	for sig := range sigs {
		switch sig {
		case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
			if l.end() {
				first = l.now()
				go func() { exit <- l.shutdown(sig.String()) }()
				log.Infof("Shutting down: %s", sig)
			} else if !forced && l.now().Sub(first) >= sameSignal {
				forced = true
				log.Warningf("Shutting down at once: a second signal (%s)", sig)
				exit <- exitForced
			}
		case syscall.SIGUSR1:
			l.forced.Store(true)
			ask(l.reloads)
		case syscall.SIGUSR2:
			log.Info("Ignoring SIGUSR2: a binary is replaced by starting the new one beside the old one")
		case syscall.SIGHUP: // the terminal went away, which does not concern a cache
		}
	}
}

// Exit codes; those of a shutdown are caddy's.
const (
	exitOK        = 0
	exitFailure   = 1
	exitUsage     = 2
	exitForced    = 2
	exitStop      = 3
	exitCallbacks = 4
)

// restartPatience is how long the shutdown waits for a start or restart that is under way. The manifest of this project grants
// 45 s for the whole way out, other manifests 30 s.
const restartPatience = 10 * time.Second

// sayPatience is the time after which the log says that the shutdown still waits.
const sayPatience = 3 * time.Second

// end reports whether the caller is the first to end the process. Only the first one ends it. No restart begins after this
// call.
func (l *lifecycle) end() bool {
	if !l.ending.CompareAndSwap(false, true) {
		return false
	}
	close(l.closing)
	return true
}

// shutdown ends serving and returns the exit code. To be called once, after end.
func (l *lifecycle) shutdown(reason string) int {
	long := time.AfterFunc(sayPatience, func() { log.Infof("Waiting up to %s for a start or reload to end", restartPatience) })
	select {
	case l.busy <- struct{}{}:
		long.Stop()
	case <-time.After(restartPatience):
		log.Warningf("A start or reload has not ended within %s: shutting down without it", restartPatience)
	}
	caddy.EmitEvent(caddy.ShutdownEvent, reason)
	code := exitOK
	if !runCallbacks(l.current.Load()) {
		code = exitCallbacks
	}
	for _, f := range caddy.OnProcessExit {
		f()
	}
	if err := caddy.Stop(); err != nil {
		log.Errorf("Stopping servers: %v", err)
		code = exitStop
	}
	if err := nodelocal.Close(); err != nil {
		log.Errorf("Removing link and rules: %v", err)
		code = exitStop
	}
	return code
}

// runCallbacks runs the shutdown callbacks of inst and reports whether all succeeded. Caddy begins with OnShutdown;
// runCallbacks begins with OnFinalShutdown. The first final callback takes steering off and waits until the pods' last queries
// are answered. Until then all plugins must work, and OnShutdown makes shed drop its answers. A reload runs no final callbacks,
// so the order matters only here.
func runCallbacks(inst *caddy.Instance) bool {
	if inst == nil {
		return true
	}
	ok := true
	for _, f := range slices.Concat(inst.OnFinalShutdown, inst.OnShutdown) {
		if err := f(); err != nil {
			clog.Errorf("Shutdown: %v", err)
			ok = false
		}
	}
	return ok
}
