// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/coredns/caddy"

	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// starter begins to serve. Where what the inputs say cannot be used, another configuration stands in for it: the last one that
// worked, or, if only the ConfigMap of kube-dns is at fault, what the inputs say without it.
type starter struct {
	*loader
	last   rendering.LastGood
	launch func(caddy.Input) (*caddy.Instance, error) // caddy.Start
	ending func() bool                                // the process is to end
}

// A standIn is a configuration that may run in the place of what the inputs say.
type standIn struct {
	rendering.Corefile
	name  string
	fault error // of what the inputs say
}

// start returns what serves. The error is that of what the inputs say, and those of what could not stand in for it.
func (s *starter) start() (*caddy.Instance, error) {
	c, fault := s.first()
	if fault == nil {
		inst, err := s.launch(c.Input())
		if err == nil {
			return inst, nil
		}
		fault = explained(err, c, s.Opts.Port)
		if !ofConfiguration(err) {
			return nil, fault
		}
		s.validity.refused()
	}
	faults := []error{fault}
	for _, other := range s.standIns(c.Text, fault) {
		if s.ending() {
			break
		}
		inst, err := s.tryStandIn(other)
		if err == nil {
			s.standsIn(other)
			return inst, nil
		}
		faults = append(faults, fmt.Errorf("%s cannot run either: %w", other.name, err))
	}
	return nil, errors.Join(faults...)
}

// explained says where in c the fault err of a start is, and what can be done. An error of the node's network has no place in
// the Corefile.
func explained(err error, c rendering.Corefile, port uint16) error {
	if !errors.As(err, new(nodelocal.NetworkError)) {
		err = rendering.Located(err, c)
	}
	return rendering.Explain(err, port)
}

// first loads what the inputs say. What it says of a fault, reload need not say again.
func (s *starter) first() (rendering.Corefile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.Load()
	s.report(c.Warnings)
	if err != nil {
		s.failed, c.Text = err.Error(), nil
	}
	s.validity.inputsSay(c.Text)
	return c, err
}

// tryStandIn starts c. The one before it may have left something half done.
func (s *starter) tryStandIn(c standIn) (*caddy.Instance, error) {
	if err := nodelocal.Close(); err != nil {
		return nil, err
	}
	if err := s.Plugins.Check(c.Path, c.Text); err != nil {
		return nil, err
	}
	if err := rendering.Bindable(c.Path, c.Text, s.Opts.Addresses); err != nil {
		return nil, err
	}
	inst, err := s.launch(c.Input())
	if err != nil {
		return nil, rendering.Explain(err, s.Opts.Port)
	}
	return inst, nil
}

func (s *starter) standsIn(c standIn) {
	nodelocal.SetupErrors.WithLabelValues("configmap").Inc()
	log.Errorf("Running %s, as the configuration cannot be used: %v", c.name, c.fault)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(c.Warnings)
}

// standIns lists what may run in the place of text, which has that fault; text is empty if there was none.
func (s *starter) standIns(text []byte, fault error) (list []standIn) {
	kept, _ := s.Detached(text)
	switch last, err := s.last.Read(); {
	case err == nil && !bytes.Equal(last, kept):
		list = append(list, standIn{rendering.Corefile{Path: s.Opts.Path(), Text: last}, "the last configuration that worked", fault})
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		log.Warningf("The last configuration that worked is not used: %v", err)
	}
	if c, err := s.withoutKubeDNS(text, fault); err == nil && !bytes.Equal(c.Text, text) {
		list = append(list, c)
	}
	return list
}

// withoutKubeDNS renders without the keys of the kube-dns ConfigMap that are at fault; without all if the fault showed in text,
// the whole.
func (s *starter) withoutKubeDNS(text []byte, fault error) (standIn, error) {
	if s.Opts.Mode == options.AsItIs {
		return standIn{}, fault // which does not depend on it
	}
	if len(text) > 0 {
		c, err := s.Load("")
		return standIn{c, "what the files say without the kube-dns ConfigMap", fault}, err
	}
	var keys []string
	all := fault
	for range 2 {
		bad := corefiles.KubeDNSError{}
		if !errors.As(fault, &bad) {
			return standIn{}, fault
		}
		keys = append(keys, bad.Key)
		var c rendering.Corefile
		if c, fault = s.Load(keys...); fault == nil {
			return standIn{c, fmt.Sprintf("what the files say without %s the kube-dns ConfigMap", of(keys)), all}, nil
		}
		all = fmt.Errorf("%w; %w", all, fault)
	}
	return standIn{}, fault
}

// of names keys of a ConfigMap, in front of its name; an empty one is all.
func of(keys []string) string {
	if slices.Contains(keys, "") {
		return "any key of"
	}
	return strings.Join(keys, " and ") + " of"
}

// ofConfiguration reports whether another text may be better off than the one whose start has failed with err. Not so if the
// node cannot have the network, or if somebody else has a port; and what caddy has opened by then stays open.
func ofConfiguration(err error) bool {
	return !errors.As(err, new(nodelocal.NetworkError)) && !rendering.IsBindError(err)
}
