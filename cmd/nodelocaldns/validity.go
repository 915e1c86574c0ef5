// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"sync"

	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// validity knows whether the configuration that runs is the one that the inputs
// say, publishes it as a metric, and has such a configuration kept for the next
// start. Between the moment when the inputs say something new and the reload it
// stays as it is.
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
