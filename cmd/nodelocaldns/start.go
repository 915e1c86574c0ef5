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

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/corefiles/kubedns"
	"github.com/nodelocaldns/nodelocaldns/internal/options"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// starter starts the servers. Where the files cannot be used, another configuration stands in: the last one that worked, or, if
// only the kube-dns ConfigMap is at fault, the files without that ConfigMap.
type starter struct {
	*loader
	last   rendering.LastGood
	launch func(caddy.Input) (*caddy.Instance, error) // caddy.Start
	ending func() bool                                // the process is to end
}

// A standIn is a configuration that may run instead of what the files say.
type standIn struct {
	rendering.Corefile
	name  string
	fault error // of what the inputs say
}

// start returns the instance that serves. The error joins the fault of what the files say and those of the stand-ins.
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
		nodelocal.ConfigValid.Set(0)
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

// first loads what the files say. It logs warnings, and notes a fault, so that reload does not log them again.
func (s *starter) first() (rendering.Corefile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.Load()
	s.report(c.Warnings)
	if err != nil {
		s.failed, c.Text = err.Error(), nil
	}
	theJournal.loaded(c)
	s.validity.inputsSay(identity(c.Input()))
	return c, err
}

// tryStandIn starts c, after it has removed what an earlier attempt has left of the network.
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
		return nil, explained(err, c.Corefile, s.Opts.Port)
	}
	return inst, nil
}

func (s *starter) standsIn(c standIn) {
	theJournal.standsIn(c)
	nodelocal.SetupErrors.WithLabelValues("configmap").Inc()
	log.Errorf("Running %s, as the configuration cannot be used: %v", c.name, c.fault)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(c.Warnings)
}

// standIns lists what may run instead of text, the rendered Corefile, which has that fault. text is empty if nothing could be
// rendered.
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

// withoutKubeDNS renders without those keys of the kube-dns ConfigMap that are at fault, or without all keys if the fault
// showed only when text was run.
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
		bad := kubedns.Error{}
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

// of returns the keys of a ConfigMap as they stand in front of its name in a sentence. An empty key stands for all keys.
func of(keys []string) string {
	if slices.Contains(keys, "") {
		return "any key of"
	}
	return strings.Join(keys, " and ") + " of"
}

// ofConfiguration reports whether a start with another text may succeed where one has failed with err. It cannot if the node
// cannot have the network, or if another program has a port. In the second case the sockets that caddy has opened stay open,
// too.
func ofConfiguration(err error) bool {
	return !errors.As(err, new(nodelocal.NetworkError)) && !rendering.IsBindError(err)
}
