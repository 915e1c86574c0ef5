// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"github.com/nodelocaldns/nodelocaldns/internal/hostnet"
)

// A phase is where this process is in the life of its configurations. caddy starts the next configuration before it stops the
// last, and a start may fail.
type phase uint8

const (
	idle      phase = iota // no configuration with this plugin runs
	serving                // the servers of one configuration run
	reloading              // a reload has begun; its configuration may turn out to lack this plugin
	replacing              // the reload's configuration has this plugin; the servers of the last one still run
	leaving                // steering is off for good, or stays as it is (skip_teardown); the servers still run
)

// A step is what caddy, or the program, tells the node.
type step uint8

const (
	begins   step = iota // OnStartup: a configuration with this plugin is about to have its servers listen
	restarts             // OnRestart: a reload begins
	restored             // OnRestartFailed: the last configuration is in effect again
	ended                // OnShutdown: the servers of the last configuration have stopped, or are about to at the end of the process
	leaves               // OnFinalShutdown, or a loop: the process is to end
	closed               // the servers have stopped, and nothing is left on the node
)

// phases is the phase after each step. In the phase leaving, steps of a reload that is still under way change nothing.
var phases = [...][6]phase{
	//           begins     restarts   restored  ended    leaves   closed
	idle:      {serving, reloading, idle, idle, leaving, idle},
	serving:   {serving, reloading, serving, serving, leaving, idle},
	reloading: {replacing, reloading, serving, idle, leaving, idle},
	replacing: {replacing, reloading, serving, serving, leaving, idle},
	leaving:   {leaving, leaving, leaving, leaving, leaving, idle},
}

func (p phase) after(s step) phase { return phases[p][s] }

// servers says which servers run in a phase, for hostnet.Want.
func (p phase) servers() hostnet.Servers {
	return map[phase]hostnet.Servers{replacing: hostnet.BothServers}[p] // OwnServers in all others
}
