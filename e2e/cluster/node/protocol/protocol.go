// SPDX-License-Identifier: Apache-2.0

// Package protocol is what the tests say to process 1 of a node.
package protocol

// Request is one line to process 1; exactly one field is set.
type Request struct {
	SetUp *SetUp `json:",omitempty"`
	Start *Start `json:",omitempty"`
	Stop  *Stop  `json:",omitempty"`
}

// Answer follows each request.
type Answer struct {
	Err string // empty: done
}

// SetUp makes the namespaces a node. It is the first request.
type SetUp struct {
	Hostname string
	State    string            // an empty directory of the machine
	Dirs     []string          // of the machine, which the node has for itself
	Copies   []string          // files of /proc/sys that the kubelet writes although they are the whole machine's
	Sysctls  map[string]string // paths below /proc/sys
	Cgroup   string            // a directory to be made in each hierarchy
}

// Start runs a program until it ends or is stopped.
type Start struct {
	Name string // its argv[0] too
	Path string
	Args []string
	Env  []string
	Log  string // file to append to
}

// Stop sends a signal that ends the program, and waits for that.
type Stop struct {
	Name   string
	Signal int
}
