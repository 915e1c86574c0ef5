// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notify starts to catch the signals that handle knows. caddy.TrapSignals is no choice: it exits before the link and the source
// rules could be removed, it runs no shutdown callbacks on SIGQUIT, and its SIGUSR1 drops all event hooks, after which the
// reload plugin no longer reloads (coredns#6263).
func notify() chan os.Signal {
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return sigs
}

// handle acts on signals until sigs is closed and sends exit codes. It never blocks, so that a second SIGTERM is heard while
// the first is worked on; exit needs room for all codes that can come.
func (l *lifecycle) handle(sigs <-chan os.Signal, exit chan<- int) {
	forced := false
	for sig := range sigs {
		switch sig {
		case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
			if l.end() {
				go func() { exit <- l.shutdown(sig.String()) }()
				log.Infof("Shutting down: %s", sig)
			} else if !forced {
				forced = true
				log.Warningf("Shutting down at once: a second signal (%s)", sig)
				exit <- exitForced
			}
		case syscall.SIGUSR1:
			ask(l.reloads)
		case syscall.SIGUSR2:
			log.Info("Ignoring SIGUSR2: a binary is replaced by starting the new one beside the old one")
		case syscall.SIGHUP: // of a terminal that went away; nothing to do with us
		}
	}
}
